"""The Fourier neural operator of the library neuraloperator, an extra, in the shapes used here (needs torch)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from skfem_ml.learning.samples import PUBLISHED, Learned, Recipe, learn
from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.stored import Card, StoredNetwork
from skfem_ml.problems import OperatorSamples


class FNO(StoredNetwork):
    """The Fourier neural operator (Li et al., 2021) in 1D, on samples ``(n, N)`` of equidistant points.

    ``modes`` Fourier modes, ``width`` hidden channels, ``depth`` layers; drawn from ``seed``. Raises ImportError where
    neuraloperator is not installed, ValueError for sizes below one.

    >>> from skfem_ml.baselines import FNO
    >>> sizes = {"modes": 0, "width": 24}
    >>> FNO(**sizes)
    Traceback (most recent call last):
    ValueError: modes, width, depth: expected at least 1 each, got 0, 24, 4
    """

    LIMITS: ClassVar = {"modes": 10_000, "width": 1000, "depth": 100}

    def __init__(self, modes: int = 16, width: int = 24, depth: int = 4, *, seed: int = 0):
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
        with torch.random.fork_rng():  # the library draws from torch's global state
            torch.manual_seed(seed)
            self.net = Operator(n_modes=(modes,), in_channels=1, out_channels=1, hidden_channels=width, n_layers=depth)

    def __repr__(self) -> str:
        sizes = f"{self.modes} modes, width {self.width}, depth {self.depth}"
        return f"FNO({sizes}, {parameters_in(self):,} parameters)"

    def sizes(self) -> Card:
        """Return what it was made with."""
        return {"modes": self.modes, "width": self.width, "depth": self.depth}

    @classmethod
    def made(cls, sizes: Card, tensors: dict[str, Tensor]) -> FNO:
        """Return a network of these sizes; see `StoredNetwork`."""
        return cls(**sizes)  # type: ignore[arg-type]

    def forward(self, q: Tensor) -> Tensor:
        """Return ``(n, N)`` for ``q`` ``(n, N)``; ValueError for another number of dimensions."""
        if q.ndim != 2:
            raise ValueError(f"q: expected shape (n, N), one row per sample, got {tuple(q.shape)}")
        return self.net(q[:, None, :])[:, 0]


def solver_fno(
    recipe: Recipe = PUBLISHED, *, modes: int = 16, width: int = 24, depth: int = 4, seed: int = 0
) -> Callable[[OperatorSamples], Learned]:
    """Return the training of an `FNO`; its spectral weights are complex, so the recipe's method must be one like Adam.

    Raises ImportError where neuraloperator is not installed.
    """

    def solver(problem: OperatorSamples) -> Learned:
        return learn(FNO(modes, width, depth, seed=seed), problem, recipe, seed=seed, scaled=True)

    return solver
