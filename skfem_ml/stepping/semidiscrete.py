"""Semi-discretisations ``M u' + K u = F(u) + b(t)`` on any scikit-fem basis, and their restriction to a subspace.

Dirichlet data, periodicity and a Galerkin projection on POD modes are one operation, `SemiDiscrete.restrict`:
unknowns y with ``u = E y + g`` are put in, and the equation is tested with the columns of E.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csc_matrix, csr_matrix, diags, identity, issparse
from skfem import CellBasis, DofsView

from skfem_ml.stepping.linear import Load, Matrix

Array = NDArray[np.float64]
Dofs: TypeAlias = "ArrayLike | DofsView"
Pointwise = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Term:
    """The nonlinear term ``F(y) = test (f(trial y + offset))``, by quadrature; ``df`` is the derivative of f.

    ``trial`` ``(points, n)`` takes unknowns to values at quadrature points, ``test`` ``(n, points)`` has the weights in
    it, ``offset`` ``(points,)``.

    >>> import numpy as np
    >>> term = Term(np.eye(2), np.eye(2), np.zeros(2), f=lambda u: u**2, df=lambda u: 2 * u)
    >>> term, term(np.array([1.0, 3.0])).tolist(), term.jacobian(np.array([1.0, 3.0])).tolist()
    (Term(2 unknowns, 2 points), [1.0, 9.0], [[2.0, 0.0], [0.0, 6.0]])
    """

    trial: Matrix
    test: Matrix
    offset: Array
    f: Pointwise
    df: Pointwise

    def __repr__(self) -> str:
        return f"Term({self.trial.shape[1]} unknowns, {self.trial.shape[0]} points)"

    def __call__(self, y: Array) -> Array:
        """Return F ``(n,)`` or ``(batch, n)``."""
        return (self.test @ self.f((self.trial @ y.T).T + self.offset).T).T

    def jacobian(self, y: Array) -> Matrix:
        """Return the matrix ``F'(y)`` ``(n, n)`` for one state ``(n,)``."""
        slope = self.df(self.trial @ y + self.offset)
        return self.test @ (diags(slope) @ self.trial if issparse(self.trial) else slope[:, None] * self.trial)


@dataclass(frozen=True, eq=False)
class SemiDiscrete:
    """``M y' + K y = F(y) + E' b(t) + constant`` for unknowns y ``(n,)`` of the function ``u = E y + lift``.

    ``u`` has the degrees of freedom ``(N,)`` of a basis. ``terms`` are the parts of F, ``load`` is ``b(t)`` ``(N,)``
    or None. States of a batch are rows, ``(batch, n)``.

    >>> from skfem import Basis, ElementQuad1, MeshQuad
    >>> from skfem_ml.stepping import heat
    >>> basis = Basis(MeshQuad().refined(2), ElementQuad1())
    >>> heat(basis, D=basis.get_dofs())
    SemiDiscrete(9 unknowns of 25 degrees of freedom, 0 nonlinear terms)
    """

    M: Matrix
    K: Matrix
    terms: tuple[Term, ...]
    E: Matrix
    lift: Array
    constant: Array
    load: Load | None = None

    def __repr__(self) -> str:
        unknowns = f"{self.size} unknowns of {len(self.lift)} degrees of freedom"
        loaded = "" if self.load is None else ", load in time"
        return f"SemiDiscrete({unknowns}, {len(self.terms)} nonlinear terms{loaded})"

    @property
    def size(self) -> int:
        """The number of unknowns n."""
        return self.M.shape[0]

    def rhs(self, y: Array, t: float = 0.0) -> Array:
        """Return ``F(y) + E' b(t) + constant``, ``(n,)`` or ``(batch, n)``."""
        total = self.constant if self.load is None else self.constant + self.E.T @ self.load(t)
        for term in self.terms:
            total = total + term(y)
        return np.broadcast_to(total, y.shape)

    def jacobian(self, y: Array) -> Matrix:
        """Return ``F'(y)`` for one state ``(n,)``, sparse or dense as K is."""
        total = 0 * self.K
        for term in self.terms:
            total = total + term.jacobian(y)
        return total

    def full(self, y: ArrayLike) -> Array:
        """Return the degrees of freedom ``E y + lift`` on the basis, ``(N,)`` or ``(batch, N)``."""
        return (self.E @ self.check(y).T).T + self.lift

    def check(self, y: ArrayLike, name: str = "u") -> Array:
        """Return states in double; ValueError unless they are ``(n,)`` or ``(batch, n)``."""
        return check_rows(y, self.size, name)

    def restrict(self, E: Matrix, g: ArrayLike = 0.0) -> SemiDiscrete:
        """Return the equation for z with ``y = E z + g``, tested with the columns of E ``(n, m)``.

        E is sparse (Dirichlet data, periodicity) or dense (modes). Raises ValueError for another number of rows.
        """
        if E.shape[0] != self.size:
            raise ValueError(f"E: expected {self.size} rows, one an unknown, got shape {E.shape}")
        g = np.broadcast_to(np.asarray(g, dtype=float), (self.size,))
        tidy = csc_matrix if issparse(E) else np.asarray
        terms = tuple(
            replace(term, trial=_rows(term.trial @ E), test=_rows(E.T @ term.test), offset=term.offset + term.trial @ g)
            for term in self.terms
        )
        constant = E.T @ (self.constant - self.K @ g)
        return SemiDiscrete(
            tidy(E.T @ self.M @ E), tidy(E.T @ self.K @ E), terms, self.E @ E, self.lift + self.E @ g, constant,
            self.load,
        )  # fmt: skip

    def lifted(self, D: Dofs, x: ArrayLike | None = None) -> SemiDiscrete:
        """Return the equation with ``u = x`` at the degrees of freedom D, as in ``skfem.condense(D=..., x=...)``.

        ``x`` is ``(N,)``, default zero; the data do not change in time. The free unknowns keep their order. Raises
        ValueError for x of another size, values that are not finite, and no free unknown left.
        """
        D = np.unique(np.asarray(D.flatten() if hasattr(D, "flatten") else D, dtype=np.int64))
        g = np.zeros(self.size)
        if x is not None:
            x = np.asarray(x, dtype=float)
            if x.shape != (self.size,) or not np.isfinite(x[D]).all():
                raise ValueError(f"x: expected finite values ({self.size},), got shape {x.shape}, or NaN in it")
            g[D] = x[D]
        free = np.setdiff1d(np.arange(self.size), D)
        if not len(free):
            raise ValueError(f"D: expected at least one free unknown, got all {self.size} fixed")
        return self.restrict(identity(self.size, format="csr")[:, free], g)


def semidiscrete(M: Matrix, K: Matrix, terms: tuple[Term, ...] = (), load: Load | None = None) -> SemiDiscrete:
    """Return ``M u' + K u = F(u) + b(t)`` with all degrees of freedom as unknowns; ``restrict`` and ``lifted`` follow.

    Raises ValueError for matrices of different shapes or with entries that are not finite.
    """
    n = M.shape[0]
    if M.shape != (n, n) or K.shape != (n, n):
        raise ValueError(f"M, K: expected square matrices of one size, got {M.shape} and {K.shape}")
    for matrix, name in ((M, "M"), (K, "K")):
        if not np.isfinite(matrix.data if issparse(matrix) else matrix).all():
            raise ValueError(f"{name}: expected finite entries, got NaN or infinity; check the form")
    E = identity(n, format="csr")
    return SemiDiscrete(csc_matrix(M), csc_matrix(K), terms, E, np.zeros(n), np.zeros(n), load)


def reaction(basis: CellBasis, f: Pointwise, df: Pointwise, derivative: bool = False) -> Term:
    """Return the term ``int f(u) v``, or in one dimension ``int f(u) v'``, by the quadrature of the basis."""
    trial = _at_points(basis, False)
    test = _at_points(basis, derivative).T @ diags(basis.dx.ravel())
    return Term(trial, csr_matrix(test), np.zeros(trial.shape[0]), f, df)


def periodic_line(basis: CellBasis) -> Matrix:
    """Return E ``(N, n)`` that identifies the degrees of freedom at both ends of a basis in one dimension.

    It works for elements whose unknowns sit at nodes and inside cells: Lagrange, and Hermite with its derivatives.
    Raises TypeError for other dimensions.
    """
    mesh = basis.mesh
    if mesh.dim() != 1:
        raise TypeError(f"mesh: expected one dimension, got {mesh.dim()} ({type(mesh).__name__})")
    left, right = (basis.nodal_dofs[:, pick(mesh.p[0])] for pick in (np.argmin, np.argmax))
    target = np.arange(basis.N)
    target[right] = left
    kept = np.setdiff1d(np.arange(basis.N), right)
    columns = np.searchsorted(kept, target)
    return csr_matrix((np.ones(basis.N), (np.arange(basis.N), columns)), shape=(basis.N, len(kept)))


def check_rows(u: ArrayLike, size: int, name: str = "u") -> Array:
    """Return states ``(size,)`` or ``(batch, size)`` in double; ValueError for other shapes."""
    u = np.asarray(u, dtype=float)
    if u.ndim not in (1, 2) or u.shape[-1] != size:
        raise ValueError(f"{name}: expected ({size},) or (batch, {size}), got {u.shape}")
    return u


def _rows(matrix: Matrix) -> Matrix:
    return csr_matrix(matrix) if issparse(matrix) else np.asarray(matrix)


def _at_points(basis: CellBasis, derivative: bool) -> Matrix:
    """The sparse matrix ``(nelems * nqp, N)`` of values, or first derivatives in 1D, at quadrature points."""
    shape = basis.dx.shape
    points = np.arange(shape[0] * shape[1]).reshape(shape)
    rows, columns, entries = [], [], []
    for i in range(basis.Nbfun):
        field = basis.basis[i][0]
        values = field.grad[0] if derivative else np.asarray(field)
        rows.append(points.ravel())
        columns.append(np.repeat(basis.element_dofs[i], shape[1]))
        entries.append(np.broadcast_to(values, shape).ravel())
    return csr_matrix(
        (np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), shape=(points.size, basis.N)
    )
