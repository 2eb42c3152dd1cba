"""Promises of local maps that have no card: found once by ``python -m data.certify_models FOLDER extrapolated``."""

from __future__ import annotations

from skfem_ml.lod.surrogate.conformal.solution import Promise

EXTRAPOLATED = Promise(0.9, 1.0, family="x")
"""Of ``Extrapolated(diffusion, (8, 16))``, as it says its certificates, against exact matrices at n = 32."""
