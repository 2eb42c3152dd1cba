"""The labelled fields of a training, by part: to train on, to choose weights, for the doubt, for errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy import ndarray
from skfem import BilinearForm, Mesh, MeshQuad

from skfem_ml.coefficients.families import paper_field, wide_field
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.recipe.labelled import Labelled, label
from skfem_ml.lod.surrogate.recipe.labels import Draw, Source, read_labels, stored, write_labels
from skfem_ml.lod.surrogate.recipe.recipes import ROUGHNESS, Recipe, ShippedRecipe, sample
from skfem_ml.problems import diffusion
from skfem_ml.progress import Progress

Parts = dict[str, Labelled]
"""By name: "train", "validation", "doubt", and perhaps "corner" and "test"."""
HELD = 10**6  # the first number of a field that is held out: no training draws so many
BLOCK = 8  # fields a file
CELLS, ELL = 8, 2  # of the models of the package


def parts_of(
    lod: LOD,
    source: Source,
    recipe: Recipe,
    validation: ndarray | None = None,
    form: BilinearForm = diffusion,
    keep: str | Path | None = None,
    progress: Progress | None = None,
) -> Parts:
    """Label the fields of a source by part: no two parts share one.

    A draw gives fields 0, 1, ... to train on and fields from a million on for the rest. What is no draw (fields ``(k,
    nelems)`` or a folder of labels) is divided: a tenth each, at least one, for the other parts. Raises ValueError for
    fewer than four fields.
    """
    sizes = {"validation": recipe.held, "doubt": recipe.doubt, "test": recipe.test}
    if validation is not None:
        del sizes["validation"]
    if callable(source):
        starts = np.cumsum([HELD, *sizes.values()]).tolist()
        ranges = {"train": (0, recipe.fields), **{k: (a, sizes[k]) for k, a in zip(sizes, starts, strict=False)}}
        parts = {
            name: drawn(lod, source, first, count, form, recipe.base, Path(keep) / name if keep else None, progress)
            for name, (first, count) in ranges.items()
            if count
        }
    else:
        fields, exact = (source, None) if isinstance(source, ndarray) else stored(lod, source, form)
        parts = {}
        for name, rows in divided(fields, sizes).items():
            known = None if exact is None else exact[rows]
            parts[name] = label(lod, fields[rows], known, form=form, base=recipe.base, progress=progress)
    if validation is not None:
        parts["validation"] = label(lod, validation, form=form, base=recipe.base, progress=progress)
    return parts


def divided(fields: ndarray, sizes: dict[str, int]) -> dict[str, slice]:
    """Which fields ``(k, nelems)`` are for what: the last ones for the parts in ``sizes``, a tenth each at most."""
    if fields.ndim != 2 or len(fields) <= len(sizes):
        raise ValueError(
            f"source: expected fields (k, nelems), k >= {len(sizes) + 1} for training, weights, doubt and errors, got "
            f"shape {fields.shape}; give more, or draw(i)"
        )
    stop, out = len(fields), {}
    for name, most in sizes.items():
        count = min(most, max(1, len(fields) // 10))
        if count:
            out[name] = slice(stop - count, stop)
        stop -= count
    return {"train": slice(0, stop), **out}


def drawn(
    lod: LOD,
    draw: Draw,
    first: int,
    count: int,
    form: BilinearForm,
    base: int,
    keep: Path | None,
    progress: Progress | None,
    weights: ndarray | None = None,
) -> Labelled:
    """Label fields ``first``, ..., ``first + count - 1`` of a draw, by way of files in ``keep`` where that is given."""
    if keep is None:
        fields = np.stack([draw(first + index) for index in range(count)])
        return label(lod, fields, form=form, base=base, weights=weights, progress=progress)
    write_labels(keep, lod, lambda index: draw(first + index), count, BLOCK, form, progress)
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
            parts[part] = drawn(lod, draw, 0, count, diffusion, recipe.base, folder / part, progress, chance)
    return shipped_lod(recipe, "train"), parts
