"""The wheel holds all that the program and its demos need: built, installed on its own, and loaded from there.

The program itself is run from a wheel by ``test_documents.py``.
"""

import os
import shutil
import subprocess
import sys
import tarfile

import pytest
import torch
from skfem import MeshQuad

from skfem_ml.lod import LOD, FieldNetwork, Surrogate
from skfem_ml.lod.surrogate import Setting
from tests.conftest import ROOT, copy_sources, install_wheel


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
    demos = {f"skfem_ml/demos/{path.name}" for path in (ROOT / "demos").glob("*.py")}
    assert "skfem_ml/demos/one_line.py" in demos and demos <= names
    assert sum((site / name).stat().st_size for name in demos) < 1e6
    assert not any(name.startswith(("tests/", "demos/", "data/", "skfem_ml/demos/benchmarks")) for name in names)


def test_versions_agree(site):
    from skfem_ml import __version__

    (metadata,) = site.glob("skfem_ml-*.dist-info/METADATA")
    assert f"\nVersion: {__version__}\n" in metadata.read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


STARTS = """
import runpy, sys
from pathlib import Path
path = list(sys.path)
for file in sorted(Path("demos").glob("*.py")):
    sys.path[:] = [str(file.parent.resolve()), *path]  # as python does
    for loaded in [module for module in sys.modules if module.partition(".")[0] == "demos"]:
        del sys.modules[loaded]
    print(file.name, "visualize" in runpy.run_path(str(file)))
"""


@pytest.mark.slow
def test_demos_are_copied_from_the_wheel_and_start(site, tmp_path):
    """Each up to its main guard, from the copy, where nothing of the clone is on the path; one of them to its end."""
    done = run(site, "sys.argv[1:] = ['demos', '--copy']\nfrom skfem_ml.cli import main\nmain()", tmp_path)
    assert done.returncode == 0 and "one_line.py  # " in done.stdout, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"demos"}
    done = run(site, STARTS, tmp_path)
    without = {line.split()[0] for line in done.stdout.splitlines() if line.endswith("False")}
    assert done.returncode == 0 and without == {"__init__.py", "gallery.py"}, done.stdout + done.stderr[-2000:]
    environment = {**os.environ, "PYTHONPATH": str(site), "MPLBACKEND": "Agg"}
    one_line = [sys.executable, "demos/one_line.py"]
    done = subprocess.run(one_line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (tmp_path / "one_line.png").stat().st_size > 500, done.stderr[-2000:]


def test_the_source_distribution_holds_what_the_suite_needs(tmp_path):
    """All that git knows, in what setuptools would pack."""
    if not (ROOT / ".git").exists():
        pytest.skip("an unpacked source distribution")
    command = ["git", "ls-files", "-z", "--cached"]
    known = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, known):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "source" / name)
    code = "from setuptools import build_meta; print(build_meta.build_sdist('..'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "source", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with tarfile.open(tmp_path / done.stdout.splitlines()[-1]) as packed:
        names = {member.name.partition("/")[2] for member in packed.getmembers()}
    assert {name for name in known if name} - names == set()


def test_a_model_of_the_wheel_loads_by_its_name(site, tmp_path):
    done = run(
        site,
        "from skfem_ml.lod.surrogate import Surrogate\nfrom skfem_ml.learning import shipped\n"
        "assert Surrogate.load('toy').card['n'] == 2\n"
        f"assert all(str(path).startswith({str(site)!r}) for path in shipped('lod').values())",
        tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
