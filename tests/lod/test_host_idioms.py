"""What scikit-fem's users write: it works on an LOD, or is refused with what to write instead."""

import numpy as np
import pytest
from skfem import Basis, BilinearForm, ElementQuad0, ElementQuad1, LinearForm, MeshHex, MeshLine, MeshQuad, asm
from skfem.helpers import dd, ddot, dot, grad

from skfem_ml.lod import LOD
from tests.gallery import diffusion, graded, random_field, reaction_diffusion, relative, small_lod, unit_load


@LinearForm
def weighted_load(v, w):
    return w.f * v


@pytest.fixture(scope="module")
def lod():
    return small_lod(cells=2)


@pytest.fixture(scope="module")
def a(lod):
    return random_field(lod.coefficient_mesh, np.random.default_rng(0), 20)


def test_coefficients_as_the_host_has_them(lod, a):
    """Group C: ``a[:, None]``, a piecewise constant field, and tensors with a trailing axis."""
    S, constant = lod.assemble(diffusion, a=a), Basis(lod.coefficient_mesh, ElementQuad0())
    for form in (diffusion, BilinearForm(lambda u, v, w: w.kappa * dot(grad(u), grad(v)))):
        name = "a" if form is diffusion else "kappa"
        for given in (a[:, None], constant.interpolate(a), list(a)):
            assert abs(lod.assemble(form, **{name: given}) - S).max() < 1e-14 * abs(S).max()
    tensors = np.einsum("ij,n->ijn", np.eye(2), a)
    by_tensor = BilinearForm(lambda u, v, w: np.einsum("ij...,j...,i...->...", w.a, u.grad, v.grad))
    for given in (tensors, tensors[..., None]):
        assert relative(lod.assemble(by_tensor, a=given).toarray(), S.toarray()) < 1e-12
    linear = Basis(lod.coefficient_mesh, ElementQuad1())
    for name in ("a", "c"):
        with pytest.raises(ValueError, match=rf"{name}: .*varies within cells.*"):
            lod.assemble(reaction_diffusion, **{"a": a, "c": a, name: linear.interpolate(linear.doflocs[0])})


@pytest.mark.parametrize("name", ["a", "c"])
def test_a_function_is_no_coefficient(lod, a, name):
    """Group C: a callable coefficient is refused, with how to sample it."""
    with pytest.raises(TypeError, match=rf"{name}: .*got a function; .*lod.coefficient_mesh.*midpoints"):
        lod.assemble(reaction_diffusion, **{"a": a, "c": 1.0, name: lambda x: 1 + x[0]})
    x = lod.coefficient_mesh.p[:, lod.coefficient_mesh.t].mean(axis=1)
    assert np.isfinite(lod.assemble(diffusion, a=1 + x[0]).data).all()


@pytest.mark.parametrize("value", ["1", 1j, None, {"a": 1}])
def test_what_is_no_number(lod, value):
    with pytest.raises(TypeError, match="a: expected real numbers"):
        lod.assemble(diffusion, a=value)


@pytest.mark.parametrize(
    "choice",
    [
        {"left", "right"},
        frozenset({"right", "left"}),
        lambda x: (x[0] == 0) | (x[0] == 1),
        ("left", "right"),
    ],
    ids=["set", "frozenset", "function", "tuple"],
)
def test_dirichlet_by_sets_and_functions(choice, a):
    """Group C: sets of names, and functions as ``mesh.with_boundaries`` takes them."""
    wanted = small_lod(cells=2, dirichlet=["left", "right"])
    lod = small_lod(cells=2, dirichlet=choice)
    assert np.array_equal(lod.dirichlet_dofs, np.sort(lod.coarse.get_dofs(["left", "right"]).flatten()))
    assert abs(lod.assemble(diffusion, a=a) - wanted.assemble(diffusion, a=a)).max() == 0


def test_dirichlet_that_holds_nowhere_is_refused():
    """Group C: a function that marks no facet would leave the problem without a boundary condition."""
    with pytest.raises(ValueError, match="dirichlet: expected a function that holds on some boundary facets"):
        small_lod(dirichlet=lambda x: x[0] == 7)
    with pytest.raises(ValueError, match=r"expected names among .*got \['nowhere'\]"):
        small_lod(dirichlet={"left", "nowhere"})


def test_part_of_another_lod_keeps_its_facets():
    """A strip one cell wide, fixed left and right: its other sides have fixed nodes only, and stay free."""
    mesh = MeshQuad.init_tensor(np.linspace(0, 1, 2), np.linspace(0, 3, 4)).with_defaults()
    lod = LOD(mesh, refine=2, ell=1, dirichlet=["left", "right"])
    assert np.array_equal(lod.with_fine(4).space.dirichlet.sides, lod.space.dirichlet.sides)
    assert lod.space.dirichlet.sides.sum() == 6


@pytest.mark.parametrize("mesh", [graded(), MeshHex().refined(1), MeshLine().refined(2)], ids=["quad", "hex", "line"])
def test_subdomains_are_carried(mesh):
    """Group C: named subdomains lie on the coefficient mesh and on the fine one, as ``mesh.refined()`` keeps them."""
    middle = lambda m: m.p[:, m.t].mean(axis=1)
    limit = np.median(mesh.p[0])
    mesh = mesh.with_subdomains({"west": lambda x: x[0] < limit, "none": lambda x: x[0] > 99})
    lod = LOD(mesh, refine=4, cells=2, ell=1)
    for finer in (lod.coefficient_mesh, lod.fine.mesh):
        assert set(finer.subdomains) == {"west", "none"} and len(finer.subdomains["none"]) == 0
        assert np.array_equal(finer.subdomains["west"], np.flatnonzero(middle(finer)[0] < limit))


def test_loads_with_fields(lod, a):
    """Group C: fields of a load are cellwise on the coefficient mesh or nodal on the fine one."""
    cellwise = lod.load(weighted_load, f=a)
    P, fine = lod.prolongation, lod.fine
    on_fine = a[lod.space.coefficient_cell]
    assert relative(cellwise, P.T @ weighted_load.assemble(fine, f=on_fine[:, None])) < 1e-13
    nodal = np.cos(3 * fine.doflocs[0])
    assert relative(lod.load(weighted_load, f=nodal), P.T @ weighted_load.assemble(fine, f=nodal)) < 1e-13
    assert relative(lod.load(weighted_load, f=2.0), 2 * lod.load(unit_load)) < 1e-14
    system = lod.system(diffusion, a=a)
    assert (
        relative(system.load(weighted_load, f=2.0, corrected=True), 2 * system.load(unit_load, corrected=True)) < 1e-12
    )
    u = system.solve(weighted_load, f=a, corrected=True)
    assert np.isfinite(system.prolong(u, load=weighted_load, f=a)).all()
    with pytest.raises(ValueError, match=r"f: expected one value per cell .*\(64,\), or nodal values .*\(289,\), got"):
        lod.load(weighted_load, f=np.ones(17))
    with pytest.raises(ValueError, match="finite"):
        lod.load(weighted_load, f=np.full(64, np.nan))
    for bad in (diffusion, "load", lambda v, w: v):
        with pytest.raises(TypeError, match="f: expected a LinearForm"):
            lod.load(bad)


def test_asm_tells_what_to_write(lod, a):
    """Group C: an LOD is no Basis; ``asm(form, lod)`` says what to call."""
    for call in (lambda: asm(diffusion, lod, a=a), lambda: diffusion.assemble(lod, a=a), lambda: lod.get_dofs()):
        with pytest.raises(
            AttributeError, match=r"LOD has no attribute .*lod.coarse and lod.fine: .*lod.assemble\(form"
        ):
            call()
    assert not hasattr(lod, "_repr_png_")


def test_what_is_no_form(lod, a):
    """Findings A13 and group C: words, loads and functions in the place of a form."""
    with pytest.raises(TypeError, match=r"form: expected a BilinearForm or a local map .*got str"):
        lod.assemble("diffusion")
    with pytest.raises(TypeError, match=r"got a load; its vector is lod.load\(f\)"):
        lod.assemble(unit_load)
    with pytest.raises(TypeError, match="got function; decorate"):
        lod.assemble(lambda u, v, w: u * v, a=a)


def test_complex_forms_are_refused(lod, a):
    """Finding A3: an imaginary part is not dropped."""
    with pytest.raises(TypeError, match="form: expected a real form, got one with dtype=complex"):
        lod.assemble(BilinearForm(diffusion.form, dtype=np.complex128), a=a)
    turned = BilinearForm(lambda u, v, w: (w.a + 1j) * dot(grad(u), grad(v)))
    with pytest.raises(TypeError, match="form: expected a real form, got one with complex values"):
        lod.assemble(turned, a=a)
    with pytest.raises(TypeError, match="f: expected a real form"):
        lod.load(LinearForm(lambda v, w: 1j * v, dtype=np.complex128))


def test_second_derivatives_are_refused(lod, a):
    """Group C: Q1 functions have none; the error says so."""
    plate = BilinearForm(lambda u, v, w: w.a * ddot(dd(u), dd(v)))
    with pytest.raises(TypeError, match="first derivatives at most"):
        lod.assemble(plate, a=a)
    with pytest.raises(ZeroDivisionError):  # errors of the form itself stay what they are
        lod.assemble(BilinearForm(lambda u, v, w: 1 / 0), a=a)


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "meta3"])
def test_a_device_that_is_not_there(device):
    """Group C: ``device="cuda"`` where there is none."""
    with pytest.raises(ValueError, match=rf"device: expected one of cpu.*got '{device}'"):
        small_lod(device=device)


@pytest.mark.parametrize("shape", [(1, 1, 256), (3, 3, 256), (2, 3, 256)])
def test_tensors_of_another_dimension(shape):
    """Finding G8: (1, 1, N) on quads is no scalar, and (3, 3, N) is told."""
    for name in ("a", "k"):
        with pytest.raises(ValueError, match=rf"{name}: expected .*with d = 2, got \({shape[0]}, {shape[1]}, 256\)"):
            small_lod().assemble(diffusion, **{name: np.ones(shape)})


@pytest.mark.parametrize("given", [False, True], ids=["built", "given"])
def test_a_gap_that_no_cell_touches(given):
    """Finding G9: two islands with an empty grid line between them are solved each by itself."""
    line = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    mesh = MeshQuad.init_tensor(line, line[:3])
    x = mesh.p[:, mesh.t].mean(axis=1)
    islands = mesh.restrict(np.flatnonzero((x[0] < 2) | (x[0] > 3)))
    fine = LOD(mesh, refine=3, ell=1).fine.mesh
    y = fine.p[:, fine.t].mean(axis=1)
    options = {"fine": fine.restrict(np.flatnonzero((y[0] < 2) | (y[0] > 3)))} if given else {"refine": 3}
    lod = LOD(islands, ell=1, **options)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(0))
    middle, coarse = (m.p[:, m.t].mean(axis=1) for m in (lod.coefficient_mesh, islands))
    local = lod.local(diffusion, a=a)
    for side in (lambda z: z[0] < 2.5, lambda z: z[0] > 2.5):
        one = LOD(islands.restrict(np.flatnonzero(side(coarse))), refine=3, ell=1)
        own = one.coefficient_mesh.p[:, one.coefficient_mesh.t].mean(axis=1)
        at = [int(np.flatnonzero(np.isclose(middle.T, p).all(axis=1))[0]) for p in own.T]
        alone = one.local(diffusion, a=a[at])
        assert relative(np.sort(local[side(coarse)].ravel()), np.sort(alone.ravel())) < 1e-12
    with pytest.raises(ValueError, match=r"fine mesh: expected n x \.\.\. x n equal cells"):
        LOD(islands, fine=fine)


def test_random_unions_of_cells_are_taken():
    """Finding G9: any union of cells of a grid, empty lines or not."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        mesh = MeshQuad.init_tensor(np.arange(6.0), np.arange(4.0) ** 1.2)
        cells = mesh.restrict(np.sort(rng.permutation(mesh.nelements)[: rng.integers(1, 8)]))
        lod = LOD(cells, refine=2, ell=1)
        assert lod.fine.mesh.nelements == 4 * cells.nelements
        assert np.isfinite(lod.assemble(diffusion, a=1.0).data).all()


def test_one_grid_for_one_mesh(monkeypatch):
    """Finding H: where coefficient and fine mesh are the same, their grid is built once, and no Basis with it."""
    from skfem_ml.lod.mesh import discretisation, refinement

    built = []
    original = refinement.refined_grid
    monkeypatch.setattr(discretisation, "refined_grid", lambda *args: built.append(args) or original(*args))
    lod = small_lod()
    lod.assemble(diffusion, a=1.0)
    assert len(built) == 1 and lod.space.fine_grid is lod.space.coefficient_grid and "fine" not in lod.__dict__


def test_element_numbers_below_zero_are_refused():
    """Group E: -1 is not the last element."""
    for elements in ([-1], np.array([3, -2]), [0, 16]):
        with pytest.raises(ValueError, match="elements: expected numbers of coarse elements, 0 to 15"):
            small_lod().system(diffusion, a=1.0).local(elements)
