"""Models and checkpoints: files that are changed are refused, files that lie with a right checksum do no harm."""

import copy
import functools
import tempfile
import time
from pathlib import Path

import torch
from hypothesis import strategies as st

from skfem_ml.hits import HiTS
from skfem_ml.learning import MLP, CorruptModelError, ModelMismatchError, load_checkpoint, load_model, save_checkpoint
from skfem_ml.learning.models import find_model
from skfem_ml.learning.storage import save_model
from skfem_ml.learning.stored import load_network, save_network
from skfem_ml.lod import Surrogate
from tests.fuzz.mutations import mutated, mutations

SECONDS = 10  # of the processor for one input
OURS = (CorruptModelError, ModelMismatchError, ValueError)
STRANGE = (None, True, -1, 0, 2**40, 1e308, "", "x" * 100, [], {}, [1, 2], {"low": 1}, [[1]], "MLP", 10**400)


@functools.cache
def sources():
    """Name -> (bytes of a sound file, how it is read)."""
    with tempfile.TemporaryDirectory() as folder:
        model, network, state = (Path(folder) / name for name in ("model", "network", "state"))
        save_model(model, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.complex64)}, {"n": 8})
        save_network(network, MLP((2, 3, 1), generator=torch.Generator().manual_seed(0)), {"seed": 0})
        save_checkpoint(state, {"net": {"w": torch.arange(5.0)}, "step": 3, "history": {"steps": [1]}})
        return {
            "model": (model.read_bytes(), load_model),
            "network": (network.read_bytes(), lambda path: load_network(path, (MLP,))),
            "state": (state.read_bytes(), load_checkpoint),
            "hits": (find_model("hits", "van-der-pol").read_bytes(), HiTS.load),
            "elements": (find_model("lod", "diffusion").read_bytes(), Surrogate.load),
            "patches": (find_model("lod", "diffusion-q1-ell2-n8").read_bytes(), Surrogate.load),
        }


NAMES = ("model", "network", "state", "hits", "elements", "patches")
CARDS = ("network", "hits", "elements", "patches")


def in_time(name, path):
    """Load a file: what comes of it, or None where it is refused."""
    start = time.process_time()
    try:
        return sources()[name][1](path)
    except OURS as error:
        assert str(path) in str(error), f"no path: {error!r}"
        return None
    finally:
        assert time.process_time() - start < SECONDS, "too slow"


def changed(name, changes):
    """Any change of any byte is noticed."""
    data = sources()[name][0]
    other = mutated(data, changes) if len(data) < 2**18 else mutated(data[: 2**17], changes) + data[2**17 :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(other)
        if other != data:
            assert in_time(name, path) is None, "a changed file was loaded"
        else:
            assert in_time(name, path) is not None


def lying(name, where, value, drop, size):
    """A file with the right checksum whose card and tensors say something else than they should."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(sources()[name][0])
        tensors, card = load_model(path)
        card, places = copy.deepcopy(card), []

        def walk(node):
            for key in list(node) if isinstance(node, dict) else range(len(node)):
                places.append((node, key))
                if isinstance(node[key], dict | list):
                    walk(node[key])

        walk(card)
        node, key = places[int(where * len(places))]
        node[key] = value
        if drop and tensors:
            left = sorted(tensors)[int(where * len(tensors))]
            tensors[left] = torch.full((size,), float("nan")) if size else torch.zeros(0)
        save_model(path, tensors, card)
        in_time(name, path)


# Found by this fuzzer: steps of a hierarchy that fit nothing, or overflow; a network of 2^40 layers.
LIES = [("hits", 0.34375, True, False, 0), ("hits", 0.34375, 1e308, False, 0), ("elements", 0.9453125, 2**40, False, 0)]


def test_changed_models_and_checkpoints(explored):
    explored(changed, st.sampled_from(NAMES), mutations, examples=150)


def test_models_that_lie(explored):
    chosen = st.sampled_from(CARDS), st.floats(0, 1, exclude_max=True), st.sampled_from(STRANGE)
    explored(lying, *chosen, st.booleans(), st.integers(0, 9), examples=100, seeds=LIES)
