"""Multigrid for many fields at once, in torch: the levels, interpolation and cycles of `Multigrid` on batches."""

# Tensors go where arrays are written (`elements.Field`); only the types of that differ.
# mypy: disable-error-code="arg-type, call-overload, misc, index, list-item, return-value"

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import Basis, BilinearForm, Mesh

from skfem_ml import checks
from skfem_ml.coefficients.validation import validate
from skfem_ml.meshes.boundary import Dirichlet
from skfem_ml.meshes.forms import refuse_complex
from skfem_ml.meshes.grid import BoxGrid
from skfem_ml.solvers.multigrid.batch_krylov import BatchGradients
from skfem_ml.solvers.multigrid.blocks import BlockCholesky
from skfem_ml.solvers.multigrid.cycles import Cycles, Level
from skfem_ml.solvers.multigrid.elements import Elements, offsets
from skfem_ml.solvers.multigrid.geometry import Geometry
from skfem_ml.solvers.multigrid.hierarchy import COARSEST, coarse_unit, constant_on_parents, obstacle
from skfem_ml.solvers.multigrid.interpolation import Interpolation, black_box, coarse_elements, linear, nodes_of, pinned
from skfem_ml.solvers.multigrid.krylov import LEAST, Solved

if TYPE_CHECKING:
    from torch import Tensor


class MultigridBatch:
    """`Multigrid` for k coefficients of one form on one mesh at once, on a CPU or a GPU.

    The same levels, cycles and steps as `Multigrid` for each of the fields, to rounding. The mesh is a full tensor grid
    of equal cells (a rectangle of quads, a box of hexes, a line), the form a multiple of one field (diffusion with a
    scalar coefficient).

    Parameters
    ----------
    basis, form, dirichlet, coarsest
        As for `Multigrid`.
    device
        A torch device, ``"cpu"`` or ``"cuda"``.
    coefficients
        The form's keyword arguments: one field, of ``(k, nelems)`` values in the mesh's own order, else numbers.

    Raises
    ------
    ValueError
        For fields of another shape, forms that are not multiples of one field, meshes with holes or unequal cells, and
        numbers of cells that cannot be halved to at most ``coarsest`` nodes.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.problems import diffusion
    >>> from skfem_ml.solvers import MultigridBatch
    >>> fields = np.random.default_rng(0).uniform(1, 5, (3, 1024))
    >>> solved = MultigridBatch(MeshQuad().refined(5), diffusion, a=fields).complete(np.ones(33 * 33) / 1024)
    >>> solved.u.shape, bool(solved.energy_error.max() < 1e-6)
    ((3, 1089), True)
    """

    def __init__(
        self,
        basis: Basis | Mesh | BoxGrid,
        form: BilinearForm,
        *,
        dirichlet: Dirichlet = None,
        device: str = "cpu",
        coarsest: int = COARSEST,
        **coefficients: ArrayLike,
    ):

        checks.device(device)
        refuse_complex(form)
        self.geometry, self.device = Geometry.of(basis, dirichlet), device
        if not self.geometry.fixed.any():
            raise ValueError("dirichlet: expected a part where u is fixed, got none: the matrix is singular")
        values, unit = _fields(self.geometry, form, coefficients)
        self.fields = len(values)
        self._made_of = values[:, self.geometry.grid.cell_at], unit, checks.whole(coarsest, "coarsest", 1)
        self._build(*self._made_of)

    def __getstate__(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("geometry", "device", "fields", "_made_of")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._build(*self._made_of)

    def _build(self, a: ndarray, unit: ndarray, coarsest: int) -> None:
        fixed, dim = self.geometry.fixed, self.geometry.dim
        self._free = self._tensor(~fixed)
        elements, smooth = Elements([self._tensor(a)], dim, unit), np.ones(self.fields, dtype=bool)
        levels: list[Level] = []
        while fixed.size > coarsest:
            if reason := obstacle(np.ones(elements.cells, dtype=bool)):
                raise ValueError(f"basis: expected cells to be halved to at most {coarsest} nodes, got {reason}")
            stencil = elements.stencil()
            scaled = self._scaled(elements, stencil, np.where(smooth, _exact_bound(unit), np.nan), ~fixed)
            interpolation, smooth = self._interpolation(elements, stencil, fixed, smooth)
            levels.append(Level(_product(stencil), scaled, interpolation))
            elements = coarse_elements(elements, interpolation)
            unit, fixed = coarse_unit(unit), fixed[nodes_of((0,) * dim)]
        stencil = elements.stencil()
        solve = BlockCholesky(stencil, ~fixed)
        self._cycles = Cycles(levels, lambda b, given: solve(b), dim)
        self._product, self.levels = levels[0].product if levels else _product(stencil), len(levels) + 1

    def _scaled(self, elements: Elements, stencil: Tensor, bound: ndarray, free: ndarray) -> Tensor:
        """D^-1 / lambda at free nodes; ``bound`` is lambda where it is known, nan elsewhere, ``(k,)``."""
        import torch

        known = self._tensor(bound)
        bounds = torch.where(known.isnan(), elements.spectral_bound(), known)
        return self._tensor(free) / (bounds.reshape(-1, *(1,) * elements.dim) * stencil[len(stencil) // 2])

    def _interpolation(
        self, elements: Elements, stencil: Tensor, fixed: ndarray, smooth: ndarray
    ) -> tuple[Interpolation, ndarray]:
        """P, and for which fields it is (bi)linear: those whose element matrices are multiples of one matrix, as
        ``smooth`` says, and equal on the children of every coarse cell.
        """
        import torch

        dim, straight = elements.dim, linear(elements.dim)
        if smooth.any():
            smooth = smooth & np.array([constant_on_parents(one.cpu().numpy(), dim) for one in elements.values[0]])
        weights = straight.weights
        if not smooth.all():
            mask = self._tensor(smooth).reshape(-1, *(1,) * dim)
            weights = {
                parity: {at: torch.where(mask, straight.weights[parity][at], weight) for at, weight in chosen.items()}
                for parity, chosen in black_box(stencil, dim, lower_order=False).weights.items()
            }
        interpolation, changed = pinned(Interpolation(weights, dim), fixed, stencil)
        return interpolation, smooth & (not changed)

    def fmg(self, b: ArrayLike) -> ndarray:
        """One full-multigrid pass for every field, u = 0 on Gamma_D: ``(k, N)``; ``b`` is ``(N,)`` or ``(k, N)``."""
        return self._values(self._cycles.full_multigrid(self._on_grid(b)) * self._free)

    def complete(self, b: ArrayLike, tol: float = 1e-6, maxiter: int = 200) -> Solved:
        """Solutions to a relative error of ``tol`` in energy, as `Multigrid.complete`: u ``(k, N)``, the rest ``(k,)``.

        Fields that are done wait for the others. Raises RuntimeError where ``maxiter`` steps do not do.
        """
        return self._iterated(b, tol, np.inf, maxiter)

    def solve(self, b: ArrayLike, rtol: float = 1e-8, maxiter: int = 100) -> Solved:
        """Solutions to ``|b - A u| <= rtol |b|`` at the free nodes of every field; see `complete`."""
        return self._iterated(b, np.inf, rtol, maxiter)

    def _iterated(self, b: ArrayLike, tol: float, rtol: float, maxiter: int) -> Solved:
        right, cycles = self._on_grid(b), self._cycles
        iterate = BatchGradients(cycles.cycle, self._product, self._free, right, cycles.full_multigrid(right))
        while True:
            residual, error = iterate.residual(), iterate.energy_error()
            done = iterate.exact() | ((iterate.steps >= LEAST) & (error <= tol) & (residual <= rtol))
            if done.all():
                return Solved(self._values(iterate.x), residual, error, iterate.steps)
            if iterate.steps.max() >= maxiter:
                worst = int(np.argmax(np.where(done, 0, error)))
                raise RuntimeError(
                    f"{int((~done).sum())} of {len(done)} fields are not solved after {maxiter} steps, the worst is "
                    f"field {worst}: residual {residual[worst]:.1e}, energy error about {error[worst]:.1e}"
                )
            iterate.step(~done)

    def _on_grid(self, b: ArrayLike) -> Tensor:
        values, size = np.asarray(b, dtype=float), self.geometry.size
        if values.shape not in ((size,), (self.fields, size)):
            raise ValueError(
                f"b: expected ({size},), or ({self.fields}, {size}) for {self.fields} fields, got {values.shape}"
            )
        checks.finite(values, "b")
        on_grid = np.broadcast_to(values, (self.fields, size))[:, self.geometry.dofs]
        return self._tensor(on_grid) * self._free

    def _values(self, x: Tensor) -> ndarray:
        out = np.zeros((self.fields, self.geometry.size))
        out[:, self.geometry.dofs.ravel()] = x.reshape(self.fields, -1).cpu().numpy()
        return out

    def _tensor(self, values: ndarray) -> Tensor:
        import torch

        # Indexing an axis that is not the first leaves numpy's arrays transposed in memory.
        return torch.as_tensor(np.ascontiguousarray(values), device=self.device)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.geometry.grid.shape))
        kind = {1: "lines", 2: "quads", 3: "hexes"}[self.geometry.dim]
        return f"MultigridBatch({self.fields} fields on {shape} {kind}, {self.levels} levels, on {self.device})"


def _exact_bound(unit: ndarray) -> float:
    return Elements([np.ones(1)], len(unit).bit_length() - 1, unit).exact_bound()


def _fields(geometry: Geometry, form: BilinearForm, coefficients: Mapping[str, ArrayLike]) -> tuple[ndarray, ndarray]:
    """The values ``(k, nelems)`` of the one field, and the unit matrix of which all element matrices are multiples."""
    arrays = {name: np.asarray(value, dtype=float) for name, value in coefficients.items()}
    fields = [name for name, value in arrays.items() if value.ndim]
    nelems = geometry.grid.cells.shape[1]
    if len(fields) != 1 or arrays[fields[0]].ndim != 2 or arrays[fields[0]].shape[1] != nelems:
        shapes = {name: arrays[name].shape for name in fields}
        raise ValueError(f"coefficients: expected one field (k, {nelems}), else numbers, got {shapes or 'no field'}")
    name = fields[0]
    values = np.stack([validate(one, nelems, name) for one in arrays[name]])
    numbers = {key: float(value) for key, value in arrays.items() if key != name}
    unit = geometry.unit(form, {**numbers, name: values.ravel()}, name) if geometry.filled.all() else None
    if unit is None:
        raise ValueError(
            "form, basis: expected a form that is a multiple of one field (diffusion with a scalar coefficient) "
            "on a full grid of equal cells, got another; take one Multigrid a field"
        )
    return values, unit


def _product(stencil: Tensor) -> Callable[[Tensor], Tensor]:
    """x -> A x on the grid: products of shifted vectors, one field after the other on a CPU, for its cache.

    As entries of the stencil that point out of the grid are zero, the grid may be read as one vector.
    """
    nodes = stencil.shape[2:]
    strides = [int(np.prod(nodes[axis + 1 :])) for axis in range(len(nodes))]
    steps = [sum(o * s for o, s in zip(offset, strides, strict=True)) for offset in offsets(len(nodes))]
    on_cpu = stencil.device.type == "cpu"
    rows = stencil.reshape(len(steps), stencil.shape[1] if on_cpu else 1, -1)

    def product(x: Tensor) -> Tensor:
        given = x.reshape(rows.shape[1:])
        out = given * rows[len(steps) // 2]
        for k in range(len(given)):
            size = len(out[k])
            for row, step in zip(rows[:, k], steps, strict=True):
                if step:
                    here, there = slice(max(-step, 0), size - max(step, 0)), slice(max(step, 0), size - max(-step, 0))
                    out[k][here].addcmul_(row[here], given[k][there])
        return out.reshape(x.shape)

    return product
