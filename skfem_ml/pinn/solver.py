"""Physics-informed networks as solvers: strong form (PINN) and weak form (VPINN)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skfem import CellBasis

from skfem_ml import checks
from skfem_ml.learning.nn import MLP
from skfem_ml.learning.optim import Optimiser, adam, chosen
from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.training import History, fit
from skfem_ml.pinn.distances import Smooth
from skfem_ml.pinn.residuals import NetworkResidual
from skfem_ml.pinn.setting import residual_of
from skfem_ml.pinn.trial import LearnedSolution, network_jet, trial_of
from skfem_ml.problems import Diffusion, Heat
from skfem_ml.progress import Progress
from skfem_ml.solutions import Record

Array = NDArray[np.float64]


def solver_pinn(
    optimiser: str | Optimiser = "ssbroyden", widths: Sequence[int] = (20, 20), steps: int = 4000, warmup: int = 500,
    form: str = "strong", activation: str = "tanh", rate: float = 5e-3, seed: int = 0, *,
    points: int | CellBasis = 20, times: int = 20, norm: str = "dual", distance: Smooth | None = None,
    progress: Progress | None = None,
) -> Callable[[Heat | Diffusion], LearnedSolution]:  # fmt: skip
    """Return ``solve(problem) -> LearnedSolution``: a network with hard data, trained on the squared residual.

    ``optimiser`` is "adam" or "soap" (of rate ``rate``), "lbfgs", "lm" (Levenberg-Marquardt), "ssbroyden", or an
    `Optimiser` of `learning.optim`; all words but Adam, and an Optimiser that asks for it, follow ``warmup`` steps
    of Adam, of rate ``rate`` as well. ``widths`` are the hidden layers; weights are drawn from ``seed``. ``form``,
    ``points``, ``times`` and ``norm`` choose the residual: see `setting.residual_of`; ``distance`` replaces the
    distance function. The solution's ``record`` notes the network "net"; its ``history`` has one `History` a stage.

    Raises ValueError for unknown choices and what `residual_of` refuses, FloatingPointError where training diverges.
    """
    method = chosen(optimiser, rate)
    checks.choice(form, ("strong", "weak"), "form")

    def solve(problem: Heat | Diffusion) -> LearnedSolution:
        trial = trial_of(problem, distance)
        residual = residual_of(problem, trial, form, points, times, norm).tensors()
        inputs = residual.z.shape[1]
        net = MLP((inputs, *widths, 1), activation, generator=torch.Generator().manual_seed(seed))
        histories = train(net, residual, method, steps, warmup, rate, progress)
        record = Record(parameters_in(net), history=tuple(histories), notes={"net": net})
        return LearnedSolution(trial, network_jet(net), record)

    return solve


def solver_vpinn(
    points: int | CellBasis = 20, times: int = 20, norm: str = "dual", **more: Any
) -> Callable[[Heat | Diffusion], LearnedSolution]:
    """Return `solver_pinn` in the weak form: test functions of the basis ``points`` and of ``times`` cells in time."""
    return solver_pinn(form="weak", points=points, times=times, norm=norm, **more)


def train(
    net: MLP,
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
