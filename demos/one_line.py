r"""One line changes
================

scikit-fem's Poisson example with a coefficient the mesh cannot see: one line changes, and 37 % become 1.5 or 0.3 %.

.. math:: -\nabla \cdot (a \nabla u) = 1 \text{ in } (0, 1)^2, \qquad u = 0 \text{ on the boundary}.

The mesh has 16 x 16 cells, the coefficient 128 x 128: noise between 1 and 2 with a hundred discs that conduct a hundred
times better. Localized orthogonal decomposition (LOD) is an assembler, so a script for scikit-fem changes in one line:

.. code-block:: diff

      coarse = Basis(MeshQuad().refined(4), ElementQuad1())
      lod = LOD(coarse, refine=8, ell=2)
      ...
    - S = diffusion.assemble(coarse, a=a_coarse[:, None])
    + S = lod.assemble(diffusion, a=a)
      b = unit_load.assemble(coarse)
      u = solve(*condense(S, b, D=coarse.get_dofs()))

The matrix has the size it had, and what comes before and after stays as it was. Plain assembly needs one number for a
in each coarse cell: with the arithmetic mean it is 84 % off in L², with the harmonic one 41 %, with the geometric one
37 %. LOD sees all of a, and its bilinear function is 4.2 % off.

Its trial functions :math:`(1 - Q) \lambda_j` carry the fine scale: ``system.prolong`` gives the fine solution back, 1.5
% off, which is what finite elements on the 128 x 128 cells have themselves (1.4 %). With learned super-elements inside
of the cells, ``LOD(..., interiors=Surrogate.load("diffusion"))``, it is as if the fine mesh had 512 x 512 cells, and
0.3 % are left. The truth here is the finite element solution on those, by multigrid.
"""

import time
from dataclasses import dataclass, field

import numpy as np
from skfem import Basis, BilinearForm, ElementQuad1, MeshQuad, condense, solve
from skfem.helpers import dot, grad
from skfem.models.poisson import unit_load

from skfem_ml import LOD, Multigrid, Surrogate
from skfem_ml.coefficients import iid_multilevel, inclusions
from skfem_ml.metrics import l2_error
from skfem_ml.pictures import colour_bar, figure, plot_cells, plot_error, plot_nodal, shared_norm
from skfem_ml.reference import coarse_coefficient
from skfem_ml.solutions import FEFunction

LEVEL, REFINE, TRUTH, ELL = 4, 8, 32, 2  # 16 x 16 coarse cells, each of 8 x 8 fine ones; the truth has 32 x 32
MEANS = ("arithmetic", "harmonic", "geometric")
FEM, EXACT, LEARNED = "plain FEM, geometric mean", "LOD", "LOD, super-elements"
SEED = 0


@BilinearForm
def diffusion(u, v, w):
    return w.a * dot(grad(u), grad(v))


@dataclass
class Result:
    """Coefficient, truth at the fine nodes; solutions there, their relative errors in L2 and CPU seconds, by name."""

    lod: LOD
    a: np.ndarray
    truth: np.ndarray
    solutions: dict[str, np.ndarray] = field(default_factory=dict)
    l2: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, u: np.ndarray, since: float) -> None:
        self.seconds[name] = time.process_time() - since
        self.solutions[name] = u
        self.l2[name] = l2_error(u, self.truth, self.lod.fine, relative=True)


def fine_solution(lod: LOD, a: np.ndarray, refine: int) -> np.ndarray:
    """Finite elements on finer cells, by multigrid, at the nodes of ``lod.fine``."""
    finer = lod.with_fine(refine)
    multigrid = Multigrid(finer.fine, diffusion, a=a[finer.space.coefficient_cell])
    u = multigrid.complete(unit_load.assemble(finer.fine), tol=1e-7).u
    return FEFunction(finer.fine, u)(lod.fine.doflocs)


def compute(level: int = LEVEL, truth: int = TRUTH) -> Result:
    coarse = Basis(MeshQuad().refined(level), ElementQuad1())
    lod = LOD(coarse, refine=REFINE, ell=ELL)
    rng = np.random.default_rng(SEED)
    noise = iid_multilevel(lod.fine.mesh, level + 3, 1.0, 2.0, rng)
    a = noise * inclusions(lod.fine.mesh, contrast=100.0, number=100, radius=0.03, rng=rng)
    result = Result(lod, a, fine_solution(lod, a, truth))

    for mean in MEANS:
        start = time.process_time()
        a_coarse = coarse_coefficient(a, lod.fine.mesh, coarse.mesh, mean)
        S = diffusion.assemble(coarse, a=a_coarse[:, None])  # before
        u = solve(*condense(S, unit_load.assemble(coarse), D=coarse.get_dofs()))
        result.add(f"plain FEM, {mean} mean", lod.prolongation @ u, start)

    learned = LOD(coarse, refine=REFINE, ell=ELL, interiors=Surrogate.load("diffusion"))
    for name, own in {EXACT: lod, LEARNED: learned}.items():
        own.local(diffusion, np.arange(1), a=a)  # loads torch, which is not what we time
        start = time.process_time()
        S = own.assemble(diffusion, a=a)  # after
        u = solve(*condense(S, unit_load.assemble(coarse), D=coarse.get_dofs()))
        result.add(f"{name}, coarse", lod.prolongation @ u, start)
        start = time.process_time()
        system = own.system(diffusion, a=a)
        u = system.solve(unit_load, corrected=True)
        result.add(name, system.prolong(u, load=unit_load), start)
    return result


def visualize(result: Result | None = None):
    """The coefficient and the truth; plain FEM, LOD and super-elements above their errors, each row on one scale."""
    result = compute() if result is None else result
    fine, shown = result.lod.fine, {name: result.solutions[name] for name in (FEM, EXACT, LEARNED)}
    errors = [abs(u - result.truth) / result.truth.max() for u in shown.values()]
    scale, error_scale = (
        shared_norm(result.truth, *shown.values(), log=False),
        shared_norm(*errors, log=True, decades=3),
    )
    with figure(15.5, 7.8) as picture:
        axes = picture.subplots(2, 4)
        colour_bar(axes[0, 0], plot_cells(axes[0, 0], fine.mesh, result.a, norm=shared_norm(result.a)), "$a$")
        axes[0, 0].set_title("coefficient on 128 x 128 cells")
        plot_nodal(axes[1, 0], fine, result.truth, norm=scale)
        axes[1, 0].set_title("solution $u$, 512 x 512 elements")
        for (name, u), error, column in zip(shown.items(), errors, axes.T[1:], strict=True):
            drawn = plot_nodal(column[0], fine, u, norm=scale)
            column[0].set_title(f"{name}\n{result.seconds[name]:.2f} CPU s")
            drawn_error = plot_error(column[1], fine, error, norm=error_scale)
            column[1].set_title(f"{100 * result.l2[name]:.2g} % off in $L^2$")
        colour_bar(axes[0, 3], drawn, "$u$")
        colour_bar(axes[1, 3], drawn_error, r"$|u_{\mathrm{method}} - u| \, / \, \max u$", extend="min")
    return picture


if __name__ == "__main__":
    result = compute()
    for name in result.solutions:
        print(f"{name:28s} {100 * result.l2[name]:6.2f} % off in L2, {result.seconds[name]:.2f} CPU s")
    visualize(result).savefig("one_line.png")
    off = ", ".join(f"{name} {100 * result.l2[name]:.2g} % off" for name in (FEM, EXACT, LEARNED))
    print(f"16 x 16 cells: {off}")
