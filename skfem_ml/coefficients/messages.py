"""What errors quote of a file."""

LONGEST = 60


def short(text: str) -> str:
    """Return at most 60 characters of a text in one line, cut with dots: files may hold lines of any length."""
    line = " ".join(text[: 10 * LONGEST].split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
