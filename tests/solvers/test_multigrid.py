"""Multigrid: agreement with elimination, the Galerkin property, symmetry, errors that are known, where pyamg helps."""

import logging

import numpy as np
import pytest
from scipy.sparse.linalg import cg
from skfem import Basis, BilinearForm, ElementQuad1, ElementQuad2, MeshHex, MeshLine, MeshQuad, MeshTri, condense, solve
from skfem.helpers import dot, grad

from skfem_ml.problems import diffusion, load
from skfem_ml.solutions import probes
from skfem_ml.solvers import Multigrid, Solved, solver_direct
from tests.gallery import l_shape, random_field, reaction_diffusion, relative, shuffled, tensor_diffusion, without


def square(cells=32):
    line = np.linspace(0, 1, cells + 1)
    return MeshQuad.init_tensor(line, line).with_defaults()


def graded():
    return MeshQuad.init_tensor(np.linspace(0, 1, 33) ** 1.1, 0.7 * np.linspace(0, 1, 17) ** 0.9).with_defaults()


def frame():
    """A square with a square hole."""
    return without(square(), lambda x: (abs(x - 0.5) < 0.25).all(axis=0)).with_defaults()


MESHES = {
    "line": lambda: MeshLine(np.linspace(0, 1, 257) ** 1.2).with_boundaries({"left": lambda x: x[0] == 0}),
    "square": square,
    "graded": graded,
    "frame": frame,
    "L": lambda: l_shape(4).with_defaults(),
    "hexes": lambda: MeshHex().refined(3).with_defaults(),
}
COARSE = {
    "line": lambda: MeshLine((np.linspace(0, 1, 257) ** 1.2)[::32]),
    "square": lambda: square(8),
    "graded": lambda: MeshQuad.init_tensor(*(np.unique(x)[::8] for x in graded().p)),
    "frame": lambda: without(square(8), lambda x: (abs(x - 0.5) < 0.25).all(axis=0)),
    "L": lambda: l_shape(2),
    "hexes": lambda: MeshHex().refined(1),
}
FORMS = {
    "diffusion": (diffusion, lambda mesh, rng: {"a": random_field(mesh, rng)}),
    "reaction": (
        reaction_diffusion,
        lambda mesh, rng: {"a": random_field(mesh, rng), "c": 50 * random_field(mesh, rng)},
    ),
    "tensor": (tensor_diffusion, lambda mesh, rng: {"a": tensors(mesh, rng)}),
}


def tensors(mesh, rng):
    root = rng.normal(size=(mesh.dim(), mesh.dim(), mesh.t.shape[1]))
    return np.einsum("ikn,jkn->ijn", root, root) + 0.2 * np.eye(mesh.dim())[..., None]


def assembled(form, basis, coefficients):
    return form.assemble(basis, **{k: v if np.isscalar(v) else v[..., None] for k, v in coefficients.items()})


def eliminated(A, b, D, x=None):
    return solve(*condense(A, b, D=D, x=x), solver=solver_direct())


def energy(A, u):
    return float(np.sqrt(max(u @ (A @ u), 0.0)))


def case(name, form="diffusion", dirichlet=None, seed=0, **options):
    """A multigrid with several levels, and the system of scikit-fem alone."""
    mesh, rng = MESHES[name](), np.random.default_rng(seed)
    basis = Basis(mesh, mesh.elem())
    bilinear, draw = FORMS[form]
    coefficients = draw(mesh, rng)
    mg = Multigrid(basis, bilinear, dirichlet=dirichlet, coarsest=100, **coefficients, **options)
    D = basis.get_dofs() if dirichlet is None else basis.get_dofs(dirichlet)
    return mg, assembled(bilinear, basis, coefficients), load(lambda x: 1 + x[0]).assemble(basis), D.flatten(), basis


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MESHES)
def test_it_agrees_with_elimination(name, form):
    mg, A, b, D, _ = case(name, form)
    u = eliminated(A, b, D)
    assert mg.levels >= 2 and mg.coarsest_solver == "elimination"
    assert relative(mg.solve(b, rtol=1e-11), u) < 1e-8
    assert energy(A, mg.fmg(b) - u) < 0.1 * energy(A, u)


@pytest.mark.parametrize("name", MESHES)
def test_neumann_parts_and_given_values(name):
    """The lift is no rough load: with g linear and no load the pass is as good as elsewhere."""
    mg, A, b, D, basis = case(name, dirichlet="left" if name != "frame" else ["left", "top"])
    x = 1 + basis.doflocs.sum(axis=0)
    u = eliminated(A, b, D, x)
    assert relative(mg.solve(b, x, rtol=1e-11), u) < 1e-7
    assert energy(A, mg.fmg(b, x) - u) < 0.1 * energy(A, u)
    np.testing.assert_array_equal(mg.fmg(b, x)[D], x[D])
    assert energy(A, mg.complete(b, x=x).u - u) < 2e-6 * energy(A, u)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MESHES)
def test_the_coarse_matrix_is_galerkin(name, form):
    """P^T A P = A_c, all rows kept, also below the coarsest level that is eliminated."""
    mg, A, _, _, _ = case(name, form, coarse=COARSE[name]())
    P, coarse = mg.prolongation, mg.coarse_matrix
    assert coarse.shape == (COARSE[name]().p.shape[1],) * 2
    assert abs(P.T @ A @ P - coarse).max() < 1e-13 * abs(coarse).max()
    if form != "reaction":
        np.testing.assert_allclose(np.asarray(P.sum(axis=1)), 1, rtol=1e-12)
        assert abs(coarse.sum(axis=1)).max() < 1e-12 * abs(coarse).max()


def test_the_coarse_matrix_on_its_own_grid():
    mg, A, _, _, _ = case("square")
    P = mg.prolongation
    assert abs(P.T @ A @ P - mg.coarse_matrix).max() < 1e-13 * abs(A).max() and P.shape == (33 * 33, 81)


def test_interpolation_is_bilinear_where_the_coefficient_allows():
    """a constant on 4 x 4 cells: the coarse matrix of 8 x 8 cells is that of the coarse mesh itself."""
    mesh, coarse, rng = shuffled(square(), np.random.default_rng(1))[0], square(8), np.random.default_rng(2)
    basis = Basis(coarse, ElementQuad1())
    a = random_field(coarse, rng)
    fine = a[coarse.element_finder()(*mesh.p[:, mesh.t].mean(axis=1))]
    mg = Multigrid(mesh, diffusion, coarse=coarse, coarsest=100, a=fine)
    expected = assembled(diffusion, basis, {"a": a})
    assert abs(mg.coarse_matrix - expected).max() < 1e-13 * abs(expected).max()
    assert abs(mg.prolongation - probes(basis, mesh.p)).max() < 1e-13


def test_on_a_line_the_coarse_matrix_is_the_harmonic_mean():
    rng, mesh, coarse = np.random.default_rng(0), MeshLine(np.linspace(0, 1, 65)), MeshLine(np.linspace(0, 1, 9))
    a = random_field(mesh, rng)
    mean = 1 / (1 / a).reshape(8, 8).mean(axis=1)
    mg = Multigrid(mesh, diffusion, coarse=coarse, coarsest=10, a=a)
    expected = assembled(diffusion, Basis(coarse, coarse.elem()), {"a": mean})
    assert abs(mg.coarse_matrix - expected).max() < 1e-12 * abs(expected).max()


def test_dirichlet_parts_that_cut_coarse_sides():
    """P vanishes from free coarse nodes to fixed fine ones: A_c is Galerkin on the free nodes."""
    mesh = square()
    part = mesh.facets_satisfying(lambda x: (x[0] == 0) & (x[1] < 0.4), boundaries_only=True)
    mesh = mesh.with_boundaries({"part": part})
    basis, a = Basis(mesh, ElementQuad1()), random_field(mesh, np.random.default_rng(3))
    mg = Multigrid(mesh, diffusion, dirichlet="part", coarse=square(8), coarsest=100, a=a)
    A, b, D = assembled(diffusion, basis, {"a": a}), load().assemble(basis), basis.get_dofs("part").flatten()
    assert relative(mg.solve(b, rtol=1e-11), eliminated(A, b, D)) < 1e-8
    coarse = square(8)
    free = np.flatnonzero(~((coarse.p[0] == 0) & (coarse.p[1] < 0.4)))
    P = mg.prolongation[:, free]
    assert abs(P[D]).max() == 0
    expected = mg.coarse_matrix[free][:, free]
    assert abs(P.T @ A @ P - expected).max() < 1e-13 * abs(expected).max()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["square", "frame", "hexes"])
def test_the_preconditioner_is_symmetric_and_its_spectrum_is_good(name, form):
    """CG-safe: B is symmetric to rounding, and the eigenvalues of B A lie in (.15, 1]."""
    mg, A, _, _, _ = case(name, form)
    free = mg.free_dofs
    B = mg.aspreconditioner() @ np.eye(len(free))
    assert abs(B - B.T).max() < 1e-12 * abs(B).max()
    eigenvalues = np.linalg.eigvals(B @ A[free][:, free].toarray()).real
    assert eigenvalues.min() > 0.15 and eigenvalues.max() < 1 + 1e-9


def test_it_stands_where_scipy_and_scikit_fem_expect_solvers():
    mg, A, b, D, _ = case("square")
    system = condense(A, b, D=D)
    expected = eliminated(A, b, D)
    assert relative(solve(*system, solver=mg.solver(1e-12)), expected) < 1e-9
    inner, _ = cg(system[0], system[1], rtol=1e-12, M=mg.aspreconditioner())
    assert relative(inner, expected[mg.free_dofs]) < 1e-9
    with pytest.raises(ValueError, match="A: expected a matrix of the 961 free unknowns of 32 x 32 quads, got 1089"):
        mg.solver()(A, b)


@pytest.mark.parametrize("contrast", [1.0, 1e3, 1e6])
def test_completed_solutions_know_their_error(contrast):
    """From zero, from a pass, and from a coarse solution, at several tolerances: within a factor of two."""
    mesh, rng = square(64), np.random.default_rng(4)
    a = random_field(mesh, rng, contrast)
    basis = Basis(mesh, ElementQuad1())
    mg = Multigrid(basis, diffusion, coarse=square(8), coarsest=100, a=a)
    A, b, D = assembled(diffusion, basis, {"a": a}), load().assemble(basis), basis.get_dofs().flatten()
    u = eliminated(A, b, D)
    P = mg.prolongation
    inner = Basis(square(8), ElementQuad1()).complement_dofs(Basis(square(8), ElementQuad1()).get_dofs())
    prolonged = P[:, inner] @ np.linalg.solve(mg.coarse_matrix[inner][:, inner].toarray(), (P.T @ b)[inner])
    for start in (np.zeros(basis.N), None, prolonged):
        for tol in (1e-2, 1e-4, 1e-7):
            solved = mg.complete(b, start, tol=tol)
            true = energy(A, solved.u - u) / energy(A, u)
            assert solved.energy_error <= tol and true / 2 <= solved.energy_error <= 2 * true
            residual = np.linalg.norm((b - A @ solved.u)[mg.free_dofs]) / np.linalg.norm(b[mg.free_dofs])
            assert solved.residual == pytest.approx(residual, rel=1e-6)


def test_several_right_hand_sides_and_none():
    mg, A, b, D, basis = case("square")
    loads = np.stack([b, load(lambda x: np.sin(9 * x[0])).assemble(basis)], axis=1)
    solved = mg.complete(loads, tol=1e-9)
    assert solved.u.shape == loads.shape and solved.steps.shape == solved.residual.shape == (2,)
    for k in range(2):
        assert relative(solved.u[:, k], eliminated(A, loads[:, k], D)) < 1e-7
        np.testing.assert_array_equal(solved.u[:, k], mg.complete(loads[:, k], tol=1e-9).u)
    nothing = mg.complete(0 * b)
    assert isinstance(nothing, Solved) and not nothing.u.any()
    assert nothing.energy_error == nothing.residual == nothing.steps == 0
    np.testing.assert_array_equal(mg.solve(0 * b), 0)


def test_the_pass_and_the_steps_do_not_depend_on_the_mesh_width():
    """The worst of three meshes, 32 x 32 to 128 x 128, with values of contrast 100 on 16 x 16 cells."""
    field = random_field(square(16), np.random.default_rng(5))
    for cells in (32, 64, 128):
        mesh = square(cells)
        a = field[square(16).element_finder()(*mesh.p[:, mesh.t].mean(axis=1))]
        mg = Multigrid(mesh, diffusion, coarsest=100, a=a)
        basis = Basis(mesh, ElementQuad1())
        A, b = assembled(diffusion, basis, {"a": a}), load().assemble(basis)
        u = eliminated(A, b, basis.get_dofs().flatten())
        assert energy(A, mg.fmg(b) - u) < 1e-2 * energy(A, u)
        assert mg.complete(b, tol=1e-6).steps <= 6


def test_symmetries():
    """a -> c a divides u by c, and the order of cells and vertices does not matter."""
    rng, mesh = np.random.default_rng(6), square()
    a, b = random_field(mesh, rng), load().assemble(Basis(mesh, ElementQuad1()))
    mg = Multigrid(mesh, diffusion, coarsest=100, a=a)
    u = mg.fmg(b)
    np.testing.assert_allclose(mg.update(a=8 * a).fmg(b), u / 8, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(mg.fmg(3 * b), 3 * u, rtol=1e-12, atol=1e-16)
    other, cells = shuffled(mesh, rng)
    nodes = [int(np.flatnonzero((mesh.p == x[:, None]).all(axis=0))[0]) for x in other.p.T]
    again = Multigrid(other, diffusion, coarsest=100, a=a[cells]).fmg(b[nodes])
    np.testing.assert_allclose(again, u[nodes], rtol=1e-10, atol=1e-15)


def test_an_update_is_a_fresh_one_and_nothing_is_remembered():
    rng, mesh = np.random.default_rng(7), square()
    first, second = (random_field(mesh, rng) for _ in range(2))
    b = np.ones(mesh.p.shape[1])
    mg = Multigrid(mesh, diffusion, coarse=square(8), a=first)
    before, coarse = mg.fmg(b), mg.coarse_matrix
    updated, fresh = mg.update(a=second), Multigrid(mesh, diffusion, coarse=square(8), a=second)
    np.testing.assert_array_equal(updated.fmg(b), fresh.fmg(b))
    np.testing.assert_array_equal(updated.coarse_matrix.toarray(), fresh.coarse_matrix.toarray())
    np.testing.assert_array_equal(mg.fmg(b), before)
    assert abs(mg.coarse_matrix - coarse).max() == 0
    with pytest.raises(TypeError, match=r"update: expected some of \['a'\], got \['k'\]"):
        mg.update(k=second)


def test_other_names_and_numbers_take_the_same_path():
    mesh, rng = square(), np.random.default_rng(8)
    a, b = random_field(mesh, rng), np.ones(33 * 33)
    other = BilinearForm(lambda u, v, w: 2 * w.kappa * w.scale * dot(grad(u), grad(v)))
    expected = Multigrid(mesh, diffusion, a=a).solve(b, rtol=1e-12)
    np.testing.assert_allclose(Multigrid(mesh, other, kappa=a, scale=0.5).solve(b, rtol=1e-12), expected, rtol=1e-9)
    number = Multigrid(mesh, diffusion, a=3.0).solve(b, rtol=1e-12)
    np.testing.assert_allclose(Multigrid(mesh, diffusion, a=np.full(1024, 3.0)).solve(b, rtol=1e-12), number)


def slanted():
    mesh = square()
    return MeshQuad(mesh.p + np.array([[0.2], [0.0]]) * mesh.p[1], mesh.t)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Basis(MeshTri().refined(5), MeshTri.elem()), "MeshTri1 is no mesh of boxes"),
        (lambda: Basis(slanted(), ElementQuad1()), "the cells are no boxes of one grid"),
        (lambda: Basis(square(33), ElementQuad1()), "33 x 33 cells, of which one number is odd"),
        (lambda: Basis(square(16), ElementQuad2()), "ElementQuad2 is not of first order"),
    ],
)
def test_what_cannot_be_coarsened_goes_to_pyamg_and_says_so(make, reason, caplog):
    basis = make()
    a = random_field(basis.mesh, np.random.default_rng(9))
    with caplog.at_level(logging.INFO, logger="skfem_ml"):
        mg = Multigrid(basis, diffusion, coarsest=100, a=a)
    assert any(reason in record.getMessage() and "pyamg" in record.getMessage() for record in caplog.records)
    assert f"coarsened by pyamg: {reason}" in repr(mg) and mg.levels == 1
    A, b, D = assembled(diffusion, basis, {"a": a}), load().assemble(basis), basis.get_dofs().flatten()
    u = eliminated(A, b, D)
    assert relative(mg.solve(b, rtol=1e-11), u) < 1e-8
    assert energy(A, mg.fmg(b) - u) < 0.05 * energy(A, u)
    solved = mg.complete(b, tol=1e-6)
    true = energy(A, solved.u - u) / energy(A, u)
    assert true / 2 <= solved.energy_error <= 2 * true


def test_it_stops_at_an_odd_number_or_at_a_hole_and_eliminates_there(caplog):
    with caplog.at_level(logging.INFO, logger="skfem_ml"):
        mg = Multigrid(square(44), diffusion, coarsest=10, a=1.0)
        holes = Multigrid(without(square(), lambda x: (x < 1 / 16).all(axis=0)), diffusion, coarsest=10, a=1.0)
    assert mg.levels == 3 and holes.levels == 2
    told = [record.getMessage() for record in caplog.records]
    assert "11 x 11 cells, of which one number is odd; this level is eliminated" in told[0]
    assert "holes that cut cells of twice the size; this level is eliminated" in told[1]
    b = np.ones(mg.prolongation.shape[0])
    assert relative(mg.solve(b, rtol=1e-11), Multigrid(square(44), diffusion, a=1.0).solve(b, rtol=1e-11)) < 1e-9


@pytest.mark.parametrize("contrast", [1e8, 1e-8])
def test_high_contrast_is_solved_as_far_as_rounding_allows(contrast):
    """Finding G4: the residual over |b| cannot be small; the solution is as good as elimination's."""
    mesh = square()
    a = np.where(np.random.default_rng(10).uniform(size=1024) < 0.3, contrast, 1.0)
    basis = Basis(mesh, ElementQuad1())
    A, b, D = assembled(diffusion, basis, {"a": a}), load().assemble(basis), basis.get_dofs().flatten()
    u = solve(*condense(A, b, D=D))
    mg = Multigrid(mesh, diffusion, coarsest=100, a=a)
    assert relative(mg.solve(b, rtol=1e-12), u) < 1e-6
    assert energy(A, mg.complete(b, tol=1e-8).u - u) < 1e-7 * energy(A, u)


def test_the_repr_tells_what_was_built():
    lines = repr(Multigrid(square(), diffusion, coarsest=100, a=1.0)).splitlines()
    assert lines[0] == "Multigrid: 32 x 32 quads, 3 levels, operator complexity 1.32, coarsest: elimination"
    assert [line.split() for line in lines[2:]] == [["0", "961", "9409"], ["1", "225", "2401"], ["2", "49", "625"]]
    solved = Multigrid(square(), diffusion, a=1.0).complete(np.ones(1089))
    assert repr(solved).startswith("Solved(1089 values, residual ")
