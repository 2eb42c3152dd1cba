"""The picture of the README, ``data/one_line.png``: that of ``demos/one_line.py`` in 1200 pixels.

Run ``python -m data.one_line`` in the root of the source tree; seed and date are in its text chunks, and the line of
``data/README.md`` with its checksum is printed.
"""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from demos import gallery

OUTPUT = Path(__file__).with_suffix(".png")


def write() -> None:
    with TemporaryDirectory() as folder:
        entry = gallery.run("one_line", Path(folder))
        gallery.small(Path(folder) / "one_line.png", OUTPUT, entry, width=1200, limit=600_000)
    print(f"sha256 of {OUTPUT.name}: {hashlib.sha256(OUTPUT.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    write()
