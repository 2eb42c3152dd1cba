"""Echo state networks that generate sequences, drawn and fitted by reservoirpy (the extra ``esn``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from skfem_ml.learning.storage import fitting, load_model, require_entries, save_model
from skfem_ml.problems import Sequence
from skfem_ml.problems.sequences import check_frames, generated
from skfem_ml.solutions import Generated

Array = NDArray[np.float64]
KIND = "echo states"
MATRICES = ("W", "V")
ARRAYS = ("bias", "output", "offset", "center", "scale")


class Node(Protocol):
    """What is used of a node of reservoirpy: a run over rows ``(k, n)``, and a fit."""

    def run(self, x: Array, /) -> Array: ...

    def fit(self, x: Array, y: Array, /) -> object: ...


class EchoStates:
    """``h' = (1 - leak) h + leak tanh(W h + V x + bias)``, the next x is ``h' output + offset``; x is scaled.

    ``W`` ``(units, units)`` and ``V`` ``(units, n)`` are sparse, ``output`` is ``(units, n)``; frames are
    ``scale x + center``. ``card`` tells data and seed. Raises ValueError for shapes that do not fit.

    >>> from scipy.sparse import csr_matrix
    >>> model = EchoStates(csr_matrix((3, 3)), csr_matrix(np.eye(3, 2)), 1.0, np.zeros(3), np.eye(3, 2), np.zeros(2))
    >>> model, model.forecast(np.array([[0.5, 0.0]]), 1).round(4)
    (EchoStates(2 unknowns, 3 units), array([[0.4621, 0.    ]]))
    """

    def __init__(
        self, W: csr_matrix, V: csr_matrix, leak: float, bias: Array, output: Array, offset: Array,
        center: Array | float = 0.0, scale: float = 1.0, card: Mapping[str, object] | None = None,
    ):  # fmt: skip
        units, n = V.shape
        self.W, self.V, self.leak, self.card = csr_matrix(W), csr_matrix(V), float(leak), dict(card or {})
        self.bias, self.output, self.offset = (np.array(a, dtype=float) for a in (bias, output, offset))
        self.center, self.scale = np.broadcast_to(np.asarray(center, dtype=float), (n,)).copy(), float(scale)
        shapes = self.W.shape, self.bias.shape, self.output.shape, self.offset.shape
        if shapes != ((units, units), (units,), (units, n), (n,)) or not (0 < self.leak <= 1 and self.scale > 0):
            raise ValueError(
                f"W, bias, output, offset: expected {(units, units)}, {(units,)}, {(units, n)}, {(n,)}, got {shapes}; "
                f"leak in (0, 1] and scale positive, got {leak} and {scale}"
            )

    def __repr__(self) -> str:
        return f"EchoStates({self.V.shape[1]} unknowns, {self.V.shape[0]} units)"

    def forecast(self, frames: Array, count: int) -> Array:
        """Return the ``count`` frames ``(count, n)`` after ``frames`` ``(k, n)``, read into an empty reservoir.

        Raises ValueError for other shapes and frames that are not finite.
        """
        frames = check_frames(frames, self.V.shape[1], count)
        h, free = np.zeros(self.V.shape[0]), np.empty((count, self.V.shape[1]))
        for x in (frames - self.center) / self.scale:
            h = self._echo(h, x)
        for k in range(count):
            free[k] = h @ self.output + self.offset
            h = self._echo(h, free[k])
        return free * self.scale + self.center

    def _echo(self, h: Array, x: Array) -> Array:
        return (1 - self.leak) * h + self.leak * np.tanh(self.W @ h + self.V @ x + self.bias)

    def save(self, path: str | Path, **card: object) -> None:
        """Write the numbers, what is in ``.card`` and further entries; see `storage.save_model`."""
        tensors = {name: torch.as_tensor(np.asarray(getattr(self, name))) for name in ARRAYS}
        for name in MATRICES:
            matrix = getattr(self, name)
            parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}
            tensors |= {f"{name}.{part}": torch.from_numpy(array.copy()) for part, array in parts.items()}
        save_model(path, tensors, {**self.card, **card, "kind": KIND, "leak": self.leak})

    @classmethod
    def load(cls, path: str | Path, **wanted: object) -> EchoStates:
        """Read a file of `save`, for which reservoirpy is not needed; ``wanted`` are entries that its card must have.

        Raises FileNotFoundError, CorruptModelError, ModelMismatchError for another card or another kind of model.
        """
        tensors, card = load_model(path)
        require_entries(str(path), card, {"kind": KIND, **wanted})
        with fitting(path, "the numbers of echo states"):
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            units, n = arrays["output"].shape
            W, V = (_matrix(arrays, name, (units, columns)) for name, columns in (("W", units), ("V", n)))
            own = {name: value for name, value in card.items() if name not in ("kind", "leak")}
            rest = {name: arrays[name] for name in ("bias", "output", "offset", "center")}
            return cls(W, V, card["leak"], **rest, scale=float(arrays["scale"]), card=own)


def _matrix(arrays: Mapping[str, Array], name: str, shape: tuple[int, int]) -> csr_matrix:
    matrix = csr_matrix(tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr")), shape=shape)
    matrix.check_format()  # a file may hold anything
    return matrix


def solver_esn(
    parameters: int = 20000,
    *,
    radius: float = 0.9,
    leak: float = 1.0,
    scaling: float = 0.5,
    connections: int = 10,
    ridge: float = 1e-8,
    seed: int = 0,
) -> Callable[[Sequence], Generated]:
    """Return ``solver(sequence)``: a random reservoir whose read-out has about ``parameters`` numbers, by ridge.

    `EchoStates`: W has ``connections`` entries a row and spectral radius ``radius``; V has ``scaling``. Only the
    read-out is fitted, and only it is counted, as in the paper. The reproduction runs free from the first state and an
    empty reservoir. ``record`` notes the `EchoStates` as "model". Source: Jaeger (2001).

    Raises ValueError for numbers out of range, ImportError that names the extra where reservoirpy is missing.
    """
    if not (parameters >= 1 and radius > 0 and 0 < leak <= 1 and scaling > 0 and connections >= 1 and ridge >= 0):
        raise ValueError(
            "parameters, radius, leak, scaling, connections, ridge: expected >= 1, > 0, in (0, 1], > 0, >= 1, >= 0, "
            f"got {parameters}, {radius}, {leak}, {scaling}, {connections}, {ridge}"
        )
    Reservoir, Ridge = load_nodes()

    def solver(sequence: Sequence) -> Generated:
        start, learnt = time.process_time(), sequence.learnt
        units = max(2, parameters // learnt.shape[1] - 1)
        reservoir = Reservoir(
            units, sr=radius, lr=leak, input_scaling=scaling, rc_connectivity=min(1.0, connections / units), seed=seed
        )
        model = _fitted(reservoir, Ridge(ridge=ridge), learnt)
        told = {"solver": "esn", "radius": radius, "scaling": scaling, "ridge": ridge, "seed": seed}
        model.card = {**sequence.card, **told, "seconds": time.process_time() - start}
        return generated(sequence, model, (units + 1) * learnt.shape[1], units=units)

    return solver


def _fitted(reservoir: Node, readout: Node, learnt: Array) -> EchoStates:
    """The reservoir, and the read-out fitted to frames ``(k, n)``, in arrays."""
    center, scale = learnt.mean(axis=0), learnt.std() or 1.0
    data = (learnt - center) / scale
    readout.fit(reservoir.run(data)[:-1], data[1:])
    W, V, leak, bias = (getattr(reservoir, name) for name in ("W", "Win", "lr", "bias"))
    output, offset = (getattr(readout, name) for name in ("Wout", "bias"))
    # A number by default, else dense or sparse.
    bias = np.broadcast_to(csr_matrix(bias).toarray().ravel(), (W.shape[0],))
    return EchoStates(W, V, leak, bias, output, np.ravel(offset), center, float(scale))


def load_nodes() -> tuple[Callable[..., Node], Callable[..., Node]]:
    """Return the classes Reservoir and Ridge of reservoirpy; ImportError with the extra's name without it."""
    try:
        from reservoirpy.nodes import Reservoir, Ridge
    except ImportError as error:
        raise ImportError(
            f"echo state networks need reservoirpy ({error}); install it by: pip install 'skfem-ml[esn]'"
        ) from error
    return Reservoir, Ridge
