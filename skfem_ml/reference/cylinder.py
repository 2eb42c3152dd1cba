"""Flow past a circular cylinder: incompressible Navier-Stokes with Taylor-Hood elements, coarse and fast.

    u_t + (u . grad) u - nu lap u + grad p = 0,    div u = 0,    nu = 1 / Re,

cylinder of diameter 1 at the origin, inflow and side walls u = (1, 0), nothing prescribed at the outflow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import bmat, csc_matrix, csr_matrix
from scipy.sparse.linalg import splu
from scipy.spatial import Delaunay
from skfem import Basis, BilinearForm, ElementTriP1, ElementTriP2, FacetBasis, MeshTri
from skfem.helpers import dot, grad

Array = NDArray[np.float64]


@BilinearForm
def _mass(u, v, w):
    return u * v


@BilinearForm
def _stiffness(u, v, w):
    return dot(grad(u), grad(v))


@BilinearForm
def _minus_p_dx(p, v, w):
    return -p * grad(v)[0]


@BilinearForm
def _minus_p_dy(p, v, w):
    return -p * grad(v)[1]


def cylinder_mesh(
    around: int = 48, box: tuple[float, float, float] = (-5.0, 14.0, 5.0), spacing: float = 1.0
) -> MeshTri:
    """Return a triangle mesh of ``(x0, x1) x (-h, h)``, ``box = (x0, x1, h)``, without the disc of diameter 1.

    ``around`` nodes lie on the circle; rings of growing distance follow, then a lattice that is finer in the wake and
    ``spacing`` wide far away. Raises ValueError where the cylinder would touch the box or has less than 12 nodes.
    """
    x0, x1, h = box
    if around < 12 or not (x0 < -2 and x1 > 2 and h > 2 and 0 < spacing <= h):
        raise ValueError(
            f"around, box, spacing: expected around >= 12, x0 < -2, x1 > 2, h > 2, 0 < spacing <= h, got {around}, "
            f"{box}, {spacing}"
        )
    rings = _rings(around)
    fine = spacing / 4
    wake = _lattice(-1.5, x1, 1.75, fine, fine)
    near = _lattice(x0, x1, 3.0, spacing / 2, spacing / 2)
    far = _lattice(x0, x1, h, spacing, spacing)
    points = np.concatenate(rings, axis=1)
    reach = np.hypot(*rings[-1]).max()
    for layer, distance in ((wake, 0.5 * fine), (near, 0.4 * spacing), (far, 0.7 * spacing)):
        away = np.hypot(*layer) > reach + distance
        if layer is not wake:
            inner = (1.75, 3.0)[layer is far], (-1.5, x0)[layer is far]
            away &= (abs(layer[1]) > inner[0] + 0.3 * distance) | (layer[0] < inner[1] - 0.3 * distance)
        points = np.concatenate([points, layer[:, away]], axis=1)
    t = Delaunay(points.T).simplices.T
    # Triangles with all corners on the circle fill the cylinder.
    mesh = MeshTri(points, t[:, ~(np.hypot(*points[:, t]) < 0.5 + 1e-9).all(axis=0)])
    return mesh.with_boundaries(
        {
            "cylinder": lambda x: np.hypot(x[0], x[1]) < 1.0,
            "outflow": lambda x: np.isclose(x[0], x1),
            "free": lambda x: np.isclose(x[0], x0) | np.isclose(abs(x[1]), h),
        }
    )


def _rings(around: int) -> list[Array]:
    rings, radius, gap, turn = [], 0.5, np.pi / around, 0.0
    while radius < 1.2:
        angle = 2 * np.pi * (np.arange(around) + turn) / around
        rings.append(radius * np.array([np.cos(angle), np.sin(angle)]))
        radius, gap, turn = radius + gap * 0.9, gap * 1.25, 0.5 - turn
    return rings


def _lattice(x0: float, x1: float, h: float, dx: float, dy: float) -> Array:
    x = np.linspace(x0, x1, round((x1 - x0) / dx) + 1)
    y = np.linspace(-h, h, round(2 * h / dy) + 1)
    return np.array(np.meshgrid(x, y)).reshape(2, -1)


class CylinderFlow:
    """Taylor-Hood P2-P1 on a mesh of `cylinder_mesh`, BDF2 with extrapolated convection: a stepper.

    ``(3 u' - 4 u + u_old) / (2 dt) - nu lap u' + grad p' = -2 (u . grad) u + (u_old . grad) u_old``: one factorisation
    for all steps; dt is bound by the convective speed over the smallest cells. A state holds two velocities and the
    last pressure, ``(4 n + m,)``, n and m the unknowns of P2 and P1. Raises ValueError for numbers not positive.

    >>> flow = CylinderFlow(cylinder_mesh(12, (-3.0, 3.0, 3.0)))
    >>> state = flow.step(flow.start())
    >>> flow.dt, state.shape == (4 * flow.basis.N + flow.pressure.N,)
    (0.02, True)
    """

    def __init__(self, mesh: MeshTri, reynolds: float = 100.0, dt: float = 0.02):
        if not (reynolds > 0 and dt > 0):
            raise ValueError(f"reynolds, dt: expected positive numbers, got {reynolds}, {dt}")
        self.mesh, self.nu, self.dt = mesh, 1.0 / reynolds, float(dt)
        self.basis = Basis(mesh, ElementTriP2(), intorder=5)
        self.pressure = self.basis.with_element(ElementTriP1())
        self.M = csr_matrix(_mass.assemble(self.basis))
        K = _stiffness.assemble(self.basis)
        Bx = _minus_p_dx.assemble(self.pressure, self.basis)
        By = _minus_p_dy.assemble(self.pressure, self.basis)
        A = 1.5 / dt * self.M + self.nu * K
        system = csr_matrix(bmat([[A, None, Bx], [None, A, By], [Bx.T, By.T, None]]))
        n = self.basis.N
        fixed = np.concatenate([self.basis.get_dofs(name).flatten() for name in ("cylinder", "free")])
        fixed, stream = np.unique(fixed), self.basis.get_dofs("free").flatten()
        self._boundary = np.zeros(2 * n + self.pressure.N)
        self._boundary[np.setdiff1d(stream, self.basis.get_dofs("cylinder").flatten())] = 1.0
        self._free = np.setdiff1d(np.arange(len(self._boundary)), np.concatenate([fixed, n + fixed]))
        self._lift = (system @ self._boundary)[self._free]
        self._solve = splu(csc_matrix(system[self._free][:, self._free])).solve
        self._values, self._dx, self._dy, self._weights = _samplers(self.basis)

    def __repr__(self) -> str:
        triangles = f"{self.mesh.t.shape[1]} triangles"
        return f"CylinderFlow(Reynolds number {1 / self.nu:.4g}, {triangles}, dt = {self.dt:.4g})"

    def start(self, tilt: float = 0.5) -> Array:
        """Return the unit stream with a vortex of strength ``tilt`` behind the cylinder, which starts the shedding."""
        n = self.basis.N
        x, y = self.basis.doflocs
        bump = tilt * np.exp(-((x - 2) ** 2 + y**2))
        u = np.concatenate([1 - y * bump, (x - 2) * bump])
        fixed = np.setdiff1d(np.arange(2 * n), self._free)
        u[fixed] = self._boundary[fixed]
        return np.concatenate([u, u, np.zeros(self.pressure.N)])

    def step(self, state: Array) -> Array:
        """Return the state a time dt later."""
        n = self.basis.N
        u, old = state[: 2 * n].reshape(2, n), state[2 * n : 4 * n].reshape(2, n)
        load = (self.M @ (2 * u - 0.5 * old).T).T / self.dt - 2 * self._convection(u) + self._convection(old)
        right = np.concatenate([load.ravel(), np.zeros(self.pressure.N)])[self._free] - self._lift
        new = self._boundary.copy()
        new[self._free] = self._solve(right)
        return np.concatenate([new[: 2 * n], state[: 2 * n], new[2 * n :]])

    def velocity(self, state: Array) -> Array:
        """Return the velocity at the P2 nodes, ``(2, n)``."""
        return state[: 2 * self.basis.N].reshape(2, -1)

    def divergence(self, state: Array) -> float:
        """Return the largest ``|int q div u|`` over the pressure's basis functions q."""
        u = self.velocity(state)
        div = self._dx @ u[0] + self._dy @ u[1]
        tested = np.zeros(self.pressure.N)
        phi = np.stack([np.asarray(b[0]) for b in self.pressure.basis])
        parts = (phi * (div * self._weights).reshape(self.basis.dx.shape)).sum(axis=-1)
        np.add.at(tested, self.pressure.element_dofs, parts)
        return float(abs(tested).max())

    def lift(self, state: Array) -> float:
        """Return the lift coefficient ``2 F_y`` of the stress on the cylinder (diameter and density 1)."""
        facets = FacetBasis(self.mesh, ElementTriP2(), facets="cylinder", intorder=5)
        pressure = FacetBasis(self.mesh, ElementTriP1(), facets="cylinder", intorder=5)
        u, v = (facets.interpolate(part) for part in self.velocity(state))
        p = np.asarray(pressure.interpolate(state[4 * self.basis.N :]))
        normal = facets.normals  # out of the fluid, into the cylinder
        # Force on the body: minus the stress of the fluid along the fluid's outer normal.
        force = p * normal[1] - self.nu * ((v.grad[0] + u.grad[1]) * normal[0] + 2 * v.grad[1] * normal[1])
        return float(2 * (force * facets.dx).sum())

    def _convection(self, u: Array) -> Array:
        """``int (u . grad) u_i v`` for all test functions, ``(2, n)``."""
        speed = self._values @ u.T * self._weights[:, None]
        slopes = np.stack([self._dx @ u.T, self._dy @ u.T])
        return (self._values.T @ (speed[:, :1] * slopes[0] + speed[:, 1:] * slopes[1])).T


def _samplers(basis: Basis) -> tuple[csr_matrix, csr_matrix, csr_matrix, Array]:
    """Matrices from degrees of freedom to values and slopes at all quadrature points, and the weights."""
    cells, points = basis.dx.shape
    rows = np.repeat(np.arange(cells * points)[None], basis.Nbfun, axis=0)
    columns = np.repeat(basis.element_dofs[:, :, None], points, axis=2).reshape(basis.Nbfun, -1)

    def matrix(entries: list[Array]) -> csr_matrix:
        data = np.stack([np.broadcast_to(e, (cells, points)).ravel() for e in entries])
        return csr_matrix((data.ravel(), (rows.ravel(), columns.ravel())), shape=(cells * points, basis.N))

    fields = [b[0] for b in basis.basis]
    slopes = [matrix([f.grad[k] for f in fields]) for k in (0, 1)]
    return matrix([np.asarray(f) for f in fields]), *slopes, basis.dx.ravel()
