"""Contrast to 1e12: a solution is good, or it is said by how much it is not; checked in extended precision."""

import re
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix, diags
from skfem import MeshQuad

from skfem_ml.lod import LOD
from skfem_ml.lod.engine.reference import ReferenceEngine
from skfem_ml.lod.engine.sampled import check_sampled, refined_correctors
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.problems import Diffusion, diffusion
from skfem_ml.reference import solver_fem
from skfem_ml.solvers import backward_error, solver_direct
from skfem_ml.solvers.direct import factorised, tell_loss
from tests.gallery import small_lod, unit_load

EXTENDED = np.finfo(np.longdouble).eps < 1e-18
FINE = MeshQuad().refined(4)
ELEMENT = np.array([[4, -1, -2, -1], [-1, 4, -1, -2], [-2, -1, 4, -1], [-1, -2, -1, 4]])  # times a / 6


def coefficient(kind, contrast):
    x, y = FINE.p[:, FINE.t].mean(axis=1)
    hard = {"channel": abs(y - 0.47) < 0.1, "discs": np.hypot((x - 0.5) % 0.5 - 0.25, (y - 0.5) % 0.5 - 0.25) < 0.16}
    return np.where(hard[kind], contrast, 1.0)


def exact(a):
    """u for f = 1, zero on the boundary: matrix and elimination with 64 bits of mantissa."""
    A, b = np.zeros((FINE.p.shape[1],) * 2, dtype=np.longdouble), np.zeros(FINE.p.shape[1], dtype=np.longdouble)
    for i in range(4):
        np.add.at(b, FINE.t[i], np.longdouble(1) / (4 * FINE.nelements))
        for j in range(4):
            np.add.at(A, (FINE.t[i], FINE.t[j]), a * (np.longdouble(int(ELEMENT[i, j])) / 6))
    free = np.setdiff1d(np.arange(len(b)), FINE.boundary_nodes())
    A, b, u = A[np.ix_(free, free)], b[free], np.zeros(len(b), dtype=np.longdouble)
    for k in range(len(b) - 1):
        factor = A[k + 1 :, k] / A[k, k]
        A[k + 1 :, k:] -= factor[:, None] * A[k, k:]
        b[k + 1 :] -= factor * b[k]
    for k in range(len(b) - 1, -1, -1):
        u[free[k]] = b[k] = (b[k] - A[k, k + 1 :] @ b[k + 1 :]) / A[k, k]
    return u


def figures(caught, words):
    """The losses that were warned of."""
    found = [re.search(rf"{words} by ([\d.e+-]+)", str(each.message)) for each in caught]
    return [float(each.group(1)) for each in found if each]


@pytest.mark.skipif(not EXTENDED, reason="no extended precision")
@pytest.mark.parametrize("kind", ["channel", "discs"])
@pytest.mark.parametrize("contrast", [1e4, 1e8, 1e12])
def test_fine_solves_to_contrast_1e12(kind, contrast):
    """Finding G4: 1e7 to 1e10 were refused though the solve was as good as a solve can be."""
    a = coefficient(kind, contrast)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        u = solver_fem()(Diffusion(FINE, a))
    inner = np.setdiff1d(np.arange(u.basis.N), u.basis.get_dofs().flatten())
    problem = Diffusion(FINE, np.ones(256))
    A = diffusion.assemble(u.basis, a=a[:, None])[inner][:, inner]
    assert backward_error(A, u.y[inner], problem.load(u.basis)[inner]) < 1e-15
    wanted = exact(a)
    error, told = float(abs(u.y - wanted).max() / wanted.max()), figures(caught, "may change the solution")
    if kind == "channel":  # finite element matrices keep their digits where nothing floats
        assert error < 1e-13
    elif contrast < 1e9:
        assert error < 1e-6
    else:
        assert len(told) == 1 and error < told[0] < 1e3 * error


@pytest.mark.parametrize("engine", ["condensation", "reference"])
def test_correctors_say_what_is_lost(engine):
    """Finding G4: nothing was checked there. With patches that are the domain, u is the fine solution."""
    lod = LOD(MeshQuad().refined(2), fine=FINE, ell=4, engine=engine)
    place = {tuple(p): k for k, p in enumerate(FINE.p[:, FINE.t].mean(axis=1).T)}
    mesh = lod.coefficient_mesh
    order = [place[tuple(p)] for p in mesh.p[:, mesh.t].mean(axis=1).T]
    told = {}
    for contrast in (1e4, 1e8, 1e12):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            system = lod.system(diffusion, a=coefficient("channel", contrast)[order])
            u = system.prolong(system.solve(unit_load, corrected=True), load=unit_load)
        told[contrast] = figures(caught, "S: rounding may change u_h")
        if EXTENDED:
            wanted = exact(coefficient("channel", contrast))
            nodes = {tuple(p): k for k, p in enumerate(FINE.p.T)}
            values = wanted[[nodes[tuple(p)] for p in lod.fine.doflocs.T]]
            error = float(abs(u - values).max() / wanted.max())
            assert error < 1e-15 * contrast + 1e-11
            assert not told[contrast] or told[contrast][0] / 100 < error < 10 * told[contrast][0]
    assert told[1e4] == told[1e8] == [] and len(told[1e12]) == 1


def test_refined_correctors_are_correctors():
    """Another way to the same: at a low contrast they agree with both engines."""
    a = np.random.default_rng(0).uniform(1, 9, 256)
    for name in ("condensation", "reference"):
        lod = small_lod(engine=name)
        form = FineForm(lod.space, diffusion, lod.system(diffusion, a=a).coefficients)
        for elements, nodes, values in lod.engine(lod.space, form, 0).correct(np.arange(16)):
            for T, at, got in zip(elements, nodes, values, strict=True):
                better, there = refined_correctors(ReferenceEngine(lod.space, form), int(T))
                whole = np.zeros((lod.fine.N, 4))
                whole[at[at >= 0]] = got[at >= 0]
                assert np.abs(whole[there] - better).max() < 1e-13
                assert np.abs(np.delete(whole, there, axis=0)).max(initial=0.0) == 0


class Off:
    """An engine whose correctors are wrong by a part of their size."""

    def __init__(self, engine, part):
        self.engine, self.part = engine, part

    def correct(self, elements):
        for chosen, nodes, values in self.engine.correct(elements):
            yield chosen, nodes, values * (1 + self.part)


@pytest.mark.parametrize("engine", ["condensation", "reference"])
def test_correctors_that_lost_digits_are_told_of_or_refused(engine):
    lod = small_lod(engine=engine)
    for contrast in (1e4, 1e8):
        a = coefficient("channel", contrast)
        form = FineForm(lod.space, diffusion, lod.system(diffusion, a=a).coefficients)
        made = lod.engine(lod.space, form, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_sampled(Off(made, 1e-8), lod.space, form)
        if contrast > 1e7:
            with pytest.warns(UserWarning, match=r"rounding changes them by 1.0e-04 of their largest value \(in a sam"):
                check_sampled(Off(made, 1e-4), lod.space, form)
            with pytest.raises(ValueError, match=r"got a loss of 3.0e-01 .* at a contrast of 1.0e\+08"):
                check_sampled(Off(made, 0.3), lod.space, form)
            with pytest.raises(ValueError, match="got a loss of nan"):
                check_sampled(Off(made, np.nan), lod.space, form)


def test_a_loss_is_told_once_and_of_the_right_size():
    """A chain of hard springs that holds by a soft one: rounding of the hard ones moves it by their ratio."""
    n, hard = 20, 1e11
    A = csr_matrix(diags([np.r_[hard + 1, 2 * hard * np.ones(n - 2), hard], *2 * [-hard * np.ones(n - 1)]], [0, 1, -1]))
    solve, b = solver_direct().prepare(A), np.ones(n)
    with pytest.warns(UserWarning, match=r"A: rounding of its entries may change the solution by"):
        tell_loss(A, factorised(A).solve, solve(b), "A", 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_loss(
            csr_matrix(diags([np.full(9, 3.0), -np.ones(8), -np.ones(8)], [0, 1, -1])), lambda x: x, b[:9], "A", 0.0
        )
