r"""Train a surrogate for coefficients of your own; and how the ones of the package were made.

A surrogate replaces the correctors of one setting (n fine cells along a coarse edge, ell, the form) for one family of
coefficients. What the user brings is ``draw(i)``, field number i; what comes back knows

- the local matrices S_T, by a network in which scale, symmetries and constants are right by construction;
- the range of what it saw: values, shapes of patches, patterns;
- how far off it is likely to be, a 0.9 quantile of |S^_T - S_T|_F / |S_T|_F, learned on fields that were neither
  trained on nor used to choose the weights. The share of new fields that this covers is measured, and on the card.

Here: log-normal fields of correlation length 1/16 on 8 x 8 coarse elements with 8 x 8 cells each. The surrogate is held
against coarse finite elements with the geometric mean on every element, and against its hybrid.

Run: python -m demos.train_surrogate
The models of the package (an hour to a day, on one core): python -m demos.train_surrogate NAME FOLDER [START]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from skfem import MeshQuad

from skfem_ml.coefficients import log_normal
from skfem_ml.learning import History
from skfem_ml.lod import LOD, GeometricMean, Hybrid, Surrogate, errors_of, train_surrogate
from skfem_ml.lod.surrogate import RECIPES, remake
from skfem_ml.problems import diffusion
from skfem_ml.progress import Progress, bar

LEVEL, REFINE, ELL = 3, 8, 2
LENGTH, SPREAD = 1 / 16, 0.6
STEPS, FIELDS, TOL = 200, 60, 0.02
NEW = 5 * 10**6  # numbers of the fields of the comparison, which nothing else sees
SURROGATE, HYBRID, NULL = "surrogate", f"hybrid, tol = {TOL}", "coarse FEM, geometric mean"


class Trained(NamedTuple):
    """The LOD, the surrogate, what happened in training, and errors on new fields by method."""

    lod: LOD
    surrogate: Surrogate
    history: History
    errors: dict[str, dict[str, float]]
    recomputed: float


def drawn(lod: LOD) -> Callable[[int], ndarray]:
    """``draw(i)``: a log-normal field from a stream of its own."""
    return lambda i: log_normal(lod.coefficient_mesh, SPREAD, LENGTH, np.random.default_rng([0, i]))


def compute(
    level: int = LEVEL, steps: int = STEPS, fields: int = FIELDS, test: int = 5, progress: Progress | None = None
) -> Trained:
    """Train and compare."""
    lod = LOD(MeshQuad().refined(level), refine=REFINE, ell=ELL)
    draw, card = drawn(lod), {"name": "log-normal", "family": f"log-normal fields of length {LENGTH}"}
    surrogate, history = train_surrogate(lod, draw, steps=steps, fields=fields, card=card, progress=progress)
    new = np.stack([draw(NEW + k) for k in range(test)])
    hybrid = Hybrid(surrogate, diffusion, element_tol=TOL)
    maps = {SURROGATE: surrogate, HYBRID: hybrid, NULL: GeometricMean()}
    errors = {name: errors_of(local_map, lod, new) for name, local_map in maps.items()}
    recomputed = float(np.mean([hybrid.judge(lod, a=a).fraction for a in new]))
    return Trained(lod, surrogate, history, errors, recomputed)


def report(result: Trained) -> str:
    """The table as text."""
    lines = [str(result.surrogate), result.history.message, ""]
    lines.append(f"{'errors on new fields':28s}" + "".join(f"{key:>12s}" for key in result.errors[NULL]))
    for name, errors in result.errors.items():
        lines.append(f"{name:28s}" + "".join(f"{value:12.1e}" for value in errors.values()))
    doubt = result.surrogate.card.doubt or {}
    covered = f"the doubt covers {doubt['covered, new fields']:.0%} of the patches of new fields (90 % meant)"
    return "\n".join([*lines, "", covered, f"the hybrid recomputes {result.recomputed:.0%}"])


def visualize(result: Trained | None = None):
    """The loss over the steps, and the doubt of a new field's patches against their true error."""
    from matplotlib.figure import Figure

    result = compute(steps=60, fields=20) if result is None else result
    lod, surrogate = result.lod, result.surrogate
    a = drawn(lod)(NEW)
    exact, (got, score) = lod.local(diffusion, a=a), surrogate.with_score(lod, lod.space.all_elements, a=a)
    error = np.linalg.norm(got - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(result.history.steps, result.history.losses, "o-")
    left.set(title="training", xlabel="step", ylabel="mean squared error of $S_T$, held-out fields")
    shown = np.isfinite(score)
    right.loglog(error[shown], score[shown], ".", label="patches of a new field")
    ends = error.min(), error.max()
    right.loglog(ends, ends, "k-", linewidth=1, label="as large as expected")
    right.set(title="what the network says of its error", xlabel="relative error of $S_T$", ylabel="score")
    right.legend(fontsize="small")
    return figure


def ship(name: str, folder: Path, start: Path | None) -> None:
    """Make a model of the package; see ``RECIPES``."""
    begin = Surrogate.load(start) if start is not None else None
    model, record = remake(
        RECIPES[name],
        folder,
        begin,
        progress=lambda done, total, text: print(f"{done} of {total}: {text}", flush=True),
    )
    model.save(folder / f"{name}.safetensors")
    print(f"{record.message}; {record.seconds[-1]:.0f} s of training; {dict(model.card.errors)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 2:
        ship(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    else:
        with bar() as show:
            outcome = compute(progress=show)
        print(report(outcome))
        visualize(outcome).savefig("train_surrogate.png", dpi=130)
