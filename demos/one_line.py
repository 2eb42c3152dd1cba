r"""One line changes
================

scikit-fem's Poisson example with a coefficient that oscillates inside the cells of the mesh: one line of the script
changes.

.. math:: -\nabla \cdot (a \nabla u) = 1 \text{ in } (0, 1)^2, \qquad u = 0 \text{ on the boundary}.

The coefficient a is constant on 64 x 64 cells; the mesh has 16 x 16. Localized orthogonal decomposition is an
assembler, so a script for scikit-fem changes in one line:

.. code-block:: diff

      coarse = Basis(MeshQuad().refined(4), ElementQuad1())
      lod = LOD(coarse, refine=8, ell=2)
      ...
    - A = diffusion.assemble(coarse, a=a_coarse[:, None])
    + A = lod.assemble(diffusion, a=a)
      b = unit_load.assemble(coarse)
      u = solve(*condense(A, b, D=coarse.get_dofs()))

The matrix has the size it had, and what comes before and after stays as it was. Plain assembly needs one number for a
in each coarse cell, and which mean is right depends on a: the arithmetic one is 14 % off in L², the harmonic one 36 %,
the geometric one, made for noise like this, 4 %. LOD sees all of a and is 1.50 % off, the best Q1 function on this mesh
1.45 %. Its trial functions :math:`(1 - Q) \lambda_j` carry the fine scale: in them ``lod.prolong`` gives u back with
0.2 % error, and with 3 % error in energy, where a coarse Q1 function has the wrong gradients throughout.
"""

from dataclasses import dataclass

import numpy as np
from skfem import Basis, BilinearForm, ElementQuad1, MeshQuad, condense, solve
from skfem.helpers import dot, grad
from skfem.models.poisson import unit_load

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.lod import LOD
from skfem_ml.metrics import energy_error, l2_error
from skfem_ml.reference import coarse_coefficient

LEVEL, REFINE, ELL = 4, 8, 2
LOW, HIGH = 1.0, 20.0
MEANS = ("arithmetic", "harmonic", "geometric")


@BilinearForm
def diffusion(u, v, w):
    return w.a * dot(grad(u), grad(v))


@dataclass
class Result:
    """Solutions as nodal values on the fine mesh; errors relative to the fine one, in L2 and in energy."""

    lod: LOD
    a: np.ndarray
    fine: np.ndarray
    solutions: dict[str, np.ndarray]
    l2: dict[str, float]
    energy: dict[str, float]


def compute(level: int = LEVEL, refine: int = REFINE, ell: int = ELL) -> Result:
    coarse = Basis(MeshQuad().refined(level), ElementQuad1())
    lod = LOD(coarse, refine=refine, ell=ell)
    a = iid_multilevel(lod.fine.mesh, level + 2, LOW, HIGH, rng=np.random.default_rng(0))
    b, P = unit_load.assemble(coarse), lod.prolongation
    solutions = {}

    for mean in MEANS:
        a_coarse = coarse_coefficient(a, lod.fine.mesh, coarse.mesh, mean)
        A = diffusion.assemble(coarse, a=a_coarse[:, None])  # before
        u = solve(*condense(A, b, D=coarse.get_dofs()))
        solutions[f"{mean} mean"] = P @ u

    S = lod.assemble(diffusion, a=a)  # after
    u = solve(*condense(S, b, D=coarse.get_dofs()))
    solutions["LOD"] = P @ u
    solutions["LOD, prolonged"] = lod.prolong(u, diffusion, a=a)

    A_fine = diffusion.assemble(lod.fine, a=a[:, None])
    u_fine = solve(*condense(A_fine, unit_load.assemble(lod.fine), D=lod.fine.get_dofs()))
    l2 = {name: l2_error(u, u_fine, lod.fine, relative=True) for name, u in solutions.items()}
    energy = {name: energy_error(u, u_fine, lod.fine, a, relative=True) for name, u in solutions.items()}
    return Result(lod, a, u_fine, solutions, l2, energy)


def visualize(result: Result | None = None):
    """Return a figure: the coefficient, the fine solution, and the two coarse ones with their errors."""
    from matplotlib.figure import Figure

    from skfem_ml.pictures import plot_cells, plot_nodal, shared_norm

    result = compute() if result is None else result
    lod, shown = result.lod, {name: result.solutions[name] for name in ("arithmetic mean", "LOD")}
    errors = {name: abs(u - result.fine) for name, u in shown.items()}
    norm, error_norm = shared_norm(result.fine, *shown.values()), shared_norm(*errors.values(), log=False)
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 3)
    picture = plot_cells(axes[0, 0], lod.fine.mesh, result.a)
    axes[0, 0].set_title("coefficient")
    figure.colorbar(picture, ax=axes[0, 0], label="$a$", shrink=0.9)
    picture = plot_nodal(axes[1, 0], lod.fine, result.fine, norm=norm)
    axes[1, 0].set_title("fine solution $u$")
    figure.colorbar(picture, ax=axes[1, 0], label="$u$", shrink=0.9)
    for (name, u), column in zip(shown.items(), axes.T[1:], strict=True):
        picture = plot_nodal(column[0], lod.fine, u, norm=norm)
        column[0].set_title(f"$u_H$, {name}")
        error_picture = plot_nodal(column[1], lod.fine, errors[name], norm=error_norm, cmap="magma")
        column[1].set_title(f"error, {100 * result.l2[name]:.2g} % in $L^2$")
    figure.colorbar(picture, ax=axes[0, 1:], label="$u_H$", shrink=0.9)
    figure.colorbar(error_picture, ax=axes[1, 1:], label="$|u_H - u|$", shrink=0.9)
    return figure


if __name__ == "__main__":
    result = compute()
    for name in result.solutions:
        print(f"{name:16s} relative error {result.l2[name]:.2e} in L2, {result.energy[name]:.2e} in energy")
    visualize(result).savefig("one_line.png", dpi=150)
