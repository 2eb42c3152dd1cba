"""The recipe with numbers of its own: a surrogate that knows its error; the recipes of the shipped models."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skfem import MeshLine, MeshQuad

from skfem_ml.learning import find_model, load_model, shipped
from skfem_ml.learning.history import History
from skfem_ml.lod import LOD, FieldNetwork, GeometricMean, Hybrid, Surrogate, errors_of, train_surrogate
from skfem_ml.lod.surrogate import RECIPES, Recipe
from skfem_ml.lod.surrogate.recipe.recipes import sample
from tests.gallery import diffusion, graded, random_field

LOD_4 = LOD(MeshQuad().refined(2), refine=4, ell=1)
SMALL = Recipe(steps=40, fields=30, held=6, doubt=12, test=6, verdict=1, calibration=40)
TINY = replace(SMALL, steps=4, fields=6, held=2, doubt=2, test=1, verdict=0, calibration=0)
NEW = 7_000_000


def draw(index, contrast=5):
    return random_field(LOD_4.coefficient_mesh, np.random.default_rng([7, index]), contrast)


def network(seed=0):
    return FieldNetwork(4, 1, encoding=4, outer=1, width=4, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def trained():
    about = {"family": "log-uniform", "name": "toy"}
    return train_surrogate(LOD_4, draw, recipe=SMALL, net=network(), card=about)


def errors(surrogate, a):
    """Relative errors of local matrices and the doubt."""
    exact, (got, doubt) = LOD_4.local(diffusion, a=a), surrogate.with_score(LOD_4, LOD_4.space.all_elements, a=a)
    return np.linalg.norm(got - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2)), doubt


def test_a_trained_surrogate_knows_its_error(trained):
    """Finding A5: on new fields the doubt covers about nine of ten errors, and is no larger than it must be."""
    surrogate = trained
    both = np.array([errors(surrogate, draw(NEW + k)) for k in range(8)])
    error, doubt = both[:, 0].ravel(), both[:, 1].ravel()
    assert np.isfinite(doubt).mean() > 0.97
    assert 0.75 < (error <= doubt).mean() < 0.99 and 0.3 < np.median(error / doubt) < 1
    told = surrogate.card.doubt
    assert told["quantile"] == 0.9 and 0.85 < told["covered"] < 0.95 and 0.7 < told["covered, new fields"] < 0.99
    tol = float(np.median(doubt))
    judged = Hybrid(surrogate, diffusion, element_tol=tol).judge(LOD_4, a=draw(NEW))
    assert 0.1 < judged.fraction < 0.9
    assert surrogate.card.errors["local"] < errors_of(GeometricMean(), LOD_4, draw(NEW)[None])["local"] / 2


def test_a_certificate_is_of_fields_of_its_own(trained):
    """None of the fields of calibration is seen before; the hybrid of the verdict has the promise of u_h."""
    found = trained.certificate
    assert found.elements is not None and found.solution is not None and found.novelty is not None
    names = [int(name) for name in found.elements.names]
    assert len(names) == 40 and min(names) >= 3 * 10**6 and found.elements.family == "draw"
    assert "its hybrid: Hybrid('toy', tol=0.002)" in trained.verdict.table.notes
    assert trained.verdict.table["its hybrid"]["error u_h"] <= 2e-3
    with pytest.raises(ValueError, match=r"recipe: expected steps, .* calibration >= 0"):
        Recipe(calibration=-1)


def test_the_card_says_from_what(trained, tmp_path):
    surrogate = trained
    card = surrogate.card
    assert card["fields"] == 30 and card["steps"] == 40 and card["seed"] == 0 and card["form"] == "diffusion"
    history = History.from_dict(card.facts["history"])
    assert history.steps[-1] == 40 and card.facts["validation loss"] <= history.best and card.name == "toy"
    assert card.extent[0] < -0.5 < 0.5 < card.extent[1] and len(card.shapes) == 16
    assert "'toy': 4 x 4 cells, n=4, ell=1, trained on log-uniform" in repr(surrogate)
    assert card["verdict"]["sentence"].split(":")[0] in repr(surrogate)
    surrogate.save(tmp_path / "m.safetensors")
    again = Surrogate.load(tmp_path / "m.safetensors")
    assert again.card == card and repr(again) == repr(surrogate)
    assert np.array_equal(errors(again, draw(NEW)), errors(surrogate, draw(NEW)))
    assert again.excess(LOD_4, LOD_4.space.all_elements, a=draw(3)).max() == 0


def test_fields_beyond_those_of_training_are_told(trained):
    surrogate = trained
    with pytest.warns(UserWarning, match="16 of 16 patches are outside the range of training"):
        LOD_4.assemble(surrogate, a=draw(NEW, contrast=1e4))


def test_no_two_parts_share_a_field():
    """Findings A5 and F: the doubt is fitted on fields that neither trained the network nor chose its weights."""
    seen = []
    train_surrogate(LOD_4, lambda i: seen.append(i) or draw(i), recipe=TINY, net=network())
    parts = [sorted({i for i in seen if i // 10**6 == k}) for k in range(5)]
    assert [len(part) for part in parts] == [6, 2, 2, 0, 1] and parts[0] == list(range(6))
    for recipe in RECIPES.values():
        counts = {"train": recipe.fields, "validation": recipe.held, "doubt": recipe.doubt, "test": recipe.test}
        names = [sample(recipe, part, index) for part, count in counts.items() for index in range(min(count, 60))]
        assert len(set(names)) == len(names)


def test_labels_are_kept_and_a_finished_run_is_its_model(tmp_path):
    made = [train_surrogate(LOD_4, draw, recipe=TINY, net=network(), folder=f) for f in (None, tmp_path, tmp_path)]
    assert len(list(tmp_path.rglob("labels-*.safetensors"))) == 4
    for other in made[1:]:
        timeless = [{**model.card.facts, "cpu": 0, "history": 0} for model in (other, made[0])]
        assert timeless[0] == timeless[1] and other.card.doubt == made[0].card.doubt
        state = other.net.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in made[0].net.state_dict().items())


def test_a_run_that_was_broken_off_goes_on_to_the_bit(tmp_path):
    """Killed in the middle of training (no handler runs), not interrupted, which ends the training."""
    recipe = replace(TINY, steps=40)

    class Killed(BaseException):
        pass

    def kill(done, total, text):
        if done == 20 and "loss" in text:
            raise Killed

    whole = train_surrogate(LOD_4, draw, recipe=recipe, net=network())
    with pytest.raises(Killed):
        train_surrogate(LOD_4, draw, recipe=recipe, net=network(), folder=tmp_path, progress=kill)
    again = train_surrogate(LOD_4, draw, recipe=recipe, net=network(), folder=tmp_path)
    assert again.card["history"]["losses"] == whole.card["history"]["losses"]
    state = again.net.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.net.state_dict().items())


def test_training_in_bfloat16_goes_the_same_way():
    made = [
        train_surrogate(LOD_4, draw, recipe=replace(TINY, steps=20, bfloat16=share), net=network())
        for share in (0.0, 0.9)
    ]
    losses = [np.array(model.card["history"]["losses"]) for model in made]
    fall, apart = losses[0][0] - losses[0][-1], abs(losses[1] - losses[0]).max()
    assert 0 < apart < 0.02 * fall
    assert all(model.net.rounded is None for model in made)


def test_an_array_is_divided():
    fields = np.stack([draw(k) for k in range(20)])
    surrogate = train_surrogate(LOD_4, fields, recipe=replace(SMALL, steps=3, verdict=0), seed=2)
    assert surrogate.card["fields"] == 14 and surrogate.card["seed"] == 2 and surrogate.has_doubt


def test_what_is_refused():
    """Finding C: lines, and cells that are no squares, which networks do not see; too few fields; bad sizes."""
    line = LOD(MeshLine().refined(3), refine=4, ell=1)
    for lod, kind in ((line, "lines"), (LOD(graded(), refine=4, ell=1), "quads of other sizes or shapes")):
        with pytest.raises(TypeError, match=f"lod: expected coarse cells that are equal squares, got {kind}"):
            train_surrogate(lod, lambda i, lod=lod: np.ones(lod.coefficient_mesh.t.shape[1]), "1s")
    with pytest.raises(ValueError, match="fields: expected at least 10 of an array of 3"):
        train_surrogate(LOD_4, np.ones((3, 256)), recipe=TINY)
    with pytest.raises(ValueError, match="recipe: expected steps, batch"):
        Recipe(steps=1, doubt=0)
    with pytest.raises(ValueError, match="expected cells = 2, which is the network's, got 4"):
        train_surrogate(LOD_4, draw, recipe=TINY, net=FieldNetwork(2, 1, generator=None))
    with pytest.raises(ValueError, match="device: expected one of cpu"):
        train_surrogate(LOD_4, draw, recipe=TINY, device="cuda:99")
    with pytest.raises(TypeError, match="budget, recipe: expected one of them, got both"):
        train_surrogate(LOD_4, draw, "1min", recipe=TINY)
    with pytest.raises(ValueError, match="budget: expected wall seconds"):
        train_surrogate(LOD_4, draw, "soon")


def test_cards_and_recipes_agree():
    """Finding B7: cards record what their recipes have, and that one run of it made the file."""
    assert set(RECIPES) == {name for name in shipped("lod") if name != "diffusion"}
    for name, recipe in RECIPES.items():
        surrogate = Surrogate.load(name)
        card, net = surrogate.card, surrogate.net
        assert card.name == recipe.name == name
        wanted = {"steps": recipe.steps, "fields": recipe.fields + recipe.corner, "seed": recipe.seed}
        assert {key: card[key] for key in wanted} == wanted
        assert (surrogate.setting.n, net.base, net.config["wide"]) == (recipe.n, recipe.base, recipe.wide)
        assert surrogate.setting == replace(surrogate.setting, dim=2, cells=8, ell=2, form="diffusion", cell="square")
        assert card.doubt["quantile"] == recipe.quantile and 0 < card.doubt["trusted"] <= 0.1
        assert card["script"] == "data/remake_models.py" and card["history"]["steps"][-1] == recipe.steps
        assert recipe.start in ("", *RECIPES)
        assert load_model(find_model("lod", name))[1]["form"] == "diffusion"
