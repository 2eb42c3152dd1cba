"""The correctors of one form on one LOD: the only place from which an engine is reached."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix

from skfem_ml.lod.engine.protocol import Engine, corrector_matrix, progress_over
from skfem_ml.lod.engine.sampled import check_sampled, tell_rounding
from skfem_ml.lod.local import sum_local
from skfem_ml.lod.mesh.forms import FineForm

if TYPE_CHECKING:
    from skfem_ml.lod.method import LOD


class Correctors:
    """Correctors of the hat functions and of loads, for one form with its coefficients.

    The engine is made when it is first needed and holds up to ``memory`` bytes of factorised patches for the next
    question. What was asked before changes no answer, and one thread asks at a time.
    """

    def __init__(self, lod: LOD, fine_form: FineForm, memory: int):
        self.lod, self.fine_form, self.memory = lod, fine_form, memory
        self._loaded: tuple[ndarray, ndarray] | None = None
        self._lock = threading.RLock()  # an engine holds factors while it solves

    def __getstate__(self) -> dict[str, object]:
        made_again = ("_engine", "_lock")  # factors are
        return {name: value for name, value in self.__dict__.items() if name not in made_again}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    @cached_property
    def _engine(self) -> Engine:
        return self.lod.engine(self.lod.space, self.fine_form, self.memory)

    @property
    def held(self) -> int:
        """How many patches are held factorised."""
        return self._engine.patches if "_engine" in self.__dict__ else 0

    def rows(self, elements: ndarray, loads: ndarray | None = None) -> ndarray:
        """g_T(lambda_i) - a(w_T, lambda_i) on the patches of elements, ``(k, rows, columns)``; see `Engine.local`."""
        columns = self.lod.patches.corners.shape[1] if loads is None else loads.shape[2]
        out = np.zeros((len(self.lod.patches.corners), self.lod.patches.nodes.shape[1], columns))
        ordered = self.lod.space.in_rows(np.unique(elements))
        with self._lock:
            if loads is None and len(ordered) == len(out):
                check_sampled(self._engine, self.lod.space, self.fine_form)
            for done, rows in progress_over(self._engine.local(ordered, loads), len(ordered), self.lod.progress):
                out[done] = rows
        if loads is None and len(ordered) == len(out):
            tell_rounding(self.lod.space, self.fine_form, lambda: sum_local(self.lod, out).tocsr())
        return out[elements]

    def load(self, split: ndarray) -> ndarray:
        """The corrected load ``(coarse.N,)`` of a load by element (`FineLoad.split`); the last one is kept by value."""
        loaded = self._loaded
        if loaded is None or not np.array_equal(loaded[0], split):
            rows, nodes = self.rows(self.lod.space.all_elements, split[:, :, None]), self.lod.patches.nodes
            b = np.bincount(nodes[nodes >= 0], rows[nodes >= 0, 0], minlength=self.lod.coarse.N)
            self._loaded = loaded = split, b
        return loaded[1].copy()

    def sum(self, weights: ndarray, loads: ndarray | None = None) -> ndarray:
        """The sum over T of sum_j weights[T, j] Q_T lambda_j + R_T f on the fine mesh, ``(fine.N, k)``.

        ``weights`` are ``(nelems, 2**d, k)``; ``loads`` ``(nelems, (n + 1)**d)`` are added to every column.
        """
        elements = self.lod.space.in_rows(self.lod.space.all_elements)
        repeated = None if loads is None else np.repeat(loads[:, :, None], weights.shape[2], axis=2)
        with self._lock:
            return self._engine.correct_sum(elements, weights, repeated)

    @cached_property
    def matrix(self) -> csr_matrix:
        """Q ``(fine.N, coarse.N)``: column j is the corrector of lambda_j on the fine mesh."""
        with self._lock:
            return corrector_matrix(self.lod.space, self._engine, self.lod.progress)

    def basis(self) -> csr_matrix:
        """B = P - Q ``(fine.N, coarse.N)``: column j is (1 - Q) lambda_j."""
        return (self.lod.space.prolongation - self.matrix).tocsr()

    def galerkin(self) -> csr_matrix:
        """B^T A B ``(coarse.N, coarse.N)`` with the matrix A of the form on the fine mesh."""
        basis = self.basis()
        return (basis.T @ self.fine_form.assembled() @ basis).tocsr()


def without_correctors(verb: str, local_map: object) -> TypeError:
    """What is raised where correctors are asked of a local map."""
    return TypeError(
        f"{verb}: expected a system of a BilinearForm, whose correctors it needs, got one of "
        f"{type(local_map).__name__}; take lod.system(form, a=a).{verb.partition('(')[0]}(...)"
    )
