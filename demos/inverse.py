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

Seen: in :math:`\theta` the gradient of the surrogate is 1 % from exact LOD's, in single cells 3 %; both are 2 to 3 %
and 4 to 6 % from the fine problem's. That of super-elements, which stand for cells of n = 32 where the measurements are
of n = 8, is 8 to 11 % from either, at three times the time of exact LOD. At this size take the fine adjoint: it is
exact, in the time of the surrogate.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from skfem import LinearForm, MeshQuad
from torch import Tensor

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.compare import clocked
from skfem_ml.lod import (
    LOD,
    GeometricMean,
    Surrogate,
    coarse_solution,
    exact_matrices,
    fine_averages,
    on_cells,
    recover,
    surrogate_matrices,
)
from skfem_ml.pictures import colour_bar, figure, legend_below, plot_cells, plot_work, shared_norm
from skfem_ml.problems import gaussian_loads

MODEL = "diffusion-q1-ell2-n8"
LEVEL, REFINE, ELL = 4, 8, 2
TEXTURE, AMPLITUDE = (1.0, 3.0), 0.25
LOADS, WIDTH = 4, 0.1  # 4 x 4 bumps
NOISE = 1e-3  # of the largest measurement
ALPHA, ITERATIONS = 1.0, 20
SEED = 0
FINE, EXACT, SURROGATE, SUPER = "fine problem, its adjoint", "exact LOD", "surrogate", "super-elements"
NULL, PRIOR = "coarse FEM, geometric mean", "prior"
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
    x, y = lod.coarse.mesh.p[:, lod.coarse.mesh.t].mean(axis=1)
    theta = AMPLITUDE * np.sin(2 * np.pi * x) * np.cos(np.pi * y) + 0.04 * rng.uniform(-1, 1, len(x))
    t, known = torch.from_numpy(texture), models(lod, gaussian_loads(loads, WIDTH))
    measured = known[FINE](t * on_cells(lod, torch.from_numpy(theta)).exp()).numpy()
    noise = NOISE * abs(measured).max()
    measured += noise * rng.standard_normal(measured.shape) * ~lod.space.dirichlet.nodes

    gradients, found, seconds = {}, {PRIOR: np.zeros_like(theta)}, {}
    for name, model in known.items():
        a, calls = t.clone().requires_grad_(True), []
        ((model(a) - torch.from_numpy(measured)) / noise).square().sum().backward()
        gradients[name] = texture * a.grad.numpy()

        def counted(theta: Tensor, model=model, calls=calls) -> Tensor:
            calls.append(1)
            return model(t * on_cells(lod, theta).exp())

        with clocked() as spent:
            found[name] = recover(counted, measured, noise, len(theta), ALPHA, iterations)
        seconds[name] = spent.cpu / len(calls)
    return Recovered(lod, texture, theta, found, gradients, seconds)


def models(lod: LOD, forms: list[LinearForm]) -> dict[str, Measured]:
    """The five models of the measurements."""
    patches, elements = Surrogate.load(MODEL), Surrogate.load("diffusion")
    b, F = [lod.load(form) for form in forms], np.stack([form.assemble(lod.fine) for form in forms], axis=1)
    cells = torch.from_numpy(lod.space.coefficient_refinement.cells)
    unit = torch.from_numpy(lod.local(GeometricMean(), a=1.0))
    coarse = lambda S: torch.stack([coarse_solution(lod, S, load) for load in b])
    return {
        FINE: lambda a: fine_averages(lod, a, F),
        EXACT: lambda a: coarse(exact_matrices(lod, a)),
        SURROGATE: lambda a: coarse(surrogate_matrices(patches, lod, a)),
        SUPER: lambda a: coarse(surrogate_matrices(elements, lod, a)),
        NULL: lambda a: coarse(unit * a[cells].log().mean(dim=1).exp()[:, None, None]),
    }


def report(result: Recovered) -> str:
    """A row for each model: errors of theta, of the gradient to exact LOD's and the fine problem's; also cellwise."""
    lines = [f"{'':28s}theta off, gradient to LOD's, the fine; in cells to LOD's, the fine; CPU s"]
    for name in result.found:
        row = [f"{name:28s}{result.error(name):9.3f}"]
        if name != PRIOR:
            pairs = [(to, cellwise) for cellwise in (False, True) for to in (EXACT, FINE)]
            row += [f"{result.gradient_error(name, to, cellwise):12.1e}" for to, cellwise in pairs]
            row.append(f"{result.seconds[name]:10.2f}")
        lines.append("".join(row))
    return "\n".join(lines)


def visualize(result: Recovered | None = None):
    """The coefficient, the sought factors and those found, on one scale, and what a gradient costs."""
    result = compute() if result is None else result
    shown = {"sought": result.theta, **{name: result.found[name] for name in (FINE, EXACT, SURROGATE, SUPER, NULL)}}
    norm = shared_norm(*[np.exp(x) for x in shown.values()], log=False)
    with figure(16.5, 8.6) as picture:
        panels = picture.subplots(2, 4).ravel()
        a = result.texture * on_cells(result.lod, torch.from_numpy(np.exp(result.theta))).numpy()
        colour_bar(panels[0], plot_cells(panels[0], result.lod.coefficient_mesh, a), "$a$")
        panels[0].set_title("coefficient")
        for axes, (name, x) in zip(panels[1:7], shown.items(), strict=True):
            drawn = plot_cells(axes, result.lod.coarse.mesh, np.exp(x), norm=norm, cmap="viridis")
            axes.set_title("factors, sought" if name == "sought" else f"{name}\n$\\theta$ {result.error(name):.0%} off")
            colour_bar(axes, drawn, r"$\exp \theta_T$")
        found = {name: (result.seconds[name], result.gradient_error(name, FINE)) for name in list(shown)[2:]}
        panels[7].axvline(result.seconds[FINE], color="black", label=FINE)  # the reference
        plot_work(panels[7], found, legend=False)
        panels[7].set(title=r"gradient at $\theta = 0$", xlabel="CPU s an evaluation", ylabel="relative error")
        legend_below(panels[7], 1)
    return picture


if __name__ == "__main__":
    result = compute()
    print(report(result))
    visualize(result).savefig("inverse.png")
    told = (f"{name} {result.error(name):.3f} ({result.seconds[name]:.2f} s)" for name in (FINE, EXACT, SURROGATE))
    print("error of the logarithms (seconds a gradient):", ", ".join(told))
