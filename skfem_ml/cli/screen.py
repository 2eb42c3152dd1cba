"""What a command says on the screen: its result, how far it is, and what the library warns of."""

from __future__ import annotations

import json as json_format
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

from skfem_ml.cli.words import translated

if TYPE_CHECKING:
    from skfem_ml.progress import Progress

LOG = logging.getLogger("skfem_ml")
LONG = re.compile(r"(?<![\w.])-?\d+\.\d{4,}(?:e[+-]?\d+)?", re.IGNORECASE)


class Warned:
    """The warnings of a run: what the library said, and of which ``row`` of a comparison it said it.

    A warning is printed at once; in a row it is held until `tell`, for other rows may have the same. ``options`` are
    those of the command, by which arguments of the library are named.

    >>> warned = Warned()
    >>> with warned.collecting():
    ...     warned.row = "LOD ell=2"
    ...     warnings.warn("S: its smallest eigenvalue is -0.0123456", UserWarning)
    >>> warned.lines()
    ['LOD ell=2: S: its smallest eigenvalue is -0.01235']
    """

    def __init__(self) -> None:
        self.row = ""
        self.options: Mapping[str, str] = {}
        self._rows: dict[str, list[str]] = {}

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect every UserWarning of the block; what is held is printed where it ends by an error."""
        with warnings.catch_warnings():
            # Without the memory of places that have warned before, whose warnings Python leaves out.
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = self._take
            try:
                yield
            except Exception:
                self.tell()
                raise

    def _take(self, message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        # Other categories (deprecations in libraries) are of no use to a user of the command line.
        if not issubclass(category, UserWarning):
            return
        text = translated(shortened(str(message)), self.options)
        rows = self._rows.get(text)
        if rows is None:
            rows = self._rows[text] = []
            if not self.row:
                say(f"warning: {text}")
        elif not rows:
            return  # said of the whole run before
        if self.row and self.row not in rows:
            rows.append(self.row)

    def lines(self) -> list[str]:
        """One line a warning, each once, after the names of the rows that it is about (two, and how many more)."""
        return [f"{_some(list(rows))}: {text}" if rows else text for text, rows in self._rows.items()]

    def tell(self) -> None:
        """Print the lines about rows on stderr."""
        for line, rows in zip(self.lines(), self._rows.values(), strict=True):
            if rows:
                say(f"warning: {line}")


@dataclass(frozen=True)
class Screen:
    """What is shown of a result: text, ``json`` alone, or (``quiet``) nothing but warnings and errors.

    >>> Screen(json=True).tell("two cells", {"cells": 2})
    {
      "cells": 2
    }
    >>> Screen(quiet=True).tell("two cells", {"cells": 2})
    """

    quiet: bool = False
    json: bool = False
    warned: Warned = field(default_factory=Warned, repr=False, compare=False)

    def tell(self, text: str, content: Mapping[str, object]) -> None:
        """Print the result, as text or as JSON."""
        if self.json:
            typer.echo(as_json(content))
        elif not self.quiet:
            typer.echo(text)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A ``progress(done, total, text)`` that moves a bar on a terminal, and else says a line now and then."""
        from skfem_ml.progress import bar

        show = not (self.quiet or self.json)
        with bar(show) as report, _logged(show):
            yield report


def shortened(text: str) -> str:
    """A text on one line whose decimal numbers have four digits.

    >>> shortened("expected at most 1.6089293624750214, got 2.5")
    'expected at most 1.609, got 2.5'
    """
    return LONG.sub(lambda number: f"{float(number.group()):.4g}", " ".join(text.split()))


def as_json(content: Mapping[str, object]) -> str:
    """JSON of a result; ValueError for nan and infinity, which are none."""
    return json_format.dumps(content, indent=2, allow_nan=False)


def say(text: str) -> None:
    """Print one line on stderr; where that is closed or full there is nobody to tell."""
    with suppress(OSError, ValueError):
        typer.echo(" ".join(text.split()), err=True)


@contextmanager
def _logged(show: bool) -> Iterator[None]:
    """Lines of the package's log on stderr."""
    if not show:
        yield
        return
    handler, level = logging.StreamHandler(sys.stderr), LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(level)


def _some(names: list[str]) -> str:
    more = len(names) - 2
    return "; ".join(names if more < 2 else [*names[:2], f"and {more} more rows"])
