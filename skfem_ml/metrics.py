"""Errors of solutions and of matrices, and observed rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csc_matrix, csr_matrix, spmatrix
from scipy.sparse.linalg import splu, svds
from skfem import CellBasis

from skfem_ml.coefficients.validation import validate
from skfem_ml.problems import mass
from skfem_ml.solutions import Eigenpairs, FEFunction, probes
from skfem_ml.solvers import solver_direct

Array = NDArray[np.float64]
Solution = Array | Callable[[Array], ArrayLike]
Matrix: TypeAlias = "spmatrix | Array"
Moving = Callable[[Array, float], ArrayLike]  # u(x, t)
DENSE_UP_TO = 400


def l2_error(u: Solution, v: Solution, basis: CellBasis, relative: bool = False) -> float:
    """Return ``|u - v|`` in L2, or ``|u - v| / |v|``, by the quadrature of ``basis``.

    u and v are vectors of degrees of freedom on ``basis``, ``(basis.N,)``, or solutions ``u(x)``. Raises ValueError for
    a wrong length or shape and, if relative, for v = 0.
    """
    other = values(v, basis)
    error = l2_norm(values(u, basis) - other, basis)
    return error / _nonzero(l2_norm(other, basis)) if relative else error


def energy_error(u: Solution, v: Solution, basis: CellBasis, a: ArrayLike, relative: bool = False) -> float:
    """Return ``(int a grad(u - v) . grad(u - v))^(1/2)``, or this over the energy norm of v, by quadrature.

    ``a`` is a coefficient on the mesh of ``basis``, ``(nelems,)`` or ``(d, d, nelems)``. u and v are as in `l2_error`;
    callables need a method ``u.grad(x)`` (`FEFunction` and `Analytic` have it), or TypeError is raised.
    """
    other = gradients(v, basis)
    error = energy_norm(gradients(u, basis) - other, basis, a)
    return error / _nonzero(energy_norm(other, basis, a)) if relative else error


def best_error(u: FEFunction, coarse: CellBasis) -> float:
    """Return ``min |u - v| / |u|`` in L2 over the functions v on a coarse basis whose mesh that of u refines.

    No method whose answer is such a function can have a smaller error. Boundary values are left free. Raises ValueError
    for u = 0.
    """
    P, M = probes(coarse, u.basis.doflocs), mass.assemble(u.basis)
    moments = P.T @ (M @ u.y)
    nearest = solver_direct()(P.T @ M @ P, moments)
    whole = float(u.y @ (M @ u.y))
    return float(np.sqrt(max(whole - moments @ nearest, 0.0) / _nonzero(whole)))


def l2_norm(field: Array, basis: CellBasis) -> float:
    """Return ``(int q^2)^(1/2)`` of a scalar field at the quadrature points, ``(nelems, nqp)``."""
    return _norm(field**2, basis)


def energy_norm(gradient: Array, basis: CellBasis, a: ArrayLike) -> float:
    """Return ``(int a q . q)^(1/2)`` of a vector field at the quadrature points, ``(dim, nelems, nqp)``."""
    a = validate(a, basis.mesh.t.shape[1], dim=basis.mesh.dim())
    if a.ndim == 1:
        return _norm(a[:, None] * (gradient**2).sum(axis=0), basis)
    return _norm(np.einsum("ijn,inq,jnq->nq", a, gradient, gradient), basis)


def values(u: Solution, basis: CellBasis) -> Array:
    """Return a solution at the quadrature points of ``basis``, ``(nelems, nqp)``."""
    y = _dofs(u, basis)
    if y is not None:
        return np.asarray(basis.interpolate(y))
    x = np.asarray(basis.global_coordinates())
    assert callable(u)  # _dofs has taken every array
    result = np.asarray(u(x), dtype=np.float64)
    if result.shape != x.shape[1:]:
        raise ValueError(f"u(x): expected shape {x.shape[1:]} for x of shape {x.shape}, got {result.shape}")
    return result


def gradients(u: Solution, basis: CellBasis) -> Array:
    """Return the gradient of a solution at the quadrature points of ``basis``, ``(dim, nelems, nqp)``."""
    y = _dofs(u, basis)
    if y is not None:
        return np.asarray(basis.interpolate(y).grad)
    gradient = getattr(u, "grad", None)
    if gradient is None:
        raise TypeError(
            "the energy error needs gradients: expected u.grad(x), got a plain callable; wrap it as "
            "solutions.Analytic(value, gradient), or pass its degrees of freedom, for example u(basis.doflocs)"
        )
    x = np.asarray(basis.global_coordinates())
    result = np.asarray(gradient(x), dtype=np.float64)
    if result.shape != x.shape:
        raise ValueError(f"u.grad(x): expected shape {x.shape}, got {result.shape}")
    return result


def space_time_values(u: Moving, basis: CellBasis, times: Array) -> Array:
    """Return a solution ``u(x, t)`` at the quadrature points and times, ``(len(times), nelems, nqp)``."""
    return np.stack([values(partial(_at, u, t), basis) for t in times])


def _at(u: Moving, t: float, x: Array) -> ArrayLike:
    return u(x, t)


def gauss_times(t_end: float, panels: int = 10, order: int = 4) -> tuple[Array, Array]:
    """Return nodes and weights of Gauss quadrature on ``panels`` equal parts of ``(0, t_end)``, each ``(n,)``."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    starts = np.arange(panels)[:, None] / panels
    times = starts + (nodes + 1) / (2 * panels)
    return t_end * times.ravel(), np.tile(t_end * weights / (2 * panels), panels)


def space_time_error(u: Moving, v: Moving, basis: CellBasis, t_end: float, relative: bool = False) -> float:
    """Return ``(int_0^T |u - v|^2 dt)^(1/2)`` for solutions ``u(x, t)``, or this over the norm of v, by quadrature."""
    times, weights = gauss_times(t_end)
    other = space_time_values(v, basis, times)
    error = space_time_norm(space_time_values(u, basis, times) - other, basis, weights)
    return error / _nonzero(space_time_norm(other, basis, weights)) if relative else error


def space_time_norm(field: Array, basis: CellBasis, weights: Array) -> float:
    """Return the L2 norm in space and time of values ``(len(weights), nelems, nqp)``."""
    return float(np.sqrt(np.einsum("t,teq,teq,eq->", weights, field, field, basis.dx)))


def eigenvalue_errors(pairs: Eigenpairs, reference: Eigenpairs) -> Array:
    """Return ``|l_i - m_i| / |m_i|`` (report, eq. 31), ``(k,)``, absolute where m_i = 0.

    The i-th value is compared with the i-th of the reference; ValueError where the reference has fewer.
    """
    k = len(pairs.values)
    if k == 0:
        raise ValueError("pairs: expected at least one eigenvalue, got none; the method found no pair")
    if len(reference.values) < k:
        raise ValueError(f"reference: expected at least {k} eigenvalues, got {len(reference.values)}")
    exact = reference.values[:k]
    return abs(pairs.values - exact) / np.where(exact == 0, 1.0, abs(exact))


def eigenvector_errors(
    pairs: Eigenpairs, reference: Eigenpairs, M: Matrix | None = None, cluster: float = 1e-6
) -> Array:
    """Return the sine of the angle between eigenvectors and those of the reference, ``(k,)``, between 0 and 1.

    Eigenvalues of the reference that differ by less than ``cluster`` (relative to the largest) share a space; their
    vectors all have the largest angle between the space that they span and that of the reference, ``max |q - P q|``
    over the unit vectors q of the one, P the orthogonal projection onto the other, in the norm of ``M`` (None:
    Euclidean). Vectors that span less than their number have 1, a right angle. Small sines are angles in radians; the
    Lambda (32) of the report is minus the square. A space that reaches beyond the pairs of the reference cannot be
    judged: compute a few more pairs for it. Raises ValueError where a side has no vectors.
    """
    if pairs.vectors is None or reference.vectors is None:
        raise ValueError("eigenvectors: expected pairs with vectors on both sides, got values only")
    values, result = reference.values, np.empty(len(pairs.values))
    for i, value in enumerate(values[: len(result)]):
        same = abs(values - value) <= cluster * float(abs(values).max())
        mine = np.flatnonzero(same[: len(result)])
        result[i] = _sine(pairs.vectors[:, mine], reference.vectors[:, same], M) if mine[0] == i else result[mine[0]]
    return result


def eigen_residuals(pairs: Eigenpairs, A: Matrix, M: Matrix | None = None) -> Array:
    """Return the relative residual of every pair, ``(k,)``, in the norm in which it bounds the error of its value.

    Without M it is ``|A x - l x| / (|A| |x|)`` in Euclidean norms, ``|A|`` the largest singular value; with M it is
    ``|A x - l M x| / (|l| |x|)`` with the norm of ``M^-1`` above and that of M below, ``(r' M^-1 r)^(1/2)`` and ``(x' M
    x)^(1/2)``: some eigenvalue is as near to l, relative to l. That costs one factorisation of M and one solve a pair.
    Rounding in A x alone is about 1e-16 times the largest eigenvalue over l. Raises ValueError for pairs without
    vectors or of another length.
    """
    if pairs.vectors is None or len(pairs.vectors) != A.shape[0]:
        raise ValueError(f"eigenvectors: expected vectors of {A.shape[0]} entries, got {pairs}")
    X, values = pairs.vectors, pairs.values
    if M is None:
        return np.linalg.norm(A @ X - X * values, axis=0) / (spectral_norm(A) * np.linalg.norm(X, axis=0))
    MX = M @ X
    R = A @ X - MX * values
    squares = np.einsum("ij,ij->j", R, splu(csc_matrix(M)).solve(np.ascontiguousarray(R)))
    scale = np.maximum(abs(values), 1e-12 * abs(values).max(initial=1e-300))
    return np.sqrt(np.maximum(squares, 0) / np.einsum("ij,ij->j", X, MX)) / scale


def _sine(V: Array, W: Array, M: Matrix | None) -> float:
    """The sine of the largest angle from ``span V`` to ``span W``; 1 where the columns of V are dependent."""
    V = V / np.sqrt(np.diag(_gram(V, V, M)))
    sizes, turn = np.linalg.eigh(_gram(V, V, M))
    if sizes[0] < 1e-12:
        return 1.0
    rest, gram = V @ (turn / np.sqrt(sizes)), _gram(W, W, M)
    # Twice: what rounding leaves of the space in the first remainder would pass for an angle.
    for _ in range(2):
        rest = rest - W @ np.linalg.solve(gram, _gram(W, rest, M))
    return float(min(1.0, np.sqrt(np.linalg.eigvalsh(_gram(rest, rest, M))[-1])))


def _gram(V: Array, W: Array, M: Matrix | None) -> Array:
    return V.T @ (W if M is None else M @ W)


def spectral_error(S: Matrix, T: Matrix, relative: bool = False) -> float:
    """Return ``|S - T|_2``, the largest singular value of the difference, or this over ``|T|_2``.

    S and T are sparse or dense matrices of one shape. Small ones are decomposed densely, large ones go through ARPACK
    from a fixed start vector. Raises ValueError for different shapes, entries that are not finite, and T = 0 if
    relative.
    """
    if S.shape != T.shape:
        raise ValueError(f"S, T: expected matrices of one shape, got {S.shape} and {T.shape}")
    error = spectral_norm(csr_matrix(S) - csr_matrix(T))
    return error / _nonzero(spectral_norm(T)) if relative else error


def spectral_norm(S: Matrix) -> float:
    """Return the largest singular value of a sparse or dense matrix."""
    matrix = csr_matrix(S)
    if not np.isfinite(matrix.data).all():
        raise ValueError("S: expected finite entries, got nan or inf; check the assembly")
    if matrix.nnz == 0 or not matrix.data.any():
        return 0.0
    if min(matrix.shape) <= DENSE_UP_TO:
        return float(np.linalg.norm(matrix.toarray(), 2))
    # A fixed start vector of no special structure: the result is the same in every run.
    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    return float(svds(matrix, k=1, v0=start, return_singular_vectors=False)[0])


def observed_rates(h: Sequence[float] | Array, errors: Sequence[float] | Array) -> Array:
    """Return ``log(e_k / e_{k+1}) / log(h_k / h_{k+1})`` for successive mesh sizes, one value fewer than errors.

    Raises ValueError for fewer than two entries, different lengths, values that are not positive, or equal neighbours
    in h.
    """
    sizes, errors = np.asarray(h, dtype=float), np.asarray(errors, dtype=float)
    if sizes.shape != errors.shape or sizes.ndim != 1 or len(sizes) < 2:
        raise ValueError(f"h, errors: expected two lists of one length >= 2, got shapes {sizes.shape}, {errors.shape}")
    if not (np.all(sizes > 0) and np.all(errors > 0) and np.isfinite(errors).all()):
        raise ValueError("h, errors: expected positive, finite numbers; leave out exact (zero) errors")
    steps = np.diff(np.log(sizes))
    if (steps == 0).any():
        raise ValueError("h: expected different successive mesh sizes, got equal ones")
    return np.diff(np.log(errors)) / steps


def _dofs(u: Solution, basis: CellBasis) -> Array | None:
    """Return the degrees of freedom of u on ``basis`` where it has them, so that no point needs to be located."""
    if isinstance(u, FEFunction):
        own = u.basis
        same = own.mesh is basis.mesh and type(own.elem) is type(basis.elem) and own.N == basis.N
        return u.y if same else None
    if callable(u):
        return None
    y = np.asarray(u, dtype=float)
    if y.shape != (basis.N,):
        raise ValueError(f"u: expected shape ({basis.N},) on this basis, or a callable u(x), got shape {y.shape}")
    return y


def _norm(squared: Array, basis: CellBasis) -> float:
    return float(np.sqrt((squared * basis.dx).sum()))


def _nonzero(norm: float) -> float:
    if norm == 0:
        raise ValueError("relative error: the reference vanishes; use relative=False")
    return norm


def mean_residual(got: NDArray, exact: NDArray) -> float:
    """Return the mean over samples of ``|got - exact| / |exact|`` (Euclidean norms) for ``(n, N)`` twice.

    Raises ValueError for other shapes.
    """
    if got.shape != exact.shape or got.ndim != 2:
        raise ValueError(f"got: expected shape {exact.shape}, one row per sample, got {got.shape}")
    return float((np.linalg.norm(got - exact, axis=1) / np.linalg.norm(exact, axis=1)).mean())
