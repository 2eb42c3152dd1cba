"""Any partial differential equation, said as scikit-fem says it: a function of ``(u, w)``, or one's own forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skfem import BilinearForm, LinearForm, Mesh, MeshHex, MeshLine, MeshQuad

from skfem_ml import checks
from skfem_ml.meshes.cells import bounding_box

Array = NDArray[np.float64]
Residual = Callable[..., object]
# A number, or a callable g(x), g(x, t); None: no condition. One a field where there are several.
Data = float | Callable[..., ArrayLike] | None | tuple["float | Callable[..., ArrayLike] | None", ...]
SIDES = {1: ("left", "right"), 2: ("left", "right", "bottom", "top"),
         3: ("left", "right", "bottom", "top", "front", "back")}  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class PDE:
    """``residual(u, w) = 0`` on a box or mesh, with ``u = boundary`` on the boundary and ``u = initial`` at the start.

    **Equation.** ``residual(u, w)`` is written as a form of scikit-fem: ``u``, ``u.grad``, ``u.hess`` and, with
    ``time``, ``u.ddt`` (a field again: ``u.ddt.ddt``); ``skfem.helpers`` apply (``grad``, ``div``, ``dd``, ``dot``),
    ``w.x`` and ``w.t`` are the points. Or it is a `BilinearForm` ``(u, v, w)``, which may be nonlinear in u, beside a
    `LinearForm` ``load``. ``coefficients`` are numbers, or arrays ``(nelems,)`` on a mesh, under their name in ``w``.
    Systems: ``components=2`` is a vector field (``u[0]``, ``div(u)``); ``components=(2, 1)`` are two fields, the
    function is ``(u, p, w)``, and it returns one array, or a tuple of them.

    **Data.** ``domain`` is a box ``[(low, high), ...]`` or a mesh, ``time`` is ``(start, end)``. ``boundary`` is a
    number, a callable ``g(x)`` or ``g(x, t)``, or a dictionary of these by side (left, right, bottom, top, front,
    back, or the mesh's names); ``initial`` a number or ``u0(x)``; tuples where there are several fields.
    ``conditions`` are residuals ``(u, w)`` on sides, with the normal ``w.n``: Neumann, Robin; they are penalised.
    So are boundary and initial data with ``hard=False``, else these are built into the solution.

    **Inverse problems.** ``unknown`` names scalars (by their first guess) and fields (by a callable, the first guess),
    which are then in ``w``; ``data`` is ``(x, values)`` or ``(x, t, values)``, what was measured of u.

    Raises ValueError and TypeError for what does not fit together: see the messages.

    >>> from skfem.helpers import dd, grad
    >>> def burgers(u, w):
    ...     return u.ddt + u * grad(u)[0] - 0.05 * dd(u)[0, 0]
    >>> PDE(burgers, [(-1, 1)], time=(0, 1), initial=lambda x: -np.sin(np.pi * x[0]), boundary=0.0)
    PDE(burgers of u(x, t) on (-1, 1), t from 0 to 1)
    """

    residual: Residual | BilinearForm
    domain: Sequence[tuple[float, float]] | Mesh
    _: KW_ONLY
    time: tuple[float, float] | None = None
    initial: Data = None
    boundary: Data | Mapping[str, Data] = None
    conditions: Mapping[str, Residual] = field(default_factory=dict)
    load: LinearForm | None = None
    coefficients: Mapping[str, float | Array] = field(default_factory=dict)
    components: int | tuple[int, ...] = 1
    unknown: Mapping[str, float | Callable[[Array], ArrayLike]] = field(default_factory=dict)
    data: tuple[ArrayLike, ...] | None = None
    hard: bool = True
    exact: Callable[..., Array] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        self._check_domain()
        sizes = self.fields
        for size in sizes:
            checks.whole(size, "components", 1)
        self._check_arity()
        both = sorted(set(self.unknown) & set(self.coefficients) | set(self.unknown) & {"x", "t", "n", "h"})
        if both:
            raise ValueError(f"unknown: expected names of their own, got {both}; rename them")
        for name, guess in self.unknown.items():
            if not callable(guess):
                checks.finite(guess, f"unknown[{name!r}]", "give a first guess, a number or a callable of x")
        if self.initial is not None and self.time is None:
            raise ValueError("initial: expected none without time; give time=(0, 1), or boundary data alone")
        if self.load is not None and not self.weak:
            raise TypeError("load: expected none beside a residual(u, w), got one; subtract it in the residual")
        if self.weak and len(sizes) > 1:
            raise ValueError(f"components: expected one field for a weak form, got {sizes}; write the strong form")
        if self.time is not None and self.initial is None:
            raise ValueError("initial: expected a number or callable u0(x) with time, got none")
        if self.data is not None:
            self.measurements()
        self.sides()

    def _check_domain(self) -> None:
        if not isinstance(self.domain, Mesh):
            box = np.asarray(self.domain, dtype=float)
            if box.ndim != 2 or box.shape[1:] != (2,) or not (box[:, 0] < box[:, 1]).all():
                raise ValueError(
                    f"domain: expected a mesh, or one pair (low, high) with low < high an axis, got {self.domain!r}"
                )
            checks.finite(box, "domain")
        if self.time is not None and not (len(self.time) == 2 and -np.inf < self.time[0] < self.time[1] < np.inf):
            raise ValueError(f"time: expected (start, end) with start < end, got {self.time!r}")

    def _check_arity(self) -> None:
        function = self.function
        if not callable(function):
            raise TypeError(f"residual: expected a function (u, w) or a BilinearForm, got {self.residual!r}")
        wanted = 3 if self.weak else len(self.fields) + 1
        got = checks.required_arguments(function)
        if got is not None and got != wanted:
            names = "u, v, w" if self.weak else ", ".join([*(f"u{k}" for k in range(wanted - 1)), "w"])
            raise TypeError(
                f"residual: expected {wanted} arguments ({names}) for components={self.components}, got {got}; give "
                "components=(2, 1), say, for two fields (u, p, w), or a BilinearForm for (u, v, w)"
            )

    @property
    def weak(self) -> bool:
        """Whether the equation is a form, not a strong residual."""
        return isinstance(self.residual, BilinearForm)

    @property
    def function(self) -> Residual:
        """The residual ``(u, w)``, or the integrand ``(u, v, w)`` of the form."""
        inner = self.residual.form if isinstance(self.residual, BilinearForm) else self.residual
        return cast(Residual, inner)

    @property
    def fields(self) -> tuple[int, ...]:
        """The number of components of each field."""
        return self.components if isinstance(self.components, tuple) else (self.components,)

    @property
    def dim(self) -> int:
        """The number of space dimensions."""
        return self.domain.dim() if isinstance(self.domain, Mesh) else len(self.domain)

    @property
    def t_start(self) -> float:
        """The start time; 0 where there is none."""
        return 0.0 if self.time is None else float(self.time[0])

    @property
    def t_end(self) -> float:
        """The end time; 0 where there is none."""
        return 0.0 if self.time is None else float(self.time[1])

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """The corners of the box, or the bounding box of the mesh, ``(dim,)`` each."""
        if isinstance(self.domain, Mesh):
            low, high = bounding_box(self.domain)
            return np.asarray(low), np.asarray(high)
        box = np.asarray(self.domain, dtype=float)
        return box[:, 0], box[:, 1]

    @cached_property
    def mesh(self) -> Mesh:
        """The domain as a mesh: on a box 128 lines, 24 x 24 quads or 8 x 8 x 8 hexahedra, for errors and pictures."""
        if isinstance(self.domain, Mesh):
            return self.domain
        low, high = self.bounds
        if self.dim > 3:
            raise ValueError(f"mesh: expected at most 3 dimensions, got {self.dim}; measure at points of your own")
        cells = (128, 24, 8)[self.dim - 1]
        lines = [np.linspace(a, b, cells + 1) for a, b in zip(low, high, strict=True)]
        if self.dim == 1:
            return with_sides(MeshLine(lines[0]))
        return with_sides((MeshQuad if self.dim == 2 else MeshHex).init_tensor(*lines))

    def sides(self) -> dict[str | None, Data]:
        """Return the Dirichlet data by side; the key None is the whole boundary. Sides of `conditions` have none.

        Raises ValueError for sides that the domain does not have.
        """
        known = sorted(self.domain.boundaries or {}) if isinstance(self.domain, Mesh) else SIDES.get(self.dim, ())
        data = self.boundary if isinstance(self.boundary, Mapping) else {}
        wrong = sorted((set(data) | set(self.conditions)) - set(known))
        if wrong:
            raise ValueError(f"boundary, conditions: expected sides among {', '.join(known) or 'none'}, got {wrong}")
        if isinstance(self.boundary, Mapping):
            return {name: self.boundary[name] for name in self.boundary}
        if self.boundary is None:
            return {}
        if not self.conditions or self.dim not in SIDES:
            return {None: self.boundary}
        return {name: self.boundary for name in known if name not in self.conditions}

    def measurements(self) -> tuple[Array, Array]:
        """Return the points ``(dim [+ 1], n)`` of the data, time last, and the values ``(components, n)``."""
        parts = [np.asarray(part, dtype=float) for part in self.data or ()]
        if len(parts) != 2 + (self.time is not None):
            raise ValueError(f"data: expected (x, {'t, ' if self.time else ''}values), got {len(parts)} arrays")
        x, values = np.atleast_2d(parts[0]), parts[-1]
        n, total = x.shape[-1], self.fields[0]
        if x.shape != (self.dim, n) or values.shape not in ((n,), (total, n)):
            raise ValueError(
                f"data: expected x ({self.dim}, n) and values (n,) or ({total}, n), got {x.shape} and {values.shape}"
            )
        checks.finite(values, "data")
        z = x if self.time is None else np.concatenate([x, np.broadcast_to(parts[1], n)[None]])
        return z, values.reshape(-1, n)

    def __repr__(self) -> str:
        function = self.function
        name = self.name or getattr(function, "__name__", type(function).__name__)
        where = f"{self.domain.t.shape[1]} cells" if isinstance(self.domain, Mesh) else " x ".join(
            f"({a:g}, {b:g})" for a, b in zip(*self.bounds, strict=True))  # fmt: skip
        when = "" if self.time is None else f", t from {self.t_start:g} to {self.t_end:g}"
        more = f", unknown {', '.join(self.unknown)}" if self.unknown else ""
        return f"PDE({name} of u(x{', t' if self.time else ''}) on {where}{when}{more})"


def with_sides(mesh: Mesh) -> Mesh:
    """Return the mesh of a box with the names of its sides, as `Mesh.with_defaults` gives them, lines too."""
    low, high = np.asarray(bounding_box(mesh))
    names = {name: (k // 2, (low, high)[k % 2][k // 2]) for k, name in enumerate(SIDES[mesh.dim()])}
    return mesh.with_boundaries(
        {name: lambda x, axis=axis, at=at: np.isclose(x[axis], at, atol=1e-9 * (high - low).max())
         for name, (axis, at) in names.items()}
    )  # fmt: skip
