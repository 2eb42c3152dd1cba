"""What a stranger has (a clean clone, and the package installed from it), threads, the tests that lean on LAPACK."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
for library in ("OMP", "OPENBLAS", "MKL"):  # a thread a worker; numpy and torch are not loaded yet
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
# Tests of what leans on LAPACK (eigenvectors, ranks, least squares): .ci/run repeats them under another BLAS kernel.
LAPACK = (
    "tests/fmm/",
    "tests/hits/",
    "tests/pinn/",
    "tests/problems/test_eigen.py",
    "tests/reference/",
    "tests/stepping/",
    "tests/lod/slod/",
    "tests/lod/test_lod_identities.py",
    "tests/lod/test_lod_reference_data.py",
    "tests/lod/test_mutants.py",
    "tests/test_doctests.py",
    "tests/test_metrics.py",
    "tests/solvers/",
)


# What a source tree without git gathers in use.
IGNORED = ("__pycache__", ".venv", "build", "*.egg-info", ".*_cache", ".hypothesis", "skfem_ml_output")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-minutes",
        type=float,
        default=0.0,
        help="minutes for each fuzzer of tests/fuzz in place of seconds, and long forms of the tests of threads",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(LAPACK):
            item.add_marker(pytest.mark.lapack)


def install_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of a source tree, install it alone into ``folder/site``, and return that."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    for command in (
        ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)],
        ["install", "--no-deps", "--no-index", "--find-links", str(folder), "-t", str(folder / "site"), "skfem-ml"],
    ):
        done = subprocess.run([*pip, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder / "site"


def copy_sources(folder: Path) -> Path:
    """Copy what a wheel is built from, and return the folder."""
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("skfem_ml", "demos"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Path:
    """The files of the repository as they are now, those that git ignores left out."""
    folder = tmp_path_factory.mktemp("clone")
    if not (ROOT / ".git").exists():  # an unpacked source distribution
        return shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*IGNORED), dirs_exist_ok=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """The folder that holds the installed package and its programs, and nothing else."""
    return install_wheel(copy_sources(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def stranger(installed) -> Callable[..., subprocess.CompletedProcess]:
    """Run a command in a folder with the installed package on the path, and nothing of this repository."""
    path = [str(installed / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    alone = {"PYTHONPATH": str(installed), "PATH": os.pathsep.join(path)}
    quiet = {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
        environment = {**os.environ, **alone, **quiet}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run
