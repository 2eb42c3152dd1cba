"""The trajectories that flow maps are trained on: of a known system, or from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Data = dict[str, tuple[Array, Array]]
    Source = Callable[[], tuple[float, Data]]  # spacing, and (t, y) for "train", "val" and "test"

VAL, TEST = 0.1, 0.1  # parts of the trajectories of a file
LARGEST = 10  # level


def known(name: str, scales: list[int], starts: int | None, seed: int) -> Source:
    """Return what makes the trajectories of a known system; ValueError for another name or levels that do not fit."""
    from skfem_ml.problems import ode_systems

    systems = ode_systems()
    if name not in systems:
        raise ValueError(f"system: expected one of {', '.join(sorted(systems))} or a .npz file, got {name!r}")
    system = systems[name]
    every = 2 ** min(scales)
    if system.steps % every or max(scales) > LARGEST:
        raise ValueError(f"levels: expected whole numbers from 0 to {LARGEST}, got {scales}")

    def data() -> tuple[float, Data]:
        from skfem_ml.reference import trajectories

        found = {split: trajectories(system, split, seed, starts, every) for split in ("train", "val", "test")}
        return system.dt, {split: (result.t, result.y) for split, result in found.items()}

    return data


def stored(path: Path) -> Source:
    """Return the data of a file: the last trajectories are for test, those before them for validation."""
    import zipfile

    import numpy as np

    if path.suffix.lower() != ".npz":
        raise ValueError(f"{path}: expected trajectories as .npz, got {path.suffix}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a .npz file with t and y, found none")
    try:
        with np.load(path, allow_pickle=False) as file:
            t, y = np.asarray(file["t"], dtype=float), np.asarray(file["y"], dtype=float)
    except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected .npz with t (k,) and y (trajectories, n, k), got {error}") from error
    if y.ndim != 3 or t.shape != y.shape[2:] or len(y) < 3 or len(t) < 2:
        raise ValueError(f"{path}: expected t (k,) and y (3 or more, n, k), got {t.shape} and {y.shape}")
    test, val = max(1, round(TEST * len(y))), max(1, round(VAL * len(y)))
    parts = zip(("train", "val", "test"), np.split(y, [len(y) - test - val, len(y) - test]), strict=True)
    found = float(t[-1] - t[0]) / (len(t) - 1), {split: (t, part) for split, part in parts}
    return lambda: found


def levels_of(text: str) -> list[int]:
    """Return the levels in a text such as "3,5,7", in ascending order; ValueError for anything else."""
    try:
        levels = sorted({int(part) for part in text.split(",")})
    except ValueError:
        levels = []
    if not levels or levels[0] < 0:
        raise ValueError(f"levels: expected different whole numbers >= 0 joined by commas, such as 3,5,7, got {text!r}")
    return levels
