"""The training script with short settings: better than its start on unseen fields, resumed labels, and a full card."""

import numpy as np
import pytest

from demos import train_surrogate
from demos.train_surrogate import Recipe
from skfem_ml.lod import LOD
from skfem_ml.lod.families import UNSEEN, WIDE, wide_field
from skfem_ml.lod.hybrid import Hybrid
from skfem_ml.lod.judging import GeometricMean, errors_of
from skfem_ml.lod.surrogate import Surrogate
from skfem_ml.problems import diffusion


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    recipe = Recipe(8, True, square=6, corner=4, held=4, steps=12, level=3)
    model, history = train_surrogate.train(recipe, folder, test=2)
    return folder, recipe, model, history


def test_a_few_steps_beat_the_null_model(trained):
    _, _, model, history = trained
    lod = LOD(train_surrogate.square(3), refine=8, ell=2)
    fields = np.stack([wide_field(lod.coefficient_mesh, "log-normal", 77 + k, contrast=10) for k in range(2)])
    got, null = (errors_of(local_map, lod, fields) for local_map in (model, GeometricMean()))
    assert got["local"] < null["local"] / 2 and got["spectral"] < null["spectral"] / 1.5
    assert model.card["errors"]["l2"] > 0 and model.card["extent"][1] > 1 and len(model.card["shapes"]) > 30
    assert train_surrogate.visualize(history).axes[0].get_xlabel() == "step"


def test_a_second_run_starts_from_the_labels_and_the_end_of_the_first(trained):
    folder, recipe, model, history = trained
    again, record = train_surrogate.train(recipe, folder, test=2)
    assert record.steps == history.steps and record.losses == history.losses
    state = model.net.state_dict()
    assert all((state[key] == value).all() for key, value in again.net.state_dict().items())
    finer = recipe._replace(n=16, square=2, corner=1, held=1, steps=2)
    start, _ = train_surrogate.train(finer, folder / "finer", start=model, test=1)
    assert start.card["n"] == 16


def test_the_file_holds_all_and_the_hybrid_knows_strange_patches(trained, tmp_path):
    _, _, model, _ = trained
    model.save(tmp_path / "m.safetensors")
    loaded = Surrogate.load(tmp_path / "m.safetensors")
    mesh = train_surrogate.square(3).restrict(lambda x: x[0] + x[1] < 1.8)  # a corner cut off in steps
    lod = LOD(mesh, refine=8, ell=2)
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
