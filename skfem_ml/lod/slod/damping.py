"""Basis functions with the damping that suits the coefficient: raised where those of neighbours coincide."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from numpy import ndarray

from skfem_ml import checks
from skfem_ml.lod.slod.basis import chosen_functions
from skfem_ml.lod.slod.matrices import Matrices, condition
from skfem_ml.lod.slod.sweep import Sweep
from skfem_ml.meshes.cells import widths
from skfem_ml.progress import LOG

# Condition numbers of the Galerkin matrix with unit diagonal, the second times the number of elements (as that of a
# Poisson matrix grows): above both the damping is looked at. On fields of contrast 100, seeds 1 and 2, functions did
# well below 6e4 and coincided above 1e5.
CONDITION = 1e4, 100.0
RAISED = 3.0, 10.0, 30.0, 100.0


class Damped(NamedTuple):
    """Matrices of basis functions with a damping ``(nelems,)``; their condition, the estimated error of f = 1."""

    matrices: Matrices
    epsilon: ndarray
    condition: float
    error: float

    def __str__(self) -> str:
        return f"epsilon = {self.epsilon.max():.0e}: condition {self.condition:.1e}, estimated error {self.error:.1e}"


def damped(sweep: Sweep, epsilon: ndarray, adaptive: bool, patches: ndarray, tell: Callable[[int], None]) -> Damped:
    """The functions with this damping; where the condition is too large, with up to 100 times that if it is better.

    Better is what has the smaller estimated error for f = 1; it is looked for until that rises again. Warns where the
    condition is too large and ``epsilon`` is not to be changed.
    """
    bound = max(CONDITION[0], CONDITION[1] * len(patches))
    best = _with(sweep, epsilon, patches, tell)
    if best.condition <= bound:
        return best
    if not adaptive:
        checks.warn(
            f"slod: the basis functions are hard to tell apart (condition above {bound:.1e}) with {best}; leave "
            f"epsilon out, take ell={sweep.space.ell + 1}, or LOD"
        )
        return best
    for factor in RAISED:
        LOG.info("slod: condition above %.1e with %s", bound, best)
        tried = _with(sweep, factor * epsilon, patches, tell)
        if best.condition <= bound and best.error <= tried.error:
            break
        best = min(best, tried, key=lambda one: one.error)
    LOG.info("slod: taken is %s", best)
    return best


def _with(sweep: Sweep, epsilon: ndarray, patches: ndarray, tell: Callable[[int], None]) -> Damped:
    matrices = Matrices(sweep.space, chosen_functions(sweep, epsilon, tell), patches)
    return Damped(matrices, epsilon, condition(matrices.galerkin), _of_constant_load(matrices, sweep))


def _of_constant_load(matrices: Matrices, sweep: Sweep) -> float:
    """The estimated error for f = 1."""
    areas = widths(sweep.space.grid.mesh).prod(axis=0)
    c = matrices.solve("galerkin", matrices.tested(areas))
    return float(matrices.estimate(c[:, None])[0])
