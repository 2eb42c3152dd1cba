"""The check of a coefficient, made before any assembly: shape, finite values, sign, contrast."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skfem.element import DiscreteField

Array = NDArray[np.float64]
LARGE_CONTRAST = 1e10


def validate(
    a: ArrayLike | DiscreteField | Callable[..., object],
    nelems: int,
    name: str = "a",
    *,
    dim: int | None = None,
    positive: bool = True,
) -> Array:
    """Return a cellwise coefficient as float64 after checking its shape, that it is finite and that it is positive.

    A scalar coefficient is ``(nelems,)``, one value per cell in the mesh's own order; ``(nelems, 1)``, which is
    ``a[:, None]``, and a scikit-fem field that is constant in every cell (``basis0.interpolate(a)``, piecewise constant
    elements) are taken for it. A tensor coefficient is ``(d, d, nelems)``, symmetric positive definite in every cell;
    ``dim``, if given, is what d must be. ``positive=False`` is for terms that allow any sign (reactions, weights).

    Raises ValueError that names the first offending cell, its value and how many there are, or the expected and the
    given shape; TypeError for a callable. Warns (UserWarning) where the largest over the smallest value (eigenvalue) of
    a positive coefficient exceeds 1e10.
    """
    values = _cellwise(a, nelems, name)
    if values.shape == (nelems,):
        _reject(~np.isfinite(values), values, name, "not finite", positive)
        _reject((values <= 0) & positive, values, name, "not positive", positive)
        smallest, largest = (values.min(), values.max()) if nelems else (1.0, 1.0)
    elif values.ndim == 3 and values.shape == (dim or values.shape[0], values.shape[0], nelems):
        smallest, largest = _check_tensor(values, name, positive)
    else:
        raise ValueError(_shape_message(values.shape, nelems, name, dim))
    if positive and smallest < largest / LARGE_CONTRAST:
        _warn_of_contrast(float(smallest), float(largest), name)
    return values


def _cellwise(a: ArrayLike | DiscreteField | Callable[..., object], nelems: int, name: str) -> Array:
    """The values as float64, without the axis of quadrature points where a field is constant along it."""
    if callable(a):
        raise TypeError(
            f"{name}: expected one value per cell, shape ({nelems},), got a callable; evaluate it at the midpoints of "
            f"the cells: {name}(mesh.p[:, mesh.t].mean(axis=1))"
        )
    values = np.asarray(a)
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected an array of real numbers, got dtype {values.dtype}; convert it to float64")
    values = values.astype(np.float64)
    points = values.ndim in (2, 4) and values.shape[-2] == nelems
    if points and values.shape[-1] == 1:
        return values[..., 0]
    if points and isinstance(a, DiscreteField) and values.size:
        spread = np.ptp(values, axis=-1) > 1e-12 * abs(values).max(axis=-1)
        if spread.any():
            cells = np.flatnonzero(spread.reshape(-1, nelems).any(axis=0))
            raise ValueError(
                f"{name}: expected a field that is constant in every cell, got one that varies in {len(cells)} of "
                f"{nelems} cells, the first is cell {cells[0]}; pass one value per cell (for example the mean), or "
                "interpolate on a basis of piecewise constant elements (ElementQuad0, ElementTriP0, ...)"
            )
        return np.ascontiguousarray(values[..., 0])
    return values


def _shape_message(shape: tuple[int, ...], nelems: int, name: str, dim: int | None) -> str:
    start = f"{name}: expected shape ({nelems},), one value per cell, got "
    d = "d" if dim is None else str(dim)
    if len(shape) == 2 and shape[0] == nelems:
        return start + f"values at quadrature points, shape {shape}; pass one value per cell (for example the mean)"
    if len(shape) == 1:
        return start + f"{shape[0]} values; the coefficient belongs to another mesh, or is nodal"
    return start + f"shape {shape}; tensor coefficients are ({d}, {d}, {nelems})"


def _warn_of_contrast(smallest: float, largest: float, name: str) -> None:
    contrast = largest / smallest if smallest * np.finfo(float).max > largest else np.inf
    warnings.warn(
        f"{name}: contrast {contrast:.3e} (from {smallest:.3e} to {largest:.3e}) is above {LARGE_CONTRAST:.0e} and "
        "costs digits in every solve, some 1e-16 times as much of the solution; what is lost is checked, and told",
        UserWarning,
        stacklevel=3,
    )


def _reject(bad: NDArray[np.bool_], values: Array, name: str, what: str, positive: bool) -> None:
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"{name}: {int(bad.sum())} of {bad.size} values are {what}, the first is {values[first]} in cell {first}; "
            f"give every cell a {'positive, ' if positive else ''}finite value"
        )


def _check_tensor(values: Array, name: str, positive: bool) -> tuple[float, float]:
    """The smallest and the largest eigenvalue, of what may have any sign (0, 0)."""
    tensors = values.transpose(2, 0, 1)
    scale = abs(tensors).max(axis=(1, 2)) if len(tensors) else np.zeros(0)
    _reject_tensor(~np.isfinite(scale), tensors, name, "not finite", "finite")
    if not positive:
        return 0.0, 0.0
    skew = abs(tensors - tensors.transpose(0, 2, 1)).max(axis=(1, 2)) if len(tensors) else np.zeros(0)
    wanted = "symmetric positive definite"
    _reject_tensor(skew > 1e-12 * scale, tensors, name, "not symmetric", wanted)
    eigenvalues = np.linalg.eigvalsh(tensors)
    negative = eigenvalues[:, :1].min(axis=1, initial=np.inf) <= 0
    _reject_tensor(negative, tensors, name, "not positive definite", wanted)
    return float(eigenvalues.min(initial=np.inf)), float(eigenvalues.max(initial=-np.inf))


def _reject_tensor(bad: NDArray[np.bool_], tensors: Array, name: str, what: str, wanted: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"{name}: {int(bad.sum())} of {bad.size} tensors are {what}, the first is {tensors[first].tolist()} in "
            f"cell {first}; give every cell a {wanted} tensor"
        )
