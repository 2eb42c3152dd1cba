"""Checks of the numbers and words that users give: each says what was expected and what came."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np


def check_interval(low: float, high: float, name: str = "low, high") -> None:
    """Raise ValueError unless ``0 < low <= high < inf``."""
    if not (0 < low <= high < np.inf):
        raise ValueError(f"{name}: expected 0 < low <= high, got low={low}, high={high}; swap or change them")


def check_positive(value: float, name: str) -> None:
    """Raise ValueError unless ``0 < value < inf``."""
    if not (0 < value < np.inf):
        raise ValueError(f"{name}: expected a positive, finite number, got {value}")


def check_count(value: int, name: str, least: int = 0) -> None:
    """Raise ValueError unless ``value`` is an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")


def check_choice(value: str, choices: tuple[str, ...], name: str) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def check_rng(rng: np.random.Generator) -> None:
    """Raise TypeError unless ``rng`` is a numpy Generator."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy Generator, got {type(rng).__name__}; pass np.random.default_rng(0)")


def whole(name: str, value: Any, least: int) -> int:
    """The whole number given. Raises ValueError if it is none, or smaller than ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{name}: expected a whole number >= {least}, got {value!r}")
    return number


def check_device(device: str) -> None:
    """Raise ValueError unless torch knows the device and this machine has it."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        there = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
        raise ValueError(
            f"device: expected one that this machine has ({', '.join(there)}), got {device!r}; leave it at 'cpu'"
        ) from error
