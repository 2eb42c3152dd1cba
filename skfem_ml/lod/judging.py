"""How good a local map is: errors of matrices and solutions on given fields."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from skfem import BilinearForm, condense, solve
from skfem.models import unit_load

from skfem_ml.lod.local import LocalMap
from skfem_ml.lod.method import LOD
from skfem_ml.metrics import l2_error, spectral_error
from skfem_ml.problems import diffusion


def errors_of(
    local_map: BilinearForm | LocalMap,
    lod: LOD,
    fields: ndarray,
    form: BilinearForm = diffusion,
    exact: ndarray | None = None,
) -> dict[str, float]:
    """Means over fields ``(k, nelems)`` of errors against the exact matrices of ``form``, or known ones, ``exact``
    ``(k, nelems, (2 ell + 2)**d, 2**d)``.

    "local": mean over T of ``|S_T - S^_T|_F^2``; "spectral": ``|S - S^|_2``; "l2" and "l2 largest": relative L2 error
    of u_h, load 1 and zero on Gamma_D, its mean and its maximum. Raises ValueError where no node is free or nothing is
    fixed.
    """
    fixed = lod.dirichlet_dofs
    if not 0 < len(fixed) < lod.coarse.N:
        raise ValueError(f"lod: expected fixed and free coarse nodes, got {len(fixed)} fixed of {lod.coarse.N}")
    b, rows = unit_load.assemble(lod.coarse), []
    for k, a in enumerate(np.atleast_2d(fields)):
        right, got = lod.local(form, a=a) if exact is None else exact[k], lod.local(local_map, a=a)
        S, R = (lod.sum(local).tocsr() for local in (got, right))
        u, v = (solve(*condense(matrix, b, D=fixed)) for matrix in (S, R))
        local = np.square(got - right).sum(axis=(1, 2)).mean()
        rows.append((local, spectral_error(S, R), l2_error(u, v, lod.coarse, relative=True)))
    local, spectral, l2 = np.mean(rows, axis=0).tolist()
    return {"local": local, "spectral": spectral, "l2": l2, "l2 largest": float(np.max(rows, axis=0)[2])}
