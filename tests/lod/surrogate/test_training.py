"""The recipe: a surrogate that knows its error, from draws, fields and folders; the recipes of the shipped models."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skfem import MeshLine, MeshQuad

from skfem_ml.learning import find_model, load_model, shipped
from skfem_ml.lod import LOD, FieldNetwork, GeometricMean, Hybrid, PatchMLP, Surrogate, errors_of, train_surrogate
from skfem_ml.lod.surrogate import RECIPES, Recipe, write_labels
from skfem_ml.lod.surrogate.recipe.labelling.parts import divided, parts_of
from skfem_ml.lod.surrogate.recipe.recipes import sample
from tests.gallery import diffusion, graded, random_field

LOD_4 = LOD(MeshQuad().refined(2), refine=4, ell=1)
SMALL = {"steps": 40, "fields": 30, "held": 6, "doubt": 12, "test": 6}
NEW = 7_000_000


def draw(index, contrast=5):
    return random_field(LOD_4.coefficient_mesh, np.random.default_rng([7, index]), contrast)


def network(seed=0):
    return FieldNetwork(4, 1, encoding=4, outer=1, width=4, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def trained():
    return train_surrogate(LOD_4, draw, network(), card={"family": "log-uniform", "name": "toy"}, **SMALL)


def errors(surrogate, a):
    """Relative errors of local matrices and the doubt."""
    exact, (got, doubt) = LOD_4.local(diffusion, a=a), surrogate.with_score(LOD_4, LOD_4.space.all_elements, a=a)
    return np.linalg.norm(got - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2)), doubt


def test_a_trained_surrogate_knows_its_error(trained):
    """Finding A5: on new fields the doubt covers about nine of ten errors, and is no larger than it must be."""
    surrogate, _ = trained
    both = np.array([errors(surrogate, draw(NEW + k)) for k in range(8)])
    error, doubt = both[:, 0].ravel(), both[:, 1].ravel()
    assert np.isfinite(doubt).mean() > 0.97
    assert 0.75 < (error <= doubt).mean() < 0.99 and 0.3 < np.median(error / doubt) < 1
    told = surrogate.card.doubt
    assert told["quantile"] == 0.9 and 0.85 < told["covered"] < 0.95 and 0.7 < told["covered, new fields"] < 0.99
    tol = float(np.median(doubt))
    judged = Hybrid(surrogate, diffusion, tol).judge(LOD_4, a=draw(NEW))
    assert 0.1 < judged.fraction < 0.9
    assert surrogate.card.errors["local"] < errors_of(GeometricMean(), LOD_4, draw(NEW)[None])["local"] / 2


def test_the_card_says_from_what(trained, tmp_path):
    surrogate, history = trained
    card = surrogate.card
    assert card["fields"] == 30 and card["steps"] == 40 and card["seed"] == 0 and card["form"] == "diffusion"
    assert card.facts["validation loss"] <= history.best and card.name == "toy"
    assert card.extent[0] < -0.5 < 0.5 < card.extent[1] and len(card.shapes) == 16
    assert "'toy': 4 x 4 cells, n=4, ell=1, trained on log-uniform" in repr(surrogate)
    surrogate.save(tmp_path / "m.safetensors")
    again = Surrogate.load(tmp_path / "m.safetensors")
    assert again.card == card and repr(again) == repr(surrogate)
    assert np.array_equal(errors(again, draw(NEW)), errors(surrogate, draw(NEW)))
    assert again.excess(LOD_4, LOD_4.space.all_elements, a=draw(3)).max() == 0


def test_fields_beyond_those_of_training_are_told(trained):
    surrogate, _ = trained
    with pytest.warns(UserWarning, match="16 of 16 patches are outside the range of training"):
        LOD_4.assemble(surrogate, a=draw(NEW, contrast=1e4))


def test_no_two_parts_share_a_field():
    """Findings A5 and F: the doubt is fitted on fields that neither trained the network nor chose its weights."""
    seen = []
    recipe = Recipe(fields=5, held=2, doubt=3, test=2)
    parts = parts_of(LOD_4, lambda i: seen.append(i) or draw(i), recipe)
    assert len(set(seen)) == len(seen) == 12 and seen[:5] == list(range(5)) and min(seen[5:]) >= 10**6
    assert [len(parts[name].a) for name in ("train", "validation", "doubt", "test")] == [5, 2, 3, 2]
    rows = divided(np.zeros((40, 3)), {"validation": 20, "doubt": 3, "test": 0})
    assert rows == {"train": slice(0, 33), "validation": slice(36, 40), "doubt": slice(33, 36)}
    for recipe in RECIPES.values():
        counts = {"train": recipe.fields, "validation": recipe.held, "doubt": recipe.doubt, "test": recipe.test}
        names = [sample(recipe, part, index) for part, count in counts.items() for index in range(min(count, 60))]
        assert len(set(names)) == len(names)


def test_labels_in_files_are_those_in_memory(tmp_path):
    options = {**SMALL, "steps": 4, "fields": 6, "held": 2, "doubt": 2, "test": 1}
    made = [train_surrogate(LOD_4, draw, network(), keep=keep, **options)[0] for keep in (None, tmp_path, tmp_path)]
    assert len(list(tmp_path.rglob("labels-*.safetensors"))) == 4
    for other in made[1:]:
        assert other.card == made[0].card
        state = other.net.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in made[0].net.state_dict().items())


def test_a_run_that_was_broken_off_goes_on_to_the_bit(tmp_path):
    options = {**SMALL, "steps": 6, "fields": 6, "held": 2, "doubt": 2, "test": 0, "every": 2}

    def stop(done, total, text):
        if done == 4 and "loss" in text:
            raise KeyboardInterrupt

    whole, history = train_surrogate(LOD_4, draw, network(), **options)
    with pytest.raises(KeyboardInterrupt):
        train_surrogate(LOD_4, draw, network(), checkpoint=tmp_path / "run.pt", progress=stop, **options)
    again, resumed = train_surrogate(LOD_4, draw, network(), checkpoint=tmp_path / "run.pt", **options)
    assert resumed.losses == history.losses and again.card == whole.card


def test_fit_takes_fields_and_folders(tmp_path):
    """Finding C: an array of fields; and a folder, whose labels are not computed again."""
    fields = np.stack([draw(k) for k in range(20)])
    options = {"steps": 3, "seed": 2}
    surrogate = Surrogate.fit(LOD_4, fields, **options)
    assert surrogate.card["fields"] == 14 and surrogate.card["seed"] == 2 and surrogate.has_doubt
    write_labels(tmp_path, LOD_4, draw, 20, block=7)
    again = Surrogate.fit(LOD_4, tmp_path, **options)
    assert again.card == surrogate.card
    state = again.net.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in surrogate.net.state_dict().items())
    chosen = Surrogate.fit(LOD_4, fields, validation=fields[:2], **options)
    assert chosen.card["fields"] == 16
    net = PatchMLP(4, 1, (9,), generator=torch.Generator().manual_seed(0))
    plain = Surrogate.fit(LOD_4, fields, net, validation=fields[:2], steps=2)
    assert plain.net is net and not plain.has_doubt and plain.card["fields"] == 2


def test_what_is_refused():
    """Finding C: lines, and cells that are no squares, which networks do not see; too few fields; bad sizes."""
    line = LOD(MeshLine().refined(3), refine=4, ell=1)
    for lod, kind in ((line, "lines"), (LOD(graded(), refine=4, ell=1), "quads of other sizes or shapes")):
        with pytest.raises(TypeError, match=f"lod: expected coarse cells that are equal squares, got {kind}"):
            Surrogate.fit(lod, lambda i, lod=lod: np.ones(lod.coefficient_mesh.t.shape[1]), steps=1)
    with pytest.raises(ValueError, match=r"source: expected fields \(k, nelems\), k >= 4 .* got shape \(3, 256\)"):
        Surrogate.fit(LOD_4, np.ones((3, 256)), steps=1)
    with pytest.raises(ValueError, match="source: expected fields"):
        Surrogate.fit(LOD_4, np.ones(256), steps=1)
    with pytest.raises(ValueError, match="recipe: expected steps, batch"):
        Surrogate.fit(LOD_4, draw, steps=1, doubt=0)
    with pytest.raises(ValueError, match="expected cells = 2, which is the network's, got 4"):
        Surrogate.fit(LOD_4, draw, FieldNetwork(2, 1, generator=None), steps=1)
    with pytest.raises(ValueError, match="device: expected one of cpu"):
        Surrogate.fit(LOD_4, draw, steps=1, device="cuda:99")
    with pytest.raises(TypeError, match="unexpected keyword"):
        Surrogate.fit(LOD_4, draw, stepz=1)


def test_cards_and_recipes_agree():
    """Finding B7: cards record what their recipes have; where one run of it gives another file, the card says so."""
    assert list(shipped("lod")) == sorted(RECIPES)
    for name, recipe in RECIPES.items():
        surrogate = Surrogate.load(name)
        card, net = surrogate.card, surrogate.net
        assert card.name == recipe.name == name
        wanted = {"steps": recipe.steps, "fields": recipe.fields + recipe.corner, "seed": recipe.seed}
        assert {key: card[key] for key in wanted} == wanted
        assert (surrogate.setting.n, net.base, net.config["wide"]) == (recipe.n, recipe.base, recipe.wide)
        assert surrogate.setting == replace(surrogate.setting, dim=2, cells=8, ell=2, form="diffusion", cell="square")
        assert card.doubt["quantile"] == recipe.quantile and 0 < card.doubt["trusted"] <= 0.1
        assert recipe.exact or "not bit for bit" in card["remade"]
        assert recipe.exact or card.doubt["fitted on"] == "the fields of validation"
        assert recipe.start in ("", *RECIPES)
        assert load_model(find_model("lod", name))[1]["form"] == "diffusion"
