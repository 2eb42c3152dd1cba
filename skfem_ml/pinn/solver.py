"""Physics-informed networks as solvers: strong form (PINN) and weak form (VPINN)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skfem_ml import checks
from skfem_ml.learning.nn import MLP
from skfem_ml.learning.optim import Optimiser, adam, chosen
from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.training import History, fit
from skfem_ml.pinn.distances import Smooth
from skfem_ml.pinn.networks import Learner, NetworkResidual
from skfem_ml.pinn.setting import Points, Problem, residual_of
from skfem_ml.pinn.solution import LearnedSolution
from skfem_ml.pinn.trial import trial_of
from skfem_ml.progress import Progress
from skfem_ml.solutions import Record

Array = NDArray[np.float64]


def solver_pinn(
    optimiser: str | Optimiser = "lm", widths: Sequence[int] = (20, 20, 20), steps: int = 150, warmup: int = 500,
    form: str = "strong", activation: str = "tanh", rate: float = 5e-3, seed: int = 0, *, gain: float = 3.0,
    points: Points = 24, times: int = 24, norm: str = "dual", penalty: float = 100.0, distance: Smooth | None = None,
    progress: Progress | None = None,
) -> Callable[[Problem], LearnedSolution]:  # fmt: skip
    """Return ``solve(problem) -> LearnedSolution``: a network with hard data, trained on the squared residual.

    ``optimiser`` is "lm" (`LevenbergMarquardt`; with more parameters than rows it comes to rounding), "ssbroyden",
    "lbfgs", "adam" or "soap" (of rate ``rate``), or an `Optimiser` of `learning.optim`; of these SOAP, L-BFGS,
    SSBroyden, and an Optimiser that asks for it, follow ``warmup`` steps of Adam. ``widths`` are the hidden layers;
    weights are drawn from ``seed``, those of the first layer times ``gain``, and biases from U(-1, 1), so that kinks
    lie all over the domain. ``form``, ``points``, ``times``, ``norm`` and ``penalty`` choose the residual: see
    `setting.residual_of`; ``distance`` replaces the distance function. ``record`` has one `History` a stage.

    Raises ValueError for unknown choices and what `residual_of` refuses, FloatingPointError where training diverges.
    """
    checks.positive(gain, "gain")
    method = chosen(optimiser, rate)
    checks.choice(form, ("strong", "weak"), "form")

    def solve(problem: Problem) -> LearnedSolution:
        trial = trial_of(problem, distance)
        residual = residual_of(problem, trial, form, points, times, norm, penalty)
        sizes = (len(trial.low), *widths, len(trial.zetas))
        learner = Learner(spread(sizes, activation, seed, gain), residual.start)
        histories = train(learner, NetworkResidual(residual), method, steps, warmup, rate, progress)
        record = Record(parameters_in(learner), history=tuple(histories), notes={"net": learner.net})
        scalars = zip(residual.blocks[0].layout.scalars, learner.values().tolist(), strict=True)
        return LearnedSolution(trial, learner.net, record, dict(scalars))

    return solve


def spread(sizes: Sequence[int], activation: str, seed: int, gain: float) -> MLP:
    """Return a network whose kinks lie all over [-1, 1]^D: first weights times ``gain``, hidden biases U(-1, 1)."""
    generator = torch.Generator().manual_seed(seed)
    net = MLP(sizes, activation, generator=generator)
    with torch.no_grad():
        hidden = list(net.parameters())[:-2]
        hidden[0].mul_(gain)
        for bias in hidden[1::2]:
            bias.uniform_(-1, 1, generator=generator)
    return net


def solver_vpinn(
    points: Points = 20, times: int = 20, norm: str = "dual", **more: Any
) -> Callable[[Problem], LearnedSolution]:
    """Return `solver_pinn` in the weak form: test functions of the basis ``points`` and of ``times`` cells in time."""
    return solver_pinn(form="weak", points=points, times=times, norm=norm, **more)


def train(
    net: Learner,
    residual: NetworkResidual,
    optimiser: str | Optimiser,
    steps: int,
    warmup: int = 500,
    rate: float = 5e-3,
    progress: Progress | None = None,
) -> list[History]:
    """Train a network on a residual, a warm-up by Adam and then ``steps`` of an optimiser; return their histories.

    An optimiser that does several iterations in one of its steps does ``steps`` of these. Raises FloatingPointError
    where the loss is not finite.
    """
    checks.positive(rate, "rate")
    method = chosen(optimiser, rate)
    stages = [(adam(rate), warmup)] if warmup and method.warmup else []
    stages.append((method, max(1, steps // method.iterations)))
    histories = []
    for stage, count in stages:
        started = stage.start(net, residual)
        history = fit(net, residual.loss, optimiser=started, steps=count, every=10, progress=progress)
        histories.append(history)
        if history.status == -1:
            raise FloatingPointError(
                f"{method.name}: training diverged, {history.message}; lower rate, or change seed or optimiser"
            )
    return histories
