"""One block: a pure function of what pickles small, and the checksummed file of its result."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy import ndarray
from skfem import BilinearForm

from skfem_ml import checks
from skfem_ml.learning.storage import CorruptModelError, load_model, save_model
from skfem_ml.lod.blocks.columns import column_sums
from skfem_ml.lod.local import LocalMap, PickledForm
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.windows import Window
from skfem_ml.lod.system import System

if TYPE_CHECKING:
    from skfem_ml.lod.method import LOD

SAMPLE = 16  # fine cells whose element matrices tell one form from another


class BlockResult(NamedTuple):
    """`column_sums` of a block, and the smallest and largest values of its coefficients ``(coefficients, 2)``."""

    columns: ndarray
    ranges: ndarray


class BlockTask(PickledForm):
    """Local matrices of the rows of a window, summed: what depends on nothing but what it holds."""

    form: BilinearForm | LocalMap

    def __init__(self, lod: LOD, window: Window, form: BilinearForm | LocalMap, fields: dict[str, float | ndarray]):
        self.lod = copy.copy(lod)
        self.lod.__dict__.pop("fine", None)
        self.lod.space, self.lod.progress = window, False
        self.window, self.form, self.fields = window, form, fields

    def __getstate__(self) -> dict[str, object]:
        return super().__getstate__() if isinstance(self.form, BilinearForm) else dict(vars(self))

    def run(self) -> BlockResult:
        """The columns of the block. Raises as `System`, with the rows in the message."""
        rows = self.window.rows
        try:
            local = System(self.lod, self.form, self.fields).local(self.window.own)
        except ValueError as error:
            raise ValueError(
                f"{error} (in or around coarse rows {rows.start} to {rows.stop - 1}; cells count there)"
            ) from error
        ranges = [(np.min(value), np.max(value)) for value in self.fields.values()]
        return BlockResult(column_sums(self.window, local), np.array(ranges, dtype=float).reshape(-1, 2))

    def key(self) -> str:
        """sha256 of all that the result depends on; a form is known by some of its element matrices."""
        window, total = self.window, hashlib.sha256()
        weights = window.interpolation.local(window.n, window.grid.dim)
        told = (repr(self.lod), repr(self.form), sorted(self.fields), window.rows, window.interpolation.average)
        total.update(repr(told).encode())
        arrays = [window.grid.mesh.p, window.grid.mesh.t, window.dirichlet.sides, window.elements, weights]
        arrays += [np.asarray(self.fields[name], dtype=float) for name in sorted(self.fields)]
        if isinstance(self.form, BilinearForm):
            cells = np.linspace(0, window.refinement.cells.size - 1, SAMPLE).astype(int)
            arrays.append(FineForm(window, self.form, self.fields).matrices(cells))
        for array in arrays:
            total.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return total.hexdigest()


def run_stored(task: BlockTask, path: Path) -> tuple[BlockResult, bool]:
    """The result of a task, and whether it was found at ``path``; else it is computed and written there.

    A file that is damaged is told (UserWarning) and computed again; one of other coefficients is replaced.
    """
    key = task.key()
    if path.exists():
        try:
            tensors, card = load_model(path)
            if card.get("key") == key:
                return BlockResult(tensors["columns"].numpy(), tensors["ranges"].numpy()), True
        except CorruptModelError as error:
            checks.warn(f"{error}; the block is computed again")
    result = task.run()
    tensors = {name: torch.from_numpy(value) for name, value in result._asdict().items()}
    save_model(path, tensors, {"key": key})
    return result, False
