r"""Uncertainty: many random coefficients
=====================================

Mean and deviation of the solution for 200 random coefficients: what to take for so many fields, and who wins.

On the unit square :math:`-\nabla \cdot (a \nabla u) = 1`, u = 0 on the boundary, with a drawn from one of the paper's
families on 256 x 256 cells, 8 x 8 in each of 32 x 32 coarse elements. Sought are the mean of u, and of two functionals,
:math:`q_1(u) = \int u \, dx` and :math:`q_2(u) = u(\tfrac12, \tfrac12)`.

From N draws a mean is known up to its Monte Carlo error :math:`\sigma / \sqrt N`, here for N = 200. A model adds a
bias, the mean of :math:`q(\hat u) - q(u)`, which does no harm as long as it is well below that error; as the
differences scatter little, ten draws tell it. The truth u is the fine finite element solution. In its place one may
take one full-multigrid pass; :math:`u_h` on the coarse mesh by exact LOD, or by the surrogate (ten fields in a forward
pass); and, as a null model, coarse finite elements with the geometric mean of a on every element. Few fine solutions
may correct any of them (a control variate): the mean of :math:`q(\hat u)` plus the mean over ten draws of
:math:`q(u) - q(\hat u)` has no bias, but an error of its own, "with 10 fine".

Seen: multigrid wins. A pass takes a quarter of the surrogate's time, and is off by .3 Monte Carlo errors or less. On
the roughest family exact LOD is off by 3 in the integral and 12 in the middle, and so is all that stands for it (the
surrogate adds less than 1); with multiscale fields, whose sigma is 40 times as large, by .07 and .4. Sigma is of few
draws, so that these units are known to a quarter. ``demos/benchmarks/uncertainty.py`` has a truth on finer cells.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from skfem import Basis, MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.coefficients.families import paper_field
from skfem_ml.compare import clocked
from skfem_ml.lod import LOD, GeometricMean, LocalMap, Surrogate
from skfem_ml.metrics import l2_error
from skfem_ml.pictures import colour_bar, figure, plot_cells, plot_nodal, plot_work
from skfem_ml.problems import diffusion
from skfem_ml.solvers import Multigrid

LEVEL, CELLS = 5, 8
FAMILIES, COUNT = ("multiscale", "iid-8"), 10  # draws a family
STUDY, BATCH, FEW = 200, 10, 10  # N, fields at a time, fine solutions that correct a mean
SEED = 0
FIRST = 1000  # numbers beyond those that training has seen
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
        """The error of the mean of N draws that ``few`` fine solutions correct, in the same units, ``(2,)``."""
        truth = self.functionals(FINE)
        gap = (self.functionals(method) - truth).std(axis=1, ddof=1)
        return gap * np.sqrt(1 / few - 1 / STUDY) / self.monte_carlo(truth)

    def monte_carlo(self, q: ndarray) -> ndarray:
        """sigma / sqrt(N), ``(2,)``."""
        return q.std(axis=1, ddof=1) / STUDY**0.5

    def errors(self, method: str, against: str = FINE) -> tuple[float, float]:
        """Relative L2 errors of the mean and of the standard deviation as functions on the square."""
        basis, u, v = self.basis(against), self.solutions[method], self.solutions[against]
        u = u if u.shape[1] == basis.N else (self.lod.space.prolongation @ u.T).T
        return tuple(l2_error(m, n, basis, relative=True) for m, n in zip(moments(u), moments(v), strict=True))

    def sampling(self) -> float:
        """The Monte Carlo error of the mean as a function on the square, relative in L2."""
        mean, spread = moments(self.solutions[FINE])
        return l2_error(mean + spread, mean, self.lod.fine, relative=True) / STUDY**0.5


def moments(u: ndarray) -> tuple[ndarray, ndarray]:
    """Mean and standard deviation over the fields."""
    return u.mean(axis=0), u.std(axis=0, ddof=1)


def compute(family: str = "iid-8", n: int = CELLS, count: int = COUNT, level: int = LEVEL, choose=None) -> Sample:
    """Draw the fields and solve by every method, those of `methods` or of ``choose(lod)``."""
    lod = LOD(MeshQuad().refined(level), refine=n, cells=CELLS, ell=2)
    chosen = (choose or methods)(lod)
    solutions, seconds = {name: [] for name in chosen}, dict.fromkeys(chosen, 0.0)
    for first in range(0, count, BATCH):
        numbers = range(FIRST + first, FIRST + min(first + BATCH, count))
        fields = np.stack([paper_field(lod.coefficient_mesh, family, number, SEED) for number in numbers])
        for name, method in chosen.items():
            with clocked() as spent:
                solutions[name].append(method(fields))
            seconds[name] += spent.cpu
    return Sample(lod, fields[-1], {name: np.concatenate(u) for name, u in solutions.items()}, seconds)


def methods(lod: LOD) -> dict[str, Method]:
    """What may be taken; of multigrid what depends on the mesh alone is made once, and every field updates it."""
    surrogate, F, own = Surrogate.load(f"diffusion-q1-ell2-n{lod.space.n}"), unit_load.assemble(lod.fine), levels(lod)
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


def solved(lod: LOD, matrices: list) -> ndarray:
    b, D = unit_load.assemble(lod.coarse), lod.coarse.get_dofs()
    return np.stack([solve(*condense(S, b, D=D)) for S in matrices])


def visualize(samples: dict[str, Sample] | None = None):
    """A row for each family: a field, mean and deviation by the surrogate, what every draw is off by."""
    samples = {family: compute(family) for family in FAMILIES} if samples is None else samples
    with figure(18.5, 4.6 * len(samples)) as picture:
        rows = picture.subplots(len(samples), 4, squeeze=False)
        for (first, *fields, work), (title, sample) in zip(rows, samples.items(), strict=True):
            colour_bar(first, plot_cells(first, sample.lod.coefficient_mesh, sample.field), "$a$")
            first.set_title(f"one draw of {title}")
            both = moments(sample.solutions[SURROGATE]), sample.errors(SURROGATE), ("mean", "standard deviation")
            for axes, values, error, name in zip(fields, *both, strict=True):
                colour_bar(axes, plot_nodal(axes, sample.lod.coarse, values), f"{name} of $u_h$")
                axes.set_title(f"{name}, surrogate,\n{sample.count} draws, {100 * error:.2g} % off")
            found = {name: (spent / sample.count, abs(sample.bias(name)[0])) for name, spent in sample.seconds.items()}
            work.axvline(found.pop(FINE)[0], color="black", linewidth=1, label=FINE)
            work.axhspan(3e-5, 1, color="0.92", zorder=0, label=r"below $\sigma / \sqrt{200}$")
            plot_work(work, found, legend=False)
            work.set(title="bias of $q_1$", xlabel="CPU s a field", xlim=(1e-2, 2), ylim=(3e-5, 1e3))
            work.set_ylabel("|bias| / Monte Carlo error")
            work.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    return picture


if __name__ == "__main__":
    result = {family: compute(family) for family in FAMILIES}
    for family, sample in result.items():
        print(f"{family}, {sample.count} draws: bias of q_1, q_2 in Monte Carlo errors, with {FEW} fine; CPU s a field")
        for name, seconds in sample.seconds.items():
            told = [" ".join(f"{x:+8.1e}" for x in found) for found in (sample.bias(name), sample.corrected(name))]
            print(f"{name:28s}{', '.join(told)}; {seconds / sample.count:.3f}", flush=True)
    visualize(result).savefig("uncertainty.png")
    rough = result["iid-8"]
    told = [f"{name} {abs(rough.bias(name)[0]):.2g} in {s / rough.count:.2f} s" for name, s in rough.seconds.items()]
    print("bias of the integral in Monte Carlo errors, rough fields:", ", ".join(told[1:]))  # the first is the truth
