"""Preconditioned conjugate gradients, one step at a time, with an estimate of the error in energy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy.linalg import eigh_tridiagonal

Operator = Callable[[ndarray], ndarray]
LEAST = 2  # steps before an estimate of the error is trusted
ROUNDING = 1e-14  # backward error at which a solution is as good as can be

log = logging.getLogger("skfem_ml")


@dataclass(frozen=True, eq=False)
class Solved:
    """A solution and what is known of its error.

    ``u`` is ``(N,)``; ``residual`` is ``|b - A u| / |b|`` on the free nodes, computed from u; ``energy_error`` an
    estimate of ``|u - u*|_A / |u*|_A``, ``u*`` being the exact solution of the system; ``steps`` the steps of conjugate
    gradients taken. b is the right-hand side less what the values on Gamma_D contribute. With k right-hand sides u is
    ``(N, k)``, for a batch of k fields ``(k, N)``, and the others are arrays ``(k,)``.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.problems import diffusion
    >>> from skfem_ml.solvers import Multigrid
    >>> mg = Multigrid(MeshQuad().refined(5), diffusion, a=2.0)
    >>> solved = mg.complete(np.ones(33 * 33), tol=1e-6)
    >>> bool(solved.residual < 1e-6), bool(solved.energy_error < 1e-6)
    (True, True)
    """

    u: ndarray
    residual: float | ndarray
    energy_error: float | ndarray
    steps: int | ndarray

    def __repr__(self) -> str:
        worst = float(np.max(self.residual)), float(np.max(self.energy_error)), int(np.max(self.steps))
        what = f"{self.u.shape[0]} values" + ("" if self.u.ndim == 1 else f" x {self.u.shape[1]}")
        return "Solved({}, residual {:.1e}, energy error about {:.1e}, {} steps)".format(what, *worst)


class ConjugateGradients:
    """The iterates x of A x = b, preconditioned by B; arrays of any shape.

    Parameters
    ----------
    product, cycle
        A and B, symmetric and positive definite.
    x, r
        The start and its residual b - A x.

    Attributes
    ----------
    x, r
        Iterate and residual.
    steps
        How many steps were taken.
    """

    def __init__(self, product: Operator, cycle: Operator, x: ndarray, r: ndarray):
        self._product, self._cycle, self.x, self.r, self.steps = product, cycle, x, r, 0
        self._z = self._p = cycle(r)
        self._lengths: list[float] = []
        self._sizes = [float(np.vdot(r, self._z))]

    @property
    def done(self) -> bool:
        """Whether nothing is left: the residual is zero."""
        return self._sizes[-1] <= 0

    def step(self) -> None:
        """Take one step. Raises ValueError where A or B proves not to be positive definite."""
        q = self._product(self._p)
        curvature = float(np.vdot(self._p, q))
        if not curvature > 0 or not self._sizes[-1] > 0:
            raise ValueError(
                f"form: expected a positive definite matrix, got one with p A p = {curvature:.1e} for some p; check "
                "the signs of the form's terms and coefficients, and that u is fixed somewhere"
            )
        length = self._sizes[-1] / curvature
        self.x = self.x + length * self._p
        self.r = self.r - length * q
        self._z = self._cycle(self.r)
        self._lengths.append(length)
        self._sizes.append(float(np.vdot(self.r, self._z)))
        self._p = self._z + self._sizes[-1] / self._sizes[-2] * self._p
        self.steps += 1

    @property
    def energy_error(self) -> float:
        """An estimate of |x - x*|_A: r^T B r lies between lambda_1 and 1 times the square of that, lambda_1 being the
        smallest eigenvalue of B A, so the geometric mean of the two ends is off by at most lambda_1^(-1/4). lambda_1 is
        the smallest Ritz value of the steps taken so far.
        """
        return float(np.sqrt(max(self._sizes[-1], 0.0)) * self.smallest_ritz_value() ** -0.25)

    def energy_of(self, r: ndarray) -> float:
        """The same estimate for another residual."""
        return float(np.sqrt(max(float(np.vdot(r, self._cycle(r))), 0.0)) * self.smallest_ritz_value() ** -0.25)

    def smallest_ritz_value(self) -> float:
        """The smallest eigenvalue of the Lanczos matrix of the steps, at most 1."""
        return smallest_ritz_value(self._lengths, self._sizes)


def smallest_ritz_value(lengths: Sequence[float], sizes: Sequence[float]) -> float:
    """The smallest Ritz value of B A, at most 1, from the lengths of n steps and the n + 1 values of r^T B r."""
    if not lengths:
        return 1.0
    alpha, beta = np.array(lengths), np.array(sizes[1:-1]) / np.array(sizes[:-2])
    diagonal = 1 / alpha
    diagonal[1:] += beta / alpha[:-1]
    smallest = eigh_tridiagonal(diagonal, np.sqrt(beta) / alpha[:-1], eigvals_only=True)[0]
    return float(np.clip(smallest, 1e-12, 1.0))


def converged(product: Operator, cycle: Operator, x: ndarray, b: ndarray, rtol: float, maxiter: int) -> ndarray:
    """x with |b - A x| <= rtol |b|, by preconditioned conjugate gradients from x; it is the true residual that counts.

    Where rounding does not allow that, the solution is returned once its backward error is at rounding, and the log
    says so. Raises RuntimeError where ``maxiter`` steps do not do.
    """
    wanted, steps, before = rtol * float(np.linalg.norm(b)), 0, np.inf
    while True:
        r = b - product(x)
        size = float(np.linalg.norm(r))
        if size <= wanted:
            return x
        if not size < before / 2 and backward_error(product, x, b, r) <= ROUNDING:
            log.info("multigrid: residual %.1e |b|, the rounding of A x; expected %.1e", size / np.linalg.norm(b), rtol)
            return x
        if steps >= maxiter:
            raise RuntimeError(
                f"conjugate gradients stopped at a relative residual of {size / np.linalg.norm(b):.1e} after {steps} "
                f"steps, expected {rtol:.1e}; raise rtol or maxiter, or use solver_direct()"
            )
        iterate, before = ConjugateGradients(product, cycle, x, r), size
        while float(np.linalg.norm(iterate.r)) > wanted / 2 and steps < maxiter:
            iterate.step()
            steps += 1
        x = iterate.x


def roughly(product: Operator, cycle: Operator, x: ndarray, b: ndarray, steps: int = 20) -> ndarray:
    """An improved x with an error of about 1e-2 in energy, for a cycle that is not of a full-multigrid pass."""
    iterate = ConjugateGradients(product, cycle, x, b - product(x))
    while not iterate.done and iterate.steps < steps:
        iterate.step()
        if iterate.energy_error**2 <= 1e-4 * float(np.vdot(iterate.x, b)):
            break
    return iterate.x


def backward_error(product: Operator, x: ndarray, b: ndarray, r: ndarray) -> float:
    """|r| / (|A| |x| + |b|), with |A r| / |r| for |A|: what rounding leaves is rough."""
    size = float(np.linalg.norm(r))
    norm = float(np.linalg.norm(product(r))) / size
    return size / (norm * float(np.linalg.norm(x)) + float(np.linalg.norm(b)))
