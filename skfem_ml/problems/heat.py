"""The heat equation on any scikit-fem mesh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, CellBasis, LinearForm, Mesh, MeshLine

from skfem_ml.meshes.cells import bounding_box
from skfem_ml.problems.diffusion import Field, evaluate
from skfem_ml.solutions import Analytic

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Heat:
    """Heat equation ``u_t = a laplace(u) + f`` on ``(0, t_end]``, ``u = g`` on the boundary, ``u = initial`` at 0.

    ``a`` is a positive number, ``f`` a number or a callable ``f(x, t)``, ``g`` a number or a callable ``g(x)``
    (boundary data do not change in time), ``initial`` a callable ``u0(x)`` with ``x`` ``(dim, ...)``; methods
    that use the strong form need it as `solutions.Analytic` with its Laplacian. ``exact`` is a solution ``u(x, t)``.

    Raises ValueError for a, t_end or f out of range, values that are not finite, and boundary data that contradict the
    initial data at a boundary vertex.

    >>> import numpy as np
    >>> from skfem_ml import heat_box
    >>> problem = heat_box()
    >>> problem, float(problem.exact(np.array([[0.5]]), 0.0)[0])
    (Heat(100 cells in 1D, a = 1, to t = 1), 1.0)
    """

    mesh: Mesh
    initial: Callable[[Array], Array]
    a: float = 1.0
    f: float | Callable[[Array, float], Array] = 0.0
    g: Field = 0.0
    t_end: float = 1.0
    exact: Callable[[Array, float], Array] | None = None
    name: str = "heat"

    def __post_init__(self) -> None:
        for value, label in ((self.a, "a"), (self.t_end, "t_end")):
            if not (np.ndim(value) == 0 and np.isfinite(value) and value > 0):
                raise ValueError(f"{label}: expected one positive finite number, got {value!r}")
        if not callable(self.f) and not np.isfinite(self.f):
            raise ValueError(f"f: expected a finite number or a callable f(x, t), got {self.f}")
        if not callable(self.initial):
            raise ValueError(f"initial: expected a callable u0(x), got {self.initial!r}")
        self._require_compatible()

    def __repr__(self) -> str:
        return f"Heat({self.mesh.t.shape[1]} cells in {self.mesh.dim()}D, a = {self.a:.4g}, to t = {self.t_end:.4g})"

    def _require_compatible(self) -> None:
        x = self.mesh.p[:, self.mesh.boundary_nodes()]
        start, edge = evaluate(self.initial, x), evaluate(self.g, x)
        scale = max(1.0, float(abs(start).max()), float(abs(edge).max()))
        wrong = abs(start - edge) > 1e-8 * scale
        if wrong.any():
            k = int(wrong.argmax())
            raise ValueError(
                f"g, initial: boundary data contradict the initial data at {int(wrong.sum())} boundary vertices, the "
                f"first is {x[:, k].tolist()}: g = {edge[k]:.6g}, initial = {start[k]:.6g}; make them agree at t = 0"
            )

    def source(self, x: Array, t: float) -> Array:
        """Return f at points ``x`` ``(dim, ...)`` and one time."""
        f = self.f
        return evaluate((lambda y: f(y, t)) if callable(f) else f, x)

    def load(self, basis: CellBasis, t: float) -> Array:
        """Return the vector of ``int f(., t) v``, ``(basis.N,)``."""

        @LinearForm
        def form(v, w):
            return self.source(np.asarray(w.x), t) * v

        return form.assemble(basis)

    def require_mesh(self, mesh: Mesh) -> None:
        """Raise ValueError unless ``mesh`` has the dimension and the bounding box of the problem's mesh."""
        if mesh.dim() != self.mesh.dim():
            raise ValueError(
                f"mesh: expected dimension {self.mesh.dim()}, that of the problem's mesh, got {mesh.dim()} "
                f"({type(mesh).__name__})"
            )
        ours, theirs = np.array(bounding_box(self.mesh)), np.array(bounding_box(mesh))
        if not np.allclose(ours, theirs, atol=1e-9 * np.ptp(ours)):
            raise ValueError(
                f"mesh: expected a mesh of the problem's domain, from {ours[0].tolist()} to {ours[1].tolist()}, got "
                f"one from {theirs[0].tolist()} to {theirs[1].tolist()}"
            )


def heat_box(mesh: Mesh | None = None, t_end: float = 1.0) -> Heat:
    """Return the heat equation with ``u0 = prod sin(pi x_i)`` on a mesh of the unit box (default: segment, 100 cells).

    The exact solution is ``exp(-dim pi^2 t) prod sin(pi x_i)``. On the segment it is the report's problem (1)-(6).
    Raises ValueError for a mesh of another domain.
    """
    mesh = MeshLine(np.linspace(0, 1, 101)) if mesh is None else mesh
    dim = mesh.dim()
    volume = float(Basis(mesh, mesh.elem(), intorder=2).dx.sum())
    if not (np.allclose(bounding_box(mesh), [np.zeros(dim), np.ones(dim)]) and np.isclose(volume, 1)):
        raise ValueError(f"mesh: expected a mesh of the unit box, got bounds {bounding_box(mesh)}, volume {volume:.6g}")

    def value(x: Array) -> Array:
        return np.sin(np.pi * x).prod(axis=0)

    def gradient(x: Array) -> Array:
        s, c = np.sin(np.pi * x), np.pi * np.cos(np.pi * x)
        return np.stack(
            [np.where(np.arange(dim).reshape(-1, *[1] * (x.ndim - 1)) == i, c, s).prod(axis=0) for i in range(dim)]
        )

    initial = Analytic(value, gradient, lambda x: -dim * np.pi**2 * value(x))
    return Heat(
        mesh,
        initial,
        t_end=t_end,
        name="heat",
        exact=lambda x, t: np.exp(-dim * np.pi**2 * np.asarray(t)) * value(np.asarray(x)),
    )
