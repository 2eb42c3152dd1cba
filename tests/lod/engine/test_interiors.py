"""Interiors of elements from elsewhere: every verb is that of LOD for the form with their energies."""

import numpy as np
import pytest

from skfem_ml.lod import LOD
from skfem_ml.lod.engine.condensation import CondensationEngine
from skfem_ml.lod.engine.elements import element_source
from skfem_ml.lod.engine.reference import ReferenceEngine
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.loads import FineLoad
from tests.gallery import (
    MESHES,
    diffusion,
    random_field,
    reaction_diffusion,
    relative,
    sloped_load,
)

CASES = [
    ("square", diffusion, {"refine": 4, "ell": 1}),
    ("flat", diffusion, {"refine": 3, "ell": 2, "interpolation": "clement"}),
    ("graded", diffusion, {"refine": 6, "cells": 3, "ell": 2, "dirichlet": ["left", "top"]}),
    ("L", reaction_diffusion, {"refine": 3, "ell": 2}),
    ("U", diffusion, {"refine": 4, "cells": 2, "ell": 1, "interpolation": "clement"}),
]


def coefficients_of(lod, form, contrast=100.0, seed=3):
    a = random_field(lod.coefficient_mesh, np.random.default_rng(seed), contrast)
    return {"a": a} if form is diffusion else {"a": a, "c": 2.0}


def pair(mesh, form, options, times=4, **more):
    """The LOD with interiors, its space and the form with coefficients on it."""
    lod = LOD(MESHES[mesh](), interiors=times * options["refine"], **options, **more)
    return lod, lod.space, FineForm(lod.space, form, coefficients_of(lod, form))


def answers(engine, space):
    """Local matrices, rows of a load, correctors of one element, and a weighted sum with that load."""
    elements, rng = space.in_rows(space.all_elements), np.random.default_rng(4)
    loads = FineLoad(space, sloped_load, {}).split[:, :, None]
    weights = rng.normal(size=(*space.grid.corners.shape, 2))
    S, b = (np.zeros((len(elements), space.patches.nodes.shape[1], k)) for k in (4, 1))
    for at, rows in engine.local(elements):
        S[at] = rows
    for at, rows in engine.local(elements, loads):
        b[at] = rows
    return S, b, engine.correct_sum(elements, weights, np.concatenate([loads, 2 * loads], axis=2))


@pytest.mark.parametrize(("mesh", "form", "options"), CASES)
@pytest.mark.parametrize("memory", [0, 2**30])
def test_all_is_as_for_the_form_with_these_energies(mesh, form, options, memory):
    """The reference engine, on patches whose fine matrix has the energies' difference added, agrees in every verb."""
    _, space, fine_form = pair(mesh, form, options)
    source = element_source(space, fine_form)
    wanted = answers(ReferenceEngine(space, fine_form, 0, source.correction), space)
    for got, expected in zip(answers(CondensationEngine(space, fine_form, memory), space), wanted, strict=True):
        assert relative(got, expected) < 1e-9
