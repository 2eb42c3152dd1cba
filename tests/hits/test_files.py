"""Trained hierarchies on disk: the same numbers, the selection, the box; files that are refused; the shipped model."""

import warnings

import numpy as np
import pytest
import torch

from skfem_ml.hits import OURS, Box, FlowMap, HiTS, hybrid, solve_adaptive
from skfem_ml.learning import CorruptModelError, ModelMismatchError, load_model, save_model, shipped
from skfem_ml.problems import hopf, hyperbolic, van_der_pol
from skfem_ml.reference import trajectories
from skfem_ml.stepping import RK4
from tests.hits.test_fitting import flow_map, states


@pytest.fixture(scope="module")
def trained():
    data = {split: trajectories(hyperbolic(), split, count=40, every=32) for split in ("train", "val")}
    hits = HiTS(OURS.maps(2, [0.32, 0.64, 1.28])).fit(data["train"].t, data["train"].y, steps=80)
    return hits.select(data["val"].t, data["val"].y), data["val"].y[..., 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loaded_hierarchy_computes_as_before_to_the_last_bit(dtype, tmp_path):
    """Finding A12: it came back in double precision, 2e-7 apart."""
    hits = HiTS(OURS.maps(2, [0.1, 0.2, 0.4], dtype=dtype))
    for stepper in hits.maps:
        stepper.normalise(states(40, 1, 2)[..., 0], states(41, 1, 2)[1:, :, 0])
    hits.save(tmp_path / "maps.safetensors")
    loaded = HiTS.load(tmp_path / "maps.safetensors")
    y0 = np.random.default_rng(0).normal(size=(5, 2))
    assert all(p.dtype == dtype for m in loaded.maps for p in m.state_dict().values())
    assert (loaded.solve((0, 1.6), y0).y == hits.solve((0, 1.6), y0).y).all()


def test_a_copy_in_double_precision_has_the_same_weights():
    hits = HiTS.load("van-der-pol")
    double, y0 = hits.double(), np.array([[1.0, 1.0], [-1.0, 0.5]])
    assert all(p.dtype == torch.float64 for m in double.all_maps for p in m.parameters())
    assert all(p.dtype == torch.float32 for m in hits.all_maps for p in m.parameters())
    assert [m.dt for m in double.maps] == [m.dt for m in hits.maps] and double.box is hits.box
    gap = abs(double.solve((0, 6.4), y0).y - hits.solve((0, 6.4), y0).y).max()
    assert 0 < gap < 1e-4


def test_selection_and_box_are_kept(trained, tmp_path):
    """Finding A12: a loaded hierarchy solves with the scales that were selected, and knows where it was trained."""
    hits, y0 = trained
    hits.save(tmp_path / "maps.safetensors", system="hyperbolic")
    loaded = HiTS.load(tmp_path / "maps.safetensors")
    assert [m.dt for m in loaded.maps] == [m.dt for m in hits.maps] and len(loaded.all_maps) == 3
    assert (loaded.solve((0, 2.56), y0).y == hits.solve((0, 2.56), y0).y).all()
    assert (loaded.box.low == hits.box.low).all() and (loaded.box.high == hits.box.high).all()
    assert loaded.box.end == hits.box.end == pytest.approx(51.2) and loaded.card == {"system": "hyperbolic"}


def test_states_outside_the_box_of_training_are_told_once():
    """Finding A12: 5.8e-2 outside the box of training without a word."""
    hits = HiTS.load("van-der-pol")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hits.solve((0, 12.8), [[1.0, 1.0], [-2.0, 2.0]])
    message = r"unknown 1 reaches -12[.\d]*, trained on -\d\.\d+ to \d\.\d+ \(\d\.\d+ widths outside\).*use a classical"
    for solve in (
        lambda y0: hits.solve((0, 2.56), y0),
        lambda y0: hits.predict([0.0, 1.0], y0),
        lambda y0: solve_adaptive(hits, (0, 2.56), y0, 1e-3),
        lambda y0: hybrid(hits, RK4(van_der_pol().rhs, 0.04, timed=False)).solve((0, 2.56), y0),
    ):
        with pytest.warns(UserWarning, match=message) as told:
            solve([[1.0, 1.0], [2.3, -12.0]])
        assert len(told) == 1 and len(str(told[0].message)) < 200


def test_a_box():
    box = Box.of([0.0, 2.0], np.array([[[0.0, 1.0], [5.0, 5.0]]]))
    assert box.low.tolist() == [0, 5] and box.high.tolist() == [1, 5] and box.end == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not box.warn(np.array([[1.005, 5.0], [np.nan, 9.0]]))
    with pytest.warns(UserWarning, match=r"unknown 0 reaches 1\.5, trained on 0 to 1 \(0\.5 widths outside\)"):
        assert box.warn(np.array([[1.5, 5.0]]))
    with pytest.raises(ValueError, match="box: expected finite low <= high"):
        Box(np.zeros(2), -np.ones(2), 0.0, 1.0)


def test_the_shipped_model_solves_with_the_scales_of_its_card():
    """Finding A12: it used all five scales, with an error of 2.5e-5 where the card says 8.3e-7 for three of them."""
    hits, truth = HiTS.load("van-der-pol"), trajectories(van_der_pol(), "accept", count=20, every=8)
    assert [round(m.dt, 9) for m in hits.maps] == [0.32, 0.16, 0.08] and len(hits.all_maps) == 5
    tensors, _ = load_model(shipped("hits")["van-der-pol"])
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert all(p.dtype == torch.float32 for m in hits.all_maps for p in m.parameters())
    chosen = np.mean((hits.predict(truth.t, truth.y[..., 0]).y - truth.y) ** 2)
    everything = np.mean((HiTS(hits.all_maps).predict(truth.t, truth.y[..., 0]).y - truth.y) ** 2)
    assert chosen < 3e-6 < 1e-5 < everything
    assert repr(hits) == "HiTS(3 of 5 maps, dt 0.32 to 0.08, van-der-pol)"


def test_saved_maps_load_the_same(tmp_path):
    system = hopf()
    hits = HiTS([flow_map(0.1 * 2**k, seed=k, widths=(3, 8, 8, 3)) for k in range(3)])
    for stepper in hits.maps:
        stepper.normalise(states(40, 1, 3)[..., 0], states(41, 1, 3)[1:, :, 0])
    hits.save(tmp_path / "maps.safetensors", system=system.name, seed=7)
    loaded = HiTS.load(tmp_path / "maps.safetensors", system="hopf")
    y0 = system.draw("val", np.random.default_rng(0), 5)
    assert (loaded.solve((0, 1.4), y0).y == hits.solve((0, 1.4), y0).y).all() and loaded.box is None
    assert loaded.card == {"system": "hopf", "seed": 7}
    with pytest.raises(ModelMismatchError, match="system: wanted 'lorenz', got 'hopf'"):
        HiTS.load(tmp_path / "maps.safetensors", system="lorenz")


def test_files_that_are_no_hierarchy_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the name of a model of the package"):
        HiTS.load("no-such-model")
    with pytest.raises(TypeError, match=r"expected FlowMaps of MLP, SkipNet, SplittingNet to save"):
        HiTS([FlowMap(torch.nn.Identity(), 0.1)]).save(tmp_path / "a.safetensors")
    weights = {"0.net.layers.0.weight": torch.zeros(2, 2)}
    entry = {"dt": 0.1, "widths": [2, 10**9, 2], "activation": "tanh"}
    for card in ({"kind": "surrogate"}, {"kind": "hits", "maps": [entry]}, {"kind": "hits", "maps": 3}, {}):
        save_model(tmp_path / "b.safetensors", weights, card)
        with pytest.raises(CorruptModelError, match="expected the maps and card of a hierarchy"):
            HiTS.load(tmp_path / "b.safetensors")
    hits = HiTS([flow_map()])
    hits.save(tmp_path / "c.safetensors")
    data = bytearray((tmp_path / "c.safetensors").read_bytes())
    data[-5] ^= 1
    (tmp_path / "c.safetensors").write_bytes(data)
    with pytest.raises(CorruptModelError, match="sha256"):
        HiTS.load(tmp_path / "c.safetensors")


def test_entries_of_the_file_are_its_own(tmp_path):
    with pytest.raises(ValueError, match=r"card: expected other entries than kind, maps, selected, box.*'box'"):
        HiTS([flow_map()]).save(tmp_path / "a.safetensors", box=[0, 1])
    HiTS([flow_map()]).save(tmp_path / "b.safetensors")
    tensors, card = load_model(tmp_path / "b.safetensors")
    for wrong in (
        {"selected": [1, 2]},
        {"selected": 3},
        {"box": {"low": [0]}},
        {"box": {"low": [0, 0, 0], "high": [1] * 3, "t": [0, 1]}},
    ):
        save_model(tmp_path / "c.safetensors", tensors, {**card, **wrong})
        with pytest.raises(CorruptModelError, match="expected the maps and card of a hierarchy"):
            HiTS.load(tmp_path / "c.safetensors")
