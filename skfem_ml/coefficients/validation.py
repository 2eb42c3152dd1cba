"""Checks of coefficients and of the numbers that describe them, made before any assembly."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGE_CONTRAST = 1e10


def validate(a: ArrayLike, nelems: int, name: str = "a") -> NDArray[np.float64]:
    """Return a coefficient as float64 after checking that it is finite, positive and of the right length.

    A scalar coefficient is ``(nelems,)``, one positive value per cell in the mesh's own order; a tensor coefficient is
    ``(d, d, nelems)``, symmetric positive definite in every cell.

    Raises ValueError that names the first offending cell, its value and how many there are, or the expected and the
    given shape. Warns (UserWarning) where the largest over the smallest value (eigenvalue) exceeds 1e10.
    """
    values = _as_float(a, name)
    if values.ndim == 3 and values.shape[0] == values.shape[1] and values.shape[2] == nelems:
        smallest, largest = _check_tensor(values, name)
    elif values.shape == (nelems,):
        _reject(~np.isfinite(values), values, name, "not finite")
        _reject(values <= 0, values, name, "not positive")
        smallest, largest = (values.min(), values.max()) if nelems else (1.0, 1.0)
    else:
        raise ValueError(_shape_message(values.shape, nelems, name))
    # Divided in this order the quotient stays finite for values near the ends of the float range.
    if smallest < largest / LARGE_CONTRAST:
        warnings.warn(
            f"{name}: contrast {largest:.3g} / {smallest:.3g} is above {LARGE_CONTRAST:.0e}; expect loss of digits, "
            "and check the residual of every solve (solver_direct() does)",
            UserWarning,
            stacklevel=2,
        )
    return values


def _as_float(a: ArrayLike, name: str) -> NDArray[np.float64]:
    values = np.asarray(a)
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected an array of real numbers, got dtype {values.dtype}; convert it to float64")
    return values.astype(np.float64)


def _shape_message(shape: tuple[int, ...], nelems: int, name: str) -> str:
    start = f"{name}: expected shape ({nelems},), one value per cell, got "
    if len(shape) == 2 and shape[0] == nelems:
        return start + f"values at quadrature points, shape {shape}; pass one value per cell (for example the mean)"
    if len(shape) == 1:
        return start + f"{shape[0]} values; the coefficient belongs to another mesh, or is nodal"
    return start + f"shape {shape}; tensor coefficients are (d, d, {nelems})"


def _reject(bad: NDArray[np.bool_], values: NDArray, name: str, what: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"{name}: {int(bad.sum())} of {bad.size} values are {what}, the first is {values[first]} in cell {first}; "
            "give every cell a positive, finite value"
        )


def _check_tensor(values: NDArray[np.float64], name: str) -> tuple[float, float]:
    tensors = values.transpose(2, 0, 1)
    scale = abs(tensors).max(axis=(1, 2)) if len(tensors) else np.zeros(0)
    skew = abs(tensors - tensors.transpose(0, 2, 1)).max(axis=(1, 2)) if len(tensors) else np.zeros(0)
    _reject_tensor(~np.isfinite(scale), tensors, name, "not finite")
    _reject_tensor(skew > 1e-12 * scale, tensors, name, "not symmetric")
    eigenvalues = np.linalg.eigvalsh(tensors)
    _reject_tensor(eigenvalues[:, :1].min(axis=1, initial=np.inf) <= 0, tensors, name, "not positive definite")
    return float(eigenvalues.min(initial=np.inf)), float(eigenvalues.max(initial=-np.inf))


def _reject_tensor(bad: NDArray[np.bool_], tensors: NDArray, name: str, what: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"{name}: {int(bad.sum())} of {bad.size} tensors are {what}, the first is {tensors[first].tolist()} in "
            f"cell {first}; give every cell a symmetric positive definite tensor"
        )
