"""Checks of the numbers and words that users give: each says what was expected and what came.

They are called by the module's name, ``checks.positive(width, "width")``: the value first, then the argument's name.
"""

from __future__ import annotations

import dis
import inspect
import operator
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike

P = ParamSpec("P")
T = TypeVar("T")
LONGEST = 60
RAISE = dis.opmap["RAISE_VARARGS"]


def choice(value: object, choices: Sequence[str], name: str) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def whole(value: object, name: str, least: int = 0) -> int:
    """Return the whole number given; raise ValueError if it is none (a float, a bool), or smaller than ``least``."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what is no number raises
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}: expected a whole number >= {least}, got {value!r}")
    return number


def sizes(most: int, /, **given: object) -> None:
    """Raise ValueError unless all are whole numbers from 1 to ``most``."""
    for name, size in given.items():
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= most:
            raise ValueError(f"{name}: expected a whole number from 1 to {most}, got {size!r}")


def positive(value: float, name: str) -> None:
    """Raise ValueError unless ``0 < value < inf``."""
    if not (0 < value < np.inf):
        raise ValueError(f"{name}: expected a positive, finite number, got {value}")


def interval(low: float, high: float, name: str = "low, high") -> None:
    """Raise ValueError unless ``0 < low <= high < inf``."""
    if not (0 < low <= high < np.inf):
        raise ValueError(f"{name}: expected 0 < low <= high, got low={low}, high={high}; swap or change them")


def finite(values: ArrayLike, name: str, remedy: str = "") -> None:
    """Raise ValueError where an array holds nan or inf: their number, the first one's place, and a ``remedy``."""
    array = np.asarray(values)
    bad = ~np.isfinite(array)
    if bad.any():
        place = np.unravel_index(int(bad.argmax()), bad.shape)
        at = f" at {', '.join(map(str, place))}" if place else ""
        raise ValueError(
            f"{name}: expected finite numbers, got {int(bad.sum())} of {bad.size} that are not, the first is "
            f"{array[place]}{at}" + (f"; {remedy}" if remedy else "")
        )


def rng(value: np.random.Generator) -> None:
    """Raise TypeError unless ``value`` is a numpy Generator."""
    if not isinstance(value, np.random.Generator):
        raise TypeError(f"rng: expected a numpy Generator, got {type(value).__name__}; pass np.random.default_rng(0)")


def device(value: str, name: str = "device") -> None:
    """Raise ValueError unless torch knows the device and this machine has it; "cpu" needs no torch."""
    if str(value) == "cpu":
        return
    import torch

    try:
        torch.empty(0, device=value)
    except (AssertionError, RuntimeError, NotImplementedError, TypeError) as error:
        has = ["cpu"] + [f"cuda:{k}" for k in range(torch.cuda.device_count())]
        raise ValueError(f"{name}: expected one of {', '.join(has)}, got {value!r} ({str(error)[:80]})") from error


def short(text: str) -> str:
    """Return at most 60 characters of a text in one line, cut with dots: files may hold lines of any length."""
    line = " ".join(text[: 10 * LONGEST].split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def reads(
    what: str, remedy: str, refusal: type[ValueError] = ValueError
) -> Callable[[Callable[Concatenate[Path, P], T]], Callable[Concatenate[Path, P], T]]:
    """The one door of errors: a decorator for functions that read a file, whose path is their first argument.

    What this package raises is let through, with the path in front where it is not in it, and so are what the system
    says of a file (OSError) and a missing library (ImportError). Everything else that a parser throws at a broken file,
    ``SystemExit`` and ``MemoryError`` among it, becomes a ``refusal``: ``PATH: cannot be read as WHAT (the reason);
    REMEDY``.
    """

    def door(read: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
        @wraps(read)
        def checked(path: Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return read(path, *args, **kwargs)
            except (Exception, SystemExit) as error:
                if isinstance(error, Exception) and _ours(error.__traceback__):
                    if type(error) in (ValueError, TypeError) and str(path) not in str(error):
                        raise type(error)(f"{path}: {error}") from error
                    raise
                if isinstance(error, ImportError):
                    raise
                if isinstance(error, OSError) and error.errno is not None:
                    error.filename = error.filename or str(path)
                    raise
                reason = short(str(error).replace(str(path), Path(path).name))
                kind = "" if isinstance(error, ValueError | OSError) and reason else f"{type(error).__name__}: "
                raise refusal(f"{path}: cannot be read as {what} ({(kind + reason).rstrip(': ')}); {remedy}") from error

        return checked

    return door


def _ours(trace: TracebackType | None) -> bool:
    """Whether an exception comes of a ``raise`` of this package, and not of a library that it calls."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not trace.tb_frame.f_globals.get("__name__", "").startswith("skfem_ml."):
        return False
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == RAISE  # functions in C have no frame of their own


def warn(text: str) -> None:
    """Warn (UserWarning) at the line outside of this package that led here."""
    frame, level = sys._getframe(1), 2
    # What a cached property computes is called by functools.
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("skfem_ml.", "functools")):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UserWarning, stacklevel=level)


def required_arguments(function: Callable[..., object]) -> int | None:
    """How many arguments by place a function must be given; None where it does not tell, or takes any number."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # built-in functions tell nothing
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty for p in parameters)
