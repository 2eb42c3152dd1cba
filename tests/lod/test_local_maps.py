"""Local maps: every one of them against every property that local matrices have."""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
import torch
from skfem import MeshQuad

from skfem_ml.lod import Extrapolated, FieldNetwork, GeometricMean, Hybrid, Known, LocalMap, PatchMLP, Surrogate
from skfem_ml.lod.mesh.forms import check_coefficients
from skfem_ml.lod.surrogate import Setting
from tests.gallery import diffusion, moved, random_field, relative, small_lod


@dataclass
class Case:
    """A local map for an LOD and a coefficient, its rounding error, and which properties it has not."""

    make: object
    rounding: float = 1e-11
    lacks: frozenset = field(default_factory=frozenset)


def field_network(lod):
    g = torch.Generator().manual_seed(0)
    net = FieldNetwork(4, 1, encoding=3, outer=1, width=2, generator=g)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=g))
    return net


def patch_network(lod):
    return PatchMLP(4, 1, (9,), generator=torch.Generator().manual_seed(0))


CASES = {
    "exact": Case(lambda lod, a: diffusion),
    "known": Case(lambda lod, a: Known(lod.local(diffusion, a=a)), lacks=frozenset({"coefficient"})),
    "geometric mean": Case(lambda lod, a: GeometricMean(), lacks=frozenset({"pattern"})),
    "extrapolated": Case(lambda lod, a: Extrapolated(diffusion, (4, 8))),
    "hybrid, extrapolated": Case(lambda lod, a: Hybrid(Extrapolated(diffusion, (4, 8)), diffusion, element_tol=0.2)),
    "field network": Case(lambda lod, a: Surrogate(field_network(lod), Setting.of(lod)), 1e-5),
    "patch network": Case(
        lambda lod, a: Surrogate(patch_network(lod), Setting.of(lod)), 1e-5, lacks=frozenset({"symmetry", "constants"})
    ),
    "patch network, averaged": Case(
        lambda lod, a: Surrogate(patch_network(lod), Setting.of(lod), symmetric=True),
        1e-5,
        lacks=frozenset({"constants"}),
    ),
    "hybrid": Case(
        lambda lod, a: Hybrid(
            Surrogate(field_network(lod), Setting.of(lod)), diffusion, element_tol=0.5, score=_contrast
        ),
        1e-5,
    ),
}


def _contrast(lod, elements, a):
    """A score that goes by place, scale and symmetry as matrices do: the spread of log a on the element."""
    cells = lod.space.coefficient_refinement.cells
    a = check_coefficients({"a": a}, cells.size)["a"]
    return np.log(np.broadcast_to(a, cells.size)[cells[elements]]).std(axis=1)


@cache
def lod():
    return small_lod()


@cache
def coefficient(seed=0):
    return random_field(lod().coefficient_mesh, np.random.default_rng(seed), 8)


def made(name):
    """The local map of that name, its coefficients by keyword, and its rounding."""
    case = CASES[name]
    given = {} if "coefficient" in case.lacks else {"a": coefficient()}
    return case.make(lod(), coefficient()), given, case.rounding


def of(lack):
    return pytest.mark.parametrize("name", [name for name, case in CASES.items() if lack not in case.lacks])


@of("nothing")
def test_shape_and_pattern(name):
    local_map, given, _ = made(name)
    local = lod().local(local_map, **given)
    assert isinstance(local_map, LocalMap) or local_map is diffusion
    assert local.shape == (16, 16, 4) and local.dtype == np.float64
    assert (local[lod().patches.nodes < 0] == 0).all()  # rows outside the domain
    S, exact = lod().assemble(local_map, **given), lod().assemble(diffusion, a=coefficient())
    if "pattern" in CASES[name].lacks:  # a smaller one: nothing off the corners of T
        assert S.nnz < exact.nnz
        return
    assert np.array_equal(S.indptr, exact.indptr) and np.array_equal(S.indices, exact.indices)


@of("constants")
def test_constants_are_kept(name):
    """Columns sum to zero (tested with the constant), and rows do (the constant needs no corrector)."""
    local_map, given, rounding = made(name)
    local = lod().local(local_map, **given)
    assert abs(local.sum(axis=1)).max() < rounding * abs(local).max()
    assert abs(local.sum(axis=2)).max() < rounding * abs(local).max()


@of("nothing")
def test_some_elements_in_any_order_are_some_of_all(name):
    local_map, given, rounding = made(name)
    whole = lod().local(local_map, **given)
    for some in ([7, 2, 11], [5], []):
        assert (
            abs(lod().local(local_map, some, **given) - whole[np.array(some, int)]).max(initial=0)
            < rounding * abs(whole).max()
        )
    assert lod().local(local_map, [], **given).shape == (0, 16, 4)


@of("coefficient")
def test_scaling(name):
    """S(c a) = c S(a)."""
    local_map, given, rounding = made(name)
    assert relative(lod().local(local_map, a=1000 * given["a"]), 1000 * lod().local(local_map, **given)) < rounding


@of("coefficient")
def test_locality(name):
    """A coefficient changed in one coarse element changes the matrices whose patch holds it, and no other."""
    local_map, given, rounding = made(name)
    other = given["a"].copy()
    other[lod().space.coefficient_refinement.cells[0]] *= 5
    gap = abs(lod().local(local_map, a=other) - lod().local(local_map, **given)).max(axis=(1, 2))
    near = (lod().patches.cells == 0).any(axis=1)
    assert gap[~near].max() < rounding * abs(lod().local(local_map, **given)).max() and gap[0] > 0.1


@of("coefficient")
def test_a_number_is_a_constant_field(name):
    local_map, given, rounding = made(name)
    constant = np.full_like(given["a"], 2.0)
    assert relative(lod().local(local_map, a=2.0), lod().local(local_map, a=constant)) < rounding


@of("coefficient")
@pytest.mark.parametrize("mesh_size", [0.01, 300.0])
def test_the_size_of_the_mesh_does_not_matter(name, mesh_size):
    """In two dimensions S(a) is the same on a scaled domain."""
    local_map, given, rounding = made(name)
    mesh = lod().coarse.mesh
    scaled = small_lod(coarse=MeshQuad(mesh_size * mesh.p, mesh.t))
    assert relative(scaled.local(local_map, **given), lod().local(local_map, **given)) < rounding


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "coefficient" not in case.lacks])
def test_symmetries_of_the_square(name, number):
    """The field moved by a symmetry gives the matrix with its nodes moved; a network without it does not."""
    local_map, given, rounding = made(name)
    cells, nodes = moved(lod(), number)
    there = lod().assemble(local_map, a=given["a"][cells]).toarray()
    here = lod().assemble(local_map, **given).toarray()[np.ix_(nodes, nodes)]
    if "symmetry" in CASES[name].lacks and number:
        assert relative(there, here) > 1e-4
    else:
        assert relative(there, here) < 2 * rounding


@of("coefficient")
@pytest.mark.parametrize("bad", ["negative", "short", "nan"])
def test_bad_coefficients_are_refused(name, bad):
    local_map, given, _ = made(name)
    a = {"negative": -given["a"], "short": given["a"][:-1], "nan": np.where(given["a"] > 3, np.nan, given["a"])}[bad]
    with pytest.raises(ValueError, match=r"a: "):
        lod().assemble(local_map, a=a)


@of("coefficient")
def test_a_system_of_a_map_updates_as_one_of_a_form(name):
    local_map, given, rounding = made(name)
    other = given["a"].copy()
    other[lod().space.coefficient_refinement.cells[9]] *= 3
    system = lod().system(local_map, **given)
    system.matrix()
    wanted = lod().assemble(local_map, a=other)
    assert relative(system.update(a=other).matrix().toarray(), wanted.toarray()) < rounding


def test_a_map_must_give_matrices_of_this_lod():
    class Short:
        def local(self, lod, elements, **coefficients):
            return np.zeros((len(elements), 3, 4))

    with pytest.raises(ValueError, match=r"local: expected local matrices \(16, 16, 4\), .* got \(16, 3, 4\)"):
        lod().assemble(Short())
    with pytest.raises(ValueError, match=r"expected local matrices \(16, 16, 4\), .* got \(3, 16, 4\)"):
        lod().assemble(Known(np.zeros((3, 16, 4))))
    with pytest.raises(TypeError, match=r"Known: expected no coefficients .* got \['a'\]"):
        lod().assemble(Known(np.zeros((16, 16, 4))), a=1.0)
    with pytest.raises(TypeError, match=r"GeometricMean: expected the coefficient a alone, got \['c'\]"):
        lod().assemble(GeometricMean(), c=1.0)
    with pytest.raises(ValueError, match="expected local matrices"):
        lod().sum(np.zeros((16, 4, 4)))


def test_the_geometric_mean_is_that_of_finite_elements():
    """On lines, graded quads and cubes, with shuffled corners: the host's own matrix with the means of log a."""
    from tests.gallery import KINDS_OF_MESH, shuffled

    for mesh in KINDS_OF_MESH:
        mesh = shuffled(mesh(), np.random.default_rng(0))[0]
        one = small_lod(coarse=mesh, refine=2)
        a = random_field(one.coefficient_mesh, np.random.default_rng(1))
        means = np.exp(np.log(a[one.space.coefficient_refinement.cells]).mean(axis=1))
        wanted = diffusion.assemble(one.coarse, a=means[:, None])
        assert abs(one.assemble(GeometricMean(), a=a) - wanted).max() < 1e-13 * abs(wanted).max()
