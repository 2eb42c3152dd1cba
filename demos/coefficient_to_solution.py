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
from skfem_ml.problems import OperatorSamples
from skfem_ml.reference import coefficient_samples

SAMPLES, STEPS, LEAF, RANK = 1500, 400, 16, 6
CONSTANT, AFFINE, KERNEL, NET, DEEP = "constant", "affine ridge", "PCA + kernel ridge", "FMMNet", "DeepFMMNet"


@dataclass
class Result:
    """Samples and table by domain."""

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


def compute(refinements: int = 4, samples: int = SAMPLES, steps: int = STEPS, seed: int = 0) -> Result:
    meshes = {
        "disk": MeshTri.init_circle(refinements),
        "L-shape": MeshTri.init_lshaped().refined(refinements),
    }
    result = Result({}, {})
    for domain, mesh in meshes.items():
        rng, parts = np.random.default_rng(seed), {"validation": samples // 10, "test": samples // 5}
        data = coefficient_samples(Basis(mesh, ElementTriP1()), samples, rng, **parts)
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
    """For each domain a test sample of middling error: coefficient, solution, and the errors of two methods."""
    from matplotlib.figure import Figure

    result = compute() if result is None else result
    figure = Figure(figsize=(16, 7), layout="constrained")
    for row, (domain, data) in zip(figure.subplots(len(result.data), 4), result.data.items(), strict=True):
        q, w = data.part("test")
        solutions = result.tables[domain].solutions
        errors = {name: solutions[name](q) - w for name in (AFFINE, DEEP)}
        sizes = np.linalg.norm(errors[DEEP], axis=1) / np.linalg.norm(w, axis=1)
        k = int(np.argsort(sizes)[len(sizes) // 2])
        limit = max(float(np.abs(e[k]).max()) for e in errors.values())
        diverging = {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
        panels = [
            (np.exp(q[k]), f"{domain}: coefficient", "a", {"cmap": "cividis"}),
            (w[k], "solution", "u", {"cmap": "viridis"}),
            *((e[k], f"error, {name}", "w - u", diverging) for name, e in errors.items()),
        ]
        for ax, (values, title, label, options) in zip(row, panels, strict=True):
            drawn = ax.scatter(*data.points, c=values, s=24_000 / len(values), marker="s", linewidths=0, **options)
            figure.colorbar(drawn, ax=ax, label=label, shrink=0.7)
            ax.set(title=title, xlabel="x", ylabel="y", aspect="equal")
    return figure


if __name__ == "__main__":
    result = compute()
    for domain, table in result.tables.items():
        print(f"{domain}, {result.data[domain].points.shape[1]} nodes\n{table}\n")
    visualize(result).savefig("coefficient_to_solution.png", dpi=150)
