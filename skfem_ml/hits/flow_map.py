"""A network as the flow map of one time step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from skfem_ml.learning.nn import MLP

Array = NDArray[np.float64]
ROWS = 8192  # states in one pass of the network: what the caches hold


class FlowMap(nn.Module):
    """``F(x) = x + drift + increment * net((x - center) / scale)``: the state a time ``dt`` later, (2.3) of the paper.

    ``net`` maps ``(rows, n)`` to ``(rows, n)``. ``center``, ``scale``, ``drift`` and ``increment`` are numbers or
    ``(n,)``; `normalise` takes them from data, and the defaults are the paper's x + net(x). They are buffers, so they
    are stored with the weights. A stepper: it has ``dt`` and `step`. Raises ValueError for dt not positive.

    >>> import torch
    >>> from skfem_ml.learning import MLP
    >>> flow = FlowMap(MLP((2, 16, 2), generator=torch.Generator().manual_seed(0)), 0.1, increment=0.0)
    >>> flow, flow.step([1.0, 2.0])
    (FlowMap(2 unknowns, dt 0.1, MLP 2-16-2 tanh, float64), array([1., 2.]))

    Source: Liu, Kutz and Brunton, Hierarchical deep learning of multiscale differential equation time-steppers (2022).
    """

    center: Tensor
    scale: Tensor
    drift: Tensor
    increment: Tensor

    def __init__(
        self,
        net: nn.Module,
        dt: float,
        *,
        center: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        drift: ArrayLike = 0.0,
        increment: ArrayLike = 1.0,
    ):
        super().__init__()
        if not (np.isfinite(dt) and dt > 0):
            raise ValueError(f"dt: expected a positive finite number, got {dt}")
        self.net, self.dt = net, float(dt)
        dtype = next((p.dtype for p in net.parameters()), torch.float64)
        for name, value in (("center", center), ("scale", scale), ("drift", drift), ("increment", increment)):
            self.register_buffer(name, torch.as_tensor(np.asarray(value, dtype=float)).to(dtype))

    def __repr__(self) -> str:
        size = "" if self.size is None else f"{self.size} unknowns, "
        name = type(self.net).__name__
        net = f"MLP {'-'.join(map(str, self.net.widths))} {self.net.activation}" if isinstance(self.net, MLP) else name
        return f"FlowMap({size}dt {self.dt:.4g}, {net}, {str(self.center.dtype).removeprefix('torch.')})"

    @property
    def size(self) -> int | None:
        """The number of unknowns n, None where neither normalisation nor the network tells it."""
        if self.center.ndim:
            return len(self.center)
        return getattr(self.net, "widths", (None,))[-1]

    def normalise(self, x: ArrayLike, y: ArrayLike) -> FlowMap:
        """Take mean and standard deviation of states ``x`` and increments ``y - x``, both ``(rows, n)``; return self.

        A coordinate that never changes gets increment zero, so the map keeps it exactly. Raises ValueError for
        other shapes and values that are not finite.
        """
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if x.ndim != 2 or x.shape != y.shape or not len(x):
            raise ValueError(f"x, y: expected the same shape (rows, n), got {x.shape} and {y.shape}")
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError("x, y: expected finite states, got NaN or infinity; cut diverged trajectories off")
        spread, change = x.std(axis=0), (y - x).std(axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        values = x.mean(axis=0), scale, (y - x).mean(axis=0), np.where(change > 1e-12 * scale, change, 0.0)
        for name, value in zip(("center", "scale", "drift", "increment"), values, strict=True):
            setattr(self, name, torch.as_tensor(value).to(self.center.dtype))
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the states ``(rows, n)`` a time dt after the states ``(rows, n)``."""
        z = ((x - self.center) / self.scale).to(self.center.dtype)
        return x + self.drift + self.increment * self.net(z)

    def step(self, u: ArrayLike) -> Array:
        """Return the states a time dt later, numpy in and out, ``(n,)`` or ``(..., n)``."""
        u = np.asarray(u, dtype=float)
        with torch.no_grad():
            rows = torch.from_numpy(np.ascontiguousarray(u.reshape(-1, u.shape[-1]))).to(self.center.device)
            return torch.cat([self(part) for part in rows.split(ROWS)]).cpu().numpy().reshape(u.shape)
