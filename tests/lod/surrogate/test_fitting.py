"""Training a surrogate: what a step sees, that it learns and resumes to the bit, the card, and bad input."""

import numpy as np
import pytest
import torch
from skfem import MeshQuad, condense, solve
from skfem.models import mass, unit_load

from skfem_ml.learning import ModelMismatchError
from skfem_ml.lod import LOD, FieldNetwork, GeometricMean, PatchMLP, Surrogate, errors_of, fit_surrogate
from skfem_ml.lod.surrogate import Setting, fit_as_published, write_labels
from skfem_ml.lod.surrogate.networks.symmetries import move_matrices, permutation
from skfem_ml.lod.surrogate.recipe.fitting import Batches, cosine
from skfem_ml.lod.surrogate.recipe.labelling.labelled import scaled_error, squared_error
from tests.gallery import diffusion, random_field, relative

LOD_4 = LOD(MeshQuad().refined(2), refine=4, ell=1)


def draw(index, contrast=5):
    return random_field(LOD_4.coefficient_mesh, np.random.default_rng([7, index]), contrast)


VALIDATION = np.stack([draw(10**6 + k) for k in range(3)])


def network(seed=0):
    return FieldNetwork(4, 1, encoding=4, outer=1, width=4, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    write_labels(folder, LOD_4, draw, 12, block=5)
    return folder


@pytest.mark.parametrize("stored", [False, True], ids=["drawn", "stored"])
def test_a_step_sees_exact_matrices_in_one_position(stored, folder):
    """Moved back, the batch is a field with its exact matrices; and the same step is the same batch."""
    source = folder if stored else draw
    options = {"fields": 2, "elements": 5, "turns": True, "seed": 3}
    taker = Surrogate(network(), Setting.of(LOD_4))
    batches, turns = Batches(taker, LOD_4, source, **options), set()
    for step in range(5):
        (a, place, _), exact, scale = batches(step)
        again = Batches(taker, LOD_4, source, **options)(step)
        assert torch.equal(a, again[0][0]) and torch.equal(place.cells, again[0][1].cells)
        assert torch.equal(exact, again[1])
        own = place.cells[:, 4]
        assert torch.allclose(scale, a[:, own].log().mean(dim=2).exp())
        patches = torch.from_numpy(LOD_4.patches.cells)[own]
        (turn,) = (g for g in range(8) if torch.equal(place.cells[:, permutation(g, 3).argsort()], patches))
        turns.add(turn)
        for j in range(2):
            field = np.empty(256)
            field[LOD_4.space.coefficient_refinement.cells] = a[j][:, permutation(turn, 4).argsort()]
            back = move_matrices(turn, exact[j], back=True).numpy()
            assert relative(back, LOD_4.local(diffusion, own.numpy(), a=field)) < 1e-6
            assert stored or np.array_equal(field, draw(2 * step + j))
    assert len(turns) > 2


def test_every_stored_field_is_seen_once_a_pass(folder):
    taker = Surrogate(network(), Setting.of(LOD_4))
    batches = Batches(taker, LOD_4, folder, fields=3, elements=None, turns=False, seed=0)
    passes = [torch.cat([batches(4 * k + step)[0][0] for step in range(4)]).sum(dim=(1, 2)) for k in range(2)]
    wanted = torch.tensor([draw(index).sum() for index in range(12)])
    assert all(torch.allclose(seen.sort()[0], wanted.sort()[0]) for seen in passes)
    assert not torch.allclose(passes[0], passes[1])


@pytest.mark.slow
def test_it_learns_and_the_card_says_from_what(tmp_path):
    surrogate, history = fit_surrogate(
        LOD_4, draw, network(), validation=VALIDATION, steps=200, every=20, seed=1, card={"family": "log-uniform"},
        test=VALIDATION[:2],
    )  # fmt: skip
    null = errors_of(GeometricMean(), LOD_4, VALIDATION[:2])
    assert surrogate.card["errors"]["local"] < null["local"] / 3
    assert surrogate.card["errors"]["spectral"] < null["spectral"]
    assert history.best < history.losses[0] / 2 and surrogate.card["validation loss"] == history.best
    assert surrogate.card["fields"] == 200 and surrogate.card["seed"] == 1 and surrogate.card["steps"] == 200
    low, high = surrogate.card["extent"]
    assert low < -0.5 and high > 0.5 and abs(surrogate.excess(LOD_4, np.arange(16), a=draw(5))).max() == 0
    surrogate.save(tmp_path / "m.safetensors")
    loaded = Surrogate.load(tmp_path / "m.safetensors")
    assert loaded.card == surrogate.card
    assert abs(LOD_4.assemble(loaded, a=draw(0)) - LOD_4.assemble(surrogate, a=draw(0))).max() == 0


@pytest.mark.parametrize("stored", [False, True], ids=["drawn", "stored"])
def test_resume_is_bit_identical(stored, folder, tmp_path):
    def run(path=None, broken=None):
        def tell(step, *_):
            if step == broken:
                raise KeyboardInterrupt

        net = network()
        options = {"steps": 12, "every": 3, "fields": 2, "elements": 6, "checkpoint": path, "progress": tell}
        return net, fit_surrogate(LOD_4, folder if stored else draw, net, validation=VALIDATION, **options)[1]

    whole, expected = run()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run.pt", 6)
    resumed, history = run(tmp_path / "run.pt")
    assert history.losses == expected.losses
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_the_published_schedule(folder, monkeypatch):
    rates = []
    plain = torch.optim.Adam.step

    def step(self, closure=None):
        rates.append(self.param_groups[0]["lr"])
        return plain(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    net = PatchMLP(4, 1, (20, 20), generator=torch.Generator().manual_seed(0))
    surrogate, history = fit_as_published(LOD_4, folder, net, validation=VALIDATION, epochs=(2, 3), batch=60)
    # 12 fields of 16 patches in batches of 10 fields of 6 patches: 3 batches an epoch
    assert rates == [1e-4] * 6 + [1e-5] * 9 and surrogate.card["steps"] == 15
    exact = np.stack([LOD_4.local(diffusion, a=a) for a in VALIDATION])
    got = np.stack([LOD_4.local(surrogate, a=a) for a in VALIDATION])
    assert history.best == pytest.approx(np.square(got - exact).sum(axis=(2, 3)).mean(), rel=1e-5)


def test_losses_and_schedule():
    g = torch.Generator().manual_seed(0)
    got, exact = (torch.randn(2, 3, 16, 4, generator=g) for _ in range(2))
    scale = 3 * torch.ones(2, 3)
    assert float(squared_error(got, exact, scale)) == pytest.approx(9 * float(scaled_error(got, exact, scale)))
    assert float(squared_error(got, exact, scale)) == pytest.approx(float((got - exact).square().sum() / 6))
    rates = [cosine(1.0, 100, warm=10)(step) for step in range(100)]
    assert rates[0] < 0.11 and max(rates) < 1 and rates[-1] < 1e-3 and np.argmax(rates) == 9


def test_the_null_model_is_coarse_finite_elements():
    a = draw(0)
    means = np.exp(np.log(a[LOD_4.space.coefficient_refinement.cells]).mean(axis=1))
    plain = diffusion.assemble(LOD_4.coarse, a=means[:, None])
    assert abs(LOD_4.assemble(GeometricMean(), a=a) - plain).max() < 1e-13
    assert relative(LOD_4.local(GeometricMean(), [3, 7], a=a), LOD_4.local(GeometricMean(), a=a)[[3, 7]]) == 0


def test_errors_are_those_of_the_definitions():
    fields = VALIDATION[:2]
    errors, b, D = errors_of(GeometricMean(), LOD_4, fields), unit_load.assemble(LOD_4.coarse), LOD_4.coarse.get_dofs()
    spectral, l2 = [], []
    for a in fields:
        S, R = LOD_4.assemble(GeometricMean(), a=a), LOD_4.assemble(diffusion, a=a)
        spectral.append(np.linalg.norm((S - R).toarray(), 2))
        u, v = (solve(*condense(matrix, b, D=D)) for matrix in (S, R))
        M = mass.assemble(LOD_4.coarse)
        l2.append(np.sqrt((u - v) @ M @ (u - v) / (v @ M @ v)))
    assert errors["spectral"] == pytest.approx(np.mean(spectral)) and errors["l2"] == pytest.approx(np.mean(l2))
    assert errors["l2 largest"] == pytest.approx(max(l2))
    assert set(errors_of(diffusion, LOD_4, fields).values()) == {0.0}
    with pytest.raises(ValueError, match="fixed and free"):
        errors_of(diffusion, LOD(MeshQuad(), refine=4, ell=1), np.ones((1, 16)))


def test_bad_input(folder, tmp_path):
    options = {"validation": VALIDATION, "steps": 1}
    for change in ({"fields": 0}, {"elements": 0}, {"elements": 17}):
        with pytest.raises(ValueError, match="expected 1 to inf fields and 1 to 16 elements"):
            fit_surrogate(LOD_4, draw, network(), **options, **change)
    with pytest.raises(ValueError, match="1 to 12 fields"):
        fit_surrogate(LOD_4, folder, network(), **options, fields=13)
    for bad in (VALIDATION[0], VALIDATION[:0]):
        with pytest.raises(ValueError, match="validation: expected fields"):
            fit_surrogate(LOD_4, draw, network(), validation=bad, steps=1)
    with pytest.raises(ValueError, match="expected shape"):
        fit_surrogate(LOD_4, draw, network(), validation=VALIDATION[:, :-1], steps=1)
    with pytest.raises(ValueError, match="not positive"):
        fit_surrogate(LOD_4, lambda index: -draw(index), network(), **options)
    with pytest.raises(FileNotFoundError, match="expected files labels"):
        fit_surrogate(LOD_4, tmp_path, network(), **options)
    other = LOD(LOD_4.coarse, refine=4, ell=1, interpolation="nodal")
    with pytest.raises(ModelMismatchError, match="interpolation: wanted 'nodal', got 'projection'"):
        fit_surrogate(other, folder, network(), **options)
    with pytest.raises(ValueError, match="expected cells = 2, which is the network's, got 4"):
        fit_surrogate(LOD_4, draw, FieldNetwork(2, 1, generator=None), **options)
