"""A network that corrects exact matrices of a coarser fine mesh, alone and as a surrogate."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skfem import MeshQuad
from skfem.models import unit_load

from skfem_ml.lod import LOD, FieldNetwork, Hybrid, Surrogate, coarse_solution, fit_surrogate, surrogate_matrices
from skfem_ml.lod.surrogate import Setting, feature_range, fit_doubt
from skfem_ml.lod.surrogate.networks import fit_affine
from skfem_ml.lod.surrogate.networks.place import Inputs, Sample
from skfem_ml.lod.surrogate.networks.symmetries import images
from tests.gallery import diffusion, l_shape, random_field


def generator():
    return torch.Generator().manual_seed(0)


def correcting(noise=0.05):
    net = FieldNetwork(2, 1, encoding=3, outer=1, width=2, wide=True, base=4, generator=generator())
    with torch.no_grad():
        for p in net.parameters():
            p.add_(noise * torch.randn(p.shape, generator=generator()))
    return net


@pytest.fixture(scope="module", params=["square", "L"])
def lod(request):
    mesh = MeshQuad().refined(2) if request.param == "square" else l_shape(1)
    return LOD(mesh, refine=8, cells=2, ell=1)


@pytest.fixture(scope="module")
def a(lod):
    return random_field(lod.coefficient_mesh, np.random.default_rng(0))


def surrogate_of(lod, net):
    return Surrogate(net, Setting.of(lod))


def test_untrained_it_is_exact_lod_on_the_coarser_mesh(lod, a):
    coarser = LOD(lod.coarse, refine=4, cells=2, ell=1)
    got = lod.assemble(surrogate_of(lod, FieldNetwork(2, 1, base=4, generator=generator())), a=a)
    assert abs(got - coarser.assemble(diffusion, a=a)).max() < 1e-13 * abs(got).max()
    assert abs(got - lod.assemble(diffusion, a=a)).max() > 1e-4 * abs(got).max()


def test_identities(lod, a):
    surrogate = surrogate_of(lod, correcting().double())
    local = lod.local(surrogate, a=a)
    size = abs(local).max()
    assert abs(local.sum(axis=1)).max() < 1e-12 * size and abs(local.sum(axis=2)).max() < 1e-12 * size
    assert abs(lod.local(surrogate, a=1e3 * a) / 1e3 - local).max() < 1e-10 * size
    with torch.no_grad():
        out = images(surrogate.net, *surrogate.inputs(lod, lod.space.all_elements, a=a))
    assert abs(out - out[0]).max() < 1e-10 * size
    some = np.array([3, 1])
    assert abs(lod.local(surrogate, some, a=a) - local[some]).max() < 1e-12 * size
    batch = surrogate.local(lod, some, a=np.stack([a, 2 * a]))
    assert abs(batch - np.stack([local[some], 2 * local[some]])).max() < 1e-12 * size


def test_a_fine_mesh_of_the_user():
    coarse = MeshQuad().refined(2)
    built, given = LOD(coarse, refine=8, cells=4, ell=1), LOD(coarse, fine=coarse.refined(3), cells=4, ell=1)
    a = random_field(built.coefficient_mesh, np.random.default_rng(1))
    surrogate = surrogate_of(built, FieldNetwork(4, 1, base=4, generator=generator()))
    one, other = (lod.local(surrogate, a=a) for lod in (built, given))
    assert np.array_equal(one, other) and np.array_equal(one, LOD(coarse, refine=4, ell=1).local(diffusion, a=a))


def test_the_gradient_is_that_of_differences():
    lod = LOD(MeshQuad().refined(1), refine=4, cells=2, ell=1)
    surrogate = Surrogate(
        FieldNetwork(2, 1, encoding=2, outer=1, width=2, base=2, generator=generator()).double(), Setting.of(lod)
    )
    torch.nn.init.normal_(surrogate.net.head.weight, std=0.1, generator=generator())
    a = torch.tensor(random_field(lod.coefficient_mesh, np.random.default_rng(2))).requires_grad_()
    b = unit_load.assemble(lod.coarse)
    assert torch.autograd.gradcheck(
        lambda a: coarse_solution(lod, surrogate_matrices(surrogate, lod, a), b).square().sum(), (a,), rtol=1e-4
    )


@pytest.mark.slow
def test_ridge_training_and_doubt(lod):
    """What is missing is learned in part by ridge, further by training, and the rest is expected by the doubt."""
    rng, net = np.random.default_rng(3), correcting(0.0)
    surrogate, elements = surrogate_of(lod, net), lod.space.all_elements
    fields = [random_field(lod.coefficient_mesh, rng) for _ in range(40)]
    samples = []
    for field in fields:
        inputs, place, base = surrogate.inputs(lod, elements, a=field)
        samples.append(Sample(inputs[0], torch.tensor(lod.local(diffusion, a=field)), place, base[0]))

    def missing():
        held = zip(fields[30:], samples[30:], strict=True)
        return np.mean([np.linalg.norm(lod.local(surrogate, a=field) - sample[1].numpy()) for field, sample in held])

    errors = [missing()]
    fit_affine(net, samples[:30], relative=True)
    errors.append(missing())
    net.affine.requires_grad_(False)
    fit_surrogate(lod, lambda i: fields[i % 30], net, validation=np.array(fields[30:33]), steps=150, rate=3e-3)
    errors.append(missing())
    assert errors[1] < 0.7 * errors[0] and errors[2] < 0.95 * errors[1]
    told = fit_doubt(net, samples[:30], steps=200)
    assert 0.85 < told["covered"] < 0.95
    inputs, base = (torch.stack([sample[i] for sample in samples]) for i in (0, 3))
    seen = feature_range(net, [Inputs(inputs, samples[0].place, base)])
    judged = Surrogate(net, replace(surrogate.card, features=seen, doubt=told))
    doubt = judged.doubt(lod, elements, a=fields[0])
    assert np.isfinite(doubt).all()
    hybrid = Hybrid(judged, diffusion, element_tol=float(np.median(doubt)))
    (got, scores, recomputed, _), exact = hybrid.judge(lod, a=fields[0]), samples[0][1].numpy()
    assert np.array_equal(recomputed, scores > hybrid.element_tol) and 0.3 < recomputed.mean() < 0.7
    wanted = np.where(recomputed[:, None, None], exact, judged.local(lod, elements, a=fields[0]))
    assert abs(got - wanted).max() < 1e-12 * abs(exact).max()
    assert np.array_equal(lod.local(Hybrid(judged, diffusion, element_tol=0), a=fields[0]), exact)


def test_saved_and_loaded(lod, a, tmp_path):
    surrogate = surrogate_of(lod, correcting())
    surrogate.save(tmp_path / "m.safetensors")
    again = Surrogate.load(tmp_path / "m.safetensors")
    assert again.net.base == 4 and np.array_equal(lod.local(again, a=a), lod.local(surrogate, a=a))


def test_what_is_refused(lod, a):
    net = correcting()
    inputs = surrogate_of(lod, net).inputs(lod, lod.space.all_elements, a=a)
    with pytest.raises(ValueError, match="base: expected matrices of a coarser fine mesh, got none"):
        net(*inputs[:2])
    with pytest.raises(ValueError, match="base: expected none"):
        FieldNetwork(2, 1, generator=generator())(*inputs)
    with pytest.raises(ValueError, match="base: expected a multiple of m = 2, got 3"):
        FieldNetwork(2, 1, base=3, generator=generator())
    with pytest.raises(ValueError, match="card: expected n above 8"):
        surrogate_of(lod, FieldNetwork(2, 1, base=8, generator=generator()))
