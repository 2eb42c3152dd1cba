"""Training of networks on samples of an operator, as solvers for `compare` (needs torch)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from skfem_ml.baselines.multiscale import MNNH2, ConvNet
from skfem_ml.fmm.networks.deep import DeepFMMNet
from skfem_ml.fmm.networks.fmmnet import FMMNet
from skfem_ml.fmm.skeleton import H2Skeleton
from skfem_ml.learning.optim import SOAP
from skfem_ml.learning.training import History, fit
from skfem_ml.metrics import mean_residual
from skfem_ml.problems import OperatorSamples
from skfem_ml.progress import Progress

Array = NDArray[np.float64]
LEAF, RANK = 10, 6  # of the paper in 1D
CHUNK = 2048  # samples that go through a network at once


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: ``steps`` of an optimiser on batches, the record on the validation samples.

    ``optimiser="adam"`` is the paper's: Adam, constant rate 2.5e-3, eps 1e-5. ``"soap"`` is SOAP with a rate that rises
    over a twentieth of the steps and falls like a cosine. ``rate=None`` stands for 2.5e-3 and 1e-2. Raises ValueError
    for another optimiser and a rate that is not positive.
    """

    steps: int = 2000
    batch: int = 128
    optimiser: str = "soap"
    rate: float | None = None
    every: int = 50
    checkpoint: str | Path | None = None
    progress: Progress | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.rate is not None and not self.rate > 0:
            raise ValueError(f"rate: expected None or a positive number, got {self.rate!r}")
        if self.optimiser not in ("adam", "soap"):
            raise ValueError(f"optimiser: expected 'adam' or 'soap', got {self.optimiser!r}")

    def start(self, net: nn.Module) -> tuple[torch.optim.Optimizer, Callable[[int], float]]:
        """Return the optimiser of a network, and the rate of each step."""
        if self.optimiser == "adam":
            rate = 2.5e-3 if self.rate is None else self.rate
            return torch.optim.Adam(net.parameters(), lr=rate, eps=1e-5), lambda step: rate
        top, rise = 1e-2 if self.rate is None else self.rate, 0.05 * self.steps

        def schedule(step: int) -> float:
            return top * min(1.0, (step + 1) / rise) * 0.5 * (1 + math.cos(math.pi * step / self.steps))

        return SOAP(net.parameters(), lr=top, frequency=10), schedule


PUBLISHED = Recipe(optimiser="adam")


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained network as a map ``w = scale * net(q + offset)`` of samples ``(n, N)`` in numpy, with its history."""

    net: nn.Module
    history: History = field(default_factory=History)
    offset: float = 0.0
    scale: float = 1.0

    def __call__(self, q: ArrayLike) -> Array:
        """Return ``(n, N)`` for ``(n, N)``."""
        kind = next(self.net.parameters()).dtype
        inputs = torch.as_tensor(np.asarray(q, dtype=float) + self.offset).to(kind)
        with torch.no_grad():
            parts = [self.net(part) for part in inputs.split(CHUNK)]
        return torch.cat(parts).double().numpy() * self.scale

    @property
    def unknowns(self) -> int:
        """The number of parameters."""
        return sum(p.numel() for p in self.net.parameters())


Solver = Callable[[OperatorSamples], Learned]


def squared_residual(net: nn.Module, rows: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean of ``|net(q) - w|^2 / |w|^2`` over samples, FMM-Net (8)."""
    q, w = rows
    return ((net(q) - w).square().sum(dim=1) / w.square().sum(dim=1)).mean()


def learn(
    net: nn.Module,
    problem: OperatorSamples,
    recipe: Recipe,
    *,
    seed: int = 0,
    offset: float = 0.0,
    scaled: bool = False,
) -> Learned:
    """Train a network on the training samples and keep the parameters with the least validation residual.

    ``offset`` is added to the inputs. With ``scaled`` the network gives outputs in units of their root mean square on
    the training samples, for networks that have no scale of their own. ``seed`` orders the batches. Raises what
    `training.fit` raises, RuntimeError where the loss is not finite.
    """
    kind = next(net.parameters()).dtype
    q, w = (torch.as_tensor(values).to(kind) for values in problem.part("train"))
    inputs, outputs = problem.part("validation")
    scale = float(w.double().square().mean().sqrt()) if scaled else 1.0
    optimiser, schedule = recipe.start(net)
    history = fit(
        net,
        squared_residual,
        (q + offset, w / scale),
        optimiser=optimiser,
        steps=recipe.steps,
        batch=recipe.batch,
        seed=seed,
        every=min(recipe.every, recipe.steps),
        validate=lambda net: mean_residual(Learned(net, offset=offset, scale=scale)(inputs), outputs),
        schedule=schedule,
        checkpoint=recipe.checkpoint,
        progress=recipe.progress,
    )
    if history.status < 0:
        raise RuntimeError(f"the training diverged: {history.message}; take a smaller rate")
    return Learned(net, history, offset, scale)


def solver_deep(
    recipe: Recipe = Recipe(),
    *,
    leaf: int = LEAF,
    rank: int = 4,
    hidden: int = 24,
    products: int = 3,
    seed: int = 0,
) -> Solver:
    """Return the training of a `DeepFMMNet`, normalised by the training samples."""

    def solver(problem: OperatorSamples) -> Learned:
        generator = torch.Generator().manual_seed(seed)
        net = DeepFMMNet(H2Skeleton(problem.points, leaf), rank, hidden, products, generator=generator)
        net.normalise(*problem.part("train"))
        return learn(net, problem, recipe, seed=seed)

    return solver


def solver_fmmnet(recipe: Recipe = PUBLISHED, *, depth: int = 3, offset: float = 0.0, seed: int = 0) -> Solver:
    """Return the training of the paper's FMMNet, leaves of 10 and rank 6; ``offset`` is added to the inputs."""

    def solver(problem: OperatorSamples) -> Learned:
        generator = torch.Generator().manual_seed(seed)
        net = FMMNet(H2Skeleton(problem.points, LEAF), RANK, depth, generator=generator)
        return learn(net, problem, recipe, seed=seed, offset=offset, scaled=True)

    return solver


def solver_mnn(kind: str = "LC", recipe: Recipe = PUBLISHED, *, seed: int = 0) -> Solver:
    """Return the training of MNN-H2-LC or MNN-H2-Mix."""

    def solver(problem: OperatorSamples) -> Learned:
        net = MNNH2(problem.points.shape[1], kind, generator=torch.Generator().manual_seed(seed))
        return learn(net, problem, recipe, seed=seed, scaled=True)

    return solver


def solver_conv(recipe: Recipe = PUBLISHED, *, seed: int = 0) -> Solver:
    """Return the training of a plain convolutional network."""

    def solver(problem: OperatorSamples) -> Learned:
        net = ConvNet(generator=torch.Generator().manual_seed(seed))
        return learn(net, problem, recipe, seed=seed, scaled=True)

    return solver
