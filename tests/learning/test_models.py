"""Cards and the list of what is shipped."""

import json

import pytest

from skfem_ml.learning import Card, load_model, shipped
from skfem_ml.learning.models import models


def test_every_shipped_card_goes_through_json():
    for room in ("lod", "hits"):
        for path in shipped(room).values():
            flat = load_model(path)[1]
            card = Card.from_json(flat, ["n", "ell"])
            assert json.loads(json.dumps(card.to_json())) == {"kind": "surrogate", **flat}
            assert Card.from_json(card.to_json(), ["n", "ell"]) == card and dict(card) == card.to_json()
            assert len(repr(card)) < 500


def test_what_a_card_holds():
    card = Card(name="toy", setting={"n": 8}, extent=(-1.0, 2.0), facts={"seed": 3}, shapes=("ff",))
    assert card["extent"] == [-1.0, 2.0] and card["n"] == 8 and "doubt" not in card and len(card) == 6
    assert repr(card) == "Card(n 8, seed 3)"
    with pytest.raises(KeyError):
        card["features"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extent": [1.0]}, "two numbers as extent, got 1"),
        ({"extent": "wide"}, "list of numbers as extent"),
        ({"shapes": [3]}, "text as shapes"),
        ({"features": {"low": [1.0], "high": []}}, "as many low as high values of features"),
        ({"patterns": [1.0]}, "dictionary as patterns"),
        ({"doubt": 0.9}, "dictionary as doubt"),
        ({"name": 3}, "text as name"),
    ],
)
def test_entries_of_another_type(change, message):
    with pytest.raises(ValueError, match=f"card: expected .*{message}"):
        Card.from_json(change)


def test_the_list_of_models():
    found = {model.name: model for model in models()}
    assert set(found) == {*shipped("lod"), *shipped("hits")}
    model = found["diffusion-q1-ell2-n8"]
    assert model.room == "lod" and model.bytes == model.file.stat().st_size > 10**6
    assert "n 8" in model.summary and "family iid-0 to iid-8" in model.summary and len(model.summary) < 500
    assert found["van-der-pol"].room == "hits" and "system van-der-pol" in found["van-der-pol"].summary
