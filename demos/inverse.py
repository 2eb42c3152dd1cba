r"""Recover a coefficient by gradients through a surrogate, and hold them beside those through exact LOD.

The problem is that of ``recover_coefficient.py`` (a fine texture that is known, one unknown factor exp(theta_T) a
coarse element, local averages of fine solutions for 16 loads with 0.1 % noise), on 16 x 16 elements and with a texture
and factors in the surrogate's range of training: contrast 3, and exp(theta_T) between 3/4 and 4/3. L-BFGS minimises

    J(theta) = sum_k |u_h^k(theta) - m_k|^2 / noise^2 + alpha |theta|^2

three times, with S(a) from exact LOD (an adjoint corrector problem a patch), from the surrogate (backpropagation) and
from coarse finite elements with the geometric mean. The adjoint of the coarse solve is the same for all.

Derivatives of a network need not be close where its values are. Here they are compared: the gradient of J at theta = 0
and the recovered theta, and then the CPU seconds of one evaluation of J with its gradient.

Run: python -m demos.inverse
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from skfem import MeshQuad
from torch import Tensor

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.lod import LOD, Surrogate, coarse_solution, exact_matrices, surrogate_matrices

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the demo beside this one, however this one is run
from demos.recover_coefficient import bump, field, measurements, null_model, recover, smooth

MODEL = "diffusion-q1-ell2-n8"
LEVEL, REFINE, ELL = 4, 8, 2
TEXTURE = (1.0, 3.0)
AMPLITUDE = 0.25
LOADS = 4  # 4 x 4 bumps
NOISE = 1e-3  # of the largest measurement
ITERATIONS = 20
SEED = 0
EXACT, SURROGATE, NULL, PRIOR = "exact LOD", "surrogate", "coarse FEM, geometric mean", "prior"


class Recovered(NamedTuple):
    """What was sought and found, ``(nelems,)``; gradients at theta = 0; CPU seconds an evaluation with gradient."""

    lod: LOD
    texture: ndarray
    theta: ndarray
    found: dict[str, ndarray]
    gradients: dict[str, ndarray]
    seconds: dict[str, float]

    def error(self, name: str) -> float:
        """Relative error of the recovered theta."""
        return relative(self.found[name], self.theta)


def relative(x: ndarray, y: ndarray) -> float:
    """|x - y| / |y|."""
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


def compute(level: int = LEVEL, loads: int = LOADS, iterations: int = ITERATIONS) -> Recovered:
    """Make the measurements and recover theta by the three models."""
    rng = np.random.default_rng(SEED)
    lod = LOD(MeshQuad().refined(level), refine=REFINE, ell=ELL)
    texture = iid_multilevel(lod.coefficient_mesh, level + 2, *TEXTURE, rng)
    theta = AMPLITUDE * smooth(lod) + 0.04 * rng.uniform(-1, 1, len(lod.patches.cells))
    forms = [bump(x, y) for y in (np.arange(loads) + 0.5) / loads for x in (np.arange(loads) + 0.5) / loads]
    b = [lod.load(form) for form in forms]
    measured = measurements(lod, field(lod, texture, torch.from_numpy(theta)).numpy(), forms)
    noise = NOISE * abs(measured).max()
    measured += noise * rng.standard_normal(measured.shape) * ~lod.space.dirichlet.nodes

    surrogate = Surrogate.load(MODEL)
    models: dict[str, Callable[[Tensor], Tensor]] = {
        EXACT: lambda t: exact_matrices(lod, field(lod, texture, t)),
        SURROGATE: lambda t: surrogate_matrices(surrogate, lod, field(lod, texture, t)),
        NULL: null_model(lod, texture),
    }
    gradients = {name: gradient(lod, model, b, measured, noise) for name, model in models.items()}
    found, seconds = {PRIOR: np.zeros_like(theta)}, {}
    for name, model in models.items():
        calls: list[int] = []
        begin = time.process_time()
        found[name] = recover(lod, _counted(model, calls), b, measured, noise, iterations)
        seconds[name] = (time.process_time() - begin) / len(calls)
    return Recovered(lod, texture, theta, found, gradients, seconds)


def _counted(model: Callable[[Tensor], Tensor], calls: list[int]) -> Callable[[Tensor], Tensor]:
    def counted(theta: Tensor) -> Tensor:
        calls.append(1)
        return model(theta)

    return counted


def gradient(lod: LOD, model: Callable[[Tensor], Tensor], b: list[ndarray], measured: ndarray, noise: float) -> ndarray:
    """The gradient of the misfit at theta = 0, ``(nelems,)``."""
    theta = torch.zeros(len(lod.patches.cells), dtype=torch.float64, requires_grad=True)
    local = model(theta)
    u = torch.stack([coarse_solution(lod, local, load) for load in b])
    ((u - torch.from_numpy(measured)) / noise).square().sum().backward()
    return theta.grad.numpy()  # type: ignore[union-attr]


def report(result: Recovered) -> str:
    """A row for each model."""
    lines = [f"{'':28s} error of theta   to exact LOD's   gradient's error   CPU s an evaluation"]
    for name, x in result.found.items():
        row = f"{name:28s} {result.error(name):14.3f}   {relative(x, result.found[EXACT]):14.3f}"
        if name != PRIOR:
            row += (
                f"   {relative(result.gradients[name], result.gradients[EXACT]):16.1e}   {result.seconds[name]:19.3f}"
            )
        lines.append(row)
    return "\n".join(lines)


def visualize(result: Recovered | None = None):
    """The coefficient, the sought factors and those found, on one scale."""
    from matplotlib.figure import Figure

    from skfem_ml.pictures import plot_cells, shared_norm

    result = compute() if result is None else result
    figure = Figure(figsize=(16, 3.6), layout="constrained")
    panels = figure.subplots(1, 5)
    a = field(result.lod, result.texture, torch.from_numpy(result.theta)).numpy()
    figure.colorbar(plot_cells(panels[0], result.lod.coefficient_mesh, a), ax=panels[0], label="$a$")
    panels[0].set_title("coefficient")
    shown = {"sought": result.theta, **{name: result.found[name] for name in (EXACT, SURROGATE, NULL)}}
    norm = shared_norm(*[np.exp(x) for x in shown.values()], log=False)
    for axes, (name, x) in zip(panels[1:], shown.items(), strict=True):
        drawn = plot_cells(axes, result.lod.coarse.mesh, np.exp(x), norm=norm)
        axes.set_title(name if name == "sought" else f"{name}\n{result.error(name):.0%} off")
    figure.colorbar(drawn, ax=panels[1:], label=r"$\exp(\theta_T)$")
    return figure


if __name__ == "__main__":
    outcome = compute()
    print(report(outcome))
    visualize(outcome).savefig("inverse.png", dpi=130)
