r"""Uncertainty: many random coefficients
=====================================

Mean and deviation of the solution for 200 random coefficients: what to take for so many fields, and who wins.

On the unit square :math:`-\nabla \cdot (a \nabla u) = 1`, u = 0 on the boundary, with a drawn from one of the paper's
families on 256 x 256 cells, 8 x 8 in each of 32 x 32 coarse elements. Sought are the mean of u, and of two functionals,

.. math:: q_1(u) = \int u \; dx, \qquad q_2(u) = u(\tfrac12, \tfrac12) .

From N draws a mean is known up to its Monte Carlo error :math:`\sigma / \sqrt N`, here for N = 200. A model adds a
bias, the mean of :math:`q(\hat u) - q(u)`, which does no harm as long as it is well below that error; as the
differences scatter little, ten draws tell it. The truth u is the fine finite element solution. In its place one may
take one full-multigrid pass; :math:`u_h` on the coarse mesh by exact LOD, or by the surrogate (ten fields in a forward
pass); and, as a null model, coarse finite elements with the geometric mean of a on every element. Any of them may be
corrected by few fine solutions (a control variate): the mean of :math:`q(\hat u)` plus the mean over ten draws of
:math:`q(u) - q(\hat u)` has no bias, but an error of its own, "with 10 fine".

Seen: multigrid wins. A pass takes a quarter of the surrogate's time, and is off by .3 Monte Carlo errors or less. On
the roughest family exact LOD is off by 3 in the integral and 12 in the middle, and so is all that stands for it (the
surrogate adds less than 1); with multiscale fields, whose sigma is 40 times as large, by .07 and .4.

With a truth on 1024 x 1024 cells (``demos/benchmarks/uncertainty.py``) a pass takes 3.5 times as long as the surrogate
and is off by .05, the surrogate by 10; ten fine solutions leave .5 of that, and are the way to go: 50 s in place of 120
for 200 fields; multigrid on the cells of a alone and ten fine solutions leave .8, in 33 s. Sigma is of few draws here,
so that all these units are known to a quarter.
"""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix
from skfem import Basis, MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.coefficients.families import paper_field
from skfem_ml.lod import LOD, GeometricMean, LocalMap, Surrogate
from skfem_ml.metrics import l2_error
from skfem_ml.pictures import colour_bar, figure, grid, plot_cells, plot_nodal
from skfem_ml.problems import diffusion
from skfem_ml.solvers import Multigrid

MODEL = "diffusion-q1-ell2-n{}"
LEVEL, CELLS = 5, 8
STUDY = 200  # N
FAMILIES, COUNT = ("multiscale", "iid-8"), 10  # draws a family
BATCH, FEW = 10, 10
FIRST, SEED = 1000, 0  # numbers beyond those that training has seen
FINE, PASS, EXACT = "multigrid to 1e-6 (truth)", "multigrid, one pass", "exact LOD"
SURROGATE, NULL = "surrogate", "coarse FEM, geometric mean"
Method = Callable[[ndarray], ndarray]  # fields (k, cells) to solutions (k, N) on the coarse or the fine basis


class Sample(NamedTuple):
    """Solutions ``(fields, N)`` of one family, and CPU seconds of assembly and solution, by method."""

    lod: LOD
    field: ndarray
    solutions: dict[str, ndarray]
    seconds: dict[str, float]

    @property
    def count(self) -> int:
        """Fields that were drawn."""
        return len(self.solutions[FINE])

    def basis(self, method: str) -> Basis:
        """The basis of the solutions."""
        return self.lod.coarse if self.solutions[method].shape[1] == self.lod.coarse.N else self.lod.fine

    def functionals(self, method: str) -> ndarray:
        """The integral of u and its value in the middle, ``(2, fields)``."""
        u, basis = self.solutions[method], self.basis(method)
        middle = np.flatnonzero(np.isclose(basis.doflocs, 0.5).all(axis=0))[0]
        return np.stack([u @ unit_load.assemble(basis), u[:, middle]])

    def bias(self, method: str, against: str = FINE) -> ndarray:
        """mean(q(u^) - q(u)) in units of the Monte Carlo error of N draws, ``(2,)``."""
        gap = self.functionals(method) - self.functionals(against)
        return gap.mean(axis=1) / self.monte_carlo(self.functionals(FINE))

    def corrected(self, method: str, few: int = FEW) -> ndarray:
        """The error of the mean of N draws plus what ``few`` fine solutions of them say of its bias, in the same units,
        ``(2,)``.
        """
        truth = self.functionals(FINE)
        gap = (self.functionals(method) - truth).std(axis=1, ddof=1)
        return gap * np.sqrt(1 / few - 1 / STUDY) / self.monte_carlo(truth)

    def monte_carlo(self, q: ndarray) -> ndarray:
        """sigma / sqrt(N), ``(2,)``."""
        return q.std(axis=1, ddof=1) / STUDY**0.5

    def errors(self, method: str, against: str = FINE) -> tuple[float, float]:
        """Relative L2 errors of the mean and of the standard deviation as functions on the square."""
        (mean, spread), (m, s) = (moments(self._on(self.basis(against), name)) for name in (against, method))
        return tuple(l2_error(u, v, self.basis(against), relative=True) for u, v in ((m, mean), (s, spread)))

    def _on(self, basis: Basis, method: str) -> ndarray:
        """The solutions as functions on this basis, or a finer one that they have."""
        u = self.solutions[method]
        return u if u.shape[1] == basis.N else (self.lod.space.prolongation @ u.T).T

    def sampling(self) -> float:
        """The Monte Carlo error of the mean as a function on the square, relative in L2."""
        mean, spread = moments(self.solutions[FINE])
        zero = np.zeros_like(mean)
        return l2_error(spread, zero, self.lod.fine) / l2_error(mean, zero, self.lod.fine) / STUDY**0.5


def moments(u: ndarray) -> tuple[ndarray, ndarray]:
    """Mean and standard deviation over the fields."""
    return u.mean(axis=0), u.std(axis=0, ddof=1)


def compute(
    family: str = "iid-8", n: int = CELLS, count: int = COUNT, level: int = LEVEL,
    choose: Callable[[LOD], dict[str, Method]] | None = None,
) -> Sample:  # fmt: skip
    """Draw the fields and solve by every method, those of `methods` or others."""
    lod = LOD(MeshQuad().refined(level), refine=n, cells=CELLS, ell=2)
    chosen = (choose or methods)(lod)
    solutions: dict[str, list[ndarray]] = {name: [] for name in chosen}
    seconds = dict.fromkeys(chosen, 0.0)
    for fields in batches(lod, family, count):
        for name, method in chosen.items():
            begin = time.process_time()
            solutions[name].append(method(fields))
            seconds[name] += time.process_time() - begin
    return Sample(lod, fields[-1], {name: np.concatenate(u) for name, u in solutions.items()}, seconds)


def batches(lod: LOD, family: str, count: int) -> Iterator[ndarray]:
    """Draws of the family ``(fields, nelems)``, ten at a time, in all ``count``."""
    for first in range(0, count, BATCH):
        numbers = range(FIRST + first, FIRST + min(first + BATCH, count))
        yield np.stack([paper_field(lod.coefficient_mesh, family, number, SEED) for number in numbers])


def methods(lod: LOD) -> dict[str, Method]:
    """What may be taken; of multigrid what depends on the mesh alone is made once, and every field updates it."""
    surrogate, F, own = Surrogate.load(MODEL.format(lod.space.n)), unit_load.assemble(lod.fine), levels(lod)
    return {
        FINE: lambda fields: np.stack([own(a).complete(F, tol=1e-6).u for a in fields]),
        PASS: lambda fields: np.stack([own(a).fmg(F) for a in fields]),
        EXACT: by(diffusion, lod),
        SURROGATE: lambda fields: solved(lod, surrogate.assemble_batch(lod, fields)),
        NULL: by(GeometricMean(), lod),
    }


def levels(lod: LOD) -> Callable[[ndarray], Multigrid]:
    """Multigrid on the fine mesh, by coefficient."""
    first, cell = Multigrid(lod.fine, diffusion, a=1.0), lod.space.coefficient_cell
    return lambda a: first.update(a=a[cell])


def by(form: LocalMap, lod: LOD) -> Method:
    """u_h with the matrices of a form or another local map."""
    return lambda fields: solved(lod, [lod.assemble(form, a=a) for a in fields])


def solved(lod: LOD, matrices: list[csr_matrix]) -> ndarray:
    b, D = unit_load.assemble(lod.coarse), lod.coarse.get_dofs()
    return np.stack([solve(*condense(S, b, D=D)) for S in matrices])


def visualize(samples: dict[str, Sample] | None = None):
    """A row for each family: a field, mean and deviation by the surrogate, what every draw is off by."""
    samples = {family: compute(family) for family in FAMILIES} if samples is None else samples
    with figure(18.5, 4.6 * len(samples)) as picture:
        for row, (title, sample) in zip(picture.subplots(len(samples), 4, squeeze=False), samples.items(), strict=True):
            mean, spread = moments(sample.solutions[SURROGATE])
            drawn = plot_cells(row[0], sample.lod.coefficient_mesh, sample.field)
            colour_bar(row[0], drawn, "$a$")
            row[0].set_title(f"one draw of {title}")
            off, what = sample.errors(SURROGATE), ("mean", "standard deviation")
            for axes, values, name, error in zip(row[1:3], (mean, spread), what, off, strict=True):
                colour_bar(axes, plot_nodal(axes, sample.lod.coarse, values), f"{name} of $u_h$")
                axes.set_title(f"{name}, surrogate,\n{sample.count} draws, {100 * error:.2g} % off")
            draw_biases(row[3], sample)
    return picture


def draw_biases(axes, sample: Sample) -> None:
    """Seconds a field against the bias of q_1, and the Monte Carlo error."""
    names = [name for name in sample.seconds if name != FINE]
    for k, name in enumerate(names):
        seconds = sample.seconds[name] / sample.count
        axes.loglog(seconds, abs(sample.bias(name)[0]), "osD^"[k], color=f"C{k}", ms=9, label=name)
    axes.axhspan(1e-9, 1, color="0.92", zorder=0, label=r"below $\sigma / \sqrt{200}$")
    axes.axvline(sample.seconds[FINE] / sample.count, color="black", linewidth=1, label=FINE)
    axes.set(title="bias of $q_1$", xlabel="CPU s a field", ylabel="|bias| / Monte Carlo error", ylim=(3e-5, 1e3))
    grid(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)


if __name__ == "__main__":
    result = {}
    for family in FAMILIES:
        result[family] = sample = compute(family)
        print(f"{family}, {sample.count} draws: bias of q_1, q_2 in Monte Carlo errors, with {FEW} fine; CPU s a field")
        for name, seconds in sample.seconds.items():
            bias, left = (
                " ".join(f"{x:+8.1e}" for x in found) for found in (sample.bias(name), sample.corrected(name))
            )
            print(f"{name:28s}{bias}, {left}; {seconds / sample.count:.3f}", flush=True)
    visualize(result).savefig("uncertainty.png")
    rough = result["iid-8"]
    told = [f"{name} {abs(rough.bias(name)[0]):.2g} in {rough.seconds[name] / rough.count:.2f} s" for name in
            (PASS, EXACT, SURROGATE, NULL)]  # fmt: skip
    print(f"bias of the integral in Monte Carlo errors, rough fields: {', '.join(told)}")
