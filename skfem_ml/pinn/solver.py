"""Physics-informed networks as solvers: strong form (PINN) and weak form (VPINN)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skfem_ml import checks
from skfem_ml.learning.nn import MLP, to_torch
from skfem_ml.learning.optim import SOAP, LevenbergMarquardt, SSBroyden
from skfem_ml.learning.training import History, fit
from skfem_ml.pinn.residuals import NetworkResidual
from skfem_ml.pinn.setting import residual_of
from skfem_ml.pinn.trial import LearnedSolution, trial_of
from skfem_ml.problems import Diffusion, Heat
from skfem_ml.progress import Progress
from skfem_ml.solutions import Record

Array = NDArray[np.float64]
# torch's L-BFGS runs this many iterations a step; one at a time it loses its way.
PER_STEP = 20
METHODS = ("adam", "soap", "lbfgs", "lm", "ssbroyden")


def solver_pinn(
    method: str = "ssbroyden",
    widths: Sequence[int] = (20, 20),
    steps: int = 4000,
    warmup: int = 500,
    form: str = "strong",
    activation: str = "tanh",
    lr: float = 5e-3,
    seed: int = 0,
    equation: str = "right",
    progress: Progress | None = None,
    **setting: Any,
) -> Callable[[Heat | Diffusion], LearnedSolution]:
    """Return ``solve(problem) -> LearnedSolution``: a network with hard data, trained on the squared residual.

    ``method`` is "adam" (rate ``lr``), "soap", "lbfgs", "lm" (Levenberg-Marquardt) or "ssbroyden"; all but Adam follow
    ``warmup`` steps of Adam. ``widths`` are the hidden layers; weights are drawn from ``seed``. ``form`` and
    ``setting`` choose residual and points: see `setting.residual_of`; ``distance`` replaces the distance function. The
    solution's ``record`` notes the network "net"; its ``history`` has one `training.History` a stage.

    ``equation="as published"`` repeats an error of the report's program, for comparison only. There the second
    derivative is taken as the gradient of the summed first gradient, ``d/dx (N_x + N_t) = N_xx + N_xt``, so the network
    solves another equation. It takes the trial function (13) with ``(1 - t) u0``, and segments only.

    Raises ValueError for unknown choices and what `residual_of` refuses, FloatingPointError where training diverges.
    """
    checks.choice(method, METHODS, "method")
    checks.choice(equation, ("right", "as published"), "equation")
    if equation == "as published" and form != "strong":
        raise ValueError("equation: the published error is one of the strong form; expected form='strong'")

    def solve(problem: Heat | Diffusion) -> LearnedSolution:
        published = equation == "as published"
        if published and (not isinstance(problem, Heat) or problem.mesh.dim() != 1 or problem.g != 0):
            raise ValueError("equation: 'as published' is for Heat on a segment with g = 0")
        others = {k: v for k, v in setting.items() if k != "distance"}
        trial = trial_of(problem, setting.get("distance"), decay=1.0 if published else 0.0)
        residual = residual_of(problem, trial, form, mixed=published, **others).tensors()
        inputs = residual.z.shape[1]
        net = MLP((inputs, *widths, 1), activation, generator=torch.Generator().manual_seed(seed))
        histories = train(net, residual, method, steps, warmup, lr, progress)
        unknowns = sum(p.numel() for p in net.parameters())
        record = Record(unknowns, history=tuple(histories), notes={"net": net})
        return LearnedSolution(trial, network_jet(net), record)

    return solve


def solver_vpinn(points: Any = 20, times: int = 20, norm: str = "dual", **more: Any) -> Callable[..., LearnedSolution]:
    """Return `solver_pinn` in the weak form: test functions of the basis ``points`` and of ``times`` cells in time."""
    return solver_pinn(form="weak", points=points, times=times, norm=norm, **more)


def train(
    net: MLP,
    residual: NetworkResidual,
    method: str,
    steps: int,
    warmup: int = 500,
    lr: float = 5e-3,
    progress: Progress | None = None,
) -> list[History]:
    """Train a network on a residual, a warm-up by Adam and then ``steps`` of ``method``; return both histories.

    Raises FloatingPointError where the loss is not finite.
    """
    stages: list[tuple[torch.optim.Optimizer, int]] = []
    if warmup and method != "adam":
        stages.append((torch.optim.Adam(net.parameters(), lr=lr), warmup))
    count = max(1, steps // PER_STEP) if method == "lbfgs" else steps
    stages.append((_optimiser(net, residual, method, lr), count))
    histories = []
    for optimiser, count in stages:
        history = fit(net, residual.loss, optimiser=optimiser, steps=count, every=10, progress=progress)
        histories.append(history)
        if history.status == -1:
            raise FloatingPointError(
                f"{method}: training diverged, {history.message}; lower lr, or change seed or method"
            )
    return histories


def _optimiser(net: MLP, residual: NetworkResidual, method: str, lr: float) -> torch.optim.Optimizer:
    if method == "adam":
        return torch.optim.Adam(net.parameters(), lr=lr)
    if method == "soap":
        return SOAP(net.parameters(), lr=lr)
    if method == "lbfgs":
        return torch.optim.LBFGS(
            net.parameters(), max_iter=PER_STEP, history_size=100, tolerance_grad=0, tolerance_change=0,
            line_search_fn="strong_wolfe",
        )  # fmt: skip
    if method == "lm":
        return LevenbergMarquardt(net.parameters(), lambda: residual(net), lambda: residual.jacobian(net))
    return SSBroyden(net.parameters())


def network_jet(net: MLP) -> Callable[[Array], tuple[Array, Array]]:
    """Return values ``(n,)`` and gradient ``(D, n)`` of a network with one output at numpy points ``(D, n)``."""

    def jet(z: Array) -> tuple[Array, Array]:
        with torch.no_grad():
            value, first, _ = net.jet(to_torch(z))
        return value[:, 0].numpy(), first[..., 0].numpy()

    return jet
