"""Networks of local matrices: size, invariances by construction, what they see, and the symmetries of exact ones."""

import numpy as np
import pytest
import torch
from skfem import MeshQuad

from skfem_ml.lod import LOD, FieldNetwork
from skfem_ml.lod.surrogate import coverage, fit_doubt
from skfem_ml.lod.surrogate.certificate import relative_errors
from skfem_ml.lod.surrogate.inputs import blocks, place_of
from skfem_ml.lod.surrogate.networks import LocalNetwork, PatchMLP, fit_affine
from skfem_ml.lod.surrogate.networks.equivariant import Average, Lift, channels, grid_actions, joined, products, times
from skfem_ml.lod.surrogate.networks.local_network import conserve
from skfem_ml.lod.surrogate.networks.place import Sample
from skfem_ml.lod.surrogate.networks.symmetries import COUNT, images, move, move_matrices, permutation
from tests.gallery import diffusion, l_shaped, random_field

RNG = np.random.default_rng(0)


def generator():
    return torch.Generator().manual_seed(0)


def noisy(net):
    """The network with every weight drawn, so that nothing is zero by initialisation."""
    g = generator()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=g))
    return net


def small(m=4, ell=1, **options):
    return noisy(FieldNetwork(m, ell, encoding=3, outer=1, width=2, generator=generator(), **options))


@pytest.fixture(scope="module")
def lod():
    return LOD(MeshQuad().refined(2).with_defaults(), refine=4, ell=1, dirichlet=["left", "top"])


@pytest.fixture(scope="module")
def a(lod):
    return random_field(lod.coefficient_mesh, RNG)


def evaluate(net, lod, a, elements=None):
    chosen = lod.space.all_elements if elements is None else elements
    with torch.no_grad():
        return net(blocks(lod, a[None]), place_of(lod, chosen))[0]


def test_the_papers_network_has_its_size():
    net = PatchMLP(generator=generator())
    widths = [net.layers[0].in_features] + [layer.out_features for layer in net.layers]
    assert widths == [1600, 1600, 800, 800, 400, 400, 144, 144, 144]
    assert sum(p.numel() for p in net.parameters()) == 5_063_504
    bound = (6 / 3200) ** 0.5
    assert 0.999 * bound < net.layers[0].weight.abs().max() <= bound
    assert all((layer.bias == 0).all() for layer in net.layers)


def test_the_papers_network_reads_patches_and_stacks_columns(lod, a):
    net = PatchMLP(4, 1, (20,), generator=generator())
    x = torch.relu(torch.tensor(lod.gather(a), dtype=torch.float32) @ net.layers[0].weight.T)
    columns = (x @ net.layers[1].weight.T).detach().numpy().reshape(-1, 4, 16)
    wanted = columns.transpose(0, 2, 1) * (lod.patches.nodes >= 0)[:, :, None]
    assert np.allclose(evaluate(net, lod, a).numpy(), wanted, atol=1e-5)


def test_untrained_it_is_coarse_fem_with_the_geometric_mean(lod, a):
    net = FieldNetwork(4, 1, generator=generator())
    values = a[lod.space.coefficient_refinement.cells]
    between = np.sqrt(values.mean(axis=1) / (1 / values).mean(axis=1))
    wide = FieldNetwork(4, 1, wide=True, generator=generator())
    for chosen, means in ((net, np.exp(np.log(values).mean(axis=1))), (wide, between)):
        wanted = diffusion.assemble(lod.coarse, a=means[:, None])
        got = lod.sum(evaluate(chosen, lod, a).numpy()).tocsr()
        assert abs(wanted - got).max() < 1e-12 * abs(wanted).max()


def test_the_scale_of_the_wide_network_lies_between_two_means(lod, a):
    net, place = small(wide=True), place_of(lod, lod.space.all_elements)
    values = torch.tensor(a)[torch.tensor(lod.space.coefficient_refinement.cells)]
    with torch.no_grad():
        scale = net.look(blocks(lod, a[None]), place).scale[0]
    low, high = 1 / values.reciprocal().mean(dim=1), values.mean(dim=1)
    assert ((low < scale) & (scale < high)).all() and (scale / (low * high).sqrt()).std() > 1e-3


@pytest.mark.parametrize("wide", [False, True])
def test_scale_equivariance_is_built_in(wide, lod, a):
    net = small(wide=wide)
    once = evaluate(net, lod, a)
    for c in (1e-3, 7.0, 1e30):
        assert abs(evaluate(net, lod, c * a) / c - once).max() < 1e-5 * abs(once).max()


@pytest.mark.parametrize("mesh", [MeshQuad().refined(2).with_defaults(), l_shaped()], ids=["square", "L"])
def test_constants_are_conserved_and_rows_outside_are_zero(mesh):
    lod = LOD(mesh, refine=4, ell=1)
    a = random_field(lod.coefficient_mesh, RNG)
    local = evaluate(small(), lod, a)
    exact = torch.tensor(lod.local(diffusion, a=a))
    for matrices in (local, exact):
        size = abs(matrices).amax()
        assert abs(matrices.sum(dim=1)).max() < 1e-12 * size and abs(matrices.sum(dim=2)).max() < 1e-12 * size
        assert (matrices[torch.tensor(lod.patches.nodes < 0)] == 0).all()
    # What is exact already stays as it is, and a projection is one.
    nodes = torch.tensor(lod.patches.nodes >= 0)
    assert abs(conserve(exact, nodes) - exact).max() < 1e-12 * abs(exact).max()
    assert abs(conserve(local, nodes) - local).max() < 1e-12 * abs(local).max()


def test_nothing_is_seen_beyond_the_patch_and_everything_within():
    lod = LOD(MeshQuad.init_tensor(np.arange(7.0), np.arange(7.0)), refine=4, ell=1)
    a = random_field(lod.coefficient_mesh, RNG)
    field = blocks(lod, a[None]).requires_grad_()
    middle = int(np.flatnonzero((lod.space.grid.cells.T == [3, 3]).all(axis=1))[0])
    torch.manual_seed(0)
    for net in (small(), noisy(PatchMLP(4, 1, (30,), generator=generator()))):
        out = net(field, place_of(lod, np.array([middle])))
        (gradient,) = torch.autograd.grad((out * torch.randn(out.shape)).sum(), field)
        seen = np.flatnonzero((gradient[0] != 0).any(dim=1).numpy())
        assert set(seen) == set(lod.patches.cells[middle])
        assert (gradient[0, seen] != 0).double().mean() > 0.9


def test_gamma_d_is_an_input(lod, a):
    everywhere = LOD(lod.coarse, refine=4, ell=1)
    middle = np.array([0])
    assert lod.gather_dirichlet()[0].sum() != everywhere.gather_dirichlet()[0].sum()
    assert not torch.equal(evaluate(small(), lod, a, middle), evaluate(small(), everywhere, a, middle))


def test_exact_matrices_have_the_eight_symmetries():
    """The field turned as a whole, exact matrices computed anew: the same as the matrices turned."""
    lod = LOD(MeshQuad.init_tensor(np.arange(4.0), np.arange(4.0)), refine=4, ell=1)
    a = random_field(lod.coefficient_mesh, RNG)
    exact = torch.tensor(lod.local(diffusion, a=a))
    field, place = blocks(lod, a[None]), place_of(lod, lod.space.all_elements)
    middle = int(np.flatnonzero((lod.space.grid.cells.T == [1, 1]).all(axis=1))[0])
    for g in range(COUNT):
        moved, where, _ = move(g, field, place)
        # Around the middle the patch is the whole domain: lay the moved patch out as a field.
        turned = np.empty_like(a)
        cells = lod.space.coefficient_refinement.cells[place.cells[middle].numpy()]
        turned[cells] = moved[0][where.cells[middle]].numpy()
        wanted = lod.local(diffusion, np.array([middle]), a=turned)[0]
        got = move_matrices(g, exact[middle]).numpy()
        assert abs(got - wanted).max() < 1e-11 * abs(wanted).max()
        assert torch.equal(move_matrices(g, move_matrices(g, exact), back=True), exact)


@pytest.mark.parametrize("mesh", [MeshQuad().refined(2).with_defaults(), l_shaped()], ids=["square", "L"])
@pytest.mark.parametrize("m, ell, wide", [(1, 1, True), (2, 2, False), (3, 1, True), (6, 2, False), (16, 1, False)])
def test_the_eight_symmetries_are_built_in(mesh, m, ell, wide):
    """For the field turned as a whole: the same as the matrices turned."""
    lod = LOD(mesh, refine=m, ell=ell)
    net, a = small(m, ell, wide=wide).double(), random_field(lod.coefficient_mesh, RNG)
    with torch.no_grad():
        out = images(net, blocks(lod, a[None]), place_of(lod, lod.space.all_elements))
    assert abs(out - out[0]).max() < 1e-10 * abs(out[0]).max()
    assert abs(move_matrices(3, out[0]) - out[0]).max() > 1e-3 * abs(out[0]).max()


def test_the_mean_of_the_images_of_the_papers_network_is_equivariant(lod, a):
    net = noisy(PatchMLP(4, 1, (30,), generator=generator()))
    field, place = blocks(lod, a[None]), place_of(lod, lod.space.all_elements)
    with torch.no_grad():
        mean = images(net, field, place).mean(dim=0)
        for g in range(COUNT):
            turned = images(net, *move(g, field, place)).mean(dim=0)
            assert abs(turned - move_matrices(g, mean)).max() < 1e-5 * abs(mean).max()
        assert abs(net(*move(3, field, place)) - move_matrices(3, net(field, place))).max() > 1e-3 * abs(mean).max()


def test_group_products_and_layers():
    r = products()
    grids = torch.stack([permutation(g, 3) for g in range(COUNT)])
    for g in range(COUNT):
        for h in range(COUNT):
            assert torch.equal(grids[r[g, h]][grids[g]], grids[h])
    layer = Lift(joined(grid_actions(3), times(grid_actions(2), channels(2))), 3)
    last = Average(channels(3), times(grid_actions(2), grid_actions(2)))
    for p in (*layer.parameters(), *last.parameters()):
        torch.nn.init.normal_(p, generator=generator())
    x = torch.randn(5, 9 + 64, generator=generator())
    for g in range(COUNT):
        hidden = layer(x)
        assert torch.allclose(layer(x[:, layer.actions[g]]), hidden[:, channels(3)[g]], atol=1e-5)
        assert torch.allclose(last(hidden[:, last.actions[g]]), last(hidden)[:, last.rows[g]], atol=1e-5)


def test_the_affine_part_by_ridge_finds_an_affine_map():
    """Matrices that are an affine map of the inputs are found again, and a ridge on exact ones beats the start."""
    lod = LOD(MeshQuad.init_tensor(np.arange(7.0), np.arange(7.0)), refine=2, ell=1)
    interior = np.flatnonzero((lod.patches.cells >= 0).all(axis=1))
    place, known = place_of(lod, interior), FieldNetwork(2, 1, generator=generator())
    torch.nn.init.normal_(known.affine.weight, std=0.1, generator=generator())
    fields = [random_field(lod.coefficient_mesh, RNG) for _ in range(20)]
    inputs = [blocks(lod, a[None])[0] for a in fields]
    with torch.no_grad():
        made = [known(a[None], place)[0] for a in inputs]
        exact = [torch.tensor(lod.local(diffusion, interior, a=a)) for a in fields]
        for matrices, tolerance in ((made, 1e-3), (exact, 0.8)):
            net, errors = FieldNetwork(2, 1, generator=generator()), []
            samples = [Sample(a, local, place) for a, local in zip(inputs, matrices, strict=True)]
            for _ in range(2):
                errors.append(sum(float((net(a[None], place)[0] - local).norm()) for a, local, *_ in samples))
                fit_affine(net, samples, penalty=1e-9)
            assert errors[1] < tolerance * errors[0]
    with pytest.raises(ValueError, match="samples: expected at least one"):
        fit_affine(net, [])


def test_the_last_layers_by_ridge_are_better_than_the_affine_part_alone():
    lod = LOD(MeshQuad.init_tensor(np.arange(7.0), np.arange(7.0)), refine=2, ell=1)
    place = place_of(lod, lod.space.all_elements)
    fields = [random_field(lod.coefficient_mesh, RNG) for _ in range(20)]
    samples = [Sample(blocks(lod, a[None])[0], torch.tensor(lod.local(diffusion, a=a)), place) for a in fields]
    errors = []
    for head in (False, True):
        net = FieldNetwork(2, 1, generator=generator())
        fit_affine(net, samples, penalty=1e-6, head=head)
        with torch.no_grad():
            errors.append(sum(float((net(a[None], place)[0] - local).norm()) for a, local, *_ in samples))
            out = images(net, samples[0][0][None], place)
        assert abs(out - out[0]).max() < 1e-4 * abs(out[0]).max()
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("sizes", [{"m": 0}, {"m": 4, "width": 10**9}, {"m": 4, "depth": True}])
def test_sizes_out_of_range(sizes):
    with pytest.raises(ValueError, match="expected a"):
        FieldNetwork(**sizes, generator=None)


def test_doubt_covers_the_quantile_and_ranks_errors(lod):
    """On other fields of the same kind: about nine of ten errors lie below what is expected, and it ranks them."""
    rng, net = np.random.default_rng(1), FieldNetwork(4, 1, encoding=3, outer=1, width=2, generator=generator())
    place = place_of(lod, lod.space.all_elements)
    fields = [np.exp(s * rng.normal(size=lod.coefficient_mesh.nelements)) for s in rng.uniform(0, 2, 60)]
    samples = [Sample(blocks(lod, a[None])[0], torch.tensor(lod.local(diffusion, a=a)), place) for a in fields]
    told = fit_doubt(net, samples[:40], steps=300)
    assert 0.85 < told["covered"] < 0.95 and told["quantile"] == 0.9
    expected, true = [], []
    for a, local, *_ in samples[40:]:
        with torch.no_grad():
            view = net.look(a[None], place)
            expected.append(net.error(net.invariants(view))[0])
            true.append(relative_errors(net.matrices(view, place), local[None])[0])
    expected, true = torch.cat(expected), torch.cat(true)
    assert 0.75 < (true <= expected).double().mean() < 1
    assert coverage(net, samples[40:]) == pytest.approx(float((true <= expected).double().mean()))
    ranks = [x.argsort().argsort().double() for x in (expected, true)]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.5
    with pytest.raises(ValueError, match="quantile: expected a number between 0 and 1"):
        fit_doubt(net, samples, quantile=1.5)
    with pytest.raises(ValueError, match="samples: expected at least one"):
        fit_doubt(net, [])


def test_networks_are_of_one_kind():
    """What derives from the contract without its parts is refused by Python itself."""
    assert issubclass(FieldNetwork, LocalNetwork) and issubclass(PatchMLP, LocalNetwork)

    class Half(LocalNetwork):
        def extent(self, a, place):
            return a

    with pytest.raises(TypeError, match="forward"):
        Half()
    with pytest.raises(ValueError, match="base: expected none"):
        PatchMLP(4, 1, (3,), generator=generator())(torch.ones(1, 1, 16), None, torch.ones(1))
