"""``skfem-ml train hits [SYSTEM]``: flow maps of several steps, from a known system or from trajectories in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.run import run_training
from skfem_ml.cli.screen import Screen, as_json
from skfem_ml.cli.train.best import restore_best
from skfem_ml.cli.train.trajectories import known, levels_of, stored

if TYPE_CHECKING:
    from skfem_ml.cli.outputs import Outputs
    from skfem_ml.cli.train.trajectories import Data, Source
    from skfem_ml.hits import FlowMap, HiTS
    from skfem_ml.progress import Progress
VARIANTS = ("ours", "published")


def hits(
    screen: Screen,
    system: Annotated[
        str,
        typer.Argument(
            help="harmonic, hyperbolic, cubic, van-der-pol, hopf, lorenz, or a file of trajectories: .npz with t (k,), "
            "of equal spacing, and y (trajectories, n, k)."
        ),
    ] = "van-der-pol",
    levels: Annotated[str, typer.Option("--levels", help="Steps 2^k of the system's or the file's.")] = "3,4,5,6,7",
    steps: Annotated[int, typer.Option("--steps", help="Training steps a network; 3000 take about 10 s.")] = 3000,
    starts: Annotated[
        int | None, typer.Option("--starts", help="Training trajectories. Default: as published.")
    ] = None,
    variant: Annotated[str, typer.Option("--variant", help="ours or published.")] = "ours",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of weights, starts and batches.")] = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Train a hierarchy of flow maps, choose its scales on validation trajectories, and test it on unseen ones.

    Writes SYSTEM.safetensors (weights and card) and SYSTEM.json into the output folder. Checkpoints lie in
    hits-SYSTEM/ there: a run that was stopped goes on, one with other options needs another folder. Ctrl-C writes the
    weights so far.
    """
    from skfem_ml.checks import choice
    from skfem_ml.cli.outputs import Outputs

    scales = levels_of(levels)
    if steps < 1 or (starts is not None and starts < 1):
        raise ValueError(f"steps, starts: expected at least 1, got {steps} and {starts}")
    choice(variant, VARIANTS, "variant")
    source = stored(Path(system)) if Path(system).suffix else known(system, scales, starts, seed)
    name = Path(system).stem
    outputs = Outputs(output, [f"{name}.safetensors", f"{name}.json"])
    training = Training(name, source, scales, steps, variant, seed, output / f"hits-{name}")
    found, content = run_training(screen, training.start(), training.train, lambda: training.keep(outputs))
    outputs.write(f"{name}.safetensors", found.save)
    content = {**content, "files": outputs.files()}
    outputs.write_text(f"{name}.json", as_json(content) + "\n")
    screen.tell(_text(content, outputs), content)


@dataclass
class Training:
    """The training of a hierarchy; ``maps`` are its networks, from the moment when they are there."""

    name: str
    source: Source
    scales: list[int]
    steps: int
    variant: str
    seed: int
    folder: Path
    maps: list[FlowMap] = field(default_factory=list)

    def start(self) -> str:
        """What begins."""
        return f"{self.name}: networks of {len(self.scales)} time steps, {self.steps} training steps each"

    def train(self, report: Progress) -> tuple[HiTS, dict[str, object]]:
        """Train, select and test; return the hierarchy, and what to tell."""
        from skfem_ml.hits.recipe import RECIPES, train_hits

        report(0, self.steps * len(self.scales), f"{self.name}: trajectories")
        dt, data = self.source()
        recipe, kind = RECIPES[self.variant], "linear" if self.variant == "published" else "cubic"
        self.maps = recipe.maps(data["train"][1].shape[1], [dt * 2**k for k in self.scales], self.seed)
        hits, histories = train_hits(
            self.maps, *data["train"], steps=self.steps, validation=data["val"], interpolation=kind, recipe=recipe,
            seed=self.seed, folder=self.folder,
            progress=lambda done, total, text: report(done, total, f"{self.name}: {text}"),
        )  # fmt: skip
        losses = [histories[m.dt].best for m in self.maps]
        hits.card = {**self.about(), "losses": losses, **self.tested(hits, data, kind)}
        return hits, {**hits.card, "selected": [hits.maps[-1].dt, hits.dt]}

    def tested(self, hits: HiTS, data: Data, kind: str) -> dict[str, float]:
        """Errors on unseen trajectories: of the hierarchy, and of the start unchanged."""
        import numpy as np

        from skfem_ml.stepping import mean_squared_error

        t, y = data["test"]
        error = mean_squared_error(hits, t, y, kind)
        if not np.isfinite(error):
            raise FloatingPointError(f"{self.name}: the roll-out on unseen starts is not finite; train longer")
        return {"test error": error, "null error": float(np.mean((y - y[..., :1]) ** 2))}

    def about(self) -> dict[str, object]:
        """What was asked for."""
        asked = {"system": self.name, "variant": self.variant, "seed": self.seed, "steps": self.steps}
        return {**asked, "dt": [m.dt for m in self.maps]}

    def keep(self, outputs: Outputs) -> Path | None:
        """Write the best so far of a run that was stopped: of every map with a checkpoint."""
        from skfem_ml.hits import HiTS

        done = [m for m in self.maps if restore_best(m, self.folder / f"dt-{m.dt:g}.pt")]
        if not done:
            return None
        whole = HiTS(done)
        whole.card = {**self.about(), "dt": [m.dt for m in done], "stopped": True}
        return outputs.write(outputs.names[0], whole.save)


def _text(content: Mapping[str, object], outputs: Outputs) -> str:
    dts, losses, chosen = content["dt"], content["losses"], content["selected"]
    assert isinstance(dts, list) and isinstance(losses, list) and isinstance(chosen, list)
    lines = [f"dt = {dt:g}: loss {loss:.2e}" for dt, loss in zip(dts, losses, strict=True)]
    return "\n".join(
        [
            *lines,
            f"scales {chosen[0]:g} to {chosen[1]:g}: mean squared error {content['test error']:.2e} on unseen starts",
            f"(start, unchanged: {content['null error']:.2e})",
            f"files: {', '.join(outputs.files().values())}",
            f'load it by: skfem_ml.HiTS.load("{outputs.folder / outputs.names[0]}")',
        ]
    )
