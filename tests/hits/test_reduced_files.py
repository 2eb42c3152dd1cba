"""Maps of POD coefficients, and hierarchies of drawn features, on disk: the same numbers, and what is refused."""

import numpy as np
import pytest
import torch

from skfem_ml.hits import FlowMap, HiTS, ReducedMap, Remainder, SplittingNet, allen_cahn_reaction
from skfem_ml.hits.generation import fit_stride
from skfem_ml.learning import MLP, CorruptModelError, ModelMismatchError, load_model, save_model
from skfem_ml.stepping import IMEX, POD, ThetaMethod, allen_cahn, heat
from tests.stepping.test_pod import BASIS, RNG, M, waves

MODES = POD(M, 4).fit(waves(12, RNG(0)))


def network(dt=0.1):
    return FlowMap(MLP((4, 8, 4), generator=torch.Generator().manual_seed(3)), dt, scale=2.0, increment=0.3)


def splitting(dt=0.1):
    points = RNG(1).uniform(size=(2, 30))
    K = MODES.modes.T @ (heat(BASIS).K @ MODES.modes)
    net = SplittingNet(BASIS.probes(points) @ MODES.modes, np.full(30, 1 / 30), K, dt, 2, allen_cahn_reaction)
    return FlowMap(net, dt)


@pytest.mark.parametrize("made", [network, splitting])
def test_a_reduced_map_computes_as_before_to_the_last_bit(made, tmp_path):
    path, u = tmp_path / "map.safetensors", waves(3, RNG(2))
    reduced = ReducedMap(MODES, made())
    reduced.save(path, starts="waves")
    loaded = ReducedMap.load(path, M)
    assert (loaded.step(u) == reduced.step(u)).all() and repr(loaded) == repr(reduced)
    assert loaded.pod.tail == MODES.tail and load_model(path)[1]["starts"] == "waves"


@pytest.mark.parametrize("pod", [MODES, None])
def test_a_remainder_is_given_its_linear_stepper_again(pod, tmp_path):
    path, semi = tmp_path / "rest.safetensors", heat(BASIS)
    linear = ThetaMethod(semi.M, semi.K, 0.1, theta=1.0) if pod else ThetaMethod(np.eye(4), np.eye(4), 0.1)
    u = waves(3, RNG(2)) if pod else RNG(2).normal(size=(3, 4))
    remainder = Remainder(linear, network(), pod)
    remainder.save(path)
    assert (Remainder.load(path, linear, M if pod else None).step(u) == remainder.step(u)).all()
    with pytest.raises(ValueError, match="expected a stepper of the network's dt"):
        Remainder.load(path, ThetaMethod(semi.M, semi.K, 0.2), M)


def test_hierarchies_of_drawn_features_and_of_splittings_are_kept(tmp_path):
    path, y = tmp_path / "maps.safetensors", np.cumsum(RNG(4).normal(size=(60, 3)), axis=0) / 10
    for maps in ([fit_stride(y, s, 0.1, width=16)[0] for s in (1, 4)], [splitting()]):
        hits = HiTS(maps)
        hits.save(path)
        start = y[0] if len(maps) == 2 else np.ones(4) / 5
        assert (HiTS.load(path).solve((0, 1.6), start).y == hits.solve((0, 1.6), start).y).all()


def test_what_does_not_fit_is_refused_by_name(tmp_path):
    path = tmp_path / "map.safetensors"
    ReducedMap(MODES, network()).save(path)
    with pytest.raises(ModelMismatchError, match="give the mass matrix"):
        ReducedMap.load(path, M[:-1, :-1])
    with pytest.raises(ModelMismatchError, match=r"V' M V - I.*give the mass matrix"):
        ReducedMap.load(path, 2 * M)
    with pytest.raises(ModelMismatchError, match="wanted 'remainder', got 'reduced map'"):
        Remainder.load(path, ThetaMethod(np.eye(4), np.eye(4), 0.1))
    with pytest.raises(TypeError, match="expected FlowMaps of MLP, SkipNet, SplittingNet"):
        ReducedMap(MODES, IMEX(allen_cahn(BASIS, 0.2).restrict(MODES.modes), 0.1)).save(path)
    with pytest.raises(ValueError, match="entries than kind, flow"):
        ReducedMap(MODES, network()).save(path, flow=1)
    own = FlowMap(SplittingNet([[1.0]], [1.0], [[0.0]], 0.5, 2, lambda u, h: u), 0.5)
    with pytest.raises(ValueError, match=r"SplittingNet.FLOWS\[\"mine\"\] = flow"):
        HiTS([own]).save(path)
    assert ReducedMap.load(path, M).flow.dt == 0.1  # the file is as it was


@pytest.mark.parametrize(
    "change",
    [
        {"r": 5}, {"r": 2**40}, {"blocks": 3}, {"points": 7}, {"flow": "os.system"}, {"dt": -1.0}, {"h": None},
        {"kind": "Linear"},
    ],
)  # fmt: skip
def test_cards_that_lie_are_corrupt(change, tmp_path):
    path = tmp_path / "map.safetensors"
    ReducedMap(MODES, splitting()).save(path)
    tensors, card = load_model(path)
    save_model(path, tensors, {**card, "flow": {**card["flow"], **change}})
    with pytest.raises(CorruptModelError):
        ReducedMap.load(path, M)
