"""What every solver returns: a solution, a callable ``u(x)`` with ``x`` of shape ``(dim, ...)``.

A solution may offer more: ``u.grad(x)`` of shape ``(dim, ...)``, which the energy error needs, and ``u.unknowns``, the
size of the system that was solved. What else a solver tells is in ``u.record``, a `Record`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from skfem import CellBasis

from skfem_ml.meshes.cells import cell_finder, reference_coordinates

Array = NDArray[np.float64]
CHUNK = 2**17


class Losses(Protocol):
    """What one training leaves: losses and seconds at some steps, as `learning.training.History` has them."""

    steps: list[int]
    losses: list[float]
    seconds: list[float]


@dataclass(frozen=True, eq=False)
class Record:
    """What happened when a solver ran; nothing in it can be changed.

    ``unknowns`` is the size of the system that was solved, or the number of parameters that were fitted (None: the
    solver does not say). ``seconds`` maps stages to wall seconds. ``history`` has one entry a training. ``notes`` holds
    what else the solver tells, each documented there; ``record["name"]`` looks in it, KeyError lists the names.

    >>> record = Record(81, {"assembly": 0.25, "solve": 0.5}, notes={"ell": 2})
    >>> record["ell"], sum(record.seconds.values()), "variant" in record
    (2, 0.75, False)
    >>> record.with_notes(variant="galerkin")
    Record(81 unknowns, 0.75 s, ell, variant)
    """

    unknowns: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    history: tuple[Losses, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknowns = None if self.unknowns is None else int(self.unknowns)
        object.__setattr__(self, "unknowns", unknowns)
        object.__setattr__(self, "seconds", MappingProxyType(dict(self.seconds)))
        object.__setattr__(self, "history", tuple(self.history))
        object.__setattr__(self, "notes", MappingProxyType(dict(self.notes)))

    def __getitem__(self, name: str) -> Any:
        """Return one of the notes."""
        if name not in self.notes:
            raise KeyError(f"no note called {name!r}; the solver tells {list(self.notes) or 'nothing'}")
        return self.notes[name]

    def __contains__(self, name: object) -> bool:
        return name in self.notes

    def with_notes(self, **notes: object) -> Record:
        """Return the record with more notes, of which a new one of an old name replaces it."""
        return replace(self, notes={**self.notes, **notes})

    def __reduce__(self) -> tuple[object, ...]:
        # A read-only view of a dictionary cannot be pickled.
        return Record, (self.unknowns, dict(self.seconds), self.history, dict(self.notes))

    def __repr__(self) -> str:
        parts = [] if self.unknowns is None else [f"{self.unknowns} unknowns"]
        parts += [f"{sum(self.seconds.values()):.3g} s"] if self.seconds else []
        parts += [f"{len(self.history)} trainings"] if self.history else []
        return f"Record({', '.join([*parts, *self.notes])})"


NOTHING = Record()


@dataclass(frozen=True)
class Analytic:
    """A solution known by formula: ``value(x)`` of shape ``(...)`` and its gradient ``gradient(x)`` ``(dim, ...)``.

    ``laplacian(x)`` of shape ``(...)`` is optional; methods that work with the strong form need it.
    """

    value: Callable[[Array], Array]
    gradient: Callable[[Array], Array]
    laplacian: Callable[[Array], Array] | None = None

    def __call__(self, x: ArrayLike) -> Array:
        """Return the values at ``x`` of shape ``(dim, ...)``."""
        return self.value(np.asarray(x, dtype=float))

    def grad(self, x: ArrayLike) -> Array:
        """Return the gradient at ``x``, shape ``(dim, ...)``."""
        return self.gradient(np.asarray(x, dtype=float))


@dataclass(frozen=True, eq=False)
class FEFunction:
    """The finite element function ``u(x) = sum_j y_j phi_j(x)`` on a basis of scalar elements.

    ``y`` is ``(basis.N,)``. ``record`` carries what a solver tells; ``record.unknowns`` overrides ``.unknowns``.
    Evaluation locates all points at once: two binary searches an axis on box meshes. Raises ValueError for a wrong
    length and for points outside the mesh, TypeError for vector elements and curved meshes.
    """

    basis: CellBasis
    y: Array
    record: Record = NOTHING

    def __post_init__(self) -> None:
        y = np.asarray(self.y)
        if y.shape != (self.basis.N,):
            raise ValueError(f"y: expected shape ({self.basis.N},), one value per degree of freedom, got {y.shape}")
        object.__setattr__(self, "y", y)

    @property
    def unknowns(self) -> int:
        """The size of the system that gave this function: ``record.unknowns``, or the length of ``y``."""
        return int(self.basis.N) if self.record.unknowns is None else self.record.unknowns

    @cached_property
    def _finder(self) -> Callable[[Array], NDArray[np.int64]]:
        return cell_finder(self.basis.mesh)

    def __call__(self, x: ArrayLike) -> Array:
        """Return the values at ``x`` of shape ``(dim, ...)``, shape ``(...)``."""
        points = _flat(self.basis, x)
        parts = [
            np.einsum("kn,kn->n", self.y[dofs], phi)
            for dofs, phi in _chunks(self.basis, points, self._finder, derivative=False)
        ]
        return _joined(parts, axis=0).reshape(np.shape(x)[1:])

    def grad(self, x: ArrayLike) -> Array:
        """Return the gradient at ``x``, shape ``(dim, ...)``; on a face, that of one of the cells that meet there."""
        points = _flat(self.basis, x)
        parts = [
            np.einsum("kn,kdn->dn", self.y[dofs], phi)
            for dofs, phi in _chunks(self.basis, points, self._finder, derivative=True)
        ]
        return _joined(parts, axis=1).reshape(np.shape(x))


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Eigenvalues ``(k,)`` in ascending order and vectors ``(n, k)``, None where only the values are known.

    ``record`` carries what a solver tells.
    """

    values: Array
    vectors: Array | None = None
    record: Record = NOTHING

    def __post_init__(self) -> None:
        order = np.argsort(self.values)
        object.__setattr__(self, "values", np.asarray(self.values, dtype=float)[order])
        if self.vectors is not None:
            object.__setattr__(self, "vectors", np.asarray(self.vectors, dtype=float)[:, order])

    @property
    def unknowns(self) -> int | None:
        """What ``record.unknowns`` says, else the length of a vector."""
        rows = None if self.vectors is None else self.vectors.shape[0]
        return rows if self.record.unknowns is None else self.record.unknowns


@dataclass(frozen=True, eq=False)
class Generated:
    """A generated sequence: states ``reproduced`` ``(train, n)`` from the first one, ``continued`` ``(k, n)`` after it.

    ``continued`` starts from what was learnt, not from the end of the reproduction. ``record`` carries what a solver
    tells.
    """

    reproduced: Array
    continued: Array
    record: Record = NOTHING

    @property
    def unknowns(self) -> int | None:
        """How many numbers were fitted, where the solver says it."""
        return self.record.unknowns


@dataclass(frozen=True, eq=False)
class Evolution:
    """A solution ``u(x, t)`` from slices in time: ``y`` ``(k, n)`` at increasing times ``t`` ``(k,)``.

    ``space(y)`` turns one slice into a solution ``u(x)``. Between slices the nearest ``degree + 1`` of them are
    interpolated by a polynomial. ``t`` of a call is one time, or an array that broadcasts to the points. Raises
    ValueError for times outside the slices.
    """

    space: Callable[[Array], Callable[[Array], Array]]
    t: Array
    y: Array
    degree: int = 3
    record: Record = NOTHING

    @property
    def unknowns(self) -> int:
        """Unknowns of one slice (``record.unknowns``), or the size of ``y``."""
        return int(self.y.size) if self.record.unknowns is None else self.record.unknowns

    def at(self, t: float) -> Array:
        """Return the slice ``(n,)`` at one time."""
        first, last = self.t[0], self.t[-1]
        slack = 1e-12 * (last - first)
        if not first - slack <= t <= last + slack:
            raise ValueError(f"t: expected between {first:.6g} and {last:.6g}, the times of the solution, got {t:.6g}")
        count = min(self.degree + 1, len(self.t))
        start = int(np.searchsorted(self.t, t)) - count // 2
        start = min(max(start, 0), len(self.t) - count)
        nodes = self.t[start : start + count]
        gaps = nodes[:, None] - nodes[None, :]
        np.fill_diagonal(gaps, 1.0)
        factors = np.where(np.eye(count, dtype=bool), 1.0, (t - nodes)[None, :] / gaps)
        return factors.prod(axis=1) @ self.y[start : start + count]

    def __call__(self, x: ArrayLike, t: ArrayLike) -> Array:
        """Return the values at ``x`` ``(dim, ...)`` and ``t``, shape ``(...)``."""
        x = np.asarray(x, dtype=float)
        if np.ndim(t) == 0:
            return self.space(self.at(float(np.asarray(t))))(x)
        times = np.broadcast_to(t, x.shape[1:])
        result = np.empty(x.shape[1:])
        for moment in np.unique(times):
            here = times == moment
            result[here] = self.space(self.at(float(moment)))(x[:, here])
        return result


def probes(basis: CellBasis, x: ArrayLike) -> csr_matrix:
    """Return the matrix ``P[i, j] = phi_j(x_i)``, shape ``(n, basis.N)``, for points ``x`` of shape ``(dim, n)``.

    ``P @ y`` evaluates a finite element function. For a nested coarse basis and ``x = fine.doflocs`` it is the nodal
    prolongation to Lagrange elements. Raises as `FEFunction`.
    """
    points = _flat(basis, x)
    columns, values = [], []
    for dofs, phi in _chunks(basis, points, cell_finder(basis.mesh), derivative=False):
        columns.append(dofs)
        values.append(phi)
    rows = np.broadcast_to(np.arange(points.shape[1]), (basis.Nbfun, points.shape[1]))
    matrix = csr_matrix(
        (_joined(values, 1).ravel(), (rows.ravel(), _joined(columns, 1).ravel())), shape=(points.shape[1], basis.N)
    )
    matrix.eliminate_zeros()
    return matrix


def _flat(basis: CellBasis, x: ArrayLike) -> Array:
    points = np.asarray(x, dtype=float)
    dim = basis.mesh.dim()
    if points.ndim < 1 or points.shape[0] != dim:
        raise ValueError(f"x: expected shape ({dim}, ...), one row per coordinate, got {points.shape}")
    return points.reshape(dim, -1)


def _joined(parts: list[NDArray], axis: int) -> NDArray:
    return np.concatenate(parts, axis=axis)


def _chunks(basis: CellBasis, points: Array, finder: Callable, derivative: bool):
    """Yield global dofs ``(Nbfun, n)`` and basis function values ``(Nbfun, [dim,] n)``, a bounded number at a time."""
    for start in range(0, max(points.shape[1], 1), CHUNK):
        x = points[:, start : start + CHUNK]
        cells = finder(x)
        if (cells < 0).any():
            first = int((cells < 0).argmax())
            raise ValueError(
                f"x: {int((cells < 0).sum())} points lie outside the mesh, the first is point {start + first} at "
                f"{x[:, first].tolist()}; evaluate inside the domain only"
            )
        local = reference_coordinates(basis.mesh, cells, x)[:, :, None]
        fields = [basis.elem.gbasis(basis.mapping, local, k, tind=cells) for k in range(basis.Nbfun)]
        if len(fields[0]) != 1 or np.ndim(fields[0][0]) != 2:
            raise TypeError(f"{type(basis.elem).__name__}: expected a scalar element (for example ElementQuad1)")
        parts = [f[0].grad if derivative else np.asarray(f[0]) for f in fields]
        yield basis.element_dofs[:, cells], np.stack([p[..., 0] for p in parts])
