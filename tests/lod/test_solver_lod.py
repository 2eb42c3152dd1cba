"""``solver_lod``: decay in ell, exactness with corrected loads, boundary data, and what is refused."""

import numpy as np
import pytest
from skfem import Basis, ElementQuad1, MeshHex, MeshLine, MeshQuad

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.lod import solver_lod
from skfem_ml.metrics import energy_error, l2_error
from skfem_ml.problems import Diffusion
from skfem_ml.reference import solver_fem
from tests.gallery import l_shape

COARSE = MeshQuad().refined(3).with_defaults()
FINE = MeshQuad().refined(5).with_defaults()
LINEAR = lambda x: 1 + 2 * x[0] - x[1]


SMALL_COARSE, SMALL_FINE = MeshQuad().refined(2).with_defaults(), MeshQuad().refined(4).with_defaults()


def mild(mesh, seed=0):
    return iid_multilevel(mesh, range(1, 6), 1, 5, np.random.default_rng(seed))


def wavy(x):
    return 1 + np.sin(9 * x[0])


def test_the_error_decays_in_ell():
    problem = Diffusion(FINE, mild(FINE), f=wavy)
    fine = solver_fem()(problem)
    errors = [
        energy_error(solver_lod(COARSE, ell, corrected=True)(problem).y, fine.y, fine.basis, problem.a, True)
        for ell in (1, 2, 3)
    ]
    assert errors[0] < 0.1 and errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3


def test_without_corrected_load_the_error_stays_at_that_of_the_load():
    problem = Diffusion(FINE, mild(FINE))
    fine = solver_fem()(problem)
    errors = [l2_error(solver_lod(COARSE, ell)(problem).y, fine.y, fine.basis, True) for ell in (1, 7)]
    assert 1e-4 < errors[1] < errors[0] < 3e-2


@pytest.mark.parametrize("variant", ["petrov-galerkin", "galerkin"])
@pytest.mark.parametrize("dirichlet", [None, ("left", "top"), "bottom"])
def test_exact_for_large_ell_with_corrected_load(variant, dirichlet):
    problem = Diffusion(SMALL_FINE, mild(SMALL_FINE, 1), f=wavy, dirichlet=dirichlet, g=LINEAR)
    fine = solver_fem()(problem)
    u = solver_lod(SMALL_COARSE, 99, variant, corrected=True)(problem)
    assert abs(u.y - fine.y).max() <= 1e-9 * abs(fine.y).max()


def test_both_engines_and_a_basis_as_coarse_space():
    problem = Diffusion(FINE, mild(FINE, 2), dirichlet=("left",), g=LINEAR)
    solutions = [
        solver_lod(Basis(COARSE, ElementQuad1()), 1, engine=engine)(problem).y
        for engine in ("condensation", "reference")
    ]
    assert np.allclose(*solutions, rtol=0, atol=1e-10 * abs(solutions[0]).max())


@pytest.mark.parametrize(
    ("coarse", "fine"),
    [
        (MeshLine().refined(2), MeshLine().refined(4)),
        (MeshHex().refined(1), MeshHex().refined(2)),
        (l_shape(1), l_shape(3)),
    ],
)
def test_other_domains(coarse, fine):
    problem = Diffusion(fine, mild(fine), g=lambda x: x[0])
    expected = solver_fem()(problem).y
    u = solver_lod(coarse, 99, corrected=True)(problem)
    assert abs(u.y - expected).max() <= 1e-9 * abs(expected).max()


def test_tensor_coefficients():
    a = np.einsum("ij,n->ijn", [[2.0, 0.5], [0.5, 1.0]], mild(SMALL_FINE))
    problem = Diffusion(SMALL_FINE, a)
    expected = solver_fem()(problem).y
    assert abs(solver_lod(SMALL_COARSE, 99, corrected=True)(problem).y - expected).max() <= 1e-9 * expected.max()


def test_the_record_tells_what_happened():
    u = solver_lod(COARSE, 99)(Diffusion(FINE, mild(FINE)))
    assert u.unknowns == u.record.unknowns == 81 and u.record["ell"] == 7
    assert u.record["coarse"].basis.N == 81 and u.record["variant"] == "petrov-galerkin" and not u.record["corrected"]
    assert (
        set(u.record.seconds) == {"setup", "assembly", "solve", "prolongation"} and min(u.record.seconds.values()) >= 0
    )
    assert u.record["backward error"] < 1e-14
    assert u.basis.mesh is FINE


def test_no_interior_node_is_a_valid_trivial_case():
    one = MeshQuad()
    problem = Diffusion(FINE, mild(FINE), g=LINEAR)
    u = solver_lod(one, 1, corrected=True)(problem)
    assert np.allclose(u.record["coarse"].y, LINEAR(one.p))
    expected = solver_fem()(problem).y
    assert abs(u.y - expected).max() <= 1e-9 * abs(expected).max()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="variant: expected one of 'petrov-galerkin', 'galerkin', got 'ritz'"):
        solver_lod(COARSE, variant="ritz")
    with pytest.raises(TypeError, match="those of the problem"):
        solver_lod(COARSE, fine=FINE)
    with pytest.raises(ValueError, match="ell: expected a whole number"):
        solver_lod(COARSE, ell=0)(Diffusion(FINE, mild(FINE)))
    with pytest.raises(ValueError, match=r"fine mesh: expected n x \.\.\. x n equal cells"):
        solver_lod(FINE)(Diffusion(COARSE, mild(COARSE)))
    with pytest.raises(ValueError, match="expected names"):
        solver_lod(MeshQuad().refined(3))(Diffusion(FINE, mild(FINE), dirichlet="left"))
    swapped = MeshQuad().refined(3).with_boundaries({"left": lambda x: x[0] == 1})
    with pytest.raises(ValueError, match="name them alike"):
        solver_lod(swapped)(Diffusion(FINE, mild(FINE), dirichlet="left"))
