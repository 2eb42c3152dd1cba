"""PETSc's Krylov methods, preconditioned by its algebraic multigrid; over MPI where the script runs under it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix, spmatrix

from skfem_ml.solvers.linear import Prepared, Vector
from skfem_ml.solvers.refined import STEP, Refined

if TYPE_CHECKING:
    from petsc4py import PETSc

OPTIONS = {"ksp_type": "gmres", "pc_type": "gamg"}


def solver_petsc(
    near: spmatrix | None = None, tol: float = 1e-14, options: Mapping[str, object] | None = None
) -> Prepared:
    """Return PETSc's GMRES preconditioned by GAMG, for regular matrices; as `solver_krylov`, which needs no PETSc.

    ``near`` is what the hierarchy is built of, a matrix ``(n, n)`` near to A and sparser than it; None: A itself.
    ``options`` are PETSc's, such as ``{"ksp_type": "bcgs", "pc_type": "hypre"}``. Under ``mpirun`` every process has A
    and b, hands its share of the rows (a block of the CSR matrix) to PETSc, and gets the whole solution. Solutions are
    refined until their backward error is ``tol`` or does not fall any more, in at most four rounds.

    Raises ImportError without petsc4py (from the distribution's packages or conda; wheels there are none); the solver
    RuntimeError, with the error that was reached, where it stays above 100 ``tol``, ValueError for a ``near`` of
    another size. Source: Balay et al., PETSc Users Manual, ANL-21/39.
    """
    library()
    return Prepared(partial(KSP, near=near, tol=tol, options={**OPTIONS, **(options or {})}))


def library() -> ModuleType:
    """petsc4py.PETSc; ImportError that says where it is had."""
    try:
        from petsc4py import PETSc
    except (ImportError, ValueError) as error:  # ValueError: built for another numpy
        raise ImportError(
            f"petsc: expected petsc4py, which cannot be loaded ({error}); install it by conda, or the distribution's "
            "package with the numpy that it was built for, or take solver_krylov()"
        ) from error
    return PETSc


class KSP(Refined):
    """``x = solve(b)`` for one matrix, its hierarchy built once; what `solver_petsc` prepares."""

    CACHED = ("_ksp",)

    def __init__(self, A: spmatrix, near: spmatrix | None, tol: float, options: Mapping[str, object]):
        super().__init__(A, near, tol)
        self.options = dict(options)

    def __repr__(self) -> str:
        words = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"KSP({self.A.shape[0]} unknowns, {words})"

    @cached_property
    def _ksp(self) -> PETSc.KSP:
        petsc = library()
        ksp, given = petsc.KSP().create(), petsc.Options()
        prefix = f"skfem_ml_{id(self):x}_"
        for name, value in self.options.items():
            given[prefix + name] = value
        ksp.setOptionsPrefix(prefix)
        matrix = self._handed_over(self.A)
        ksp.setOperators(matrix, matrix if self.near is None else self._handed_over(csr_matrix(self.near)))
        ksp.setTolerances(rtol=STEP, atol=0.0)
        ksp.setFromOptions()
        for name in self.options:
            given.delValue(prefix + name)
        return ksp

    @staticmethod
    def _handed_over(A: csr_matrix) -> PETSc.Mat:
        """A as a matrix of PETSc, of which each process gives its rows."""
        petsc = library()
        matrix = petsc.Mat().create()
        matrix.setSizes(A.shape)
        matrix.setType("aij")
        matrix.setUp()
        first, last = matrix.getOwnershipRange()
        start, end = A.indptr[first], A.indptr[last]
        index = petsc.IntType
        matrix.setPreallocationCSR(
            ((A.indptr[first : last + 1] - start).astype(index), A.indices[start:end].astype(index), A.data[start:end])
        )
        matrix.assemble()
        return matrix

    def stopped(self, error: float) -> str:
        """What to say, and to do, where the backward error is too large."""
        return (
            f"PETSc stopped at a backward error of {error:.1e}, expected at most {100 * self.tol:.1e}; give "
            "another near matrix or other options, or use solver_direct()"
        )

    def round(self, b: Vector, share: float) -> Vector:
        """A solution whose residual is `STEP` of b, or what PETSc's options say, whatever share is asked for."""
        petsc = library()
        rows, solution = self._ksp.getOperators()[0].createVecs()
        first, last = rows.getOwnershipRange()
        rows.array[:] = b[first:last]
        self._ksp.solve(rows, solution)
        scatter, whole = petsc.Scatter.toAll(solution)
        scatter.scatter(solution, whole)
        return np.array(whole.array, dtype=float)
