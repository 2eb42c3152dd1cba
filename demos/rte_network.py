r"""Radiative transfer by a network on the graph of an H²-matrix
============================================================

Networks between the products of an H²-matrix learn the light in a slab, on three grids, beside regressions.

The mean intensity u of light in a slab with scattering :math:`\mu_s(x)`, absorption :math:`\mu_a = 0.2` and a unit
source solves

.. math::

    u(x) = \tfrac12 \int_0^1 E_1(|\tau(x) - \tau(y)|) \, (\mu_s(y) u(y) + 1) \, dy, \qquad
    \tau(x) = \int_0^x (\mu_s + \mu_a) .

The map :math:`\mu_s \mapsto u` is not linear. FMM-Net (Sushnikova, Kharyuk, Oseledets) puts small networks in the place
of the blocks of an H² product,

.. math:: w = G_0[q] + \sum_l (U_L \cdots U_l) \, G_l[(V_l \cdots V_L) q] .

``DeepFMMNet`` puts the networks between H² products,

.. math:: w = U (I + A_3) F_2 (I + A_2) F_1 (I + A_1) V q ,

:math:`A_k` linear H² products on four moments a leaf, :math:`F_k` a network on each leaf. It has two thirds of the
parameters. Both cost O(N), and the residual does not grow with N. The samples have five parameters, so a kernel ridge
regression on principal components does better in a second: on such samples no network is needed.

The settings are short; ``demos/benchmarks/fmm_tables.py`` has those of the paper.
"""

from dataclasses import dataclass

import numpy as np

from skfem_ml.baselines import solver_affine_ridge, solver_constant, solver_kernel_ridge
from skfem_ml.compare import Table, compare
from skfem_ml.fmm import Recipe, solver_deep, solver_fmmnet
from skfem_ml.pictures import figure, grid
from skfem_ml.problems import OperatorSamples
from skfem_ml.reference import transfer_samples

SIZES, SAMPLES, STEPS = (80, 160, 320), 1800, 600
DEEP, PAPER, KERNEL, AFFINE = "DeepFMMNet", "FMMNet of the paper", "PCA + kernel ridge", "affine ridge"
SEED = 0


@dataclass
class Result:
    """Samples and table of every N, from small to large."""

    data: list[OperatorSamples]
    tables: list[Table]

    @property
    def sizes(self) -> list[int]:
        return [data.points.shape[1] for data in self.data]

    def residuals(self, name: str) -> list[float]:
        """Mean relative residual on test samples, by N."""
        return [table[name].error for table in self.tables]


def compute(sizes: tuple[int, ...] = SIZES, samples: int = SAMPLES, steps: int = STEPS, seed: int = SEED) -> Result:
    result = Result([], [])
    for N in sizes:
        parts = {"validation": samples // 12, "test": samples // 3}
        data = transfer_samples(samples, N, np.random.default_rng(seed), **parts)
        solvers = {
            "constant": solver_constant(),
            AFFINE: solver_affine_ridge(),
            KERNEL: solver_kernel_ridge(samples, components=(16, 24), lengths=(1.0,), ridges=(1e-6,)),
            PAPER: solver_fmmnet(Recipe(steps, optimiser="adam", every=20), offset=0.2, seed=seed),
            DEEP: solver_deep(Recipe(steps, every=20), seed=seed),
        }
        result.data.append(data)
        result.tables.append(compare(data, solvers))
    return result


def visualize(result: Result | None = None):
    """The worst test sample, the errors in it, residuals against iteration and against N."""
    result = compute() if result is None else result
    solutions, names = result.tables[-1].solutions, [AFFINE, KERNEL, PAPER, DEEP]
    colours = {name: f"C{k}" for k, name in enumerate(names)} | {"constant": "0.5"}
    x, (q, w) = result.data[-1].points[0], result.data[-1].part("test")
    outputs = {name: solutions[name](q) for name in names}
    worst = int((np.linalg.norm(outputs[DEEP] - w, axis=1) / np.linalg.norm(w, axis=1)).argmax())
    with figure(12.5, 9.6) as picture:
        (sample, error), (loss, size) = picture.subplots(2, 2)
        sample.plot(x, q[worst] / q[worst].max(), color="0.5", ls=":", label=f"$\\mu_s$ / {q[worst].max():.2f}")
        sample.plot(x, w[worst], color="0.75", lw=5, label="$u$, exact")
        for name, style in ((AFFINE, "--"), (PAPER, "-."), (DEEP, "-")):
            sample.plot(x, outputs[name][worst], style, color=colours[name])
        sample.set(title=f"worst of {len(q)} test samples of DeepFMMNet, $N = {len(x)}$", xlabel="$x$", ylabel="$u$")
        sample.legend()
        for name in names:
            error.semilogy(x, np.abs(outputs[name][worst] - w[worst]) + 1e-9, color=colours[name], lw=1.2)
        error.set(title="error in this sample", xlabel="$x$", ylabel="$|w - u|$")
        for k, table in enumerate(result.tables):
            for name in (PAPER, DEEP):
                history, label = table.solutions[name].history, f"$N = {result.sizes[k]}$" if name == DEEP else None
                loss.semilogy(history.steps, history.losses, ("-", "--", ":")[k % 3], color=colours[name], label=label)
        loss.set(title="training", xlabel="iteration", ylabel="mean relative residual, validation")
        loss.legend()
        for name in ("constant", *names):
            size.loglog(result.sizes, result.residuals(name), "-o", color=colours[name], label=name)
        size.set(title="error against $N$", xlabel="$N$", ylabel="mean relative residual, test")
        size.set_xticks(result.sizes, [str(N) for N in result.sizes])
        size.minorticks_off()
        for axes in (error, loss, size):
            grid(axes)
        picture.legend(*size.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return picture


if __name__ == "__main__":
    result = compute()
    for table in result.tables:
        print(f"{table}\n")
    visualize(result).savefig("rte_network.png")
    last = result.tables[-1]
    told = ", ".join(f"{name} {last[name].error:.1e}" for name in ("constant", AFFINE, PAPER, DEEP, KERNEL))
    print(f"mean residual at N = {result.sizes[-1]}: {told}")
