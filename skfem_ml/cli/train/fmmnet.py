"""``skfem-ml train fmmnet``: a DeepFMMNet for the radiative transfer, with a checkpoint, a card and its errors."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.compare.operators import Samples, Seed, parts
from skfem_ml.cli.train.group import train_app

NAMES = ["fmmnet.safetensors", "fmmnet.json", "fmmnet.png"]
CHECKPOINT = "fmmnet.pt"


@train_app.command("fmmnet")
def fmmnet(
    cells: Annotated[int, typer.Option("--cells", help="Cells N of the interval.")] = 320,
    samples: Samples = 6000,
    steps: Annotated[int, typer.Option("--steps", help="Training steps.")] = 2000,
    rank: Annotated[int, typer.Option("--rank", help="Moments of a leaf.")] = 4,
    hidden: Annotated[int, typer.Option("--hidden", help="Hidden units of a leaf.")] = 24,
    products: Annotated[int, typer.Option("--products", help="H2 products, with networks between them.")] = 3,
    seed: Seed = 0,
    output: opt.Output = Path("skfem_ml_output"),
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Train a DeepFMMNet on the radiative transfer in a slab, from scattering to mean intensity.

    Writes weights with a card (fmmnet.safetensors; skfem_ml.fmm.load_learned(path) reads it), card and history (JSON)
    and the loss curve (PNG) into the output folder. Ctrl-C leaves a checkpoint there, from which the same command goes
    on.
    """
    if cells < 2 or samples < 30 or steps < 1:
        raise ValueError(f"cells, samples, steps: expected at least 2, 30 and 1, got {cells}, {samples} and {steps}")
    if min(rank, hidden, products) < 1:
        raise ValueError(f"rank, hidden, products: expected at least 1 each, got {rank}, {hidden} and {products}")
    from skfem_ml.cli.outputs import Outputs, talkative

    outputs = Outputs(output, NAMES)
    setting = {"cells": cells, "samples": samples, "steps": steps, "seed": seed}
    sizes = {"rank": rank, "hidden": hidden, "products": products}
    _require_same_run(output, {**setting, **sizes})
    learned, card = _trained(setting, sizes, output, talkative(quiet, json))
    payload = json_format.dumps(_write(learned, card, outputs), indent=2, allow_nan=False)
    outputs.write_text("fmmnet.json", payload + "\n")
    (output / CHECKPOINT).unlink(missing_ok=True)
    (output / (CHECKPOINT + ".json")).unlink(missing_ok=True)
    if json:
        typer.echo(payload)
    elif not quiet:
        typer.echo(
            f"{card['parameters']:,} parameters, {learned.history.message}\n"
            f"mean relative residual: {card['residual_train']:.2e} (training), {card['residual_test']:.2e} (test)\n\n"
            f"files: {', '.join(outputs.files().values())}"
        )


def _require_same_run(folder: Path, setting: dict[str, int]) -> None:
    """A checkpoint of other settings would be taken for one of these; it is refused."""
    path = folder / (CHECKPOINT + ".json")
    if (folder / CHECKPOINT).exists():
        held = json_format.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if held != setting:
            raise ValueError(
                f"{folder / CHECKPOINT}: a checkpoint of another run, {held}, expected {setting}; remove it, or "
                "choose another --output"
            )
    path.write_text(json_format.dumps(setting), encoding="utf-8")


def _trained(setting: dict[str, int], sizes: dict[str, int], folder: Path, show: bool) -> tuple[Any, dict[str, Any]]:
    import numpy as np

    from skfem_ml.fmm.networks.training import Recipe, solver_deep
    from skfem_ml.metrics import mean_residual
    from skfem_ml.progress import bar
    from skfem_ml.reference import transfer_samples

    seed, samples, steps = setting["seed"], setting["samples"], setting["steps"]
    with bar(show) as report:
        report(0, steps, f"{samples} samples")
        data = transfer_samples(samples, setting["cells"], np.random.default_rng(seed), **parts(samples))
        recipe = Recipe(
            steps,
            checkpoint=folder / CHECKPOINT,
            progress=report,
        )
        learned = solver_deep(recipe, seed=seed, **sizes)(data)
    residuals = {
        f"residual_{name}": mean_residual(learned(data.part(name)[0]), data.part(name)[1])
        for name in ("train", "validation", "test")
    }
    card = {"problem": data.name, **setting, **sizes, "parameters": learned.unknowns, **residuals}
    return learned, card


def _write(learned: Any, card: dict[str, Any], outputs: Any) -> dict[str, Any]:
    from matplotlib.figure import Figure

    from skfem_ml import __version__

    outputs.write("fmmnet.safetensors", lambda path: learned.save(path, card))
    history = learned.history
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(history.steps, history.losses, "o-", markersize=3)
    axes.set(title=card["problem"], xlabel="step", ylabel="mean relative residual, validation")
    axes.grid(True, which="both", alpha=0.3)
    outputs.write("fmmnet.png", lambda path: figure.savefig(path, dpi=150))
    curve = {"steps": history.steps, "residuals": history.losses, "seconds": history.seconds}
    return {"version": __version__, **card, "history": curve, "files": outputs.files()}
