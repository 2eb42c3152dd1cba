"""``skfem-ml train fmmnet [DATA]``: a network on an H2 graph, with a checkpoint, a card and its errors."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.run import run_training
from skfem_ml.cli.screen import Screen, as_json
from skfem_ml.cli.train.best import restore_best
from skfem_ml.cli.train.pairs import Source, own, transfer

if TYPE_CHECKING:
    from skfem_ml.cli.outputs import Outputs
    from skfem_ml.fmm.networks.leaves import LeafModule
    from skfem_ml.learning import Learned
    from skfem_ml.problems import OperatorSamples
    from skfem_ml.progress import Progress

NAMES = ["fmmnet.safetensors", "fmmnet.json", "fmmnet.png"]
CHECKPOINT = "fmmnet.pt"
# Sizes unless given; leaves are those of the paper in 1D.
USUAL = {"deep": {"rank": 4, "hidden": 24, "products": 3}, "neural": {"rank": 6, "hidden": 32, "products": 1}}
LEAF, LEAF_2D = 10, 18
DENSE = 2000  # points up to which affine ridge regression, which has a dense matrix, is shown beside the network


def fmmnet(
    screen: Screen,
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Pairs of your own: .npz with inputs and outputs (n, N) and points (dim, N), perhaps the numbers of "
            "validation and test samples, its last rows. Default: the radiative transfer."
        ),
    ] = None,
    mesh: Annotated[
        Path | None, typer.Option("--mesh", help="A mesh file in place of points: N nodes, or N cells.")
    ] = None,
    cells: Annotated[int | None, typer.Option("--cells", help="Radiative transfer: cells N; default 320.")] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Radiative transfer: pairs; default 6000.")] = None,
    network: Annotated[
        str, typer.Option("--network", help="deep (DeepFMMNet), or neural (H2NeuralOperator) for rough inputs.")
    ] = "deep",
    steps: Annotated[int, typer.Option("--steps", help="Training steps.")] = 2000,
    rank: Annotated[int | None, typer.Option("--rank", help="Moments of a cluster; default 4 or 6.")] = None,
    hidden: Annotated[int | None, typer.Option("--hidden", help="Hidden units; default 24 or 32.")] = None,
    products: Annotated[int | None, typer.Option("--products", help="H2 products; default 3 or 1.")] = None,
    seed: opt.Seed = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Train a network on the H2 graph of points: on pairs of functions of your own, or on radiative transfer.

    Writes weights with a card (fmmnet.safetensors), card and history (JSON) and the loss curve (PNG) into the output
    folder. Ctrl-C writes the best weights so far, and leaves a checkpoint from which the same command goes on. Use the
    network by: skfem-ml predict MODEL DATA.
    """
    sizes = sizes_of(network, steps, {"rank": rank, "hidden": hidden, "products": products})
    run(source_of(data, mesh, cells, samples, seed), {"steps": steps, "seed": seed}, sizes, output, screen)


def source_of(data: Path | None, mesh: Path | None, cells: int | None, samples: int | None, seed: int) -> Source:
    """Return where the pairs come from; ValueError for options that do not go together."""
    if data is None:
        if mesh is not None:
            raise ValueError("mesh: expected DATA.npz with it, got the radiative transfer, which has its own points")
        return transfer(cells, samples, seed)
    if cells is not None or samples is not None:
        raise ValueError(f"cells, samples: they are of the radiative transfer, the pairs are those of {data}")
    return own(data, mesh)


def sizes_of(network: str, steps: int, given: dict[str, int | None]) -> dict[str, int | str]:
    """Return kind and sizes of the network, the usual ones where none is given; ValueError for sizes below one."""
    from skfem_ml.checks import choice

    choice(network, tuple(USUAL), "network")
    sizes = {name: USUAL[network][name] if value is None else value for name, value in given.items()}
    if steps < 1 or min(sizes.values()) < 1:
        raise ValueError(f"steps, {', '.join(sizes)}: expected at least 1 each, got {[steps, *sizes.values()]}")
    return {"network": network, **sizes}


def run(source: Source, setting: dict[str, int], sizes: dict[str, int | str], output: Path, screen: Screen) -> None:
    """Train, write and tell."""
    from skfem_ml.cli.outputs import Outputs

    outputs = Outputs(output, NAMES)
    training = Training(source, setting, sizes, outputs)
    training.require_same_run()
    start = f"{output / NAMES[0]}: {setting['steps']} steps"
    learned, card = run_training(screen, start, training.train, training.keep)
    content = {**training.write(learned, card), "files": outputs.files()}
    outputs.write_text("fmmnet.json", as_json(content) + "\n")
    training.forget()
    beside = f", {card['residual_ridge']:.2e} (test, affine ridge)" if "residual_ridge" in card else ""
    text = (
        f"{learned.unknowns:,} parameters, {learned.history.message}\n"
        f"mean relative residual: {card['residual_train']:.2e} (training), {card['residual_test']:.2e} (test)"
        f"{beside}\n\n"
        f"files: {', '.join(outputs.files().values())}\n"
        f"use it by: skfem-ml predict {output / NAMES[0]} DATA.npz\n"
        f'load it by: skfem_ml.load_operator("{output / NAMES[0]}")'
    )
    screen.tell(text, content)


class Training:
    """One run, its files in a folder: what is asked for, and the network once there are samples."""

    def __init__(self, source: Source, setting: dict[str, int], sizes: dict[str, int | str], outputs: Outputs):
        self.source, self.setting, self.sizes, self.outputs = source, setting, sizes, outputs
        self.checkpoint = outputs.folder / CHECKPOINT
        self.note = outputs.folder / (CHECKPOINT + ".json")  # the settings of the checkpoint
        self.net: LeafModule | None = None

    def require_same_run(self) -> None:
        """A checkpoint of other settings would be taken for one of these: ValueError."""
        wanted = {**self.source.setting, **self.setting, **self.sizes}
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
        from skfem_ml.baselines import solver_affine_ridge
        from skfem_ml.learning import Recipe, learn
        from skfem_ml.metrics import mean_residual

        seed, steps = self.setting["seed"], self.setting["steps"]
        report(0, steps, f"{self.source.name}: pairs")
        data = self.source.draw()
        self.net = self._network(data)
        learned = learn(self.net, data, Recipe(steps, checkpoint=self.checkpoint, progress=report), seed=seed)
        residuals = {
            f"residual_{name}": mean_residual(learned(data.part(name)[0]), data.part(name)[1])
            for name in ("train", "validation", "test")
        }
        if data.points.shape[1] <= DENSE:
            residuals["residual_ridge"] = mean_residual(solver_affine_ridge()(data)(data.part("test")[0]), data.exact)
        return learned, {**self._card(), "parameters": learned.unknowns, **residuals}

    def _network(self, data: OperatorSamples) -> LeafModule:
        import torch

        from skfem_ml.fmm import DeepFMMNet, H2NeuralOperator, H2Skeleton

        generator = torch.Generator().manual_seed(self.setting["seed"])
        rank, hidden, products = (int(self.sizes[name]) for name in ("rank", "hidden", "products"))
        skeleton = H2Skeleton(data.points, min(LEAF if len(data.points) == 1 else LEAF_2D, data.points.shape[1]))
        net: LeafModule = (
            DeepFMMNet(skeleton, rank, hidden, products, generator=generator)
            if self.sizes["network"] == "deep"
            else H2NeuralOperator(skeleton, rank, hidden=hidden, layers=products, generator=generator)
        )
        net.normalise(*data.part("train"))
        return net

    def _card(self) -> dict[str, object]:
        return {"problem": self.source.name, **self.source.setting, **self.setting, **self.sizes}

    def keep(self) -> Path | None:
        """Write the best network of a run that was stopped; its card has no residuals."""
        if self.net is None or not restore_best(self.net, self.checkpoint):
            return None
        from skfem_ml.learning import Learned

        return self._save(Learned(self.net), {**self._card(), "stopped": True})

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
