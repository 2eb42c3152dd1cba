"""The wheel holds all that the program needs: built, installed on its own, and run from a folder of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from skfem import MeshQuad

from skfem_ml.lod import LOD, FieldNetwork, Surrogate
from skfem_ml.lod.surrogate import Setting

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What a wheel is built from, with one more model."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "skfem_ml", folder / "skfem_ml", ignore=shutil.ignore_patterns("__pycache__"))
    lod = LOD(MeshQuad().refined(1), refine=2, ell=1)
    net = FieldNetwork(2, 1, encoding=2, outer=1, width=2, generator=torch.Generator().manual_seed(0))
    Surrogate(net, Setting.of(lod)).save(folder / "skfem_ml" / "models" / "lod" / "toy.safetensors")
    return folder


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    for command in (
        ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)],
        ["install", "--no-deps", "--no-index", "--find-links", str(folder), "-t", str(folder / "site"), "skfem-ml"],
    ):
        done = subprocess.run([*pip, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder / "site"


def run(site, code, cwd):
    """Run code isolated from the environment and this folder, with only the wheel before the installed packages."""
    script = f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"
    return subprocess.run([sys.executable, "-I", "-c", script], cwd=cwd, capture_output=True, text=True, check=False)


def test_files_in_the_wheel(installed, source):
    names = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert {"skfem_ml/py.typed", "skfem_ml/fields/inclusions.npy", "skfem_ml/fields/manifest.json"} <= names
    models = {path.relative_to(source).as_posix() for path in (source / "skfem_ml" / "models").rglob("*.safetensors")}
    assert "skfem_ml/models/lod/toy.safetensors" in models and models <= names
    assert "skfem_ml/models/hits/van-der-pol.safetensors" in names
    assert not any(name.startswith(("tests/", "demos/", "data/")) for name in names)


@pytest.mark.parametrize("command", [["doctor"], ["compare", "diffusion", "--quiet", "--ell", "1"]])
def test_runs_from_the_wheel_alone(installed, tmp_path, command):
    code = f"import skfem_ml\nassert skfem_ml.__file__.startswith({str(installed)!r})\n"
    code += f"from skfem_ml.cli import main\nsys.argv = ['skfem-ml', *{command!r}]\nmain()"
    done = run(installed, code, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    if command[0] == "compare":
        assert {path.suffix for path in tmp_path.rglob("diffusion.*")} == {".png", ".vtu", ".csv", ".md", ".json"}


def test_a_model_of_the_wheel_loads_by_its_name(installed, tmp_path):
    done = run(
        installed,
        "from skfem_ml.lod.surrogate.model import Surrogate\nfrom skfem_ml.learning import shipped\n"
        "assert Surrogate.load('toy').setting.n == 2\n"
        f"assert all(str(path).startswith({str(installed)!r}) for path in shipped('lod').values())",
        tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
