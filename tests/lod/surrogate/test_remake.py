"""The models of the package remade in small: better than their start, resumed; the families that they are made of."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skfem_ml.coefficients.families import UNSEEN, WIDE, wide_field
from skfem_ml.lod import LOD, GeometricMean, Hybrid, Surrogate, errors_of
from skfem_ml.lod.surrogate import remake
from skfem_ml.lod.surrogate.recipe.labelling.labelled import on_linear
from skfem_ml.lod.surrogate.recipe.labelling.parts import square
from skfem_ml.lod.surrogate.recipe.recipes import ShippedRecipe
from skfem_ml.problems import diffusion

WIDE_RECIPE = ShippedRecipe(
    16, 1e-4, fields=10, corner=4, held=4, doubt=3, test=2, power=0.5, relative=True, wide=True, base=8, name="small",
    n=16, level=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    return folder, remake(WIDE_RECIPE, folder)


class Coarser:
    """Exact matrices of the mesh n = 8 as a local map."""

    def local(self, lod, elements, a):
        return LOD(lod.coarse, refine=8, ell=2).local(diffusion, elements, a=a)


@pytest.mark.slow
def test_a_few_steps_beat_what_is_corrected(trained):
    model = trained[1]
    lod = LOD(square(3), refine=16, cells=8, ell=2)
    fields = np.stack([wide_field(lod.coefficient_mesh, "log-normal", 77 + k, contrast=10) for k in range(2)])
    got, base, null = (errors_of(local_map, lod, fields) for local_map in (model, Coarser(), GeometricMean()))
    assert got["local"] < base["local"] / 4 < null["local"] / 100 and got["spectral"] < base["spectral"] / 1.5
    assert model.card.errors["l2"] > 0 and model.card.extent[1] > 1 and len(model.card.shapes) > 30


def test_a_second_run_starts_from_the_labels_and_the_end_of_the_first(trained):
    folder, model = trained
    again = remake(WIDE_RECIPE, folder)
    assert again.card == model.card and len(again.card["history"]["losses"]) == 16
    state = model.net.state_dict()
    assert all((state[key] == value).all() for key, value in again.net.state_dict().items())


@pytest.mark.slow
def test_a_finer_model_starts_from_a_coarser_one(tmp_path):
    recipe = ShippedRecipe(1, fields=10, corner=1, held=1, doubt=1, test=1, level=3)
    model = remake(recipe, tmp_path / "8")
    finer = remake(replace(recipe, n=16), tmp_path / "16", start=model)
    assert finer.setting.n == 16


def test_conductivities_of_linear_functions():
    """Of S_T with a constant coefficient: a times the area, for both coordinates."""
    lod = LOD(square(3), refine=4, ell=2)
    middle = np.flatnonzero((lod.patches.cells >= 0).all(axis=1))
    local = torch.tensor(lod.local(diffusion, middle, a=np.full(32**2, 3.0)))
    assert torch.allclose(on_linear(local), 3.0 * torch.eye(2, dtype=local.dtype), atol=1e-10)


def test_the_file_holds_all_and_the_hybrid_knows_strange_patches(trained, tmp_path):
    model = trained[1]
    model.save(tmp_path / "m.safetensors")
    loaded = Surrogate.load(tmp_path / "m.safetensors")
    mesh = square(3).restrict(lambda x: x[0] + x[1] < 1.8)  # a corner cut off in steps
    lod = LOD(mesh, refine=16, cells=8, ell=2)
    a = np.random.default_rng(0).uniform(1, 3, lod.coefficient_mesh.t.shape[1])
    with pytest.warns(UserWarning, match="patches are outside the range of training"):
        lod.assemble(loaded, a=a)
    strange = np.isinf(loaded.excess(lod, lod.space.all_elements, a=a))
    judged = Hybrid(loaded, diffusion, element_tol=1e6).judge(lod, a=a)
    assert 0 < strange.mean() < 1 and judged.recomputed[strange].all()


@pytest.mark.parametrize("family", WIDE + UNSEEN)
def test_wide_families_are_positive_reproducible_and_of_the_contrast_asked(family):
    mesh = LOD(square(5), refine=8).coefficient_mesh
    a = wide_field(mesh, family, 3, contrast=50)
    assert (a > 0).all() and 1.5 < a.max() / a.min() <= 50 * (1 + 1e-9)
    assert (a == wide_field(mesh, family, 3, contrast=50)).all()
    assert not (a == wide_field(mesh, family, 4, contrast=50)).all()


def test_wide_families_refuse_what_they_do_not_know():
    mesh = square(2)
    with pytest.raises(ValueError, match="family: expected one of log-normal"):
        wide_field(mesh, "clouds", 0)
    with pytest.raises(ValueError, match="index, contrast: expected at least 0 and 2"):
        wide_field(mesh, "discs", 0, contrast=1)
