"""Patches that are too large to be factorised: conjugate gradients on the fine-scale space, preconditioned by AMG."""

from __future__ import annotations

import logging

import numpy as np
from numpy import ndarray

from skfem_ml.lod.engine.hexes.elements import cell_matrices
from skfem_ml.lod.engine.reference import Patch, PatchProblem, ReferenceEngine, independent, regularised
from skfem_ml.lod.engine.threads import one_thread
from skfem_ml.solvers.amg import preconditioner_pyamg

LOG = logging.getLogger("skfem_ml")
TOL = 1e-11  # of the residual in the norm of the preconditioner
STEPS = 100


class ProjectedProblem(PatchProblem):
    r"""The problem of a patch by projected conjugate gradients: w in W with a(w, v) = g(v) for all v in W.

    With M a V-cycle of algebraic multigrid for K and C the constraints, a residual r is preconditioned by

    z = M r - X (C X)^{-1} C M r,   X = M C^T,

    which lies in W, and the part of r that W does not see is taken away in each step. Seven steps do for smooth and
    rough coefficients of moderate contrast, whatever the size: W has no coarse part. Memory is that of K, of M and of
    X: (2 ell + 2)^3 vectors. Where 100 steps do not do (high contrast), the patch is factorised, and that is logged.

    Gould, Hribar, Nocedal, SIAM J. Sci. Comput. 23 (2001), algorithm 6.2.
    """

    def _factorise(self) -> None:
        patch = self.patch
        self.constraints = C = independent(patch)
        self.matrix = K = regularised(patch, C).tocsr()
        self.cycle = preconditioner_pyamg(K)
        self.responses = np.stack([self.cycle @ row for row in C], axis=1) if len(C) else np.zeros((K.shape[0], 0))
        self.gram = np.linalg.pinv(C @ self.responses, rcond=1e-13, hermitian=True)
        self.bytes = 16 * (3 * K.nnz + patch.stiffness.nnz) + 16 * C.size
        self._direct: PatchProblem | None = None

    def solve(self, right: ndarray) -> ndarray:
        """The solutions for functionals ``(nodes, v)``, with a relative error of about 1e-10."""
        w, free = np.zeros_like(right), self.patch.free
        if len(free):
            with one_thread():
                for column, g in enumerate(right[free].T):
                    x = self._conjugate(g)
                    if x is None:
                        return self._factorised().solve(right)
                    w[free, column] = x
        return w

    def _factorised(self) -> PatchProblem:
        if self._direct is None:
            LOG.info("a patch of %d unknowns: %d steps do not do, it is factorised", len(self.patch.free), STEPS)
            self._direct = PatchProblem(self.patch, self.own)
        return self._direct

    def _projected(self, r: ndarray) -> tuple[ndarray, ndarray]:
        """The preconditioned residual, and the residual without what W does not see."""
        z = self.cycle @ r
        y = self.gram @ (self.constraints @ z)
        return z - self.responses @ y, r - self.constraints.T @ y

    def _conjugate(self, g: ndarray) -> ndarray | None:
        """w, or None where the steps do not do."""
        x, r = np.zeros_like(g), self._projected(g)[1]
        z, r = self._projected(r)
        p, size = z, r @ z
        goal = TOL**2 * size
        for _ in range(STEPS):
            if not size > goal:
                break
            q = self.matrix @ p
            step = size / (p @ q)
            x += step * p
            z, r = self._projected(r - step * q)
            before, size = size, r @ z
            p = z + size / before * p
        return x if np.isfinite(size) and size <= goal else None


class ProjectedEngine(ReferenceEngine):
    """``ReferenceEngine`` with `ProjectedProblem` for every patch: memory and time grow like the cells of a patch."""

    def _matrices(self, cells: ndarray) -> ndarray:
        return cell_matrices(self.fine_form, cells)

    def _problem(self, patch: Patch, own: ndarray) -> PatchProblem:
        return ProjectedProblem(patch, own)
