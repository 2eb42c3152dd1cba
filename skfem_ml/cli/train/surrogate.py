"""``skfem-ml train surrogate FILE``: a network in the place of the correctors, trained on exact local matrices."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.train.group import train_app

NETWORKS = ("field", "mlp")
HELD = 10**6  # numbers of the fields that are held out: no run draws so many
FIELDS = 200  # labelled at most


@train_app.command("surrogate")
def surrogate(
    file: Annotated[Path, typer.Argument(help="Where to write the model (.safetensors).")],
    coarse: Annotated[int, typer.Option("--coarse", help="Coarse cells along x and y, in training.")] = 16,
    refine: Annotated[int, typer.Option("--refine", help="Fine cells along a coarse edge.")] = 8,
    cells: Annotated[int | None, typer.Option("--cells", help="Cells of the coefficient there. Default: all.")] = None,
    ell: Annotated[int, typer.Option("--ell", help="Localisation parameter.")] = 2,
    network: Annotated[str, typer.Option("--network", help="field, or mlp: that of the paper.")] = "field",
    steps: Annotated[int, typer.Option("--steps", help="Training steps.")] = 300,
    rate: Annotated[float, typer.Option("--rate", help="Largest learning rate.")] = 3e-3,
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, fields and symmetries.")] = 0,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Save here as it goes, and go on from there.")
    ] = None,
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Train a surrogate on the ten families of Kropfl, Maier and Peterseim (2022), with labels made on the fly.

    The matrices of the unit square, zero on its boundary. Prints the errors on fields that were not seen, beside those
    of coarse finite elements with the geometric mean, and writes them into the model's card.
    """
    if network not in NETWORKS:
        raise ValueError(f"network: expected one of {', '.join(NETWORKS)}, got {network!r}")
    if file.suffix != ".safetensors" or not file.parent.is_dir():
        raise ValueError(f"file: expected NAME.safetensors in a folder that exists, got {file}")
    content, history = train(file, coarse, refine, cells, ell, network, steps, rate, seed, checkpoint, quiet, json)
    if json:
        typer.echo(json_format.dumps(content, indent=2, allow_nan=False))
    elif not quiet:
        typer.echo(_text(content, history))


def train(
    file: Path, coarse: int, refine: int, cells: int | None, ell: int, network: str, steps: int, rate: float, seed: int,
    checkpoint: Path | None, quiet: bool, json: bool,
) -> tuple[dict[str, Any], Any]:  # fmt: skip
    """Train, write the model, and return what is to be told of it."""
    from dataclasses import replace

    import numpy as np
    import torch
    from skfem import MeshQuad

    from skfem_ml.cli.outputs import talkative
    from skfem_ml.coefficients.families import NAMES, paper_field
    from skfem_ml.lod import LOD, GeometricMean, PatchMLP, errors_of
    from skfem_ml.lod.surrogate import fit_surrogate, train_surrogate
    from skfem_ml.progress import bar

    line = np.linspace(0, 1, coarse + 1)
    lod = LOD(MeshQuad.init_tensor(line, line), refine=refine, cells=cells, ell=ell)

    def draw(index: int) -> Any:
        return paper_field(lod.coefficient_mesh, NAMES[index % len(NAMES)], index // len(NAMES), seed)

    about = {"name": file.stem, "family": "iid 0-8 and multiscale", "range": [1.0, 5.0], "coarse": coarse}
    options: dict[str, Any] = {"steps": steps, "rate": rate, "seed": seed, "checkpoint": checkpoint, "card": about}
    held, test = (np.stack([draw(HELD + k) for k in range(start, start + 10)]) for start in (0, 40))
    with bar(talkative(quiet, json)) as report:
        options |= {"progress": report, "every": max(1, steps // 20)}
        if network == "mlp":
            net = PatchMLP(lod.space.m, lod.ell, generator=torch.Generator().manual_seed(seed))
            model, history = fit_surrogate(lod, draw, net, validation=held, test=test, **options)
        else:
            model, history = train_surrogate(lod, draw, fields=min(FIELDS, max(10, steps)), **options)
    null = errors_of(GeometricMean(), lod, test)
    model.card = replace(model.card, facts={**model.card.facts, "null": null})
    model.save(file)
    return {**model.card, "seconds": history.seconds[-1], "status": history.status, "file": str(file)}, history


def _text(content: dict[str, Any], history: Any) -> str:
    lines = [f"{history.message}; {content['seconds']:.0f} s of training, {content['fields']} fields"]
    for name, errors in (("network", content["errors"]), ("null model", content["null"])):
        lines.append(f"{name:11s}" + ", ".join(f"{key} {value:.2e}" for key, value in errors.items()))
    return "\n".join([*lines, f"file: {content['file']}"])
