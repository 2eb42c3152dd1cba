"""Where operator compression pays: error against CPU seconds for one and many coefficients, one and many loads.

    python -m demos.benchmarks.work_precision [--seeds 0 1] [--meshes 256 1024]

For four families of coefficients on 256 x 256 cells, 32 x 32 coarse elements, and a fine mesh of 256 x 256 or 1024 x
1024 cells, every method that ``skfem-ml compare diffusion`` knows is measured once a mesh, once a coefficient and once
a load. With these, the costs of F coefficients of N loads each are reckoned: mesh + F (field + N load). The figures go
to ``work_precision.json``, the tables to ``work_precision.md``, the pictures to ``work_precision_256.png`` and
``work_precision_1024.png``. A finished family is not measured again (delete the JSON to start over).
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from skfem import MeshQuad

from skfem_ml.cli.cases import Case, finer
from skfem_ml.cli.compare.diffusion import drawn_loads
from skfem_ml.cli.compare.rows import COARSE, FINE, REFERENCE, LODOptions, diffusion_rows
from skfem_ml.cli.learned import chosen_models, learned_rows, load_surrogate
from skfem_ml.coefficients import channels, iid_multilevel, inclusions, log_normal
from skfem_ml.compare import Row, Table, advice, compare_loads, machine
from skfem_ml.compare.advice import cheapest
from skfem_ml.compare.loads import STAGES
from skfem_ml.meshes import coarsened
from skfem_ml.pictures import figure, grid
from skfem_ml.problems import Diffusion

HERE = Path(__file__).parent
CELLS, REFINE = 256, 8
LOADS, FIELDS = (1, 10, 100, 1000), (1, 100)
MEASURED = 2  # loads that are run
FAMILIES = ("multilevel 5", "log-normal 100", "discs 100", "channels 100")
INTRODUCTION = """Written by `python -m demos.benchmarks.work_precision`. {}.

Coefficients on 256 x 256 cells, 32 x 32 coarse elements, zero boundary values, smooth loads that are given as vectors.
CPU seconds of one thread of a busy machine: once a mesh, once a coefficient (scikit-fem's assembly among it, where a
method needs a fine matrix) and once a load; for F coefficients of N loads mesh + F (field + N load) is reckoned. In
the pictures circles and hexagons are fine answers, squares and diamonds coarse ones, hollow is one of 100 coefficients.
The first table counts what is cheapest, over families and seeds: of fine answers those with an error of 1 % in energy
or less, of coarse ones those within half as much again of the best. Its last column: what the choice of seed 0 costs on
the fields of seed 1, over the cheapest there, and whether the same kind of coarse answer is to be taken. The second
table has the worst errors and the largest seconds.

- **One to ten loads: multigrid**, on all of these families and both meshes, for one coefficient and for a hundred.
- **From a hundred loads on a coarse matrix pays**, if a coarse function is enough: a load takes a millisecond (256^2)
  where multigrid and elimination take some twenty. Which one: the geometric mean for smooth or mild coefficients, LOD
  for discs and channels.
- **LOD with corrected and prolonged loads** is nowhere on the front; completing u_h by multigrid costs less.
- **On the finer mesh** finite elements on the field's own cells are the cheapest of a like error from some hundred
  loads on, where the coefficient is smooth.
- **Surrogates** (on the finer mesh) are among the cheapest coarse answers for a new coefficient where their card fits;
  one exact matrix with `interiors=32` costs a few times as much, needs no card, and is as good.
"""
FAINT = {"coarse FEM, arithmetic mean", "coarse FEM, harmonic mean"}  # measured, and left out of the pictures


def field(family: str, mesh: MeshQuad, seed: int) -> np.ndarray:
    """A coefficient of a family, ``(nelems,)``, scaled to the contrast in its name."""
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    if family.startswith("multilevel"):
        return iid_multilevel(mesh, range(9), 1.0, 5.0, rng)
    if family.startswith("log-normal"):
        logs = np.log(log_normal(mesh, 1.0, 0.04, rng))
        return np.exp((logs - logs.min()) * np.log(100.0) / np.ptp(logs))
    if family.startswith("discs"):
        return inclusions(mesh, 100.0, 100, 0.03, rng)
    return np.maximum(*(channels(mesh, 100.0, 4, 1 / 64, rng, axis) for axis in (0, 1)))


def case_of(family: str, seed: int, cells: int) -> Case:
    """The problem on ``cells`` x ``cells`` fine cells, 32 x 32 coarse ones, with the field on 256 x 256."""
    line = np.linspace(0, 1, CELLS + 1)
    mesh = MeshQuad.init_tensor(line, line)
    case = Case(Diffusion(mesh, field(family, mesh, seed)), coarsened(mesh, REFINE), REFINE)
    return finer(case, cells // CELLS, "benchmark") if cells > CELLS else case


def measured(family: str, seed: int, cells: int) -> list[dict[str, object]]:
    """The rows of one family on one fine mesh; models of the package by their cards, those made for the mesh, and
    super-elements, which are made for the finer one.
    """
    case = case_of(family, seed, cells)
    chosen = chosen_models(case, None)
    models = chosen.models if (chosen.below or 1) == case.below else {}
    if cells > CELLS:
        models = {**models, "super-elements": load_surrogate("diffusion")}
    ells = (1, 2, 3) if cells == CELLS else (1, 2)  # at 1024 x 1024 a load takes ten seconds for ell = 3
    many = max(LOADS) if cells == CELLS else 1  # and a super-localised basis takes a minute
    rows = diffusion_rows(case, LODOptions(ells), many, learned_rows(case, models, 0.02, "auto"))
    loads = drawn_loads(case.problem, MEASURED + 1)[1:]  # f = 1 is a special case for some
    repeats = 2 if cells == CELLS else 1  # what takes seconds needs no second run
    table = compare_loads(case.problem, rows, loads, REFERENCE, repeats=repeats, progress=_told)
    return [
        {"name": row.name, "group": row.group, "errors": dict(row.errors), "stages": dict(row.stages)}
        for row in table
        if not row.failure
    ]


def _told(done: int, total: int, text: str) -> None:
    print(f"  {done + 1}/{total} {text}", flush=True)


def reckoned(rows: list[dict], fields: int, loads: int) -> Table:
    """The table for so many coefficients of so many loads each."""
    out = []
    for row in rows:
        mesh, once, each = (row["stages"][stage] for stage in STAGES)
        seconds = mesh + fields * (once + loads * each)
        out.append(Row(row["name"], row["errors"], None, seconds, group=row["group"], stages=row["stages"]))
    return Table(tuple(out))


def winners(results: dict[str, list[dict]], cells: int) -> list[str]:
    """How often each method is the one to take, of all families and seeds, and whether seeds agree."""
    head = (
        "coefficients",
        "loads",
        "the fine solution to 1 % in energy",
        "a coarse answer, where that is cheaper",
        "seed 0's choice on seed 1",
    )
    lines = [f"| {' | '.join(head)} |", "|---:|---:|---|---|---|"]
    chosen = {tuple(json.loads(key)): rows for key, rows in results.items() if json.loads(key)[2] == cells}
    for fields in FIELDS:
        for loads in LOADS:
            found = {key: cheapest(reckoned(rows, fields, loads), FINE, COARSE) for key, rows in chosen.items()}
            names = {key: tuple("nothing" if row is None else row.name for row in pair) for key, pair in found.items()}
            cells_ = []
            for place in (0, 1):
                count = Counter(pair[place] for pair in names.values())
                cells_.append(", ".join(f"{name} ({times})" for name, times in count.most_common()))
            cells_.append(agreement(found, chosen, fields, loads))
            lines.append(f"| {fields} | {loads} | {' | '.join(cells_)} |")
    return lines


def agreement(found: dict, chosen: dict, fields: int, loads: int) -> str:
    """What the fine answer that is cheapest for seed 0 costs for seed 1, over the cheapest there; coarse answers."""
    ratios, same = [], []
    for (family, seed, cells), (best, cheap) in found.items():
        if seed == 0 and (family, 1, cells) in found:
            other, near = found[family, 1, cells]
            table = reckoned(chosen[family, 1, cells], fields, loads)
            ratios.append(table[best.name].cpu_seconds / other.cpu_seconds)
            same.append(kind(cheap) == kind(near))
    return f"at most {max(ratios):.2f} times; {sum(same)} of {len(same)} alike" if ratios else "one seed"


def kind(row: Row | None) -> str:
    """The kind of a coarse answer: all ell, a surrogate and its hybrid, are one."""
    name = "nothing" if row is None else row.name
    return "surrogate" if name.startswith(("surrogate", "hybrid")) else name.partition(" ell")[0]


def sentences(results: dict[str, list[dict]], cells: int) -> list[str]:
    """What to use, family by family, for numbers of coefficients and loads: all seeds that were measured."""
    lines = ["| family | seed | coefficients | loads | what to use |", "|---|---:|---:|---:|---|"]
    for key, rows in sorted(results.items()):
        family, seed, size = json.loads(key)
        if size != cells:
            continue
        for fields in FIELDS:
            for loads in LOADS:
                told = advice(reckoned(rows, fields, loads), FINE, COARSE).removeprefix("for this, use ")
                lines.append(f"| {family} | {seed} | {fields} | {loads} | {told} |")
    return lines


def stage_table(results: dict[str, list[dict]], cells: int) -> list[str]:
    """Errors and stages of every method: the worst error and the largest CPU seconds of all families and seeds."""
    lines = [
        "| | L2, worst (family) | energy, worst | CPU s mesh | CPU s field | CPU s load |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    chosen = {tuple(json.loads(key)): rows for key, rows in results.items() if json.loads(key)[2] == cells}
    names = {row["name"]: row["group"] for rows in chosen.values() for row in rows}
    for group in (FINE, COARSE):
        lines.append(f"| *{group}* | | | | | |")
        for name in (name for name, within in names.items() if within == group):
            found = [(key, row) for key, rows in chosen.items() for row in rows if row["name"] == name]
            key, worst = max(found, key=lambda pair: pair[1]["errors"]["error L2"])
            energies = [row["errors"]["error energy"] for _, row in found if row["errors"]["error energy"] is not None]
            energy = f"{max(energies):.1e}" if energies else "-"
            stages = " | ".join(f"{max(row['stages'][stage] for _, row in found):.2g}" for stage in STAGES)
            lines.append(f"| {name} | {worst['errors']['error L2']:.1e} ({key[0]}) | {energy} | {stages} |")
    return lines


def draw(results: dict[str, list[dict]], cells: int, seed: int, path: Path) -> None:
    """Error against CPU seconds a coefficient, one row of panels a family, one column a number of loads."""
    from matplotlib.ticker import NullFormatter

    chosen = {json.loads(key)[0]: rows for key, rows in results.items() if json.loads(key)[1:] == [seed, cells]}
    looks = _looks([row for rows in chosen.values() for row in rows])
    with figure(17, 3.6 * len(chosen) + 1.9) as picture:
        panels = picture.subplots(len(chosen), len(LOADS), sharey="row", sharex="col", squeeze=False)
        for line, (family, rows) in zip(panels, chosen.items(), strict=True):
            for ax, loads in zip(line, LOADS, strict=True):
                for fields, face in ((1, {}), (100, {"markerfacecolor": "none"})):
                    for row in reckoned(rows, fields, loads):
                        if row.name in looks and row.error:
                            cost, label = (row.cpu_seconds or 0.0) / fields, None if face else row.name
                            ax.loglog(cost, row.error, looks[row.name], label=label, **face)
                direct = reckoned(rows, 1, loads)[REFERENCE].cpu_seconds
                ax.axvline(direct, color="0.5", linestyle=":", linewidth=1.2)
                ax.set_title(f"{family}, {loads} load{'s' if loads > 1 else ''}")
                ax.set_xlabel("CPU seconds a coefficient" if family == list(chosen)[-1] else "")
                ax.xaxis.set_minor_formatter(NullFormatter())
                grid(ax)
            line[0].set_ylabel("relative $L^2$ error")
        labels = {}
        for ax in picture.axes:
            labels |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        picture.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=5, frameon=False)
        picture.suptitle(
            f"{cells} x {cells} fine cells: fine answers (circles) and coarse ones (squares, diamonds); hollow: one of "
            "100 coefficients; dotted: elimination"
        )
    picture.savefig(path, dpi=90)


def _looks(rows: list[dict]) -> dict[str, str]:
    """Colour and mark of every method shown: circles or squares; from the ninth of a kind on they differ a little."""
    looks: dict[str, str] = {}
    for kind, marks in ((FINE, "oh"), (COARSE, "sD")):
        names = dict.fromkeys(row["name"] for row in rows if row["group"] == kind)
        shown = [name for name in names if name not in FAINT and name != REFERENCE]
        looks |= {name: f"C{k % 8}{marks[k // 8 % 2]}" for k, name in enumerate(shown)}
    return looks


def main() -> None:
    """Measure what is missing, and write tables and pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--meshes", type=int, nargs="+", default=[256, 1024])
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of S that is not definite: the errors show it
    store = HERE / "work_precision.json"
    results = json.loads(store.read_text()) if store.is_file() else {}
    for cells in given.meshes:
        for seed in given.seeds:
            for family in FAMILIES:
                key = json.dumps([family, seed, cells])
                if key in results:
                    continue
                print(f"{family}, seed {seed}, {cells} x {cells}", flush=True)
                results[key] = measured(family, seed, cells)
                store.write_text(json.dumps(results, indent=1) + "\n")
    write(results, 0)


def write(results: dict[str, list[dict]], seed: int) -> None:
    """The page, and the pictures of one seed."""
    text = [__doc__.split("\n\n")[0].removesuffix("."), "", INTRODUCTION.format(machine()), ""]
    for cells in sorted({json.loads(key)[2] for key in results}):
        if any(json.loads(key)[1:] == [seed, cells] for key in results):
            draw(results, cells, seed, HERE / f"work_precision_{cells}.png")
        seen = ", ".join(sorted(f"{f} (seed {s})" for f, s, c in map(json.loads, results) if c == cells))
        text += [f"## {cells} x {cells} fine cells", "", f"Measured: {seen}.", ""]
        text += [f"![error against seconds](work_precision_{cells}.png)", "", *winners(results, cells), ""]
        text += [*stage_table(results, cells), "", *sentences(results, cells), ""]
    (HERE / "work_precision.md").write_text("# " + "\n".join(text))


if __name__ == "__main__":
    main()
