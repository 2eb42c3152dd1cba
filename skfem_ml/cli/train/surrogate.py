"""``skfem-ml train surrogate FIELDS --budget 20min``: a network in the place of correctors, and whether it pays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.errors import held_interrupt
from skfem_ml.cli.screen import LOG, Screen

if TYPE_CHECKING:
    from skfem_ml.lod import LOD, Surrogate
    from skfem_ml.lod.surrogate import Fields, SuperElements
    from skfem_ml.progress import Progress


Source = Annotated[
    str,
    typer.Argument(
        help="A folder of pictures, arrays or mesh files, one field each; module:function or file.py:function with "
        "draw(i) or draw(i, mesh); or a family: paper, wide, or one of either."
    ),
]


@dataclass(frozen=True)
class Square:
    """The unit square, zero on its boundary: sizes of its LOD."""

    coarse: int
    refine: int
    cells: int | None
    ell: int

    def lod(self) -> LOD:
        """The LOD. Raises ValueError for sizes that do not fit."""
        import numpy as np
        from skfem import MeshQuad

        from skfem_ml.checks import whole
        from skfem_ml.lod import LOD

        line = np.linspace(0, 1, whole(self.coarse, "coarse", 1) + 1)
        return LOD(MeshQuad.init_tensor(line, line), refine=self.refine, cells=self.cells, ell=self.ell)


def surrogate(
    fields: Source,
    screen: Screen,
    budget: Annotated[str, typer.Option("--budget", help="Time for all of it: 90s, 20min, 1h.")] = "20min",
    out: Annotated[Path, typer.Option("--out", help="Where to write the model.")] = Path("model.safetensors"),
    coarse: Annotated[int, typer.Option("--coarse", help="Coarse cells along x and y, in training.")] = 16,
    refine: Annotated[int, typer.Option("--refine", help="Fine cells along a coarse edge.")] = 8,
    cells: Annotated[int | None, typer.Option("--cells", help="Cells of the coefficient there. Default: all.")] = None,
    ell: Annotated[int, typer.Option("--ell", help="Localisation parameter.")] = 2,
    seed: opt.Seed = 0,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Keep labels and weights in this folder, and go on from there.")
    ] = None,
    low: opt.Low = None,
    high: opt.High = None,
    scale: opt.Scale = "linear",
) -> None:
    """Train a surrogate for a family of coefficients within a time, and say whether it pays.

    For the unit square, zero on its boundary. Ends with a table of errors and seconds on fields that were not seen,
    beside what else one would take, and one sentence: from how many fields on the model pays, or what to use. Ctrl-C
    while it trains ends the training; the best so far is judged and written.
    """
    from skfem_ml.lod.surrogate.recipe.budget import seconds_of

    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise ValueError(f"out: expected NAME.safetensors in a folder that exists, got {out}")
    seconds_of(budget)
    lod = Square(coarse, refine, cells, ell).lod()
    with held_interrupt():
        from skfem_ml.lod.surrogate import fields_of
    family = fields_of(fields, lod, seed=seed, low=low, high=high, scale=scale)
    with screen.progress() as report:
        LOG.info("%s: %s for labels, training and verdict; Ctrl-C ends the training and keeps the best", fields, budget)
        model = train(lod, family, budget, seed, resume, out.stem, report)
        model.save(out)
    screen.tell(told(model, out), {**model.card, "file": str(out)})


def train(
    lod: LOD, family: Fields, budget: str, seed: int, folder: Path | None, name: str, report: Progress
) -> Surrogate | SuperElements:
    """The model of a family."""
    from skfem_ml.lod.surrogate import train_surrogate

    return train_surrogate(lod, family, budget, seed=seed, folder=folder, card={"name": name}, progress=report)


def told(model: Surrogate | SuperElements, file: Path) -> str:
    """The verdict, what the model is, and how to use it."""
    card = model.card
    stopped = [f"training {card.facts['stopped']}"] if "stopped" in card.facts else []
    verdict = [str(model.verdict)] if model.verdict is not None else ["no verdict: no field was judged"]
    use = f"skfem-ml solve FIELD --method surrogate --surrogate {file}"
    return "\n".join([repr(model), *stopped, *verdict, f"file: {file}", f"use it by: {use}"])
