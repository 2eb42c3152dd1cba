"""Which residual of which problem at which points: the choices that all learners share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skfem import Basis, CellBasis, FacetBasis, Mesh, MeshHex, MeshLine, MeshQuad
from skfem.assembly.form.form import FormExtraParams

from skfem_ml import checks
from skfem_ml.checks import required_arguments
from skfem_ml.metrics import gauss_times
from skfem_ml.pinn.distances import is_box, quadratic_basis
from skfem_ml.pinn.jets import Jet, Layout, Pointwise
from skfem_ml.pinn.residuals import Block, Residual
from skfem_ml.pinn.statements import Function, initial_of, sides_of, statement
from skfem_ml.pinn.trial import Trial
from skfem_ml.pinn.weak import weak_block
from skfem_ml.problems import PDE, Diffusion, Heat
from skfem_ml.problems.pde import with_sides

Array = NDArray[np.float64]
Problem: TypeAlias = PDE | Heat | Diffusion
Points: TypeAlias = int | CellBasis | Array
Call: TypeAlias = Callable[[list[Jet], FormExtraParams], object]
LOG = logging.getLogger("skfem_ml")


def residual_of(
    problem: Problem, trial: Trial, form: str = "strong", points: Points = 20, times: int = 20,
    norm: str = "dual", penalty: float = 100.0,
) -> Residual:  # fmt: skip
    """Return the residual of a problem in a form.

    ``form="strong"``: at the quadrature points of a scikit-fem basis ``points``, or with a number that many Gauss
    points an axis of a box, or at points of one's own ``(dim, n)``, times ``times`` Gauss points in time.
    ``form="weak"``: test functions of the basis ``points`` (default, a number: second order on the problem's mesh) and
    of second order on ``times`` equal cells in time, in the ``norm`` "dual" or "l2". A PDE that is a form is always
    taken weakly. Conditions on sides, data that
    are not hard, and measurements are rows too, times the root of ``penalty`` over their number or measure.

    Raises ValueError for the strong form of `Diffusion` (its coefficient jumps), for a number of points on a domain
    that is no box, and for a basis of another dimension or domain.
    """
    checks.choice(form, ("strong", "weak"), "form")
    checks.choice(norm, ("dual", "l2"), "norm")
    checks.positive(penalty, "penalty")
    if not isinstance(points, (int, Basis, np.ndarray)) or times < 1 or (isinstance(points, int) and points < 1):
        raise ValueError(f"points, times: expected positive numbers, or a basis for points, got {points}, {times}")
    if isinstance(problem, Diffusion) and form == "strong":
        raise ValueError("form: a cellwise coefficient has no strong form; expected form='weak', got 'strong'")
    pde = statement(problem, form)
    if isinstance(points, Basis):
        require_mesh(pde, points.mesh)
    layout = layout_of(pde)
    if pde.weak or form == "weak":
        if isinstance(points, np.ndarray):
            raise ValueError("points: expected a basis of test functions for the weak form, got an array of points")
        basis = quadratic_basis(pde.mesh) if isinstance(points, int) else points
        main = weak_block(pde, trial, basis, times, layout, norm)
    else:
        main = strong_block(pde, trial, points, times, layout)
    guesses = np.array([guess for guess in pde.unknown.values() if not callable(guess)], dtype=float)
    return Residual((main, *soft_blocks(pde, trial, points, times, layout, penalty)), trial, guesses)


def layout_of(pde: PDE) -> Layout:
    """Return the jets of a problem, with all second derivatives."""
    fields = tuple(name for name, guess in pde.unknown.items() if callable(guess))
    scalars = tuple(name for name in pde.unknown if name not in fields)
    return Layout(pde.dim, pde.time is not None, pde.fields, fields, scalars).full()


def strong_block(pde: PDE, trial: Trial, points: Points, times: int, layout: Layout) -> Block:
    """Return the residual at the points of `places` and ``times`` Gauss points in time.

    Each row is multiplied by the root of its weight, so ``|r|^2`` approximates the integral of the square.
    """
    given = {name: single(pde, name) for name in pde.coefficients}
    return block_at(pde, trial, *places(pde, points), times, layout,
                    lambda fields, w: pde.residual(*fields, w), given, "residual")  # fmt: skip


def places(pde: PDE, points: Points) -> tuple[Array, Array]:
    """Return points ``(dim, n)`` and weights: of a quadrature, or an array's own, their mean."""
    if isinstance(points, np.ndarray):
        if points.ndim != 2 or len(points) != pde.dim:
            raise ValueError(f"points: expected an array ({pde.dim}, n), got shape {points.shape}")
        checks.finite(points, "points")
        return points, np.full(points.shape[1], 1 / points.shape[1])
    basis = gauss(pde, points)
    return np.asarray(basis.global_coordinates()).reshape(pde.dim, -1), basis.dx.ravel()


def single(pde: PDE, name: str) -> float:
    """Return a coefficient of a strong residual, a number; ValueError for one a cell."""
    value = np.asarray(pde.coefficients[name], dtype=float)
    if value.ndim:
        raise ValueError(
            f"coefficients[{name!r}]: a cellwise coefficient has no strong form; expected a number, or a BilinearForm "
            "as the residual"
        )
    return float(value)


def block_at(
    pde: PDE, trial: Trial, x: Array, weight: Array, times: int, layout: Layout,
    call: Call, given: Mapping[str, float | Array], label: str,
) -> Block:  # fmt: skip
    """Return a function's rows at points ``(dim, n)`` of weights ``(n,)``, and Gauss points in time."""
    given = dict(given)
    z = x
    if pde.time is not None and times:
        t, weight_t = gauss_times(pde.t_end - pde.t_start, panels=1, order=times)
        given = {name: np.tile(value, (1, times)) if np.ndim(value) == 2 else value for name, value in given.items()}
        z = np.concatenate([np.tile(x, (1, times)), np.repeat(pde.t_start + t, x.shape[1])[None]])
        weight = np.outer(weight_t, weight).ravel()
    return _block(pde, trial, z, weight, layout, call, given, label)


def _block(
    pde: PDE, trial: Trial, z: Array, weight: Array, layout: Layout, call: Call,
    given: Mapping[str, float | Array], label: str,
) -> Block:  # fmt: skip
    shape = (1, z.shape[1])
    w = {name: np.asarray(value)[:, None] if np.ndim(value) == 2 else value for name, value in given.items()}
    w["x"] = z[: pde.dim, None]
    if pde.time is not None:
        w["t"] = z[-1:]
    return Block.of(trial, z, Pointwise(call, layout, shape, w, label), np.sqrt(weight))


def soft_blocks(pde: PDE, trial: Trial, points: Points, times: int, layout: Layout, penalty: float) -> list[Block]:
    """Return what is penalised: conditions on sides, data that are not hard, measurements."""
    found, said = [], []
    for side, condition in pde.conditions.items():
        if required_arguments(condition) not in (None, len(pde.fields) + 1):
            raise TypeError(f"conditions[{side!r}]: expected a function (u, w), as the residual is, got {condition!r}")
        found.append(_side(pde, trial, points, times, layout, penalty, side, _called(condition)))
        said.append(f"conditions on {side}")
    if not pde.hard:
        for part, functions in sides_of(pde).items():
            found.append(_side(pde, trial, points, times, layout, penalty, part, _misfit(functions)))
        if pde.time is not None:
            x, weight = places(pde, points)
            z = np.concatenate([x, np.full((1, x.shape[1]), pde.t_start)])
            call = _misfit(initial_of(pde))
            found.append(_block(pde, trial, z, penalty * weight, layout, call, {}, "initial"))
        said.append("boundary and initial data")
    if pde.data is not None:
        z, values = pde.measurements()
        given = [None if np.isnan(row).all() else row for row in values]
        call = _measured(np.stack([row for row in given if row is not None]))
        weight = np.full(z.shape[1], penalty / z.shape[1])
        found.append(_block(pde, trial, z, weight, layout, call, {}, "data"))
    if said:
        LOG.info("penalised by %g, not built in: %s", penalty, ", ".join(said))
    return found


def _called(condition: Callable[..., object]) -> Call:
    return lambda fields, w: condition(*fields, w)


def _misfit(functions: list[Function | None]) -> Call:
    def call(fields: list[Jet], w: FormExtraParams) -> list[object]:
        x: Array = np.asarray(w["x"])[:, 0]
        z = x if "t" not in w else np.concatenate([x, w["t"]])
        flat = [row for u in fields for row in np.asarray(u).reshape(-1, *u.shape[-2:])]
        return [u - f(z) for u, f in zip(flat, functions, strict=True) if f is not None]

    return call


def _measured(values: Array) -> Call:
    def call(fields: list[Jet], w: FormExtraParams) -> list[object]:
        rows: Array = np.asarray(fields[0]).reshape(-1, *fields[0].shape[-2:])
        return [u - row for u, row in zip(rows, values, strict=False)]

    return call


def _side(
    pde: PDE, trial: Trial, points: Points, times: int, layout: Layout, penalty: float, side: str | None, call: Call
) -> Block:
    mesh = pde.domain if isinstance(pde.domain, Mesh) else with_sides(one_cell(*pde.bounds, points=1).mesh)
    order = 2 * points - 1 if isinstance(points, int) and mesh is not pde.domain else 6
    basis = FacetBasis(mesh, mesh.elem(), facets=side, intorder=order)
    x = np.asarray(basis.global_coordinates()).reshape(pde.dim, -1)
    normal = np.broadcast_to(np.asarray(basis.normals), (pde.dim, *basis.dx.shape)).reshape(pde.dim, -1)
    return block_at(pde, trial, x, penalty * basis.dx.ravel(), times, layout, call, {"n": normal}, f"condition {side}")


def require_mesh(pde: PDE, mesh: Mesh) -> None:
    """Raise ValueError unless a mesh has the dimension and the bounding box of the problem's domain."""
    if mesh.dim() != pde.dim:
        raise ValueError(
            f"points: expected dimension {pde.dim}, that of the problem, got {mesh.dim()} ({type(mesh).__name__})"
        )
    low, high = pde.bounds
    ours, theirs = np.array([low, high]), np.array([mesh.p.min(axis=1), mesh.p.max(axis=1)])
    if not np.allclose(ours, theirs, atol=1e-9 * np.ptp(ours)):
        raise ValueError(
            f"points: expected a mesh of the problem's domain, from {low.tolist()} to {high.tolist()}, got one from "
            f"{theirs[0].tolist()} to {theirs[1].tolist()}"
        )


def gauss(pde: PDE, points: int | CellBasis) -> CellBasis:
    """Return the basis whose quadrature points are used; ValueError for a number of points off a box."""
    if isinstance(points, int) and pde.dim > 3:
        raise ValueError(f"points: expected an array ({pde.dim}, n) of points in more than 3 dimensions, got {points}")
    if not isinstance(points, int):
        return points
    if isinstance(pde.domain, Mesh) and not is_box(pde.domain):
        raise ValueError(
            "points: a number of Gauss points needs a box, and the mesh does not fill its bounding box; pass a basis, "
            "Basis(mesh, element, intorder=...), whose quadrature points are used"
        )
    low, high = pde.bounds
    return one_cell(low, high, points)


def one_cell(low: ArrayLike, high: ArrayLike, points: int) -> CellBasis:
    """Return a basis on one cell, the box from ``low`` to ``high``, with ``points`` Gauss points an axis."""
    lines = [np.array([a, b]) for a, b in zip(np.atleast_1d(low), np.atleast_1d(high), strict=True)]
    kind = {1: MeshLine, 2: MeshQuad, 3: MeshHex}[len(lines)]
    mesh = MeshLine(lines[0]) if len(lines) == 1 else kind.init_tensor(*lines)
    return Basis(mesh, mesh.elem(), intorder=2 * points - 1)
