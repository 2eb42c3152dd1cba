"""Reference trajectories of many starts at once by DOP853, kept on disk where a folder is given."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from skfem_ml.problems.ode import OdeSystem
from skfem_ml.stepping.evolution import OdeResult

Array = NDArray[np.float64]


def dop853(
    system: OdeSystem, y0: ArrayLike, t: ArrayLike, rtol: float = 1e-10, atol: float = 1e-12, block: int = 400
) -> OdeResult:
    """Return trajectories ``(batch, n, k)`` from starts ``(batch, n)`` at times ``t`` ``(k,)``, t[0] the start.

    Scipy's DOP853 on states stacked by blocks of ``block``: a step costs some calls of a vectorised right-hand side.
    The error it controls is the root mean square over a block. ``nfev`` counts evaluations of single states. Raises
    ValueError for other shapes and values that are not finite.
    """
    y0, t = np.asarray(y0, dtype=float), np.asarray(t, dtype=float)
    if y0.ndim != 2 or y0.shape[1] != system.n or not np.isfinite(y0).all():
        raise ValueError(f"y0: expected finite (batch, {system.n}), got {y0.shape}")
    if t.ndim != 1 or len(t) < 2 or not (np.diff(t) > 0).all():
        raise ValueError("t: expected at least two increasing times (k,), got others")
    parts, status, message, work, steps = [], 0, "reached the end", 0, 0
    for start in range(0, len(y0), block):
        rows = y0[start : start + block]
        flat = lambda s, v, shape=rows.shape: system.rhs(s, v.reshape(shape)).reshape(-1)
        found = solve_ivp(flat, (t[0], t[-1]), rows.reshape(-1), "DOP853", t_eval=t, rtol=rtol, atol=atol)
        if found.status != 0:
            status, message = -1, f"starts {start} to {start + len(rows) - 1}: {found.message}"
        values = np.full((rows.size, len(t)), np.nan)
        values[:, : found.y.shape[1]] = found.y
        parts.append(values.reshape(*rows.shape, len(t)))
        work, steps = work + found.nfev * len(rows), steps + found.nfev // 12
    return OdeResult(t, np.concatenate(parts), status, message, steps, None, work)


def trajectories(
    system: OdeSystem,
    split: str,
    seed: int = 0,
    count: int | None = None,
    every: int = 1,
    folder: str | Path | None = None,
    rtol: float = 1e-12,
) -> OdeResult:
    """Return reference trajectories ``(count, n, k)`` from starts of a split, at every ``every``-th step of its dt.

    Starts are drawn by ``default_rng`` seeded with ``seed`` and the split, so splits are independent. With a ``folder``
    (made if missing) the states are kept there with their checksum, and read again by a later call with the same
    arguments. Raises ValueError for ``every`` that does not divide the system's steps, CorruptModelError for a damaged
    file, FloatingPointError where the integration fails.
    """
    if every < 1 or system.steps % every:
        raise ValueError(f"every: expected a divisor of {system.steps}, got {every}")
    rng = np.random.default_rng([seed, *split.encode()])
    y0 = system.draw(split, rng, count)
    t = np.linspace(0, system.t_end, system.steps // every + 1)
    if folder is None:
        return _reference(system, y0, t, rtol)
    import torch  # the file format's library

    from skfem_ml.learning.storage import load_model, save_model

    card = {"system": system.name, "split": split, "every": every, "dt": system.dt, "rtol": rtol, "seed": seed}
    digest = hashlib.sha256(y0.tobytes() + repr(card).encode()).hexdigest()
    path = Path(folder) / f"{system.name}-{split}-{digest[:16]}.safetensors"
    if path.exists():
        tensors, _ = load_model(path)
        return OdeResult(t, tensors["y"].numpy(), 0, f"read from {path}", 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    result = _reference(system, y0, t, rtol)
    save_model(path, {"y": torch.from_numpy(result.y)}, card)
    return result


def _reference(system: OdeSystem, y0: Array, t: Array, rtol: float) -> OdeResult:
    result = dop853(system, y0, t, rtol, rtol)
    if not result.success:
        raise FloatingPointError(f"{system.name}: the reference integration failed, {result.message}")
    return result
