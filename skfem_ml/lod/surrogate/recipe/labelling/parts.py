"""The labelled fields of a training, by part: to train on, to choose weights, for the doubt, for errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy import ndarray
from skfem import BilinearForm, Mesh, MeshQuad

from skfem_ml.coefficients.families import paper_field, wide_field
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.recipe.fields import Fields
from skfem_ml.lod.surrogate.recipe.labelling.labelled import Labelled, label
from skfem_ml.lod.surrogate.recipe.labelling.labels import Draw, read_labels, write_labels
from skfem_ml.lod.surrogate.recipe.labelling.ways import Way
from skfem_ml.lod.surrogate.recipe.recipes import ROUGHNESS, ShippedRecipe, sample
from skfem_ml.problems import diffusion
from skfem_ml.progress import Progress

Parts = dict[str, Labelled]
"""By name: "train", "validation", "doubt", and perhaps "corner" and "test"."""
BLOCK = 8  # fields a file
CELLS, ELL = 8, 2  # of the models of the package


def labelled_parts(
    lod: LOD,
    fields: Fields,
    numbers: Mapping[str, ndarray],
    by: Way,
    form: BilinearForm,
    base: int,
    keep: Path,
    progress: Progress | None = None,
) -> Parts:
    """Label fields by part, ``numbers`` of them each, by way of files in ``keep``, a folder a part."""
    parts, done, total = {}, 0, sum(len(rows) for rows in numbers.values())
    for name, rows in numbers.items():

        def tell(count: int, of: int, text: str, done: int = done) -> None:
            if progress is not None:
                progress(done + count, total, "labels")

        if len(rows):
            draw = _numbered(fields, rows)
            parts[name] = drawn(lod, draw, len(rows), form, base, keep / name, tell, by=by)
        done += len(rows)
    return parts


def _numbered(fields: Fields, rows: ndarray) -> Draw:
    """``draw(k)``: field number ``rows[k]``."""
    return lambda index: fields.draw(int(rows[index]))


def drawn(
    lod: LOD,
    draw: Draw,
    count: int,
    form: BilinearForm,
    base: int,
    keep: Path,
    progress: Progress | None,
    weights: ndarray | None = None,
    by: Way | None = None,
) -> Labelled:
    """Label fields 0, ..., ``count - 1`` of a draw by way of files in ``keep``."""
    write_labels(keep, lod, draw, count, BLOCK, form, progress, by)
    found, exact = zip(*((fields, matrices) for fields, matrices, _ in read_labels(keep)), strict=True)
    known = np.concatenate(found)[:count], np.concatenate(exact)[:count]
    return label(lod, *known, form=form, base=base, weights=weights)


def square(level: int) -> Mesh:
    """The unit square with 2^level x 2^level cells."""
    return MeshQuad().refined(level)


def corner(level: int) -> Mesh:
    """An L of three quarters of a square of half the width: its corners are patches that no square has."""
    return MeshQuad().refined(level - 1).restrict(lambda x: (x[0] < 0.5) | (x[1] < 0.5))


def shipped_lod(recipe: ShippedRecipe, part: str) -> LOD:
    """The LOD of a part of a model of the package."""
    return LOD((corner if part == "corner" else square)(recipe.level), refine=recipe.n, cells=CELLS, ell=ELL)


def shipped_draw(recipe: ShippedRecipe, part: str, mesh: Mesh) -> Callable[[int], ndarray]:
    """``draw(i)`` of a part of a model of the package on a mesh of coefficients."""
    family = wide_field if recipe.wide else paper_field
    return lambda index: family(mesh, *sample(recipe, part, index), recipe.seed)


def shipped_parts(recipe: ShippedRecipe, folder: Path, progress: Progress | None = None) -> tuple[LOD, Parts]:
    """The LOD of the square and the labelled fields of a model of the package, kept in a folder."""
    counts = {"train": recipe.fields, "corner": recipe.corner, "validation": recipe.held, "doubt": recipe.doubt}
    parts: Parts = {}
    for part, count in {**counts, "test": recipe.test}.items():
        if count:
            lod = shipped_lod(recipe, part)
            draw = shipped_draw(recipe, part, lod.coefficient_mesh)
            chance = np.array([ROUGHNESS.get(sample(recipe, part, index)[0], 1.0) for index in range(count)])
            parts[part] = drawn(lod, draw, count, diffusion, recipe.base, folder / part, progress, chance)
    return shipped_lod(recipe, "train"), parts
