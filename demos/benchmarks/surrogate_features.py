"""Write into the card of a trained surrogate how far the features of its network range on its fields of training.

No labels are needed. The fields are the first of those that ``demos/train_surrogate.py`` trains on, fewer of them: the
range that `Surrogate.doubt` then knows is a little smaller than it might be.

Run: python -m demos.benchmarks.surrogate_features NAME MODEL.safetensors, with a name of ``train_surrogate.RECIPES``.
"""

import sys
from pathlib import Path

import numpy as np

from demos.train_surrogate import CELLS, ELL, RECIPES, SEED, corner, sample, square
from skfem_ml.lod import LOD
from skfem_ml.lod.doubt import feature_range
from skfem_ml.lod.families import paper_field, wide_field
from skfem_ml.lod.surrogate import Surrogate, blocks, place_of

SQUARES, CORNERS = 200, 60


def describe(name: str, path: Path, squares: int = SQUARES, corners: int = CORNERS, level: int | None = None) -> None:
    """Add "features" to the card of the model in a file."""
    recipe, surrogate = RECIPES[name], Surrogate.load(path)
    draw = wide_field if recipe.wide else paper_field
    inputs = []
    for part, mesh, count in (("train", square, min(squares, recipe.square)), ("corner", corner, corners)):
        lod = LOD(mesh(level or recipe.level), refine=recipe.n, cells=CELLS, ell=ELL)
        fields = [draw(lod.coefficient_mesh, *sample(recipe, part, index), SEED) for index in range(count)]
        inputs.append((blocks(lod, np.stack(fields)), place_of(lod, lod.space.all_elements)))
    surrogate.card["features"] = feature_range(surrogate.net, inputs)
    surrogate.save(path)


if __name__ == "__main__":
    describe(sys.argv[1], Path(sys.argv[2]))
