"""Uncertainty of a solution whose coefficient is random, with labels on finer meshes: what to take, and who wins.

Run ``python -m demos.benchmarks.uncertainty``; it prints the tables of which `demos.uncertainty` tells, n = 32 among
them: the truth is then the solution on 1024 x 1024 cells, and in its place one may take multigrid on the cells of a
alone (256 x 256), and extrapolated from there, u_512 + (u_512 - u_256) / 3; exact LOD, also extrapolated from n = 8 and
16, and with interiors of 32; the surrogate, and super-elements, which stand for n = 32.

Seen there: a pass takes 3.5 times as long as the surrogate and is off by .05, the surrogate by 10; ten fine solutions
leave .5 of that, and are the way to go: 50 s in place of 120 for 200 fields; multigrid on the cells of a alone and ten
fine solutions leave .8, in 33 s. Sigma is of few draws, so that all these units are known to a quarter.
"""

import numpy as np
from numpy import ndarray
from skfem.models import unit_load

from demos.uncertainty import CELLS, EXACT, FEW, FINE, STUDY, Method, Sample, by, compute, levels, methods
from skfem_ml.lod import LOD, Extrapolated, Surrogate
from skfem_ml.problems import diffusion

COUNTS = {("multiscale", 8): 10, ("iid-8", 8): 10, ("iid-8", 32): 8}  # draws by family and n
CHEAP, RICHARDSON = "multigrid, 256^2", "multigrid, 256^2 and 512^2"
EXTRAPOLATED, INTERIORS, SUPER = "LOD, n = 8 and 16", "LOD, n = 8, interiors of 32", "super-elements"


def finer_methods(lod: LOD) -> dict[str, Method]:
    """What there is beside the methods of the demo where fine cells are smaller than those of the coefficient."""
    passes = {k: passed(lod.with_fine(k), lod) for k in (CELLS, 2 * CELLS)}

    def richardson(fields: ndarray) -> ndarray:
        once, twice = (passes[k](fields) for k in (CELLS, 2 * CELLS))
        return twice + (twice - once) / 3

    return {
        CHEAP: passes[CELLS],
        RICHARDSON: richardson,
        EXTRAPOLATED: by(Extrapolated(diffusion, (8, 16)), lod),
        INTERIORS: by(diffusion, lod.with_fine(8).with_interiors(32)),
        SUPER: by(Surrogate.load("diffusion"), lod),
    }


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


def sample_of(family: str, n: int, count: int | None = None, level: int = 5) -> Sample:
    """The draws of one family, solved by every method."""
    count = COUNTS[family, n] if count is None else count
    return compute(
        family, n, count, level, methods if n == CELLS else lambda lod: {**methods(lod), **finer_methods(lod)}
    )


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


if __name__ == "__main__":
    for family, n in COUNTS:
        sample = sample_of(family, n)
        print(f"{family}, n = {n}, {sample.count} draws\n{report(sample)}\n", flush=True)
