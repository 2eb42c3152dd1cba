"""The training script with short settings: better than its start on unseen fields, resumed labels, and a full card."""

import numpy as np
import pytest
import torch

from demos import train_surrogate
from demos.train_surrogate import Recipe
from skfem_ml.coefficients.families import UNSEEN, WIDE, wide_field
from skfem_ml.lod import LOD, GeometricMean, Hybrid, Surrogate, errors_of
from skfem_ml.problems import diffusion


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    recipe = Recipe(16, True, square=10, corner=4, held=4, steps=16, rate=1e-4, level=3, base=8, power=0.5)
    model, history = train_surrogate.train(recipe, folder, test=2)
    return folder, recipe, model, history


class Coarser:
    """Exact matrices of the mesh n = 8 as a local map."""

    def local(self, lod, elements, a):
        return LOD(lod.coarse, refine=8, ell=2).local(diffusion, elements, a=a)


def test_a_few_steps_beat_what_is_corrected(trained):
    _, _, model, history = trained
    lod = LOD(train_surrogate.square(3), refine=16, cells=8, ell=2)
    fields = np.stack([wide_field(lod.coefficient_mesh, "log-normal", 77 + k, contrast=10) for k in range(2)])
    got, base, null = (errors_of(local_map, lod, fields) for local_map in (model, Coarser(), GeometricMean()))
    assert got["local"] < base["local"] / 4 < null["local"] / 100 and got["spectral"] < base["spectral"] / 1.5
    assert model.card["errors"]["l2"] > 0 and model.card["extent"][1] > 1 and len(model.card["shapes"]) > 30
    assert train_surrogate.visualize(history).axes[0].get_xlabel() == "step"


def test_a_second_run_starts_from_the_labels_and_the_end_of_the_first(trained):
    folder, recipe, model, history = trained
    again, record = train_surrogate.train(recipe, folder, test=2)
    assert record.steps == history.steps and record.losses == history.losses
    state = model.net.state_dict()
    assert all((state[key] == value).all() for key, value in again.net.state_dict().items())


def test_a_finer_model_starts_from_a_coarser_one(tmp_path):
    recipe = Recipe(8, False, square=10, corner=1, held=1, steps=1, level=3)
    model, _ = train_surrogate.train(recipe, tmp_path / "8", test=1)
    finer, _ = train_surrogate.train(recipe._replace(n=16), tmp_path / "16", start=model, test=1)
    assert finer.card["n"] == 16


def test_conductivities_of_linear_functions():
    """Of S_T with a constant coefficient: a times the area, for both coordinates."""
    lod = LOD(train_surrogate.square(3), refine=4, ell=2)
    middle = np.flatnonzero((lod.patches.cells >= 0).all(axis=1))
    local = torch.tensor(lod.local(diffusion, middle, a=np.full(32**2, 3.0)))
    assert torch.allclose(train_surrogate.on_linear(local), 3.0 * torch.eye(2, dtype=local.dtype), atol=1e-10)


def test_the_file_holds_all_and_the_hybrid_knows_strange_patches(trained, tmp_path):
    _, _, model, _ = trained
    model.save(tmp_path / "m.safetensors")
    loaded = Surrogate.load(tmp_path / "m.safetensors")
    mesh = train_surrogate.square(3).restrict(lambda x: x[0] + x[1] < 1.8)  # a corner cut off in steps
    lod = LOD(mesh, refine=16, cells=8, ell=2)
    a = np.random.default_rng(0).uniform(1, 3, lod.coefficient_mesh.t.shape[1])
    with pytest.warns(UserWarning, match="patches are outside the range of training"):
        lod.assemble(loaded, a=a)
    strange = np.isinf(loaded.excess(lod, lod.space.all_elements, a=a))
    hybrid = Hybrid(loaded, diffusion, tol=1e6)
    lod.assemble(hybrid, a=a)
    assert 0 < strange.mean() < 1 and hybrid.fraction == strange.mean()


@pytest.mark.parametrize("family", WIDE + UNSEEN)
def test_wide_families_are_positive_reproducible_and_of_the_contrast_asked(family):
    mesh = LOD(train_surrogate.square(5), refine=8).coefficient_mesh
    a = wide_field(mesh, family, 3, contrast=50)
    assert (a > 0).all() and 1.5 < a.max() / a.min() <= 50 * (1 + 1e-9)
    assert (a == wide_field(mesh, family, 3, contrast=50)).all()
    assert not (a == wide_field(mesh, family, 4, contrast=50)).all()


def test_wide_families_refuse_what_they_do_not_know():
    mesh = train_surrogate.square(2)
    with pytest.raises(ValueError, match="family: expected one of log-normal"):
        wide_field(mesh, "clouds", 0)
    with pytest.raises(ValueError, match="index, contrast: expected at least 0 and 2"):
        wide_field(mesh, "discs", 0, contrast=1)
