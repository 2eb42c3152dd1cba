def page(rows, made, machine):
    return ""


def picture(path): ...
