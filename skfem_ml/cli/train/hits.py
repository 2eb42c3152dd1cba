"""``skfem-ml train hits SYSTEM``: flow maps of several steps, from a known system or from trajectories in a file."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.train.group import train_app
from skfem_ml.progress import Progress

if TYPE_CHECKING:
    from skfem_ml.cli.outputs import Outputs
    from skfem_ml.hits import HiTS

VAL, TEST = 0.1, 0.1  # parts of the trajectories of a file


@train_app.command("hits")
def train_hits(
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
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, starts and batches.")] = 0,
    output: opt.Output = Path("skfem_ml_output"),
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Train a hierarchy of flow maps, choose its scales on validation trajectories, and test it on unseen ones.

    Writes SYSTEM.safetensors (weights and card) and SYSTEM.json into the output folder. Checkpoints lie in
    hits-SYSTEM/ there: a run that was stopped goes on, one with other options needs another folder.
    """
    from skfem_ml.cli.outputs import Outputs, talkative
    from skfem_ml.progress import bar

    scales = _levels(levels)
    if steps < 1 or (starts is not None and starts < 1):
        raise ValueError(f"steps, starts: expected at least 1, got {steps} and {starts}")
    source = _file(Path(system)) if Path(system).suffix else _known(system, scales, starts, seed)
    name = Path(system).stem
    outputs = Outputs(output, [f"{name}.safetensors", f"{name}.json"])
    with bar(talkative(quiet, json)) as report:
        report(0, steps * len(scales), f"{name}: trajectories")
        hits, content = _train(name, source, scales, steps, variant, seed, output / f"hits-{name}", report)
    _tell(name, hits, content, outputs, quiet, json)


def _tell(name: str, hits: HiTS, content: dict[str, Any], outputs: Outputs, quiet: bool, json: bool) -> None:
    """Write both files, and say what is in them."""
    outputs.write(f"{name}.safetensors", hits.save)
    payload = json_format.dumps({**content, "files": outputs.files()}, indent=2, allow_nan=False)
    outputs.write_text(f"{name}.json", payload + "\n")
    if json:
        typer.echo(payload)
    if json or quiet:
        return
    for dt, loss in zip(content["dt"], content["losses"], strict=True):
        typer.echo(f"dt = {dt:g}: loss {loss:.2e}")
    chosen, error = content["selected"], content["test error"]
    typer.echo(f"scales {chosen[0]:g} to {chosen[1]:g}: mean squared error {error:.2e} on unseen starts")
    typer.echo(f"(start, unchanged: {content['null error']:.2e})")
    typer.echo(f"files: {', '.join(outputs.files().values())}")


def _train(
    name: str, source: Callable, scales: list[int], steps: int, variant: str, seed: int, folder: Path, report: Progress
) -> tuple[HiTS, dict[str, Any]]:
    """Train, select and test; return the hierarchy, and what to tell."""
    import numpy as np

    from skfem_ml.checks import choice
    from skfem_ml.hits.recipe import RECIPES, train_hits
    from skfem_ml.stepping import mean_squared_error

    choice(variant, tuple(RECIPES), "variant")
    dt, data = source()
    kind = "linear" if variant == "published" else "cubic"
    hits, histories = train_hits(
        [dt * 2**k for k in scales], *data["train"], steps=steps, validation=data["val"], interpolation=kind,
        recipe=RECIPES[variant], seed=seed, folder=folder,
        progress=lambda done, total, text: report(done, total, f"{name}: {text}"),
    )  # fmt: skip
    t, y = data["test"]
    content: dict[str, Any] = {
        "system": name, "variant": variant, "seed": seed, "steps": steps, "dt": sorted(histories),
        "losses": [histories[dt].best for dt in sorted(histories)],
        "test error": mean_squared_error(hits, t, y, kind), "null error": float(np.mean((y - y[..., :1]) ** 2)),
    }  # fmt: skip
    if not np.isfinite(content["test error"]):
        raise FloatingPointError(f"{name}: the roll-out on unseen starts is not finite; train longer")
    hits.card = dict(content)
    return hits, {**content, "selected": [hits.maps[-1].dt, hits.dt]}


def _known(name: str, scales: list[int], starts: int | None, seed: int) -> Callable:
    from skfem_ml.problems import ode_systems

    systems = ode_systems()
    if name not in systems:
        raise ValueError(f"system: expected one of {sorted(systems)} or a .npz file, got {name!r}")
    system = systems[name]
    every = 2 ** min(scales)
    if system.steps % every or max(scales) > 10:
        raise ValueError(f"levels: expected whole numbers from 0 to 10, got {scales}")

    def data() -> tuple[float, dict]:
        from skfem_ml.reference import trajectories

        found = {split: trajectories(system, split, seed, starts, every) for split in ("train", "val", "test")}
        return system.dt, {split: (result.t, result.y) for split, result in found.items()}

    return data


def _file(path: Path) -> Callable:
    """Return the data of a file: the last trajectories are for test, those before them for validation."""
    import zipfile

    import numpy as np

    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a .npz file with t and y, found none")
    try:
        with np.load(path, allow_pickle=False) as file:
            t, y = np.asarray(file["t"], dtype=float), np.asarray(file["y"], dtype=float)
    except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected .npz with t (k,) and y (trajectories, n, k), got {error}") from error
    if y.ndim != 3 or t.shape != y.shape[2:] or len(y) < 3 or len(t) < 2:
        raise ValueError(f"{path}: expected t (k,) and y (3 or more, n, k), got {t.shape} and {y.shape}")
    test, val = max(1, round(TEST * len(y))), max(1, round(VAL * len(y)))
    parts = zip(("train", "val", "test"), np.split(y, [len(y) - test - val, len(y) - test]), strict=True)
    found = float(t[-1] - t[0]) / (len(t) - 1), {split: (t, part) for split, part in parts}
    return lambda: found


def _levels(text: str) -> list[int]:
    try:
        levels = sorted({int(part) for part in text.split(",")})
    except ValueError:
        levels = []
    if not levels or levels[0] < 0:
        raise ValueError(f"levels: expected different whole numbers >= 0 joined by commas, such as 3,5,7, got {text!r}")
    return levels
