"""Compressed arrays of a VTU file: where their blocks lie and what they declare to unpack to.

An array is a header of whole numbers (how many blocks, bytes of a block unpacked, of the last one, bytes of each block
packed) and its blocks; both in base64, or as they are behind ``<AppendedData encoding="raw">_``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

RAW = re.compile(rb'<AppendedData[^>]+"raw"[^>]*>\s*_')
HEADERS = {"UInt32": "u4", "UInt64": "u8"}


class Packed(NamedTuple):
    """One array: what it declares, and its blocks with what each declares."""

    method: str
    declared: int
    blocks: list[tuple[bytes, int]]


def packed_arrays(data: bytes) -> Iterator[Packed]:
    """Yield the compressed arrays of a VTU file. Raises what parsing a broken one raises."""
    found = RAW.search(data)
    if found is None:
        root = ElementTree.fromstring(data)
        raw = b""
    else:
        stop = data.rindex(b"</AppendedData>")
        root = ElementTree.fromstring(data[: found.end()] + data[stop:])
        raw = data[found.end() : stop]
    method = root.get("compressor")
    if method is None:
        return
    order = ">" if root.get("byte_order") == "BigEndian" else "<"
    dtype = np.dtype(order + HEADERS[root.get("header_type", "UInt32")])
    appended = root.find("AppendedData")
    text = "" if appended is None or found is not None else (appended.text or "").strip()[1:]
    for array in root.iter("DataArray"):
        kind = array.get("format", "ascii")
        if kind == "binary":
            yield _packed(method, _base64(array.text or "", dtype), dtype)
        elif kind == "appended":
            at = int(array.get("offset", "0"))
            yield _packed(method, raw[at:] if found is not None else _base64(text[at:], dtype), dtype)


def _base64(text: str, dtype: np.dtype) -> bytes:
    """Header and blocks, which are encoded apart from each other."""
    text = text.strip()
    blocks = int(np.frombuffer(base64.b64decode(text[: _chars(dtype.itemsize)])[: dtype.itemsize], dtype)[0])
    head = _chars(dtype.itemsize * (3 + blocks))
    if head > len(text):
        raise ValueError("a header longer than its array")
    return base64.b64decode(text[:head]) + base64.b64decode(text[head:].split("<", 1)[0])


def _chars(count: int) -> int:
    return -(-count // 3) * 4


def _packed(method: str, data: bytes, dtype: np.dtype) -> Packed:
    count = int(np.frombuffer(data, dtype, 1)[0])
    if (3 + count) * dtype.itemsize > len(data):
        raise ValueError("a header longer than its array")
    head = [int(number) for number in np.frombuffer(data, dtype, 3 + count)]
    most, last, sizes = head[1], head[2], head[3:]
    ends = (3 + count) * dtype.itemsize + np.cumsum([0, *sizes], dtype=object)
    declared = [most] * (count - 1) + [last or most] if count else []
    blocks = [(data[a:b], size) for a, b, size in zip(ends[:-1], ends[1:], declared, strict=True)]
    return Packed(method, sum(declared), blocks)
