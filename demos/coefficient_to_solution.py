r"""From the coefficient to the solution
====================================

Networks on finite element nodes learn the map from a coefficient to the solution, on a disk and on an L-shape.

.. math:: -\nabla \cdot (a \nabla u) = 1, \qquad u = 0 \text{ on the boundary}, \qquad \log a = 0.7 \, Z ,

Z a Gaussian field of correlation length 0.3. The map :math:`\log a \mapsto u` is not linear, and lives on the free
nodes of a scikit-fem mesh, ``basis.doflocs``: there is no grid for a convolution or an FFT, but there is a cluster
tree.

``FMMNet.from_data`` is the ridge regression of the samples, compressed to an H²-matrix, with a correction of two
block-sparse layers beside every block that starts at zero; ``DeepFMMNet`` has small networks on the leaves between H²
products. Beside them stand what costs nothing: the mean of the training solutions, affine ridge regression, and kernel
ridge regression on principal components, all tuned on the same validation samples.

One finite element solution takes milliseconds here, so none of these is needed for speed; they are cheap derivatives
of u by a, and stand where the solver is dear. The residual is :math:`|w - u| / |u|`, the mean over test samples: on the
disk 0.31 (constant), 0.092 (affine ridge), 0.030 (FMMNet), 0.040 (DeepFMMNet), 0.021 (kernel ridge); on the L-shape
0.37, 0.11, 0.034, 0.037 and 0.028.
"""

from dataclasses import dataclass

import numpy as np
import torch
from skfem import Basis, ElementTriP1, MeshTri

from skfem_ml.baselines import solver_affine_ridge, solver_constant, solver_kernel_ridge
from skfem_ml.compare import Table, compare
from skfem_ml.fmm import FMMNet, H2Skeleton, Recipe, solver_deep
from skfem_ml.fmm.networks import learn
from skfem_ml.pictures import colour_bar, figure, plot_cells, plot_error, plot_nodal, shared_norm
from skfem_ml.problems import OperatorSamples
from skfem_ml.reference import coefficient_samples

SAMPLES, STEPS, LEAF, RANK = 1500, 400, 16, 6
SEED = 0
CONSTANT, AFFINE, KERNEL, NET, DEEP = "constant", "affine ridge", "PCA + kernel ridge", "FMMNet", "DeepFMMNet"


@dataclass
class Result:
    """Basis, samples and table by domain."""

    bases: dict[str, Basis]
    data: dict[str, OperatorSamples]
    tables: dict[str, Table]

    def residuals(self, domain: str) -> dict[str, float]:
        """Mean relative residual on test samples, by method."""
        return {row.name: row.error for row in self.tables[domain].rows}


def solver_linear_start(recipe: Recipe, *, seed: int = 0):
    """FMMNet from the compressed ridge regression of the training samples."""

    def solver(problem: OperatorSamples):
        generator = torch.Generator().manual_seed(seed)
        skeleton = H2Skeleton(problem.points, LEAF)
        net = FMMNet.from_data(skeleton, *problem.part("train"), rank=RANK, ridge=1e-4, generator=generator)
        return learn(net, problem, recipe, seed=seed)

    return solver


def compute(refinements: int = 4, samples: int = SAMPLES, steps: int = STEPS, seed: int = SEED) -> Result:
    meshes = {
        "disk": MeshTri.init_circle(refinements),
        "L-shape": MeshTri.init_lshaped().refined(refinements),
    }
    result = Result({}, {}, {})
    for domain, mesh in meshes.items():
        rng, parts = np.random.default_rng(seed), {"validation": samples // 10, "test": samples // 5}
        result.bases[domain] = Basis(mesh, ElementTriP1())
        data = coefficient_samples(result.bases[domain], samples, rng, **parts)
        solvers = {
            CONSTANT: solver_constant(),
            AFFINE: solver_affine_ridge((1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
            KERNEL: solver_kernel_ridge(
                components=(16, 32, 64), lengths=(1.0, 2.0, 4.0, 8.0), ridges=(1e-8, 1e-6, 1e-4, 1e-2)
            ),
            NET: solver_linear_start(Recipe(steps, rate=5e-3, every=20), seed=seed),
            DEEP: solver_deep(Recipe(steps, rate=1e-2, every=20), leaf=LEAF, rank=RANK, seed=seed),
        }
        result.data[domain] = data
        result.tables[domain] = compare(data, solvers)
    return result


def visualize(result: Result | None = None):
    """For each domain a test sample of middling error: coefficient, solution, errors of three methods on one scale."""
    result = compute() if result is None else result
    with figure(18, 3.9 * len(result.data)) as picture:
        for row, (domain, data) in zip(picture.subplots(len(result.data), 5), result.data.items(), strict=True):
            basis, (q, w) = result.bases[domain], data.part("test")
            inner, solutions = basis.complement_dofs(basis.get_dofs()), result.tables[domain].solutions
            errors = {name: abs(solutions[name](q) - w) for name in (AFFINE, DEEP, KERNEL)}
            sizes = {name: np.linalg.norm(e, axis=1) / np.linalg.norm(w, axis=1) for name, e in errors.items()}
            k = int(np.argsort(sizes[DEEP])[len(w) // 2])
            norm = shared_norm(*(e[k] for e in errors.values()), log=True, decades=3)

            def whole(values: np.ndarray, basis=basis, inner=inner) -> np.ndarray:
                y = basis.zeros()
                y[inner] = values
                return y

            # On the boundary the samples say nothing of a: triangles that touch it are left white.
            a = np.where(
                np.isin(basis.mesh.t, inner).all(axis=0), np.exp(whole(q[k])[basis.mesh.t].mean(axis=0)), np.nan
            )
            drawn = plot_cells(row[0], basis.mesh, a, norm=shared_norm(np.exp(q[k])))
            colour_bar(row[0], drawn, "$a$")
            row[0].set_title(f"{domain}: coefficient")
            colour_bar(row[1], plot_nodal(row[1], basis, whole(w[k])), "$u$")
            row[1].set_title("solution")
            for ax, (name, e) in zip(row[2:], errors.items(), strict=True):
                drawn = plot_error(ax, basis, whole(e[k]), norm=norm)
                ax.set_title(f"{name},\n{sizes[name][k]:.1%} off")
            colour_bar(row[-1], drawn, "$|w - u|$", extend="min")
    return picture


if __name__ == "__main__":
    result = compute()
    for domain, table in result.tables.items():
        print(f"{domain}, {result.data[domain].points.shape[1]} nodes\n{table}\n")
    visualize(result).savefig("coefficient_to_solution.png")
    for domain in result.tables:
        told = ", ".join(f"{name} {error:.2g}" for name, error in result.residuals(domain).items())
        print(f"mean residual on the {domain}: {told}")
