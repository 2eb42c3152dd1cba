"""What SLOD accepts and refuses, what it holds, and that no result depends on what was asked before."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skfem import BilinearForm, LinearForm, MeshHex, MeshLine, MeshTri

from skfem_ml.lod import SLOD
from tests.gallery import diffusion, graded, random_field, relative, sloped_load, unit_load


def small(**options):
    slod = SLOD(graded(), 3, **{"ell": 1, "dirichlet": ["left", "top"], **options})
    return slod, random_field(slod.coefficient_mesh, np.random.default_rng(0), 10.0)


@LinearForm
def wave(v, w):
    return np.sin(30 * w.x[0]) * v


@LinearForm
def scaled(v, w):
    return w.f * w.x[1] * v


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: SLOD(MeshLine().refined(2)), TypeError, "quads"),
        (lambda: SLOD(MeshHex().refined(2), 2), TypeError, "quads"),
        (lambda: SLOD(MeshTri().refined(2)), TypeError, "MeshQuad"),
        (lambda: SLOD(graded(), 1), ValueError, "refine"),
        (lambda: SLOD(graded(), 4, fine=graded()), ValueError, "refine, fine"),
        (lambda: SLOD(graded(), ell=0), ValueError, "ell"),
        (lambda: SLOD(graded(), memory=-1), ValueError, "memory"),
        (lambda: SLOD(graded(), epsilon=0.0), ValueError, "epsilon"),
        (lambda: SLOD(graded(), epsilon=[1e-3, 1e-4]), ValueError, "30 elements"),
        (lambda: SLOD(graded(), dirichlet=[]).system(diffusion, a=1.0), ValueError, "dirichlet"),
        (lambda: small()[0].system(diffusion, a=-1.0), ValueError, "a: "),
        (lambda: small()[0].system(unit_load, a=1.0), TypeError, "BilinearForm"),
        (lambda: small()[0].system(diffusion, a=np.ones(7)), ValueError, "270"),
        (lambda: small()[0].system(BilinearForm(lambda u, v, w: u.grad[0] * v), a=1.0), ValueError, "form"),
    ],
)
def test_wrong_arguments_say_so(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_wrong_questions_say_so():
    slod, a = small()
    system = slod.system(diffusion, a=a)
    for ask, kind, message in [
        (lambda: system.matrix("petrov-galerkin"), ValueError, "variant"),
        (lambda: system.load(diffusion), TypeError, "LinearForm"),
        (lambda: system.load([]), ValueError, "empty"),
        (lambda: system.load(unit_load, corrected=False, x=np.zeros(slod.coarse.N)), ValueError, "corrected"),
        (lambda: system.load(unit_load, x=np.zeros(3)), ValueError, f"{slod.coarse.N} values"),
        (lambda: system.solve(np.zeros(7)), ValueError, "30 real values"),
        (lambda: system.prolong(np.zeros((30, 1, 1))), ValueError, "30 real values"),
        (lambda: system.prolong(np.zeros(30), x=np.zeros(slod.coarse.N)), TypeError, "load"),
    ]:
        with pytest.raises(kind, match=message):
            ask()


@pytest.mark.parametrize("memory", [0, 2**18, 2**30])
def test_what_is_held_changes_nothing(memory):
    """Factors that do not fit into memory are made again, to the same values."""
    slod, a = small(ell=2, memory=memory)
    system = slod.system(diffusion, a=a)
    first = system.load(wave)
    assert system.held <= 30 and (system.held == 30) == (memory == 2**30)
    assert memory != 0 or system.held == 0
    ample = small(ell=2)[0].system(diffusion, a=a)
    ample.matrix(), ample.load(sloped_load)
    assert relative(ample.load(wave), first) < 1e-12
    assert relative(system.prolong(first, load=wave), ample.prolong(first, load=wave)) < 1e-12


def test_lists_of_loads_are_the_same_as_one_by_one():
    slod, a = small()
    system, fresh = slod.system(diffusion, a=a), slod.system(diffusion, a=a)
    loads = [wave, unit_load, sloped_load]
    for variant in ("collocation", "galerkin"):
        together = system.solution(loads, variant=variant)
        assert together.shape == (slod.fine.N, 3)
        for k, f in enumerate(loads):
            assert relative(together[:, k], fresh.solution(f, variant=variant)) < 1e-12
    assert system.solution([wave]).shape == (slod.fine.N, 1)


def test_fields_of_loads():
    slod, a = small()
    system = slod.system(diffusion, a=a)
    f = np.random.default_rng(1).standard_normal(slod.coefficient_mesh.nelements)
    twice = system.solution(scaled, f=2 * f)
    assert relative(twice, 2 * system.solution(scaled, f=f)) < 1e-12
    nodal = slod.fine.doflocs[0]
    exact = LinearForm(lambda v, w: w.x[0] * w.x[1] * v)
    assert relative(system.solution(scaled, f=nodal), system.solution(exact)) < 1e-12


def test_systems_are_values():
    """Arrays that are changed later, given or returned, change nothing."""
    slod, a = small()
    system, before = slod.system(diffusion, a=a), slod.system(diffusion, a=a).solution(wave)
    a[:] = 7.0
    assert relative(system.solution(wave), before) == 0
    B, G, epsilon = system.basis(), system.matrix(), system.epsilon
    B.data[:], G.data[:], epsilon[:] = 0, 0, 0
    system.elemental().data[:] = 0
    assert relative(system.solution(wave), before) == 0 and (system.matrix().diagonal() == 1).all()
    assert abs(system.basis()).sum() > 0


def test_threads_may_share_a_system():
    slod, a = small(ell=2)
    loads = [LinearForm(lambda v, w, k=k: np.sin(k * w.x[0]) * v) for k in range(1, 7)]
    alone = [slod.system(diffusion, a=a).solution(f) for f in loads]
    system = slod.system(diffusion, a=a)
    with ThreadPoolExecutor(3) as pool:
        for found, wanted in zip(pool.map(system.solution, loads), alone, strict=True):
            assert relative(found, wanted) < 1e-13


def test_a_slod_is_pickled_before_and_after_use():
    slod, a = small()
    before = pickle.loads(pickle.dumps(slod))
    u = slod.system(diffusion, a=a).solution(wave)
    assert slod.fine.N == 304
    for copy in (before, pickle.loads(pickle.dumps(slod))):
        assert relative(copy.system(diffusion, a=a).solution(wave), u) == 0


def test_what_was_built_is_told():
    slod, a = small(cells=3, epsilon=np.linspace(1e-3, 1e-2, 30))
    assert repr(slod) == "SLOD(30 quads, refine=3, ell=1, epsilon=0.001...0.01)"
    assert "diffusion" in repr(slod.system(diffusion, a=a)) and "SLOD(30" in repr(slod.system(diffusion, a=a))
    assert repr(SLOD(graded())).startswith("SLOD(30 quads, refine=8, ell=2")


def test_progress_is_told():
    told = []
    slod, a = small(progress=lambda done, total, text: told.append((done, total)))
    slod.system(diffusion, a=a).matrix()
    assert told[-1] == (30, 30) and [done for done, _ in told] == sorted(done for done, _ in told)
