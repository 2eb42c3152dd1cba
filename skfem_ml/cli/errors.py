"""Errors of the command line: one line on stderr and an exit code, no traceback unless asked for."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

BAD_INPUT, INTERRUPTED, FAILED = 2, 130, 1
# typer carries its own copy of click from some version on; the base of its errors is found through one of them.
CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]


class Commands(TyperGroup):
    """The group of all commands, which turns exceptions into one line and an exit code.

    ValueError, TypeError and OSError (the library's words for bad input and files) and errors of the command line end
    with code 2, Ctrl-C with 130, anything else with 1. With ``--debug`` exceptions keep their traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warning_once()
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            _say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output (head, less) has left: nobody to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None
        except Exception as error:
            if debugging(ctx):
                raise
            raise typer.Exit(report(error)) from None

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Parse and run; always leaves by SystemExit."""
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except CommandLineError as error:
            code = report(error)
        except (KeyboardInterrupt, typer.Abort):
            _say("interrupted")
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


def report(error: Exception) -> int:
    """Print one line about an error on stderr and return the exit code."""
    if isinstance(error, CommandLineError):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "skfem-ml"
        message = error.format_message().rstrip(".")  # type: ignore[attr-defined]
        _say(f"error: {message}; see {command} --help")
        return BAD_INPUT
    if isinstance(error, (ValueError, TypeError, OSError)):
        _say(f"error: {error}")
        return BAD_INPUT
    _say(f"error: unexpected {type(error).__name__}: {error}; add --debug for the traceback")
    return FAILED


def remember_debug(context: typer.Context, value: bool) -> bool:
    """Note ``--debug`` wherever on the command line it stands."""
    if value:
        context.find_root().ensure_object(dict)["debug"] = True
    return value


def debugging(context: Any) -> bool:
    """Whether ``--debug`` was given."""
    return bool(context.find_root().ensure_object(dict).get("debug"))


def _warning_once() -> Callable[..., None]:
    """Return a ``warnings.showwarning`` that says in one line what the library warns of, and never twice the same."""
    said: set[str] = set()

    def show(message: Any, category: Any, *_: Any) -> None:
        # Other categories (deprecations in libraries) are of no use to a user of the command line.
        if issubclass(category, UserWarning) and str(message) not in said:
            said.add(str(message))
            _say(f"warning: {message}")

    return show


def _say(text: str) -> None:
    typer.echo(" ".join(text.split()), err=True)


@contextmanager
def held_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait until the end of the block: the process aborts where it arrives while torch is imported."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
