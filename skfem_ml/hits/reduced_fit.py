"""Flow maps of POD coefficients and their training: tanh networks, splitting networks, data turned by symmetries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skfem import Basis
from torch import Tensor

from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.hits.reduced import Remainder, remainder_pairs
from skfem_ml.hits.splitting import SplittingNet
from skfem_ml.learning import MLP, SOAP, History, fit
from skfem_ml.progress import Progress
from skfem_ml.stepping.linear import Matrix, ThetaMethod
from skfem_ml.stepping.pod import POD
from skfem_ml.stepping.semidiscrete import SemiDiscrete

Array = NDArray[np.float64]
Pairs = tuple[Array, Array]
Reaction = Callable[[Tensor, float], Tensor]
RATES = {"POD network": 3e-3, "remainder": 3e-3, "splitting network": 1e-4}


@dataclass(frozen=True)
class ReducedNetworks:
    """Three trained maps on the modes of a `POD`, and wall seconds of their trainings by name, see `train_reduced`.

    >>> from skfem_ml.hits import allen_cahn_reaction
    >>> from skfem_ml.reference import AllenCahnFamily
    >>> family = AllenCahnFamily(level=2, counts=(4, 1, 1), t_end=1.0)
    >>> pod, states = family.pod(3), (family.train, family.validation)
    >>> split = splitting_flow(family.basis, pod, family.semi.K, 0.5, allen_cahn_reaction, points=4)
    >>> train_reduced(family.semi, pod, states, split, family.images, dict.fromkeys(RATES, 2))
    ReducedNetworks(3 modes: POD network, remainder, splitting network)
    """

    pod: POD
    dense: FlowMap
    remainder: Remainder
    splitting: FlowMap
    seconds: dict[str, float]

    def __repr__(self) -> str:
        return f"ReducedNetworks({self.pod.r} modes: {', '.join(self.seconds)})"


def splitting_flow(
    basis: Basis, pod: POD, K: Matrix, dt: float, reaction: Reaction, blocks: int = 2, points: int = 12
) -> FlowMap:
    """An untrained `SplittingNet` of POD coefficients: ``blocks`` substeps of exp(-K) and the exact flow of a reaction.

    ``K`` ``(n, n)`` is the matrix of the linear part; the reaction acts at points x points Gauss points of the unit
    square.
    """
    nodes, weights = np.polynomial.legendre.leggauss(points)
    places = np.stack(np.meshgrid(nodes, nodes)).reshape(2, -1) / 2 + 0.5
    values, stiffness = basis.probes(places) @ pod.modes, pod.modes.T @ (K @ pod.modes)
    return FlowMap(SplittingNet(values, np.outer(weights, weights).ravel() / 4, stiffness, dt, blocks, reaction), dt)


def tanh_flow(pairs: Pairs, dt: float, width: int = 256, seed: int = 0) -> FlowMap:
    """An untrained tanh network of two hidden layers for pairs of states ``(rows, r)`` before and after a step.

    One scale serves all coefficients, so that the loss is the error in the norm in which the modes are orthonormal.
    """
    x, y = pairs
    r = x.shape[1]
    net = MLP((r, width, width, r), generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return FlowMap(net, dt, scale=0.3 * x.std(axis=0).max(), increment=np.sqrt(((y - x) ** 2).mean()))


def with_images(pairs: Pairs, pod: POD, images: Sequence[NDArray[np.intp]], odd: bool = False) -> Pairs:
    """Pairs of coefficients and all their images under permutations of the nodes; with ``odd``, of both signs."""
    turns = [pod.encode(pod.modes.T[:, image]) for image in images]
    signs = (1, -1) if odd else (1,)
    before, after = (np.concatenate([s * z @ G for G in turns for s in signs]) for z in pairs)
    return before, after


def fit_reduced(
    flow: FlowMap,
    pairs: Pairs,
    held: Pairs,
    steps: int,
    rate: float,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    seed: int = 0,
) -> History:
    """Train a flow map of coefficients on ``pairs`` ``(rows, r)`` by least squares of the increments, relative.

    The state of the smallest error on the pairs ``held`` back is kept. ``progress``, ``checkpoint`` and ``seed`` (of
    the batches) are those of `fit`.
    """
    data, kept = ([torch.as_tensor(z).float() for z in part] for part in (pairs, held))
    size = float((data[1] - data[0]).square().sum(dim=1).mean())

    def loss(flow: torch.nn.Module, rows: Sequence[Tensor]) -> Tensor:
        return (flow(rows[0]) - rows[1]).square().sum(dim=1).mean() / size

    def validate(flow: torch.nn.Module) -> float:
        with torch.no_grad():
            return float(loss(flow, kept))

    return fit(
        flow, loss, data, optimiser=SOAP(flow.parameters(), rate, frequency=10), steps=steps, batch=512, every=100,
        validate=validate, schedule=lambda k: rate * min(1.0, 2 * (1 - k / steps)) + 1e-6, progress=progress,
        checkpoint=checkpoint, seed=seed,
    )  # fmt: skip


def train_reduced(
    semi: SemiDiscrete,
    pod: POD,
    states: tuple[Array, Array],
    split: FlowMap,
    images: Sequence[NDArray[np.intp]],
    steps: Mapping[str, int],
    *,
    progress: Callable[[str], Progress] | None = None,
    checkpoints: Path | None = None,
    seed: int = 0,
) -> ReducedNetworks:
    """Train a tanh network, one for the remainder after a linear step, and a splitting network, on POD coefficients.

    ``states`` are trajectories ``(starts, times, n)`` of M u' + K u = F(u), F odd, to train on and to hold back, at the
    step of ``split``, the untrained `splitting_flow`; ``images`` are its symmetries. ``steps`` of training are by name:
    "POD network", "remainder" and "splitting network". ``seed`` draws weights and batches.
    """
    linear = ThetaMethod(semi.M, semi.K, split.dt, theta=1.0)
    plain, rest = [], []
    for part in states:
        before, after = (u.reshape(-1, semi.size) for u in (part[:, :-1], part[:, 1:]))
        plain.append((pod.encode(before), pod.encode(after)))
        rest.append(remainder_pairs(linear, before, after, pod))
    dense, remainder = (tanh_flow(pairs[0], split.dt, seed=seed) for pairs in (plain, rest))
    jobs = zip(RATES, ((dense, plain), (remainder, rest), (split, plain)), strict=True)
    seconds = {}
    for name, (flow, (pairs, held)) in jobs:
        file = None if checkpoints is None else checkpoints / f"{name.replace(' ', '_')}.pt"
        bar, turned = None if progress is None else progress(name), with_images(pairs, pod, images, odd=True)
        history = fit_reduced(flow, turned, held, steps[name], RATES[name], progress=bar, checkpoint=file, seed=seed)
        seconds[name] = history.seconds[-1]  # of all runs, where it went on from a checkpoint
    return ReducedNetworks(pod, dense, Remainder(linear, remainder, pod), split, seconds)
