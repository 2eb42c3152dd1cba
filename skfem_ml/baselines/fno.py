"""The Fourier neural operator of the library neuraloperator, an extra, in the shapes used here (needs torch)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FNO(nn.Module):
    """The Fourier neural operator (Li et al., 2021) in 1D, on samples ``(n, N)`` of equidistant points.

    ``modes`` Fourier modes, ``width`` hidden channels, ``depth`` layers; drawn from ``seed``. Raises ImportError where
    neuraloperator is not installed, ValueError for sizes below one.
    """

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
        with torch.random.fork_rng():  # the library draws from torch's global state
            torch.manual_seed(seed)
            self.net = Operator(n_modes=(modes,), in_channels=1, out_channels=1, hidden_channels=width, n_layers=depth)

    def forward(self, q: Tensor) -> Tensor:
        """Return ``(n, N)`` for ``q`` ``(n, N)``; ValueError for another number of dimensions."""
        if q.ndim != 2:
            raise ValueError(f"q: expected shape (n, N), one row per sample, got {tuple(q.shape)}")
        return self.net(q[:, None, :])[:, 0]
