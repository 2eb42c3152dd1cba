"""The command line in this process and as a program of its own."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from typer.testing import CliRunner

from skfem_ml.cli.app import app

ROOT = Path(__file__).parents[2]
LIMIT = 300  # seconds after which a program that says nothing is taken for dead; no test waits for it to pass


def skfem_ml(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows(content):
    return {row["name"]: row for row in content["rows"]}


def refused(*arguments):
    """Run, expect exit code 2 and one line on stderr, and return that line."""
    result = skfem_ml(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and result.stderr.count("\n") == 1 and result.stderr.startswith("error: ")
    return result.stderr


def program(*arguments):
    code = "from skfem_ml.cli import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def started(*arguments):
    """The program, running."""
    return subprocess.Popen(
        program(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


def heard(run, words):
    """Lines of stderr until one has the words; the program is killed where it says nothing for too long."""
    watchdog = threading.Timer(LIMIT, run.kill)
    watchdog.start()
    lines = []
    try:
        for line in run.stderr:
            lines.append(line)
            if words in line:
                return lines
    finally:
        watchdog.cancel()
    raise AssertionError(f"expected a line with {words!r}, got {lines}")
