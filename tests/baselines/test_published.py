"""The published networks: what the report's mistakes give, in numbers."""

import numpy as np
import pytest
from skfem import Basis, MeshQuad

from skfem_ml.baselines import eig_published, solver_published
from skfem_ml.baselines.published import published_residual
from skfem_ml.metrics import space_time_error
from skfem_ml.problems import Eigenproblem, Heat, heat_box, report_matrix, report_start

PROBLEM = heat_box()


@pytest.mark.slow
def test_the_published_residual_is_another_equation():
    u = solver_published(1000)(PROBLEM)
    wrong, right = (float(published_residual(PROBLEM, mixed)(u.net).square().sum().detach()) for mixed in (True, False))
    assert wrong**0.5 < 1e-3 and right**0.5 > 0.1
    basis = Basis(PROBLEM.mesh, PROBLEM.mesh.elem(), intorder=4)
    error = space_time_error(u, PROBLEM.exact, basis, PROBLEM.t_end, relative=True)
    assert error == pytest.approx(0.155, rel=0.1)
    x = np.linspace(0, 1, 101)[None]
    worst = max(abs(u(x, t) - PROBLEM.exact(x, t)).max() for t in np.linspace(0, 1, 41))
    assert worst == pytest.approx(0.0645, rel=0.1)
    assert u.unknowns == u.record.unknowns == 1191 and "1,191 unknowns" in repr(u)


def test_the_published_network_ends_at_some_eigenvector_or_none():
    problem = Eigenproblem(report_matrix())
    pairs = eig_published(runs=2, epochs=300, rate=1e-2, start=report_start())(problem)
    assert len(pairs.values) == pairs.record["found"] <= 2
    residual = report_matrix() @ pairs.vectors - pairs.vectors * pairs.values
    assert (np.linalg.norm(residual, axis=0) < 0.03).all()


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (heat_box(MeshQuad()), "expected Heat on a segment"),
        (Heat(PROBLEM.mesh, lambda x: 1 + 0 * x[0], g=1.0), "with g = 0"),
        (Heat(PROBLEM.mesh, lambda x: 0 * x[0]), "initial: expected solutions.Analytic"),
    ],
)
def test_other_problems_are_refused(problem, message):
    with pytest.raises(ValueError, match=message):
        solver_published(1)(problem)
