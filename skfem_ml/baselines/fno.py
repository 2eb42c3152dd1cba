"""The Fourier neural operator of the library neuraloperator, an extra, in the shapes used here (needs torch)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from skfem_ml.learning.optim.factories import adam
from skfem_ml.learning.samples import Learned, Recipe, learn
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.stored import Card, StoredNetwork
from skfem_ml.problems import OperatorSamples
from skfem_ml.problems.operators import regular_grid

RATE, STEPS = 5e-3, 2000


class FNO(StoredNetwork):
    """The Fourier neural operator (Li et al., 2021), on samples ``(n, N)`` of the points of a regular grid.

    ``modes`` Fourier modes an axis, ``width`` hidden channels, ``depth`` layers; drawn from ``seed``. ``points``
    ``(dim, N)`` are a regular grid in any order; without them it is the interval, with any number of equidistant points
    in ascending order. `normalise` takes mean and deviation from data, one number each. Raises ImportError where
    neuraloperator is not installed, ValueError for sizes below one and points that are no grid.

    >>> from skfem_ml.baselines import FNO
    >>> sizes = {"modes": 0, "width": 24}
    >>> FNO(**sizes)
    Traceback (most recent call last):
    ValueError: modes, width, depth: expected at least 1 each, got 0, 24, 4
    """

    LIMITS: ClassVar = {"modes": 10_000, "width": 1000, "depth": 100}
    order: Tensor
    place: Tensor
    units: Tensor

    def __init__(
        self, modes: int = 16, width: int = 24, depth: int = 4, *, points: ArrayLike | None = None, seed: int = 0
    ):
        super().__init__()
        if min(modes, width, depth) < 1:
            raise ValueError(f"modes, width, depth: expected at least 1 each, got {modes}, {width}, {depth}")
        try:
            from neuralop.models import FNO as Operator
        except ImportError as error:
            raise ImportError(
                "FNO: needs the library neuraloperator, which is not installed; pip install 'skfem-ml[bench]'"
            ) from error
        self.modes, self.width, self.depth = modes, width, depth
        self.points = None if points is None else np.asarray(points, dtype=float)
        self.shape: tuple[int, ...] = (-1,)
        if self.points is not None:
            self.shape, order = regular_grid(self.points)
            self.register_buffer("order", torch.as_tensor(order), persistent=False)
            self.register_buffer("place", torch.as_tensor(np.argsort(order)), persistent=False)
        self.register_buffer("units", torch.tensor([0.0, 1.0, 0.0, 1.0]))  # mean and deviation of inputs, of outputs
        with torch.random.fork_rng():  # the library draws from torch's global state
            torch.manual_seed(seed)
            self.net = Operator(
                n_modes=(modes,) * len(self.shape), in_channels=1, out_channels=1, hidden_channels=width, n_layers=depth
            )

    def __repr__(self) -> str:
        grid = "" if self.points is None else f"{' x '.join(map(str, self.shape))} points, "
        sizes = f"{grid}{self.modes} modes, width {self.width}, depth {self.depth}"
        return f"FNO({sizes}, {parameters_in(self):,} parameters)"

    def sizes(self) -> Card:
        """Return what it was made with."""
        return {"modes": self.modes, "width": self.width, "depth": self.depth}

    def made_of(self) -> dict[str, Tensor]:
        """Return the points of the grid, if they were given."""
        return {} if self.points is None else {"points": torch.as_tensor(self.points)}

    @classmethod
    def made(cls, sizes: Card, tensors: dict[str, Tensor]) -> FNO:
        """Return a network of these sizes; see `StoredNetwork`."""
        points = tensors["points"].numpy() if "points" in tensors else None
        return cls(**sizes, points=points)  # type: ignore[arg-type]

    def normalise(self, inputs: ArrayLike, outputs: ArrayLike) -> None:
        """Take mean and standard deviation, over samples and points, from data ``(n, N)``."""
        both = [np.asarray(data, dtype=float) for data in (inputs, outputs)]
        numbers = [n for data in both for n in (float(data.mean()), float(data.std()) or 1.0)]
        self.units.copy_(torch.tensor(numbers))

    def forward(self, q: Tensor) -> Tensor:
        """Return ``(n, N)`` for ``q`` ``(n, N)``; ValueError for another shape."""
        if q.ndim != 2 or (self.points is not None and q.shape[1] != self.points.shape[1]):
            wanted = "N" if self.points is None else self.points.shape[1]
            raise ValueError(f"q: expected shape (n, {wanted}), one row per sample, got {tuple(q.shape)}")
        x = (q - self.units[0]) / self.units[1]
        x = x if self.points is None else x[:, self.order]
        y = self.net(x.reshape(len(q), 1, *self.shape)).reshape(q.shape)
        y = y if self.points is None else y[:, self.place]
        return y * self.units[3] + self.units[2]


def solver_fno(
    recipe: Recipe | None = None, *, modes: int = 16, width: int = 24, depth: int = 4, seed: int = 0
) -> Callable[[OperatorSamples], Learned]:
    """Return the training of an `FNO` on a regular grid, 1D, 2D or 3D, normalised by the training samples.

    Its spectral weights are complex, so the recipe's method must be one like Adam: by default 2000 steps of Adam, rate
    5e-3 with a cosine. Raises ImportError where neuraloperator is not installed; the solver raises ValueError for
    points that are no regular grid.
    """
    recipe = Recipe(optimiser=adam(), schedule=cosine(RATE, STEPS, 0.05 * STEPS)) if recipe is None else recipe

    def solver(problem: OperatorSamples) -> Learned:
        net = FNO(modes, width, depth, points=problem.points, seed=seed)
        net.normalise(*problem.part("train"))
        return learn(net, problem, recipe, seed=seed)

    return solver
