"""Trial functions: solutions with the boundary and initial data built in (the report's eq. 13; Lagaris et al. 1998)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from skfem_ml.meshes.cells import bounding_box
from skfem_ml.pinn.boxes import SIDE_OF, Transfinite, interpolant
from skfem_ml.pinn.distances import Smooth, fe_distance, fe_extension, is_box, require_gradient
from skfem_ml.pinn.functions import BoxDistance, Constant, InSpace, JetFunction, OfValues, factor_matrix
from skfem_ml.pinn.jets import Pairs
from skfem_ml.pinn.statements import Function, initial_of, moving, sides_of, statement
from skfem_ml.problems import PDE, Diffusion, Heat

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trial:
    """``u(x, t) = lift(x, t) + zeta(x, t) N(s)``, one component at a time, s the variables scaled to [-1, 1].

    Initial and boundary data hold for every N: there zeta vanishes, and the lift has the data. ``own`` says that the
    distance was given, not derived from the problem.

    >>> from skfem_ml.problems import heat_box
    >>> trial = trial_of(heat_box())
    >>> z = np.array([[0.0, 0.5, 1.0], [2.0, 2.0, 2.0]])
    >>> trial.zetas[0].jet(z, ())[0].tolist(), trial.timed
    ([0.0, 2.0, 0.0], True)
    """

    problem: PDE
    low: Array
    high: Array
    lifts: tuple[JetFunction, ...]
    zetas: tuple[JetFunction, ...]
    own: bool = False

    @property
    def timed(self) -> bool:
        """Whether time is one of the variables."""
        return self.problem.time is not None

    def scaled(self, z: Array) -> Array:
        """Return the network's inputs s of z ``(D, n)``."""
        return (2 * z - (self.low + self.high)[:, None]) / (self.high - self.low)[:, None]

    def scales(self, pairs: Pairs) -> Array:
        """Return what turns derivatives in s into those in z, ``(1 + D + P,)``."""
        per = 2 / (self.high - self.low)
        return np.concatenate([[1.0], per, [per[i] * per[j] for i, j in pairs]])

    def lift(self, z: Array, pairs: Pairs) -> Array:
        """Return the jets of the lifts, ``(C, 1 + D + P, n)``."""
        return np.stack([lift.jet(z, pairs) for lift in self.lifts])

    def factor(self, z: Array, pairs: Pairs) -> Array:
        """Return the matrices ``(C, E, E, n)`` from the jet of N in s to that of ``zeta N`` in z."""
        done: dict[int, Array] = {}
        for zeta in self.zetas:
            if id(zeta) not in done:
                done[id(zeta)] = factor_matrix(zeta.jet(z, pairs), pairs) * self.scales(pairs)[:, None]
        return np.stack([done[id(zeta)] for zeta in self.zetas])


def trial_of(problem: PDE | Heat | Diffusion, distance: Smooth | None = None) -> Trial:
    """Return the trial function of a problem; ``distance`` replaces the default, `box_distance` or `fe_distance`.

    Boxes have their data by `boxes`, other meshes by finite elements. Raises ValueError for boundary and initial data
    that contradict each other, that are not smooth enough, or that move in time off a box.
    """
    pde = statement(problem)
    low, high = pde.bounds
    if pde.time is not None:
        low, high = np.append(low, pde.t_start), np.append(high, pde.t_end)
    lifts, zetas = _hard(pde, distance) if pde.hard else _soft(pde)
    more = len(pde.unknown) - sum(not callable(guess) for guess in pde.unknown.values())
    guesses = [guess for guess in pde.unknown.values() if callable(guess)]
    lifts += [guess_lift(pde, guess) for guess in guesses]
    return Trial(pde, low, high, tuple(lifts), (*zetas, *[Constant(1.0)] * more), distance is not None)


def _soft(pde: PDE) -> tuple[list[JetFunction], list[JetFunction]]:
    count = sum(pde.fields)
    return [Constant(0.0)] * count, [Constant(1.0)] * count


def _hard(pde: PDE, distance: Smooth | None) -> tuple[list[JetFunction], list[JetFunction]]:
    sides, starts = sides_of(pde), initial_of(pde)
    boxed = not isinstance(pde.domain, Mesh) or (set(sides) <= {None} and is_box(pde.domain))
    make = _on_box if boxed else _on_mesh
    lifts, zetas = [], []
    known: dict[tuple[object, ...], JetFunction] = {}
    for c in range(sum(pde.fields)):
        mine = {side: g for side, functions in sides.items() if (g := functions[c]) is not None}
        start = starts[c] if starts else None
        lift, zeta = make(pde, mine, start, distance)
        key = (tuple(mine), start is not None)
        zetas.append(known.setdefault(key, zeta))
        lifts.append(lift)
    return lifts, zetas


def _on_box(
    pde: PDE, sides: dict[str | None, Function], start: Function | None, distance: Smooth | None
) -> tuple[JetFunction, JetFunction]:
    low, high = pde.bounds
    if isinstance(pde.domain, Mesh):
        low, high = np.asarray(bounding_box(pde.domain))
    of = {place: function for side, function in sides.items()
          for place in (SIDE_OF.values() if side is None else [SIDE_OF[side]]) if place[0] < pde.dim}  # fmt: skip
    ends = tuple(((axis, 0) in of, (axis, 1) in of) for axis in range(pde.dim))
    t0 = None if start is None else pde.t_start
    zeta: JetFunction = BoxDistance(low, high, ends, t0)
    if distance is not None:
        zeta = InSpace(distance, "distance", pde.dim, t0)
    still = not any(moving(function) for function in of.values())
    if start is not None:
        _require_compatible(pde, of, start)
        if still:
            return in_space(pde, start, "initial"), zeta
    if start is None and all(function.zero for function in of.values()):
        return Constant(0.0), zeta
    B = Transfinite(of, low, high)
    if start is None and still:
        return OfValues(interpolant(B, low, high, "boundary")), zeta
    corners = np.append(low, pde.t_start), np.append(high, pde.t_end)

    def lift(z: Array) -> Array:
        then = np.concatenate([z[:-1], np.full_like(z[-1:], pde.t_start)])
        return B(z) if start is None else B(z) + start(z) - B(then)

    return OfValues(interpolant(lift, *corners, "boundary, initial")), zeta


def in_space(pde: PDE, function: Function, label: str) -> JetFunction:
    """Return a function of x on a box with its derivatives: its own where it has them, else an interpolant's."""
    given = getattr(function, "given", None)
    if pde.dim == 1 and hasattr(given, "grad") and getattr(given, "laplacian", None) is not None:
        return InSpace(require_gradient(given, label), label, pde.dim)
    return OfValues(interpolant(function, *pde.bounds, label))


def guess_lift(pde: PDE, guess: object) -> JetFunction:
    """Return the first guess of an unknown field as a lift."""
    return in_space(pde, Function(guess, 1, 0, pde.dim, "unknown"), "unknown")


def _require_compatible(pde: PDE, of: dict[tuple[int, int], Function], start: Function) -> None:
    low, high = pde.bounds
    rng = np.random.default_rng(0)
    for (axis, end), function in of.items():
        z = rng.uniform(low, high, (20, pde.dim)).T
        z[axis] = (low, high)[end][axis]
        z = np.concatenate([z, np.full((1, 20), pde.t_start)])
        g, u0 = function(z), start(z)
        gap = abs(g - u0)
        if gap.max() > 1e-8 * max(1.0, float(abs(u0).max()), float(abs(g).max())):
            k = int(gap.argmax())
            raise ValueError(
                f"boundary, initial: expected data that agree at the start, got {g[k]:.6g} and {u0[k]:.6g} at "
                f"{z[:-1, k].tolist()}; make them agree, or have them penalised with PDE(..., hard=False)"
            )


def _on_mesh(
    pde: PDE, sides: dict[str | None, Function], start: Function | None, distance: Smooth | None
) -> tuple[JetFunction, JetFunction]:
    mesh = pde.mesh
    names = None if None in sides else tuple(str(side) for side in sides)
    t0 = None if start is None else pde.t_start
    if not sides:
        zeta: JetFunction = BoxDistance(*pde.bounds, ((False, False),) * pde.dim, t0)
    else:
        d = fe_distance(mesh, names) if distance is None else distance
        zeta = InSpace(d, "distance", pde.dim, t0)
    if any(moving(function) for function in sides.values()):
        raise ValueError(
            "boundary: expected data g(x) that rest in time on a mesh that is no box, got g(x, t); have them "
            "penalised with PDE(..., hard=False), or use a box"
        )
    if start is not None:
        return InSpace(require_gradient(start.given, "initial"), "initial", pde.dim), zeta
    if all(function.zero for function in sides.values()):
        return Constant(0.0), zeta
    return InSpace(fe_extension(mesh, sides), "boundary", pde.dim), zeta
