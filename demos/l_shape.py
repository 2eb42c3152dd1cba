r"""An L-shape with mixed boundary conditions
=========================================

Inhomogeneous Dirichlet data at two ends, insulation elsewhere, and what flows in flows out to rounding.

Find u in the L-shape :math:`(0, 2)^2 \setminus [1, 2]^2`, with a log-normal coefficient a,

.. math::

    -\nabla \cdot (a \nabla u) = 0, \qquad u = 1 + x \text{ at the top end}, \quad u = 0 \text{ at the right end},
    \quad a \, \partial_n u = 0 \text{ elsewhere}.

The names of the two ends go to ``LOD`` and to ``get_dofs``, the boundary values through ``condense(x=...)``: what a
script for scikit-fem does anyway. Correctors vanish at the two ends only; along the insulated sides they are free.

As S keeps its boundary rows, :math:`(S u)_i` at the nodes of an end adds up to the flow in through it. The columns of S
sum to zero as do those of a stiffness matrix, hence what flows in at the top flows out at the right, to rounding.
"""

from dataclasses import dataclass

import numpy as np
from skfem import Basis, ElementQuad1, MeshQuad, condense, solve

from skfem_ml.coefficients import log_normal
from skfem_ml.lod import LOD
from skfem_ml.metrics import energy_error, l2_error
from skfem_ml.pictures import colour_bar, figure, plot_cells, plot_error, plot_nodal, shared_norm
from skfem_ml.problems import diffusion

REFINEMENTS, REFINE, ELL = 3, 8, 2
SIGMA, CORRELATION = 1.5, 0.05
ENDS = ["top", "right"]
SEED = 0


@dataclass
class Result:
    """Solutions on the fine mesh, by method: relative errors to the fine one, and what flows in at each end."""

    lod: LOD
    a: np.ndarray
    solutions: dict[str, np.ndarray]
    l2: dict[str, float]
    energy: dict[str, float]
    inflow: dict[str, dict[str, float]]


def l_shape(refinements: int) -> MeshQuad:
    square = MeshQuad.init_tensor([0.0, 1.0, 2.0], [0.0, 1.0, 2.0])
    corner = square.elements_satisfying(lambda x: (x[0] > 1) & (x[1] > 1))
    mesh = square.remove_elements(corner).refined(refinements)
    return mesh.with_boundaries({"top": lambda x: x[1] == 2.0, "right": lambda x: x[0] == 2.0})


def boundary_values(basis: Basis) -> np.ndarray:
    values, top = basis.zeros(), basis.get_dofs("top").flatten()
    values[top] = 1 + basis.doflocs[0, top]
    return values


def compute(refinements: int = REFINEMENTS, refine: int = REFINE, ell: int = ELL) -> Result:
    coarse = Basis(l_shape(refinements), ElementQuad1())
    lod = LOD(coarse, refine=refine, ell=ell, dirichlet=ENDS)
    fine, P = lod.fine, lod.prolongation
    a = log_normal(fine.mesh, SIGMA, CORRELATION, rng=np.random.default_rng(SEED))

    A = diffusion.assemble(fine, a=a[:, None])
    S = lod.assemble(diffusion, a=a)
    y = solve(*condense(A, x=boundary_values(fine), D=fine.get_dofs(ENDS)))
    u = solve(*condense(S, x=boundary_values(coarse), D=coarse.get_dofs(ENDS)))
    v = solve(*condense(P.T @ A @ P, x=boundary_values(coarse), D=coarse.get_dofs(ENDS)))

    solutions = {"fine": y, "coarse FEM": P @ v, "LOD": lod.prolong(u, diffusion, a=a)}
    flows = {"fine": (fine, A @ y), "coarse FEM": (coarse, P.T @ (A @ (P @ v))), "LOD": (coarse, S @ u)}
    inflow = {
        name: {end: flow[basis.get_dofs(end).flatten()].sum() for end in ENDS} for name, (basis, flow) in flows.items()
    }
    l2 = {name: l2_error(w, y, fine, relative=True) for name, w in solutions.items()}
    energy = {name: energy_error(w, y, fine, a, relative=True) for name, w in solutions.items()}
    return Result(lod, a, solutions, l2, energy, inflow)


def visualize(result: Result | None = None):
    """Coefficient and fine solution above the errors of coarse FEM and LOD, which are on one scale."""
    result = compute() if result is None else result
    fine, y = result.lod.fine, result.solutions["fine"]
    errors = {name: abs(result.solutions[name] - y) for name in ("coarse FEM", "LOD")}
    norm = shared_norm(*errors.values(), log=True, decades=4)
    with figure(9.6, 8.2) as picture:
        axes = picture.subplots(2, 2)
        colour_bar(axes[0, 0], plot_cells(axes[0, 0], fine.mesh, result.a, norm=shared_norm(result.a)), "$a$")
        axes[0, 0].set_title("coefficient")
        colour_bar(axes[0, 1], plot_nodal(axes[0, 1], fine, y), "$u$")
        axes[0, 1].set_title(f"fine solution, flow {result.inflow['fine']['top']:.3f}")
        for ax, (name, error) in zip(axes[1], errors.items(), strict=True):
            colour_bar(ax, plot_error(ax, fine, error, norm=norm), r"$|u_{\mathrm{method}} - u|$", extend="min")
            flow = result.inflow[name]["top"]
            ax.set_title(f"{name}, {100 * result.l2[name]:.2g} % off in $L^2$,\nflow {flow:.3f}")
    return picture


if __name__ == "__main__":
    result = compute()
    for name, inflow in result.inflow.items():
        print(
            f"{name:10s} inflow at the top {inflow['top']:.4f}, in all {sum(inflow.values()):+.0e};",
            f"relative error {result.l2[name]:.1e} in L2, {result.energy[name]:.1e} in energy",
        )
    visualize(result).savefig("l_shape.png")
    print("flow through the L:", ", ".join(f"{name} {inflow['top']:.4f}" for name, inflow in result.inflow.items()))
