"""``skfem-ml train fmmnet``: a DeepFMMNet for the radiative transfer, with a checkpoint, a card and its errors."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.compare.operators import Samples, parts
from skfem_ml.cli.run import run_training
from skfem_ml.cli.screen import Screen, as_json
from skfem_ml.cli.train.best import restore_best

if TYPE_CHECKING:
    from skfem_ml.cli.outputs import Outputs
    from skfem_ml.fmm.networks import DeepFMMNet
    from skfem_ml.learning import Learned
    from skfem_ml.problems import OperatorSamples
    from skfem_ml.progress import Progress

NAMES = ["fmmnet.safetensors", "fmmnet.json", "fmmnet.png"]
CHECKPOINT = "fmmnet.pt"
LEAF = 10  # points, as in the paper


def fmmnet(
    screen: Screen,
    cells: Annotated[int, typer.Option("--cells", help="Cells N of the interval.")] = 320,
    samples: Samples = 6000,
    steps: Annotated[int, typer.Option("--steps", help="Training steps.")] = 2000,
    rank: Annotated[int, typer.Option("--rank", help="Moments of a leaf.")] = 4,
    hidden: Annotated[int, typer.Option("--hidden", help="Hidden units of a leaf.")] = 24,
    products: Annotated[int, typer.Option("--products", help="H2 products, with networks between them.")] = 3,
    seed: opt.Seed = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Train a DeepFMMNet on the radiative transfer in a slab, from scattering to mean intensity.

    Writes weights with a card (fmmnet.safetensors), card and history (JSON) and the loss curve (PNG) into the output
    folder. Ctrl-C writes the best weights so far, and leaves a checkpoint from which the same command goes on.
    """
    if cells < 2 or samples < 30 or steps < 1:
        raise ValueError(f"cells, samples, steps: expected at least 2, 30 and 1, got {cells}, {samples} and {steps}")
    if min(rank, hidden, products) < 1:
        raise ValueError(f"rank, hidden, products: expected at least 1 each, got {rank}, {hidden} and {products}")
    from skfem_ml.cli.outputs import Outputs

    outputs = Outputs(output, NAMES)
    setting = {"cells": cells, "samples": samples, "steps": steps, "seed": seed}
    training = Training(setting, {"rank": rank, "hidden": hidden, "products": products}, outputs)
    training.require_same_run()
    start = f"{output / NAMES[0]}: {steps} steps"
    learned, card = run_training(screen, start, training.train, training.keep)
    content = {**training.write(learned, card), "files": outputs.files()}
    outputs.write_text("fmmnet.json", as_json(content) + "\n")
    training.forget()
    text = (
        f"{learned.unknowns:,} parameters, {learned.history.message}\n"
        f"mean relative residual: {card['residual_train']:.2e} (training), {card['residual_test']:.2e} (test)\n\n"
        f"files: {', '.join(outputs.files().values())}\n"
        f'load it by: skfem_ml.fmm.load_learned("{output / NAMES[0]}")'
    )
    screen.tell(text, content)


class Training:
    """One run, its files in a folder: what is asked for, and the network once there are samples."""

    def __init__(self, setting: dict[str, int], sizes: dict[str, int], outputs: Outputs):
        self.setting, self.sizes, self.outputs = setting, sizes, outputs
        self.checkpoint = outputs.folder / CHECKPOINT
        self.note = outputs.folder / (CHECKPOINT + ".json")  # the settings of the checkpoint
        self.net: DeepFMMNet | None = None

    def require_same_run(self) -> None:
        """A checkpoint of other settings would be taken for one of these: ValueError."""
        wanted = {**self.setting, **self.sizes}
        if self.checkpoint.exists():
            held = json_format.loads(self.note.read_text(encoding="utf-8")) if self.note.exists() else None
            if held != wanted:
                raise ValueError(
                    f"{self.checkpoint}: a checkpoint of another run, {held}, expected {wanted}; remove it, or "
                    "choose another --output"
                )
        self.note.write_text(json_format.dumps(wanted), encoding="utf-8")

    def train(self, report: Progress) -> tuple[Learned, dict[str, object]]:
        """Draw samples, train, and return the map with its card."""
        import numpy as np

        from skfem_ml.learning import Recipe, learn
        from skfem_ml.metrics import mean_residual
        from skfem_ml.reference import transfer_samples

        seed, samples, steps = self.setting["seed"], self.setting["samples"], self.setting["steps"]
        report(0, steps, f"{samples} samples")
        data = transfer_samples(samples, self.setting["cells"], np.random.default_rng(seed), **parts(samples))
        self.net = self._network(data)
        learned = learn(self.net, data, Recipe(steps, checkpoint=self.checkpoint, progress=report), seed=seed)
        residuals = {
            f"residual_{name}": mean_residual(learned(data.part(name)[0]), data.part(name)[1])
            for name in ("train", "validation", "test")
        }
        return learned, {**self._card(data.name), "parameters": learned.unknowns, **residuals}

    def _network(self, data: OperatorSamples) -> DeepFMMNet:
        import torch

        from skfem_ml.fmm import H2Skeleton
        from skfem_ml.fmm.networks import DeepFMMNet

        generator = torch.Generator().manual_seed(self.setting["seed"])
        rank, hidden, products = (self.sizes[name] for name in ("rank", "hidden", "products"))
        net = DeepFMMNet(H2Skeleton(data.points, LEAF), rank, hidden, products, generator=generator)
        net.normalise(*data.part("train"))
        return net

    def _card(self, problem: str) -> dict[str, object]:
        return {"problem": problem, **self.setting, **self.sizes}

    def keep(self) -> Path | None:
        """Write the best network of a run that was stopped; its card has no residuals."""
        if self.net is None or not restore_best(self.net, self.checkpoint):
            return None
        from skfem_ml.learning import Learned

        return self._save(Learned(self.net), {**self._card("radiative transfer"), "stopped": True})

    def _save(self, learned: Learned, card: dict[str, object]) -> Path:
        return self.outputs.write(NAMES[0], lambda path: learned.save(path, card))

    def write(self, learned: Learned, card: dict[str, object]) -> dict[str, object]:
        """Write weights and loss curve; return what to tell."""
        from matplotlib.figure import Figure

        from skfem_ml import __version__

        self._save(learned, card)
        history = learned.history
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.semilogy(history.steps, history.losses, "o-", markersize=3)
        axes.set(title=card["problem"], xlabel="step", ylabel="mean relative residual, validation")
        axes.grid(True, which="both", alpha=0.3)
        self.outputs.write("fmmnet.png", lambda path: figure.savefig(path, dpi=150))
        curve = {"steps": history.steps, "residuals": history.losses, "seconds": history.seconds}
        return {"version": __version__, **card, "history": curve}

    def forget(self) -> None:
        """Remove the checkpoint of a run that is done."""
        self.checkpoint.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
