"""Echo state networks that generate sequences, by reservoirpy (the extra ``esn``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skfem_ml.problems import Sequence
from skfem_ml.solutions import Generated, Record

Array = NDArray[np.float64]


class Node(Protocol):
    """What is used of a node of reservoirpy: one step, a run over rows ``(k, n)``, a fit, an empty state."""

    def step(self, x: Array, /) -> Array: ...

    def run(self, x: Array, /) -> Array: ...

    def fit(self, x: Array, y: Array, /) -> object: ...

    def reset(self) -> object: ...


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

    ``h' = (1 - leak) h + leak tanh(W h + V x)``, the next state is linear in h'. W has ``connections`` entries a row
    and spectral radius ``radius``; V has ``scaling``. Only the read-out is fitted, and only it is counted, as in the
    paper. The reproduction runs free from the first state and an empty reservoir. Source: Jaeger (2001).

    Raises ValueError for numbers out of range, ImportError that names the extra where reservoirpy is missing.
    """
    if not (parameters >= 1 and radius > 0 and 0 < leak <= 1 and scaling > 0 and connections >= 1 and ridge >= 0):
        raise ValueError(
            "parameters, radius, leak, scaling, connections, ridge: expected >= 1, > 0, in (0, 1], > 0, >= 1, >= 0, "
            f"got {parameters}, {radius}, {leak}, {scaling}, {connections}, {ridge}"
        )
    Reservoir, Ridge = load_nodes()

    def solver(sequence: Sequence) -> Generated:
        learnt = sequence.learnt
        n = learnt.shape[1]
        center, scale = learnt.mean(axis=0), learnt.std() or 1.0
        units = max(2, parameters // n - 1)
        reservoir = Reservoir(
            units, sr=radius, lr=leak, input_scaling=scaling, rc_connectivity=min(1.0, connections / units), seed=seed
        )
        made = _generate(reservoir, Ridge(ridge=ridge), (learnt - center) / scale, sequence.held_out)
        reproduced, continued = (np.reshape(frames, (-1, n)) * scale + center for frames in made)
        return Generated(reproduced, continued, Record((units + 1) * n, notes={"units": units}))

    return solver


def _generate(reservoir: Node, readout: Node, data: Array, held_out: int) -> tuple[list[Array], list[Array]]:
    """Fit the read-out to the data ``(k, n)``; return the reproduction from the first frame, and ``held_out`` more."""
    states = reservoir.run(data)
    readout.fit(states[:-1], data[1:])
    continued = _free(reservoir, readout, states[-1], held_out)
    reservoir.reset()
    return [data[0], *_free(reservoir, readout, reservoir.step(data[0]), len(data) - 1)], continued


def _free(reservoir: Node, readout: Node, state: Array, count: int) -> list[Array]:
    """Return ``count`` states, each fed back; ``state`` is that of the reservoir after the last input."""
    frames: list[Array] = []
    for _ in range(count):
        frames.append(readout.step(state))
        state = reservoir.step(frames[-1])
    return frames


def load_nodes() -> tuple[Callable[..., Node], Callable[..., Node]]:
    """Return the classes Reservoir and Ridge of reservoirpy; ImportError with the extra's name without it."""
    try:
        from reservoirpy.nodes import Reservoir, Ridge
    except ImportError as error:
        raise ImportError(
            f"echo state networks need reservoirpy ({error}); install it by: pip install 'skfem-ml[esn]'"
        ) from error
    return Reservoir, Ridge
