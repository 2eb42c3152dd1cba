"""``skfem-ml demos`` and ``skfem-ml models``: what is listed is there, and runs as written."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skfem_ml.cli import demos as room
from skfem_ml.learning import shipped
from tests.cli.commands import ROOT, environment, refused, skfem_ml


def listed(text):
    """Command -> what it shows."""
    return dict(line.split("  # ") for line in text.splitlines())


@pytest.mark.parametrize("where", [".", "demos", ".."])
def test_the_demos_of_the_clone_are_listed_as_commands(where, monkeypatch):
    """Finding B6: in the root of the clone and from elsewhere, a command for each demo that can be run, from there."""
    monkeypatch.chdir(ROOT / where)
    result = skfem_ml("demos")
    found = listed(result.stdout)
    assert result.exit_code == 0 and len(found) > 15 and all(found.values())
    paths = [Path(shlex.split(command)[-1]) for command in found]
    assert all(path.is_file() for path in paths)
    guarded = {p.name for p in (ROOT / "demos").glob("*.py") if '__name__ == "__main__"' in p.read_text("utf-8")}
    assert {path.name for path in paths} == guarded and "one_line.py" in guarded


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package as it is installed, with the demos in it, outside of any clone."""
    package = tmp_path / "site" / "skfem_ml"
    shutil.copytree(ROOT / "demos", package / "demos", ignore=shutil.ignore_patterns("__pycache__", "benchmarks"))
    monkeypatch.setattr(room.resources, "files", lambda _: package)
    (tmp_path / "work" / "demos").mkdir(parents=True)  # of somebody else
    (tmp_path / "work" / "demos" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path / "work")
    return package


def test_an_installed_package_lists_its_demos_and_finds_the_clone_it_is_run_in(package, tmp_path, monkeypatch):
    """Finding B6: the command said "get the source" in the root of the source."""
    *lines, last = skfem_ml("demos").stdout.splitlines()
    assert last == room.COPY and "one_line.py" in listed("\n".join(lines))
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "demos", clone / "demos", ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    for place in (clone, clone / "demos" / "benchmarks"):
        monkeypatch.chdir(place)
        assert any(command.endswith("one_line.py") for command in listed(skfem_ml("demos").stdout))


def test_demos_are_copied_and_nothing_is_lost(package, tmp_path):
    (tmp_path / "own").mkdir()
    result = skfem_ml("demos", tmp_path / "own", "--copy")
    assert result.exit_code == 0
    scripts = sorted(path.name for path in (package / "demos").glob("*.py"))
    assert sorted(path.name for path in (tmp_path / "own" / "demos").iterdir()) == scripts
    assert all(Path(shlex.split(line)[-1]).is_file() for line in listed(result.stdout))
    assert skfem_ml("demos", "--copy", tmp_path / "own").exit_code == 0  # the same files once more
    (tmp_path / "own" / "demos" / "one_line.py").write_text("mine")
    assert "one_line.py: is there already" in refused("demos", "--copy", tmp_path / "own")
    assert (tmp_path / "own" / "demos" / "one_line.py").read_text() == "mine"
    assert "demos/__init__.py: is there already" in refused("demos", "--copy")
    assert "--copy" in refused("demos", tmp_path / "own")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Heat: an old title\n\nMore.", "Heat: an old title"),
        ("Title\n=====\n\nOne :class:`LOD` and ``step`` of *this*.\nTwo.", "One LOD and step of this."),
        ("Title\n=====\n\nA mean, e.g. of a,\nis 4.5 % off. Two.", "A mean, e.g. of a, is 4.5 % off."),
        ("", ""),
    ],
)
def test_what_a_demo_shows_is_one_sentence(text, said):
    assert room.sentence(text) == said


@pytest.mark.slow
def test_a_listed_demo_runs_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = next(line for line in listed(skfem_ml("demos").stdout) if line.endswith("one_line.py"))
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout, done.stderr


def test_the_python_of_the_commands_is_the_one_that_has_the_package(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    assert room.command(ROOT / "demos" / "one_line.py") == f"python {os.path.join('demos', 'one_line.py')}"
    monkeypatch.setenv("PATH", str(tmp_path))
    named = shlex.split(room.command(ROOT / "demos" / "one_line.py"))[0]
    assert os.path.abspath(named) == os.path.abspath(sys.executable)


def test_models_lists_what_is_shipped():
    result = skfem_ml("models", "--json")
    found = json.loads(result.stdout)["models"]
    assert result.exit_code == 0
    for area in ("lod", "hits"):
        sizes = {name: path.stat().st_size for name, path in shipped(area).items()}
        assert {model["name"]: model["bytes"] for model in found if model["room"] == area} == sizes and sizes
    purposes = {model["name"]: model["purpose"] for model in found}
    assert "refine 8, ell = 2" in purposes["diffusion-q1-ell2-n8"] and "van-der-pol" in purposes["van-der-pol"]
    text = skfem_ml("models").stdout
    assert all(name in text for name in purposes) and "--surrogate NAME" in text and "--model NAME" in text


def test_a_damaged_model_is_one_line(tmp_path, monkeypatch):
    import skfem_ml.learning as learning

    (tmp_path / "bad.safetensors").write_bytes(b"\x08" + bytes(40))
    files = {"bad": tmp_path / "bad.safetensors"}
    monkeypatch.setattr(learning, "shipped", lambda _: files, raising=False)
    assert str(tmp_path / "bad.safetensors") in refused("models")
