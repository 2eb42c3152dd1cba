"""What determines the weights of a training run, as a checkpoint records it: a resumed run is the same run, or refused.

Functions are known by name, data by a fingerprint (of a callable: of its first batch), schedules by their rates at the
steps that are done. How often is recorded, and when the run is to end, may change.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from skfem_ml import __version__
from skfem_ml.learning.storage import ModelMismatchError

Settings = dict[str, object]
Schedule = Callable[[int], float]
NAMES = ("data", "loss", "validate", "batch", "seed", "average", "optimiser", "schedule", "code", "ranks")
WITH_STEPS = ("steps", "schedule")  # what another number of steps changes
RATES = 50  # of a schedule that a checkpoint keeps
REMEDY = "take the settings of the checkpoint, remove it to start anew, or name in extend= what may change"


def settings_of(
    loss: Callable[..., object], data: object, optimiser: torch.optim.Optimizer, schedule: Schedule | None,
    validate: Callable[..., object] | None, batch: int | None, seed: int, average: float | None, ranks: int = 1,
) -> Settings:  # fmt: skip
    """All settings but the schedule, each a number or a text; ``data(0)`` is looked at where data is a callable."""
    return {
        "data": fingerprint(data(0) if callable(data) else data),
        "loss": name_of(loss),
        "validate": None if validate is None else name_of(validate),
        "batch": batch,
        "seed": seed,
        "average": average,
        "optimiser": _described(optimiser, schedule is not None),
        "code": f"skfem-ml {__version__}, torch {torch.__version__}",
        "ranks": ranks,
    }


def rates_of(schedule: Schedule | None, done: int) -> list[tuple[int, float]] | None:
    """(step, rate) of at most 50 of the first ``done`` steps."""
    if schedule is None:
        return None
    return [(int(step), float(schedule(int(step)))) for step in np.unique(np.linspace(0, done - 1, RATES).astype(int))]


def require_same(
    path: object, wanted: Settings, recorded: Mapping[str, object], schedule: Schedule | None, extend: Sequence[str]
) -> None:
    """Raise `ModelMismatchError` where the settings of a checkpoint differ in what ``extend`` does not name."""
    recorded = {"ranks": 1, **recorded}  # older versions knew one process alone
    then = recorded.get("rates")
    rates = then if isinstance(then, list) else None
    now = None if schedule is None else [(step, float(schedule(step))) for step, _ in rates or []]
    pairs = {name: (value, recorded.get(name, "not recorded")) for name, value in wanted.items()}
    pairs["schedule"] = _first_difference(now, rates)
    differ = {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name not in extend}
    if differ:
        raise ModelMismatchError(
            f"{path}: expected a checkpoint of the same run",
            {name: pair[0] for name, pair in differ.items()},
            {name: pair[1] for name, pair in differ.items()},
            REMEDY,
        )


def _first_difference(now: list | None, then: list | None) -> tuple[str, str]:
    """What two schedules are where they differ first, as words; twice the same where they agree."""
    if now is None or then is None:
        return "none" if now is None else "one of rates", "none" if then is None else "one of rates"
    for (step, rate), (_, before) in zip(now, then, strict=True):
        if rate != before:
            return f"{rate} at step {step}", f"{before} at step {step}"
    return "", ""


def checked_extend(extend: str | Iterable[str]) -> tuple[str, ...]:
    """The names that may differ; ValueError for others. "steps" stands for the schedule, which depends on them."""
    names = (extend,) if isinstance(extend, str) else tuple(extend)
    unknown = [name for name in names if name not in (*NAMES, "steps")]
    if unknown:
        raise ValueError(f"extend: expected some of {', '.join((*NAMES, 'steps'))}, got {', '.join(map(str, unknown))}")
    return (*names, *WITH_STEPS) if "steps" in names else names


def name_of(function: object) -> str:
    """The name of a function in its module, of a partial that of the function, of another object that of its class."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def fingerprint(value: object) -> str:
    """The first 16 digits of a sha256 over all numbers in nested lists, dictionaries, dataclasses and objects."""
    total = hashlib.sha256()
    _add(total.update, value, 0)
    return total.hexdigest()[:16]


def _add(add: Callable[[bytes], None], value: object, depth: int) -> None:
    if isinstance(value, Tensor):
        value = value.detach().cpu().resolve_conj().contiguous()
        add(
            repr((str(value.dtype), tuple(value.shape))).encode()
            + value.reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        add(repr((value.dtype.str, value.shape)).encode() + np.ascontiguousarray(value).tobytes())
    elif value is None or isinstance(value, int | float | str | bool | bytes):
        add(repr(value).encode())
    elif isinstance(value, Mapping):
        _add(add, sorted(value.items(), key=repr), depth + 1)
    elif isinstance(value, list | tuple):
        add(f"[{len(value)}".encode())
        for each in value:
            _add(add, each, depth + 1)
    else:
        add(type(value).__qualname__.encode())
        if dataclasses.is_dataclass(value) and depth < 8:
            _add(add, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, depth + 1)


def _described(optimiser: torch.optim.Optimizer, scheduled: bool) -> str:
    """Its class and the settings of its groups, without the rate where a schedule gives it."""
    groups = [
        ", ".join(f"{name}={value}" for name, value in sorted(group.items()) if _is_setting(name, value, scheduled))
        for group in optimiser.param_groups
    ]
    return f"{type(optimiser).__qualname__}({'; '.join(dict.fromkeys(groups))})"


def _is_setting(name: str, value: object, scheduled: bool) -> bool:
    plain = value is None or isinstance(value, int | float | str | bool | tuple)
    return plain and name != "initial_lr" and not (scheduled and name == "lr")
