r"""Uncertainty: many random coefficients
=====================================

Mean and deviation of the solution for 200 random coefficients: what to take for so many fields, and who wins.

On the unit square :math:`-\nabla \cdot (a \nabla u) = 1`, u = 0 on the boundary, with a drawn from one of the paper's
families on 256 x 256 cells, 8 x 8 in each of 32 x 32 coarse elements. Sought are the mean of u, and of two functionals,

.. math:: q_1(u) = \int u \; dx, \qquad q_2(u) = u(\tfrac12, \tfrac12) .

From N draws a mean is known up to its Monte Carlo error :math:`\sigma / \sqrt N`, here for N = 200. A model adds a
bias, the mean of :math:`q(\hat u) - q(u)`, which does no harm as long as it is well below that error. As the
differences scatter little, it is known from fewer draws: ``COUNTS`` says from how many. The truth u is the *fine*
solution on the mesh of the labels, n cells along a coarse edge: 256² for n = 8, and 1024² for n = 32. In the place of
it one may take

- multigrid: one full-multigrid pass, the fine solution up to some 1e-3 (and to 1e-6, the truth); for n = 32 also on the
  cells of a alone (256²), and extrapolated from there, :math:`u_{512} + (u_{512} - u_{256}) / 3`;
- exact LOD: :math:`u_h` on the coarse mesh; for n = 32 also extrapolated from n = 8 and 16, and with interiors of 32;
- networks: the surrogate (ten fields in a forward pass), and for n = 32 super-elements, which stand for that;
- null model: coarse finite elements with the geometric mean of a on every element.

Biases are against the fine solution and, for functions on the coarse mesh, against exact LOD: of the latter only what
the model adds is seen. Any model may be corrected by few fine solutions (a control variate): the mean of
:math:`q(\hat u)` plus the mean over ten draws of :math:`q(u) - q(\hat u)` has no bias, but an error of its own, about
the deviation of :math:`q(u) - q(\hat u)` over :math:`\sqrt{10}`, "with 10 fine".

Seen: at n = 8 multigrid wins. A pass takes a quarter of the surrogate's time, and is off by .3 Monte Carlo errors or
less. On the roughest family exact LOD is off by 3 in the integral and 12 in the middle, and so is all that stands for
it (the surrogate adds less than 1); with multiscale fields, whose sigma is 40 times as large, by .07 and .4. At n = 32
a pass takes 3.5 times as long as the surrogate and is off by .05, the surrogate by 10; ten fine solutions leave .5 of
that. So: the surrogate and ten fine solutions, in 50 s in place of 120 for 200 fields; the cells of a alone (256²) and
ten fine solutions leave .8, in 33 s. Exact LOD, its extrapolations and super-elements take 1.1 to 9 s a field, longer
than a pass, and are off by more. Sigma is of few draws here, so that all these units are known to a quarter.
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
from skfem_ml.lod import LOD, Extrapolated, GeometricMean, LocalMap, Surrogate
from skfem_ml.metrics import l2_error
from skfem_ml.problems import diffusion
from skfem_ml.solvers import Multigrid

MODEL = "diffusion-q1-ell2-n{}"
LEVEL, CELLS = 5, 8
STUDY = 200  # N
COUNTS = {("multiscale", 8): 10, ("iid-8", 8): 10, ("iid-8", 32): 8}  # draws by family and n
BATCH, FEW = 10, 10
FIRST, SEED = 1000, 0  # numbers beyond those that training has seen
FINE, PASS, EXACT = "multigrid to 1e-6 (truth)", "multigrid, one pass", "exact LOD"
CHEAP, RICHARDSON = "multigrid, 256^2", "multigrid, 256^2 and 512^2"
EXTRAPOLATED, INTERIORS = "LOD, n = 8 and 16", "LOD, n = 8, interiors of 32"
SURROGATE, SUPER, NULL = "surrogate", "super-elements", "coarse FEM, geometric mean"
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


def compute(family: str = "iid-8", n: int = 8, count: int | None = None, level: int = LEVEL) -> Sample:
    """Draw the fields and solve by every method."""
    lod = LOD(MeshQuad().refined(level), refine=n, cells=CELLS, ell=2)
    methods = {**fine_methods(lod), **coarse_methods(lod)}
    solutions: dict[str, list[ndarray]] = {name: [] for name in methods}
    seconds = dict.fromkeys(methods, 0.0)
    for fields in batches(lod, family, COUNTS[family, n] if count is None else count):
        for name, method in methods.items():
            begin = time.process_time()
            solutions[name].append(method(fields))
            seconds[name] += time.process_time() - begin
    return Sample(lod, fields[-1], {name: np.concatenate(u) for name, u in solutions.items()}, seconds)


def batches(lod: LOD, family: str, count: int) -> Iterator[ndarray]:
    """Draws of the family ``(fields, nelems)``, ten at a time, in all ``count``."""
    for first in range(0, count, BATCH):
        numbers = range(FIRST + first, FIRST + min(first + BATCH, count))
        yield np.stack([paper_field(lod.coefficient_mesh, family, number, SEED) for number in numbers])


def fine_methods(lod: LOD) -> dict[str, Method]:
    """Multigrid; what depends on the mesh alone is made once, and every field updates it."""
    n, F = lod.space.n, unit_load.assemble(lod.fine)
    own = levels(lod)

    def solved(fields: ndarray) -> ndarray:
        return np.stack([own(a).complete(F, tol=1e-6).u for a in fields])

    methods: dict[str, Method] = {FINE: solved, PASS: lambda fields: np.stack([own(a).fmg(F) for a in fields])}
    if n == CELLS:
        return methods
    passes = {k: passed(lod.with_fine(k), lod) for k in (CELLS, 2 * CELLS)}

    def richardson(fields: ndarray) -> ndarray:
        once, twice = (passes[k](fields) for k in (CELLS, 2 * CELLS))
        return twice + (twice - once) / 3

    return {**methods, CHEAP: passes[CELLS], RICHARDSON: richardson}


def levels(lod: LOD) -> Callable[[ndarray], Multigrid]:
    """Multigrid on the fine mesh, by coefficient."""
    first, cell = Multigrid(lod.fine, diffusion, a=1.0), lod.space.coefficient_cell
    return lambda a: first.update(a=a[cell])


def passed(coarser: LOD, lod: LOD) -> Method:
    """Solutions on the fine mesh of the first, as functions on the finer one of the second."""
    own, F = levels(coarser), unit_load.assemble(coarser.fine)
    line = np.linspace(0, coarser.space.n, lod.space.n + 1)
    hats = np.maximum(0.0, 1 - abs(line[:, None] - np.arange(coarser.space.n + 1)))
    weights = np.kron(hats, hats)  # bilinear in every cell of a coarse element

    def method(fields: ndarray) -> ndarray:
        u = np.empty((len(fields), lod.fine.N))
        for k, a in enumerate(fields):
            solution = own(a).complete(F, tol=1e-6).u
            u[k, lod.space.refinement.nodes] = solution[coarser.space.refinement.nodes] @ weights.T
        return u

    return method


def coarse_methods(lod: LOD) -> dict[str, Method]:
    """What has its answer on the coarse mesh."""
    surrogate = Surrogate.load(MODEL.format(lod.space.n))
    b, D = unit_load.assemble(lod.coarse), lod.coarse.get_dofs()

    def solved(matrices: list[csr_matrix]) -> ndarray:
        return np.stack([solve(*condense(S, b, D=D)) for S in matrices])

    def by(form: LocalMap, own: LOD = lod) -> Method:
        return lambda fields: solved([own.assemble(form, a=a) for a in fields])

    methods = {EXACT: by(diffusion), SURROGATE: lambda fields: solved(surrogate.assemble_batch(lod, fields))}
    if lod.space.n > CELLS:
        methods[EXTRAPOLATED] = by(Extrapolated(diffusion, (8, 16)))
        methods[INTERIORS] = by(diffusion, lod.with_fine(8).with_interiors(32))
        methods[SUPER] = by(Surrogate.load("diffusion"))
    return {**methods, NULL: by(GeometricMean())}


def report(sample: Sample) -> str:
    """The table of one family."""
    q = sample.functionals(FINE)
    known = ", ".join(
        f"{mean:.6f} +- {error:.1e} (sigma {spread:.1e})"
        for mean, error, spread in zip(q.mean(axis=1), sample.monte_carlo(q), q.std(axis=1, ddof=1), strict=True)
    )
    heads = "bias / Monte Carlo error", f"with {FEW} fine", "L2 of mean, deviation", "all against exact LOD"
    lines = [
        f"integral and middle value of fine solutions, Monte Carlo errors of {STUDY} draws: {known}",
        f"Monte Carlo error of the mean as a function: {sample.sampling():.1e} in L2",
        f"{'':28s}{heads[0]:25s}{heads[1]:16s}{heads[2]:24s}{heads[3]:28s}CPU s a field",
    ]
    for name, seconds in sample.seconds.items():
        (one, two), (mean, spread), left = sample.bias(name), sample.errors(name), sample.corrected(name)
        row = f"{name:28s}{one:+8.1e}  {two:+8.1e}   {left[0]:7.1e} {left[1]:7.1e}   {mean:7.1e}  {spread:7.1e}     "
        if sample.basis(name) is sample.lod.coarse:
            (one, two), (mean, _) = sample.bias(name, EXACT), sample.errors(name, EXACT)
            row += f"   {one:+8.1e} {two:+8.1e} {mean:7.1e}"
        lines.append(f"{row:121s}{seconds / sample.count:13.3f}")
    return "\n".join(lines)


def visualize(samples: dict[str, Sample] | None = None):
    """A row for each family: a field, mean and deviation by the surrogate, what every draw is off by."""
    from matplotlib.figure import Figure

    samples = outcomes() if samples is None else samples
    figure = Figure(figsize=(17, 3.9 * len(samples)), layout="constrained")
    for row, (title, sample) in zip(figure.subplots(len(samples), 4, squeeze=False), samples.items(), strict=True):
        _draw_row(row, title, sample)
    return figure


def _draw_row(row, title: str, sample: Sample) -> None:
    from skfem_ml.pictures import colour_bar, plot_cells, plot_nodal

    mean, spread = moments(sample.solutions[SURROGATE])
    drawn = plot_cells(row[0], sample.lod.coefficient_mesh, sample.field)
    colour_bar(row[0], drawn, "$a$")
    row[0].set_title(f"one draw of {title}")
    off = sample.errors(SURROGATE)
    for axes, values, what, error in zip(row[1:3], (mean, spread), ("mean", "standard deviation"), off, strict=True):
        colour_bar(axes, plot_nodal(axes, sample.lod.coarse, values), f"{what} of $u_h$")
        axes.set_title(f"{what}, surrogate,\n{sample.count} draws, {error:.0e} off")
    _draw_biases(row[3], sample)


def _draw_biases(axes, sample: Sample) -> None:
    """Seconds a field against the bias of q_1, and the Monte Carlo error."""
    names = [name for name in sample.seconds if name != FINE]
    for k, name in enumerate(names):
        seconds = sample.seconds[name] / sample.count
        axes.loglog(seconds, abs(sample.bias(name)[0]), "osD^vP*Xh"[k], color=f"C{k}", markersize=7, label=name)
    axes.axhspan(axes.get_ylim()[0], 1, color="0.9", zorder=0, label=r"below $\sigma / \sqrt{200}$")
    axes.axvline(sample.seconds[FINE] / sample.count, color="black", linewidth=1, label=FINE)
    best = min((name for name in names if abs(sample.bias(name)[0]) < 1), key=lambda name: sample.seconds[name])
    axes.set(
        title=f"bias of $q_1$; cheapest below 1:\n{best}", xlabel="CPU s a field", ylabel="|bias| / Monte Carlo error"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.02, 0.5))


def outcomes() -> dict[str, Sample]:
    """All families and n, printed as they come."""
    found = {}
    for family, n in COUNTS:
        title = f"{family}, n = {n}"
        found[title] = sample = compute(family, n)
        print(f"{title}, {sample.count} draws\n{report(sample)}\n", flush=True)
    return found


if __name__ == "__main__":
    visualize(outcomes()).savefig("uncertainty.png", dpi=130)
