"""`compare_loads` and solvers in stages: costs and errors of many loads on one coefficient."""

from dataclasses import replace

import numpy as np
import pytest
from skfem import MeshQuad, MeshTri, condense, solve

from skfem_ml.compare import Row, Table, advice, compare, compare_loads
from skfem_ml.compare.loads import STAGES
from skfem_ml.lod import LOD, SLOD, GeometricMean, solver_coarse, solver_lod, solver_slod
from skfem_ml.metrics import energy_error, l2_error
from skfem_ml.problems import Diffusion, diffusion, load
from skfem_ml.reference import solver_fem
from skfem_ml.solvers import Multigrid, solver_multigrid, solver_pyamg
from tests.gallery import random_field

COARSE, FINE = MeshQuad().refined(2), MeshQuad().refined(4)
PROBLEM = Diffusion(FINE, random_field(FINE, np.random.default_rng(0), 20))
LOADS = [1.0, lambda x: np.sin(3 * x[0]) * x[1]]
SOLVERS = {
    "fine": {"fine FEM": solver_fem(), "LOD": solver_lod(COARSE, 2, corrected=True)},
    "coarse": {"u_h": solver_coarse(COARSE, diffusion, 2), "mean": solver_coarse(COARSE, GeometricMean(), 1)},
}


@pytest.mark.parametrize(
    "solver",
    [
        solver_lod(COARSE, 2, corrected=True),
        solver_lod(COARSE, 1, "galerkin"),
        solver_lod(COARSE, 1, complete=1e-12),
        solver_coarse(COARSE, diffusion, 2),
        solver_slod(COARSE, 2),
        solver_fem(),
        solver_fem(COARSE),
        solver_fem(COARSE, mean="harmonic"),
        solver_fem(solver=solver_pyamg(1e-12)),
        solver_multigrid(1e-12),
        solver_multigrid(None),
        solver_multigrid(coarse=COARSE),
    ],
    ids=[
        *("corrected", "galerkin", "completed", "coarse", "SLOD", "FEM", "coarse FEM", "mean", "pyamg"),
        *("multigrid", "one pass", "coarse matrix"),
    ],
)
def test_stages_give_what_the_whole_gives(solver):
    """Any order of coefficients and loads, loads as functions or vectors: the same answers."""
    prepare = solver.build(PROBLEM)
    other = 1 / PROBLEM.a
    answers = {name: prepare(a) for name, a in (("a", PROBLEM.a), ("other", other))}
    for f in reversed(LOADS):
        for name, a in (("other", other), ("a", PROBLEM.a)):
            wanted = solver(replace(PROBLEM, a=a, f=f)).y
            assert np.allclose(answers[name](f).y, wanted, rtol=0, atol=1e-9 * abs(wanted).max())
    lod = LOD(COARSE, fine=FINE)
    vector = load(1.0).assemble(lod.fine)
    assert np.allclose(answers["a"](vector).y, solver(PROBLEM).y, rtol=0, atol=1e-10)


def test_errors_are_the_largest_of_the_loads():
    table = compare_loads(PROBLEM, SOLVERS, LOADS)
    basis = LOD(COARSE, fine=FINE).fine
    wanted = []
    for f in LOADS:
        problem = replace(PROBLEM, f=f)
        u, r = SOLVERS["fine"]["LOD"](problem), solver_fem()(problem)
        wanted.append([l2_error(u.y, r.y, basis, True), energy_error(u.y, r.y, basis, PROBLEM.a, True)])
    # A load given as a vector is shared by the elements in another way: the localised correction differs a little.
    assert np.allclose(list(table["LOD"].errors.values()), np.max(wanted, axis=0), rtol=1e-3)
    assert table["fine FEM"].error == 0 and table["u_h"]["error energy"] is None and table["u_h"].error > 0
    assert [row.group for row in table] == ["fine", "fine", "coarse", "coarse"]
    single = compare(PROBLEM, SOLVERS)
    assert single["u_h"].error == pytest.approx(compare_loads(PROBLEM, SOLVERS, [1.0])["u_h"].error, rel=1e-6)


def test_costs_add_up():
    table = compare_loads(PROBLEM, SOLVERS, LOADS, count=100, fields=3)
    for row in table:
        mesh, field, each = (row.stages[stage] for stage in STAGES)
        assert row.cpu_seconds == pytest.approx(mesh + 3 * (field + 100 * each), rel=1e-12) and each > 0
    text = str(table)
    assert "\nfine\n" in text and "CPU s field" in text and "3 coefficient(s) of 100 load(s)" in text
    assert table.to_markdown().count("*coarse*") == 1 and table.to_dict()["cpu_s_load"][0] > 0


def test_failures_and_bad_input():
    broken = {"fine FEM": solver_fem(), "broken": solver_lod(MeshTri().refined(2))}
    table = compare_loads(PROBLEM, broken, [1.0])
    assert "TypeError" in table["broken"].failure and table["broken"].error is None
    with pytest.raises(ValueError, match="reference: expected 'broken' to solve the problem"):
        compare_loads(PROBLEM, broken, [1.0], reference="broken")
    with pytest.raises(ValueError, match="loads: expected at least one"):
        compare_loads(PROBLEM, broken, [])
    with pytest.raises(ValueError, match=r"expected names that differ, got \['x'\]"):
        compare(PROBLEM, {"one": {"x": solver_fem()}, "two": {"x": solver_fem()}})


def test_a_coefficient_on_larger_cells():
    """``cells``: the matrices of an LOD told the larger cells, and a clear error where they are not there."""
    fine = MeshQuad().refined(5)
    lod = LOD(COARSE, refine=8, cells=4, ell=2)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(1), 20)
    given = LOD(COARSE, fine=fine, cells=4, ell=2)
    on_fine = a[given.space.coefficient_cell]
    u = solver_coarse(COARSE, diffusion, 2, cells=4)(Diffusion(fine, on_fine))
    assert np.allclose(u.y, given.system(diffusion, a=a).solve(load(1.0)), rtol=0, atol=1e-14)
    on_fine[0] *= 2
    with pytest.raises(ValueError, match="varies within 1 of them; leave out cells=4"):
        solver_coarse(COARSE, diffusion, 2, cells=4)(Diffusion(fine, on_fine))


def _costed(fine: dict, coarse: dict) -> Table:
    groups = {"fine": fine, "coarse": coarse}
    rows = [
        Row(name, {"error L2": l2, "error energy": energy}, seconds, seconds, group=group)
        for group, within in groups.items()
        for name, (l2, energy, seconds) in within.items()
    ]
    return Table(tuple(rows))


def test_the_advice_is_the_cheapest_that_is_good_enough():
    fine = {"direct": (0.0, 0.0, 9.0), "sloppy": (0.1, 0.5, 0.1), "multigrid": (1e-4, 2e-3, 1.0)}
    coarse = {"mean": (0.3, None, 0.01), "u_h": (0.012, None, 0.2), "best": (0.01, None, 3.0)}
    told = advice(_costed(fine, coarse), "fine", "coarse")
    assert told.startswith("for this, use multigrid: the fine solution to 2.0e-03 in energy in 1 CPU seconds")
    assert "u_h in 0.2 CPU seconds, 5 times cheaper" in told
    assert advice(_costed(fine, coarse), "fine", "coarse", within=1e-3).startswith("for this, use direct")
    assert "nothing coarse" in advice(_costed(fine, {"best": (0.01, None, 3.0)}), "fine", "coarse")
    assert "use none of these" in advice(_costed({"sloppy": (0.1, 0.5, 0.1)}, coarse), "fine", "coarse")
    with pytest.raises(ValueError, match="within"):
        advice(_costed(fine, coarse), "fine", "coarse", within=0.0)


def test_slod_and_the_coarse_matrix_of_multigrid_as_solvers():
    """Boundary values on a part of the boundary; the same as from the classes by hand."""
    coarse, fine = (mesh.with_defaults() for mesh in (COARSE, FINE))
    problem = Diffusion(fine, PROBLEM.a, f=lambda x: x[0], g=lambda x: 1 + x[1], dirichlet=["left", "top"])
    slod = SLOD(coarse, fine=fine, ell=2, dirichlet=["left", "top"])
    wanted = slod.system(diffusion, a=problem.a).solution(load(problem.f), x=problem.dirichlet_values(slod.fine))
    u = solver_slod(coarse, 2)(problem)
    assert np.allclose(u.y, wanted, rtol=0, atol=1e-10) and u.unknowns == 16 and u.record["condition"] >= 1
    assert np.allclose(u.y, solver_fem()(problem).y, rtol=0, atol=0.02)
    levels = Multigrid(fine, diffusion, dirichlet=problem.dirichlet_dofs(slod.fine), coarse=coarse, a=problem.a)
    v = solver_multigrid(coarse=coarse)(problem)
    D, x = problem.dirichlet_dofs(slod.coarse), problem.dirichlet_values(slod.coarse)
    b = levels.prolongation.T @ problem.load(slod.fine)
    assert np.allclose(v.y, solve(*condense(levels.coarse_matrix, b, x=x, D=D)), rtol=0, atol=1e-10)
    assert v.record["homogenised"] and v.unknowns == 25 - len(D)
    with pytest.raises(ValueError, match="tol: expected a positive number"):
        solver_multigrid(0.0)
