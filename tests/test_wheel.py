"""The wheel holds all that the program needs: built, installed on its own, and loaded from a folder of its own.

The program itself is run from a wheel by ``test_documents.py``.
"""

import subprocess
import sys

import pytest
import torch
from skfem import MeshQuad

from skfem_ml.lod import LOD, FieldNetwork, Surrogate
from skfem_ml.lod.surrogate import Setting
from tests.conftest import copy_sources, install_wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What a wheel is built from, with one more model."""
    folder = copy_sources(tmp_path_factory.mktemp("source"))
    lod = LOD(MeshQuad().refined(1), refine=2, ell=1)
    net = FieldNetwork(2, 1, encoding=2, outer=1, width=2, generator=torch.Generator().manual_seed(0))
    Surrogate(net, Setting.of(lod)).save(folder / "skfem_ml" / "models" / "lod" / "toy.safetensors")
    return folder


@pytest.fixture(scope="module")
def site(source, tmp_path_factory):
    return install_wheel(source, tmp_path_factory.mktemp("wheel"))


def run(site, code, cwd):
    """Run code isolated from the environment and this folder, with only the wheel before the installed packages."""
    script = f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"
    return subprocess.run([sys.executable, "-I", "-c", script], cwd=cwd, capture_output=True, text=True, check=False)


def test_files_in_the_wheel(site, source):
    names = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert {"skfem_ml/py.typed", "skfem_ml/fields/inclusions.npy", "skfem_ml/fields/manifest.json"} <= names
    models = {path.relative_to(source).as_posix() for path in (source / "skfem_ml" / "models").rglob("*.safetensors")}
    assert "skfem_ml/models/lod/toy.safetensors" in models and models <= names
    assert "skfem_ml/models/hits/van-der-pol.safetensors" in names
    assert not any(name.startswith(("tests/", "demos/", "data/")) for name in names)


def test_a_model_of_the_wheel_loads_by_its_name(site, tmp_path):
    done = run(
        site,
        "from skfem_ml.lod.surrogate import Surrogate\nfrom skfem_ml.learning import shipped\n"
        "assert Surrogate.load('toy').card['n'] == 2\n"
        f"assert all(str(path).startswith({str(site)!r}) for path in shipped('lod').values())",
        tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
