"""Solvers of diffusion problems in stages: what depends on the mesh, on the coefficient, on the load."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from skfem_ml.problems.diffusion import Array, Diffusion, Field
from skfem_ml.solutions import FEFunction

T = TypeVar("T")
Answer: TypeAlias = Callable[[Field | Array], FEFunction]


@dataclass(frozen=True)
class Staged:
    """A solver whose work is done in three stages, so that many coefficients and many loads share what they can.

    ``build(problem)`` does what depends on meshes and boundary data and returns ``prepare(a)``, which does what depends
    on the coefficient (of the problem's mesh) and returns ``answer(f)``, the solution for a load: a number, a callable
    of x, or the vector of ``int f v`` ``(N,)`` on the first-order basis of the problem's mesh. ``solver(problem)`` is
    ``build(problem)(problem.a)(problem.f)``; no stage remembers anything of an earlier call.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import solver_lod
    >>> problem = Diffusion(MeshQuad().refined(4), a=[2.0] * 256)
    >>> answer = solver_lod(MeshQuad().refined(2), ell=1).build(problem)(problem.a)
    >>> [round(float(answer(f).y.max()), 2) for f in (1.0, 4.0)]
    [0.04, 0.15]
    """

    build: Callable[[Diffusion], Callable[[Array], Answer]]

    def __call__(self, problem: Diffusion) -> FEFunction:
        """Solve one problem."""
        return self.build(problem)(problem.a)(problem.f)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of a stage and its wall seconds, for the record of a solution."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start
