r"""Recover a coefficient from coarse measurements
==============================================

Sixty-four unknown factors on a known fine texture, found from local averages by gradients through exact LOD.

On the unit square the coefficient is :math:`a(x) = t(x) \, e^{\theta_T}` for x in the coarse element T: a fine texture
t that is known (discs of contrast 30), and one unknown number an element. For each of 16 loads :math:`f_k`, a bump, the
local averages :math:`I_h u` of the fine finite element solution u are measured at the coarse nodes, with noise. LOD
says what they should be: :math:`u_h(\theta)` with :math:`S(a) u_h = b`, :math:`b_i = (f_k, \lambda_i)`. Least squares

.. math:: J(\theta) = \sum_k |u_h^k(\theta) - m_k|^2 / \sigma^2 + \alpha |\theta|^2

are minimised by L-BFGS. The gradient runs through the adjoint of the coarse solve and through one adjoint corrector
problem a patch (``exact_matrices``): its price does not grow with the number of unknowns.

Beside it: the same with coarse finite elements and the geometric mean of a on every element in the place of S(a), which
blames the texture on :math:`\theta`, and the prior :math:`\theta = 0`.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from skfem import MeshQuad
from torch import Tensor

from skfem_ml.coefficients import inclusions
from skfem_ml.lod import LOD, GeometricMean, coarse_solution, exact_matrices, fine_averages, on_cells, recover
from skfem_ml.pictures import colour_bar, figure, plot_cells, shared_norm
from skfem_ml.problems import gaussian_loads

LEVEL, REFINE, ELL = 3, 8, 2
CONTRAST, NUMBER, RADIUS = 30.0, 60, 0.035
LOADS, WIDTH = 4, 0.1  # 4 x 4 bumps
NOISE = 1e-3  # of the largest measurement
ALPHA = 1.0
ITERATIONS = 25
SEED = 0


class Recovered(NamedTuple):
    """What was sought and found, one value a coarse element, ``(nelems,)``; relative errors in ``errors``."""

    lod: LOD
    texture: ndarray
    theta: ndarray
    found: dict[str, ndarray]
    errors: dict[str, float]

    @property
    def a(self) -> ndarray:
        """The coefficient that was sought."""
        return self.texture * on_cells(self.lod, torch.from_numpy(np.exp(self.theta))).numpy()


def compute(
    level: int = LEVEL, refine: int = REFINE, ell: int = ELL, loads: int = LOADS, iterations: int = ITERATIONS
) -> Recovered:
    """Make the measurements and recover theta by both models."""
    rng = np.random.default_rng(SEED)
    lod = LOD(MeshQuad().refined(level), refine=refine, ell=ell)
    texture = inclusions(lod.coefficient_mesh, contrast=CONTRAST, number=NUMBER, radius=RADIUS, rng=rng)
    x, y = lod.coarse.mesh.p[:, lod.coarse.mesh.t].mean(axis=1)
    theta = np.sin(2 * np.pi * x) * np.cos(np.pi * y) + 0.1 * rng.standard_normal(len(x))
    t, forms = torch.from_numpy(texture), gaussian_loads(loads, WIDTH)
    F, b = np.stack([form.assemble(lod.fine) for form in forms], axis=1), [lod.load(form) for form in forms]
    measured = fine_averages(lod, t * on_cells(lod, torch.from_numpy(theta)).exp(), F).numpy()
    noise = NOISE * abs(measured).max()
    measured += noise * rng.standard_normal(measured.shape) * ~lod.space.dirichlet.nodes

    def exact(theta: Tensor) -> Tensor:
        S = exact_matrices(lod, t * on_cells(lod, theta).exp())
        return torch.stack([coarse_solution(lod, S, load) for load in b])

    mean = torch.from_numpy(lod.local(GeometricMean(), a=texture))

    def null(theta: Tensor) -> Tensor:
        S = mean * theta.exp()[:, None, None]  # the geometric mean is linear in exp(theta_T)
        return torch.stack([coarse_solution(lod, S, load) for load in b])

    models = {"LOD": exact, "coarse FEM, geometric mean": null}
    found = {name: recover(model, measured, noise, len(theta), ALPHA, iterations) for name, model in models.items()}
    found["prior"] = np.zeros_like(theta)
    errors = {name: float(np.linalg.norm(x - theta) / np.linalg.norm(theta)) for name, x in found.items()}
    return Recovered(lod, texture, theta, found, errors)


def visualize(result: Recovered | None = None):
    """The coefficient, the sought factors and those found, on one scale."""
    result = compute() if result is None else result
    shown = {"sought": result.theta, **{name: x for name, x in result.found.items() if name != "prior"}}
    norm = shared_norm(*[np.exp(x) for x in shown.values()])
    with figure(15.5, 4.4) as picture:
        panels = picture.subplots(1, 4)
        drawn = plot_cells(panels[0], result.lod.coefficient_mesh, result.a, norm=shared_norm(result.a))
        colour_bar(panels[0], drawn, "$a$")
        panels[0].set_title("coefficient")
        for axes, (name, x) in zip(panels[1:], shown.items(), strict=True):
            drawn = plot_cells(axes, result.lod.coarse.mesh, np.exp(x), norm=norm, cmap="viridis")
            off = "" if name == "sought" else f"\n$\\theta$ {result.errors[name]:.0%} off"
            axes.set_title(("factors, " if name == "sought" else "") + name + off)
        colour_bar(panels[-1], drawn, r"$\exp \theta_T$")
    return picture


if __name__ == "__main__":
    outcome = compute()
    for model, error in outcome.errors.items():
        print(f"{model:28s} relative error of theta {error:.3f}")
    visualize(outcome).savefig("recover_coefficient.png")
    print("error of the logarithms:", ", ".join(f"{model} {error:.2f}" for model, error in outcome.errors.items()))
