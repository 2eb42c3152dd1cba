"""Labels: fields and their exact local matrices, made on the fly or kept in files of one block each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from skfem import BilinearForm

from skfem_ml.learning.storage import ModelMismatchError, load_model, map_model, save_model
from skfem_ml.lod.blocks.tries import tried
from skfem_ml.lod.blocks.workers import Distributed, executor_of
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.recipe.labelling.ways import Way
from skfem_ml.lod.surrogate.setting import Setting
from skfem_ml.problems import diffusion
from skfem_ml.progress import Progress

Draw = Callable[[int], ndarray]
Source = Draw | ndarray | str | Path
"""Where `fit_surrogate` takes fields from: ``draw(i)``, fields ``(k, nelems)``, or a folder of `write_labels`."""


def fresh_labels(
    lod: LOD, draw: Draw, block: int = 1, start: int = 0, form: BilinearForm = diffusion
) -> Iterator[tuple[ndarray, ndarray]]:
    """Endless pairs of fields ``(block, nelems)`` and local matrices ``(block, nelems, rows, 2**d)``, none seen twice.

    ``draw(i)`` is field i on ``lod.coefficient_mesh``, and must depend on i alone; ``start`` is the first i, for a run
    that goes on. Raises ValueError for a block below one or a negative start.
    """
    if block < 1 or start < 0:
        raise ValueError(f"block, start: expected at least 1 and 0, got {block} and {start}")
    while True:
        fields = np.stack([draw(index) for index in range(start, start + block)])
        yield fields, np.stack([lod.local(form, a=a) for a in fields])
        start += block


def write_labels(
    folder: str | Path,
    lod: LOD,
    draw: Draw,
    count: int,
    block: int = 16,
    form: BilinearForm = diffusion,
    progress: Progress | None = None,
    by: Way | None = None,
    client: Executor | Distributed | None = None,
) -> list[Path]:
    """Write fields 0, ..., count - 1 and their local matrices, one file a block, and return the files.

    Files that are there already are checked (checksum, setting and form, the fields themselves, bit for bit) and kept:
    a run that was broken off goes on where it stopped. Fields are stored in double, matrices in single precision.
    ``progress(done, count, text)`` is told after every block. ``by`` is another way to the matrices, whose name is
    kept with them. ``client`` makes the files elsewhere: `lod.local_client`, a ``Client`` of dask, or an executor, to
    which ``draw`` is sent; each is tried three times.

    Raises ModelMismatchError for files of other labels, CorruptModelError for damaged ones and ValueError for sizes
    below one; RuntimeError for files that failed on all tries, when the others are done.
    """
    if count < 1 or block < 1:
        raise ValueError(f"count, block: expected at least 1, got {count} and {block}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, count, block)
    jobs = [partial(_made, folder, lod, draw, start, min(start + block, count), form, by) for start in starts]

    def tell(done: int) -> None:
        if progress is not None:
            progress(min(done * block, count), count, "labels")

    if client is not None:
        return _by_workers(jobs, starts, executor_of(client), tell)
    files = []
    for done, job in enumerate(jobs, 1):
        files.append(job())
        tell(done)
    return files


def _made(folder: Path, lod: LOD, draw: Draw, start: int, stop: int, form: BilinearForm, by: Way | None) -> Path:
    """The file of fields ``start`` to ``stop - 1``, written where it is not there, else checked."""
    path = folder / f"labels-{start:06d}.safetensors"
    fields = np.stack([draw(index) for index in range(start, stop)])
    card = {"kind": "labels", "first": start, "count": stop - start, **_about(lod, form, by)}
    if path.exists():
        _check_block(path, fields, card)
    else:
        matrices = np.stack([lod.local(form, a=a) if by is None else by.local(a) for a in fields], dtype=np.float32)
        save_model(path, {"fields": torch.from_numpy(fields), "matrices": torch.from_numpy(matrices)}, card)
    return path


def _by_workers(
    jobs: Sequence[Callable[[], Path]], starts: Sequence[int], on: Executor, tell: Callable[[int], None]
) -> list[Path]:
    done, failed = tried(len(jobs), lambda number: on.submit(jobs[number]), tell)
    if failed:
        number, error = next(iter(failed.items()))
        raise RuntimeError(
            f"labels: {len(failed)} of {len(jobs)} files failed on all tries, the first, of fields from "
            f"{starts[number]} on, with {type(error).__name__}: {error}; the others stay, run it again"
        ) from error
    return [done[number] for number in range(len(jobs))]


def read_labels(folder: str | Path) -> Iterator[tuple[ndarray, ndarray, Mapping[str, object]]]:
    """Fields ``(k, nelems)``, local matrices ``(k, nelems, rows, 2**d)`` and card of every block in a folder, in order.

    The arrays lie in the files (`map_model`): to be read, not to be written to.

    Raises FileNotFoundError for a folder without blocks and CorruptModelError for damaged ones.
    """
    paths = sorted(Path(folder).glob("labels-*.safetensors"))
    if not paths:
        raise FileNotFoundError(f"{folder}: expected files labels-*.safetensors, got none; write_labels makes them")
    for path in paths:
        tensors, card = map_model(path)
        yield tensors["fields"].numpy(), tensors["matrices"].numpy(), card


def _about(lod: LOD, form: BilinearForm, by: Way | None) -> dict[str, object]:
    return {**Setting.of(lod, form).to_json(), **({} if by is None else {"by": by.name})}


def _check_block(path: Path, fields: ndarray, card: Mapping[str, object]) -> None:
    tensors, found = load_model(path)
    wrong = [key for key, value in card.items() if found.get(key) != value]
    remedy = "use another folder, or remove the file"
    if wrong:
        raise ModelMismatchError(str(path), {key: card[key] for key in wrong}, found, remedy)
    if not np.array_equal(tensors["fields"].numpy(), fields):
        raise ModelMismatchError(
            str(path), {"fields": "those of draw(i)"}, {"fields": "others (another family or seed)"}, remedy
        )


class Stored:
    """The labels of a folder, read from its files where they are used: they may be larger than memory.

    Files stay mapped into memory, read only, so that processes on one machine that train together share what they read.

    Parameters
    ----------
    lod, form
        What they are to be labels of.
    folder
        A folder of `write_labels`.

    Raises ModelMismatchError for labels of another setting or form, and what `read_labels` raises.
    """

    def __init__(self, lod: LOD, folder: str | Path, form: BilinearForm = diffusion):
        wanted = {"kind": "labels", **Setting.of(lod, form).to_json()}
        self.folder, self._blocks = folder, list[tuple[ndarray, ndarray]]()
        for a, local, card in read_labels(folder):
            wrong = [key for key in wanted if card.get(key) != wanted[key]]
            if wrong:
                remedy = "wanted is the LOD and form at hand, got the labels; use another folder or LOD"
                raise ModelMismatchError(str(folder), {key: wanted[key] for key in wrong}, card, remedy)
            self._blocks.append((a, local))
        self._ends = np.cumsum([len(a) for a, _ in self._blocks])

    def __repr__(self) -> str:
        return f"Stored({len(self)} fields in {len(self._blocks)} files of {str(self.folder)!r})"

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __iter__(self) -> Iterator[ndarray]:
        """The fields, one by one."""
        return (field for a, _ in self._blocks for field in a)

    def rows(self, rows: ndarray, elements: ndarray) -> tuple[ndarray, ndarray]:
        """Some of the fields ``(k, nelems)``, and their matrices of some elements ``(k, elements, rows, 2**d)``."""
        blocks = np.searchsorted(self._ends, rows, side="right")
        places = [(self._blocks[block], row - self._ends[block]) for block, row in zip(blocks, rows, strict=True)]
        return np.stack([a[at] for (a, _), at in places]), np.stack([local[at][elements] for (_, local), at in places])
