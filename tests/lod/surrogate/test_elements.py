"""Learned super-elements: what holds for any weights, what the shipped ones are worth, and all verbs of a system."""

import warnings

import numpy as np
import pytest
import torch
from skfem import BilinearForm, MeshQuad
from skfem.helpers import dot, grad

from skfem_ml import LOD, Surrogate
from skfem_ml.coefficients import checkerboard
from skfem_ml.learning import CorruptModelError
from skfem_ml.lod.engine.elements import ElementCondenser
from skfem_ml.lod.engine.elements.energies import energies_of
from skfem_ml.lod.gradient import coarse_solution
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.surrogate import ElementNetwork, SuperElements, surrogate_matrices
from skfem_ml.lod.surrogate.conformal import CoarseSolutions
from skfem_ml.lod.surrogate.elements.cells import NUMBERS, CellEnergies
from skfem_ml.lod.surrogate.elements.checking import CORNER, beside_corners, spread, touching, unresolved
from skfem_ml.lod.surrogate.elements.families import CELLWISE, cellwise_field
from skfem_ml.lod.surrogate.elements.judging import FLOOR, distances
from skfem_ml.lod.surrogate.elements.labels import Elements, complement, label_elements, unit_energies
from skfem_ml.lod.surrogate.elements.samples import drawn_values, field_of, on_elements
from skfem_ml.lod.surrogate.elements.symmetries import COUNT, turned
from skfem_ml.lod.surrogate.elements.training import fit_elements, gaps
from skfem_ml.problems import diffusion, load


def network(seed=0, n=8, size=1.0):
    """Weights of no training, as large as you like."""
    net = ElementNetwork(n, 8, 2, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        net.last.mul_(size / 0.1)
    return net


def field(space, seed=0, contrast=100.0):
    return field_of(space, drawn_values(space.n, len(space.all_elements), np.random.default_rng(seed), contrast))


@pytest.fixture(scope="module")
def model():
    return SuperElements.load("diffusion")


@pytest.mark.parametrize("n", [3, 4, 8])
def test_without_numbers_the_cells_are_those_of_the_fine_mesh(n):
    lod = LOD(MeshQuad().refined(2), refine=n, ell=1)
    a = np.exp(np.random.default_rng(n).uniform(0, 5, lod.coefficient_mesh.t.shape[1]))
    exact = ElementCondenser(lod.space, FineForm(lod.space, diffusion, {"a": a})).bordered(lod.space.all_elements)[0]
    values = Elements.of(lod.space, a).values(lod.space.all_elements)
    found = CellEnergies(n).bordered(values, torch.zeros(len(values), NUMBERS, n * n))
    assert abs(found - exact).max() < 1e-13 * abs(exact).max()


@pytest.mark.parametrize("contrast", [10.0, 1e6])
def test_energies_of_any_weights_are_positive_scale_and_keep_constants(contrast):
    values = torch.from_numpy(drawn_values(8, 192, np.random.default_rng(1), contrast))
    model = SuperElements(network(size=3.0))
    with torch.no_grad():
        H, scaled = energies_of(model.answer(values)), energies_of(model.answer(64.0 * values))
    largest = H.diagonal(dim1=1, dim2=2).amax(dim=1)
    assert (abs(H.sum(dim=2)).amax(dim=1) < 1e-10 * largest).all()
    reduced = complement(8).T @ H @ complement(8)
    assert (torch.linalg.eigvalsh((reduced + reduced.mT) / 2)[:, 0] > 0).all()
    # The network is single precision: log(64 a) - mean differs by its rounding.
    assert (abs(scaled / 64 - H).amax(dim=(1, 2)) < 1e-4 * largest).all()


def test_energies_are_at_least_delta_times_those_of_the_fine_mesh():
    values = torch.from_numpy(drawn_values(8, 64, np.random.default_rng(2), 1e4))
    with torch.no_grad():
        H = energies_of(SuperElements(network(size=5.0)).answer(values))
        fine = energies_of(CellEnergies(8).bordered(values, torch.zeros(64, NUMBERS, 64)))
    # moments may be moved by the network, so boundary values alone are compared: the least over moments
    free = [h[:, :32, :32] - h[:, :32, 32:] @ torch.linalg.solve(h[:, 32:, 32:], h[:, 32:, :32]) for h in (H, fine)]
    gap = free[0] - 0.99e-3 * free[1]
    assert (torch.linalg.eigvalsh(gap)[:, 0] > -1e-10 * free[0].diagonal(dim1=1, dim2=2).amax(dim=1)).all()


@pytest.mark.parametrize("number", range(COUNT))
def test_exact_energies_of_symmetric_images(number):
    space = LOD(MeshQuad().refined(2), refine=4, ell=1).space
    a = field(space)
    H = Elements.of(space, a).exact(space.all_elements)
    cells, places = turned(4, number)
    image = field_of(space, Elements.of(space, a).values(space.all_elements)[:, cells].numpy())
    found = Elements.of(space, image).exact(space.all_elements)
    assert abs(found - H[:, places][:, :, places]).max() < 1e-12 * abs(H).max()


def test_labels_whiten_what_they_were_made_of():
    space = LOD(MeshQuad().refined(2), refine=4, ell=1).space
    a = field(space, 3)
    labels = label_elements(space, a, space.all_elements)
    H = Elements.of(space, a).exact(space.all_elements)
    inverse = torch.linalg.inv(H[:, 16:, 16:])
    free = H[:, :16, :16] - H[:, :16, 16:] @ inverse @ H[:, 16:, :16]
    for R, energies in ((labels.whole, H), (labels.coarse, free)):
        one = R.double() @ energies @ R.double().mT
        assert abs(one - torch.eye(one.shape[1])).max() < 1e-4


def test_distances_are_relative_errors_of_energies():
    space = LOD(MeshQuad().refined(1), refine=4, ell=1).space
    H = Elements.of(space, field(space)).exact(space.all_elements)
    assert np.allclose(distances(1.25 * H, H), np.log(1.25))
    assert np.allclose(distances(H, 1.25 * H), np.log(1.25))
    assert np.isinf(distances(-H, H)).all()


def test_in_the_place_of_a_form_or_of_interiors(model):
    mesh, a = MeshQuad().refined(3), None
    lods = [LOD(mesh, refine=8), LOD(mesh, refine=32, cells=8), LOD(mesh, refine=8, interiors=model)]
    a = field(lods[0].space)
    S = lods[2].assemble(diffusion, a=a)
    for lod in lods[:2]:
        assert abs(lod.assemble(model, a=a) - S).max() < 1e-12 * abs(S).max()
    with pytest.raises(TypeError, match="correctors"):
        lods[1].system(model, a=a).prolong(np.zeros(lods[1].coarse.N))


@pytest.mark.parametrize(("cells", "share"), [(2, 0.5), (8, 0.2)])
def test_close_to_extrapolated_interiors(model, cells, share):
    lod = LOD(MeshQuad().refined(3), refine=8, cells=cells)
    size = 8 * cells
    image = cellwise_field("discs", size, 100.0, np.random.default_rng(5))
    middles = lod.coefficient_mesh.p[:, lod.coefficient_mesh.t].mean(axis=1)
    a = image[tuple(np.floor(middles[::-1] * size).astype(int))]
    u, v, fine = (each.system(form, a=a).solve(load(1.0)) for each, form in (
        (lod, model), (lod.with_interiors(32), diffusion), (lod, diffusion)))  # fmt: skip
    assert np.linalg.norm(u - v) < share * np.linalg.norm(fine - v)


def l_shape():
    return MeshQuad().refined(2).restrict(lambda x: (x[0] < 0.5) | (x[1] < 0.5))


@pytest.mark.parametrize(
    ("mesh", "ell", "dirichlet"),
    [
        (MeshQuad().refined(2), 1, None),
        (MeshQuad().refined(3), 3, lambda x: np.isclose(x[0], 0)),
        (l_shape(), 2, None),
    ],
)
def test_every_verb_with_the_same_file(model, mesh, ell, dirichlet):
    lod = LOD(mesh, refine=8, ell=ell, dirichlet=dirichlet)
    a = field(lod.space, 7)
    learned, near = lod.system(model, a=a), lod.with_interiors(32).system(diffusion, a=a)
    f = load(lambda x: np.sin(40 * x[0]))
    for ask in (
        lambda system: system.solve(f, corrected=True),
        lambda system: system.solve(load(1.0), variant="galerkin"),
        lambda system: system.prolong(system.solve(f, corrected=True), load=f),
    ):
        u, v = ask(learned), ask(near)
        assert np.linalg.norm(u - v) < 0.02 * np.linalg.norm(v)
    done = learned.complete(learned.solve(load(1.0)), load(1.0), tol=1e-8)
    exact = near.complete(near.solve(load(1.0)), load(1.0), tol=1e-8)
    assert np.linalg.norm(done.u - exact.u) < 1e-6 * np.linalg.norm(exact.u)


def test_doubtful_elements_become_exact_one_by_one(model):
    lod = LOD(MeshQuad().refined(2), refine=8, ell=1)
    a = field(lod.space, 9, 1e4)
    truth = Elements.of(lod.space, a)
    doubt = model.doubt(lod, a=a)
    tol = float(np.median(doubt))
    judged = model.judge(lod, a=a, tol=tol)
    assert np.array_equal(judged.exact, doubt > tol) and 0 < judged.fraction < 1
    exact = truth.exact(lod.space.all_elements)
    assert np.array_equal(judged.energies[judged.exact], exact[judged.exact])
    plain = model.judge(lod, a=a, tol=np.inf).energies
    assert np.array_equal(judged.energies[~judged.exact], plain[~judged.exact])
    nothing_learned = SuperElements(model.net, model.card, tol=0.0)
    S = lod.with_interiors(32).assemble(diffusion, a=a)
    assert abs(lod.assemble(nothing_learned, a=a) - S).max() < 1e-11 * abs(S).max()


def double(model):
    """The same weights in double precision, so that differences can tell."""
    net = ElementNetwork(**model.net.config).double()
    net.load_state_dict(model.net.state_dict())
    return SuperElements(net, model.card, checked=0.0)


@pytest.mark.parametrize(("cells", "dirichlet"), [(8, None), (4, lambda x: np.isclose(x[0], 0))])
def test_derivatives_of_local_matrices_and_of_u(model, cells, dirichlet):
    lod = LOD(MeshQuad().refined(2), refine=8, cells=cells, ell=1, dirichlet=dirichlet)
    rng, exact = np.random.default_rng(11), double(model)
    a = torch.from_numpy(np.exp(rng.uniform(0, 2, lod.coefficient_mesh.t.shape[1]))).requires_grad_(True)
    weights, direction = rng.normal(size=lod.local(exact, a=a.detach().numpy()).shape), rng.normal(size=len(a))
    b = lod.load(load(1.0))

    def of_matrices(field):
        return float((lod.local(exact, a=field) * weights).sum())

    def of_solution(field):
        return float((lod.system(exact, a=field).solve(load(1.0)) ** 2).sum())

    local = surrogate_matrices(exact, lod, a)
    for value, difference in (
        ((local * torch.from_numpy(weights)).sum(), of_matrices),
        (coarse_solution(lod, surrogate_matrices(exact, lod, a), b).square().sum(), of_solution),
    ):
        (found,) = torch.autograd.grad(value, a)
        at, step = a.detach().numpy(), 1e-4
        slope = (difference(at + step * direction) - difference(at - step * direction)) / (2 * step)
        assert abs(float(found @ torch.from_numpy(direction)) - slope) < 1e-5 * abs(slope)


def test_an_element_does_not_depend_on_the_others(model):
    lod = LOD(MeshQuad().refined(3), refine=8)
    a = field(lod.space)
    some = np.array([5, 50, 7])
    all_local = lod.local(model, a=a)
    assert abs(lod.local(model, some, a=a) - all_local[some]).max() < 1e-6 * abs(all_local).max()
    matrices, scores = model.with_score(lod, some, a=a)
    assert abs(matrices - all_local[some]).max() < 1e-6 * abs(all_local).max()
    around, factor = lod.patches.cells[some], model.certificate.elements.factor
    said = np.maximum(model.doubt(lod, a=a), beside_corners(Elements.of(lod.space, a)))
    assert np.allclose(scores, factor * np.where(around >= 0, said[around], 0).max(axis=1), rtol=1e-3)


def test_a_bad_network_is_noticed_by_the_elements_that_are_checked():
    lod = LOD(MeshQuad().refined(2), refine=8, ell=1)
    a = field(lod.space)
    with pytest.warns(UserWarning, match="checked are off by more than"):
        lod.assemble(SuperElements(network()), a=a)
    broken = network()
    with torch.no_grad():
        broken.last.fill_(torch.nan)
    S = lod.with_interiors(32).assemble(diffusion, a=a)  # what is not finite is computed exactly
    assert abs(lod.assemble(SuperElements(broken), a=a) - S).max() < 1e-11 * abs(S).max()


def test_a_coefficient_that_no_mesh_at_hand_resolves_is_warned_of_and_rightly(model):
    lod = LOD(MeshQuad().refined(2), refine=8, ell=1)
    a = checkerboard(lod.coefficient_mesh, 32, 1.0, 50.0)
    fine, exact = Elements.of(lod.space, a).converging(np.arange(16))
    gap = unresolved(fine, exact)
    with pytest.warns(UserWarning, match=f"cells an element resolve, got .* {100 * gap:.2g} % from what they converge"):
        lod.assemble(model, a=a)
    coarse = CoarseSolutions(lod)
    two = [LOD(MeshQuad().refined(2), refine=n, cells=8, ell=1).local(diffusion, a=a) for n in (32, 64)]
    assert gap > 0.03 and coarse.errors(*map(coarse.solutions, two)).max() > gap
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lod.assemble(model, a=field(lod.space, contrast=3.0))
        lod.assemble(SuperElements(model.net, model.card, checked=0.0), a=a)


def test_hard_elements_that_touch_at_corners_are_warned_of_and_rightly(model):
    mesh = MeshQuad().refined(3)
    lod, reference = LOD(mesh, refine=8, ell=1), LOD(mesh, refine=32, cells=8, ell=1)
    a = checkerboard(lod.coefficient_mesh, 8, 1.0, 100.0)
    with pytest.warns(UserWarning, match="got 49 corners on the sides of elements where two touch"):
        local = lod.local(model, a=a)
    coarse = CoarseSolutions(lod)
    assert coarse.errors(*(coarse.solutions(each) for each in (local, reference.local(diffusion, a=a)))).max() > 0.05


def test_corners_at_which_hard_cells_touch():
    def count(mesh, squares, contrast):
        space = LOD(mesh, refine=4).space
        both = checkerboard(space.coefficient_mesh, squares, 1.0, contrast)
        found, turned = (touching(Elements.of(space, a)) for a in (both, 1 / both))
        assert found == turned
        return found

    mesh, rng = MeshQuad().refined(3), np.random.default_rng(2)
    shuffled = MeshQuad(mesh.p, mesh.t[:, rng.permutation(64)])
    for each in (mesh, shuffled):
        assert [count(each, k, 11.0) for k in (8, 4, 2)] == [49, 9, 1] and count(each, 8, 9.0) == 0
        # Corners between cells: 31 x 31 in all, of which 24 x 24 lie inside elements.
        assert count(each, 32, 11.0) == 31**2 - 24**2
    # Five corners of an L have four cells around; two hard cells side by side, or one alone, are none.
    assert count(l_shape(), 4, 11.0) == 5
    space = LOD(mesh, refine=4).space
    x, y = space.coefficient_mesh.p[:, space.coefficient_mesh.t].mean(axis=1)
    for inside in (x < 0.5, (x < 0.5) & (y < 0.5)):
        assert touching(Elements.of(space, np.where(inside, 100.0, 1.0))) == 0


def test_elements_beside_corners_are_doubted():
    space = LOD(MeshQuad().refined(2), refine=4).space
    x, y = space.coefficient_mesh.p[:, space.coefficient_mesh.t].mean(axis=1)
    hard = ((x < 0.5) & (y < 0.25)) | ((x > 0.5) & (y > 0.25) & (y < 0.5))  # they touch at (.5, .25)
    truth = Elements.of(space, np.where(hard, 20.0, 1.0))
    centre = space.grid.mesh.p[:, space.grid.mesh.t].mean(axis=1)
    beside = abs(centre - np.array([[0.5], [0.25]])).max(axis=0) < 0.2
    assert beside.sum() == 4 and touching(truth) == 1
    assert np.allclose(beside_corners(truth), np.where(beside, CORNER * np.log(20.0), 0.0))


def test_how_far_energies_are_from_what_they_converge_to():
    lod = LOD(MeshQuad().refined(1), refine=4, ell=1)
    exact = Elements.of(lod.space, field(lod.space)).exact(np.arange(4))
    assert unresolved(exact, exact) == 0
    assert np.isclose(unresolved(1.07 * exact, exact), np.log(1.07), rtol=1e-9)
    signs = torch.tensor([1, -1, 1, -1], dtype=torch.float64)  # errors of two signs do not add up
    assert unresolved(1.1 ** signs[:, None, None] * exact, exact) < 1e-9


def test_elements_that_are_checked_lie_all_over_whatever_their_numbers():
    mesh, rng = MeshQuad().refined(4), np.random.default_rng(3)
    shuffled = MeshQuad(mesh.p, mesh.t[:, rng.permutation(256)])
    found = []
    for each in (mesh, shuffled):
        space = LOD(each, refine=8).space
        some = spread(space, 16)
        assert len(set(some)) == 16 and set(spread(space, 999)) == set(range(256))
        found.append(each.p[:, each.t[:, some]].mean(axis=1))
        assert len({tuple(quarter) for quarter in (found[-1] > 0.5).T}) == 4
    assert np.allclose(*found)


def test_files(model, tmp_path):
    path = tmp_path / "own.safetensors"
    model.save(path)
    for again in (SuperElements.load(path, tol=0.1), Surrogate.load(path)):
        assert isinstance(again, SuperElements) and again.card == model.card
        lod = LOD(MeshQuad().refined(1), refine=8, ell=1)
        assert abs(lod.assemble(again, a=2.0) - lod.assemble(model, a=2.0)).max() < 1e-14
    with pytest.raises(CorruptModelError, match="super-elements"):
        SuperElements.load("diffusion-q1-ell2-n8")


def test_what_it_was_not_made_for_is_refused(model):
    with pytest.raises(ValueError, match="refine = 8"):
        LOD(MeshQuad().refined(1), refine=4, interiors=model)
    with pytest.raises(ValueError, match="interpolation"):
        LOD(MeshQuad().refined(1), refine=8, interiors=model, interpolation="clement")
    stretched = MeshQuad.init_tensor(np.linspace(0, 1, 3), np.linspace(0, 1, 5))
    with pytest.raises(ValueError, match="equal squares"):
        LOD(stretched, refine=8, interiors=model).assemble(diffusion, a=1.0)

    @BilinearForm
    def reaction(u, v, w):
        return w["a"] * dot(grad(u), grad(v)) + u * v

    with pytest.raises(ValueError, match="diffusion with one scalar"):
        LOD(MeshQuad().refined(1), refine=8, interiors=model).assemble(reaction, a=1.0)
    with pytest.raises(ValueError, match="tol"):
        SuperElements(network(), tol=-1.0)
    with pytest.raises(ValueError, match="checked"):
        SuperElements(network(), checked=2.0)


def test_training_lowers_the_error_and_goes_on_where_it_was(tmp_path):
    space = LOD(MeshQuad().refined(3), refine=4, ell=1).space
    labels = label_elements(space, field(space, 4), space.all_elements)
    net = network(n=4)
    before = gaps(SuperElements(net).answer(labels.values), labels)[0].square().sum(dim=(1, 2)).sqrt().mean()
    fit_elements(net, labels, labels, steps=60, every=20)
    after = gaps(SuperElements(net).answer(labels.values), labels)[0].square().sum(dim=(1, 2)).sqrt().mean()
    assert after < 0.5 * before
    whole, parts = network(n=4), [network(n=4), network(n=4)]
    fit_elements(whole, labels, labels, steps=20, every=5)

    def stop(done, total, text):
        if done == 10:
            raise KeyboardInterrupt

    path = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit_elements(parts[0], labels, labels, steps=20, every=5, checkpoint=path, progress=stop)
    fit_elements(parts[1], labels, labels, steps=20, every=5, checkpoint=path)
    for one, other in zip(whole.parameters(), parts[1].parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("family", CELLWISE)
def test_families_at_the_scale_of_cells(family):
    a, b = (cellwise_field(family, 32, 50.0, np.random.default_rng(seed)) for seed in (0, 0))
    assert np.array_equal(a, b) and a.shape == (32, 32) and (a > 0).all() and a.max() / a.min() < 50 * (1 + 1e-9)
    assert (
        len({round(float(cellwise_field(family, 32, 50.0, np.random.default_rng(s)).mean()), 9) for s in range(4)}) > 1
    )


def test_families_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="discs"):
        cellwise_field("rings", 32, 2.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="contrast"):
        cellwise_field("discs", 32, 0.5, np.random.default_rng(0))


@pytest.mark.parametrize("axis", [0, 1])
def test_layers_are_exact_and_every_pattern_is_solved_once(model, axis, monkeypatch):
    lod = LOD(MeshQuad().refined(2), refine=8, ell=1)
    rng = np.random.default_rng(4)
    stripes = np.exp(rng.uniform(0, 5, (4, 8)))
    image = np.broadcast_to(stripes.reshape(-1, 1), (32, 32)) if axis == 0 else np.tile(stripes.reshape(-1), (32, 1))
    a = field_of(lod.space, on_elements(np.array(image), 8))
    exact, solved, plain = Elements.of(lod.space, a).exact(lod.space.all_elements), [], Elements.exact
    unit_energies(8)
    monkeypatch.setattr(Elements, "exact", lambda self, some: (solved.extend(some), plain(self, some))[1])
    judged = SuperElements(model.net, model.card, checked=0).judge(lod, a=a, tol=np.inf)
    assert (judged.energies - exact).abs().max() < 1e-12 * exact.abs().max()
    assert (judged.doubt == FLOOR).all() and judged.known.all()
    assert len(solved) == 4
    again = SuperElements(model.net, model.card, checked=0, tol=0.0).judge(lod, a=a)
    assert not again.exact.any() and len(solved) == 8  # known as exactly as that: nothing is replaced
    rough = model.without_exact().judge(lod, a=a, tol=np.inf)
    assert 1e-9 < distances(rough.energies, exact).max() < 0.2
