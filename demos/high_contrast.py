r"""High contrast: where LOD fails
==============================

From a contrast of a thousand on Petrov-Galerkin LOD may fail, and the Galerkin variant still guarantees something.

Channels of conductivity c in a background of 1, half a coarse cell wide, cross the unit square in both directions;
:math:`-\nabla \cdot (a \nabla u) = 1`, u = 0 on the boundary. S of the Petrov-Galerkin method has the rows
:math:`a((1 - Q) \lambda_j, \lambda_i)`. Its symmetry is lost by localisation, and so is its coercivity: correctors
decay more slowly along channels, what is cut off is multiplied by c, and the symmetric part of S gets negative
eigenvalues. A system that is no longer definite may have a fair solution or none worth the name: a matter of luck. The
Galerkin variant tests with :math:`(1 - Q) \lambda_i` too, so

.. math:: \|u - u_{ms}\|_a = \min_{v \in \mathrm{span} \{(1 - Q) \lambda_j\}} \|u - v\|_a \; \le \; \|u\|_a

whatever the contrast: the error cannot exceed one. It is not small either from :math:`c = 10^3` on (0.35 to 0.5 here),
as 225 coarse functions are too few for what happens between the channels. A quasi-interpolation that respects the
channels, or a finer coarse mesh, would be the next step.
"""

from dataclasses import dataclass

import numpy as np
from skfem import Basis, ElementQuad1, MeshQuad, condense, solve
from skfem.models.poisson import unit_load

from skfem_ml.coefficients import channels
from skfem_ml.lod import LOD
from skfem_ml.metrics import energy_error
from skfem_ml.pictures import colour_bar, figure, grid, plot_cells, plot_nodal, shared_norm
from skfem_ml.problems import diffusion
from skfem_ml.solvers import solver_direct

LEVEL, REFINE, ELL = 4, 4, 2
NUMBER, WIDTH = 5, 1 / 32  # channels in each direction, and how wide they are
CONTRASTS = (1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6)
SEEDS = (0, 1, 2, 3)
WORST = 3  # of these at contrast 1e4: the draw in the picture
METHODS = ("coarse FEM", "Petrov-Galerkin LOD", "Galerkin LOD")


@dataclass
class Result:
    """One coefficient: fine solution, approximations on the fine mesh, relative energy errors, definiteness of S."""

    lod: LOD
    a: np.ndarray
    fine: np.ndarray
    solutions: dict[str, np.ndarray]
    errors: dict[str, float]
    definite: bool


def crossing_channels(mesh: MeshQuad, contrast: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    along_x, along_y = (channels(mesh, contrast, NUMBER, WIDTH, rng, axis=axis) for axis in (0, 1))
    return np.maximum(along_x, along_y)


def compute(contrast: float = 1e4, seed: int = WORST, ell: int = ELL) -> Result:
    coarse = Basis(MeshQuad().refined(LEVEL), ElementQuad1())
    lod = LOD(coarse, refine=REFINE, ell=ell)
    a = crossing_channels(lod.fine.mesh, contrast, seed)
    A, F = diffusion.assemble(lod.fine, a=a[:, None]), unit_load.assemble(lod.fine)
    fine = solve(*condense(A, F, D=lod.fine.get_dofs()), solver=solver_direct())

    P, D = lod.prolongation, coarse.get_dofs()
    S = lod.assemble(diffusion, a=a)
    B = lod.basis(diffusion, a=a)  # column j: (1 - Q) lambda_j
    solutions = {
        "coarse FEM": P @ solve(*condense(P.T @ A @ P, P.T @ F, D=D)),
        "Petrov-Galerkin LOD": B @ solve(*condense(S, P.T @ F, D=D)),
        "Galerkin LOD": B @ solve(*condense(B.T @ A @ B, B.T @ F, D=D)),
    }
    errors = {name: energy_error(u, fine, lod.fine, a, relative=True) for name, u in solutions.items()}
    i = coarse.complement_dofs(D)
    inner = S[i][:, i].toarray()
    return Result(lod, a, fine, solutions, errors, bool(np.linalg.eigvalsh(inner + inner.T)[0] > 0))


def sweep(contrasts=CONTRASTS, seeds=SEEDS, ell: int = ELL) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Energy errors by method, ``(contrasts, draws)``, and in how many draws S is positive definite."""
    results = [[compute(contrast, seed, ell) for seed in seeds] for contrast in contrasts]
    errors = {name: np.array([[r.errors[name] for r in row] for row in results]) for name in METHODS}
    return errors, np.array([sum(r.definite for r in row) for row in results])


def visualize(result: Result | None = None, errors: dict[str, np.ndarray] | None = None, contrasts=CONTRASTS):
    """Coefficient and solutions of the worst draw, and the energy errors of all draws over the contrast."""
    result = compute() if result is None else result
    errors = sweep(contrasts)[0] if errors is None else errors
    fine, shown = result.lod.fine, {"u": result.fine, **{name: result.solutions[name] for name in METHODS[1:]}}
    norm = shared_norm(result.fine, result.solutions["Galerkin LOD"])  # Petrov-Galerkin may leave any scale: it is cut
    with figure(15, 9) as picture:
        axes = picture.subplot_mosaic([["a", *shown], ["errors"] * 4], height_ratios=(1.25, 1))
        colour_bar(axes["a"], plot_cells(axes["a"], fine.mesh, result.a, norm=shared_norm(result.a)), "$a$")
        axes["a"].set_title("coefficient")
        for name, y in shown.items():
            drawn = plot_nodal(axes[name], fine, y, norm=norm)
            error = "" if name == "u" else f"\nerror {result.errors[name]:.2f} in energy"
            axes[name].set_title("fine solution" if name == "u" else f"{name}{error}")
        colour_bar(axes[METHODS[-1]], drawn, "$u$", extend="both")
        for (name, values), style in zip(errors.items(), ("s-", "o-", "D-"), strict=True):
            axes["errors"].loglog(contrasts, np.median(values, axis=1), style, label=name)
            axes["errors"].fill_between(contrasts, values.min(axis=1), values.max(axis=1), alpha=0.2)
        axes["errors"].axhline(1, color="0.4", ls=":", label="null solution $u = 0$")
        count = next(iter(errors.values())).shape[1]
        axes["errors"].set(title=f"median and range of {count} draws", xlabel="contrast $c$")
        axes["errors"].set_ylabel("relative energy error")
        grid(axes["errors"])
        axes["errors"].legend()
    return picture


if __name__ == "__main__":
    errors, definite = sweep()
    print(f"relative energy error, median and worst of {len(SEEDS)} draws, ell = {ELL}")
    print("contrast", *(f"{name:>20s}" for name in METHODS), "  S definite in")
    for k, contrast in enumerate(CONTRASTS):
        row = (f"{np.median(e[k]):10.2f}{e[k].max():10.2f}" for e in errors.values())
        print(f"{contrast:8.0e}", *row, f"{definite[k]:8d} of {len(SEEDS)}")
    visualize(errors=errors).savefig("high_contrast.png")
    at = CONTRASTS.index(1e5)
    print("worst energy error at contrast 1e5:", ", ".join(f"{name} {e[at].max():.2f}" for name, e in errors.items()))
