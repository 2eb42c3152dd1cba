"""What fills the tables of eigenpairs and of DeepXDE: the problems are right, the pages say what was measured."""

import subprocess
import sys

import numpy as np
import pytest
from skfem import Basis, ElementTriP2, MeshTri

from demos.benchmarks import deepxde_rows, eigen
from skfem_ml.compare import compare, seeded
from skfem_ml.problems import dirichlet_laplacian
from skfem_ml.reference import eig_reference, l_shape_eigenvalues
from skfem_ml.solutions import Eigenpairs
from tests.conftest import ROOT


def test_the_square_knows_its_functions():
    problem = eigen.square_problem(4, 8)
    pairs = eig_reference(6)(problem)
    assert abs(pairs.values / problem.exact.values - 1).max() < 0.05
    rest = problem.A @ problem.exact.vectors - problem.M @ problem.exact.vectors * problem.exact.values
    assert abs(rest).max() < 0.2 * abs(problem.A @ problem.exact.vectors).max()


def test_high_order_elements_are_the_fair_rival():
    row = compare(eigen.square_problem(4, 8), {"it": eigen.high_order(2, 5)})["it"]
    assert row.error < 1e-3 and row["eigenvector angle"] < 0.05 and row["residual"] < 1e-11


def test_elements_and_corner_functions_meet_at_common_nodes():
    basis = Basis(MeshTri.init_lshaped().refined(2), ElementTriP2())
    best = eigen.singular(6, 8, 12)(dirichlet_laplacian(basis))
    problem = dirichlet_laplacian(basis, Eigenpairs(l_shape_eigenvalues(4), best.vectors))
    table = compare(
        problem, {"P2": eigen.triangles(ElementTriP2, 2, 1.0), "graded": eigen.triangles(ElementTriP2, 3, 2.0)}
    )
    assert table["graded"].error < 0.4 * table["P2"].error < 1e-2
    assert table["graded"]["eigenvector angle"] < 0.05 and table["graded"]["residual"] < 1e-10


def test_the_rows_of_large_problems_agree():
    problem = eigen.large_problem(lambda mesh: 1.0)
    rows = {"eigsh": eig_reference(14, "eigsh"), **seeded("subspace", eigen.eig_subspace, (0,), k=10, features=50,
                                                          space="elements", steps=3)}  # fmt: skip
    assert compare(problem, rows, reference="eigsh")["subspace, seed 0"].error < 1e-5
    two = eigen.forms_problem()
    assert two.size == 72 and eig_reference(4, "eigsh")(two).values[0] > 0


def test_the_poisson_problem_has_its_solution():
    u, h = deepxde_rows.poisson_problem().exact, 1e-4
    x = np.random.default_rng(0).uniform(0.1, 0.9, (2, 20))
    steps = [np.eye(2)[:, [k]] * s * h for k in range(2) for s in (1, -1)]
    second = (sum(u(x + e) for e in steps) - 4 * u(x)) / h**2
    assert deepxde_rows.load(x[0], x[1]) == pytest.approx(-second, rel=1e-5, abs=1e-5)


def test_the_page_tells_ratios_by_seed():
    runs = [{"error": e, "CPU seconds": 2.0} for e in (1e-6, 2e-6, 4e-6)]
    theirs = [{"error": 1e-3, "CPU seconds": 2.0}] * 3
    page = deepxde_rows.report({"heat": {deepxde_rows.OURS: runs, deepxde_rows.THEIRS: theirs}}, "one machine")
    assert "| DeepXDE, Adam + L-BFGS | 1.0e-03 (1.0e-03) | 2 (2) | 1e+03, 5e+02, 2.5e+02 |" in page


def test_the_module_does_not_load_deepxde():
    code = "import sys, demos.benchmarks.deepxde_rows; print('deepxde' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ran.stdout.strip() == "False"
