"""``skfem-ml compare sequences``: a hierarchy of flow maps beside recurrent networks and null models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.compare.group import compare_app
from skfem_ml.cli.compare.learners import run_comparison

WIDTHS = {"fluid": 64, "video": 200, "music": 1200, "ks": 1024}


@compare_app.command("sequences")
def sequences(
    name: Annotated[str, typer.Argument(help="fluid, video, music or ks.")] = "fluid",
    width: Annotated[
        int | None, typer.Option("--width", help="Features of each map; default: 64 to 1200 by sequence.")
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", help="CPU seconds of training of each recurrent network.")
    ] = 5.0,
    esn: Annotated[bool, typer.Option("--esn", help="Echo state network as well (the extra esn).")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of all random features and weights.")] = 0,
    output: opt.Output = Path("skfem_ml_output"),
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Compare HiTS, LSTM, clockwork RNN and null models on a sequence, learnt by heart and continued beyond its end.

    Errors are root mean squares over the deviation from the mean: of the sequence learnt, generated from its first
    frame, and of the frames after it. Writes table (CSV, Markdown, JSON) and the work-precision picture (PNG).
    """
    if name not in WIDTHS:
        raise ValueError(f"name: expected one of {list(WIDTHS)}, got {name!r}")
    if (width is not None and width < 1) or not seconds > 0:
        raise ValueError(f"width, seconds: expected at least 1 and more than 0, got {width} and {seconds}")
    if esn:
        from skfem_ml.baselines.reservoir import load_nodes

        try:
            load_nodes()
        except ImportError as error:
            raise ValueError(f"--esn: {error}") from error
    from skfem_ml.problems import Sequence, clip, cylinder, music
    from skfem_ml.reference import kuramoto_sivashinsky

    make: dict[str, Callable[[], Sequence]] = {
        "fluid": cylinder,
        "video": clip,
        "music": music,
        "ks": kuramoto_sivashinsky,
    }
    sequence = make[name]()
    features = WIDTHS[name] if width is None else width
    run_comparison(
        "sequences", lambda: sequence, lambda: sequence_solvers(sequence, features, seconds, esn, seed), None,
        output, quiet, json,
    )  # fmt: skip


def sequence_solvers(sequence: Any, width: int, seconds: float, esn: bool, seed: int) -> dict[str, Callable]:
    """Return the rows of ``compare sequences``; baselines have as many parameters as the hierarchy."""
    from skfem_ml.baselines.recurrent import solver_recurrent
    from skfem_ml.baselines.reservoir import solver_esn
    from skfem_ml.hits.generation import parameter_count, solver_chosen, solver_hits
    from skfem_ml.reference import solver_analogue, solver_linear, solver_mean

    count = parameter_count(sequence, width)
    recurrent: dict[str, Any] = {"steps": 10**6, "seconds": seconds, "seed": seed}
    return {
        "mean": solver_mean(),
        "table / analogue": solver_analogue(),
        "linear (DMD)": solver_linear(),
        "HiTS": solver_hits(width, seed=seed),
        "HiTS, chosen": solver_chosen(width, seed=seed),
        "LSTM": solver_recurrent("lstm", count, **recurrent),
        "CW-RNN": solver_recurrent("cwrnn", count, **recurrent),
        **({"ESN": solver_esn(count, seed=seed)} if esn else {}),
    }
