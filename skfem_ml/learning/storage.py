"""Tensors and a card on disk: safetensors with an own checksum, written whole or not at all, never unpickled.

The header of the file holds one entry of our own: the sha256 of card and tensors (64 characters), then the card (JSON).
Nothing that stands in a file is run, imported or opened.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

MAX_HEADER = 2**20  # bytes: cards are small, and the header is parsed before anything can be verified
MAX_FILE = 2**30
ENTRY = "skfem_ml"
STALE = 3600.0  # seconds
# What a card with the right checksum and the wrong entries makes of code that builds from it: one list for all rooms.
MISFITS = (ArithmeticError, AttributeError, IndexError, KeyError, RecursionError, RuntimeError, TypeError, ValueError)


class CorruptModelError(ValueError):
    """The file is not what `save_model` wrote: truncated, changed, too large, a pickle or something else."""


class ModelMismatchError(ValueError):
    """The model is sound but made for another setting; ``wanted`` and ``got`` hold the entries that differ."""

    def __init__(self, what: str, wanted: Mapping[str, object], got: Mapping[str, object], remedy: str):
        self.wanted, self.got = dict(wanted), dict(got)
        pairs = "; ".join(f"{key}: wanted {wanted[key]!r}, got {got.get(key)!r}" for key in wanted)
        super().__init__(f"{what}: {pairs}; {remedy}")


def require_entries(what: str, card: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """Raise ModelMismatchError where a card has other entries than those wanted."""
    differing = {key: value for key, value in wanted.items() if card.get(key) != value}
    if differing:
        raise ModelMismatchError(what, differing, card, "load another model or train one")


def save_model(path: str | Path, tensors: Mapping[str, Tensor], card: Mapping[str, object]) -> None:
    """Write named tensors and a card of JSON values; what was at ``path`` stays whole until it is replaced.

    Raises ValueError for a card that is no JSON (NaN and infinity are none) and for files or headers above the caps,
    OSError where the disk refuses.
    """
    try:
        text = json.dumps(dict(card), allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"card: expected JSON values (finite numbers, text, lists, dicts), got {error}") from error
    held = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # One entry, not two: the library writes several in an order that changes from run to run.
    data = serialise(held, {ENTRY: _digest(held, text) + text})
    header = int.from_bytes(data[:8], "little")
    if header > MAX_HEADER or len(data) > MAX_FILE:
        raise ValueError(
            f"{path}: expected at most {MAX_HEADER} bytes of header and {MAX_FILE} in all, got {header} and "
            f"{len(data)}; such a file would not load again, so split it"
        )
    write_whole(path, data)


def load_model(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors (on the CPU) and card of a file of `save_model`, after checking every byte of both.

    Raises FileNotFoundError, and CorruptModelError for everything that `save_model` did not write.
    """
    data = _read(Path(path))
    return _checked(path, data, lambda: parse(data))


def map_model(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """`load_model` of which the tensors stay in the file, read where they are used, by many processes at once.

    Every byte is checked once, and what is read lies in the system's memory of files, which all processes share. Do not
    write to the tensors. Errors as `load_model`.
    """
    with open(regular(Path(path)), "rb") as file:
        _sized(Path(path), file)
        file.seek(0)
        start = file.read(8)
        head = start + file.read(int.from_bytes(start, "little"))
    return _checked(path, head, lambda: _mapped(Path(path)))


def _mapped(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)


def _checked(
    path: str | Path, data: bytes, tensors_of: Callable[[], dict[str, Tensor]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and card, after both are checked; ``data`` begins with the header."""
    try:
        card_text, digest = _own_entries(data)
        tensors = tensors_of()
    except (SafetensorError, *MISFITS) as error:
        raise CorruptModelError(
            f"{path}: expected a file of save_model, got one that cannot be read ({type(error).__name__}: "
            f"{str(error)[:200]}); it is truncated or changed, fetch or train it again"
        ) from error
    if _digest(tensors, card_text) != digest:
        raise CorruptModelError(
            f"{path}: expected the sha256 {digest!r}, got another; the file was changed, fetch or train it again"
        )
    return tensors, json.loads(card_text)


@contextlib.contextmanager
def fitting(path: str | Path, what: str) -> Iterator[None]:
    """Whatever a card with wrong entries makes of the code that builds from it becomes CorruptModelError."""
    try:
        yield
    except CorruptModelError:
        raise
    except MISFITS as error:
        raise CorruptModelError(
            f"{path}: expected {what}, got something else ({str(error)[:300]}); it is another kind of file, or of "
            "another version"
        ) from error


def write_whole(path: str | Path, data: bytes) -> None:
    """Write bytes so that ``path`` holds the old or the new content at every moment: see `whole`."""
    with whole(path) as file:
        file.write(data)


@contextlib.contextmanager
def whole(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write to, which is put at ``path`` at the end: the old or the new content is there at every moment.

    A temporary file in the same folder is written, synchronised and put in place at once. A process that is killed may
    leave its temporary file (``.name.*.tmp``), never a damaged ``path``; those older than an hour are removed.
    """
    path = Path(path)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        # Opened like any new file, so that the user's umask decides who may read it.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk is told without a name
        raise
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the new name itself must reach the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _sweep(path: Path) -> None:
    """Remove what saves to ``path`` that were killed have left; one at work takes no hour."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def regular(path: Path) -> Path:
    """The path, if it is that of a regular file; CorruptModelError for a folder, a pipe or a device."""
    # Looked at before it is opened: opening a named pipe would wait for ever.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise CorruptModelError(f"{path}: expected a regular file, got a folder, a pipe or a device")
    return path


def _read(path: Path) -> bytes:
    """The file, if `_sized` finds nothing wrong."""
    with open(regular(path), "rb") as file:
        size = _sized(path, file)
        file.seek(0)
        return file.read(size)  # no more than there was: it may grow meanwhile


def _sized(path: Path, file: IO[bytes]) -> int:
    """Its size, if its first 8 bytes and its header agree with it: a hole of a gigabyte is not read."""
    size = os.fstat(file.fileno()).st_size
    if size > MAX_FILE:
        raise CorruptModelError(f"{path}: expected at most {MAX_FILE} bytes, got {size}; this is no model of ours")
    start = file.read(16)
    # A header of 128 + 256 k bytes begins with the byte of a pickle, but its JSON begins with a brace.
    if (start[:1] == b"\x80" and start[8:9] != b"{") or start[:4] == b"PK\x03\x04":
        raise CorruptModelError(
            f"{path}: expected safetensors, got a pickle (or torch.save archive); these can run code and are never "
            "opened, write the weights with save_model"
        )
    header = int.from_bytes(start[:8], "little")
    file.seek(8)
    end = 8 + header + (_last_byte(file.read(header)) if header <= MAX_HEADER else size)
    if len(start) < 8 or start[8:9] != b"{" or end != size:
        raise CorruptModelError(
            f"{path}: expected a header of JSON (at most {MAX_HEADER} bytes) and the tensors that it names, got "
            f"{header} declared in {size} bytes; the file is truncated or changed, fetch or train it again"
        )
    return size


def _last_byte(header: bytes) -> int:
    """Where the tensors of a header end."""
    return max(map(int, re.findall(rb'"data_offsets"\s*:\s*\[\s*\d+\s*,\s*(\d{1,18})\s*\]', header)), default=0)


def _own_entries(data: bytes) -> tuple[str, str]:
    """Card and checksum, as they stand in the header. Raises what json and dict raise."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    entry = header["__metadata__"][ENTRY]
    digest, card = entry[:64], entry[64:]
    if not isinstance(json.loads(card), dict):
        raise TypeError("the card is no dictionary")
    return card, digest


def _digest(tensors: Mapping[str, Tensor], card: str) -> str:
    """sha256 over card, names, types, shapes and bytes; lengths go in, so that nothing can move between them."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        head = json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode()
        total.update(len(head).to_bytes(8, "little") + head)
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    text = card.encode()
    total.update(len(text).to_bytes(8, "little") + text)
    return total.hexdigest()
