"""A hierarchy as a method of ``scipy.integrate.solve_ivp``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import DenseOutput, OdeSolver

from skfem_ml.stepping.evolution import check_states
from skfem_ml.stepping.hierarchy import Hierarchy

Array = NDArray[np.float64]


def HiTSMethod(hits: Hierarchy) -> type[OdeSolver]:
    """Return a solver class: ``solve_ivp(f, t_span, y0, method=HiTSMethod(hits))``.

    f is not called, the maps know the equation; events and dense output work, so does t_eval. A step is the largest
    that fits before the end, and the finer maps give the values within. What is left at the end and shorter than
    the smallest step ends in status -1 with a message. There are no options (rtol is a TypeError).

    >>> from scipy.integrate import solve_ivp
    >>> from skfem_ml.stepping import RK4, Hierarchy
    >>> decay = Hierarchy([RK4(lambda y: -y, dt) for dt in (0.1, 0.4)])
    >>> found = solve_ivp(None, (0, 2), [1.0], method=HiTSMethod(decay), t_eval=[1.0, 2.0])
    >>> found.y.round(3)
    array([[0.368, 0.135]])
    """
    return type("HiTSMethod", (HiTSSolver,), {"hits": hits})


class HiTSSolver(OdeSolver):
    """The `OdeSolver` of a hierarchy that `HiTSMethod` puts into ``hits``. Raises ValueError for a backward span."""

    hits: Hierarchy
    t: float  # of scipy's class, like y and t_bound
    y: Array

    def __init__(self, fun: Callable, t0: float, y0: ArrayLike, t_bound: float, vectorized: bool = False):
        super().__init__(fun, t0, y0, t_bound, vectorized)
        if t_bound < t0:
            raise ValueError(f"t_span: expected t0 < t_bound, the maps go forward only, got ({t0}, {t_bound})")
        check_states(self.y, self.hits.size)
        self.before, self.told = self.y, self.hits.watch(self.y)

    def _step_impl(self) -> tuple[bool, str | None]:
        left = self.t_bound - self.t
        fitting = [m for m in self.hits.maps if m.dt <= left * (1 + 1e-9)]
        if not fitting:
            smallest = self.hits.maps[-1].dt
            return False, f"t_span: {left:.3g} is left before the end, shorter than the smallest step {smallest:g}"
        self.before = self.y
        self.y = np.asarray(fitting[0].step(self.y))
        end = self.t + fitting[0].dt
        self.t = self.t_bound if abs(end - self.t_bound) <= 1e-9 * fitting[0].dt else end
        if not np.isfinite(self.y).all():
            return False, f"not finite at t = {self.t:.6g}"
        self.told = self.told or self.hits.watch(self.y)
        return True, None

    def _dense_output_impl(self) -> DenseOutput:
        return _Within(self.hits, self.t_old, self.t, self.before)


class _Within(DenseOutput):
    """The hierarchy's own solution within one step, made when it is asked for."""

    def __init__(self, hits: Hierarchy, t_old: float, t: float, before: Array):
        super().__init__(t_old, t)
        smallest = hits.maps[-1].dt
        # Cubics need four knots, also in a step that has two.
        end = t_old + max(round((t - t_old) / smallest), 3) * smallest
        self.solve = lambda: Hierarchy(hits.maps).solve((t_old, end), before).sol
        self.inner: Callable | None = None

    def _call_impl(self, t: Array) -> Array:
        if self.inner is None:
            self.inner = self.solve()
        assert self.inner is not None
        return self.inner(t)
