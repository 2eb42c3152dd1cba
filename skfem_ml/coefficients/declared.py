"""What mesh files declare to hold, looked at before meshio reads them: its readers believe every number.

A few hundred bytes can ask for all memory (sizes, numbers of nodes, blocks that unpack), for a loop that never ends, or
for another file. Lying counts are refused where the file is too short for them; compressed blocks are unpacked once in
passing, which costs no memory.
"""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from skfem_ml.coefficients.encoded import packed_arrays
from skfem_ml.coefficients.limits import Limits, require_held

PIECE = 2**20
NODES = re.compile(rb"^\$Nodes[ \t\r]*\n", re.MULTILINE)
GMSH_DATA = re.compile(rb"^\$(?:Node|Element)Data[ \t\r]*\n", re.MULTILINE)
GRID = re.compile(rb"^[ \t]*DIMENSIONS[ \t]+(\S+)[ \t]+(\S+)[ \t]+(\S+)", re.MULTILINE | re.IGNORECASE)


def require_declared(path: Path, limits: Limits) -> None:
    """Raise ValueError where a mesh file declares more than it can hold, or than the limits allow."""
    CHECKS[path.suffix.lower()](path, path.read_bytes(), limits)


def _vtk(path: Path, data: bytes, limits: Limits) -> None:
    """Grids are made from their dimensions alone."""
    for found in GRID.finditer(data):
        cells = 1
        for size in found.groups():
            cells *= max(int(size) - 1, 1)
        limits.require_cells(path, cells)
        limits.require_bytes(path, 300 * cells)  # what points and corners of hexahedra take while they are made
        require_held(path, "a grid of cells with data", cells, len(data))


def _vtu(path: Path, data: bytes, limits: Limits) -> None:
    """The sum of what compressed arrays unpack to, first as it is declared and then as it is."""
    if b"<!ENTITY" in data:
        raise ValueError(f"{path}: expected XML without entities, got some; they may stand for any text")
    if b"compressor" not in data:
        return
    declared = unpacked = 0
    for array in packed_arrays(data):
        declared += array.declared
        limits.require_bytes(path, declared)
        for block, most in array.blocks:
            unpacked += _unpacked(path, block, array.method, most)
            limits.require_bytes(path, unpacked)


def _unpacked(path: Path, block: bytes, method: str, most: int) -> int:
    """How many bytes a block unpacks to, at most as many as it declares; nothing is kept."""
    unpack = zlib.decompressobj() if method == "vtkZLibDataCompressor" else lzma.LZMADecompressor()
    total, rest = 0, block
    while True:
        piece = unpack.decompress(rest, PIECE)
        total += len(piece)
        if total > most:
            raise ValueError(f"{path}: expected a block of {most} bytes as it declares, got more; the file was changed")
        rest = getattr(unpack, "unconsumed_tail", b"")
        if unpack.eof or not piece:
            return total


def _xdmf(path: Path, data: bytes, limits: Limits) -> None:
    """Sizes of arrays, and which files they may stand in: HDF5 files beside this one."""
    if b"<!ENTITY" in data:
        raise ValueError(f"{path}: expected XML without entities, got some; they may stand for any text")
    for item in ElementTree.fromstring(data).iter("DataItem"):
        count = 8
        for size in item.get("Dimensions", "1").split():
            count *= int(size)
        limits.require_bytes(path, count)
        kind, text = item.get("Format", "XML"), (item.text or "").strip()
        if kind == "XML" and "Reference" not in item.attrib:
            require_held(path, "numbers", count // 8, len(data))
        if kind == "Binary":
            raise ValueError(f"{path}: expected numbers in this file or in HDF5, got the name of a binary file")
        if kind == "HDF":
            name = text.partition(":")[0]
            if Path(name).name != name or not (path.parent / name).is_file():
                raise ValueError(f"{path}: expected an HDF5 file beside this one, got {name[:80]!r}")


class _Tokens:
    """Numbers of a Gmsh section one after the other, in text or in bytes."""

    def __init__(self, data: bytes, ascii_: bool, size: int):
        self.text = iter(data.split()) if ascii_ else None
        self.data, self.at, self.size = data, 0, size

    def take(self, kind: str, count: int) -> NDArray:
        """So many numbers: "i" int, "z" size_t, "d" double."""
        if self.text is not None:
            numbers = [next(self.text, b"") for _ in range(count)]
            return np.array([float(n) if kind == "d" else int(n) for n in numbers])
        dtype = np.dtype({"i": "i4", "z": f"u{self.size}", "d": "f8"}[kind])
        numbers_ = np.frombuffer(self.data, dtype, count, self.at)
        self.at += count * dtype.itemsize
        return numbers_


class _Nodes(NamedTuple):
    declared: int
    tags: list[NDArray]


def _msh(path: Path, data: bytes, limits: Limits) -> None:
    """Numbers of nodes (tables are as long as the largest) and of the lines before data (read past the end)."""
    head = data[:200].split()
    if len(head) < 4 or head[0] != b"$MeshFormat":
        raise ValueError(f"{path}: cannot be read as a mesh (no $MeshFormat of Gmsh at its beginning); is it complete?")
    version, ascii_, size = head[1].decode(), head[2] == b"0", int(head[3])
    for found in NODES.finditer(data):
        end = data.find(b"$EndNodes", found.end())
        section = data[found.end() : end if end >= 0 and ascii_ else len(data)]
        nodes = _nodes(path, section, version, ascii_, size)
        total = sum(map(len, nodes.tags))
        if total != nodes.declared:
            raise ValueError(f"{path}: expected {nodes.declared} nodes as declared, got {total}; is it complete?")
        largest = max((int(tags.max()) for tags in nodes.tags if len(tags)), default=0)
        smallest = min((int(tags.min()) for tags in nodes.tags if len(tags)), default=0)
        most = min(limits.cells, 1000 * len(data))
        if not 0 <= smallest <= largest <= most:
            raise ValueError(f"{path}: expected numbers of nodes up to {most}, got {smallest} to {largest}")
    for found in GMSH_DATA.finditer(data):
        lines = iter(data[found.end() : found.end() + 10_000].split(b"\n"))
        tags: list[bytes] = []
        for what in ("names", "times", "sizes"):
            count = int(next(lines, b"0"))
            require_held(path, what, count, 99)
            tags = [next(lines, b"") for _ in range(count)]
        if len(tags) >= 3:  # of a time step, components, and what has them, each after its number
            components, items = int(tags[1]), int(tags[2])
            for what, declared in (("components", components), ("values", items), ("data", items * (1 + components))):
                require_held(path, what, declared, len(data))


def _nodes(path: Path, data: bytes, version: str, ascii_: bool, size: int) -> _Nodes:
    if version.startswith("2"):
        count = int(data.split(None, 1)[0])
        require_held(path, "nodes", count, len(data))
        if not ascii_:  # numbered from 1 on, which meshio checks
            return _Nodes(count, [np.arange(1, count + 1)] if count else [])
        numbers = data.split()[1 : 1 + 4 * count : 4]
        return _Nodes(count, [np.array([int(float(tag)) for tag in numbers])])
    if version == "4.0":
        raise ValueError(f"{path}: expected Gmsh's format 2.2 or 4.1, got 4.0; save it again with a newer Gmsh")
    tokens = _Tokens(data, ascii_, size)
    blocks, count, _, _ = tokens.take("z", 4).tolist()
    require_held(path, "nodes", max(blocks, count), len(data))
    return _Nodes(count, list(_blocks(path, tokens, blocks, len(data))))


def _blocks(path: Path, tokens: _Tokens, blocks: int, held: int) -> Iterator[NDArray]:
    for _ in range(blocks):
        tokens.take("i", 3)
        count = int(tokens.take("z", 1)[0])
        require_held(path, "nodes", count, held)
        yield tokens.take("z", count)
        tokens.take("d", 3 * count)


CHECKS: dict[str, Callable[[Path, bytes, Limits], None]] = {".vtu": _vtu, ".vtk": _vtk, ".xdmf": _xdmf, ".msh": _msh}
