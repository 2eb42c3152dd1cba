"""Sequences learnt and continued: hierarchies, echo states and recurrent networks at equal CPU budgets, null models.

Run ``python -m demos.benchmarks.sequences`` in the root of the source tree. Every row goes to ``sequences.json``
beside this file at once: a run that is stopped goes on there, and ``--table`` alone writes ``sequences.md`` of what is
measured so far (``--picture`` the picture of the demo). Names of sequences and budgets (``fluid 60``) restrict a run to
them. All rows take hours; the first are those of 5 seconds. Echo state networks need the extra ``esn``. Give the number
of threads by ``OMP_NUM_THREADS``; the table in the tree is for one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from demos import sequences as demo
from skfem_ml.baselines import choose, solver_esn, solver_recurrent
from skfem_ml.compare import compare, machine
from skfem_ml.hits import solver_chosen, solver_hits, solver_trained
from skfem_ml.hits.generation import parameter_count
from skfem_ml.learning.storage import write_whole
from skfem_ml.problems import Sequence, white_noise
from skfem_ml.reference import solver_analogue, solver_linear, solver_mean, solver_persistence

OUTPUT = Path(__file__)
SEEDS, BUDGETS, RATES = (0, 1, 2), (5, 60, 600), (1e-2, 3e-3, 1e-3)
MOST = 10**7  # steps: the seconds end a training
ONE_SEED = 120  # seconds from which on a row has seed 0 alone
Solver = Callable[[Sequence], object]
NULLS: dict[str, Callable[[], Solver]] = {
    "mean": solver_mean, "first / last frame": solver_persistence, "table / analogue": solver_analogue
}  # fmt: skip
FIXED: dict[str, Callable[[], Solver]] = {**NULLS, "linear (DMD)": solver_linear}
# name -> solver(sequence, seed)
CLOSED: dict[str, Callable[[Sequence, int], Solver]] = {
    "HiTS, random features": lambda s, seed: solver_hits(width(s), seed=seed),
    "HiTS, chosen": lambda s, seed: solver_chosen(width(s), seed=seed),
    "echo states": lambda s, seed: solver_esn(parameter_count(s, width(s)), seed=seed),
}
AS_PUBLISHED = "HiTS as published"  # last where seconds are dear: in 60 s its worst seed diverges on all sequences
# name -> solver(sequence, CPU seconds, rate, seed)
TRAINED: dict[str, Callable[[Sequence, float, float, int], Solver]] = {
    "LSTM": lambda s, *given: recurrent("lstm", s, *given),
    "CW-RNN": lambda s, *given: recurrent("cwrnn", s, *given),
    AS_PUBLISHED: lambda s, seconds, rate, seed: solver_trained(
        width(s), steps=MOST, seconds=seconds, rate=rate, seed=seed
    ),
    "HiTS trained": lambda s, seconds, rate, seed: solver_hits(
        max(8, width(s) // 2), steps=MOST, seconds=seconds, rate=rate, seed=seed
    ),
    "HiTS trained, one stride": lambda s, seconds, rate, seed: solver_hits(
        max(8, width(s) // 2), (1,), steps=MOST, seconds=seconds, rate=rate, gain=0.3, seed=seed
    ),
}


def width(sequence: Sequence) -> int:
    """The features of a map; white noise has those of the sequence that it stands for."""
    return demo.WIDTHS[sequence.name.rpartition(" ")[2]]


def recurrent(kind: str, sequence: Sequence, seconds: float, rate: float, seed: int) -> Solver:
    count = parameter_count(sequence, width(sequence))
    return solver_recurrent(kind, count, steps=MOST, seconds=seconds, rate=rate, seed=seed)


class Task(NamedTuple):
    """One row: budget 0 for what is not trained; ``noise`` for white noise in the place of the sequence."""

    sequence: str
    method: str
    budget: int = 0
    seed: int = 0
    noise: bool = False

    @property
    def key(self) -> str:
        """Its name in the file."""
        return f"{self.sequence} | {self.method} | {self.budget} | {self.seed}{' | noise' if self.noise else ''}"


def tasks() -> Iterator[Task]:
    """All rows, in the order in which they are worth most."""
    names = list(demo.SEQUENCES)
    for name in names:
        yield from (Task(name, method) for method in FIXED)
        for method in CLOSED:
            yield from (Task(name, method, 0, seed) for seed in SEEDS)
            yield Task(name, method, noise=True)
    for name in names:
        for method in TRAINED:
            yield Task(name, method, 5)
            yield Task(name, method, 5, noise=True)
    yield from (Task(name, method, 60) for name in names[:2] for method in TRAINED)
    yield from (Task(name, method, 5, seed) for name in names for seed in SEEDS[1:] for method in TRAINED)
    yield from (Task(name, method, 60) for name in names[2:] for method in TRAINED)
    yield from (Task(name, method, 60, seed) for name in names for seed in SEEDS[1:] for method in TRAINED)
    yield from (Task(name, method, 600) for name in names for method in TRAINED if method != AS_PUBLISHED)
    yield from (Task(name, AS_PUBLISHED, 600) for name in names)


class Results:
    """The rows measured so far, kept in a file."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[str, dict] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def keep(self, key: str, row: dict) -> dict:
        """Add a row, and write all of them."""
        self.rows[key] = {**row, "load average": round(os.getloadavg()[0], 1)}
        write_whole(self.path, json.dumps(self.rows, indent=0).encode())
        return self.rows[key]

    def rate(self, sequence: Sequence, method: str, budget: int) -> float:
        """The rate of a row: the best of three on the last frames learnt, each for a third of the budget, seed 0.

        That of a tenth of the budget where seeds are one.
        """
        spent = budget if budget < ONE_SEED else budget // 10
        key = f"{sequence.name} | {method} | {spent} | rate"
        if key not in self.rows:
            best, errors = choose(sequence, {r: TRAINED[method](sequence, spent / 3, r, 0) for r in RATES})
            self.keep(key, {"rate": best, "errors": {str(r): e if e < 1e300 else None for r, e in errors.items()}})
        return self.rows[key]["rate"]

    def run(self, task: Task, sequence: Sequence) -> dict:
        """Measure a row: mean squared errors over the mean square of the deviation, what it cost, or the failure."""
        start, rate = time.perf_counter(), None
        try:
            if task.budget:
                rate = self.rate(sequence, task.method, task.budget)
            shown = white_noise(sequence) if task.noise else sequence
            row = compare(shown, {task.method: solver(task, shown, rate)}).rows[0]
        except FloatingPointError as error:
            return self.keep(task.key, {"failure": str(error)})
        if row.failure:
            return self.keep(task.key, {"failure": row.failure, "rate": rate})
        squares = [None if row[part] is None else row[part] ** 2 for part in ("error reproduced", "error continued")]
        print(f"{task.key}: {squares}, {row.cpu_seconds:.1f} CPU s, {time.perf_counter() - start:.0f} s", flush=True)
        cost = {"CPU seconds": row.cpu_seconds, "unknowns": row.unknowns, "rate": rate}
        return self.keep(task.key, {"reproduced": squares[0], "continued": squares[1], **cost})


def solver(task: Task, sequence: Sequence, rate: float | None) -> Solver:
    if task.budget:
        assert rate is not None
        return TRAINED[task.method](sequence, task.budget, rate, task.seed)
    return FIXED[task.method]() if task.method in FIXED else CLOSED[task.method](sequence, task.seed)


def main(arguments: list[str]) -> None:
    """Measure what is not measured yet, and write table and picture."""
    from demos.benchmarks.sequences_tables import page, picture

    results = Results(OUTPUT.with_suffix(".json"))
    names = {name for name in arguments if name in demo.SEQUENCES} or set(demo.SEQUENCES)
    budgets = {int(text) for text in arguments if text.isdigit()} or {0, *BUDGETS}
    sequences: dict[str, Sequence] = {}
    if "--picture" in arguments:
        picture(OUTPUT.with_suffix(".png"))
    for task in tasks() if not {"--table", "--picture"} & set(arguments) else ():
        if task.sequence in names and task.budget in budgets and task.key not in results.rows:
            if task.sequence not in sequences:
                sequences[task.sequence] = demo.SEQUENCES[task.sequence]()
            try:
                results.run(task, sequences[task.sequence])
            except ImportError as error:
                print(f"{task.key}: {error}", flush=True)
    made = {name: sequences.get(name) or make() for name, make in demo.SEQUENCES.items()}
    write_whole(OUTPUT.with_suffix(".md"), page(results.rows, made, machine()).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
