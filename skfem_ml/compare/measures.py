"""Errors of one solution against a reference, one class per kind of problem: what `compare` puts in its table.

Each class has ``headings`` for its two errors, which name them in tables and files, ``accepts`` and ``wanted`` for the
type of a solution; a measure has the ``norms`` of the reference, a ``note``, and ``measure(solution) -> errors``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skfem import Basis, CellBasis, Mesh

from skfem_ml import checks
from skfem_ml.metrics import (
    eigen_residuals,
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
from skfem_ml.problems import PDE, Eigenproblem, Heat, InitialValueProblem, OperatorSamples, Sequence
from skfem_ml.solutions import Eigenpairs, Generated
from skfem_ml.stepping.evolution import OdeResult

Array = NDArray[np.float64]
Solution = Callable[..., ArrayLike]
Errors = tuple[float | None, ...]


class Measure(Protocol):
    """What measures solutions of one kind of problem against a reference."""

    headings: ClassVar[tuple[str, ...]]
    accepts: ClassVar[type]
    wanted: ClassVar[str]
    note: str
    norms: Errors  # of the reference, one a heading; None where errors are no multiple of one

    def __init__(self, reference: Any, label: str, problem: Any, basis: CellBasis | None) -> None: ...

    def __call__(self, solution: Any) -> Errors:
        """Return the relative errors, one a heading; None where there is none."""


def measure_of(problem: object) -> type[Measure]:
    """Return the class that measures solutions of a problem."""
    kinds: dict[type, type[Measure]] = {
        Heat: SpaceTimeMeasure,
        Sequence: SequenceMeasure,
        InitialValueProblem: TrajectoryMeasure,
        OperatorSamples: SamplesMeasure,
        Eigenproblem: PairsMeasure,
    }
    if isinstance(problem, PDE) and problem.time is not None:
        return SpaceTimeMeasure
    return next((measure for kind, measure in kinds.items() if isinstance(problem, kind)), SpaceMeasure)


class OnMesh(Protocol):
    """A problem on a mesh; one with a coefficient ``a`` has an energy norm."""

    @property
    def mesh(self) -> Mesh: ...


class SpaceMeasure:
    """L2 and energy errors of ``u(x)``, whose reference values and gradients are computed once."""

    headings: ClassVar[tuple[str, ...]] = ("error L2", "error energy")
    accepts: ClassVar[type] = Callable  # type: ignore[assignment]
    wanted: ClassVar[str] = "a solution, a callable u(x)"

    def __init__(self, reference: Solution, label: str, problem: OnMesh, basis: CellBasis | None):
        self.basis = Basis(problem.mesh, problem.mesh.elem(), intorder=4) if basis is None else basis
        self.a: Array | None = getattr(problem, "a", None)
        self.values = _finite(values(reference, self.basis), "solution")
        size, energy = l2_norm(self.values, self.basis), None
        self.note = f"errors: relative to {label}, whose L2 norm is {size:.4g}"
        self.gradients: Array | None = None
        if self.a is not None and hasattr(reference, "grad"):
            self.gradients = _finite(gradients(reference, self.basis), "gradient")
            energy = energy_norm(self.gradients, self.basis, self.a)
            self.note += f" and energy norm {energy:.4g}"
        self.note += _vanishing(size)
        self.norms: Errors = (size, energy)

    def __call__(self, solution: Solution) -> Errors:
        """Return the relative errors in L2 and in energy; not the latter where a record says "homogenised"."""
        difference = _finite(values(solution, self.basis), "solution") - self.values
        error, energy = l2_norm(difference, self.basis), None
        tells = hasattr(solution, "grad") and "homogenised" not in getattr(solution, "record", ())
        if self.gradients is not None and self.a is not None and tells:
            slope = _finite(gradients(solution, self.basis), "gradient") - self.gradients
            energy = energy_norm(slope, self.basis, self.a)
        return _relative((error, energy), self.norms)


class SpaceTimeMeasure:
    """Errors of ``u(x, t)`` in L2 over space and time, and in L2 over space at the end time."""

    headings: ClassVar[tuple[str, ...]] = ("error L2", "error at t_end")
    accepts: ClassVar[type] = Callable  # type: ignore[assignment]
    wanted: ClassVar[str] = "a solution, a callable u(x, t)"

    def __init__(self, reference: Solution, label: str, problem: Heat | PDE, basis: CellBasis | None):
        self.basis = Basis(problem.mesh, problem.mesh.elem(), intorder=4) if basis is None else basis
        start = problem.t_start if isinstance(problem, PDE) else 0.0
        times, self.weights = gauss_times(problem.t_end - start)
        self.times = np.append(start + times, problem.t_end)
        self.values = self._values(reference)
        whole, last = self._norms(self.values)
        self.note = f"errors: relative to {label}, in L2 over space and time (norm {whole:.4g})"
        self.note += f" and in L2 at t = {problem.t_end:g} (norm {last:.4g})" + _vanishing(whole)
        self.norms: Errors = (whole, last)

    def _values(self, solution: Solution) -> Array:
        return _finite(space_time_values(solution, self.basis, self.times), "solution")

    def __call__(self, solution: Solution) -> Errors:
        """Return the relative errors over all times and at the end."""
        return _relative(self._norms(self._values(solution) - self.values), self.norms)

    def _norms(self, field: Array) -> tuple[float, float]:
        return space_time_norm(field[:-1], self.basis, self.weights), l2_norm(field[-1], self.basis)


class PairsMeasure:
    """The largest relative error of an eigenvalue, (31), the largest angle of an eigenvector, and its residual."""

    headings: ClassVar[tuple[str, ...]] = ("error eigenvalue", "eigenvector angle", "residual")
    accepts: ClassVar[type] = Eigenpairs
    wanted: ClassVar[str] = "Eigenpairs"
    norms: Errors = (None, None, None)

    def __init__(self, reference: Eigenpairs, label: str, problem: Eigenproblem, basis: CellBasis | None):
        self.reference, self.problem = reference, problem
        residual = (
            "|A x - l x| / |A|" if problem.M is None else "|A x - l M x| / |l| in the norm of M^-1, |x| in that of M"
        )
        self.note = (
            f"errors: relative to {label}; eigenvalues |l - m| / |m|, angles by their sine, residuals {residual} (of "
            "its own discrete problem where a method has one); the largest of all"
        )

    def __call__(self, solution: Eigenpairs) -> Errors:
        """Return the largest error of a value, of a vector where both sides have them, and of an equation."""
        error = float(_finite(eigenvalue_errors(solution, self.reference), "eigenvalues").max())
        if solution.vectors is None:
            return error, None, None
        own = solution.record.notes.get("residuals")
        residuals = eigen_residuals(solution, self.problem.A, self.problem.M) if own is None else np.asarray(own)
        angle = None
        if self.reference.vectors is not None:
            angle = float(eigenvector_errors(solution, self.reference, self.problem.M).max())
        return error, angle, float(residuals.max())


class SequenceMeasure:
    """Root mean square errors of a generated sequence, over the deviation of the exact one from its mean.

    The first is that of the reproduction, the second that of the continuation. The mean squared error of the published
    tables is ``(error * norm)^2``.
    """

    headings: ClassVar[tuple[str, ...]] = ("error reproduced", "error continued")
    accepts: ClassVar[type] = Generated
    wanted: ClassVar[str] = "Generated"

    def __init__(self, reference: Generated, label: str, problem: Sequence, basis: CellBasis | None):
        self.problem = problem
        truth = problem.truth if reference is problem.exact else problem.measured(_whole(reference))
        self.truth = np.split(_finite(truth, "sequence"), [problem.train])
        mean = self.truth[0].mean(axis=0)
        self.norms: Errors = tuple(_rms(part - mean) if len(part) else None for part in self.truth)
        self.note = (
            f"errors: root mean square over that of the deviation of {label} from its mean ({self.norms[0]:.4g})"
        )

    def __call__(self, solution: Generated) -> Errors:
        """Return the relative errors of reproduction and continuation (None where nothing is held out)."""
        shown = np.split(self.problem.measured(_finite(_whole(solution), "sequence")), [len(solution.reproduced)])
        return _relative([_gap(a, b) for a, b in zip(shown, self.truth, strict=True)], self.norms)


def _whole(solution: Generated) -> Array:
    return np.concatenate([solution.reproduced, solution.continued])


def _gap(a: Array, b: Array) -> float | None:
    if a.shape != b.shape:
        raise ValueError(f"expected generated frames {b.shape}, got {a.shape}")
    return _rms(a - b) if len(a) else None


class TrajectoryMeasure:
    """Errors of trajectories, the root mean square over starts, unknowns and times, and over those at the end."""

    headings: ClassVar[tuple[str, ...]] = ("error L2", "error at t_end")
    accepts: ClassVar[type] = OdeResult
    wanted: ClassVar[str] = "an OdeResult"

    def __init__(self, reference: OdeResult, label: str, problem: InitialValueProblem, basis: CellBasis | None):
        self.shape = (*problem.y0.shape, len(problem.t))
        self.y = self._states(reference)
        whole, last = _rms(self.y), _rms(self.y[..., -1])
        self.norms: Errors = (whole, last)
        self.note = (
            f"errors: relative to {label}, root mean square over {self.shape[0]} starts and {self.shape[2]} times"
        )
        self.note += f" (its own is {whole:.4g}) and at t = {problem.t[-1]:g} ({last:.4g})"

    def _states(self, solution: OdeResult) -> Array:
        if solution.y.shape != self.shape:
            raise ValueError(
                f"expected states (batch, n, k) = {self.shape} at the problem's times, got {solution.y.shape}"
            )
        return _finite(solution.y, "solution")

    def __call__(self, solution: OdeResult) -> Errors:
        """Return the relative errors over all times and at the end."""
        gap = self._states(solution) - self.y
        return _relative((_rms(gap), _rms(gap[..., -1])), self.norms)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


class SamplesMeasure:
    """The mean relative residuals of ``w(q)`` on test and on training samples (FMM-Net, tables 1 and 2)."""

    headings: ClassVar[tuple[str, ...]] = ("residual test", "residual train")
    accepts: ClassVar[type] = Callable  # type: ignore[assignment]
    wanted: ClassVar[str] = "a map, a callable w(q) of samples (n, N)"
    norms: Errors = (None, None)

    def __init__(self, reference: object, label: str, problem: OperatorSamples, basis: CellBasis | None):
        self.parts = [problem.part(name) for name in ("test", "train")]
        sizes = [len(problem.part(name)[0]) for name in ("train", "validation", "test")]
        self.note = (
            f"residuals: mean of |w - w_exact| / |w_exact| over samples; {sizes[0]} for training, {sizes[1]} for "
            f"validation, {sizes[2]} for the test, N = {problem.points.shape[1]}"
        )

    def __call__(self, solution: Solution) -> Errors:
        """Return the residuals on test and training samples."""
        test, train = (mean_residual(_finite(np.asarray(solution(q)), "output"), w) for q, w in self.parts)
        return test, train


def _finite(field: Array, label: str) -> Array:
    checks.finite(field, f"the {label}")
    return field


def _relative(errors: Iterable[float | None], norms: Errors) -> Errors:
    """Errors over norms; absolute where a norm is zero or unknown."""
    return tuple(None if e is None else e / (norm or 1.0) for e, norm in zip(errors, norms, strict=True))


def _vanishing(norm: float) -> str:
    return "; the reference vanishes, so the errors are absolute" if norm == 0 else ""
