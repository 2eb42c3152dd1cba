"""The equations that have classes of their own as `PDE`, and a PDE's data as functions of z, one a component."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray
from skfem import BilinearForm, LinearForm
from skfem.helpers import dot, grad

from skfem_ml.checks import required_arguments
from skfem_ml.pinn.jets import ddt, laplace
from skfem_ml.problems import PDE, Diffusion, Heat, diffusion, load
from skfem_ml.problems.pde import Data

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Function:
    """One component of data that the user gave, a number or a callable of x or of (x, t), at z ``(D, n)``."""

    given: object
    size: int
    component: int
    dim: int
    label: str

    def __call__(self, z: Array) -> Array:
        """Return the values ``(n,)``; ValueError for values of another shape or that are not finite."""
        n = z.shape[1]
        if not callable(self.given):
            values = np.asarray(self.given, dtype=float)
        else:
            values = np.asarray(self.given(z[: self.dim], *([z[-1]] if moving(self) else [])), dtype=float)
        wanted = {(), (n,), (self.size, n)} if self.size == 1 else {(), (self.size,), (self.size, n)}
        if values.shape not in wanted:
            raise ValueError(
                f"{self.label}: expected values of shape {(n,) if self.size == 1 else (self.size, n)} at x "
                f"({self.dim}, {n}), got {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{self.label}: expected finite values, got nan or inf; check it on the whole domain")
        if values.ndim == 2:
            return values[self.component]
        if self.size > 1 and values.ndim == 1:
            return np.full(n, values[self.component])
        return np.broadcast_to(values, (n,))

    @property
    def zero(self) -> bool:
        """Whether it is the number 0."""
        return not callable(self.given) and not np.any(np.asarray(self.given, dtype=float))


def moving(function: Function) -> bool:
    """Whether data depend on time: a callable of two arguments."""
    return callable(function.given) and required_arguments(function.given) == 2


def by_component(data: Data, pde: PDE, label: str) -> list[Function | None]:
    """Return data of the fields as one function a component, None where there is none."""
    parts = data if isinstance(data, tuple) else (data,) * len(pde.fields) if data is None else (data,)
    if len(parts) != len(pde.fields):
        raise ValueError(
            f"{label}: expected a tuple of {len(pde.fields)}, one a field of components={pde.components}, got "
            f"{len(parts)}; None stands for no condition"
        )
    return [None if part is None else Function(part, size, c, pde.dim, label)
            for part, size in zip(parts, pde.fields, strict=True) for c in range(size)]  # fmt: skip


def sides_of(pde: PDE) -> dict[str | None, list[Function | None]]:
    """Return the Dirichlet data, one function a component, by side; None is the whole boundary."""
    return {side: by_component(data, pde, "boundary") for side, data in pde.sides().items()}


def initial_of(pde: PDE) -> list[Function | None]:
    """Return the initial data, one function a component; an empty list without time."""
    return [] if pde.time is None else by_component(pde.initial, pde, "initial")


@singledispatch
def statement(problem: object, form: str = "strong") -> PDE:
    """Return a problem as a `PDE`, in the strong form or as forms of scikit-fem; TypeError for one that is none."""
    raise TypeError(f"problem: expected a PDE, Heat or Diffusion, got {type(problem).__name__}")


@statement.register
def _(problem: PDE, form: str = "strong") -> PDE:
    return problem


@statement.register
def _(problem: Heat, form: str = "strong") -> PDE:
    a, f = problem.a, problem.f

    def source(w: dict[str, NDArray]) -> Array | float:
        # f(x, t) takes one time at a call; the points of one time are together.
        x, t = np.asarray(w["x"]), np.asarray(w["t"])
        if not callable(f):
            return f
        flat, times = x.reshape(len(x), -1), t.ravel()
        out = np.empty(len(times))
        for moment in np.unique(times):
            at = times == moment
            out[at] = problem.source(flat[:, at], float(moment))
        return out.reshape(t.shape)

    def strong(u, w):
        return ddt(u) - a * laplace(u) - source(w)

    def weak(u, v, w):
        return ddt(u) * v + a * dot(grad(u), grad(v))

    forms = (BilinearForm(weak), LinearForm(lambda v, w: source(w) * v))
    return PDE(
        strong if form == "strong" else forms[0], problem.mesh, time=(0.0, problem.t_end), initial=problem.initial,
        boundary=problem.g, load=None if form == "strong" else forms[1], exact=problem.exact, name=problem.name,
    )  # fmt: skip


@statement.register
def _(problem: Diffusion, form: str = "weak") -> PDE:
    boundary = problem.g if problem.dirichlet is None else dict.fromkeys(problem.dirichlet, problem.g)
    return PDE(
        diffusion, problem.mesh, boundary=boundary, load=load(problem.f), coefficients={"a": problem.a},
        exact=problem.exact, name=problem.name,
    )  # fmt: skip
