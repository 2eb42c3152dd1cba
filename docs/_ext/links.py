"""Check the links within a built site: ``python docs/_ext/links.py skfem_ml_output/site``.

Every href and src of every page that is no address on the network must be a file, and its fragment an id of it.
"""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the ids of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.links: set[str] = set()
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name in ("id", "name") and value:
                self.ids.add(value)


@cache
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def broken(site: Path) -> list[str]:
    """The links of a site that lead nowhere, as "page: link"."""
    found = []
    for path in sorted(site.rglob("*.html")):
        if "_static" in path.relative_to(site).parts:  # the theme's own
            continue
        for link in sorted(page(path).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{path.relative_to(site)}: {link}: no such file")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in page(target).ids:
                found.append(f"{path.relative_to(site)}: {link}: no such place on that page")
    return found


if __name__ == "__main__":
    site = Path(sys.argv[1]).resolve()
    wrong = broken(site)
    print("\n".join([*wrong, f"{len(list(site.rglob('*.html')))} pages, {len(wrong)} broken links"]))
    sys.exit(1 if wrong or not (site / "index.html").exists() else 0)
