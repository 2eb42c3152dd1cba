"""The fast engine on hexes; the page of the room, `skfem_ml.lod.engine.hexes`, has its steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.hexes.elements import HexElements
from skfem_ml.lod.engine.hexes.patches import HexPatch, in_rows
from skfem_ml.lod.engine.hexes.slabs import Beam
from skfem_ml.lod.engine.reference import ReferenceEngine
from skfem_ml.lod.engine.threads import one_thread
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm

Result = TypeVar("Result")
Finish = Callable[[HexPatch, Tensor], Result]


class HexEngine:
    """Element correctors on hexes by shared static condensation; the same as ``ReferenceEngine`` to rounding.

    Patches that are not their whole block within the domain, or where nothing is fixed, go to ``ReferenceEngine``.

    Parameters
    ----------
    space
        The space; three-dimensional, with refine > 1.
    fine_form
        The form with its coefficients.
    memory
        Bytes of factorised patches to hold; 0 for none.
    """

    def __init__(self, space: Discretisation, fine_form: FineForm, memory: int = 0):
        self.space, self.elements, self.memory = space, HexElements(space, fine_form), memory
        self.applies = space.patches.regular & ~space.floating
        self.others = ReferenceEngine(space, fine_form, memory)
        self._held: dict[int, HexPatch] = {}
        self._bytes, self._lock = 0, threading.Lock()

    def local(self, elements: ndarray, loads: ndarray | None = None) -> Iterator[tuple[ndarray, ndarray]]:
        """Pairs of elements and their rows, ``(1, rows, columns)``; see ``ReferenceEngine.local``."""
        width = 2 * self.space.ell + 2

        def rows(patch: HexPatch, load: Tensor) -> tuple[ndarray, ndarray]:
            out = load.new_zeros(width, width, width, load.shape[1])
            for (x, z, y), T, around in patch.solve(load):
                part = self.elements.rows(T, load if T == patch.T else None, around)
                out[x : x + 2, z : z + 2, y : y + 2] += part.view(2, 2, 2, -1).permute(2, 0, 1, 3)
            there = self.space.patches.nodes[patch.T] >= 0
            return np.array([patch.T]), (in_rows(out.cpu().numpy(), width) * there[:, None])[None]

        regular = self.applies[elements]
        yield from self._solutions(elements[regular], rows, None, loads)
        yield from self.others.local(elements[~regular], loads)

    def correct(self, elements: ndarray) -> Iterator[tuple[ndarray, ndarray, ndarray]]:
        """Elements, fine nodes of their patches and the correctors there; see ``ReferenceEngine.correct``."""
        n, size, eye = self.space.n, (2 * self.space.ell + 1) * self.space.n + 1, np.eye(8)

        def correctors(patch: HexPatch, load: Tensor) -> tuple[ndarray, ndarray, ndarray]:
            nodes, values = np.full((size, size, size), -1), np.zeros((size, size, size, 8))  # [z, y, x]
            for (x, z, y), T, around in patch.solve(load):
                part = tuple(slice(at * n, (at + 1) * n + 1) for at in (z, y, x))
                weights = self.elements.on_device(eye) if T == patch.T else None
                inside = self.elements.interior(T, around, weights, None)
                nodes[part] = self.space.refinement.nodes[T].reshape((n + 1,) * 3)
                values[part] = inside.cpu().numpy().reshape(*(n + 1,) * 3, 8)
            return np.array([patch.T]), nodes.reshape(1, -1), values.reshape(1, -1, 8)

        regular = self.applies[elements]
        yield from self._solutions(elements[regular], correctors, None, None)
        yield from self.others.correct(elements[~regular])

    def correct_sum(self, elements: ndarray, weights: ndarray, loads: ndarray | None = None) -> ndarray:
        """The sum of weighted correctors on the fine mesh, ``(fine.N, v)``; see ``ReferenceEngine.correct_sum``."""
        regular, count = self.applies[elements], weights.shape[2]
        total = np.zeros((self.space.fine_grid.mesh.p.shape[1], count))
        size = len(self.elements.boundary) + 8
        sums, met = np.zeros((len(self.applies), size, count)), np.zeros(len(self.applies), dtype=bool)

        def parts(patch: HexPatch, load: Tensor) -> list[tuple[int, ndarray]]:
            return [(T, around.cpu().numpy()) for _, T, around in patch.solve(load)]

        for found in self._solutions(elements[regular], parts, weights, loads):
            for T, around in found:
                sums[T] += around
                met[T] = True
        own = np.zeros(len(self.applies), dtype=bool)
        own[elements[regular]] = True
        for T in np.flatnonzero(met).tolist():
            given = self._given(T, weights, loads) if own[T] else (None, None)
            with one_thread():
                inside = self.elements.interior(T, self.elements.on_device(sums[T]), *given)
            total[self.space.refinement.nodes[T]] = inside.cpu().numpy()
        return total if regular.all() else total + self.others.correct_sum(elements[~regular], weights, loads)

    @property
    def patches(self) -> int:
        """How many factorised patches are held."""
        return len(self._held) + self.others.patches

    def _given(self, T: int, weights: ndarray | None, loads: ndarray | None) -> tuple[Tensor | None, Tensor | None]:
        """What `HexElements.load` takes; a_T(lambda_j, .) where neither is given."""
        if weights is None and loads is None:
            return self.elements.on_device(np.eye(8)), None
        chosen = (None if given is None else self.elements.on_device(given[T]) for given in (weights, loads))
        return next(chosen), next(chosen)

    def _solutions(
        self, elements: ndarray, finish: Finish[Result], weights: ndarray | None, loads: ndarray | None
    ) -> Iterator[Result]:
        """``finish(patch, load)`` of every element, row by row in x; rows are shared out among threads."""
        cells = self.space.grid.cells[:, elements]
        order = np.lexsort(cells)
        starts = np.flatnonzero(np.diff(cells[1:, order], axis=1, prepend=-1).any(axis=0))
        runs = np.split(elements[order], starts[1:]) if len(elements) else []

        def solve(run: ndarray) -> list[Result]:
            _, y, z = self.space.grid.cells[:, run[0]].tolist()
            beam, out = Beam(self.elements, y, z), []
            for T in run.tolist():
                patch = self._patch(beam, T)
                out.append(finish(patch, self.elements.load(T, *self._given(T, weights, loads))))
            return out

        with one_thread(), ThreadPoolExecutor(self.space.workers) as pool:
            for results in (map if self.space.workers == 1 else pool.map)(solve, runs):
                yield from results

    def _patch(self, beam: Beam, T: int) -> HexPatch:
        if (found := self._held.get(T)) is not None:
            return found
        patch = HexPatch(beam, T)
        with self._lock:
            if self._bytes + patch.bytes <= self.memory:
                self._bytes += patch.bytes
                self._held[T] = patch
        return patch
