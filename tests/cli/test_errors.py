"""Messages of the library in the words of the command line, and every help page."""

import pytest

from skfem_ml.cli import options
from skfem_ml.cli.app import COMMANDS, GROUPS
from skfem_ml.cli.words import translated
from tests.cli.commands import refused, skfem_ml

NAMES = {"name": "--name", "low": "--low", "high": "--high", "load": "--load", "refine": "--refine", "field": "FIELD"}
PATHS = [[function.__name__] for function in COMMANDS]
PATHS += [[group, each.__name__.replace("_", "-")] for group, (_, commands) in GROUPS.items() for each in commands]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("a.vtu: choose one by name=: k, phi", "a.vtu: choose one by --name: k, phi"),
        ("a.npy: name='k' chooses cell data", "a.npy: --name k chooses cell data"),
        ("pass low= and high=, the values of black and white", "pass --low and --high, the values of black and white"),
        ("f: expected a finite number", "--load: expected a finite number"),
        ("low, high: expected 0 < low <= high", "--low, --high: expected 0 < low <= high"),
        ("a.npy: low, high and scale are for images", "a.npy: --low, --high and scale are for images"),
        ("take refine=3 or name=True and LOD(refine=2)", "take --refine 3 or --name and LOD(refine=2)"),
        # Words of English and names of files stay.
        ("the name of the load and others: a load", "the name of the load and others: a load"),
        ("/a/name=1/low.npy: expected a number", "/a/name=1/low.npy: expected a number"),
        ("S: not definite with refine == 2", "S: not definite with refine == 2"),
    ],
)
def test_names_of_arguments_become_options(message, told):
    """Finding C: ``name=`` was said where the option is ``--name``."""
    assert translated(message, NAMES) == told


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_has_its_help(path):
    result = skfem_ml(*path, "--help")
    assert result.exit_code == 0 and result.stderr == "" and f"{' '.join(path)} [OPTIONS]" in result.stdout


def test_options_of_a_field_and_of_the_screen_are_those_of_their_groups():
    """A command says ``read`` and ``screen``; the user sees the options, those of the screen last."""
    text = skfem_ml("solve", "--help").stdout
    places = [text.index(f"  --{name} ") for name in ("coarse", "method", "quiet")]
    assert places == sorted(places)
    given = options.GROUPS["read"][1]
    assert all(f"--{name}" in text for name in given if name != "field")


def test_seeds_are_not_negative():
    for command in (["solve"], ["compare", "heat"], ["compare", "flows"], ["train", "hits"], ["train", "fmmnet"]):
        assert "--seed" in refused(*command, "--seed", "-1")


def test_a_missing_model_is_named(tmp_path):
    message = refused("solve", "--method", "surrogate", "--surrogate", tmp_path / "none.safetensors")
    assert message == f"error: {tmp_path / 'none.safetensors'}: No such file or directory\n"
