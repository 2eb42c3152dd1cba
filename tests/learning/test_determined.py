"""Resume means the same run: a checkpoint says what determines the weights, and another setting is refused."""

import functools
import os
import time
import tracemalloc

import numpy as np
import pytest
import torch

from skfem_ml.learning import MLP, SOAP, CorruptModelError, ModelMismatchError, cosine, fit, load_checkpoint, load_model
from skfem_ml.learning.loop.determined import fingerprint, name_of
from skfem_ml.learning.nn import flat_parameters
from skfem_ml.learning.storage import save_model

X = torch.linspace(-1, 1, 32, dtype=torch.float64)[:, None]
Y = torch.sin(3 * X)


def squares(net, data):
    return (net(data[0]) - data[1]).square().mean()


def absolute(net, data):
    return (net(data[0]) - data[1]).abs().mean()


def adam(net, rate=1e-2, **options):
    return torch.optim.Adam(net.parameters(), lr=rate, **options)


def run(path=None, optimiser=adam, loss=squares, data=(X, Y), steps=10, **options):
    net = MLP((1, 6, 1), generator=torch.Generator().manual_seed(0))
    options = {"batch": 8, "seed": 3, "average": 0.9, "every": 5, **options}
    fit(net, loss, data, optimiser=optimiser(net), steps=steps, checkpoint=path, **options)
    return flat_parameters(net)


def drawn(seed, step):
    x = torch.rand(8, 1, generator=torch.Generator().manual_seed(seed + step), dtype=torch.float64)
    return x, torch.sin(3 * x)


OTHER = {
    "seed": {"seed": 4},
    "batch": {"batch": 16},
    "average": {"average": 0.1},
    "loss": {"loss": absolute},
    "data": {"data": (X, Y + 1e-15)},
    "validate": {"validate": lambda net: float(absolute(net, (X, Y)).detach())},
    "optimiser": {"optimiser": functools.partial(adam, rate=2e-2)},
    "schedule": {"schedule": cosine(1e-2, 20)},
}


@pytest.mark.parametrize("name", OTHER)
def test_another_setting_is_refused_with_the_difference(tmp_path, name):
    """Finding G5: each of these went on silently from the weights of another run."""
    path = tmp_path / "run.pt"
    run(path)
    before = path.read_bytes()
    with pytest.raises(
        ModelMismatchError, match=rf"run\.pt: expected a checkpoint of the same run: .*{name}: wanted"
    ) as e:
        run(path, steps=20, **OTHER[name])
    # A schedule replaces the rate of the optimiser, so that this is another too.
    assert set(e.value.wanted) == ({name, "optimiser"} if name == "schedule" else {name}) and "extend=" in str(e.value)
    assert path.read_bytes() == before
    allowed = {name, "optimiser"} if name == "schedule" else name
    assert not torch.equal(run(path, steps=20, extend=allowed, **OTHER[name]), run(steps=20))


@pytest.mark.parametrize("other", [SOAP, functools.partial(torch.optim.Adam, betas=(0.8, 0.999)), torch.optim.AdamW])
def test_another_optimiser_is_refused(tmp_path, other):
    run(tmp_path / "run.pt")
    with pytest.raises(ModelMismatchError, match=r"optimiser: wanted .*lr=0\.01.*, got 'Adam\("):
        run(tmp_path / "run.pt", optimiser=lambda net: other(net.parameters(), lr=1e-2))


def test_the_same_run_goes_on_to_the_last_bit(tmp_path):
    """What is not said of the weights may change: where the record is written, how often, and the number of steps."""
    run(tmp_path / "run.pt")
    (tmp_path / "run.pt").rename(tmp_path / "moved.pt")
    assert torch.equal(run(tmp_path / "moved.pt", steps=30, tol=-1.0), run(steps=30))


def test_more_steps_of_a_schedule_must_be_said(tmp_path):
    def go(path, steps, **more):
        return run(path, steps=steps, schedule=cosine(1e-2, steps), **more)

    go(tmp_path / "run.pt", 10)
    with pytest.raises(ModelMismatchError, match=r"schedule: wanted '0\.00998.* at step 1', got '0\.0097.* at step 1'"):
        go(tmp_path / "run.pt", 40)
    longer = go(tmp_path / "run.pt", 40, extend="steps")
    assert not torch.equal(longer, go(None, 40)) and load_checkpoint(tmp_path / "run.pt")["step"] == 40
    constant = {"schedule": lambda step: 1e-2}
    run(tmp_path / "constant.pt", **constant)
    assert torch.equal(run(tmp_path / "constant.pt", steps=20, **constant), run(steps=20, **constant))


def test_data_that_is_drawn_is_known_by_its_first_batch(tmp_path):
    options = {"batch": None, "validate": lambda net: float(squares(net, (X, Y)).detach())}
    run(tmp_path / "run.pt", data=functools.partial(drawn, 0), **options)
    with pytest.raises(ModelMismatchError, match="data: wanted"):
        run(tmp_path / "run.pt", data=functools.partial(drawn, 1), **options)


def test_another_version_and_a_file_that_says_nothing(tmp_path, monkeypatch):
    run(tmp_path / "run.pt")
    with monkeypatch.context() as patch:
        patch.setattr("skfem_ml.learning.loop.determined.__version__", "99")
        with pytest.raises(ModelMismatchError, match="code: wanted 'skfem-ml 99, torch"):
            run(tmp_path / "run.pt")
        run(tmp_path / "run.pt", extend="code")
        patch.setattr("skfem_ml.learning.loop.run.state_in", lambda _, path: {**load_checkpoint(path), "settings": {}})
        with pytest.raises(ModelMismatchError, match="seed: wanted 3, got 'not recorded'"):
            run(tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"extend: expected some of data, .*, steps, got weights"):
        run(extend=("steps", "weights"))


def test_names_and_fingerprints():
    assert name_of(functools.partial(squares)) == name_of(squares) == "squares"
    assert name_of(torch.nn.MSELoss()) == "MSELoss"
    x = np.arange(6.0)
    same = [fingerprint([x, {"a": 1, "b": X}]), fingerprint((x.copy(), {"b": X.clone(), "a": 1}))]
    others = [
        [x, {"a": 1, "b": X + 1}],
        [x[::-1], {"a": 1, "b": X}],
        [x.reshape(2, 3), {"a": 1, "b": X}],
        [x.astype("f4")],
    ]
    assert same[0] == same[1] and len({same[0], *map(fingerprint, others)}) == 5


def test_a_checkpoint_that_is_no_file(tmp_path):
    """Finding G11: a pipe was waited for, a folder raised a raw error."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(CorruptModelError, match="expected a regular file, got a folder, a pipe or a device"):
            load_checkpoint(path)


def test_what_a_killed_save_left_is_removed(tmp_path):
    """Finding G11: after an hour, for a save may be at work."""
    for name in (".run.pt.0123.tmp", ".run.pt.4567.tmp", ".other.pt.0123.tmp"):
        (tmp_path / name).write_bytes(b"half")
        if "4567" not in name:
            os.utime(tmp_path / name, (time.time() - 7200,) * 2)
    run(tmp_path / "run.pt")
    assert {path.name for path in tmp_path.iterdir()} == {"run.pt", ".run.pt.4567.tmp", ".other.pt.0123.tmp"}


@pytest.mark.parametrize("size", [2**34, 2**30 - 1])
def test_a_hole_is_not_read(tmp_path, size):
    """Finding G2: a sparse file of any size; nothing of it is read, whatever its first bytes say."""
    path = tmp_path / "m.safetensors"
    save_model(path, {"a": torch.ones(3)}, {})
    for start in (path.read_bytes(), b"", (100).to_bytes(8, "little") + b"[1]", (2**60).to_bytes(8, "little") + b"{}"):
        path.write_bytes(start)
        with open(path, "r+b") as file:
            file.truncate(size)
        tracemalloc.start()
        with pytest.raises(CorruptModelError, match="expected"):
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


def test_a_file_that_grew_is_read_as_far_as_it_was(tmp_path):
    save_model(tmp_path / "m", {"a": torch.ones(3)}, {})
    assert load_model(tmp_path / "m")[0]["a"].tolist() == [1, 1, 1]
