"""What a file may cost: its size, and what its header says that it holds, looked at before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What reading a field may cost: ``cells`` (pixels, numbers of a table) and ``bytes`` of the file when unpacked.

    Sizes are read from headers before anything is allocated. The defaults are what a large honest file needs; raise
    them for a larger one: ``from_file(path, mesh, limits=Limits(cells=10**9, bytes=2**36))``. A picture takes 9 bytes a
    pixel (16-bit levels: 12), an array 8 besides its own.

    >>> from skfem_ml.coefficients import Limits
    >>> Limits()
    Limits(cells=100000000, bytes=4294967296)
    >>> Limits(cells=1000).require_cells("a.npy", 2000)
    Traceback (most recent call last):
    ValueError: a.npy: expected at most 1000 cells, got 2000; raise it by limits=Limits(cells=...)
    """

    cells: int = 10**8
    bytes: int = 2**32

    def require_cells(self, path: str | Path, count: int) -> None:
        """Raise ValueError for more cells than are allowed."""
        if count > self.cells:
            raise ValueError(
                f"{path}: expected at most {self.cells} cells, got {count}; raise it by limits=Limits(cells=...)"
            )

    def require_bytes(self, path: str | Path, count: int) -> None:
        """Raise ValueError for more bytes than are allowed."""
        if count > self.bytes:
            raise ValueError(
                f"{path}: expected at most {self.bytes} bytes, got {count}; raise it by limits=Limits(bytes=...)"
            )

    def require_file(self, path: Path) -> None:
        """Raise FileNotFoundError or ValueError unless ``path`` is a file of bearable size that holds something."""
        if not path.is_file():  # nor a pipe or a device, which may be read for ever
            what = "a folder" if path.is_dir() else "no regular file" if path.exists() else "nothing"
            raise FileNotFoundError(f"{path}: expected a file, found {what} there")
        size = path.stat().st_size
        if size == 0:
            raise ValueError(f"{path}: the file is empty; expected a field")
        self.require_bytes(path, size)


def require_held(path: str | Path, what: str, declared: int, held: int, a_byte: int = 1) -> None:
    """Raise ValueError where a file declares more than its bytes can hold, ``a_byte`` each: truncated, or a lie."""
    if not 0 <= declared <= a_byte * held:
        raise ValueError(
            f"{path}: expected {what} that the file's {held} bytes can hold, got {declared} declared; it is truncated "
            "or changed"
        )
