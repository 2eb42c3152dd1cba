"""Errors of the command line: one line on stderr and an exit code, no traceback unless asked for."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from skfem_ml.cli import INTERRUPTED
from skfem_ml.cli.screen import Warned, say
from skfem_ml.cli.words import translated

BAD_INPUT, FAILED = 2, 1
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
            with Warned().collecting():
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt as stop:
            say("; ".join(["interrupted", *map(str, stop.args)]))
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise
        except Exception as error:
            given = ctx.find_root().ensure_object(dict)
            if given.get("debug"):
                raise
            raise typer.Exit(report(error, given.get("options", {}))) from None

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Parse and run; always leaves by SystemExit."""
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except CommandLineError as error:
            code = report(error)
        except BrokenPipeError:
            # The reader of our output (head, less) has left: nobody to tell.
            _nowhere()
            code = FAILED
        except OSError as error:  # of the help, which is printed before any command runs
            code = report(error)
        except (KeyboardInterrupt, typer.Abort):
            say("interrupted")
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


class Command(TyperCommand):
    """A command that leaves its options for the messages of `report`: name in the library -> on the command line."""

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        options = {str(p.name): p.opts[0] for p in self.params if p.opts[0].startswith("--")}
        options |= {str(p.name): str(p.name).upper() for p in self.params if p.param_type_name == "argument"}
        ctx.find_root().ensure_object(dict)["options"] = options
        return super().invoke(ctx)


def report(error: Exception, options: Mapping[str, str] = {}) -> int:
    """Print one line about an error on stderr and return the exit code."""
    if isinstance(error, CommandLineError):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "skfem-ml"
        message = error.format_message().rstrip(".")  # type: ignore[attr-defined]
        say(f"error: {message}; see {command} --help")
        return BAD_INPUT
    if isinstance(error, (ValueError, TypeError, OSError)):
        # What the system says of a file begins with a number.
        told = str(error)
        if isinstance(error, OSError) and error.errno is not None and error.strerror:
            if not error.filename:  # what the command prints: files are written under their names
                _nowhere()
            told = f"{error.filename or 'standard output'}: {error.strerror}"
        say(f"error: {translated(told, options)}")
        return BAD_INPUT
    say(f"error: unexpected {type(error).__name__}: {error}; add --debug for the traceback")
    return FAILED


def _nowhere() -> None:
    """Let what is still to be printed go nowhere: Python would fail on it once more when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def remember_debug(context: typer.Context, value: bool) -> bool:
    """Note ``--debug`` wherever on the command line it stands."""
    if value:
        context.find_root().ensure_object(dict)["debug"] = True
    return value


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
