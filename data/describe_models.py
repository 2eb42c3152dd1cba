"""Bring the cards of surrogates that were trained by older scripts up to date: form, patterns and doubt.

The weights are read and written as they are. What the cards lacked needs no training: the form is that of
`skfem_ml.problems.diffusion`; the range of `patterns` and of the network's features is that of the fields trained on,
which are drawn again; the share of unseen fields that the doubt covers is measured on ten test fields (five of the wide
family), with exact matrices.

Run in the root of the source tree: python -m data.describe_models (about five minutes)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from skfem_ml.learning import Card, find_model, load_model, save_model
from skfem_ml.lod.surrogate import RECIPES, Setting, Surrogate, coverage, pattern_range
from skfem_ml.lod.surrogate.certificate import MARGIN, MOST_TRUSTED
from skfem_ml.lod.surrogate.inputs import blocks, place_of
from skfem_ml.lod.surrogate.networks import Inputs
from skfem_ml.lod.surrogate.recipe.labelling.labelled import label
from skfem_ml.lod.surrogate.recipe.labelling.parts import shipped_draw, shipped_lod
from skfem_ml.lod.surrogate.recipe.recipes import ShippedRecipe

REMADE = "not bit for bit: trained in two runs whose division is not recorded; `remake` makes one run of all steps"


def drawn(recipe: ShippedRecipe):
    """The fields that a model was trained on or chosen by, as inputs without matrices of a coarser mesh."""
    for part, count in (("train", recipe.fields), ("corner", recipe.corner), ("validation", recipe.held)):
        lod = shipped_lod(recipe, part)
        draw, place = shipped_draw(recipe, part, lod.coefficient_mesh), place_of(lod, lod.space.all_elements)
        for index in range(count):
            yield Inputs(blocks(lod, draw(index)), place)


def largest_doubt(model: Surrogate, recipe: ShippedRecipe) -> float:
    """The largest doubt on the fields that the doubt was fitted on: those of validation."""
    lod = shipped_lod(recipe, "validation")
    draw = shipped_draw(recipe, "validation", lod.coefficient_mesh)
    elements = lod.space.all_elements
    said = [model.doubt(lod, elements, a=draw(index)) for index in range(recipe.held)]
    return float(max(values[np.isfinite(values)].max() for values in said))


def covered(model: Surrogate, recipe: ShippedRecipe) -> float:
    """The share of patches of unseen fields whose error is not above the doubt."""
    lod, count = shipped_lod(recipe, "test"), 5 if recipe.wide else 10
    draw = shipped_draw(recipe, "test", lod.coefficient_mesh)
    fields = label(lod, np.stack([draw(index) for index in range(count)]), base=recipe.base)
    return coverage(model.net, fields.samples())


def described(recipe: ShippedRecipe) -> Card:
    """The card of a shipped file with what it lacks."""
    _, flat = load_model(find_model("lod", recipe.name))
    form = Setting.of(shipped_lod(recipe, "test")).form
    card = Card.from_json({**flat, "form": form}, [*Setting.__dataclass_fields__])
    card = replace(card, patterns=pattern_range(drawn(recipe)), facts={**card.facts, "remade": REMADE})
    model = Surrogate(network(recipe), card)
    doubt = {key: card.doubt[key] for key in ("quantile", "covered")}
    trusted = float(f"{min(MOST_TRUSTED, MARGIN * largest_doubt(model, recipe)):.2g}")
    told = {"trusted": trusted, "covered, new fields": covered(model, recipe), "fitted on": "the fields of validation"}
    return replace(card, doubt={**doubt, **told})


def network(recipe: ShippedRecipe):
    """The network of a shipped file, whatever its card."""
    from skfem_ml.lod.surrogate.model import NETWORKS

    tensors, flat = load_model(find_model("lod", recipe.name))
    sizes = dict(flat["network"])
    net = NETWORKS[sizes.pop("kind")](**sizes, generator=None)
    net.load_state_dict(tensors)
    return net


if __name__ == "__main__":
    torch.set_num_threads(1)
    for recipe in (recipe for recipe in RECIPES.values() if not recipe.exact):
        path = find_model("lod", recipe.name)
        tensors, flat = load_model(path)
        card = described(recipe)
        save_model(path, tensors, {**card.to_json(), "symmetric": flat["symmetric"]})
        print(recipe.name, card.doubt, card.patterns, flush=True)
