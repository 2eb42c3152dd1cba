"""Which residual of which problem at which points: the choices that all learners share."""

from __future__ import annotations

from skfem import Basis, CellBasis

from skfem_ml import checks
from skfem_ml.meshes.cells import bounding_box
from skfem_ml.pinn.distances import is_box, quadratic_basis
from skfem_ml.pinn.residuals import LinearResidual, one_cell, strong_heat, time_line, weak_diffusion, weak_heat
from skfem_ml.pinn.trial import Trial
from skfem_ml.problems import Diffusion, Heat


def residual_of(
    problem: Heat | Diffusion,
    trial: Trial,
    form: str = "strong",
    points: int | CellBasis = 20,
    times: int = 20,
    norm: str = "dual",
) -> LinearResidual:
    """Return the residual of a problem in a form.

    ``form="strong"`` (`Heat`): at the quadrature points of a scikit-fem basis ``points``, or with a number that many
    Gauss points an axis of a box, times ``times`` Gauss points in time. ``form="weak"``: test functions of the basis
    ``points`` (default, a number: second order on the problem's mesh) and of second order on ``times`` equal cells in
    time, in the ``norm`` "dual" or "l2".

    Raises ValueError for the strong form of `Diffusion` (its coefficient jumps), for a number of points on a domain
    that is no box, and for a basis of another dimension or domain.
    """
    checks.choice(form, ("strong", "weak"), "form")
    checks.choice(norm, ("dual", "l2"), "norm")
    if not isinstance(points, (int, Basis)) or times < 1 or (isinstance(points, int) and points < 1):
        raise ValueError(f"points, times: expected positive numbers, or a basis for points, got {points}, {times}")
    if isinstance(problem, Diffusion):
        if form == "strong":
            raise ValueError("form: a cellwise coefficient has no strong form; expected form='weak', got 'strong'")
        basis = quadratic_basis(problem.mesh) if isinstance(points, int) else points
        return weak_diffusion(problem, trial, basis, norm)
    if not isinstance(points, int):
        problem.require_mesh(points.mesh)
    if form == "strong":
        return strong_heat(problem, trial, _gauss(problem, points), times)
    basis = quadratic_basis(problem.mesh) if isinstance(points, int) else points
    time_mesh = time_line(problem.t_end, times)
    # The trial function is smooth and far from a polynomial: a few points more than the mass matrix needs.
    return weak_heat(problem, trial, basis, Basis(time_mesh, quadratic_basis(time_mesh).elem, intorder=8), norm)


def _gauss(problem: Heat, points: int | CellBasis) -> CellBasis:
    if not isinstance(points, int):
        return points
    if not is_box(problem.mesh):
        raise ValueError(
            "points: a number of Gauss points needs a box, and the mesh does not fill its bounding box; pass a basis, "
            "Basis(mesh, element, intorder=...), whose quadrature points are used"
        )
    return one_cell(*bounding_box(problem.mesh), points)
