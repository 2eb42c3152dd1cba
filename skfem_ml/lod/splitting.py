"""What the error of an LOD solution is made of: the coarse space, the load, the localisation, the local map."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import splu
from skfem import BilinearForm, LinearForm

from skfem_ml.compare.table import Row, Table
from skfem_ml.lod.coarse import solve_coarse
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.lod.system import System
from skfem_ml.solvers import solver_direct

HEADINGS = ("L2", "energy")
mass = BilinearForm(lambda u, v, w: u * v)


def explain(
    system: System, f: LinearForm | FineLoad, /, form: BilinearForm | None = None, **fields: ArrayLike
) -> Table:
    """Split the error of u_h for a load, with u = 0 on Gamma_D, into what causes it: a `Table`.

    All figures are norms over that of the fine Q1 solution u, in L2 and in energy a(v, v)^(1/2):

    - "best coarse function": the least ``|u - v_h|`` over V_h, in either norm; no coarse answer is better;
    - "I_h u": ``|u - I_h u|``, which LOD gives with ell = infinity and a corrected load;
    - "u_h": ``|u - u_h|`` of this system, the load not corrected. Energies of coarse functions other than the best say
      nothing (they are above 1 at contrast 100) and are left out;
    - "of it the load": ``|u_h^inf - I_h u|``, where u_h^inf is u_h for ell = infinity, by one fine solve, (1);
    - "of it the localisation": ``|u_h - u_h^inf|``, for exact correctors;
    - "of it the local map": the distance of u_h of a local map (a surrogate) from that of exact correctors;
    - "(1 - Q) u_h", "(1 - Q) u_h + R f": the reconstructions of `System.prolong`, the latter with a corrected load.

    With A the fine matrix, P the prolongation, I the quasi-interpolation at free nodes and F the fine load,

        (I P)^T mu = P^T F,   A w = I^T mu,   u_h^inf = (I P)^-1 I w,                                             (1)

    since a(w, .) vanishes on the kernel of I_h; for a projection I P = 1. ``form`` is the bilinear form behind a local
    map that does not say it; ``fields`` are the keyword arguments of ``f``.

    Raises TypeError for a local map without a form, ValueError where nothing is fixed or no node is free.
    """
    exact = system.exact(form)
    fine = _Fine(exact, FineLoad.of(system.lod.space, f, fields))
    size = dict(zip(HEADINGS, fine.norms(fine.solution), strict=True))
    note = f"relative to the fine solution, whose L2 norm is {size['L2']:.4g} and energy norm {size['energy']:.4g}"
    return Table(tuple(_rows(system, exact, fine)), (note,), HEADINGS, size)


def _rows(system: System, exact: System, fine: _Fine) -> list[Row]:
    P, u = system.lod.prolongation, fine.solution
    u_h = fine.coarse(exact.matrix(), fine.load.on_coarse)
    own = u_h if exact is system else fine.coarse(system.matrix(), fine.load.on_coarse)
    rows = [
        Row("best coarse function", dict(zip(HEADINGS, fine.best(), strict=True))),
        fine.row("I_h u", u - P @ fine.interpolated, energy=False),
        fine.row("u_h", u - P @ own, energy=False),
        fine.row("of it the load", P @ (fine.ideal - fine.interpolated), energy=False),
        fine.row("of it the localisation", P @ (u_h - fine.ideal), energy=False),
    ]
    if exact is not system:
        rows.append(fine.row("of it the local map", P @ (own - u_h), energy=False))
    corrected = fine.coarse(exact.matrix(), exact.load(fine.load, corrected=True))
    return [
        *rows,
        fine.row("(1 - Q) u_h", u - exact.prolong(u_h)),
        fine.row("(1 - Q) u_h + R f", u - exact.prolong(corrected, load=fine.load)),
    ]


class _Fine:
    """The fine problem behind a system: its matrices, its solution, and the ideal coarse functions of (1)."""

    def __init__(self, exact: System, load: FineLoad):
        self.lod, self.load, space = exact.lod, load, exact.lod.space
        self.free, self.inner = np.flatnonzero(~space.fine_dirichlet), np.flatnonzero(~space.fixed)
        if not len(self.inner) or not space.fixed.any():
            raise ValueError(
                f"explain: expected fixed and free coarse nodes, got {int(space.fixed.sum())} fixed of "
                f"{len(space.fixed)}; refine the coarse mesh, or give the LOD a Dirichlet part"
            )
        self.A = exact.fine_matrix()
        self.M = FineForm(space, mass, {}).assembled()
        self.P, self.I = space.prolongation.tocsr()[:, self.inner], space.quasi_interpolation.tocsr()[self.inner]
        # (1): the fine solution and w share one factorisation.
        multipliers = _solved((self.I @ self.P).T, self.P.T @ load.on_fine)
        right = np.stack([load.on_fine, self.I.T @ multipliers], axis=1)
        solved = np.zeros_like(right)
        solved[self.free] = solver_direct()(self.A[self.free][:, self.free], right[self.free])
        self.solution, self._response = solved.T

    def _extended(self, values: ndarray) -> ndarray:
        out = np.zeros(self.lod.coarse.N)
        out[self.inner] = values
        return out

    @property
    def interpolated(self) -> ndarray:
        """I_h u, ``(coarse.N,)``."""
        return self._extended(_solved(self.I @ self.P, self.I @ self.solution))

    @cached_property
    def ideal(self) -> ndarray:
        """u_h for ell = infinity, ``(coarse.N,)``."""
        return self._extended(_solved(self.I @ self.P, self.I @ self._response))

    def coarse(self, S: csr_matrix, b: ndarray) -> ndarray:
        """u_h with S u_h = b, zero on Gamma_D."""
        return solve_coarse(S, b, np.zeros(len(b)), self.lod.space.fixed)[0]

    def norms(self, v: ndarray) -> tuple[float, float]:
        return tuple(float(np.sqrt(max(v @ (matrix @ v), 0.0))) for matrix in (self.M, self.A))  # type: ignore[return-value]

    def best(self) -> tuple[float, float]:
        """The least distance from u to a coarse function, relative: in L2 and in energy."""
        out = []
        for k, matrix in enumerate((self.M, self.A)):
            nearest = _solved(self.P.T @ matrix @ self.P, self.P.T @ (matrix @ self.solution))
            out.append(self.norms(self.solution - self.P @ nearest)[k] / self.norms(self.solution)[k])
        return out[0], out[1]

    def row(self, name: str, v: ndarray, energy: bool = True) -> Row:
        sizes = [size / whole for size, whole in zip(self.norms(v), self.norms(self.solution), strict=True)]
        return Row(name, {"L2": sizes[0], "energy": sizes[1] if energy else None})


def _solved(matrix: csr_matrix, b: ndarray) -> ndarray:
    return splu(matrix.tocsc()).solve(b)
