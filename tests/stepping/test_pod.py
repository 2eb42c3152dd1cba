"""POD in the mass inner product: best, orthonormal, to the last digits, with boundary data, and its bad input."""

import numpy as np
import pytest
from skfem import Basis, ElementQuad1, ElementTriP2, MeshQuad, MeshTri

from skfem_ml.problems import mass
from skfem_ml.stepping import POD, heat

BASIS = Basis(MeshQuad().refined(3), ElementQuad1(), intorder=3)
M = mass.assemble(BASIS)
RNG = np.random.default_rng


def waves(count, rng, modes=4):
    """Random combinations of products of cosines, ``(count, n)``."""
    x = BASIS.doflocs
    shapes = [np.cos(k * np.pi * x[0]) * np.cos(l * np.pi * x[1]) for k in range(modes) for l in range(modes)]
    return rng.normal(size=(count, modes**2)) @ np.array(shapes) / modes


def norms(u, matrix=M):
    return np.sqrt(((matrix @ u.T).T * u).sum(axis=1))


@pytest.mark.parametrize("lifted", [False, True])
def test_modes_are_orthonormal_and_the_error_is_the_tail(lifted):
    snapshots = waves(30, RNG(0)) @ np.diag(1 + BASIS.doflocs[0])
    lift = snapshots.mean(axis=0) if lifted else None
    for r in (1, 5, 12):
        pod = POD(M, r, lift).fit(snapshots)
        assert pod.modes.T @ M @ pod.modes == pytest.approx(np.eye(r), abs=1e-13)
        error = norms(snapshots - pod.decode(pod.encode(snapshots)))
        assert np.sqrt((error**2).sum()) == pytest.approx(pod.tail, rel=1e-10)


def test_no_other_subspace_is_better():
    rng = RNG(1)
    snapshots = waves(20, rng)
    pod = POD(M, 6).fit(snapshots)
    other = POD(M, 6).fit(waves(40, rng))
    assert np.sqrt((norms(snapshots - other.decode(other.encode(snapshots))) ** 2).sum()) > pod.tail


def test_small_modes_keep_their_digits():
    # Singular values over eleven decades; the eigenvalues of the Gram matrix would lose half of them.
    full = POD(M, 16).fit(waves(16, RNG(2)))
    snapshots = (RNG(3).normal(size=(40, 16)) * 10.0 ** -np.linspace(0, 11, 16)) @ full.modes.T
    pod = POD(M, 16).fit(snapshots)
    expected = np.linalg.svd(full.encode(snapshots), compute_uv=False)
    assert pod.singular_values[:16] == pytest.approx(expected, rel=1e-3)
    assert pod.modes.T @ M @ pod.modes == pytest.approx(np.eye(16), abs=1e-12)


def test_coefficients_go_there_and_back():
    pod = POD(M, 5, lift=np.ones(BASIS.N)).fit(waves(9, RNG(4)) + 1)
    c = RNG(5).normal(size=(3, 5))
    assert pod.encode(pod.decode(c)) == pytest.approx(c) and pod.encode(pod.decode(c[0])) == pytest.approx(c[0])
    small, u = pod.truncated(2), pod.decode(c)
    assert small.encode(u) == pytest.approx(c[:, :2]) and small.tail > pod.tail
    assert small.decode(c[:, :2]).shape == u.shape


def test_boundary_data_are_lifted():
    basis = Basis(MeshTri().refined(2), ElementTriP2())
    D = basis.get_dofs().flatten()
    data = 1 + basis.doflocs[0]
    semi = heat(basis, D=D, x=data)
    rng = RNG(6)
    snapshots = np.stack([semi.full(rng.normal(size=semi.size)) for _ in range(8)])
    pod = POD(mass.assemble(basis), 4, lift=semi.lift).fit(snapshots)
    assert abs(pod.modes[D]).max() < 1e-12
    assert pod.decode(rng.normal(size=(5, 4)))[:, D] == pytest.approx(np.tile(data[D], (5, 1)))


def test_bad_snapshots():
    with pytest.raises(ValueError, match=r"snapshots: expected at least r = 5 rows \(k, 81\), got \(4, 81\)"):
        POD(M, 5).fit(waves(4, RNG(0)))
    with pytest.raises(ValueError, match=r"expected at least r = 5 independent ones, got 2"):
        POD(M, 5).fit(np.tile(waves(2, RNG(0)), (5, 1)))
    with pytest.raises(ValueError, match=r"independent ones, got 0"):
        POD(M, 1).fit(np.zeros((5, 81)))
    with pytest.raises(ValueError, match=r"snapshots: expected \(81,\) or \(batch, 81\), got \(4, 80\)"):
        POD(M, 2).fit(np.ones((4, 80)))
    wrong = waves(6, RNG(0))
    wrong[2:4, 3] = np.nan
    with pytest.raises(ValueError, match=r"finite values, got 2 rows with NaN, the first is 2"):
        POD(M, 2).fit(wrong)


def test_bad_arguments_of_pod():
    for r in (0, 82):
        with pytest.raises(ValueError, match=r"r: expected 1 to n = 81 modes"):
            POD(M, r)
    with pytest.raises(ValueError, match="M: expected a symmetric matrix"):
        POD(M[:, :80], 2)
    with pytest.raises(ValueError, match=r"lift: expected finite values \(81,\)"):
        POD(M, 2, np.ones(80))
    with pytest.raises(TypeError, match="expected a positive definite matrix"):
        POD(-M, 2).fit(waves(4, RNG(0)))
    with pytest.raises(ValueError, match=r"expected fit\(snapshots\) before"):
        POD(M, 2).encode(np.ones(81))
    pod = POD(M, 2).fit(waves(4, RNG(0)))
    with pytest.raises(ValueError, match=r"u: expected \(81,\) or \(batch, 81\), got \(80,\)"):
        pod.encode(np.ones(80))
    with pytest.raises(ValueError, match=r"c: expected \(2,\) or \(batch, 2\), got \(3,\)"):
        pod.decode(np.ones(3))
    with pytest.raises(ValueError, match="r: expected at most 2"):
        pod.truncated(3)
