"""How good a local map is: errors of matrices and solutions on given fields, and the null model to hold beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray
from skfem import BilinearForm, condense, solve
from skfem.models import unit_load

from skfem_ml.lod.method import LOD
from skfem_ml.metrics import l2_error, spectral_error
from skfem_ml.problems import diffusion


class GeometricMean:
    """The null model as a local map: coarse finite elements, the geometric mean of ``a`` on every coarse element."""

    def local(self, lod: LOD, elements: ndarray, a: ndarray) -> ndarray:
        """Local matrices ``(k, (2 ell + 2)**d, 2**d)``, zero off the corners of T."""
        plain = LOD(lod.coarse, refine=1, ell=lod.ell)  # with one fine cell there is nothing to correct
        means = np.empty(len(lod.space.grid.corners))
        means[plain.space.coefficient_refinement.cells[:, 0]] = np.exp(
            np.log(a[lod.space.coefficient_refinement.cells]).mean(axis=1)
        )
        return plain.local(diffusion, elements, a=means)


def errors_of(local_map: Any, lod: LOD, fields: ndarray, form: BilinearForm = diffusion) -> dict[str, float]:
    """Means over fields ``(k, nelems)`` of errors against the exact matrices of ``form``.

    "local": mean over T of |S_T - S^_T|_F^2; "spectral": |S - S^|_2; "l2" and "l2 largest": relative L2 error of u_h,
    load 1 and zero on Gamma_D, its mean and its maximum. Raises ValueError where no node is free or nothing is fixed.
    """
    fixed = lod.coarse.nodal_dofs[0][lod.space.dirichlet.nodes]
    if not 0 < len(fixed) < lod.coarse.N:
        raise ValueError(f"lod: expected fixed and free coarse nodes, got {len(fixed)} fixed of {lod.coarse.N}")
    b, rows = unit_load.assemble(lod.coarse), []
    for a in np.atleast_2d(fields):
        exact, got = lod.local(form, a=a), lod.local(local_map, a=a)
        S, R = (lod._coo(local).tocsr() for local in (got, exact))
        u, v = (solve(*condense(matrix, b, D=fixed)) for matrix in (S, R))
        local = np.square(got - exact).sum(axis=(1, 2)).mean()
        rows.append((local, spectral_error(S, R), l2_error(u, v, lod.coarse, relative=True)))
    local, spectral, l2 = np.mean(rows, axis=0).tolist()
    return {"local": local, "spectral": spectral, "l2": l2, "l2 largest": float(np.max(rows, axis=0)[2])}
