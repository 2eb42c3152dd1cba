"""``skfem-ml compare diffusion [FIELD]``: fine and coarse answers of all kinds, for one load or for many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.compare.rows import COARSE, FINE, REFERENCE, LODOptions, diffusion_rows
from skfem_ml.cli.errors import held_interrupt
from skfem_ml.cli.options import Read
from skfem_ml.cli.run import Comparison, Solvers, run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skfem_ml.cli.cases import Case
    from skfem_ml.cli.learned import Chosen
    from skfem_ml.compare import Table
    from skfem_ml.lod import SuperElements, Surrogate
    from skfem_ml.problems import Diffusion, Field
    from skfem_ml.progress import Progress
    from skfem_ml.solutions import FEFunction

MEASURED = 3  # loads that are run where many are asked for; the others cost the same
LARGEST = 2**20  # fine cells up to which the mesh of a model is taken unasked


def diffusion(
    read: Read,
    screen: Screen,
    ell: Annotated[str, typer.Option("--ell", help="Localisation parameters of LOD, such as 1,2,3.")] = "1,2",
    engine: opt.Engine = "auto",
    galerkin: Annotated[bool, typer.Option("--galerkin", help="Add rows of the Galerkin variant of LOD.")] = False,
    surrogate: opt.Surrogates = None,
    below: opt.Below = None,
    loads: opt.Loads = 1,
    fields: opt.Fields = 1,
    within: opt.Within = 0.01,
    tol: opt.Tol = 0.1,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare what one would take for -div(a grad u) = f: elimination, multigrid, LOD, null models and surrogates.

    Prints a table of errors relative to the fine finite element solution and of seconds, ends with one sentence that
    says what to use, and writes CSV, Markdown, JSON, a picture (PNG) and all fields (VTU) into the output folder.
    """
    from skfem_ml.checks import choice, positive
    from skfem_ml.cli.learned import chosen_models, learned_rows
    from skfem_ml.lod import LOD

    choice(engine, opt.ENGINES, "engine")
    positive(within, "within")
    lod = LODOptions(_ells(ell), engine, galerkin)
    case = read()
    for each in lod.ells:  # refuses what does not fit before anything is solved
        LOD(case.coarse, fine=case.problem.mesh, dirichlet=case.problem.dirichlet, ell=each, engine=engine)
    case, models, left_out = _with_models(case, chosen_models(case, surrogate), below)
    rows = diffusion_rows(case, lod, loads, learned_rows(case, models, tol, engine))
    count = Count(fields, loads, within)
    run_comparison(_comparison(case, lod, rows, count, left_out), output, screen)


@dataclass(frozen=True)
class Count:
    """For how many coefficients and loads costs are reckoned, and the energy error that is asked of a fine answer."""

    fields: int
    loads: int
    within: float

    @property
    def repeats(self) -> int:
        """Runs of which the least seconds count: two where they are multiplied, for the first fills caches."""
        return 1 if self.loads == self.fields == 1 else 2


def _with_models(
    case: Case, chosen: Chosen, below: int | None
) -> tuple[Case, dict[str, Surrogate | SuperElements], list[str]]:
    """The case on the fine mesh asked for, else on that of the models; the models that live there; what is said."""
    from skfem_ml.cli.cases import finer

    size = case.problem.mesh.t.shape[1] * (chosen.below or 1) ** case.problem.mesh.dim()
    wanted = below or (chosen.below if chosen.named or size <= LARGEST else None) or 1
    models, said = dict(chosen.models), list(chosen.notes)
    if models and wanted != chosen.below:
        if chosen.named:
            raise ValueError(
                f"below: {', '.join(models)} wants {chosen.below} fine cells along one of the field, got {wanted}"
            )
        said += [f"left out: {name}, which wants --below {chosen.below} ({size} fine cells)" for name in models]
        models = {}
    why = "as asked" if below else "as the surrogate was trained"
    return (finer(case, wanted, why) if wanted > 1 else case), models, said


def _comparison(case: Case, lod: LODOptions, rows: Solvers, count: Count, left_out: list[str]) -> Comparison:
    def solvers(_: object) -> Solvers:
        warm_up(case.problem.mesh.dim(), lod.engine)
        return rows

    def tabulate(problem: Diffusion, solvers: Solvers, progress: Progress) -> Table:
        with held_interrupt():  # a signal may be lost in a library that is being loaded
            import torch  # noqa: F401

            from skfem_ml.compare import compare_loads

        loads = drawn_loads(problem, min(count.loads, MEASURED))
        return compare_loads(problem, solvers, loads, REFERENCE, count.loads, count.fields, count.repeats, progress)

    def facts(table: Table) -> dict[str, object]:
        from skfem_ml.cli.outputs import slug

        names = {row.name: f"u_{slug(row.name)}" for row in table.rows if row.name in table.solutions}
        told = {"ell": list(lod.ells), "engine": lod.engine, "left out": left_out, "vtu": names}
        return {**case.facts, **told, "loads": count.loads, "fields": count.fields, "advice": _advice(table, count)}

    on_field = cache(partial(_on_field, case))  # for the picture and the file

    return Comparison(
        "diffusion",
        lambda: case.problem,
        solvers,
        REFERENCE,
        notes=[*case.notes, *left_out],
        heading="Diffusion: what one would take, against the fine solution",
        facts=facts,
        remarks=lambda table: remarks(case, table, count),
        files={
            "png": lambda table, path: _draw(case, table, on_field(table), path),
            "vtu": lambda table, path: _vtu(case, on_field(table), path),
        },
        tabulate=tabulate,
    )


def drawn_loads(problem: Diffusion, count: int) -> list[Field]:
    """The problem's load, then smooth ones: 1 + sines of random phases, of two to five half waves on each axis."""
    return [problem.f, *(_waves(problem, seed) for seed in range(1, count))]


def _waves(problem: Diffusion, seed: int) -> Callable[[NDArray], NDArray]:
    import numpy as np

    rng = np.random.default_rng(seed)
    low, high = problem.mesh.p.min(axis=1), problem.mesh.p.max(axis=1)
    waves, phases = rng.integers(2, 6, len(low)), rng.uniform(0, 2 * np.pi, len(low))

    def f(x: NDArray) -> NDArray:
        place = (x.T - low) / (high - low)
        return 1 + np.sin(np.pi * waves * place + phases).prod(axis=-1).T

    return f


def warm_up(dim: int, engine: str) -> None:
    """Run LOD on a tiny case: the import of torch (about a second) is no part of any row's time."""
    import numpy as np

    from skfem_ml.lod import LOD
    from skfem_ml.meshes.pixels import TENSOR
    from skfem_ml.problems import diffusion as form

    if dim == 2 and engine != "reference":
        lod = LOD(TENSOR[dim].init_tensor(*[np.linspace(0, 1, 4)] * dim), refine=2, ell=1, engine=engine)
        lod.prolong(np.ones(lod.coarse.N), form, a=np.ones(lod.fine.mesh.t.shape[1]))


def remarks(case: Case, table: Table, count: Count) -> dict[str, str]:
    """What the table does not say: what a hybrid recomputed, the best of all coarse functions, and what to use."""
    from skfem import Basis

    from skfem_ml.metrics import best_error

    best = best_error(table.solutions[REFERENCE], Basis(case.coarse, case.coarse.elem()))
    told: dict[str, str] = {}
    for name, u in table.solutions.items():
        record = u.record
        if "recomputed" in record:
            share = record["recomputed"]
            nowhere = "; the surrogate is used nowhere" if share == 1 else ""
            told[name] = f"{share:.1%} of the elements recomputed exactly{nowhere}"
    cells = case.coarse.t.shape[1]
    bound = f"no function on the {cells} coarse cells is nearer to the first fine solution than {best:.3e} in L2."
    return {**told, "": f"{bound}\n{_advice(table, count)}"}


def _advice(table: Table, count: Count) -> str:
    from skfem_ml.compare import advice

    return advice(table, FINE, COARSE, count.within)


def _ells(text: str) -> tuple[int, ...]:
    try:
        ells = tuple(int(part) for part in text.split(","))
    except ValueError:
        ells = ()
    if not ells or min(ells) < 1 or len(set(ells)) < len(ells):
        raise ValueError(f"ell: expected different whole numbers >= 1 joined by commas, such as 1,2,3, got {text!r}")
    return ells


def _on_field(case: Case, table: Table) -> dict[str, FEFunction]:
    """All solutions at the nodes of the field's own mesh, which is nested in the fine one."""
    from skfem import Basis

    from skfem_ml.solutions import FEFunction

    solutions: dict[str, FEFunction] = dict(table.solutions)
    mesh = case.given.mesh
    basis = Basis(mesh, mesh.elem())
    return {
        name: FEFunction(basis, u.y if u.basis.mesh is mesh else u(basis.doflocs), u.record)
        for name, u in solutions.items()
    }


def _draw(case: Case, table: Table, solutions: Mapping[str, FEFunction], path: Path) -> None:
    """Coarse FEM, the best null model, u_h, and the best of LOD or the surrogate beside the reference."""
    from skfem_ml.pictures import comparison_figure

    shown = ["coarse FEM"]
    for start in ("coarse FEM, ", "LOD ", "surrogate, "):
        rows = [row for row in table.rows if row.name.startswith(start) and row.error is not None]
        rows = [row for row in rows if not row.name.endswith(", completed")]
        shown += [min(rows, key=lambda row: row.error or 0.0).name] if rows else []
    errors = {name: table[name].error for name in shown if name in solutions}
    figure = comparison_figure(
        case.given,
        (REFERENCE, solutions[REFERENCE]),
        {name: solutions[name] for name in errors},
        title=case.title,
        errors=errors,
    )
    figure.savefig(path, dpi=130)


def _vtu(case: Case, solutions: Mapping[str, FEFunction], path: Path) -> None:
    from skfem_ml.cli.learned import score_maps
    from skfem_ml.cli.outputs import nodal_fields, slug, write_vtu

    scores = {f"{key}_{slug(name)}": x for name, u in solutions.items() for key, x in score_maps(case, u).items()}
    write_vtu(path, case.given.mesh, case.given.a, nodal_fields(solutions, REFERENCE), scores)
