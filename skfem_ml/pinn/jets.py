"""A user's equation at points: fields as scikit-fem has them, with derivatives in time, and exact linearisation.

A jet is an array ``(components, entries, n)``: of each component the value, its first derivatives in x and t, and the
second ones that are wanted. The equation is differentiated in all entries by a complex step: ``Im F(u + ih) / h`` is
exact to rounding for functions that are analytic, which is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from skfem.assembly.form.form import FormExtraParams
from skfem.element import DiscreteField

from skfem_ml import checks

Array = NDArray[np.float64]
Pairs = tuple[tuple[int, int], ...]
STEP = 1e-30


class Jet(DiscreteField):
    """A field of scikit-fem with its derivative in time, ``u.ddt``, which is such a field again."""

    def __array_finalize__(self, obj: object) -> None:
        """Keep what a view keeps."""
        super().__array_finalize__(obj)
        if obj is not None and "ddt" in getattr(obj, "__dict__", {}):
            self.ddt: Jet = obj.__dict__["ddt"]

    def __getattr__(self, name: str) -> NDArray:
        if name == "ddt":
            raise AttributeError("u.ddt: the problem has no time, or no such derivative; give time=(0, 1)")
        raise AttributeError(f"u.{name}: a field has grad, hess and ddt")


def ddt(u: Jet) -> Jet:
    """Return the derivative in time, as `skfem.helpers.grad` returns that in space."""
    return u.ddt


def laplace(u: DiscreteField) -> Array:
    """Return ``sum_i d2u/dx_i2``, the trace of `skfem.helpers.dd`, of a scalar or of each component of a vector."""
    return np.einsum("...iiab->...ab", np.asarray(u.hess))


@dataclass(frozen=True)
class Layout:
    """What a jet holds: ``dim`` space variables, time or not, fields by size, second derivatives ``pairs``."""

    dim: int
    timed: bool
    fields: tuple[int, ...]
    names: tuple[str, ...] = ()  # of unknown fields, the last components
    scalars: tuple[str, ...] = ()
    pairs: Pairs = ()

    @property
    def variables(self) -> int:
        """The number of space and time variables."""
        return self.dim + self.timed

    @property
    def components(self) -> int:
        """The number of components, unknown fields included."""
        return sum(self.fields) + len(self.names)

    @property
    def entries(self) -> int:
        """The number of entries a component."""
        return 1 + self.variables + len(self.pairs)

    def full(self) -> Layout:
        """Return the layout with all second derivatives."""
        D = self.variables
        return replace(self, pairs=tuple((i, j) for i in range(D) for j in range(i, D)))

    def slot(self, *axes: int) -> int:
        """Return the entry of a derivative; ``entries`` (an entry of zeros) where it is not held."""
        if len(axes) < 2:
            return axes[0] + 1 if axes else 0
        pair = (min(axes), max(axes))
        return 1 + self.variables + self.pairs.index(pair) if pair in self.pairs else self.entries

    def jets(self, U: NDArray, shape: tuple[int, int]) -> list[Jet]:
        """Return the fields of a jet array, then the unknown fields; points in the given shape."""
        padded = np.concatenate([U, np.zeros_like(U[:, :1])], axis=1)
        sizes = [*self.fields, *[1] * len(self.names)]
        parts = np.split(padded, np.cumsum(sizes)[:-1])
        return [self._field(part[0] if len(part) == 1 else part, shape) for part in parts]

    def _field(self, U: NDArray, shape: tuple[int, int]) -> Jet:
        space = range(self.dim)

        def of(index: object) -> NDArray:
            found = U[..., np.asarray(index, dtype=int), :]
            return found.reshape(*found.shape[:-1], *shape)

        hess = of([[self.slot(i, j) for j in space] for i in space])
        u = Jet(of(0), grad=of([self.slot(i) for i in space]), hess=hess)
        if self.timed:
            t = self.dim
            u.ddt = Jet(of(self.slot(t)), grad=of([self.slot(i, t) for i in space]))
            u.ddt.ddt = Jet(of(self.slot(t, t)))
        return u


class Pointwise:
    """Rows ``F(jet, scalars)`` ``(K, n)`` at n points from a user's function of fields and ``w``.

    ``call(fields, w)`` returns an array or a tuple of them, each of trailing ``shape``; ``given`` is what ``w`` holds
    besides the unknowns.
    """

    def __init__(
        self, call: Callable[[list[Jet], FormExtraParams], object], layout: Layout, shape: tuple[int, int],
        given: Mapping[str, object], label: str = "residual",
    ):  # fmt: skip
        self.call, self.layout, self.shape, self.given, self.label = call, layout, shape, dict(given), label
        self.n = shape[0] * shape[1]

    def __call__(self, U: NDArray, scalars: NDArray) -> NDArray:
        """Return the rows ``(K, n)``; ValueError where they have another shape."""
        fields = self.layout.jets(U, self.shape)
        own = fields[len(self.layout.fields) :]
        w = FormExtraParams(
            {**self.given, **dict(zip(self.layout.names, own, strict=True)),
             **dict(zip(self.layout.scalars, scalars, strict=True))}
        )  # fmt: skip
        rows = self.call(fields[: len(self.layout.fields)], w)
        return np.concatenate([self._row(row) for row in (rows if isinstance(rows, tuple | list) else (rows,))])

    def _row(self, row: object) -> NDArray:
        row = np.asarray(row)
        if row.shape[-2:] != self.shape:
            raise ValueError(
                f"{self.label}: expected an array of the points' shape (..., {self.shape[0]}, {self.shape[1]}), got "
                f"{row.shape}; combine u, grad(u)[i], dd(u)[i, j] point by point, sum over components only"
            )
        return row.reshape(-1, self.n)

    def linearised(self, U: Array, scalars: Array) -> tuple[Array, Array, Array]:
        """Return rows ``(K, n)``, their derivatives in the jet ``(K, C, E, n)`` and in the scalars ``(K, S, n)``."""
        C, E, n = U.shape
        rows = np.real(self(U, scalars))
        slopes = np.empty((len(rows), C, E, n))
        Z = U.astype(complex)
        for c in range(C):
            for e in range(E):
                Z[c, e] += 1j * STEP
                slopes[:, c, e] = np.imag(self(Z, scalars)) / STEP
                Z[c, e] = U[c, e]
        others = np.empty((len(rows), len(scalars), n))
        for k in range(len(scalars)):
            moved = scalars + 1j * STEP * (np.arange(len(scalars)) == k)
            others[:, k] = np.imag(self(U.astype(complex), moved)) / STEP
        return rows, slopes, others

    def probed(self) -> tuple[Layout, bool]:
        """Return the layout with the second derivatives that matter alone, and whether the function is affine.

        Both are found at random jets. Raises ValueError where rows are not finite at moderate jets, and where the
        complex step and differences disagree.
        """
        rng = np.random.default_rng(0)
        shape = (self.layout.components, self.layout.entries, self.n)
        states = [(scale * rng.standard_normal(shape), rng.uniform(0.5, 1.5, len(self.layout.scalars)) * scale)
                  for scale in (0.5, 2.0)]  # fmt: skip
        found = []
        for U, scalars in states:
            rows, slopes, others = self.linearised(U, scalars)
            checks.finite(rows, self.label, "look for a division by zero, or a logarithm, at the points w.x")
            found.append((slopes, others))
            self._compare(U, scalars, rows, slopes, others)
        first = 1 + self.layout.variables
        matters = (abs(found[0][0]) + abs(found[1][0])).max(axis=(0, 1, 3))[first:] > 0
        pairs = tuple(pair for pair, used in zip(self.layout.pairs, matters, strict=True) if used)
        same = all(np.allclose(a, b, rtol=1e-11, atol=1e-13) for a, b in zip(*found, strict=True))
        return replace(self.layout, pairs=pairs), same and not self.layout.scalars

    def _compare(self, U: Array, scalars: Array, rows: Array, slopes: Array, others: Array) -> None:
        rng, h = np.random.default_rng(1), 1e-6
        dU, ds = rng.standard_normal(U.shape), rng.standard_normal(scalars.shape)
        change = np.real(self(U + h * dU, scalars + h * ds) - self(U - h * dU, scalars - h * ds)) / (2 * h)
        expected = np.einsum("kcen,cen->kn", slopes, dU) + np.einsum("ksn,s->kn", others, ds)
        gap = abs(change - expected) > 1e-4 * (abs(expected) + abs(slopes).max() + abs(rows).max() * 1e-3)
        # A kink may lie between two points of a difference: few of them, where an abs() is wrong at half of all.
        if gap.mean() > 0.05:
            raise ValueError(
                f"{self.label}: its derivative by a complex step is wrong at {gap.mean():.0%} of the points; it must "
                "be analytic in u: write np.sqrt(u * u) for abs(u), dot(u, u) for norms, and no np.real or float()"
            )
