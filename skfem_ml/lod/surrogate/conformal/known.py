"""Promises of local maps that have no card: found once by ``python -m data.certify_models``."""

from __future__ import annotations

from skfem_ml.lod.extrapolation import Extrapolated
from skfem_ml.lod.surrogate.conformal.solution import Promise
from skfem_ml.problems import diffusion

EXTRAPOLATED = Promise(0.9, 1.0, family="x")


def known_promise(extrapolated: Extrapolated) -> Promise | None:
    """The promise of ``Extrapolated(diffusion, (8, 16))`` against exact matrices at n = 32; None for others."""
    same = extrapolated.form is diffusion and extrapolated.refines == (8, 16) and extrapolated.order == 2
    return EXTRAPOLATED if same else None
