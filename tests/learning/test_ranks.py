"""Training over ranks: two processes on loopback, started by torchrun or by hand; kills; resume to the last bit."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from skfem_ml.learning import MLP, ModelMismatchError, RankError, fit, load_checkpoint
from skfem_ml.learning.loop.ranks import Ranks, world

ROOT = Path(__file__).parents[2]
DEADLINE = 120.0  # seconds after which a process that should have ended is a failure
# A script as a user writes one: nothing in it knows of ranks.
SCRIPT = """
import json, os, signal, sys, numpy as np, torch
from skfem_ml.learning import MLP, SOAP, MuonAdam, RankError, fit
from skfem_ml.learning.loop import ranks

def net_of(seed, *sizes):
    return MLP(sizes or (1, 6, 1), generator=torch.Generator().manual_seed(seed))

def weights(net):
    return [p.tolist() for p in net.parameters()]

def draw(number):
    x = torch.rand(8, 1, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
    return x, torch.sin(3 * x)

def loss(net, batch):
    return (net(batch[0]) - batch[1]).square().mean()

def drawn(path=None, seed=0, steps=40, optimiser=None, **more):
    net = net_of(seed)
    history = fit(
        net, loss, draw, optimiser=optimiser or SOAP(net.parameters(), lr=1e-2), steps=steps, every=5, average=0.9,
        validate=lambda net: float(loss(net, draw(10**6)).detach()), schedule=lambda step: 1e-2 / (1 + step),
        checkpoint=path, **more,
    )
    return net, history
"""


@pytest.fixture
def script(tmp_path):
    """``script(code, *arguments)``: a process that runs the code, a rank where the environment says so."""

    def start(code, *arguments, launcher=(), **environment):
        path = tmp_path / f"script{len(list(tmp_path.glob('script*.py')))}.py"
        path.write_text(SCRIPT + textwrap.dedent(code))
        more = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", **{k: str(v) for k, v in environment.items()}}
        return subprocess.Popen(
            [sys.executable, *launcher, str(path), *map(str, arguments)], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **more},
        )  # fmt: skip

    return start


@pytest.fixture
def torchrun(script):
    """``torchrun(code, *arguments)``: the process of the launcher of two ranks."""
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d")
    return lambda code, *arguments: script(
        code, *arguments, launcher=(*launcher, "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1")
    )


@pytest.fixture
def by_hand(script):
    """``by_hand(code, *arguments)``: two ranks with no launcher that would end one for the other."""

    def start(code, *arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        place = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return [script(code, *arguments, RANK=rank, **place) for rank in range(2)]

    return start


def said(process):
    """What a process that should succeed has printed."""
    text = process.communicate(timeout=DEADLINE)[0]
    assert process.returncode == 0, text
    return text


def results(folder):
    """What the two ranks have written."""
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


KEPT = """
    def kept(folder, path=None):
        net, history = drawn(path, seed=int(os.environ["RANK"]))
        found = {"weights": weights(net), "history": {**vars(history), "seconds": None}}
        open(folder + f"/{os.environ['RANK']}.json", "w").write(json.dumps(found))
"""


@pytest.mark.slow
def test_a_rank_is_killed_and_the_run_goes_on_to_the_same_bits(tmp_path, torchrun):
    """Two ranks, uninterrupted; then one killed (-9) at step 20 of 40, started again, and equal bit for bit."""
    whole, again, path = tmp_path / "whole", tmp_path / "again", tmp_path / "run.pt"
    whole.mkdir(), again.mkdir()
    killed = """
    kept(sys.argv[1])
    def killed(number):
        if number == 2 * 20 + 1:  # what rank 1 sees in step 20
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(number)
    plain, draw = draw, killed
    kept(*sys.argv[2:])
    """
    broken = torchrun(textwrap.dedent(KEPT) + textwrap.dedent(killed), whole, again, path)
    text = broken.communicate(timeout=DEADLINE)[0]
    assert broken.returncode != 0 and "SIGKILL" in text, text
    one, other = results(whole)
    assert one == other and one["history"]["steps"][-1] == 40  # rank 1 had other weights to start from
    assert load_checkpoint(path)["step"] == 20 and not list(again.iterdir())

    said(torchrun(textwrap.dedent(KEPT) + "kept(*sys.argv[1:])", again, path))
    assert results(again) == [one, one]
    space = {}
    exec(SCRIPT, space)
    with pytest.raises(ModelMismatchError, match="ranks: wanted 1, got 2; take the settings"):
        space["drawn"](path)


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_others_by_an_error(by_hand):
    """Without a launcher: one leaves by an error, is silent for longer than the others wait, is killed."""
    code = """
        import time
        ranks.PATIENCE = ranks.timedelta(seconds=5)
        def ends(number):
            if number == 2 * 7 + 1 and way == "left":
                raise ArithmeticError("no such batch")
            if number == 2 * 7 + 1 and way == "silent":
                time.sleep(8)
            if number == 2 * 7 + 1 and way == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(number)
        plain, draw = draw, ends
        for way in ("left", "well", "silent", "killed"):
            try:
                drawn()
                print("well", flush=True)
            except (RankError, ArithmeticError) as error:
                print("stopped:", error, flush=True)
    """
    first, second = by_hand(code)
    text, other = (process.communicate(timeout=DEADLINE)[0] for process in (first, second))
    assert (first.returncode, second.returncode) == (0, -signal.SIGKILL), text + other
    lines = [line[:70] for line in text.splitlines() if line.startswith(("stopped", "well"))]
    answer = "stopped: rank 0 of 2: expected an answer of the others, got none ("
    assert [line.startswith(answer) for line in lines] == [True, False, True, True], text
    assert [line[:16] for line in other.splitlines() if line.startswith(("stopped", "well"))] == [
        "stopped: no such", "well", "stopped: rank 1 ",
    ]  # fmt: skip


@pytest.mark.slow
def test_half_a_batch_on_two_ranks_is_a_whole_batch_on_one(tmp_path, torchrun):
    """Gradients, the steps of five optimisers, statistics of norms, and parameters without gradients."""
    code = """
    import logging
    told = []
    keep = type("Keep", (logging.Handler,), {"emit": lambda self, record: told.append(record)})
    logging.getLogger("skfem_ml").addHandler(keep())
    logging.getLogger("skfem_ml").setLevel("INFO")
    x = torch.linspace(-1, 1, 24, dtype=torch.float64)[:, None]
    rows, rank, found = (x, torch.sin(3 * x)), int(os.environ["RANK"]), {}

    def lbfgs(parameters):
        return torch.optim.LBFGS(parameters, line_search_fn="strong_wolfe", max_iter=4)

    def muon(parameters):
        wide = [p for p in parameters if p.ndim == 2 and min(p.shape) > 1]
        return MuonAdam(wide, [{"params": [p for p in parameters if p.ndim != 2 or min(p.shape) == 1]}], lr=1e-2)

    ways = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1), "adam": torch.optim.Adam, "soap": SOAP, "muon": muon,
        "lbfgs": lbfgs,
    }
    for name, way in ways.items():
        net, seen = net_of(0, 1, 5, 5, 1), []
        history = fit(net, loss, rows, optimiser=way(list(net.parameters())), steps=1 if name == "sgd" else 12, batch=4,
                      every=3, progress=lambda *told: seen.append(told[0]))
        found[name] = {"weights": weights(net), "losses": history.losses, "told": seen}

    net = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.linspace(-1, 1, p.numel(), dtype=p.dtype).view_as(p))
    fit(net, loss, rows, optimiser=torch.optim.SGD(net.parameters(), lr=0.1), steps=3, batch=4)
    found["norm"] = {"weights": weights(net), "mean": net[1].running_mean.tolist(), "var": net[1].running_var.tolist()}

    p = [torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(3)]
    held = torch.nn.ParameterList(p)
    fit(held, lambda held, number: (held[number % 2] - 3).square().sum(), lambda number: number,
        optimiser=torch.optim.SGD(p, lr=0.25), steps=1, validate=lambda net: 0.0)
    found["some"] = {"weights": weights(held), "none": [q.grad is None for q in p]}
    from skfem import MeshQuad
    from skfem_ml.lod import LOD, PatchMLP, fit_surrogate, train_surrogate
    from skfem_ml.lod.surrogate import write_labels
    lod = LOD(MeshQuad().refined(2), refine=4, ell=1)
    field = lambda k: np.random.default_rng(k).uniform(1, 2, 256)
    write_labels(sys.argv[1] + f"/labels{rank}", lod, field, 6, block=2)
    net = PatchMLP(4, 1, (8,), generator=torch.Generator().manual_seed(rank))
    model, _ = fit_surrogate(lod, sys.argv[1] + f"/labels{rank}", net, validation=field(9)[None], steps=4, every=2)
    found["surrogate"] = {"weights": weights(net), "seen": model.card.facts["fields"]}
    try:
        train_surrogate(lod, field, "90s")
    except ValueError as error:
        found["refused"] = str(error)
    found["log"] = [record.getMessage() for record in told]
    open(sys.argv[1] + f"/{rank}.json", "w").write(json.dumps(found))
    """
    said(torchrun(code, tmp_path))
    one, other = results(tmp_path)
    rows = torch.linspace(-1, 1, 24, dtype=torch.float64)[:, None]
    rows = rows, torch.sin(3 * rows)
    for name in ("sgd", "adam", "soap", "muon", "lbfgs"):
        assert one[name]["weights"] == other[name]["weights"] and one[name]["losses"] == other[name]["losses"]
        assert one[name]["told"] and not other[name]["told"]

    def loss(net, batch):
        return (net(batch[0]) - batch[1]).square().mean()

    for name, way in (("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)):
        net = MLP((1, 5, 5, 1), generator=torch.Generator().manual_seed(0))
        rate, steps = (0.1, 1) if name == "sgd" else (1e-3, 12)
        fit(net, loss, rows, optimiser=way(net.parameters(), lr=rate), steps=steps, batch=8, every=3)
        for p, q in zip(net.parameters(), one[name]["weights"], strict=True):
            torch.testing.assert_close(p.detach(), torch.tensor(q, dtype=p.dtype), rtol=1e-12, atol=1e-14)
    assert one["norm"] == other["norm"] and one["norm"]["mean"] != [0.0, 0.0, 0.0]
    assert one["some"]["weights"] == [[1.5, 1.5], [1.5, 1.5], [1.0, 1.0]]  # mean of two, of which each knows one
    assert one["some"]["none"] == [False, False, True]
    assert one["surrogate"] == other["surrogate"] and one["surrogate"]["seen"] == 6  # of eight seen by the ranks
    assert "expected one process, whose clock decides" in one["refused"] and "got 2 ranks" in one["refused"]
    assert one["log"][0] == "rank 0 of 2: gradients are averaged (gloo)"


def test_alone():
    assert world() == 1
    alone, net = Ranks(), torch.nn.Linear(2, 1)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    value = net(torch.ones(1, 2)).sum()
    alone.align(net, optimiser)
    assert alone.mean(value, net, optimiser) is value and net.weight.grad is None
    assert alone.bytes(lambda: b"state") == b"state" and alone.numbers(1.0, 2.0) == [1.0, 2.0]
    assert issubclass(RankError, RuntimeError)
