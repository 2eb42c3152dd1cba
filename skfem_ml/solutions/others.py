"""Solutions that are no functions in space alone: eigenpairs, generated sequences, and functions in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfem_ml import displays
from skfem_ml.solutions.record import NOTHING, Record

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Eigenvalues ``(k,)`` in ascending order and vectors ``(n, k)``, None where only the values are known.

    ``record`` carries what a solver tells.

    >>> import numpy as np
    >>> from skfem_ml import Eigenpairs
    >>> Eigenpairs(np.array([4.0, 1.0]), np.eye(2))
    Eigenpairs(2 values from 1 to 4, vectors of 2 entries)
    """

    values: Array
    vectors: Array | None = None
    record: Record = NOTHING

    def __post_init__(self) -> None:
        order = np.argsort(self.values)
        object.__setattr__(self, "values", np.asarray(self.values, dtype=float)[order])
        if self.vectors is not None:
            object.__setattr__(self, "vectors", np.asarray(self.vectors, dtype=float)[:, order])

    def __repr__(self) -> str:
        count = len(self.values)
        span = f" from {self.values[0]:.4g} to {self.values[-1]:.4g}" if count else ""
        vectors = "no vectors" if self.vectors is None else f"vectors of {len(self.vectors)} entries"
        return f"Eigenpairs({count} values{span}, {vectors})"

    def _repr_html_(self) -> str:
        """The values by number, for notebooks."""
        return displays.table(repr(self), {str(k + 1): f"{value:.6g}" for k, value in enumerate(self.values)})

    @property
    def unknowns(self) -> int | None:
        """What ``record.unknowns`` says, else the length of a vector."""
        rows = None if self.vectors is None else self.vectors.shape[0]
        return rows if self.record.unknowns is None else self.record.unknowns

    def save(self, path: str | Path, card: Mapping[str, object] | None = None) -> None:
        """Write values and vectors to a file with a card of JSON values; raises what `storage.save_model` raises."""
        import torch

        from skfem_ml.learning.storage import save_model

        held = {"values": self.values} if self.vectors is None else {"values": self.values, "vectors": self.vectors}
        tensors = {name: torch.as_tensor(np.ascontiguousarray(array)) for name, array in held.items()}
        save_model(path, tensors, {**(card or {}), "kind": "eigenpairs", "unknowns": self.unknowns})

    @classmethod
    def load(cls, path: str | Path) -> Eigenpairs:
        """Return the pairs of a file of `save`; ``record["card"]`` is the card.

        Raises FileNotFoundError, and CorruptModelError for a file that is damaged or holds something else.
        """
        from skfem_ml.learning.storage import CorruptModelError, load_model

        tensors, card = load_model(path)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        count = shapes.get("values", ())
        if card.pop("kind", None) != "eigenpairs" or len(count) != 1 or shapes.get("vectors", (0, *count))[1:] != count:
            raise CorruptModelError(f"{path}: expected the file of Eigenpairs.save, got tensors of shapes {shapes}")
        vectors = tensors["vectors"].numpy() if "vectors" in tensors else None
        return cls(tensors["values"].numpy(), vectors, Record(card.pop("unknowns", None), notes={"card": card}))


class Forecaster(Protocol):
    """What has learnt a sequence, and continues it from any of its frames; a file holds it.

    >>> import numpy as np
    >>> from skfem_ml.hits import solver_hits
    >>> from skfem_ml.problems import Sequence
    >>> turn = Sequence("turn", np.array([[np.cos(k), np.sin(k)] for k in range(30)]), 25, 1.0)
    >>> model = solver_hits(8)(turn).model
    >>> bool(abs(model.forecast(turn.states[:7], 3) - turn.states[7:10]).max() < 1e-6)
    True
    """

    def forecast(self, frames: Array, count: int) -> Array:
        """Return the ``count`` frames ``(count, n)`` that follow the last of ``frames`` ``(k, n)``."""

    def save(self, path: str | Path, **card: object) -> None:
        """Write the model, and on its card what it was trained on, how long, and its seed."""


@dataclass(frozen=True, eq=False)
class Generated:
    """A generated sequence: states ``reproduced`` ``(train, n)`` from the first one, ``continued`` ``(k, n)`` after it.

    ``continued`` starts from what was learnt, not from the end of the reproduction. ``record`` carries what a solver
    tells, and ``model`` is what it has learnt.

    >>> import numpy as np
    >>> from skfem_ml.solutions import Generated, Record
    >>> Generated(np.zeros((3, 2)), np.ones((1, 2)), Record(6))
    Generated(3 frames reproduced, 1 continued, 2 numbers a frame)
    """

    reproduced: Array
    continued: Array
    record: Record = NOTHING

    def __repr__(self) -> str:
        frames = f"{len(self.reproduced)} frames reproduced, {len(self.continued)} continued"
        return f"Generated({frames}, {self.reproduced.shape[-1]} numbers a frame)"

    @property
    def unknowns(self) -> int | None:
        """How many numbers were fitted, where the solver says it."""
        return self.record.unknowns

    @property
    def model(self) -> Forecaster:
        """What was learnt, to be saved and to continue from other frames; KeyError for a solver without one."""
        return self.record["model"]


@dataclass(frozen=True, eq=False)
class Evolution:
    """A solution ``u(x, t)`` from slices in time: ``y`` ``(k, n)`` at increasing times ``t`` ``(k,)``.

    ``space(y)`` turns one slice into a solution ``u(x)``. Between slices the nearest ``degree + 1`` of them are
    interpolated by a polynomial. ``t`` of a call is one time, or an array that broadcasts to the points. Raises
    ValueError for times outside the slices.

    >>> t = np.linspace(0, 1, 5)
    >>> u = Evolution(lambda y: lambda x: y[0] * x[0], t, t[:, None] ** 2)
    >>> u, u(np.array([[2.0]]), 0.5).round(12).tolist()
    (Evolution(5 slices of 1 numbers, t from 0 to 1), [0.5])
    """

    space: Callable[[Array], Callable[[Array], Array]]
    t: Array
    y: Array
    degree: int = 3
    record: Record = NOTHING

    def __repr__(self) -> str:
        span = f"t from {self.t[0]:.4g} to {self.t[-1]:.4g}"
        return f"Evolution({self.y.shape[0]} slices of {self.y.shape[1]} numbers, {span})"

    def _repr_html_(self) -> str | None:
        """The last slice as it shows itself, for notebooks."""
        last = getattr(self.space(self.y[-1]), "_repr_html_", lambda: None)()
        return None if last is None else f"<p>{escape(repr(self))}, the last:</p>{last}"

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
