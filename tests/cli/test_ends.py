"""How a command ends: closed pipes, full disks, Ctrl-C at any moment: one line and the right exit code."""

import os
import subprocess
import sys

import pytest

from tests.cli.commands import environment, program

posix = pytest.mark.skipif(os.name != "posix" or not os.path.exists("/dev/full"), reason="pipes, signals, /dev/full")
# Ctrl-C at the so many-th import after the command has been started, or at the first of a module.
INTERRUPTING = """
import os, signal, sys
from skfem_ml.cli import main
where, count = sys.argv.pop(1), [0]
def hook(event, arguments):
    if event == "import":
        count[0] += 1
        if str(count[0]) == where or arguments[0] == where:
            os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
main()
"""


def ended(command, **streams):
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    done = subprocess.run(command, text=True, env=environment(), check=False, **both)
    return done.returncode, done.stdout, done.stderr


@posix
@pytest.mark.parametrize("command", ["models", "models --json", "--version", "--help", "solve --help"])
def test_a_full_disk_for_what_is_printed(command):
    """Finding G11: without a name; help and version ended in a traceback."""
    with open("/dev/full", "w") as full:
        code, _, errors = ended(program(*command.split()), stdout=full)
    assert (code, errors) == (2, "error: standard output: No space left on device\n")


@posix
def test_a_closed_pipe_is_no_error_to_tell():
    for command in (["models"], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        code, _, errors = ended(program(*command), stdout=writer)
        os.close(writer)
        assert (code, errors) == (1, "")


@pytest.mark.slow
@posix
def test_streams_that_are_closed():
    """Finding G11: stdout closed ended in an AttributeError."""
    for closing, code in ((">&-", 0), (">&- 2>&-", 0)):
        shell = " ".join(map("'{}'".format, program("models"))) + f" {closing}"
        assert ended(["sh", "-c", shell])[0] == code
    with open("/dev/full", "w") as full:
        assert ended(program("solve", "none.npy"), stderr=full)[0] == 2


@posix
@pytest.mark.parametrize(
    "where", ["1", "20", "150", "400", "typer", "skfem_ml.cli.compare.heat", "numpy", "torch", "torch.nn"]
)
def test_ctrl_c_at_any_moment(where, tmp_path):
    """Finding G10: in the first half second it ended in a traceback, while torch is loaded the process aborted."""
    command = ["compare", "heat", "--output", str(tmp_path), "--quiet"]
    code, output, errors = ended([sys.executable, "-c", INTERRUPTING, where, *command])
    assert (code, output, errors) == (130, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


@posix
def test_ctrl_c_that_is_ignored_stays_so():
    """Under nohup, or in the background of a shell without job control."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPTING
    assert ended([sys.executable, "-c", code, "400", "--version"])[0] == 0


@pytest.mark.parametrize("command", ["solve x.npy", "compare diffusion x.vtu", "compare eigen x.npy"])
def test_a_missing_field_makes_nothing(command, tmp_path):
    """Finding G11: an output folder was made before the input was found missing."""
    code, output, errors = ended(program(*command.split(), "--output", tmp_path / "out"), cwd=tmp_path)
    assert code == 2 and output == "" and errors.count("\n") == 1 and command.split()[-1] in errors
    assert list(tmp_path.iterdir()) == []
