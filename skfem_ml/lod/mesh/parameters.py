"""The parameters of a discretisation: what is refused, and what is clipped."""

from __future__ import annotations

from skfem import Basis

from skfem_ml import checks
from skfem_ml.meshes.grid import ELEMENTS, BoxGrid


def check_cells(n: int, m: int) -> None:
    """Raise ValueError unless m coefficient cells along a coarse edge divide n fine ones."""
    if n % m:
        raise ValueError(f"cells: expected a divisor of refine = {n}, got {m}")


def clipped(ell: int, grid: BoxGrid) -> int:
    """The localisation parameter, no larger than the domain; warns (UserWarning) where it was."""
    most = max(max(grid.shape) - 1, 1)
    if ell > most:
        checks.warn(
            f"ell: {ell} layers are more than fit into the domain of {' x '.join(map(str, grid.shape))} coarse cells; "
            f"ell = {most} is used, which is the same"
        )
    return min(ell, most)


def checked_basis(coarse: Basis, dim: int) -> Basis:
    """A basis, if it is one of scalar Q1 functions on all cells of its mesh. Raises TypeError for others."""
    element = ELEMENTS[dim]
    if type(coarse.elem) is not element:
        raise TypeError(
            f"coarse: expected a basis of {element.__name__}, got one of {type(coarse.elem).__name__}; LOD treats "
            "scalar Q1 spaces (no vector or higher-order elements)"
        )
    if coarse.tind is not None:
        raise TypeError(
            "coarse: expected a basis on all cells of its mesh, got one on a subset; restrict the mesh instead"
        )
    return coarse
