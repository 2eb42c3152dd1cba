"""``skfem-ml train surrogate FILE``: a network in the place of the correctors, trained on exact local matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli.run import run_training
from skfem_ml.cli.screen import Screen
from skfem_ml.cli.train.best import restore_best

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import nn

    from skfem_ml.learning import History
    from skfem_ml.lod import LOD
    from skfem_ml.lod.surrogate import Surrogate
    from skfem_ml.progress import Progress

NETWORKS = ("field", "mlp")
HELD = 10**6  # numbers of the fields for validation and test: no run draws so many
SEEN = 64  # fields drawn again for the range of values, where a run is stopped


@dataclass(frozen=True)
class Plan:
    """What to train: setting, network, and how long."""

    coarse: int
    refine: int
    cells: int | None
    ell: int
    network: str
    steps: int
    rate: float
    seed: int

    @cached_property
    def lod(self) -> LOD:
        """The unit square, zero on its boundary."""
        import numpy as np
        from skfem import MeshQuad

        from skfem_ml.lod import LOD

        line = np.linspace(0, 1, self.coarse + 1)
        return LOD(MeshQuad.init_tensor(line, line), refine=self.refine, cells=self.cells, ell=self.ell)

    @cached_property
    def net(self) -> nn.Module:
        """The network."""
        import torch

        from skfem_ml.lod.surrogate import FieldNetwork, PatchMLP

        build = FieldNetwork if self.network == "field" else PatchMLP
        return build(self.lod.space.m, self.lod.ell, generator=torch.Generator().manual_seed(self.seed))

    def require(self) -> None:
        """Raise ValueError for sizes that do not fit, before anything is computed."""
        from skfem_ml.checks import positive, whole

        whole(self.coarse, "coarse", 1)
        whole(self.steps, "steps", 1)
        positive(self.rate, "rate")
        _ = self.lod

    def draw(self, index: int) -> ndarray:
        """Field number ``index`` of the ten families."""
        from skfem_ml.coefficients.families import NAMES, paper_field

        return paper_field(self.lod.coefficient_mesh, NAMES[index % len(NAMES)], index // len(NAMES), self.seed)

    def fields(self, start: int, count: int) -> ndarray:
        """Fields ``(count, nelems)`` from a number on."""
        import numpy as np

        return np.stack([self.draw(index) for index in range(start, start + count)])

    def card(self, name: str) -> dict[str, object]:
        """What the model's card says of the fields."""
        return {"name": name, "family": "iid 0-8 and multiscale", "range": [1.0, 5.0], "coarse": self.coarse}


def surrogate(
    file: Annotated[Path, typer.Argument(help="Where to write the model (.safetensors).")],
    screen: Screen,
    coarse: Annotated[int, typer.Option("--coarse", help="Coarse cells along x and y, in training.")] = 16,
    refine: Annotated[int, typer.Option("--refine", help="Fine cells along a coarse edge.")] = 8,
    cells: Annotated[int | None, typer.Option("--cells", help="Cells of the coefficient there. Default: all.")] = None,
    ell: Annotated[int, typer.Option("--ell", help="Localisation parameter.")] = 2,
    network: Annotated[str, typer.Option("--network", help="field, or mlp: that of the paper.")] = "field",
    steps: Annotated[int, typer.Option("--steps", help="Training steps, of one field each.")] = 300,
    rate: Annotated[float, typer.Option("--rate", help="Largest learning rate.")] = 3e-3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of weights, fields and symmetries.")] = 0,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Save here as it goes, and go on from there.")
    ] = None,
) -> None:
    """Train a surrogate on the ten families of Kropfl, Maier and Peterseim (2022), with labels made on the fly.

    The matrices of the unit square, zero on its boundary. Prints the errors on fields that were not seen, beside those
    of coarse finite elements with the geometric mean, and writes them into the model's card. Ctrl-C writes the best
    model so far, without errors.
    """
    if network not in NETWORKS:
        raise ValueError(f"network: expected one of {', '.join(NETWORKS)}, got {network!r}")
    if file.suffix != ".safetensors" or not file.parent.is_dir():
        raise ValueError(f"file: expected NAME.safetensors in a folder that exists, got {file}")
    plan = Plan(coarse, refine, cells, ell, network, steps, rate, seed)
    plan.require()
    with TemporaryDirectory() as folder:
        saved = Path(folder) / "best.pt" if checkpoint is None else checkpoint
        model, history = run_training(
            screen,
            f"{file}: {steps} steps, a record every {every(steps)}",
            lambda report: train(plan, file, saved, report),
            lambda: keep(plan, file, saved),
        )
    content = {**model.card, "seconds": history.seconds[-1], "status": history.status, "file": str(file)}
    screen.tell(_text(content, history), content)


def every(steps: int) -> int:
    """Steps between two records: twenty a run."""
    return max(1, steps // 20)


def train(plan: Plan, file: Path, checkpoint: Path, report: Progress) -> tuple[Surrogate, History]:
    """Train, judge on fields that were not seen, and write the model."""
    from skfem_ml.lod import GeometricMean, errors_of
    from skfem_ml.lod.surrogate import fit_surrogate

    report(0, plan.steps, "exact matrices for validation")
    test = plan.fields(HELD + 10, 10)
    model, history = fit_surrogate(
        plan.lod,
        plan.draw,
        plan.net,
        validation=plan.fields(HELD, 10),
        steps=plan.steps,
        rate=plan.rate,
        seed=plan.seed,
        every=every(plan.steps),
        checkpoint=checkpoint,
        progress=report,
        card=plan.card(file.stem),
        test=test,
    )
    model.card["null"] = errors_of(GeometricMean(), plan.lod, test)
    model.save(file)
    return model, history


def keep(plan: Plan, file: Path, checkpoint: Path) -> Path | None:
    """Write the best model of a run that was stopped; its card has no errors, and says so."""
    from skfem_ml.lod.surrogate import Surrogate, setting
    from skfem_ml.lod.surrogate.model import extent_of

    if not restore_best(plan.net, checkpoint):
        return None
    extent = extent_of(plan.net, plan.lod, plan.fields(0, SEEN))
    about = {"extent": extent, "seed": plan.seed, "errors": None, "stopped": True}
    Surrogate(plan.net, {**setting(plan.lod), **plan.card(file.stem), **about}).save(file)
    return file


def _text(content: Mapping[str, object], history: History) -> str:
    lines = [f"{history.message}; {content['seconds']:.0f} s of training, {content['fields']} fields"]
    for name, key in (("network", "errors"), ("null model", "null")):
        errors = content[key]
        assert isinstance(errors, Mapping)
        lines.append(f"{name:11s}" + ", ".join(f"{key} {value:.2e}" for key, value in errors.items()))
    use = f"skfem-ml solve FIELD --method surrogate --surrogate {content['file']}"
    return "\n".join([*lines, f"file: {content['file']}", f"use it by: {use}"])
