"""Promises of local maps that have no card: found once by ``python -m data.certify_models FOLDER extrapolated``."""

from __future__ import annotations

from skfem_ml.coefficients.families import NAMES, WIDE
from skfem_ml.lod.surrogate.conformal.solution import Promise

EXTRAPOLATED = Promise(
    level=0.9,
    factor=0.5513,
    names=(
        *(f"{family} {number}" for number in (2_000_000, 2_000_001) for family in NAMES),
        *(f"{family} {number}" for number in range(3_000_000, 3_000_004) for family in WIDE),
    ),
    family=f"{', '.join(WIDE)}, contrast 2 to 1000; {', '.join(NAMES)}, U[1, 5]; 32 x 32 elements",
)
"""Of ``Extrapolated(diffusion, (8, 16))``, as it says its certificates, against exact matrices at n = 32."""
