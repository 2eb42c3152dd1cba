"""Checkpoints of a training run: written whole, checked when read, never shared by two runs."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from skfem_ml.learning.storage import MISFITS, CorruptModelError, regular, write_whole

try:
    import fcntl
except ImportError:  # a system without flock: two runs are then not told of each other
    fcntl = None  # type: ignore[assignment]

HEAD = b"skfem_ml checkpoint\n"


class CheckpointInUseError(OSError):
    """Another process trains with this checkpoint."""


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write state dicts, numbers and lists; whatever happens meanwhile, ``path`` holds the old or the new state.

    The file is a line of ours, the sha256 (32 bytes) of the rest, and what ``torch.save`` makes of ``state``. Raises
    OSError where the disk refuses.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    write_whole(path, HEAD + hashlib.sha256(data).digest() + data)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a state of `save_checkpoint`, every byte checked, without running anything that stands in the file.

    Tensors come on the CPU. Raises FileNotFoundError, and CorruptModelError for a file that is truncated, changed or of
    another kind, a folder or a pipe.
    """
    return state_in(regular(Path(path)).read_bytes(), path)


def state_in(data: bytes, path: str | Path) -> dict[str, Any]:
    """`load_checkpoint` of the bytes of a file, which stood at ``path``."""
    digest, state = data[len(HEAD) : len(HEAD) + 32], data[len(HEAD) + 32 :]
    if not data.startswith(HEAD) or hashlib.sha256(state).digest() != digest:
        raise CorruptModelError(
            f"{path}: expected a checkpoint with its own sha256, got one that is truncated, changed or of another "
            "kind; remove it to start anew"
        )
    try:
        return dict(torch.load(io.BytesIO(state), map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, EOFError, *MISFITS) as error:
        raise CorruptModelError(f"{path}: expected a state of save_checkpoint, got {str(error)[:200]}") from error


@contextmanager
def locked(path: str | Path | None) -> Iterator[None]:
    """Hold the lock file ``.NAME.lock`` beside ``path`` (None: nothing to hold), no longer than the process lives.

    The system holds the lock, the file only says whose it is: what a killed process leaves behind locks nobody out.
    Raises CheckpointInUseError, which names the process that holds it.
    """
    if path is None or fcntl is None:
        yield
        return
    lock = Path(path).with_name(f".{Path(path).name}.lock")
    file = _taken(lock, Path(path))
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        file.close()


def _taken(lock: Path, path: Path) -> IO[str]:
    while True:
        file = open(lock, "a+", encoding="utf-8")  # noqa: SIM115 (it stays open as long as the lock is held)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise CheckpointInUseError(
                f"{path}: expected a checkpoint of this run alone, got one in use by process {holder}; wait until it "
                "ends, or choose another checkpoint"
            ) from error
        if _same_file(file, lock):
            file.truncate(0)
            file.write(f"{os.getpid()} on {platform.node()}")
            file.flush()
            return file
        file.close()  # its last holder removed it between our opening and locking


def _same_file(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
