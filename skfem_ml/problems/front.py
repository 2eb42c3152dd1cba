"""Burgers' equation with its exact solution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skfem.helpers import dd, grad

from skfem_ml.problems.pde import PDE

Array = NDArray[np.float64]


def burgers(nu: float) -> PDE:
    """Return u_t + u u_x = nu u_xx on (-1, 1) x (0, 1), u = 0 at both ends, u(x, 0) = -sin(pi x), with `cole_hopf`.

    A front of width ``nu`` > 0 forms at x = 0; nu = 0.01 / pi is the usual test of networks (Raissi, Perdikaris,
    Karniadakis 2019).
    """

    def residual(u: Any, w: Any) -> Any:
        return u.ddt + u * grad(u)[0] - nu * dd(u)[0, 0]

    start = lambda x: -np.sin(np.pi * x[0])
    return PDE(residual, [(-1, 1)], time=(0, 1), initial=start, boundary=0.0, exact=cole_hopf(nu))


def cole_hopf(nu: float, nodes: int = 120) -> Callable[[Array, Array | float], Array]:
    """Return the solution ``u(x, t)``, x of shape ``(1, ...)``, by Gauss-Hermite quadrature in y / sqrt(4 nu t).

    u = - int sin(pi (x - y)) f(x - y) e^(-y^2 / 4 nu t) dy / int f(x - y) e^(-y^2 / 4 nu t) dy with f(y) =
    e^(-cos(pi y) / (2 pi nu)) (Cole 1951, Hopf 1950).
    """
    y, weights = np.polynomial.hermite.hermgauss(nodes)

    def u(x: Array, t: Array | float) -> Array:
        x, t = np.broadcast_arrays(np.asarray(x, dtype=float)[0], np.asarray(t, dtype=float))
        place = np.pi * (x[..., None] - np.sqrt(4 * nu * t)[..., None] * y)
        power = -np.cos(place) / (2 * np.pi * nu)
        f = weights * np.exp(power - power.max(axis=-1, keepdims=True))
        return -(np.sin(place) * f).sum(axis=-1) / f.sum(axis=-1)

    return u
