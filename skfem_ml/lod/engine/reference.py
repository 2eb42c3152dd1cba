"""Reference engine: one sparse saddle-point problem a patch, solved by its Schur complement. Clear and general."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from scipy.sparse import coo_matrix, csr_matrix

from skfem_ml.lod.engine.threads import one_thread
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.interpolation import hat_values, tensor
from skfem_ml.solvers.direct import factorised

ROUNDING = 1e-12  # of what a constraint says, relative to the others
BLOCK_CELLS = 2**18  # fine cells whose element matrices are held at a time


class Patch(NamedTuple):
    """One patch problem: fine ``cells`` and ``nodes`` (global numbers), stiffness, constraints, free nodes."""

    cells: ndarray
    corners: ndarray  # positions in ``nodes`` of the corners of every cell
    nodes: ndarray
    stiffness: csr_matrix
    constraints: csr_matrix
    free: ndarray
    own: ndarray  # positions in ``nodes`` of the fine nodes of T


class ReferenceEngine:
    """Element correctors by scipy's ``splu``: find w in W(N^l(T)) with a(w, v) = g_T(v) for all v in W(N^l(T)).

    W is the kernel of the quasi-interpolation, zero on the rim of the patch inside the domain and on Gamma_D. With C
    the constraints, K w = g - C^T mu and C w = 0, so (C K^-1 C^T) mu = C K^-1 g (Engwer et al. 2019, section 3). Lines,
    quads and hexes, any union of cells, any symmetric elliptic form.

    Parameters
    ----------
    space
        The space.
    fine_form
        The form with its coefficients.
    memory
        Bytes of factorised patches to hold for later calls; 0 for none.
    correction
        What is added to the matrices of coarse elements, ``(k, (n + 1)**d, (n + 1)**d)``, or None for nothing.
    """

    def __init__(
        self, space: Discretisation, fine_form: FineForm, memory: int = 0,
        correction: Callable[[ndarray], ndarray | None] = lambda elements: None,
    ):  # fmt: skip
        self.space, self.fine_form, self.memory, self.correction = space, fine_form, memory, correction
        self._held: dict[int, PatchProblem] = {}
        self._bytes = 0
        self.projector = space.interpolation.local(space.n, space.grid.dim)
        self.hats = tensor(hat_values(space.n), space.grid.dim)  # (2**d, (n+1)**d)

    def local(self, elements: ndarray, loads: ndarray | None = None) -> Iterator[tuple[ndarray, ndarray]]:
        """Pairs of elements and their rows g_T(lambda_i) - a(w_T, lambda_i), ``(k, rows, columns)``.

        ``loads`` are functionals on T, ``(nelems, (n + 1)**d, columns)``; without them they are a_T(lambda_j, .), and
        the rows are the local matrix S_T.
        """
        for T, problem in self._problems(elements):
            g = problem.own if loads is None else loads[T]
            residual = -(problem.patch.stiffness @ problem.solve(problem.on_patch(g)))
            residual[problem.patch.own] += g
            on_coarse = self.space.prolongation[problem.patch.nodes].T @ residual  # (coarse.N, columns)
            rows = self.space.patches.nodes[T]
            yield np.array([T]), np.where(rows[:, None] >= 0, on_coarse[rows], 0)[None]

    def correct(self, elements: ndarray) -> Iterator[tuple[ndarray, ndarray, ndarray]]:
        """Elements, fine nodes of their patches ``(k, nodes)`` and Q_T lambda_j there ``(k, nodes, 2**d)``."""
        for T, problem in self._problems(elements):
            yield np.array([T]), problem.patch.nodes[None], problem.solve(problem.on_patch(problem.own))[None]

    def correct_sum(self, elements: ndarray, weights: ndarray, loads: ndarray | None = None) -> ndarray:
        """The sum over T of sum_j weights[T, j] Q_T lambda_j + R_T f on the fine mesh, ``(fine.N, v)``.

        ``weights`` are ``(nelems, 2**d, v)``; ``loads``, the functionals f on T, ``(nelems, (n + 1)**d, v)``.
        """
        total = np.zeros((self.space.fine_grid.mesh.p.shape[1], weights.shape[2]))
        for T, problem in self._problems(elements):
            g = problem.own @ weights[T] + (0 if loads is None else loads[T])
            total[problem.patch.nodes] += problem.solve(problem.on_patch(g))
        return total

    def _problems(self, elements: ndarray) -> Iterator[tuple[int, PatchProblem]]:
        """The factorised problem of every element: those that are held, and others, made for it."""
        here = np.array([T in self._held for T in elements.tolist()], dtype=bool)
        yield from ((T, self._held[T]) for T in elements[here].tolist())
        for block, index_of, matrices in self._blocks(elements[~here]):
            for T in block.tolist():
                own = self._own_load(T, matrices[index_of[self.space.refinement.cells[T]]])
                problem = self._problem(self._patch(T, index_of, matrices), own)
                if self._bytes + problem.bytes <= self.memory:
                    self._bytes, self._held[T] = self._bytes + problem.bytes, problem
                yield T, problem

    def _problem(self, patch: Patch, own: ndarray) -> PatchProblem:
        return PatchProblem(patch, own)

    @property
    def patches(self) -> int:
        """How many patches are held."""
        return len(self._held)

    def with_adjoints(
        self, elements: ndarray, gradients: ndarray
    ) -> Iterator[tuple[int, Patch, ndarray, ndarray, ndarray]]:
        """For each element T: T, its patch, w_j = Q_T lambda_j, Lambda_j and its adjoint corrector z_j, columns j.

        Lambda_j = sum_i G[T, i, j] lambda_i for ``gradients`` G ``(nelems, rows, 2**d)``, and z_j in W(N^l(T)) solves
        a(v, z_j) = a(v, Lambda_j) for all v there; all three are nodal values ``(nodes, 2**d)`` on the patch.
        """
        rows, count = self.space.patches.nodes, gradients.shape[2]
        for T, problem in self._problems(elements):
            patch = problem.patch
            coarse = np.zeros((self.space.prolongation.shape[1], count))
            coarse[rows[T][rows[T] >= 0]] = gradients[T][rows[T] >= 0]
            tested = self.space.prolongation[patch.nodes] @ coarse
            solved = problem.solve(np.hstack([problem.on_patch(problem.own), patch.stiffness @ tested]))
            yield T, patch, solved[:, :count], tested, solved[:, count:]

    def _blocks(self, elements: ndarray) -> Iterator[tuple[ndarray, ndarray, ndarray]]:
        """Runs of elements with the element matrices their patches need: numbers of the cells in them, and matrices."""
        per_patch = self.space.patches.cells.shape[1] * self.space.refinement.cells.shape[1]
        size = max(1, BLOCK_CELLS // per_patch)
        for start in range(0, len(elements), size):
            block = elements[start : start + size]
            coarse = np.unique(self.space.patches.cells[block])
            cells = self.space.refinement.cells[coarse[coarse >= 0]].ravel()
            index_of = np.full(self.space.refinement.cells.size, -1)
            index_of[cells] = np.arange(len(cells))
            yield block, index_of, self._matrices(cells)

    def _matrices(self, cells: ndarray) -> ndarray:
        return self.fine_form.matrices(cells)

    def _own_load(self, T: int, matrices: ndarray) -> ndarray:
        """a_T(lambda_j, .) for the corners j of T: ``((n + 1)**d, 2**d)``."""
        corners = self.space.fine_corners_in_cell
        out = np.zeros((self.hats.shape[1], self.hats.shape[0]))
        np.add.at(out, corners, np.einsum("eij,cej->eic", matrices, self.hats[:, corners]))
        more = self.correction(np.array([T]))
        return out if more is None else out + more[0] @ self.hats.T

    def _patch(self, T: int, index_of: ndarray, matrices: ndarray) -> Patch:
        space = self.space
        coarse = space.patches.cells[T][space.patches.cells[T] >= 0]
        nodes, position = np.unique(space.refinement.nodes[coarse], return_inverse=True)
        position = position.reshape(len(coarse), -1)
        corners = position[:, space.fine_corners_in_cell].reshape(-1, 2**space.grid.dim)
        cells = space.refinement.cells[coarse].ravel()
        stiffness = _assembled(matrices[index_of[cells]], corners, corners, (len(nodes), len(nodes)))
        more = self.correction(coarse)
        if more is not None:
            stiffness = stiffness + _assembled(more, position, position, stiffness.shape)
        coarse_nodes, row = np.unique(space.grid.corners[coarse], return_inverse=True)
        weighted = space.averages[coarse][:, :, None] * self.projector
        constraints = _assembled(weighted, row.reshape(len(coarse), -1), position, (len(coarse_nodes), len(nodes)))
        whole = np.bincount(position.ravel(), minlength=len(nodes)) == space.fine_node_cells[nodes]
        free = np.flatnonzero(whole & ~space.fine_dirichlet[nodes])
        return Patch(
            cells,
            corners,
            nodes,
            stiffness,
            constraints[~space.dirichlet.nodes[coarse_nodes]],
            free,
            position[np.flatnonzero(coarse == T)[0]],
        )


class PatchProblem:
    """A factorised patch: w in W(N^l(T)) with a(w, v) = g(v) for all v in W(N^l(T)), for any g.

    ``own`` are the loads a_T(lambda_j, .) on T, ``((n + 1)**d, 2**d)``; ``bytes`` is about what is held.
    """

    def __init__(self, patch: Patch, own: ndarray):
        self.patch, self.own, self.bytes = patch, own, 0
        if len(patch.free):
            with one_thread():
                self._factorise()

    def _factorise(self) -> None:
        self.constraints = C = independent(self.patch)
        K = regularised(self.patch, C)
        try:
            self.factor = factorised(K)
        except RuntimeError as error:
            raise not_elliptic() from error
        self.responses = self.factor.solve(C.T.copy())
        self.gram = C @ self.responses
        stored = self.factor.nnz + self.patch.stiffness.nnz + 2 * self.patch.constraints.nnz + 2 * C.size
        self.bytes = 16 * stored

    def on_patch(self, g: ndarray) -> ndarray:
        """A functional on T ``((n + 1)**d, v)`` as one on the patch, ``(nodes, v)``."""
        out = np.zeros((len(self.patch.nodes), g.shape[1]))
        out[self.patch.own] = g
        return out

    def solve(self, right: ndarray) -> ndarray:
        """The solutions for functionals ``(nodes, v)``."""
        w, free = np.zeros_like(right), self.patch.free
        if len(free):
            with one_thread():
                plain = self.factor.solve(right[free])
                w[free] = plain - self.responses @ _multipliers(self.gram, self.constraints @ plain)
        return w


def independent(patch: Patch) -> ndarray:
    """The constraints on the free nodes, without those that say nothing, or only rounding."""
    C = patch.constraints[:, patch.free].toarray()
    size = np.abs(C).max(axis=1)
    return C[size > ROUNDING * size.max(initial=0.0)]


def regularised(patch: Patch, C: ndarray) -> csr_matrix:
    """The stiffness on the free nodes; where it may not see constants, with the square of a constraint in addition."""
    K = patch.stiffness[patch.free][:, patch.free]
    if len(patch.free) < len(patch.nodes):
        return K
    row = csr_matrix(C[:1] / np.linalg.norm(C[0]))  # W does not see it
    return K + K.diagonal().max() * (row.T @ row)


def _multipliers(gram: ndarray, right: ndarray) -> ndarray:
    """Solve for the multipliers; where constraints are redundant (very coarse fine meshes), any solution will do."""
    try:
        np.linalg.cholesky(gram)
        return np.linalg.solve(gram, right)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(gram, right, rcond=1e-13)[0]


def _assembled(blocks: ndarray, rows: ndarray, cols: ndarray, shape: tuple[int, int]) -> csr_matrix:
    rows, cols = np.broadcast_arrays(rows[:, :, None], cols[:, None, :])
    return coo_matrix((blocks.ravel(), (rows.ravel(), cols.ravel())), shape=shape).tocsr()


def not_elliptic() -> ValueError:
    """The error of an engine that meets a singular or indefinite patch."""
    return ValueError(
        "form: expected an elliptic bilinear form (positive definite on functions with zero coarse part), got "
        "one whose patch matrix is singular or indefinite; check the signs of its terms and coefficients"
    )
