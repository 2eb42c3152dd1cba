"""Hierarchies trained in one call: as the README says, by both recipes, and the numbers of training map by map."""

import numpy as np
import pytest
import torch

from skfem_ml.hits import OURS, PUBLISHED, FlowMap, HiTS, fit_map, train_hits
from skfem_ml.problems import hyperbolic
from skfem_ml.reference import trajectories


@pytest.fixture(scope="module")
def data():
    found = {split: trajectories(hyperbolic(), split, count=40, every=32) for split in ("train", "val")}
    return {split: (result.t, result.y) for split, result in found.items()}


def test_fit_and_select_in_one_line(data):
    """Finding B1: ``HiTS(maps).fit(t, y).select(t, y)`` failed, since fit returned a list."""
    hits = HiTS(OURS.maps(2, [0.32, 0.64])).fit(*data["train"], steps=40).select(*data["val"])
    assert isinstance(hits, HiTS) and len(hits.all_maps) == 2 and set(hits.histories) == {0.32, 0.64}
    assert min(hits.scores.values()) == hits.scores[(hits.maps[-1].dt, hits.dt)]
    assert hits.box.low.shape == (2,)


@pytest.mark.parametrize("recipe", [OURS, PUBLISHED], ids=str)
def test_train_hits_trains_each_map_by_the_recipe_and_selects(recipe, data):
    told = []
    hits, histories = train_hits(
        [0.64, 0.32], *data["train"], steps=20, validation=data["val"], recipe=recipe, seed=3,
        progress=lambda done, total, text: told.append((done, total, text)),
    )  # fmt: skip
    for k, dt in enumerate((0.32, 0.64)):
        alone = recipe.maps(2, [0.32, 0.64], seed=3)[k]
        history = recipe.train(alone, *data["train"], steps=20, validation=data["val"], seed=3 + k)
        same = next(m for m in hits.all_maps if m.dt == dt)
        assert history.losses == histories[dt].losses
        assert (same.step([0.3, 0.2]) == alone.step([0.3, 0.2])).all()
    assert told[-1][:2] == (40, 40) and told[0][2].startswith("step 0.64, loss")


def test_maps_of_your_own(data):
    maps = OURS.maps(2, [0.32, 0.64])
    hits, _ = train_hits(maps, *data["train"], steps=3)
    assert set(hits.maps) == set(maps) and hits.maps is hits.all_maps


def test_the_published_recipe_learns_from_the_start_alone(data):
    (t, y), model = data["train"], PUBLISHED.maps(2, [0.32])[0]
    assert str(model) == "FlowMap(2 unknowns, dt 0.32, MLP 2-128-128-128-2 relu, float32)"
    late = y.copy()
    late[..., 6:] = 7.0  # nothing after the five steps is looked at
    first, second = (PUBLISHED.maps(2, [0.32])[0] for _ in range(2))
    histories = [PUBLISHED.train(m, t, states, steps=5) for m, states in ((first, y), (second, late))]
    assert histories[0].losses == histories[1].losses and float(first.increment) == 1.0


def test_the_defaults_of_one_map_are_the_recipe(data):
    a, b = OURS.maps(2, [0.32])[0], OURS.maps(2, [0.32])[0]
    one = fit_map(a, *data["train"], steps=5)
    two = fit_map(b, *data["train"], steps=5, batch=1024, rate=1e-2, sampling="log", window=1)
    assert one.losses == two.losses and a.center.dtype == torch.float32 and isinstance(a, FlowMap)


def test_data_of_another_size_are_refused():
    with pytest.raises(ValueError, match="t, y: expected"):
        train_hits(OURS.maps(2, [0.1]), np.linspace(0, 1, 11), np.zeros((3, 2, 10)), steps=1)
