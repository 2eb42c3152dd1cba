"""A setting chosen by the last frames learnt, never by those held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from skfem_ml.problems import Sequence
from skfem_ml.progress import Progress
from skfem_ml.solutions import Generated

K = TypeVar("K")


def choose(
    sequence: Sequence, solvers: Mapping[K, Callable[[Sequence], Generated]], progress: Progress | None = None
) -> tuple[K, dict[K, float]]:
    """Return the key of the solver that best continues the last frames learnt, and the mean squared errors of all.

    The solvers learn from ``sequence.trial()``, so that frames held out are seen by none. An error is infinite where
    the continuation diverges. Raises FloatingPointError where all of them do, ValueError where nothing is held out.

    >>> from skfem_ml.reference import solver_linear, solver_mean
    >>> turn = Sequence("turn", np.array([[np.cos(k), np.sin(k)] for k in range(30)]), 25, 1.0)
    >>> choose(turn, {"mean": solver_mean(), "linear": solver_linear()})[0]
    'linear'
    """
    trial, errors = sequence.trial(), dict[K, float]()
    for k, (key, solver) in enumerate(solvers.items()):
        if progress is not None:
            progress(k, len(solvers), f"trial of {key}")
        with np.errstate(over="ignore", invalid="ignore"):
            error = float(((solver(trial).continued - trial.states[trial.train :]) ** 2).mean())
        errors[key] = error if math.isfinite(error) else math.inf
    best = min(errors, key=errors.__getitem__)
    if math.isinf(errors[best]):
        raise FloatingPointError(f"every one of {list(errors)} diverges on the frames kept apart; take other settings")
    return best, errors
