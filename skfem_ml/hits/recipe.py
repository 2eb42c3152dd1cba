"""Hierarchies trained in one call: the recipe of the shipped model, and that of the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from skfem_ml.hits.fitting import fit_map
from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.hits.hierarchy import HiTS
from skfem_ml.learning.nn import MLP
from skfem_ml.learning.training import History
from skfem_ml.progress import Progress


@dataclass(frozen=True)
class Recipe:
    """Networks of three layers of ``width``, and the function that trains one of them (`fitting.fit_map`, filled in).

    >>> from skfem_ml.hits import OURS
    >>> OURS
    Recipe(3 x 64, tanh)
    >>> OURS.maps(2, [0.1, 0.2])[1]
    FlowMap(2 unknowns, dt 0.2, MLP 2-64-64-64-2 tanh, float32)
    """

    width: int
    activation: str
    train: Callable[..., History] = fit_map

    def __repr__(self) -> str:
        return f"Recipe(3 x {self.width}, {self.activation})"

    def maps(self, n: int, steps: Sequence[float], seed: int = 0, dtype: torch.dtype = torch.float32) -> list[FlowMap]:
        """Return untrained maps of n unknowns, one a time step; the j-th has its weights from seed + j."""
        nets = [
            MLP(
                (n, *[self.width] * 3, n),
                self.activation,
                generator=torch.Generator().manual_seed(seed + j),
                dtype=dtype,
            )
            for j in range(len(steps))
        ]
        return [FlowMap(net, dt) for net, dt in zip(nets, steps, strict=True)]


OURS = Recipe(64, "tanh")
# Windows of five steps from the start alone, plain increments, Adam; its rate falls like ours, which does it good.
PUBLISHED = Recipe(
    128, "relu",
    partial(fit_map, batch=320, rate=1e-3, window=5, optimiser=torch.optim.Adam, sampling="start", normalise=False),
)  # fmt: skip
RECIPES = {"ours": OURS, "published": PUBLISHED}


def train_hits(
    maps: Sequence[FlowMap] | Sequence[float],
    t: ArrayLike,
    y: ArrayLike,
    *,
    steps: int = 5000,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    interpolation: str = "cubic",
    recipe: Recipe = OURS,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    **options: object,
) -> tuple[HiTS, dict[float, History]]:
    """Train a hierarchy on ``y`` ``(trajectories, n, k)`` at times ``t`` ``(k,)``; return it and the histories.

    ``maps`` are time steps, for which networks of the ``recipe`` are made, or maps of your own. With ``validation``
    ``(t, y)`` the best weights are those on it, and its scales are selected (`HiTS.select`, by ``interpolation``).
    Histories are by dt. ``steps``, ``folder``, ``progress`` and further ``options`` are those of `HiTS.fit`. Raises
    ValueError for data that do not fit the maps, FloatingPointError where training diverges.

    >>> import numpy as np
    >>> t = np.linspace(0, 1, 11)
    >>> y = np.exp(-t) * np.linspace(-2, 2, 20)[:, None, None]
    >>> hits, histories = train_hits([0.1, 0.2], t, y, steps=60, every=10, recipe=Recipe(8, "tanh"))
    >>> hits, {round(dt, 9): history.losses[-1] < history.losses[0] for dt, history in histories.items()}
    (HiTS(2 maps, dt 0.2 to 0.1), {0.2: True, 0.1: True})
    """
    given = [m for m in maps if isinstance(m, FlowMap)]
    if not given:
        dts = sorted(float(dt) for dt in maps)  # type: ignore[arg-type]
        given = recipe.maps(np.asarray(y).shape[1], dts, seed)
    hits = HiTS(given).fit(
        t, y, steps=steps, validation=validation, seed=seed, folder=folder, train=recipe.train, progress=progress,
        **options,
    )  # fmt: skip
    if validation is not None:
        hits = hits.select(*validation, interpolation)
    return hits, hits.histories
