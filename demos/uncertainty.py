r"""Uncertainty of a solution whose coefficient is random: 200 fields by a surrogate, by exact LOD and by a null model.

On the unit square -div(a grad u) = 1, u = 0 on the boundary, with a drawn from one of the paper's families on 256 x 256
cells. Sought are mean and standard deviation of u_h at every coarse node (32 x 32 elements), and of two functionals,

    q_1(u) = int u dx,    q_2(u) = u(1/2, 1/2).

From N draws a mean is known up to its Monte Carlo error sigma / sqrt(N). A model in the place of exact LOD adds a bias,
mean(q(u^) - q(u)) over the same draws, which does no harm as long as it is well below that error. Three models see
the same draws: exact LOD, the surrogate (`Surrogate.assemble_batch`, ten fields in a forward pass), and coarse finite
elements with the geometric mean of a on every element.

Without exact solutions the bias is not known, but ten of them tell: the differences scatter so little that
mean(q(u^)) + mean over ten draws of (q(u) - q(u^)) has next to none. The last row of the table does that (a control
variate).

Run: python -m demos.uncertainty
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix
from skfem import MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.coefficients.families import paper_field
from skfem_ml.lod import LOD, Surrogate
from skfem_ml.metrics import l2_error
from skfem_ml.problems import diffusion

MODEL = "diffusion-q1-ell2-n8"
LEVEL, REFINE = 5, 8
FAMILIES = ("multiscale", "iid-8")
COUNT, BATCH = 200, 10
FIRST, SEED = 1000, 0  # numbers beyond those that training has seen
EXACT, SURROGATE, NULL = "exact LOD", "surrogate", "coarse FEM, geometric mean"
Assemble = Callable[[ndarray], list[csr_matrix]]


class Sample(NamedTuple):
    """Solutions ``(fields, coarse.N)`` of one family, and CPU seconds of assembly and solution, by model."""

    lod: LOD
    field: ndarray
    solutions: dict[str, ndarray]
    seconds: dict[str, float]

    def functionals(self, model: str) -> ndarray:
        """The integral of u and its value in the middle, ``(2, fields)``."""
        u, x = self.solutions[model], self.lod.coarse.doflocs
        middle = np.flatnonzero(np.isclose(x, 0.5).all(axis=0))[0]
        return np.stack([u @ unit_load.assemble(self.lod.coarse), u[:, middle]])

    def bias(self, model: str) -> ndarray:
        """mean(q(u^) - q(u)) in units of the Monte Carlo error of mean(q(u)), ``(2,)``."""
        exact = self.functionals(EXACT)
        return (self.functionals(model) - exact).mean(axis=1) / self.monte_carlo(exact)

    def corrected(self, few: int = 10) -> ndarray:
        """The same for the surrogate's mean plus what ``few`` exact solutions say of its bias, ``(2,)``."""
        exact = self.functionals(EXACT)
        gap = self.functionals(SURROGATE) - exact
        return (gap.mean(axis=1) - gap[:, :few].mean(axis=1)) / self.monte_carlo(exact)

    def monte_carlo(self, q: ndarray) -> ndarray:
        """sigma / sqrt(N), ``(2,)``."""
        return q.std(axis=1, ddof=1) / np.sqrt(q.shape[1])

    def errors(self, model: str) -> tuple[float, float]:
        """Relative L2 errors of the mean and of the standard deviation as functions on the square."""
        (mean, spread), (m, s) = moments(self.solutions[EXACT]), moments(self.solutions[model])
        return tuple(l2_error(u, v, self.lod.coarse, relative=True) for u, v in ((m, mean), (s, spread)))

    def sampling(self) -> float:
        """The Monte Carlo error of the mean as a function on the square, relative in L2."""
        mean, spread = moments(self.solutions[EXACT])
        coarse, count = self.lod.coarse, len(self.solutions[EXACT])
        size = l2_error(spread, np.zeros_like(mean), coarse) / l2_error(mean, np.zeros_like(mean), coarse)
        return size / count**0.5


def moments(u: ndarray) -> tuple[ndarray, ndarray]:
    """Mean and standard deviation over the fields."""
    return u.mean(axis=0), u.std(axis=0, ddof=1)


def compute(family: str = FAMILIES[0], count: int = COUNT, level: int = LEVEL) -> Sample:
    """Draw the fields and solve with every model."""
    lod = LOD(MeshQuad().refined(level), refine=REFINE, ell=2)
    surrogate = Surrogate.load(MODEL)
    cells = lod.space.coefficient_refinement.cells
    models: dict[str, Assemble] = {
        EXACT: lambda fields: [lod.assemble(diffusion, a=a) for a in fields],
        SURROGATE: lambda fields: surrogate.assemble_batch(lod, fields),
        NULL: lambda fields: [
            diffusion.assemble(lod.coarse, a=np.exp(np.log(a[cells]).mean(axis=1))[:, None]) for a in fields
        ],
    }
    solutions: dict[str, list[ndarray]] = {name: [] for name in models}
    seconds = dict.fromkeys(models, 0.0)
    for fields in batches(lod, family, count):
        for name, assemble in models.items():
            begin = time.process_time()
            solutions[name] += solved(lod, assemble(fields))
            seconds[name] += time.process_time() - begin
    return Sample(lod, fields[-1], {name: np.stack(u) for name, u in solutions.items()}, seconds)


def batches(lod: LOD, family: str, count: int) -> Iterator[ndarray]:
    """Draws of the family ``(fields, nelems)``, ten at a time, in all ``count``."""
    for first in range(0, count, BATCH):
        numbers = range(FIRST + first, FIRST + min(first + BATCH, count))
        yield np.stack([paper_field(lod.coefficient_mesh, family, number, SEED) for number in numbers])


def solved(lod: LOD, matrices: list[csr_matrix]) -> list[ndarray]:
    """u_h for load 1 and zero boundary values."""
    b, D = unit_load.assemble(lod.coarse), lod.coarse.get_dofs()
    return [solve(*condense(S, b, D=D)) for S in matrices]


def report(sample: Sample) -> str:
    """The table of one family."""
    q = sample.functionals(EXACT)
    exact = ", ".join(
        f"{mean:.6f} +- {error:.1e} (sigma {spread:.1e})"
        for mean, error, spread in zip(q.mean(axis=1), sample.monte_carlo(q), q.std(axis=1, ddof=1), strict=True)
    )
    lines = [
        f"integral and middle value, exact LOD: {exact}",
        f"Monte Carlo error of the mean as a function: {sample.sampling():.1e} in L2",
        f"{'':28s} bias / Monte Carlo error   L2 error of mean, of deviation   CPU s",
    ]
    for name, seconds in sample.seconds.items():
        (one, two), (mean, spread) = sample.bias(name), sample.errors(name)
        lines.append(f"{name:28s} {one:+10.1e} {two:+10.1e}     {mean:10.1e} {spread:10.1e}          {seconds:7.1f}")
    one, two = sample.corrected()
    return "\n".join([*lines, f"{'surrogate and ten exact':28s} {one:+10.1e} {two:+10.1e}"])


def visualize(samples: dict[str, Sample] | None = None):
    """A row for each family: a field, mean and deviation by the surrogate, bias of both models against the error."""
    from matplotlib.figure import Figure

    samples = {name: compute(name) for name in FAMILIES} if samples is None else samples
    figure = Figure(figsize=(15, 3.6 * len(samples)), layout="constrained")
    for row, (family, sample) in zip(figure.subplots(len(samples), 4, squeeze=False), samples.items(), strict=True):
        _draw_row(figure, row, family, sample)
    return figure


def _draw_row(figure, row, family: str, sample: Sample) -> None:
    from skfem_ml.pictures import plot_cells, plot_nodal

    mean, spread = moments(sample.solutions[SURROGATE])
    drawn = plot_cells(row[0], sample.lod.coefficient_mesh, sample.field)
    figure.colorbar(drawn, ax=row[0], label="$a$")
    row[0].set_title(f"one draw of {family}")
    for axes, values, what in ((row[1], mean, "mean"), (row[2], spread, "standard deviation")):
        figure.colorbar(plot_nodal(axes, sample.lod.coarse, values), ax=axes, label=f"{what} of $u_h$")
        axes.set_title(f"{what},\nsurrogate, {len(sample.solutions[EXACT])} draws")
    exact = sample.functionals(EXACT)[0]
    for name, marker in ((NULL, "x"), (SURROGATE, ".")):
        row[3].plot(exact, sample.functionals(name)[0] / exact - 1, marker, label=name)
    error = sample.monte_carlo(sample.functionals(EXACT))[0] / exact.mean()
    row[3].axhspan(-error, error, color="0.85", label=r"$\pm \sigma / \sqrt{N}$")
    row[3].set(title="every draw", xlabel=r"$q_1(u_h) = \int u_h$, exact LOD", ylabel="relative error of $q_1$")
    row[3].set_yscale("symlog", linthresh=1e-4)
    row[3].grid(alpha=0.3)
    row[3].legend(fontsize="small")


if __name__ == "__main__":
    outcomes = {}
    for family in FAMILIES:
        outcomes[family] = compute(family)
        print(f"{family}, {COUNT} draws\n{report(outcomes[family])}", flush=True)
    visualize(outcomes).savefig("uncertainty.png", dpi=130)
