r"""Recover a coefficient through surrogates
========================================

Gradients through a network, through exact LOD and by the fine problem's adjoint: which recovers the coefficient best?

The problem is that of ``recover_coefficient.py`` (a fine texture that is known, one unknown factor
:math:`e^{\theta_T}` a coarse element, local averages of fine solutions for 16 loads with 0.1 % noise), on 16 x 16
elements and with a texture and factors in the surrogate's range of training: contrast 3, and factors between 3/4 and
4/3. L-BFGS minimises

.. math:: J(\theta) = \sum_k |m_k(\theta) - m_k^{meas}|^2 / \sigma^2 + \alpha |\theta|^2

with five models of the measurements :math:`m_k`. Four are coarse, :math:`m_k = u_h^k` with S(a) from exact LOD (an
adjoint corrector problem a patch), from a network of patches (backpropagation), from learned super-elements (both), and
from coarse finite elements with the geometric mean. The fifth is the classical one: :math:`m_k = I_h u^k` with the fine
solution :math:`u^k`, the adjoint :math:`A p^k = I_h^T \, \partial J / \partial m_k`, and the derivative
:math:`-\sum_k (\nabla u^k, \nabla p^k)_K` in the value of a on the cell K: one factorisation, then two substitutions a
load.

Derivatives of a network need not be close where its values are. Here they are compared: the gradient at
:math:`\theta = 0` with exact LOD's and with the fine problem's, the recovered :math:`\theta`, and the CPU seconds of
one evaluation of J with its gradient.

Seen: in :math:`\theta` the gradient of the surrogate is 0.3 % from exact LOD's, in single cells 3 %; both are 2 % and
5 % from the fine problem's. That of super-elements, which stand for cells of n = 32 where the measurements are of
n = 8, is 8 to 11 % from either, at three times the time of exact LOD. At this size take the fine adjoint: it is exact,
in the time of the surrogate.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from skfem import LinearForm, MeshQuad
from torch import Tensor

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.lod import LOD, GeometricMean, Surrogate, coarse_solution, exact_matrices, surrogate_matrices
from skfem_ml.problems import diffusion
from skfem_ml.solvers import Elimination

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the demo beside this one, however this one is run
from demos.recover_coefficient import ALPHA, bump, field, measurements, smooth

MODEL = "diffusion-q1-ell2-n8"
LEVEL, REFINE, ELL = 4, 8, 2
TEXTURE = (1.0, 3.0)
AMPLITUDE = 0.25
LOADS = 4  # 4 x 4 bumps
NOISE = 1e-3  # of the largest measurement
ITERATIONS = 20
SEED = 0
FINE, EXACT, SURROGATE, SUPER = "fine problem, its adjoint", "exact LOD", "surrogate", "super-elements"
NULL, PRIOR = "coarse FEM, geometric mean", "prior"
WIDTHS = 10, 24, 10, 20, 10, 10, 10, 8
Measured = Callable[[Tensor], Tensor]  # a to what is measured, (loads, coarse.N)


class Recovered(NamedTuple):
    """What was sought and found, ``(nelems,)``; gradients at theta = 0 in the logarithms of all cells, ``(cells,)``;
    CPU seconds an evaluation with gradient.
    """

    lod: LOD
    texture: ndarray
    theta: ndarray
    found: dict[str, ndarray]
    gradients: dict[str, ndarray]
    seconds: dict[str, float]

    def error(self, name: str) -> float:
        """Relative error of the recovered theta."""
        return relative(self.found[name], self.theta)

    def gradient_error(self, name: str, to: str, cellwise: bool = False) -> float:
        """Relative error of the gradient at theta = 0: in theta, or cellwise."""
        x, y = self.gradients[name], self.gradients[to]
        if not cellwise:  # a = t exp(theta_T), so dJ / dtheta_T is the sum over the cells of T
            x, y = (g[self.lod.space.coefficient_refinement.cells].sum(axis=1) for g in (x, y))
        return relative(x, y)


def relative(x: ndarray, y: ndarray) -> float:
    """|x - y| / |y|."""
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


def compute(level: int = LEVEL, loads: int = LOADS, iterations: int = ITERATIONS) -> Recovered:
    """Make the measurements and recover theta by the five models."""
    rng = np.random.default_rng(SEED)
    lod = LOD(MeshQuad().refined(level), refine=REFINE, ell=ELL)
    texture = iid_multilevel(lod.coefficient_mesh, level + 2, *TEXTURE, rng)
    theta = AMPLITUDE * smooth(lod) + 0.04 * rng.uniform(-1, 1, len(lod.patches.cells))
    forms = [bump(x, y) for y in (np.arange(loads) + 0.5) / loads for x in (np.arange(loads) + 0.5) / loads]
    measured = measurements(lod, field(lod, texture, torch.from_numpy(theta)).numpy(), forms)
    noise = NOISE * abs(measured).max()
    measured += noise * rng.standard_normal(measured.shape) * ~lod.space.dirichlet.nodes

    gradients, found, seconds = {}, {PRIOR: np.zeros_like(theta)}, {}
    for name, model in models(lod, forms).items():
        gradients[name] = gradient(texture, model, measured, noise)
        calls: list[int] = []
        begin = time.process_time()
        found[name] = recover(lod, texture, _counted(model, calls), measured, noise, iterations)
        seconds[name] = (time.process_time() - begin) / len(calls)
    return Recovered(lod, texture, theta, found, gradients, seconds)


def models(lod: LOD, forms: list[LinearForm]) -> dict[str, Measured]:
    """The five models of the measurements."""
    patches, elements = Surrogate.load(MODEL), Surrogate.load("diffusion")
    b = [lod.load(form) for form in forms]
    cells = torch.from_numpy(lod.space.coefficient_refinement.cells)
    unit = torch.from_numpy(lod.local(GeometricMean(), a=1.0))
    matrices: dict[str, Callable[[Tensor], Tensor]] = {
        EXACT: lambda a: exact_matrices(lod, a),
        SURROGATE: lambda a: surrogate_matrices(patches, lod, a),
        SUPER: lambda a: surrogate_matrices(elements, lod, a),
        NULL: lambda a: unit * a[cells].log().mean(dim=1).exp()[:, None, None],
    }

    def coarse(local: Callable[[Tensor], Tensor]) -> Measured:
        def measured(a: Tensor) -> Tensor:
            S = local(a)
            return torch.stack([coarse_solution(lod, S, load) for load in b])

        return measured

    F = np.stack([form.assemble(lod.fine) for form in forms], axis=1)
    fine: Measured = lambda a: FineMeasurements.apply(a, lod, F)
    return {FINE: fine, **{name: coarse(local) for name, local in matrices.items()}}


class FineMeasurements(torch.autograd.Function):
    """Local averages I_h u of fine solutions, ``(loads, coarse.N)``, for loads ``(fine.N, loads)``: the adjoint of
    -div(a grad u) = f.
    """

    @staticmethod
    def forward(ctx, a: Tensor, lod: LOD, F: ndarray) -> Tensor:
        free = lod.fine.complement_dofs(lod.fine.get_dofs())
        A = diffusion.assemble(lod.fine, a=a.detach().numpy()[:, None])[free][:, free]
        solve, u = Elimination(A), np.zeros_like(F)
        u[free] = solve(F[free])
        ctx.held = lod, free, solve, u
        return torch.from_numpy((lod.quasi_interpolation @ u).T * ~lod.space.dirichlet.nodes)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dJ: Tensor):
        lod, free, solve, u = ctx.held
        p = np.zeros_like(u)
        p[free] = solve((lod.quasi_interpolation.T @ (dJ.numpy() * ~lod.space.dirichlet.nodes).T)[free])
        stiffness = diffusion.elemental(lod.fine, a=1.0).tolocal()
        u, p = (values[lod.fine.element_dofs] for values in (u, p))  # (4, cells, loads)
        return torch.from_numpy(-np.einsum("ick,cij,jck->c", p, stiffness, u, optimize=True)), None, None


def recover(lod: LOD, texture: ndarray, model: Measured, measured: ndarray, noise: float, iterations: int) -> ndarray:
    """Minimise J from theta = 0."""
    theta = torch.zeros(len(lod.patches.cells), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([theta], max_iter=iterations, history_size=20, line_search_fn="strong_wolfe")

    def J() -> Tensor:
        optimiser.zero_grad()
        value = misfit(model(field(lod, texture, theta)), measured, noise) + ALPHA * theta.square().sum()
        value.backward()
        return value

    optimiser.step(J)
    return theta.detach().numpy()


def misfit(found: Tensor, measured: ndarray, noise: float) -> Tensor:
    """The first part of J."""
    return ((found - torch.from_numpy(measured)) / noise).square().sum()


def gradient(texture: ndarray, model: Measured, measured: ndarray, noise: float) -> ndarray:
    """The gradient of the misfit in the logarithm of every cell of a, at theta = 0, ``(cells,)``."""
    a = torch.from_numpy(texture).requires_grad_(True)
    misfit(model(a), measured, noise).backward()
    return texture * a.grad.numpy()  # type: ignore[union-attr]


def _counted(model: Measured, calls: list[int]) -> Measured:
    def counted(a: Tensor) -> Tensor:
        calls.append(1)
        return model(a)

    return counted


def report(result: Recovered) -> str:
    """A row for each model; differences to exact LOD's and to the fine problem's answers and gradients."""
    heads = (
        "theta off",
        "its distance to: LOD's",
        "the fine",
        "gradient to: LOD's",
        "the fine",
        "in cells",
        "",
        "CPU s",
    )
    lines = [f"{'':28s}" + "".join(f"{head:>{WIDTHS[k]}s}" for k, head in enumerate(heads))]
    for name, x in result.found.items():
        row = [f"{result.error(name):.3f}", *(f"{relative(x, result.found[to]):.3f}" for to in (EXACT, FINE))]
        if name != PRIOR:
            pairs = [(to, cellwise) for cellwise in (False, True) for to in (EXACT, FINE)]
            row += [f"{result.gradient_error(name, to, cellwise):.1e}" for to, cellwise in pairs]
            row.append(f"{result.seconds[name]:.2f}")
        lines.append(f"{name:28s}" + "".join(f"{text:>{WIDTHS[k]}s}" for k, text in enumerate(row)))
    return "\n".join(lines)


def visualize(result: Recovered | None = None):
    """The coefficient, the sought factors and those found, on one scale."""
    from matplotlib.figure import Figure

    from skfem_ml.pictures import colour_bar, plot_cells, shared_norm

    result = compute() if result is None else result
    figure = Figure(figsize=(15, 7.2), layout="constrained")
    panels = figure.subplots(2, 4).ravel()
    a = field(result.lod, result.texture, torch.from_numpy(result.theta)).numpy()
    colour_bar(panels[0], plot_cells(panels[0], result.lod.coefficient_mesh, a), "$a$")
    panels[0].set_title("coefficient")
    shown = {"sought": result.theta, **{name: result.found[name] for name in (FINE, EXACT, SURROGATE, SUPER, NULL)}}
    norm = shared_norm(*[np.exp(x) for x in shown.values()], log=False)
    for axes, (name, x) in zip(panels[1:7], shown.items(), strict=True):
        drawn = plot_cells(axes, result.lod.coarse.mesh, np.exp(x), norm=norm)
        axes.set_title(name if name == "sought" else f"{name}\n{result.error(name):.0%} off")
        colour_bar(axes, drawn, r"$\exp(\theta_T)$")
    _draw_cost(panels[7], result)
    return figure


def _draw_cost(axes, result: Recovered) -> None:
    """Seconds of an evaluation, and the gradient's error."""
    for k, name in enumerate((EXACT, SURROGATE, SUPER, NULL)):  # the fine one is the reference
        error = result.gradient_error(name, FINE)
        axes.loglog(result.seconds[name], error, "os^D"[k], color=f"C{k}", label=name)
    axes.axvline(result.seconds[FINE], color="black", label=FINE)
    axes.set(title="gradient at $\\theta = 0$", xlabel="CPU s an evaluation", ylabel="relative error to the fine one")
    axes.grid(alpha=0.3)
    axes.set_ylim(top=10 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize="small", loc="upper left")


if __name__ == "__main__":
    outcome = compute()
    print(report(outcome))
    visualize(outcome).savefig("inverse.png", dpi=130)
