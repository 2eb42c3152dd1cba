"""``skfem-ml compare sequences [NAME]``: hierarchies of flow maps beside recurrent networks and null models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.run import Comparison, run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from skfem_ml.compare import Table
    from skfem_ml.problems import Sequence
    from skfem_ml.progress import Progress

WIDTHS = {"fluid": 64, "video": 200, "music": 1200, "ks": 1024}
RATES = (1e-2, 3e-3, 1e-3)
MOST = 10**7  # steps: the seconds end a training
JUDGED = "error continued"


def sequences(
    screen: Screen,
    name: Annotated[str, typer.Argument(help="fluid, video, music or ks.")] = "fluid",
    width: Annotated[
        int | None, typer.Option("--width", help="Features of each map; default: 64 to 1200 by sequence.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="CPU seconds of training of each row and seed.")] = 5.0,
    seeds: Annotated[int, typer.Option("--seeds", help="Seeds of each row that is drawn; the worst is shown.")] = 3,
    esn: Annotated[bool, typer.Option("--esn", help="Echo states as well (the extra esn).")] = False,
    seed: opt.Seed = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare HiTS, LSTM, clockwork RNN and null models on a sequence, continued beyond its end and learnt by heart.

    Errors are root mean squares over the deviation from the mean: of the frames held out, after the last one learnt,
    and of the sequence learnt, generated from its first frame. What is trained has its rate, of three, by the last
    frames learnt, each tried for a third of the seconds. Writes table (CSV, Markdown, JSON) and the work-precision
    picture (PNG). At the defaults two to four minutes on one core.
    """
    if name not in WIDTHS:
        raise ValueError(f"name: expected one of {', '.join(WIDTHS)}, got {name!r}")
    if (width is not None and width < 1) or not seconds > 0 or seeds < 1:
        raise ValueError(
            f"width, seconds, seeds: expected at least 1, more than 0, at least 1, got {width}, {seconds} and {seeds}"
        )
    if esn:
        _require_esn()
    features = WIDTHS[name] if width is None else width
    told: dict[str, str] = {}
    tabulate = partial(_tabulate, range(seed, seed + seeds), seconds, told)
    rows = Comparison(
        "sequences", lambda: _sequence(name), lambda _: {"width": features, "esn": esn}, tabulate=tabulate,
        remarks=lambda table: told,
    )  # fmt: skip
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


def _tabulate(
    seeds: range, seconds: float, told: dict[str, str], sequence: Sequence, asked: Mapping[str, Any], progress: Progress
) -> Table:
    """The table of all rows, the worst of the seeds; ``told`` gets the remarks, by row."""
    from skfem_ml.baselines import choose
    from skfem_ml.compare import compare, seeded, worst_of_seeds

    makers = trained(sequence, asked["width"])
    learnt: dict[str, Any] = {}
    for k, (name, make) in enumerate(makers.items()):
        progress(k, len(makers), f"{name}: rates on the last frames learnt")
        try:
            rate, _ = choose(sequence, {rate: make(seconds / 3, rate, seeds[0]) for rate in RATES})
            told[name] = f"rate {rate:g}"
        except FloatingPointError:
            rate = RATES[-1]
            told[name] = f"rate {rate:g}: every rate diverges on the last frames learnt"
        learnt |= seeded(name, partial(make, seconds, rate), seeds)
    groups = {"closed form": closed(sequence, asked, seeds), f"trained, {seconds:g} CPU s": learnt}
    told[""] = f"seeds {' '.join(map(str, seeds))} of every row that is drawn"
    return worst_of_seeds(_led(compare(sequence, groups, progress=progress)))


def _led(table: Table) -> Table:
    """The table with the error by which rows are judged in front."""
    headings = (JUDGED, *(heading for heading in table.headings if heading != JUDGED))
    rows = [row if row.failure else replace(row, errors={h: row[h] for h in headings}) for row in table]
    return replace(table, rows=tuple(rows), headings=headings)


def closed(sequence: Sequence, asked: Mapping[str, Any], seeds: range) -> dict[str, Any]:
    """Return the rows in closed form, one a seed where they draw."""
    from skfem_ml.baselines import solver_esn
    from skfem_ml.compare import seeded
    from skfem_ml.hits import solver_chosen, solver_hits
    from skfem_ml.hits.generation import parameter_count
    from skfem_ml.reference import solver_analogue, solver_linear, solver_mean

    width = asked["width"]
    rows: dict[str, Any] = {
        "mean": solver_mean(),
        "table / analogue": solver_analogue(),
        "linear (DMD)": solver_linear(),
        **seeded("HiTS", partial(solver_hits, width), seeds),
        **seeded("HiTS, chosen", partial(solver_chosen, width), seeds),
    }
    return rows | seeded("ESN", partial(solver_esn, parameter_count(sequence, width)), seeds) if asked["esn"] else rows


def trained(sequence: Sequence, width: int) -> dict[str, Callable[[float, float, int], Any]]:
    """Return the rows that are trained, by name: ``make(seconds, rate, seed)``, of about as many parameters as HiTS."""
    from skfem_ml.baselines import solver_recurrent
    from skfem_ml.hits import solver_hits, solver_trained
    from skfem_ml.hits.generation import parameter_count

    count, half = parameter_count(sequence, width), max(1, width // 2)

    def recurrent(kind: str) -> Callable[[float, float, int], Any]:
        return lambda seconds, rate, seed: solver_recurrent(
            kind, count, steps=MOST, seconds=seconds, rate=rate, seed=seed
        )

    return {
        "LSTM": recurrent("lstm"),
        "CW-RNN": recurrent("cwrnn"),
        "HiTS as published": lambda seconds, rate, seed: solver_trained(
            width, steps=MOST, seconds=seconds, rate=rate, seed=seed
        ),
        "HiTS trained": lambda seconds, rate, seed: solver_hits(
            half, steps=MOST, seconds=seconds, rate=rate, seed=seed
        ),
        "HiTS trained, one stride": lambda seconds, rate, seed: solver_hits(
            half, (1,), steps=MOST, seconds=seconds, rate=rate, gain=0.3, seed=seed
        ),
    }
