"""One form with its coefficients, computed by blocks of rows of coarse elements."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from skfem import BilinearForm, LinearForm

from skfem_ml import checks
from skfem_ml.learning.storage import CorruptModelError
from skfem_ml.lod.blocks.columns import Columns
from skfem_ml.lod.blocks.estimate import Estimate, estimated
from skfem_ml.lod.blocks.identity import identity
from skfem_ml.lod.blocks.rasters import Values, Windowed, opened, saved
from skfem_ml.lod.blocks.task import BlockResult, BlockTask, Stored, run_stored, stored_at
from skfem_ml.lod.blocks.workers import Computed, Distributed, Done, executor_of, run_all, run_here
from skfem_ml.lod.coarse import CoarseSystem, check_sum
from skfem_ml.lod.correctors import Correctors, without_correctors
from skfem_ml.lod.local import Known, LocalMap, check_form
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.interpolation import hat_values, tensor
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.lod.mesh.windows import Window
from skfem_ml.lod.system import System
from skfem_ml.progress import Progress, bar
from skfem_ml.solvers import Solver

if TYPE_CHECKING:
    from skfem_ml.lod.method import LOD

LOG = logging.getLogger("skfem_ml")
ROWS = 16


class BlockSystem:
    """The LOD matrix of a form, by blocks of whole rows of coarse elements: memory is that of one block and of S.

    A block is read with ell + 1 rows on either side, of which 2 ell are condensed once more than in the whole: with 16
    rows in a block that costs a few per cent. The matrix has the same bits for any number of rows in a block,
    with quads and the fast engine. Local matrices are those of ``lod.local`` to the last bit; those of a network, which
    rounds differently in batches of another size, to single precision.

    Parameters
    ----------
    lod
        The LOD; its fine mesh is not built. What is not looked at here is the loss of digits above contrast 1e7.
    form
        A ``BilinearForm`` or a local map that decides element by element; maps are asked for sixteen rows at a time.
    rows
        Rows of coarse elements in a block (>= 1).
    folder
        Where every block leaves a checksummed file; those of the same form, mesh and coefficients are found again, by
        any process: a form is known by its code and what that names, a network by its weights.
    client
        Who computes the blocks: a ``dask.distributed.Client`` (`local_client`), whose workers see ``folder`` and the
        files of coefficients under the same paths, or an executor of threads. Default: this process.
    coefficients
        Numbers; rasters ``(ny, nx)`` of coefficient cells, row 0 at the bottom, of anything with a shape that is read
        by slices (``numpy.load(path, mmap_mode="r")``, zarr), or the path of a ``.npy`` file of one; functions of the
        midpoints ``x`` ``(d, k)``; or values in the order of ``lod.coefficient_mesh`` ``(nelems,)``, but on lines.

    Raises
    ------
    TypeError
        For forms and local maps that are known by their address alone, where ``folder`` is given; for `Known`.
    ValueError
        For rasters of another shape, and local maps that decide for a field as a whole; when computing, as `System`.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD, BlockSystem
    >>> from skfem_ml.problems import diffusion, load
    >>> system = BlockSystem(LOD(MeshQuad().refined(3), refine=4), diffusion, rows=3, a=lambda x: 1 + x[0])
    >>> system
    BlockSystem(3 blocks of 3 rows, LOD(64 quads, refine=4, ell=2, condensation on cpu))
    >>> round(float(system.solve(load(1.0)).max()), 3)
    0.051
    """

    def __init__(
        self,
        lod: LOD,
        form: BilinearForm | LocalMap,
        *,
        rows: int = ROWS,
        folder: str | Path | None = None,
        client: Executor | Distributed | None = None,
        **coefficients: Windowed,
    ):
        check_form(form)
        _check_local_map(form)
        self.lod, self.form, self.rows = lod, form, checks.whole(rows, "rows", 1)
        self.coefficients = {name: opened(name, value, lod.space) for name, value in coefficients.items()}
        self.folder, self.client = None if folder is None else Path(folder).absolute(), client
        if client is not None:
            executor_of(client)
            if folder is None:
                raise ValueError("folder: expected one, where workers leave what they have computed, got none")
        self._identity = "" if folder is None else identity(form, lod.engine, lod.space.interiors)

    def __repr__(self) -> str:
        return f"BlockSystem({len(self)} blocks of {self.rows} rows, {self.lod!r})"

    def __len__(self) -> int:
        return -(-self.lod.space.grid.shape[-1] // self.rows)

    def task(self, number: int) -> BlockTask:
        """What one block computes, as a value that pickles: ``task.run()``."""
        return self.part(self._rows_of(number))

    def part(self, rows: range, coefficients: dict[str, Values] | None = None) -> BlockTask:
        """The task of some rows of coarse elements; ``coefficients``: the same ones read from elsewhere."""
        return BlockTask(self.lod, rows, self.form, coefficients or self.coefficients, self._identity)

    def estimate(self, workers: int = 1) -> Estimate:
        """What `matrix` will cost on so many workers: an `Estimate`, from thirteen rows of elements that are run."""
        return estimated(self, workers)

    @property
    def distinct(self) -> int:
        """How many patches are solved, of as many as there are elements: of equal ones in a block (`repeats`) one."""
        return sum(len(np.unique(self.task(number).first_of_equals())) for number in range(len(self)))

    def compute(self) -> Computed:
        """Leave the files of all blocks in the folder, by the client's workers or here, and say how many were there.

        Raises ValueError without a folder and as `System`, and `BlocksFailedError` where workers failed three times.
        """
        if self.folder is None:
            raise ValueError("folder: expected one where blocks leave their files, got none")
        found = [one.found for one in (self._here() if self.client is None else self._by_workers(self.client))]
        return self._counted(found)

    def results(self) -> Iterator[tuple[int, BlockResult]]:
        """The first row and the result of every block, from below; those with a file are read."""
        if self.folder is None:
            results: Iterator[BlockResult] = (self.task(number).run() for number in range(len(self)))
        else:
            results = self._kept_here() if self.client is None else self._kept_by_workers(self.client)
        for number, result in enumerate(results):
            yield self._rows_of(number).start, result

    def _kept_here(self) -> Iterator[BlockResult]:
        found = []
        for stored in self._here():
            found.append(stored.found)
            yield stored.result
        self._counted(found)

    def _kept_by_workers(self, client: Executor | Distributed) -> Iterator[BlockResult]:
        """What workers have left is known by its key: coefficients are not read again."""
        done = self._by_workers(client)
        self._counted([one.found for one in done])
        for number, one in enumerate(done):
            path = self._path(number)
            try:
                result = stored_at(path, one.key)
            except CorruptModelError:
                result = None
            yield run_stored(self.task(number), path).result if result is None else result

    def _here(self) -> Iterator[Stored]:
        with self._telling() as tell:
            yield from run_here(len(self), self.task, self._path, tell)

    def _by_workers(self, client: Executor | Distributed) -> list[Done]:
        values = self.coefficients
        with self._telling() as tell:
            if not isinstance(client, Executor):  # arrays do not travel: they are read from the folder
                values = {name: saved(value, self._path_of(f"{name}.npy")) for name, value in values.items()}
            handed_out = lambda number: self.part(self._rows_of(number), values)
            return run_all(len(self), handed_out, self._path, executor_of(client), tell)

    def _telling(self) -> AbstractContextManager[Progress]:
        """Where progress goes; the folder is made."""
        self._path_of("").mkdir(parents=True, exist_ok=True)
        progress = self.lod.progress
        return nullcontext(progress) if callable(progress) else bar(progress)

    def _counted(self, found: list[bool]) -> Computed:
        counted = Computed(sum(found), len(found) - sum(found))
        LOG.info("%s: %d of %d blocks found, the others computed", self.folder, counted.found, len(self))
        return counted

    def matrix(self) -> csr_matrix:
        """The LOD matrix S ``(coarse.N, coarse.N)``, rows test functions; warns as `System.matrix`."""
        space = self.lod.space
        columns, ranges = Columns(space.grid, space.ell, space.coarse_count), []
        for first, result in self.results():
            columns.add(first, result.columns)
            ranges.append(result.ranges)
        low, high = np.min(ranges, axis=0)[:, 0], np.max(ranges, axis=0)[:, 1]
        ratios = [h / l for l, h in zip(low.tolist(), high.tolist(), strict=True) if l > 0]
        S = columns.csr()
        check_sum(S, np.flatnonzero(~space.fixed), self.form, max(ratios, default=1.0), space.ell)
        return S

    def load(self, f: LinearForm, *, corrected: bool = False) -> ndarray:
        """F(lambda_i) ``(coarse.N,)``, or with ``corrected`` F(lambda_i) - a(R f, lambda_i): `System.load`, by blocks.

        A corrected one factorises every patch again, here: it takes as long as `matrix` without workers.
        """
        if corrected and not isinstance(self.form, BilinearForm):
            raise without_correctors("load(..., corrected=True)", self.form)
        out = np.zeros(self.lod.space.coarse_count)
        for nodes, values in self._corrected(f) if corrected else self._plain(f):
            out += np.bincount(nodes.ravel(), values.ravel(), len(out))
        return out

    # Of a load by rows of elements, so that sums do not depend on the blocks: coarse nodes and what is added there.

    def _plain(self, f: LinearForm) -> Iterator[tuple[ndarray, ndarray]]:
        space = self.lod.space
        hats = tensor(hat_values(space.n), space.grid.dim)
        for y in range(space.grid.shape[-1]):
            window = Window(space, range(y, y + 1), halo=0)
            if len(window.elements):
                yield space.grid.corners[window.elements], FineLoad(window, f).split @ hats.T

    def _corrected(self, f: LinearForm) -> Iterator[tuple[ndarray, ndarray]]:
        assert isinstance(self.form, BilinearForm)
        corners = self.lod.space.grid.corners
        for number in range(len(self)):
            task = self.task(number)
            window, own = task.window, task.window.own
            correctors = Correctors(task.lod, FineForm(window, self.form, task.fields), 0)
            rows = correctors.rows(own, FineLoad(window, f).split[:, :, None])[:, :, 0]
            number_of = np.zeros(window.grid.corners.max() + 1, dtype=int)
            number_of[window.grid.corners] = corners[window.elements]
            nodes, lines = window.patches.nodes[own], window.grid.cells[-1, own]
            for y in np.unique(lines):
                there = (nodes >= 0) & (lines == y)[:, None]
                yield number_of[nodes[there]], rows[there]

    def solve(self, f: LinearForm | ndarray, /, x: ArrayLike | None = None, *, corrected: bool = False) -> ndarray:
        """The coarse solution u_h of S u_h = b, u_h = x on Gamma_D (default 0), ``(coarse.N,)``.

        ``f`` is a load, as for `load`, or b itself; errors as for `System.solve`.
        """
        space = self.lod.space
        b = self.load(f, corrected=corrected) if isinstance(f, LinearForm) else np.asarray(f, dtype=float)
        values = np.zeros(space.coarse_count) if x is None else np.asarray(x, dtype=float)
        if b.shape != values.shape or b.shape != (space.coarse_count,):
            raise ValueError(f"f, x: expected {space.coarse_count} values, got shapes {b.shape} and {values.shape}")
        return self.coarse().solve(b, values)[0]

    def coarse(self, solver: Solver | None = None) -> CoarseSystem:
        """S u = b ready for any number of loads, as `System.coarse`; made once where no ``solver`` is given."""
        return self._coarse if solver is None else CoarseSystem(self.matrix(), self.lod.space.fixed, None, solver)

    @cached_property
    def _coarse(self) -> CoarseSystem:
        return CoarseSystem(self.matrix(), self.lod.space.fixed)

    if not TYPE_CHECKING:  # type checkers are to see what is missing

        def __getattr__(self, name):
            there = hasattr(System, name) and not name.startswith("_")
            says = f"; it holds one block at a time, take lod.system(form, a=a).{name} where the fine mesh fits"
            raise AttributeError(f"BlockSystem has no attribute {name!r}" + (says if there else ""))

    def _rows_of(self, number: int) -> range:
        return range(number * self.rows, min((number + 1) * self.rows, self.lod.space.grid.shape[-1]))

    def _path(self, number: int) -> Path:
        return self._path_of(f"block-{number:05d}.safetensors")

    def _path_of(self, name: str) -> Path:
        return (self.folder or Path()) / name


def _check_local_map(form: BilinearForm | LocalMap) -> None:
    """Raise for local maps whose matrices are not those of the window that they are asked for."""
    if isinstance(form, Known):
        raise TypeError("form: expected one whose matrices are to be computed, got Known; take lod.assemble(known)")
    if getattr(form, "of_whole_field", False):
        raise ValueError(
            f"form: expected one that decides element by element, got {form!r}, which looks at the field as a whole "
            "(for what it promises of u_h, or for novel fields); take lod.system(...), or element_tol= with "
            "Extrapolated or SuperElements"
        )
