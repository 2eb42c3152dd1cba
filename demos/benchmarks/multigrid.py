r"""Multigrid on the fine mesh, measured: errors of one pass, cost against pyamg and elimination, growing meshes.

-div(a grad u) = 1 in the unit square, u = 0 on its boundary, a constant on every cell of 256 x 256; the fields are
those of `multigrid_fields` with seed 1. Smoother, cycle, coarsest level and stopping rule of the pass were chosen on
seed 7. Errors are relative, in nodal L2 and in energy, against the fine Q1 solution (`complete` to 1e-11). CPU
seconds of one thread on a busy machine, least of three, in one run: read ratios. Usage, a quarter of an hour::

    OMP_NUM_THREADS=1 python -m demos.benchmarks.multigrid [--only errors times width coarse pyamg batch]
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from skfem import Basis, ElementQuad1, ElementTriP1, Mesh, MeshQuad, MeshTri, condense

from demos.benchmarks.multigrid_fields import FAMILIES, field
from skfem_ml.compare import best_of, machine
from skfem_ml.lod import LOD
from skfem_ml.problems import diffusion, load, mass
from skfem_ml.reference.fem import coarse_coefficient
from skfem_ml.solvers import Multigrid, MultigridBatch, solver_direct

SEED, CONTRASTS, EXACT = 1, (10, 100, 1000), 1e-11
COMPARED = (("multilevel", 5), ("log-normal", 100), ("discs", 100), ("crossing channels", 100))
SOLVED = (("log-normal", 10), ("log-normal", 1000), ("Bernoulli .5", 10), ("Bernoulli .5", 1000))
TIMED = (("multilevel", 10), ("log-normal", 100), ("discs", 100), ("crossing channels", 100), ("Bernoulli .5", 1000))
Row = dict[str, object]


def square(cells: int) -> MeshQuad:
    line = np.linspace(0, 1, cells + 1)
    return MeshQuad.init_tensor(line, line)


def cell_load(mesh: Mesh) -> np.ndarray:
    """The load vector of f = 1 on a uniform mesh of the unit square (its boundary rows are not used)."""
    return np.full(mesh.p.shape[1], 1 / mesh.t.shape[1])


class Judge:
    """Relative errors of fine solutions: nodal L2 and energy, against the solution of ``mg`` to 1e-11."""

    def __init__(self, mg: Multigrid, b: np.ndarray):
        self.apply, self.b = mg.apply, b
        self.u = mg.complete(b, tol=EXACT).u
        self.size = float(np.sqrt(self.b @ self.u))

    def energy(self, u: np.ndarray) -> float:
        error = u - self.u
        return float(np.sqrt(max(error @ self.apply(error), 0.0))) / self.size

    def l2(self, u: np.ndarray) -> float:
        return float(np.linalg.norm(u - self.u) / np.linalg.norm(self.u))


def errors() -> Iterator[Row]:
    """One pass, steps to 1e-6, and the estimate of the error, on 63 fields; from LOD at contrast 100."""
    mesh = square(256)
    b, lod = cell_load(mesh), LOD(square(32), fine=mesh, ell=2)
    empty = Multigrid(mesh, diffusion, a=1.0)
    for family in FAMILIES:
        for contrast in CONTRASTS:
            a = field(mesh, family, contrast, SEED)
            mg = empty.update(a=a)
            judge, passed = Judge(mg, b), mg.fmg(b)
            starts = [np.zeros(len(b)), None]
            if contrast == 100:
                system = lod.system(diffusion, a=a)
                starts.append(system.prolong(system.solve(load(1.0))))
            solved = [[mg.complete(b, start, tol=tol) for tol in (1e-2, 1e-4, 1e-6)] for start in starts]
            ratios = [s.energy_error / judge.energy(s.u) for row in solved for s in row]
            yield {
                "family": family,
                "contrast": contrast,
                "pass, L²": f"{judge.l2(passed):.1e}",
                "pass, energy": f"{judge.energy(passed):.1e}",
                "steps to 1e-6 from 0 / pass / LOD": " / ".join(str(row[-1].steps) for row in solved),
                "energy error then": f"{max(judge.energy(row[-1].u) for row in solved):.1e}",
                "estimate over error": f"{min(ratios):.2f} … {max(ratios):.2f}",
            }


def times() -> Iterator[Row]:
    """Set-up and one pass against pyamg to the same error in energy, at 256 x 256 and 1024 x 1024."""
    for cells in (256, 1024):
        mesh, chosen = square(cells), TIMED if cells == 256 else TIMED[1::2] + TIMED[-1:]
        basis, b = Basis(mesh, ElementQuad1()), cell_load(mesh)
        empty, place = best_of(lambda mesh=mesh: Multigrid(mesh, diffusion, a=1.0))
        for family, contrast in chosen:
            a = field(mesh, family, contrast, SEED)
            mg, built = best_of(lambda empty=empty, a=a: empty.update(a=a), 3)
            passed, done = best_of(lambda mg=mg, b=b: mg.fmg(b), 3)
            judge = Judge(mg, b)
            A, assembled = best_of(lambda basis=basis, a=a: diffusion.assemble(basis, a=a[:, None]))
            amg = {name: pyamg_seconds(name, A, b, mg, judge, judge.energy(passed)) for name in ("SA", "RS")}
            ours = built.cpu + done.cpu
            yield {
                "mesh": f"{cells}²",
                "field": f"{family} {contrast}",
                "set-up s": f"{built.cpu:.3f}",
                "pass s": f"{done.cpu:.3f}",
                "error, L² / energy": f"{judge.l2(passed):.1e} / {judge.energy(passed):.1e}",
                **{f"pyamg {name} s (steps)": f"{seconds:.3f} ({steps})" for name, (seconds, steps) in amg.items()},
                "ratio to the better": f"{ours / min(seconds for seconds, _ in amg.values()):.2f}",
                "grid of the mesh, once s": f"{place.cpu:.2f}",
                "scikit-fem's matrix s": f"{assembled.cpu:.2f}",
            }


def pyamg_seconds(name: str, A, b: np.ndarray, mg: Multigrid, judge: Judge, wanted: float) -> tuple[float, int]:
    """CPU seconds of set-up and as many steps of CG with pyamg's V-cycle as reach an error in energy, and the steps."""
    import pyamg
    from scipy.sparse.linalg import cg

    free = mg.free_dofs
    matrix, right = A[free][:, free].tocsr(), b[free]
    build = {"SA": pyamg.smoothed_aggregation_solver, "RS": pyamg.ruge_stuben_solver}[name]
    iterates: list[float] = []

    def watch(x: np.ndarray) -> None:
        u = np.zeros(len(b))
        u[free] = x
        iterates.append(judge.energy(u))
        if iterates[-1] <= wanted:
            raise StopIteration

    with contextlib.suppress(StopIteration):
        cg(matrix, right, rtol=0, maxiter=100, M=build(matrix).aspreconditioner(), callback=watch)
    steps = len(iterates)

    def run() -> None:
        cg(matrix, right, rtol=0, maxiter=steps, M=build(matrix).aspreconditioner())

    return best_of(run, 3)[1].cpu, steps


def width() -> Iterator[Row]:
    """One field on finer and finer meshes, and a new value on every cell of each.

    64 x 64 cells are eliminated at once: there is one level.
    """
    for cells in (64, 128, 256, 512, 1024, 2048):
        mesh = square(cells)
        b, row, mg = cell_load(mesh), {"mesh": f"{cells}²"}, None
        each = np.exp(np.random.default_rng([SEED, cells]).uniform(0, np.log(100), mesh.t.shape[1]))
        for name, a in (("discs 100", field(mesh, "discs", 100, SEED)), ("each cell 100", each)):
            mg = Multigrid(mesh, diffusion, a=a) if mg is None else mg.update(a=a)
            judge, passed, solved = Judge(mg, b), mg.fmg(b), mg.complete(b, tol=1e-6)
            row[f"{name}: pass, L² / energy"] = f"{judge.l2(passed):.1e} / {judge.energy(passed):.1e}"
            row["steps to 1e-6" + " " * (name != "discs 100")] = solved.steps
        yield row


def coarse() -> Iterator[Row]:
    """The coarse matrix as a null model: u_h on 32 x 32, beside means of the coefficient and LOD.

    Relative L2 error of the coarse solution against the fine one, with the coarse load in all columns. No mean is safe:
    the geometric one is closest on the first two fields and useless on the others. The matrix of multigrid has the same
    sparsity as Q1 and costs a tenth of exact LOD.
    """
    mesh, rough = square(256), square(32)
    fine, basis, b = Basis(mesh, ElementQuad1()), Basis(rough, ElementQuad1()), cell_load(mesh)
    M, D = mass.assemble(fine), basis.get_dofs()
    lod = LOD(basis, fine=mesh, ell=2)
    P = lod.prolongation
    empty = Multigrid(mesh, diffusion, coarse=rough, a=1.0)
    for family, contrast in (
        ("multilevel", 5),
        *((name, 100) for name in ("log-normal", "discs", "crossing channels")),
    ):
        a = field(mesh, family, contrast, SEED)
        mg = empty.update(a=a)
        u = Judge(mg, b).u
        means = {
            f"{mean} mean": diffusion.assemble(basis, a=coarse_coefficient(a, mesh, rough, mean)[:, None])
            for mean in ("arithmetic", "geometric", "harmonic")
        }
        matrices = {"multigrid": mg.coarse_matrix, **means, "LOD, ell = 2": lod.assemble(diffusion, a=a)}
        row: Row = {"field": f"{family} {contrast}"}
        for name, S in matrices.items():
            system = condense(S, load(1.0).assemble(basis), D=D)
            full = np.zeros(basis.N)
            full[system[3]] = solver_direct()(system[0], system[1])
            error = P @ full - u
            row[name] = f"{np.sqrt(error @ (M @ error) / (u @ (M @ u))):.1e}"
        _, mine = best_of(lambda empty=empty, a=a: empty.update(a=a).coarse_matrix, 3)
        _, exact = best_of(lambda lod=lod, a=a: lod.assemble(diffusion, a=a), 3)
        yield {**row, "seconds, multigrid / LOD": f"{mine.cpu:.3f} / {exact.cpu:.2f}"}


def pyamg() -> Iterator[Row]:
    """One solution to 1e-6 in energy, from the mesh on: where pyamg suffices, and where it is all there is.

    For one solution at contrast 10 pyamg's Ruge-Stueben with scikit-fem's matrix takes two to three times the time
    of `Multigrid`, and is all there is on triangles and odd numbers of cells; smoothed aggregation is not for rough
    coefficients of contrast 1000. On long cells all of them take many steps (100: not reached), and elimination is
    fastest.
    """
    meshes: dict[str, tuple[Mesh, type]] = {
        "256² quads": (square(256), ElementQuad1),
        "256² quads, 16 times as long as high": (square(256).scaled((1, 1 / 16)), ElementQuad1),
        "255² quads (odd)": (square(255), ElementQuad1),
        "2 x 256² triangles": (MeshTri().refined(8), ElementTriP1),
    }
    for name, (mesh, element) in meshes.items():
        basis = Basis(mesh, element())
        b = load(1.0).assemble(basis)
        for family, contrast in (
            ("log-normal", 10),
            ("log-normal", 1000),
            ("Bernoulli .5", 10),
            ("Bernoulli .5", 1000),
        ):
            unit = mesh.scaled(1 / mesh.p.max(axis=1))
            a = field(unit, family, contrast, SEED)
            mg, built = best_of(lambda basis=basis, a=a: Multigrid(basis, diffusion, a=a), 3)
            solved, done = best_of(lambda mg=mg, b=b: mg.complete(b, tol=1e-6), 3)
            A, assembled = best_of(lambda basis=basis, a=a: diffusion.assemble(basis, a=a[:, None]), 3)
            judge = Judge(mg, b)
            amg = {kind: pyamg_seconds(kind, A, b, mg, judge, 1e-6) for kind in ("SA", "RS")}
            system = condense(A, b, D=basis.get_dofs())
            _, direct = best_of(lambda system=system: solver_direct()(system[0], system[1]), 2)
            yield {
                "mesh": name,
                "field": f"{family} {contrast}",
                "`Multigrid`, grid + set-up + solution s (steps)": f"{built.cpu + done.cpu:.2f} ({solved.steps})",
                "coarsest": mg.coarsest_solver,
                **{f"pyamg {kind} s (steps)": f"{seconds:.2f} ({steps})" for kind, (seconds, steps) in amg.items()},
                "elimination s": f"{direct.cpu:.2f}",
                "scikit-fem's matrix s, for the last three": f"{assembled.cpu:.2f}",
            }


def batch() -> Iterator[Row]:
    """Many fields at once in torch, on one thread of a CPU (and on a GPU where there is one).

    On one thread of a CPU one `Multigrid` a field is faster: the batch is for a GPU, where it was not measured.
    """
    import torch

    torch.set_num_threads(1)
    for cells, count in ((64, 32), (128, 32), (256, 16)):
        mesh = square(cells)
        b, families = cell_load(mesh), list(FAMILIES)
        fields = np.stack(
            [field(square(256) if cells < 256 else mesh, families[k % 21], 100, SEED + k) for k in range(count)]
        )
        if cells < 256:  # the geometric mean over the cells of the coarser mesh
            fields = np.stack([coarse_coefficient(a, square(256), mesh, "geometric") for a in fields])
        empty = Multigrid(mesh, diffusion, a=1.0)
        one, single = best_of(lambda e=empty, f=fields, b=b: [e.update(a=a).complete(b, tol=1e-6) for a in f], 2)
        for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
            make = lambda m=mesh, f=fields, d=device: MultigridBatch(m, diffusion, device=d, a=f)
            many, built = best_of(make, 2)
            solved, done = best_of(lambda many=many, b=b: many.complete(b, tol=1e-6), 2)
            spent = built.cpu + done.cpu if device == "cpu" else built.wall + done.wall
            gap = max(abs(u - s.u).max() / abs(s.u).max() for u, s in zip(solved.u, one, strict=True))
            yield {
                "mesh": f"{cells}²",
                "fields": count,
                "one by one, ms a field": f"{1e3 * single.cpu / count:.1f}",
                "device": device,
                "batch: grid + set-up + solutions, ms a field": f"{1e3 * spent / count:.1f}",
                "largest difference": f"{gap:.0e}",
                "steps": f"{solved.steps.min()} … {solved.steps.max()}",
            }


SECTIONS = {"errors": errors, "times": times, "width": width, "coarse": coarse, "pyamg": pyamg, "batch": batch}


def table(rows: Iterator[Row]) -> str:
    lines: list[str] = []
    for row in rows:
        if not lines:
            lines = ["| " + " | ".join(row) + " |", "|" + "---|" + "---:|" * (len(row) - 1)]
        lines.append("| " + " | ".join(map(str, row.values())) + " |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to run")
    parser.add_argument("--markdown", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    about = __doc__.split("\n\n")[1].replace(" Usage, a quarter of an hour::", "")
    parts = ["# Multigrid, measured", "Written by `python -m demos.benchmarks.multigrid`.", about]
    for name in options.only:
        title, *text = inspect.cleandoc(SECTIONS[name].__doc__ or name).split("\n\n")
        parts += [f"## {title}", *text, table(SECTIONS[name]())]
    options.markdown.write_text(
        "\n\n".join([*parts, f"{machine()}, pyamg {version('pyamg')}"]) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
