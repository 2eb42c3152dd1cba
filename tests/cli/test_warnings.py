"""What the library warns of is in the output of the command: a line, JSON, Markdown."""

import json
import warnings

import numpy as np
import pytest

from skfem_ml import reference
from skfem_ml.cli.screen import Screen, Warned, shortened
from skfem_ml.lod import System
from tests.cli.commands import skfem_ml

TEXT = "S: its smallest eigenvalue is -1.2345678901234567e-05; raise ell, or take the Galerkin variant"
SHORT = TEXT.replace("-1.2345678901234567e-05", "-1.235e-05")


@pytest.fixture
def field(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(1, 9, (16, 16)))
    return tmp_path / "a.npy"


@pytest.fixture
def indefinite(monkeypatch):
    """Every system warns of its matrix."""
    matrix = System.matrix

    def warning(system, *arguments, **options):
        warnings.warn(TEXT, UserWarning, stacklevel=2)
        return matrix(system, *arguments, **options)

    monkeypatch.setattr(System, "matrix", warning)


@pytest.mark.slow
def test_a_warning_is_in_all_outputs_of_a_comparison(field, tmp_path, indefinite):
    """Finding A4: once on the screen, with the rows that it is about, in the JSON and in the notes of the Markdown."""
    options = ["--ell", "1,2", "--refine", "2", "--output", tmp_path]
    result = skfem_ml("compare", "diffusion", field, *options)
    line = f"LOD ell=1; LOD ell=2; and 3 more rows: {SHORT}"
    assert result.exit_code == 0 and result.stderr == f"warning: {line}\n"
    assert json.loads((tmp_path / "diffusion.json").read_text())["warnings"] == [line]
    assert f"- warning: {line}\n" in (tmp_path / "diffusion.md").read_text()
    quiet = skfem_ml("compare", "diffusion", field, *options, "--quiet")
    assert quiet.stdout == "" and quiet.stderr == f"warning: {line}\n"


def test_a_warning_is_in_all_outputs_of_a_solution(field, tmp_path, indefinite):
    """Finding A4: as a line and in the JSON, which is still all there is on stdout."""
    result = skfem_ml("solve", field, "--output", tmp_path, "--json")
    assert result.exit_code == 0 and result.stderr == f"warning: {SHORT}\n"
    assert json.loads(result.stdout)["warnings"] == [SHORT]
    again = skfem_ml("solve", field, "--output", tmp_path)
    assert again.stderr == result.stderr  # not only the first time in a process


@pytest.mark.slow
def test_a_matrix_that_is_not_definite_is_told(tmp_path):
    """Finding A4: crossing channels of contrast 1e8, where u_h is nowhere near; the remedy names the options."""
    a = np.ones((32, 32))
    a[4::8] = a[:, 4::8] = 1e8
    np.save(tmp_path / "a.npy", a)
    options = [tmp_path / "a.npy", "--output", tmp_path, "--json"]
    for command, remedy in ((["solve"], "--variant galerkin"), (["compare", "diffusion", "--ell", "2"], "--galerkin")):
        result = skfem_ml(*command, *options)
        every = json.loads(result.stdout)["warnings"]  # of surrogates as well
        assert result.exit_code == 0 and result.stderr == "".join(f"warning: {told}\n" for told in every)
        (told,) = (each for each in every if "S: not positive definite" in each and remedy in each)
        assert (
            "S: not positive definite" in told
            and "--ell 3" in told
            and remedy in told
            and "=" not in told.partition(": ")[2]
        )
    assert f"- warning: {told}\n" in (tmp_path / "diffusion.md").read_text()


@pytest.mark.slow
def test_a_warning_of_reading_the_field_is_there_as_well(tmp_path):
    """Finding A4: any warning of the run, whoever says it."""
    np.save(tmp_path / "a.npy", np.where(np.eye(8) > 0, 1e11, 1.0))
    for command in (["solve"], ["compare", "diffusion", "--ell", "1"]):
        result = skfem_ml(*command, tmp_path / "a.npy", "--output", tmp_path, "--json")
        told = json.loads(result.stdout)["warnings"]
        assert result.exit_code == 0 and result.stderr.splitlines() == [f"warning: {line}" for line in told]
        assert any(line.startswith("a: contrast") for line in told)


def test_no_warnings_are_told_where_there_are_none(field, tmp_path):
    result = skfem_ml("solve", field, "--output", tmp_path, "--json")
    assert json.loads(result.stdout)["warnings"] == [] and result.stderr == ""


def test_warnings_of_rows_are_told_before_an_error(field, tmp_path, monkeypatch, indefinite):
    def broken(*_, **__):
        warnings.warn(TEXT, UserWarning, stacklevel=2)
        raise ValueError("no solution")

    monkeypatch.setattr(reference, "solver_fem", lambda *_, **__: broken)
    result = skfem_ml("compare", "diffusion", field, "--ell", "1", "--refine", "2", "--output", tmp_path)
    first, last = result.stderr.splitlines()
    assert result.exit_code == 2 and first == f"warning: fine FEM: {SHORT}"
    assert last == "error: reference: expected 'fine FEM' to solve the problem, got ValueError: no solution"


def test_numbers_are_told_with_four_digits():
    """Finding B4: no warning of 17 digits."""
    told = "outside [-1.6089293624750214, 1.6089293624750207], 1e11 of 2.5 and 12345.678901 in v1.2.34567"
    assert shortened(told) == "outside [-1.609, 1.609], 1e11 of 2.5 and 1.235e+04 in v1.2.34567"
    warned = Warned()
    with warned.collecting():
        for warned.row in ("one", "two", "one"):
            warnings.warn("1.23456789", UserWarning, stacklevel=1)
        warnings.warn("not for users", DeprecationWarning, stacklevel=1)
    assert warned.lines() == ["one; two: 1.235"]


def test_a_screen_that_is_quiet_still_has_its_warnings(capsys):
    screen = Screen(quiet=True)
    with screen.warned.collecting():
        warnings.warn("once", UserWarning, stacklevel=1)
        warnings.warn("once", UserWarning, stacklevel=1)
    screen.tell("text", {})
    assert capsys.readouterr() == ("", "warning: once\n")
