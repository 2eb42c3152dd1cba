"""`System`: what it computes, what it keeps, and that nothing depends on what was called before."""

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skfem import BilinearForm, LinearForm, MeshQuad, condense, solve
from skfem.helpers import dot, grad

from skfem_ml.lod import LOD, GeometricMean, Known
from skfem_ml.lod.coarse import is_definite, solve_coarse
from skfem_ml.lod.correctors import Correctors
from skfem_ml.lod.engine.condensation import CondensationEngine
from skfem_ml.problems import load
from skfem_ml.solvers import solver_direct
from tests.gallery import (
    crossing_channels,
    diffusion,
    fine_matrix,
    random_field,
    reaction_diffusion,
    relative,
    sloped_load,
    small_lod,
    unit_load,
)


@BilinearForm
def conduction(u, v, w):
    return w.kappa * dot(grad(u), grad(v))


@pytest.fixture(scope="module")
def lod():
    return small_lod(dirichlet=["left", "right"])


@pytest.fixture(scope="module")
def a(lod):
    return random_field(lod.coefficient_mesh, np.random.default_rng(0), 20)


def test_verbs_are_those_of_the_shorthands(lod, a):
    system, u = lod.system(diffusion, a=a), np.random.default_rng(1).standard_normal((lod.coarse.N, 4))
    assert abs(system.matrix() - lod.assemble(diffusion, a=a)).max() == 0
    assert abs(system.galerkin() - lod.assemble(diffusion, a=a, variant="galerkin")).max() < 1e-13
    assert np.array_equal(system.local([3, 7]), lod.local(diffusion, a=a)[[3, 7]])
    assert abs(system.basis() - lod.basis(diffusion, a=a)).max() == 0
    b = system.load(sloped_load, corrected=True)
    assert np.array_equal(b, lod.load(sloped_load, corrected=True, bilinear=diffusion, a=a))
    fresh = lod.system(diffusion, a=a)
    one_by_one = np.stack([fresh.prolong(column) for column in u.T], axis=1)
    assert (
        relative(system.prolong(u), one_by_one) < 1e-11 and relative(system.prolong(u[:, 0]), one_by_one[:, 0]) < 1e-11
    )
    with_load = fresh.prolong(u[:, :2], load=sloped_load)
    assert relative(with_load[:, 1], lod.prolong(u[:, 1], diffusion, load=sloped_load, a=a)) < 1e-12


def test_update_takes_any_coefficient(lod, a):
    """Finding A1: the field that is updated is the one that is named, not the one called a."""
    b = a.copy()
    b[lod.space.coefficient_refinement.cells[5]] *= 7
    S, wanted = lod.assemble(conduction, kappa=a), lod.assemble(conduction, kappa=b)
    assert relative(lod.update(S, a, b, conduction, name="kappa").toarray(), wanted.toarray()) < 1e-12
    system = lod.system(conduction, kappa=a)
    system.matrix()
    assert relative(system.update(kappa=b).matrix().toarray(), wanted.toarray()) < 1e-13
    both = lod.system(reaction_diffusion, a=a, c=1.0)
    both.matrix()
    wanted = lod.assemble(reaction_diffusion, a=b, c=2.0)
    assert relative(both.update(a=b).update(c=2.0).matrix().toarray(), wanted.toarray()) < 1e-12
    with pytest.raises(TypeError, match=r"expected some of \['kappa'\], got \['a'\]"):
        system.update(a=b)
    with pytest.raises(TypeError, match=r"system.update\(a=a_new\)"):
        lod.update(S, a, b)


@pytest.mark.parametrize("value", [0.0, -2.5, np.nan])
@pytest.mark.parametrize("engine", ["reference", "condensation"])
def test_positivity_goes_by_role(engine, value):
    """Finding A1: a coefficient that the gradients are multiplied by must be positive, whatever its name."""
    lod = small_lod(engine=engine)
    kappa = np.ones(256)
    kappa[[17, 40]] = value
    with pytest.raises(ValueError, match=rf"kappa: 2 of 256 values are not (positive|finite), .* {value} in cell 17"):
        lod.assemble(conduction, kappa=kappa)
    with pytest.raises(ValueError, match=r"kappa: expected a positive, finite number"):
        lod.assemble(conduction, kappa=value)
    with pytest.raises(ValueError, match=r"a: expected a positive, finite number"):
        lod.assemble(diffusion, a=value)
    tensors = np.tile(np.eye(2)[..., None], 256)
    tensors[1, 1, 9] = -1.0
    tensor_form = BilinearForm(lambda u, v, w: np.einsum("ij...,j...,i...->...", w.k, u.grad, v.grad))
    with pytest.raises(ValueError, match=r"k: 1 of 256 values are not positive, the first is .* in cell 9"):
        lod.assemble(tensor_form, k=tensors)


@pytest.mark.parametrize("c", [0.0, -1.0])
def test_terms_of_lower_order_may_have_any_sign(lod, a, c):
    """Finding A1: a reaction that is zero or negative leaves the form elliptic on patches."""
    field = np.where(a > np.median(a), c, 1.0)
    fixed = ~lod.space.fixed
    S = lod.assemble(reaction_diffusion, a=a, c=field)
    assert np.isfinite(S.data).all() and is_definite(S[fixed][:, fixed])


def test_forms_that_are_not_elliptic_are_refused_by_every_engine():
    """Finding A1: an indefinite principal part, or none, with coefficients that are all positive."""
    hyperbolic = BilinearForm(lambda u, v, w: w.a * (u.grad[0] * v.grad[0] - u.grad[1] * v.grad[1]))
    negative = BilinearForm(lambda u, v, w: -w.a * dot(grad(u), grad(v)))
    nothing = BilinearForm(lambda u, v, w: 0 * w.a * u * v)
    for engine in ("reference", "condensation"):
        for form in (hyperbolic, negative, nothing):
            with pytest.raises(ValueError, match="form: expected an elliptic form"):
                small_lod(engine=engine).assemble(form, a=np.ones(256))
    mass = BilinearForm(lambda u, v, w: w.c * u * v)
    assert np.isfinite(small_lod().assemble(mass, c=np.ones(256)).data).all()


def test_loads_belong_to_their_system(lod, a):
    """Finding A2: no other call, form or local map in between changes what a corrected load is."""
    wanted = lod.load(unit_load, corrected=True, bilinear=diffusion, a=a)
    system = lod.system(diffusion, a=a)
    system.matrix()
    lod.assemble(GeometricMean(), a=3 * a)
    lod.local(diffusion, [0], a=9 * a)
    lod.assemble(diffusion, a=a[::-1].copy())
    assert np.array_equal(system.load(unit_load, corrected=True), wanted)
    with pytest.raises(ValueError, match="bilinear: expected the bilinear form"):
        lod.load(unit_load, corrected=True)


def test_arrays_changed_in_place_change_nothing(lod, a):
    """Finding A2: coefficients are copied, and so is what is handed out."""
    mine = a.copy()
    system, wanted = lod.system(diffusion, a=mine), lod.assemble(diffusion, a=a)
    mine *= 50
    assert abs(system.matrix() - wanted).max() == 0
    system.matrix().data[:] = 0
    system.local()[:] = 0
    system.load(unit_load, corrected=True)[:] = 0
    assert abs(system.matrix() - wanted).max() == 0 and abs(system.elemental().tocsr() - wanted).max() == 0
    assert system.load(unit_load, corrected=True).any()


def test_loads_are_kept_by_their_values(lod, a, monkeypatch):
    system, solved = lod.system(diffusion, a=a), []
    rows = Correctors.rows
    monkeypatch.setattr(Correctors, "rows", lambda self, *args: solved.append(args) or rows(self, *args))
    first = system.load(unit_load, corrected=True)
    assert np.array_equal(first, system.load(LinearForm(lambda v, w: 1.0 * v), corrected=True)) and len(solved) == 1
    assert relative(system.load(load(2.0), corrected=True), 2 * first) < 1e-12 and len(solved) == 2


def test_one_engine_a_system(a, lod, monkeypatch):
    made = []
    init = CondensationEngine.__init__
    monkeypatch.setattr(CondensationEngine, "__init__", lambda self, *args: made.append(self) or init(self, *args))
    system = lod.system(diffusion, a=a)
    system.matrix()
    system.prolong(system.solve(unit_load, corrected=True), load=unit_load)
    assert len(made) == 1


def test_solve_fixes_u_where_the_lod_does(lod, a):
    """Finding A11: u is fixed on the Gamma_D of the LOD, which is what correctors were computed for."""
    system = lod.system(diffusion, a=a)
    x = lod.coarse.doflocs[0].copy()
    u = system.solve(sloped_load, x, corrected=True)
    b = system.load(sloped_load, corrected=True)
    assert relative(u, solve(*condense(system.matrix(), b, x=x, D=lod.coarse.get_dofs(["left", "right"])))) < 1e-12
    assert np.array_equal(u[lod.dirichlet_dofs], x[lod.dirichlet_dofs]) and relative(system.solve(b, x), u) < 1e-13
    whole = small_lod(dirichlet=["left", "right"], ell=3)
    ideal = whole.system(diffusion, a=a)
    A, D = fine_matrix(whole, a=a), whole.fine.get_dofs(["left", "right"])
    fine = solve(*condense(A, sloped_load.assemble(whole.fine), x=whole.fine.doflocs[0], D=D), solver=solver_direct())
    assert relative(ideal.prolong(ideal.solve(sloped_load, x, corrected=True), load=sloped_load), fine) < 1e-10
    u = ideal.solve(sloped_load, x, variant="galerkin")
    assert relative(ideal.prolong(u, load=sloped_load), fine) < 1e-10
    with pytest.raises(ValueError, match="f: expected 25 real values"):
        system.solve(np.ones(24))
    with pytest.raises(ValueError, match="x: expected 25 real values"):
        system.solve(unit_load, x[:3])
    with pytest.raises(TypeError, match=r"f: expected a LinearForm for the fields \['c'\]"):
        system.solve(b, c=1.0)


def test_a_matrix_that_is_not_definite_is_told():
    """Finding A4: crossing channels of contrast 1e4 make S indefinite; the Galerkin variant and mild fields do not."""
    lod = LOD(MeshQuad().refined(4), refine=8, ell=1)
    a = crossing_channels(lod.coefficient_mesh, 1e4)
    with pytest.warns(UserWarning, match=r"S: not positive definite.*contrast 1e\+04.*take ell=2 or variant") as told:
        S = lod.assemble(diffusion, a=a)
    assert len(told) == 1 and told[0].filename == __file__
    free = np.flatnonzero(~lod.space.fixed)
    assert np.linalg.eigvalsh((S + S.T)[free][:, free].toarray())[0] < 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lod.assemble(diffusion, a=a, variant="galerkin")
        lod.assemble(diffusion, a=random_field(lod.coefficient_mesh, np.random.default_rng(0), 100))
    wrong = Known(lod.local(diffusion, a=a))
    lod.assemble(wrong)  # no coefficient that could tell of a contrast


@pytest.mark.parametrize("size", [100, 5000])
def test_definiteness_is_found_by_pivots_and_by_lanczos(size, monkeypatch):
    """Finding A4: both ways agree with the eigenvalues."""
    lod = LOD(MeshQuad().refined(4), refine=8, ell=1)
    free = np.flatnonzero(~lod.space.fixed)
    monkeypatch.setattr("skfem_ml.lod.coarse.FACTORISED", size)
    for contrast in (10, 40, 200, 1e5):
        local = lod.local(diffusion, a=crossing_channels(lod.coefficient_mesh, contrast))
        S = lod.sum(local).tocsr()[free][:, free]
        assert is_definite(S) == (np.linalg.eigvalsh((S + S.T).toarray())[0] > 0)


def test_a_singular_matrix_is_no_indefinite_one():
    """Finding A4: where nothing is fixed constants are in the kernel of S, and nobody is warned."""
    for size in (4, 6):
        mesh = MeshQuad.init_tensor(np.linspace(0, 1, size), np.linspace(0, 1, 5))
        lod = LOD(mesh, refine=4, ell=1, dirichlet=np.zeros(0, int))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            S = lod.assemble(diffusion, a=random_field(lod.coefficient_mesh, np.random.default_rng(size), 100))
        assert abs(S.sum(axis=1)).max() < 1e-11 * abs(S).max()


def test_threads_share_an_lod(lod, a):
    """Finding G3: corrected loads of four threads on one LOD are those of one."""
    fields = [a * (1 + k) ** np.linspace(0, 1, len(a)) for k in range(8)]
    corrected = lambda field: lod.system(diffusion, a=field).load(unit_load, corrected=True)
    wanted = [corrected(field) for field in fields]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(corrected, fields))
    assert all(relative(x, y) < 1e-12 for x, y in zip(got, wanted, strict=True))


def test_an_oscillating_load_is_told(lod, a):
    """Finding A14: what the coarse mesh does not see of a load is said, and not said of loads that it sees."""
    system = lod.system(diffusion, a=a)
    fast = load(lambda x: np.sin(16 * np.pi * x[0]) * np.sin(16 * np.pi * x[1]))
    for call in (lambda: lod.load(fast), lambda: system.load(fast), lambda: system.load(fast, variant="galerkin")):
        with pytest.warns(UserWarning, match="load: 100% of it .* take corrected=True"):
            call()
    step = load(lambda x: 1.0 * (x[0] < 0.45))
    smooth = [load(f) for f in (1.0, 0.0, lambda x: np.sin(np.pi * x[0]), lambda x: 1 + np.sin(9 * x[0]))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        system.load(fast, corrected=True)
        for f in (*smooth, step, load(lambda x: 1 + 3 * np.sin(60 * x[0]))):
            system.load(f)


def test_ell_beyond_the_domain_is_told():
    """Finding A9: a clipped ell is said, and everything after ``refine`` goes by name."""
    with pytest.warns(UserWarning, match="ell: 9 layers are more than fit .* 4 x 4 coarse cells; ell = 3 is used"):
        assert small_lod(ell=9).ell == 3
    with pytest.raises(TypeError, match="positional"):
        LOD(MeshQuad().refined(2), 8, 1)


def test_with_fine_keeps_every_choice():
    """Finding A13: engine, device, workers, progress, boundary and interpolation."""
    seen = []
    tell = lambda *told: seen.append(told)
    lod = small_lod(cells=2, engine="reference", dirichlet=lambda x: x[0] == 0, interpolation="clement", progress=tell)
    finer = lod.with_fine(6)
    assert repr(finer) == "LOD(16 quads, refine=6, ell=1, cells=2, clement, reference on cpu)"
    assert (
        finer.engine is lod.engine
        and finer.progress is tell
        and np.array_equal(finer.dirichlet_dofs, lod.dirichlet_dofs)
    )
    finer.local(diffusion, a=1.0)
    assert seen


def test_maps_without_correctors_say_so(lod, a):
    """Group C: ``lod.prolong(u, surrogate, a=a)`` and its like tell what to take instead."""
    system = lod.system(GeometricMean(), a=a)
    assert np.isfinite(system.solve(unit_load)).all() and system.update(a=2 * a).matrix().shape == system.matrix().shape
    for verb in (
        lambda: lod.prolong(np.zeros(lod.coarse.N), GeometricMean(), a=a),
        system.basis,
        system.correctors,
        system.galerkin,
        lambda: system.load(unit_load, corrected=True),
    ):
        with pytest.raises(TypeError, match=r"got one of GeometricMean; take lod.system\(form, a=a\)"):
            verb()


def test_they_say_what_they_are(lod, a):
    """Group D: reprs that tell."""
    assert repr(LOD(MeshQuad().refined(5), refine=8, ell=2)) == "LOD(1024 quads, refine=8, ell=2, condensation on cpu)"
    told = repr(lod.system(reaction_diffusion, a=np.linspace(1, 5, 256), c=2.0))
    assert told == f"System(reaction_diffusion, a in [1, 5], c=2.0 on {lod!r})"
    assert repr(lod.system(GeometricMean(), a=2.0)).startswith("System(GeometricMean, a=2.0 on LOD(16 quads")


def test_an_lod_is_pickled_before_and_after_use(a):
    """Finding G3: nothing that an LOD keeps hinders joblib."""
    lod = small_lod(dirichlet=lambda x: x[0] == 0)
    before = pickle.loads(pickle.dumps(lod))
    S = lod.assemble(diffusion, a=a)
    lod.system(diffusion, a=a).prolong(np.zeros(25), load=unit_load)
    assert lod.fine.N == 289
    for copy in (before, pickle.loads(pickle.dumps(lod))):
        assert abs(copy.assemble(diffusion, a=a) - S).max() == 0


def test_the_coarse_solve_is_checked(lod, a):
    """Finding G4: the backward error is checked, and a matrix that cannot be solved is refused."""
    S, b = lod.assemble(diffusion, a=a), lod.load(unit_load)
    u, error = solve_coarse(S, b, np.zeros_like(b), lod.space.fixed)
    assert error < 1e-15 and relative(u, solve(*condense(S, b, D=lod.dirichlet_dofs))) < 1e-12
    with pytest.raises(ValueError, match="got none: S is singular"):
        solve_coarse(S, b, np.zeros_like(b), np.zeros(len(b), bool))
    with pytest.raises(ValueError, match="backward error nan"):
        solve_coarse(0 * S, b, np.zeros_like(b), lod.space.fixed)
    swapped = S[np.roll(np.arange(len(b)), 1)]  # zero pivots: elimination with pivoting solves it
    everything = np.zeros(len(b), bool)
    everything[-1] = True
    u, error = solve_coarse(swapped, b, np.zeros_like(b), everything)
    assert error < 1e-12


def test_a_load_integrated_once(lod, a):
    """`FineLoad`: every verb takes it; as a vector it is shared by the cells around a node and sums to the same."""
    system, f = lod.system(diffusion, a=a), load(lambda x: 1 + x[0])
    once = lod.fine_load(f)
    for corrected in (False, True):
        wanted = system.load(f, corrected=corrected)
        assert np.array_equal(system.load(once, corrected=corrected), wanted)
    u = system.solve(f, corrected=True)
    assert np.array_equal(system.solve(once, corrected=True), u)
    assert np.array_equal(system.prolong(u, load=once), system.prolong(u, load=f))
    vector = lod.fine_load(once.on_fine)
    assert np.allclose(vector.on_fine, once.on_fine, rtol=1e-13) and np.allclose(vector.on_coarse, once.on_coarse)
    other = LOD(MeshQuad().refined(2), refine=4, ell=1)
    with pytest.raises(ValueError, match="expected a load of this LOD, got FineLoad"):
        other.system(diffusion, a=2.0).load(once)
    with pytest.raises(ValueError, match="expected a vector on the fine mesh"):
        lod.fine_load(np.ones(3))
    with pytest.raises(TypeError, match="got a load integrated already"):
        system.load(once, g=1.0)
