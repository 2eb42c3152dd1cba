"""``skfem-ml compare sequences [NAME]``: a hierarchy of flow maps beside recurrent networks and null models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.run import Comparison, Solvers, run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from skfem_ml.problems import Sequence

WIDTHS = {"fluid": 64, "video": 200, "music": 1200, "ks": 1024}


def sequences(
    screen: Screen,
    name: Annotated[str, typer.Argument(help="fluid, video, music or ks.")] = "fluid",
    width: Annotated[
        int | None, typer.Option("--width", help="Features of each map; default: 64 to 1200 by sequence.")
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", help="CPU seconds of training of each recurrent network.")
    ] = 5.0,
    esn: Annotated[bool, typer.Option("--esn", help="Echo state network as well (the extra esn).")] = False,
    seed: opt.Seed = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare HiTS, LSTM, clockwork RNN and null models on a sequence, learnt by heart and continued beyond its end.

    Errors are root mean squares over the deviation from the mean: of the sequence learnt, generated from its first
    frame, and of the frames after it. Writes table (CSV, Markdown, JSON) and the work-precision picture (PNG).
    """
    if name not in WIDTHS:
        raise ValueError(f"name: expected one of {', '.join(WIDTHS)}, got {name!r}")
    if (width is not None and width < 1) or not seconds > 0:
        raise ValueError(f"width, seconds: expected at least 1 and more than 0, got {width} and {seconds}")
    if esn:
        _require_esn()
    features = WIDTHS[name] if width is None else width
    sequence = _sequence(name)
    rows = Comparison("sequences", lambda: sequence, lambda _: sequence_solvers(sequence, features, seconds, esn, seed))
    run_comparison(rows, output, screen)


def _require_esn() -> None:
    from skfem_ml.baselines.reservoir import load_nodes

    try:
        load_nodes()
    except ImportError as error:
        raise ValueError(f"esn: {error}") from error


def _sequence(name: str) -> Sequence:
    from skfem_ml.problems import clip, cylinder, music
    from skfem_ml.reference import kuramoto_sivashinsky

    make: dict[str, Callable[[], Sequence]] = {
        "fluid": cylinder, "video": clip, "music": music, "ks": kuramoto_sivashinsky
    }  # fmt: skip
    return make[name]()


def sequence_solvers(sequence: Sequence, width: int, seconds: float, esn: bool, seed: int) -> Solvers:
    """Return the rows of ``compare sequences``; baselines have as many parameters as the hierarchy."""
    from skfem_ml.baselines import solver_esn, solver_recurrent
    from skfem_ml.hits import solver_chosen, solver_hits
    from skfem_ml.hits.generation import parameter_count
    from skfem_ml.reference import solver_analogue, solver_linear, solver_mean

    count = parameter_count(sequence, width)
    rows: Solvers = {
        "mean": solver_mean(),
        "table / analogue": solver_analogue(),
        "linear (DMD)": solver_linear(),
        "HiTS": solver_hits(width, seed=seed),
        "HiTS, chosen": solver_chosen(width, seed=seed),
        "LSTM": solver_recurrent("lstm", count, steps=10**6, seconds=seconds, seed=seed),
        "CW-RNN": solver_recurrent("cwrnn", count, steps=10**6, seconds=seconds, seed=seed),
    }
    return {**rows, "ESN": solver_esn(count, seed=seed)} if esn else rows
