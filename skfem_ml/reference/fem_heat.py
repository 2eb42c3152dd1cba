"""Finite elements in space with Crank-Nicolson or the two-stage Gauss method in time, for the heat equation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, BilinearForm, Element, Mesh
from skfem.helpers import dot, grad

from skfem_ml import checks
from skfem_ml.problems import Heat, evaluate, mass
from skfem_ml.solutions import Evolution, FEFunction, Record
from skfem_ml.stepping.evolution import evolve
from skfem_ml.stepping.linear import Gauss4, ThetaMethod

Array = NDArray[np.float64]
Index = NDArray[np.int64]
# Slices are interpolated in time by a polynomial of a degree that keeps the order of the scheme.
DEGREE = {"cn": 3, "gauss4": 7}


@BilinearForm
def laplace(u, v, w):
    """Form ``int a grad u . grad v`` for a number a."""
    return w.a * dot(grad(u), grad(v))


def solver_fem_heat(
    mesh: Mesh | None = None, element: Element | None = None, scheme: str = "cn", steps: int = 100
) -> Callable[[Heat], Evolution]:
    """Return ``solve(problem) -> Evolution``: ``M u' + a K u = b`` in ``steps`` equal steps, factorised once.

    ``scheme`` is "cn" (Crank-Nicolson, order 2) or "gauss4" (two-stage Gauss, order 4). The start is the nodal
    interpolant: high modes of a projection persist in both schemes. ``element`` is a Lagrange element (default: first
    order), ``mesh`` a mesh of the same domain (default: the problem's).

    Raises ValueError for an unknown scheme, steps < 1, and a mesh of another dimension or domain.
    """
    checks.choice(scheme, tuple(DEGREE), "scheme")
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")

    def solve(problem: Heat) -> Evolution:
        chosen = problem.mesh if mesh is None else mesh
        problem.require_mesh(chosen)
        basis = Basis(chosen, chosen.elem() if element is None else element)
        K, M = laplace.assemble(basis, a=problem.a), mass.assemble(basis)
        edge = basis.get_dofs().flatten()
        free = basis.complement_dofs(edge)
        start = evaluate(problem.initial, basis.doflocs)
        fixed = np.zeros(basis.N)
        fixed[edge] = evaluate(problem.g, basis.doflocs[:, edge])
        wanted = _load(problem, basis, free, (K @ fixed)[free])
        method = Gauss4 if scheme == "gauss4" else ThetaMethod
        stepper = method(M[free][:, free], K[free][:, free], problem.t_end / steps, load=wanted)
        result = evolve(stepper, start[free], problem.t_end)
        y = np.repeat(fixed[None], len(result.t), axis=0)
        y[:, free] = result.y.T
        record = Record(len(free), notes={"steps": steps, "basis": basis})
        return Evolution(lambda y: FEFunction(basis, y), result.t, y, DEGREE[scheme], record)

    return solve


def _load(problem: Heat, basis: Basis, free: Index, lifted: Array) -> Callable[[float], Array] | None:
    """The load at the free nodes less what the boundary values give; None where there is neither."""
    if callable(problem.f):
        return lambda t: problem.load(basis, t)[free] - lifted
    if problem.f == 0 and not lifted.any():
        return None
    constant = problem.load(basis, 0.0)[free] - lifted
    return lambda t: constant
