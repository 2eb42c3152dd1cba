r"""SPE10, a reservoir of contrast a million
========================================

The permeability of SPE10 model 1 on its true geometry, 2500 ft x 50 ft in 100 x 20 cells.

Darcy flow from left to right,

.. math:: -\nabla \cdot (k \nabla p) = 0, \qquad p = 1 \text{ on the left}, \quad p = 0 \text{ on the right},

no flow at top and bottom. The fine mesh is the grid of the data. Coarse meshes of 20 x 4 cells (with 5 x 5 of the data
in each) and of 50 x 10 (2 x 2) are compared; coarse cells are 12.5 and 10 times as long as high.

On 20 x 4 both variants converge in :math:`\ell` in spite of the contrast. On 50 x 10 a layer of a patch is two cells of
the data wide, and Petrov-Galerkin LOD shows at :math:`\ell = 1` and 2 what contrast can do to it: energy errors of 2.7
and 0.76 on the SPE10 data, beyond those of coarse FEM, where the Galerkin variant has 0.19 and 0.06.
``high_contrast.py`` has the reason.

Usage: ``python spe10.py [PERMX.csv]``, with 20 rows (top first) of 100 values in mD. Without a file a log-normal field
of the same size and contrast takes its place, and says so.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skfem import Basis, ElementQuad1, Mesh, MeshQuad, condense, solve

from skfem_ml.coefficients import from_file, log_normal
from skfem_ml.lod import LOD
from skfem_ml.metrics import energy_error
from skfem_ml.pictures import colour_bar, figure, grid, legend_below, plot_cells, plot_error, plot_nodal, shared_norm
from skfem_ml.problems import diffusion
from skfem_ml.solvers import solver_direct

LENGTH, HEIGHT = 2500.0, 50.0  # ft
CELLS = (100, 20)
FACTORS = (5, 2)  # cells of the data along a coarse edge: 20 x 4 and 50 x 10 coarse cells
ELLS = (1, 2, 3)
SIDES = ["left", "right"]
SEED = 0
METHODS = ("coarse FEM", "Petrov-Galerkin LOD", "Galerkin LOD")


@dataclass
class Result:
    """One coarse mesh and ell: solutions on the fine mesh, relative energy errors, and the flow through the section."""

    lod: LOD
    a: np.ndarray
    fine: np.ndarray
    solutions: dict[str, np.ndarray]
    errors: dict[str, float]
    flow: dict[str, float]


def permeability(mesh: Mesh, path: str | Path | None = None) -> tuple[np.ndarray, str]:
    """The field in mD on the cells of a mesh of the section, and what to call it."""
    if path is not None:
        return from_file(path, mesh), "SPE10 model 1"
    logarithm = np.log(log_normal(mesh, 1.0, (250.0, 5.0), rng=np.random.default_rng(SEED)))
    return 10 ** (6 * (logarithm - logarithm.min()) / np.ptp(logarithm) - 3), "stand-in for SPE10 model 1"


def shape(factor: int) -> str:
    return " x ".join(str(n // factor) for n in CELLS)


def pressure_drop(basis: Basis) -> np.ndarray:
    values = basis.zeros()
    values[basis.get_dofs("left").flatten()] = 1
    return values


def compute(factor: int = FACTORS[1], ell: int = 2, path: str | Path | None = None) -> Result:
    x, y = (np.linspace(0, size, n // factor + 1) for size, n in zip((LENGTH, HEIGHT), CELLS, strict=True))
    coarse = Basis(MeshQuad.init_tensor(x, y).with_defaults(), ElementQuad1())
    lod = LOD(coarse, refine=factor, ell=ell, dirichlet=SIDES)
    fine, P = lod.fine, lod.prolongation
    a, _ = permeability(fine.mesh, path)
    A = diffusion.assemble(fine, a=a[:, None])
    p = solve(*condense(A, x=pressure_drop(fine), D=fine.get_dofs(SIDES)), solver=solver_direct())

    B = lod.basis(diffusion, a=a)  # column j: (1 - Q) lambda_j
    systems = {
        "coarse FEM": (P, P.T @ A @ P),
        "Petrov-Galerkin LOD": (B, lod.assemble(diffusion, a=a)),
        "Galerkin LOD": (B, B.T @ A @ B),
    }
    left = coarse.get_dofs("left").flatten()
    solutions, flow = {}, {"fine": (A @ p)[fine.get_dofs("left").flatten()].sum()}
    for name, (basis, K) in systems.items():
        u = solve(*condense(K, x=pressure_drop(coarse), D=coarse.get_dofs(SIDES)))
        solutions[name], flow[name] = basis @ u, (K @ u)[left].sum()
    errors = {name: energy_error(u, p, fine, a, relative=True) for name, u in solutions.items()}
    return Result(lod, a, p, solutions, errors, flow)


def sweep(path: str | Path | None = None) -> dict[int, list[Result]]:
    """Results for all ell, by factor."""
    return {factor: [compute(factor, ell, path) for ell in ELLS] for factor in FACTORS}


def visualize(results: dict[int, list[Result]] | None = None, path: str | Path | None = None):
    """Permeability and pressure, errors of the three methods on one scale, and energy errors over ell."""
    results = sweep(path) if results is None else results
    shown = results[FACTORS[1]][1]
    fine, maps = shown.lod.fine, {name: abs(u - shown.fine) for name, u in shown.solutions.items()}
    norm = shared_norm(*maps.values(), log=True, decades=4)
    with figure(13, 9.6) as picture:
        axes = picture.subplot_mosaic([["a", METHODS[0]], ["p", METHODS[1]], ["errors", METHODS[2]]])
        colour_bar(axes["a"], plot_cells(axes["a"], fine.mesh, shown.a, norm=shared_norm(shown.a)), "$k$ in mD")
        axes["a"].set_title(f"permeability: {permeability(fine.mesh, path)[1]}")
        colour_bar(axes["p"], plot_nodal(axes["p"], fine, shown.fine), "$p$")
        axes["p"].set_title("pressure on the fine mesh")
        for name, error in maps.items():
            drawn = plot_error(axes[name], fine, error, norm=norm)
            colour_bar(axes[name], drawn, r"$|p_{\mathrm{method}} - p|$", extend="min")
            ell = "" if name == "coarse FEM" else f", $\\ell = {shown.lod.ell}$"
            axes[name].set_title(f"{name}{ell}, {shape(FACTORS[1])}: error {shown.errors[name]:.2g} in energy")
        for name in ("a", "p", *METHODS):
            axes[name].set(xlabel="$x$ in ft", ylabel="height in ft")
        draw_errors(axes["errors"], results)
    return picture


def draw_errors(ax, results: dict[int, list[Result]]) -> None:
    """Energy errors over ell, a colour a method, a dash a coarse mesh."""
    for (factor, row), style in zip(results.items(), ("s--", "o-"), strict=True):
        for name, color in zip(METHODS, ("C0", "C1", "C2"), strict=True):
            errors = [r.errors[name] for r in row]
            ax.semilogy(ELLS, errors, style, color=color, label=f"{name}, {shape(factor)}")
    ax.set(title="relative energy error", xlabel=r"layers $\ell$ of a patch", ylabel="error", xticks=ELLS)
    grid(ax)
    legend_below(ax)


if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else None
    results = sweep(path)
    first = results[FACTORS[0]][0]
    print(
        f"{permeability(first.lod.fine.mesh, path)[1]}, contrast {first.a.max() / first.a.min():.1e};",
        f"flow {first.flow['fine']:.4f}; relative energy error, and relative error of the flow:",
    )
    for factor, row in results.items():
        for r in row:
            flow = {name: r.flow[name] / r.flow["fine"] - 1 for name in METHODS}
            print(
                f"{shape(factor)}, ell = {r.lod.ell}:",
                ", ".join(f"{name} {r.errors[name]:.1e} ({flow[name]:+.1e})" for name in METHODS),
            )
    visualize(results, path).savefig("spe10.png")
    row = results[FACTORS[0]]
    lod = ", ".join(f"{r.errors['Petrov-Galerkin LOD']:.1e}" for r in row)
    null = row[0].errors["coarse FEM"]
    print(f"energy error on {shape(FACTORS[0])}: coarse FEM {null:.2f}, LOD of 1, 2, 3 layers {lod}")
