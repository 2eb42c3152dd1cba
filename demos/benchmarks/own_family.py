"""The trial of a new user: 200 fields of a family that nobody tuned, a budget, and what the model is worth.

Ellipses of contrast 27 (`demos.own_family`) and 300 Voronoi cells of contrast 30, 256 x 256 cells, 32 x 32 coarse
elements, ell = 2, n = 32 fine cells along a coarse edge. Training sees fields 0 to 199 of seed 0; what is reported here
is measured on fields of seed 1. Every trial goes to ``own_family.json`` at once, so that a run that is stopped goes on;
at the end ``own_family.md`` is written.

Run: python -m demos.benchmarks.own_family [BUDGET [LEVEL [FRESH]]] (20min, 5, 10; on two threads three quarters of an
hour a family and kind, most of it exact matrices for the fresh fields)
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from skfem import Mesh, MeshQuad
from skfem.models import unit_load

from demos.own_family import CONTRAST, ellipses
from skfem_ml import LOD, Surrogate, train_surrogate
from skfem_ml.compare import Verdict, machine
from skfem_ml.compare.verdict import COARSE, COARSE_ERROR, FIELD, FINE, FINE_ERROR, LEARNED, LOAD
from skfem_ml.learning.storage import write_whole
from skfem_ml.lod.coarse import solve_coarse
from skfem_ml.lod.surrogate import SuperElements
from skfem_ml.lod.surrogate.elements.judging import distances
from skfem_ml.lod.surrogate.elements.labels import Elements
from skfem_ml.lod.surrogate.recipe.elements import where_asked
from skfem_ml.lod.surrogate.recipe.train import MODEL, SHIPPED
from skfem_ml.meshes.rasters import raster_to_cells
from skfem_ml.metrics import l2_error
from skfem_ml.problems import diffusion
from skfem_ml.progress import bar

OUTPUT = Path(__file__)
HEAD = """Errors of u_h: relative L2 against exact LOD at n = 32, load 1, the largest (and mean) of the fresh fields;
shipped: the super-elements of the package, with which the training of elements begins. Ratio: the least of n = 8 to the
model. Covered: the share of elements of fresh fields whose error is not above the model's doubt (of super-elements
where the network is asked: others share one error), mean (least, largest) over the fields; 90 % is meant. By hand:
whether the verdict, for 1, 10, 100 and 1000 loads a field, is what a reckoning from its table gives."""
COVERED = {MODEL: "covered", SHIPPED: "covered, shipped"}
COLUMNS = (
    "family, kind, budget", "seconds", "fields", "steps", "u_h, n = 8", "u_h, shipped", "u_h, model", "ratio",
    *COVERED.values(), "by hand",
)  # fmt: skip
NOTE = """Every trial had two cores nearly to itself. What training adds to super-elements is a doubt and a promise that
are calibrated on the family, and no accuracy: what is left is the error of the sides of elements, which a network of
elements does not see (the row "interiors" has it too). Networks of patches do not come as close in twenty minutes, at
0.4 times the seconds a field; `train_surrogate` takes super-elements where they serve."""
FIELDS, KINDS = 200, ("elements", "patches")
Model = Surrogate | SuperElements
Row = dict[str, Any]


def ellipse_field(index: int, mesh: Mesh, seed: int = 0) -> ndarray:
    """The coefficient of picture number ``index``."""
    pixels = round(mesh.t.shape[1] ** 0.5)
    grey = ellipses(pixels, np.random.default_rng([seed, index])) / 255
    return raster_to_cells(CONTRAST ** (grey - 0.5), mesh)


def voronoi_field(index: int, mesh: Mesh, seed: int = 0, contrast: float = 30.0, count: int = 300) -> ndarray:
    """Voronoi cells of log-uniform values."""
    rng, x = np.random.default_rng([seed, index, 2]), mesh.p[:, mesh.t].mean(axis=1)
    points, values = rng.uniform(0, 1, (2, count)), contrast ** rng.uniform(0, 1, count)
    return values[np.argmin(((x[:, :, None] - points[:, None, :]) ** 2).sum(axis=0), axis=1)]


FAMILIES = {"ellipses, contrast 27": ellipse_field, "Voronoi cells, contrast 30": voronoi_field}


def trial(draw: Callable[..., ndarray], kind: str, budget: str, level: int, fresh: int) -> Row:
    """Train on fields of seed 0, and measure on fields of seed 1."""
    lod = LOD(MeshQuad().refined(level), refine=32, cells=8, ell=2)
    mesh = lod.coefficient_mesh
    fields, start = np.stack([draw(index, mesh) for index in range(FIELDS)]), time.perf_counter()
    with bar() as progress:
        model = train_surrogate(lod, fields, budget, kind=kind, progress=progress)
    seconds, verdict = time.perf_counter() - start, model.verdict
    assert verdict is not None
    models = {MODEL: model, SHIPPED: Surrogate.load("diffusion")}
    found = [measured(lod, models, draw(index, mesh, 1)) for index in range(fresh)]
    card = model.card
    return {
        "seconds": seconds, "cpu": dict(card["cpu"]), "fields": card["fields"], "steps": card["steps"],
        "rows": {name: [row[name] for row in found] for name in found[0]}, "doubt": model.card.doubt,
        "verdict": verdict.to_json(), "by hand": by_hand(verdict), "budget": budget, "level": level,
    }  # fmt: skip


def measured(lod: LOD, models: Mapping[str, Model], a: ndarray) -> dict[str, float]:
    """Errors of u_h against exact LOD at n = 32, of models and of exact LOD at n = 8, and what their doubts cover."""
    exact, b = lod.local(diffusion, a=a), unit_load.assemble(lod.coarse)

    def u(local: ndarray) -> ndarray:
        return solve_coarse(lod.sum(local).tocsr(), b, np.zeros(lod.coarse.N), lod.space.fixed)[0]

    right, got = u(exact), {name: lod.local(model, a=a) for name, model in models.items()}
    answers = {**got, "exact, n = 8": lod.with_fine(8).local(diffusion, a=a)}
    errors = {name: l2_error(u(local), right, lod.coarse, relative=True) for name, local in answers.items()}
    return errors | {COVERED[name]: covered(lod, model, a, got[name], exact) for name, model in models.items()}


def covered(lod: LOD, model: Model, a: ndarray, got: ndarray, exact: ndarray) -> float:
    """The share of elements whose error is not above the doubt: of S_T, or of the energies of super-elements, of those
    that the network is asked for.
    """
    if isinstance(model, SuperElements):
        truth = Elements.of(lod.with_fine(model.net.n).space, a)
        some = where_asked(truth)
        judged = model.judge(lod, some, a=a, tol=np.inf)
        return float((distances(judged.energies, truth.exact(some)) <= judged.doubt * (1 + 1e-9)).mean())
    error = np.linalg.norm(got - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    return float((error <= model.doubt(lod, lod.space.all_elements, a=a)).mean())


def by_hand(verdict: Verdict) -> dict[str, bool]:
    """Whether, for so many loads a field, it pays as the verdict says and its rival is the cheapest that is as good,
    reckoned again from the table alone.
    """
    rows, said = list(verdict.table), {}
    for loads in (1, 10, 100, 1000):
        cost = {row.name: row.stages[FIELD] + loads * row.stages[LOAD] for row in rows if not row.failure}
        pays, rivals = [], {}
        for own in (row for row in rows if row.group == LEARNED and not row.failure):
            heading = {COARSE: COARSE_ERROR, FINE: FINE_ERROR}
            good = [
                row for row in rows
                if row.group in heading and not row.failure
                and row[heading[row.group]] <= 1.5 * own[heading[row.group]]  # type: ignore[operator]
            ]  # fmt: skip
            rivals[own.name] = min((row.name for row in good), key=cost.__getitem__)
            saved = cost[rivals[own.name]] - cost[own.name]
            pays += [math.ceil(verdict.training / saved)] if saved >= 0.1 * cost[own.name] else []
        best = verdict.best(loads)
        fields = best is not None and best.fields == min(pays, default=None)
        said[str(loads)] = bool(fields and best.rival.name == rivals[best.row.name])
    return said


def report(trials: dict[str, Row]) -> str:
    """The tables."""
    head = [f"| {' | '.join(COLUMNS)} |", f"| {' | '.join(['---', *['---:'] * (len(COLUMNS) - 2), '---'])} |"]
    lines = ["# A family of your own", "", HEAD, "", *head, *(line(*trial) for trial in trials.items()), "", NOTE]
    for name, one in trials.items():
        verdict = Verdict.from_json(one["verdict"])
        lines += ["", f"## {name}, {one['budget']}", "", verdict.table.to_markdown(), verdict.sentence()]
    return "\n".join([*lines, "", machine()]) + "\n"


def line(name: str, one: Row) -> str:
    """The line of a trial."""
    errors = [np.array(one["rows"][method]) for method in ("exact, n = 8", SHIPPED, MODEL)]
    ratio = errors[0] / errors[2]
    cells = [f"{name}, {one['budget']}", f"{one['seconds']:.0f}", one["fields"], one["steps"]]
    cells += [f"{each.max():.1e} ({each.mean():.1e})" for each in errors]
    covers = [np.array(one["rows"][whose]) for whose in COVERED.values()]
    cells += [f"{ratio.min():.1f}", *(f"{each.mean():.1%} ({each.min():.1%}, {each.max():.1%})" for each in covers)]
    cells += ["right" if all(one["by hand"].values()) else one["by hand"]]
    return f"| {' | '.join(map(str, cells))} |"


def main(budget: str = "20min", level: int = 5, fresh: int = 10) -> dict[str, Row]:
    """Make the trials that are missing and write the tables."""
    path = OUTPUT.with_suffix(".json")
    trials: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
    for kind in KINDS:
        for family, draw in FAMILIES.items():
            name = f"{family}, {kind}"
            if (trials.get(name, {}).get("budget"), trials.get(name, {}).get("level")) != (budget, level):
                trials[name] = trial(draw, kind, budget, level, fresh)
                print(name, trials[name]["verdict"]["sentence"], flush=True)  # type: ignore[index]
                write_whole(path, json.dumps(trials, indent=1).encode())
    write_whole(OUTPUT.with_suffix(".md"), report(trials).encode())
    return trials


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*given[:1], *(int(number) for number in given[1:]))
