"""One block: a pure function of what pickles small, and the checksummed file of its result."""

from __future__ import annotations

import copy
import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy import ndarray
from skfem import BilinearForm

from skfem_ml.learning.storage import CorruptModelError, load_model, save_model
from skfem_ml.lod.blocks.columns import column_sums
from skfem_ml.lod.blocks.rasters import Values, carried, values_in
from skfem_ml.lod.blocks.repeats import first_of_equals
from skfem_ml.lod.engine.protocol import Interiors
from skfem_ml.lod.extrapolation import Extrapolated
from skfem_ml.lod.local import LocalMap, PickledForm
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.windows import Window
from skfem_ml.lod.system import System

if TYPE_CHECKING:
    from skfem_ml.lod.method import LOD

SAMPLE = 16  # fine cells whose element matrices tell one form from another
# Rows of elements of which a local map is asked at once: networks round differently in batches of another size, so
# these are the same whatever the blocks are.
UNIT = 16
FORMAT = 2  # of the keys; another one where results of the same key would be others


class BlockResult(NamedTuple):
    """`column_sums` of a block, and the smallest and largest values of its coefficients ``(coefficients, 2)``."""

    columns: ndarray
    ranges: ndarray


class BlockTask(PickledForm):
    """Local matrices of some rows of elements, summed: what depends on nothing but what it holds.

    Parameters
    ----------
    lod
        The LOD of the whole.
    rows
        The rows.
    form
        A ``BilinearForm`` or a local map.
    coefficients
        Numbers, rasters or functions, of which the task takes what it needs.
    identity
        What `identity` says of form, engine and interiors; in the key of the file.
    """

    form: BilinearForm | LocalMap

    def __init__(
        self,
        lod: LOD,
        rows: range,
        form: BilinearForm | LocalMap,
        coefficients: dict[str, Values],
        identity: str = "",
    ):
        space, self.lod, self.form, self.identity = lod.space, copy.copy(lod), form, identity
        self.lod.__dict__.pop("fine", None)
        self.window = self.lod.space = Window(space, rows)
        self.lod.progress = False
        exact = isinstance(form, BilinearForm | Extrapolated | Interiors)
        asked = [] if exact else [range(y, min(y + UNIT, space.grid.shape[-1])) for y in _units(rows)]
        self.units = [Window(space, part) for part in asked]
        read = [self.window, *self.units]
        cells = range(
            space.m * min(part.first for part in read), space.m * max(part.first + part.grid.shape[-1] for part in read)
        )
        self.coefficients = {name: carried(value, cells) for name, value in coefficients.items()}

    def __getstate__(self) -> dict[str, object]:
        # A form of the script that runs is no other process's __main__: it travels by its code (cloudpickle, in dask).
        by_place = isinstance(self.form, BilinearForm) and self.form.form.__module__ != "__main__"
        state = super().__getstate__() if by_place else dict(vars(self))
        return {name: value for name, value in state.items() if name != "fields"}  # read again

    @cached_property
    def fields(self) -> dict[str, float | ndarray]:
        """The coefficients on the cells of the window."""
        return self._on(self.window)

    def _on(self, window: Window) -> dict[str, float | ndarray]:
        return {name: values_in(window, value) for name, value in self.coefficients.items()}

    def run(self) -> BlockResult:
        """The columns of the block. Raises as `System`, with the rows in the message."""
        rows = self.window.rows
        try:
            local = self.local()
        except ValueError as error:
            raise ValueError(
                f"{error} (in or around coarse rows {rows.start} to {rows.stop - 1}; cells count there)"
            ) from error
        ranges = [(np.min(value), np.max(value)) for value in self.fields.values()]
        return BlockResult(column_sums(self.window, local), np.array(ranges, dtype=float).reshape(-1, 2))

    def local(self) -> ndarray:
        """The local matrices of the window's own elements, ``(k, (2 ell + 2)**d, 2**d)``."""
        if not self.units:
            own, first = self.window.own, self.first_of_equals()
            solved, at = np.unique(first, return_inverse=True)
            system = System(self.lod, self.form, self.fields)
            return system.local(own) if len(solved) == len(own) else system.local(solved)[at]
        asked = [(unit, unit.elements[unit.own]) for unit in self.units]
        local = np.concatenate([self._of_unit(unit) for unit, _ in asked])
        numbers = np.concatenate([elements for _, elements in asked])
        order = np.argsort(numbers)
        return local[order[np.searchsorted(numbers, self.window.elements[self.window.own], sorter=order)]]

    def first_of_equals(self) -> ndarray:
        """For each of the window's own elements the one that is solved in its place; see `repeats`."""
        if not isinstance(self.form, BilinearForm) or self.units:
            return self.window.own
        fine_form = FineForm(self.window, self.form, self.fields)
        return first_of_equals(self.window, fine_form, self.lod.engine)

    def _of_unit(self, unit: Window) -> ndarray:
        lod = copy.copy(self.lod)
        lod.space = unit
        return System(lod, self.form, self._on(unit)).local(unit.own)

    def key(self) -> str:
        """sha256 of all that the result depends on; a form is known by some of its element matrices as well."""
        window, lod = self.window, self.lod
        weights = window.interpolation.local(window.n, window.grid.dim)
        told = (FORMAT, self.identity, sorted(self.coefficients), window.rows, window.interpolation.average)
        total = hashlib.sha256(repr((*told, window.n, window.m, window.ell, lod.space.device)).encode())
        arrays = [window.dirichlet.sides, weights]
        for part in self.units or [window]:
            fields = self._on(part) if self.units else self.fields
            arrays += [part.grid.mesh.p, part.grid.mesh.t, part.elements]
            arrays += [np.asarray(fields[name], dtype=float) for name in sorted(fields)]
        if isinstance(self.form, BilinearForm):
            cells = np.linspace(0, window.refinement.cells.size - 1, SAMPLE).astype(int)
            arrays.append(FineForm(window, self.form, self.fields).matrices(cells))
        for array in arrays:
            total.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return total.hexdigest()


def _units(rows: range) -> range:
    """The first rows of the units that some rows lie in."""
    return range(rows.start - rows.start % UNIT, rows.stop, UNIT)


class Stored(NamedTuple):
    """A result and its key, whether it was found on disk, and what was wrong with the file that was there."""

    result: BlockResult
    key: str
    found: bool
    damaged: str = ""


def run_stored(task: BlockTask, path: Path) -> Stored:
    """The result of a task, found at ``path``; else it is computed and written there.

    A file that is damaged is computed again, one of other coefficients is replaced.
    """
    key, damaged = task.key(), ""
    try:
        if (there := stored_at(path, key)) is not None:
            return Stored(there, key, True)
    except CorruptModelError as error:
        damaged = f"{error}; the block is computed again"
    result = task.run()
    save_model(path, {name: torch.from_numpy(value) for name, value in result._asdict().items()}, {"key": key})
    return Stored(result, key, False, damaged)


def stored_at(path: Path, key: str) -> BlockResult | None:
    """The result of that key in a file; None where there is none. Raises CorruptModelError for a damaged one."""
    if not path.exists():
        return None
    tensors, card = load_model(path)
    return BlockResult(tensors["columns"].numpy(), tensors["ranges"].numpy()) if card.get("key") == key else None
