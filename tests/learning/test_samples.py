"""Networks trained on samples: one file format for all of them, state dicts of other libraries, recipes, histories."""

import importlib.util
import json
import math
import sys
import types

import numpy as np
import pytest
import torch

from skfem_ml.baselines import FNO, MNNH2, ConvNet, solver_fno
from skfem_ml.fmm import DeepFMMNet, FMMNet, H2Operator, H2Skeleton, load_learned
from skfem_ml.learning import (
    MLP,
    CorruptModelError,
    History,
    Learned,
    ModelMismatchError,
    MuonAdam,
    Recipe,
    fit,
    learn,
    load_model,
    save_model,
)
from skfem_ml.learning.optim import adam, levenberg_marquardt
from skfem_ml.problems import OperatorSamples

N = 64


def generator():
    return torch.Generator().manual_seed(0)


def samples(n=60):
    rng = np.random.default_rng(0)
    q = rng.standard_normal((n, N))
    return OperatorSamples((np.arange(N)[None] + 0.5) / N, q, np.cumsum(q, axis=1) / N, n // 4, n // 4)


def skeleton():
    return H2Skeleton(samples().points, 10)


def started():
    op = H2Operator.from_kernel(skeleton(), lambda x, y: np.exp(-abs(x - y)[0]), tol=1e-5)
    return FMMNet(op.skeleton, depth=1, variant="linear", linear=op, generator=generator())


class FakeOperator(torch.nn.Conv1d):
    """neuraloperator 2.0's `BaseModel` in what matters: the arguments of a network stand in its state dict."""

    _version = "0.1.0"

    def __new__(cls, *args, **kwargs):
        instance = super().__new__(cls)
        instance._init_kwargs = {**kwargs, "_version": cls._version, "args": args, "non_linearity": torch.tanh}
        return instance

    def __init__(self, n_modes, in_channels, out_channels, hidden_channels, n_layers):
        super().__init__(in_channels, out_channels, 3, padding=1)

    def state_dict(self, destination=None, prefix="", keep_vars=False):
        state_dict = super().state_dict(destination=destination, prefix=prefix, keep_vars=keep_vars)
        if state_dict.get("_metadata") is None:
            state_dict["_metadata"] = self._init_kwargs
        return state_dict

    def load_state_dict(self, state_dict, strict=True, assign=False):
        state_dict.pop("_metadata", None)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


@pytest.fixture
def fake_library(monkeypatch):
    models = types.ModuleType("neuralop.models")
    models.FNO = FakeOperator
    monkeypatch.setitem(sys.modules, "neuralop", types.ModuleType("neuralop"))
    monkeypatch.setitem(sys.modules, "neuralop.models", models)


NETWORKS = {
    "DeepFMMNet": lambda: DeepFMMNet(skeleton(), 3, 5, 2, generator=generator()),
    "DeepFMMNet, double": lambda: DeepFMMNet(skeleton(), 3, 5, 2, generator=generator(), dtype=torch.float64),
    "FMMNet": lambda: FMMNet(skeleton(), 4, 2, generator=generator()),
    "FMMNet, linear": started,
    "MNNH2": lambda: MNNH2(N, "Mix", levels=3, channels=2, depth=2, generator=generator()),
    "ConvNet": lambda: ConvNet((3,), 5, generator=generator()),
    "FNO": lambda: FNO(4, 3, 2),
    "MLP": lambda: MLP((N, 5, N), generator=generator(), dtype=torch.float32),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_trained_network_comes_back_from_its_file(name, tmp_path, fake_library):
    """Finding D: networks other than DeepFMMNet could not be saved."""
    net, path = NETWORKS[name](), tmp_path / "net.safetensors"
    u = learn(net, samples(), Recipe(6, batch=16, optimiser="adam", every=3), offset=0.1, scaled=True)
    u.save(path, {"who": "a test"})
    v = Learned.load(path, type(net))
    q = samples().part("test")[0]
    np.testing.assert_array_equal(v(q), u(q))
    assert v.card["who"] == "a test" and v.history == u.history and v.unknowns == u.unknowns
    assert (v.offset, v.scale) == (u.offset, u.scale) and next(v.net.parameters()).dtype == next(net.parameters()).dtype
    with pytest.raises(ModelMismatchError, match="kind: wanted"):
        Learned.load(path, ConvNet if name != "ConvNet" else MNNH2)
    if "FMM" in name:
        np.testing.assert_array_equal(load_learned(path, N=N)(q), u(q))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offset": "1"}, "expected history, offset and scale"),
        ({"history": {"losses": [1.0], "colour": 1}}, "another history"),
        ({"sizes": {"channels": [3], "window": 10**9}}, "out of range"),
        ({"sizes": {"channels": [[[3]]], "window": 5}}, "out of range"),
        ({"sizes": {"window": 5}}, "do not fit the card"),
        ({"sizes": []}, "do not fit the card"),
    ],
)
def test_sound_files_with_wrong_cards(change, message, tmp_path):
    path = tmp_path / "net.safetensors"
    Learned(ConvNet((3,), 5, generator=generator())).save(path)
    tensors, card = load_model(path)
    save_model(path, tensors, {**card, **change})
    with pytest.raises(CorruptModelError, match=message):
        Learned.load(path, ConvNet)


def test_a_network_without_sizes_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"expected a network with sizes.*got Linear; keep its weights by"):
        Learned(torch.nn.Linear(3, 3)).save(tmp_path / "net.safetensors")


def fno_runs(tmp_path):
    recipe = {"batch": 16, "optimiser": "adam", "every": 3}
    whole = solver_fno(Recipe(9, **recipe), modes=4, width=3, depth=2)(samples())
    path = tmp_path / "fno.pt"
    solver_fno(Recipe(6, **recipe, checkpoint=path), modes=4, width=3, depth=2)(samples())
    again = solver_fno(Recipe(9, **recipe, checkpoint=path), modes=4, width=3, depth=2)(samples())
    assert again.history.losses == whole.history.losses and math.isfinite(whole.history.best)
    whole.save(tmp_path / "fno.safetensors")
    q = samples().part("test")[0]
    np.testing.assert_array_equal(Learned.load(tmp_path / "fno.safetensors", FNO)(q), whole(q))


def test_a_network_with_metadata_in_its_state_dict_is_trained(tmp_path, fake_library):
    """Finding B5: the copy of a state dict met the arguments that neuraloperator keeps there: AttributeError."""
    assert "_metadata" in FNO(4, 3, 2).state_dict()
    fno_runs(tmp_path)
    raw, x = FakeOperator((4,), 1, 1, 3, 2), torch.ones(2, 1, 8)
    loss = lambda net, _: net(x).square().mean()
    options = {"average": 0.9, "checkpoint": tmp_path / "raw.pt", "every": 2}
    history = fit(raw, loss, optimiser=torch.optim.Adam(raw.parameters()), steps=4, **options)
    assert history.steps == [2, 4] and history.losses[1] < history.losses[0]
    assert fit(raw, loss, optimiser=torch.optim.Adam(raw.parameters()), steps=6, **options).steps == [2, 4, 6]


@pytest.mark.skipif(importlib.util.find_spec("neuralop") is None, reason="the extra neuraloperator is not installed")
def test_the_real_fno_is_trained(tmp_path):
    """Finding B5, with the library itself; its spectral weights are complex.

    An optional job, in an environment of its own: ``python -m venv fno``, ``fno/bin/pip install -c constraints.txt -e
    '.[test,bench]'``, ``fno/bin/pytest -n0 tests/learning/test_samples.py tests/fmm/test_own_pairs.py -k fno``.
    """
    fno_runs(tmp_path)
    with pytest.raises(ValueError, match="take Adam"):
        solver_fno(Recipe(3, optimiser="soap"), modes=4, width=3, depth=2)(samples())


def test_extra_state_is_kept():
    class Counting(torch.nn.Linear):
        seen = 0

        def get_extra_state(self):
            return {"seen": self.seen}

        def set_extra_state(self, state):
            self.seen = state["seen"]

    net = Counting(2, 2)

    def loss(net, _):
        net.seen += 1
        return net(torch.ones(1, 2)).square().sum()

    records = iter([3.0, 1.0, 2.0, 2.0])
    sgd = torch.optim.SGD(net.parameters(), lr=1e-3)
    history = fit(net, loss, optimiser=sgd, steps=4, every=1, validate=lambda net: next(records))
    assert history.best_step == net.seen == 2  # of the best parameters, not of the last ones


def test_muon_names_the_torch_it_needs(monkeypatch):
    """Finding B5: torch.optim.Muon came with 2.9."""
    monkeypatch.delattr(torch.optim, "Muon")
    net = torch.nn.Linear(2, 2)
    with pytest.raises(ImportError, match=r"from 2\.9 on, got torch .*pip install 'torch>=2\.9'"):
        MuonAdam([net.weight], [net.bias])


def test_recipes():
    net = ConvNet((3,), 5, generator=generator())
    optimiser, schedule = Recipe(40, optimiser=adam(3e-3), schedule=lambda step: 1 / (1 + step)).start(net)
    assert optimiser.param_groups[0]["lr"] == 3e-3 and schedule(3) == 0.25
    optimiser, schedule = Recipe(40, optimiser="adam").start(net)
    assert optimiser.param_groups[0]["lr"] == 2.5e-3 and optimiser.param_groups[0]["eps"] == 1e-5 and schedule is None
    optimiser, schedule = Recipe(40, rate=0.2).start(net)
    rates = [schedule(step) for step in range(40)]
    assert optimiser.param_groups[0]["frequency"] == 10 and max(rates) == rates[1] < 0.2 and rates[-1] < 1e-3
    with pytest.raises(ValueError, match="expected a residual with a Jacobian"):
        learn(net, samples(), Recipe(3, optimiser=levenberg_marquardt()))


def test_a_history_tells():
    """Finding D: a History had no iteration, no HTML and the repr of its lists."""
    steps = list(range(1, 101))
    history = History(steps, [1 / s for s in steps], [s / 10 for s in steps], 0.01, 100, 1, "tol reached at step 100")
    assert [step for step, loss, _ in history if loss > 0.3] == [1, 2, 3]
    assert repr(history) == (
        "History(100 records to step 100, best 1.000e-02 at step 100, 10.0 s; tol reached at step 100)"
    )
    html = history._repr_html_()
    assert html.count(",") > 100 and "0.01 to 1, logarithmic, over 1 to 100" in html and "tol reached" in html
    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history
    empty = History.from_dict(json.loads(json.dumps(History().to_dict(), allow_nan=False)))
    assert (
        empty == History()
        and repr(empty) == "History(no records)"
        and empty._repr_html_() == "<p>History(no records)</p>"
    )
