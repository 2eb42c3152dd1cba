"""What `allen_cahn` measures: errors and milliseconds of steppers from starts to states at the end, and parareal."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from demos.allen_cahn import DT, FINE, MODES, T_END, last
from skfem_ml.hits import ReducedMap, ReducedNetworks, allen_cahn_reaction, splitting_flow, train_reduced
from skfem_ml.progress import Progress
from skfem_ml.reference import AllenCahnFamily
from skfem_ml.stepping import IMEX, PararealResult, parareal

STEPS = {"POD network": 1200, "remainder": 1200, "splitting network": 3000}


@dataclass
class Row:
    """Errors at the end, mean and worst, and CPU milliseconds a start: in a batch, and alone."""

    name: str
    mean: float
    worst: float
    batch_ms: float
    single_ms: float

    def faster(self, other: "Row") -> "Row":
        """Return this row with the lesser times of both."""
        return replace(
            self, batch_ms=min(self.batch_ms, other.batch_ms), single_ms=min(self.single_ms, other.single_ms)
        )


@dataclass
class Parallel:
    """Parareal on the test states: its result, and relative distances at the end, mean over the starts.

    ``to_fine`` and ``to_exact`` are distances of the iterates to the fine stepper and to the small steps,
    ``(iterations + 1,)``; ``fine_error`` is the error of the fine stepper itself.
    """

    result: PararealResult
    to_fine: np.ndarray
    to_exact: np.ndarray
    fine_error: float


def train_networks(
    setting: AllenCahnFamily,
    progress: Callable[[str], Progress] | None = None,
    checkpoints: Path | None = None,
    seed: int = 0,
) -> ReducedNetworks:
    """The three networks of the page, trained on images of the training trajectories."""
    pod = setting.pod(MODES)
    split = splitting_flow(setting.basis, pod, setting.semi.K, DT, allen_cahn_reaction)
    states, options = (setting.train, setting.validation), {"progress": progress, "checkpoints": checkpoints}
    return train_reduced(setting.semi, pod, states, split, setting.images, STEPS, seed=seed, **options)


def measure(
    setting: AllenCahnFamily, name: str, run: Callable[[np.ndarray], np.ndarray], count: int | None = None
) -> Row:
    """Run the first ``count`` test states at once (default all), and one alone."""
    batch = setting.test[:count]
    errors = setting.errors(run(batch))  # this includes whatever happens at the first call only
    batch_ms, single_ms = (milliseconds(run, states) for states in (batch, setting.test[0]))
    return Row(name, float(errors.mean()), float(errors.max()), batch_ms / len(batch), single_ms)


def milliseconds(run: Callable[[np.ndarray], np.ndarray], states: np.ndarray, least: float = 0.1) -> float:
    """CPU time of a run, the mean over as many as ``least`` seconds take: the clock may tick in 4 ms."""
    start, runs = time.process_time(), 0
    while time.process_time() - start < least:
        run(states)
        runs += 1
    return 1e3 * (time.process_time() - start) / runs


def parallel(setting: AllenCahnFamily, nets: ReducedNetworks) -> Parallel:
    """Eight test starts; the splitting network as the coarse propagator, ars443 with steps of FINE as the fine one."""
    fine, u0 = IMEX(setting.semi, FINE), setting.test[:8]
    result = parareal(ReducedMap(nets.pod, nets.splitting), fine, (0, T_END), u0, round(T_END / DT))
    end = last(fine)(u0)
    to_fine = [(setting.norm(u[..., -1] - end) / setting.norm(end)).mean() for u in result.iterates]
    to_exact = [setting.errors(u[..., -1]).mean() for u in result.iterates]
    return Parallel(result, np.array(to_fine), np.array(to_exact), float(setting.errors(end).mean()))


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| method | error at t = 4, mean | worst | ms a start, in a batch | ms, one start alone |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.name} | {r.mean:.1e} | {r.worst:.1e} | {r.batch_ms:.2g} | {r.single_ms:.2g} |" for r in rows
    ]  # fmt: skip
    return "\n".join(lines)
