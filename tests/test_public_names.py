"""What a stranger types to find a class: the guesses, Tab, and what they load."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import skfem_ml

ROOMS = ["skfem_ml"] + sorted(m.name for m in pkgutil.walk_packages(skfem_ml.__path__, "skfem_ml.") if m.ispkg)
# Where a stranger looks without having read anything.
GUESSES = [
    "from skfem_ml import LOD, Surrogate, Hybrid, HiTS, H2Operator, DeepFMMNet, compare, from_file, Table, History",
    "from skfem_ml import Diffusion, Heat, Eigenproblem, RK4, ThetaMethod, POD, MLP, fit, solver_pinn, solver_fem",
    "from skfem_ml.lod import LOD, System, Surrogate, Hybrid, GeometricMean, Interpolation, FieldNetwork, solver_lod",
    "from skfem_ml.lod.surrogate import Surrogate, Hybrid, Setting",
    "from skfem_ml.pinn import solver_pinn, solver_elm, eig_neural",
    "from skfem_ml.fmm import H2Operator, H2Skeleton, FMMNet, DeepFMMNet, Recipe",
    "from skfem_ml.hits import HiTS, FlowMap, SplittingNet",
    "from skfem_ml.stepping import RK4, ThetaMethod, Gauss4, IMEX, Newton, POD, SemiDiscrete, parareal",
    "from skfem_ml.baselines import LSTM, ClockworkRNN, FNO, solver_kernel_ridge",
    "from skfem_ml.learning import MLP, History, SOAP, SSBroyden, LevenbergMarquardt, MuonAdam, fit",
    "from skfem_ml.coefficients import from_file, inclusions, channels",
    "from skfem_ml.problems import Diffusion, Heat, Eigenproblem, OdeSystem, OperatorSamples, Sequence",
    "from skfem_ml.compare import compare, Table, Row",
    "from skfem_ml.solutions import FEFunction, Evolution, Eigenpairs",
    "from skfem_ml.meshes import Lattice, pixel_mesh",
]
# The same by attribute, in a process that has loaded nothing else.
ATTRIBUTES = [
    "import skfem_ml; skfem_ml.lod.LOD; skfem_ml.stepping.RK4; skfem_ml.hits.HiTS; skfem_ml.coefficients.from_file",
    "import skfem_ml; skfem_ml.pinn.solver_pinn; skfem_ml.fmm.H2Operator; skfem_ml.metrics.l2_error",
    "import skfem_ml.lod; skfem_ml.lod.Surrogate; skfem_ml.LOD",
]


def names_of(room: str) -> list[str]:
    """The public list of a room; empty where it has none (its files are for the rooms around it)."""
    return list(getattr(importlib.import_module(room), "__all__", []))


def public_classes() -> dict[type, str]:
    """Every class of ours that stands in the list of a room, with the first room that lists it."""
    found: dict[type, str] = {}
    for room in ROOMS:
        for name in names_of(room):
            value = getattr(importlib.import_module(room), name)
            if inspect.isclass(value) and value.__module__.startswith("skfem_ml"):
                found.setdefault(value, room)
    return found


def test_rooms_with_lists_are_found():
    assert {"skfem_ml.lod", "skfem_ml.lod.surrogate", "skfem_ml.hits", "skfem_ml.learning.optim"} <= set(ROOMS)
    assert len(public_classes()) > 60


def run(code: str) -> subprocess.CompletedProcess:
    """Run code in a process that has loaded nothing before."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("guess", GUESSES)
def test_a_guess_is_right(guess):
    """Finding B1: ``from skfem_ml.lod import Surrogate`` and its like."""
    found: dict[str, object] = {}
    exec(guess, found)
    names = guess.partition(" import ")[2].split(", ")
    assert [name for name in names if found.get(name) is None] == []


@pytest.mark.parametrize("guess", ATTRIBUTES)
def test_a_guess_by_attribute_is_right(guess):
    """Finding B1: ``skfem_ml.lod`` after ``import skfem_ml`` was an AttributeError."""
    done = run(guess)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


def test_every_public_class_is_in_the_package_or_in_the_room_it_is_about():
    """``from skfem_ml import X`` or ``from skfem_ml.room import X``, the room being the folder that X is written in."""
    lost = []
    for value, room in public_classes().items():
        own = ".".join(value.__module__.split(".")[:2])
        if not any(getattr(importlib.import_module(guess), value.__name__, None) is value for guess in (ROOMS[0], own)):
            lost.append(f"{value.__name__}, listed by {room}: neither in skfem_ml nor in {own}")
    assert lost == []


def test_what_a_room_lists_is_there_and_tab_shows_it():
    for room in ROOMS:
        module, names = importlib.import_module(room), names_of(room)
        assert len(names) == len(set(names)) and set(names) <= set(dir(module))
        assert [name for name in names if not hasattr(module, name)] == []


def test_tab_finds_rooms_and_names_and_loads_no_torch():
    """Finding B1: ``skfem_ml.`` and Tab, ``skfem_ml.lod.`` and Tab, then the class itself."""
    code = """
import sys, skfem_ml
first = set(dir(skfem_ml))
assert {"LOD", "Surrogate", "HiTS", "compare", "from_file"} <= first, first
assert {"lod", "pinn", "fmm", "hits", "stepping", "coefficients", "problems", "learning", "reference"} <= first, first
assert {"LOD", "Surrogate", "Hybrid", "solver_lod"} <= set(dir(skfem_ml.lod))
skfem_ml.LOD
print("torch" in sys.modules, "matplotlib" in sys.modules)
"""
    done = run(code)
    assert done.stdout.split() == ["False", "False"], done.stderr


@pytest.mark.parametrize("first", ["import skfem_ml.compare", "from skfem_ml.compare import Table"])
def test_a_name_means_the_same_whatever_was_imported_before(first):
    """``compare`` is a function and a room: the attribute of the package is the function, always."""
    same = "import skfem_ml; from skfem_ml import compare; assert compare is skfem_ml.compare; compare.__code__"
    done = run(f"{first}; {same}")
    assert done.returncode == 0, done.stderr
