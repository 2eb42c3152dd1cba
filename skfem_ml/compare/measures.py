"""Errors of one solution against a reference, one class per kind of problem: what `compare` puts in its table.

Each class has ``headings`` for its two errors, ``accepts`` and ``wanted`` for the type of a solution, the norms of the
reference, a ``note``, and ``measure(solution) -> (error, second error or None)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, CellBasis

from skfem_ml.metrics import (
    eigenvalue_errors,
    eigenvector_errors,
    energy_norm,
    gauss_times,
    gradients,
    l2_norm,
    mean_residual,
    space_time_norm,
    space_time_values,
    values,
)
from skfem_ml.problems import Eigenproblem, Heat, InitialValueProblem, OperatorSamples, Sequence
from skfem_ml.solutions import Eigenpairs, Generated
from skfem_ml.stepping.evolution import OdeResult

Array = NDArray[np.float64]
Solution = Callable[..., Any]


def measure_of(problem: Any) -> Any:
    """Return the class that measures solutions of a problem."""
    if isinstance(problem, Heat):
        return SpaceTimeMeasure
    if isinstance(problem, Sequence):
        return SequenceMeasure
    if isinstance(problem, InitialValueProblem):
        return TrajectoryMeasure
    if isinstance(problem, OperatorSamples):
        return SamplesMeasure
    return PairsMeasure if isinstance(problem, Eigenproblem) else SpaceMeasure


class SpaceMeasure:
    """L2 and energy errors of ``u(x)``, whose reference values and gradients are computed once."""

    headings = ("error L2", "error energy")
    accepts: type = Callable  # type: ignore[assignment]
    wanted = "a solution, a callable u(x)"

    def __init__(self, reference: Solution, label: str, problem: Any, basis: CellBasis | None):
        self.basis = Basis(problem.mesh, problem.mesh.elem(), intorder=4) if basis is None else basis
        self.a: Any = getattr(problem, "a", None)
        self.values = _finite(values(reference, self.basis), "solution")
        self.norm_l2 = l2_norm(self.values, self.basis)
        self.note = f"errors: relative to {label}, whose L2 norm is {self.norm_l2:.4g}"
        self.gradients: Array | None = None
        self.norm_energy: float | None = None
        if self.a is not None and hasattr(reference, "grad"):
            self.gradients = _finite(gradients(reference, self.basis), "gradient")
            self.norm_energy = energy_norm(self.gradients, self.basis, self.a)
            self.note += f" and energy norm {self.norm_energy:.4g}"
        self.note += _vanishing(self.norm_l2)

    def __call__(self, solution: Solution) -> tuple[float, float | None]:
        """Return the relative errors in L2 and in energy."""
        difference = _finite(values(solution, self.basis), "solution") - self.values
        error, energy = l2_norm(difference, self.basis) / (self.norm_l2 or 1.0), None
        if self.gradients is not None and hasattr(solution, "grad"):
            slope = _finite(gradients(solution, self.basis), "gradient") - self.gradients
            energy = energy_norm(slope, self.basis, self.a) / (self.norm_energy or 1.0)
        return error, energy


class SpaceTimeMeasure:
    """Errors of ``u(x, t)`` in L2 over space and time, and in L2 over space at the end time."""

    headings = ("error L2", "error at t_end")
    accepts: type = Callable  # type: ignore[assignment]
    wanted = "a solution, a callable u(x, t)"

    def __init__(self, reference: Solution, label: str, problem: Heat, basis: CellBasis | None):
        self.basis = Basis(problem.mesh, problem.mesh.elem(), intorder=4) if basis is None else basis
        times, self.weights = gauss_times(problem.t_end)
        self.times = np.append(times, problem.t_end)
        self.values = self._values(reference)
        self.norm_l2 = space_time_norm(self.values[:-1], self.basis, self.weights)
        self.norm_energy = l2_norm(self.values[-1], self.basis)
        self.note = f"errors: relative to {label}, in L2 over space and time (norm {self.norm_l2:.4g})"
        self.note += f" and in L2 at t = {problem.t_end:g} (norm {self.norm_energy:.4g})" + _vanishing(self.norm_l2)

    def _values(self, solution: Solution) -> Array:
        return _finite(space_time_values(solution, self.basis, self.times), "solution")

    def __call__(self, solution: Solution) -> tuple[float, float | None]:
        """Return the relative errors over all times and at the end."""
        difference = self._values(solution) - self.values
        error = space_time_norm(difference[:-1], self.basis, self.weights) / (self.norm_l2 or 1.0)
        return error, l2_norm(difference[-1], self.basis) / (self.norm_energy or 1.0)


class PairsMeasure:
    """The largest relative error of an eigenvalue, (31), and the largest ``1 - cos^2`` of a vector, cf. (32)."""

    headings = ("error eigenvalue", "error vector")
    accepts: type = Eigenpairs
    wanted = "Eigenpairs"
    norm_l2 = norm_energy = None

    def __init__(self, reference: Eigenpairs, label: str, problem: Eigenproblem, basis: CellBasis | None):
        self.reference, self.M = reference, problem.M
        self.note = f"errors: relative to {label}; eigenvalues |l - m| / |m|, vectors 1 - cos^2, the largest over all"

    def __call__(self, solution: Eigenpairs) -> tuple[float, float | None]:
        """Return the largest error of a value, and of a vector where both sides have them."""
        error = float(_finite(eigenvalue_errors(solution, self.reference), "eigenvalues").max())
        if solution.vectors is None or self.reference.vectors is None:
            return error, None
        return error, float(eigenvector_errors(solution, self.reference, self.M).max())


class SequenceMeasure:
    """Root mean square errors of a generated sequence, over the deviation of the exact one from its mean.

    The first is that of the reproduction, the second that of the continuation. The mean squared error of the published
    tables is ``(error * norm_l2)^2``.
    """

    headings = ("error reproduced", "error continued")
    accepts: type = Generated
    wanted = "Generated"

    def __init__(self, reference: Generated, label: str, problem: Sequence, basis: CellBasis | None):
        self.problem = problem
        truth = problem.truth if reference is problem.exact else problem.measured(_whole(reference))
        self.truth = np.split(_finite(truth, "sequence"), [problem.train])
        mean = self.truth[0].mean(axis=0)
        norms = [float(np.sqrt(((part - mean) ** 2).mean())) if len(part) else None for part in self.truth]
        self.norm_l2, self.norm_energy = norms[0] or 0.0, norms[1]
        self.note = f"errors: root mean square over that of the deviation of {label} from its mean ({norms[0]:.4g})"

    def __call__(self, solution: Generated) -> tuple[float, float | None]:
        """Return the relative errors of reproduction and continuation (None where nothing is held out)."""
        shown = np.split(self.problem.measured(_finite(_whole(solution), "sequence")), [len(solution.reproduced)])
        errors = [_root_mean_square(a, b) for a, b in zip(shown, self.truth, strict=True)]
        continued = None if errors[1] is None else errors[1] / (self.norm_energy or 1.0)
        return (errors[0] or 0.0) / (self.norm_l2 or 1.0), continued


def _whole(solution: Generated) -> Array:
    return np.concatenate([solution.reproduced, solution.continued])


def _root_mean_square(a: Array, b: Array) -> float | None:
    if a.shape != b.shape:
        raise ValueError(f"expected generated frames {b.shape}, got {a.shape}")
    return float(np.sqrt(((a - b) ** 2).mean())) if len(a) else None


class TrajectoryMeasure:
    """Errors of trajectories, the root mean square over starts, unknowns and times, and over those at the end."""

    headings = ("error L2", "error at t_end")
    accepts: type = OdeResult
    wanted = "an OdeResult"

    def __init__(self, reference: OdeResult, label: str, problem: InitialValueProblem, basis: CellBasis | None):
        self.shape = (*problem.y0.shape, len(problem.t))
        self.y = self._states(reference)
        self.norm_l2, self.norm_energy = _rms(self.y), _rms(self.y[..., -1])
        self.note = (
            f"errors: relative to {label}, root mean square over {self.shape[0]} starts and {self.shape[2]} times"
        )
        self.note += f" (its own is {self.norm_l2:.4g}) and at t = {problem.t[-1]:g} ({self.norm_energy:.4g})"

    def _states(self, solution: OdeResult) -> Array:
        if solution.y.shape != self.shape:
            raise ValueError(
                f"expected states (batch, n, k) = {self.shape} at the problem's times, got {solution.y.shape}"
            )
        return _finite(solution.y, "solution")

    def __call__(self, solution: OdeResult) -> tuple[float, float | None]:
        """Return the relative errors over all times and at the end."""
        gap = self._states(solution) - self.y
        return _rms(gap) / (self.norm_l2 or 1.0), _rms(gap[..., -1]) / (self.norm_energy or 1.0)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


class SamplesMeasure:
    """The mean relative residuals of ``w(q)`` on test and on training samples (FMM-Net, tables 1 and 2)."""

    headings = ("residual test", "residual train")
    accepts: type = Callable  # type: ignore[assignment]
    wanted = "a map, a callable w(q) of samples (n, N)"
    norm_l2 = norm_energy = None

    def __init__(self, reference: Any, label: str, problem: OperatorSamples, basis: CellBasis | None):
        self.parts = [problem.part(name) for name in ("test", "train")]
        sizes = [len(problem.part(name)[0]) for name in ("train", "validation", "test")]
        self.note = (
            f"residuals: mean of |w - w_exact| / |w_exact| over samples; {sizes[0]} for training, {sizes[1]} for "
            f"validation, {sizes[2]} for the test, N = {problem.points.shape[1]}"
        )

    def __call__(self, solution: Solution) -> tuple[float, float | None]:
        """Return the residuals on test and training samples."""
        test, train = (mean_residual(_finite(np.asarray(solution(q)), "output"), w) for q, w in self.parts)
        return test, train


def _finite(field: Array, label: str) -> Array:
    if not np.isfinite(field).all():
        raise ValueError(f"the {label} is not finite (nan or inf)")
    return field


def _vanishing(norm: float) -> str:
    return "; the reference vanishes, so the errors are absolute" if norm == 0 else ""
