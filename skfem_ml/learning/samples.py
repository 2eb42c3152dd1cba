"""Training of networks on samples of an operator, ``learn(net, samples, recipe) -> Learned``, and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from skfem_ml.learning.history import History
from skfem_ml.learning.optim.factories import Optimiser, adam, chosen, soap
from skfem_ml.learning.regression import Samples
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.storage import CorruptModelError
from skfem_ml.learning.stored import Card, StoredNetwork, load_network, save_network
from skfem_ml.learning.training import fit
from skfem_ml.progress import Progress

Array = NDArray[np.float64]
CHUNK = 2048  # samples that go through a network at once
WORDS = {"adam": partial(adam, eps=1e-5), "soap": partial(soap, frequency=10)}
RATES = {"adam": 2.5e-3, "soap": 1e-2}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: ``steps`` of an optimiser on batches, the record on the validation samples.

    ``optimiser="adam"`` is FMM-Net's: Adam, constant ``rate`` 2.5e-3, eps 1e-5. ``"soap"`` is SOAP with a rate, 1e-2
    unless given, that rises over a twentieth of the steps and falls like a cosine. An `Optimiser` has its own rate.
    ``schedule(step)`` replaces the rate of each step. Raises ValueError for another word and a rate that is not
    positive or stands beside an `Optimiser`.

    >>> from skfem_ml.fmm import Recipe
    >>> from skfem_ml.learning.optim.factories import adam
    >>> Recipe(500, optimiser="adam").method, Recipe(500, rate=5e-3).method
    (Optimiser(adam, rate 0.0025), Optimiser(soap, rate 0.005))
    >>> Recipe(500, optimiser=adam(1e-3)).method
    Optimiser(adam, rate 0.001)
    """

    steps: int = 2000
    batch: int = 128
    optimiser: str | Optimiser = "soap"
    rate: float | None = None
    every: int = 50
    checkpoint: str | Path | None = None
    progress: Progress | None = field(default=None, compare=False)
    schedule: Callable[[int], float] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.rate is not None and not self.rate > 0:
            raise ValueError(f"rate: expected None or a positive number, got {self.rate!r}")
        if self.rate is not None and isinstance(self.optimiser, Optimiser):
            raise ValueError(f"rate: expected None beside an Optimiser, which has its own, got {self.rate!r}")
        _ = self.method  # another word is refused here

    @property
    def method(self) -> Optimiser:
        """The optimiser that is meant, before it knows a network."""
        rate = RATES.get(str(self.optimiser), 1.0) if self.rate is None else self.rate
        return chosen(self.optimiser, rate, WORDS)

    def start(self, net: nn.Module) -> tuple[torch.optim.Optimizer, Callable[[int], float] | None]:
        """Return the optimiser of a network, and the rate of each step (None: it stays)."""
        method = self.method
        if self.schedule is not None or self.optimiser != "soap":
            return method.start(net), self.schedule
        return method.start(net), cosine(float(method.rate or 0.0), self.steps, 0.05 * self.steps)


PUBLISHED = Recipe(optimiser="adam")


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained network as a map ``w = scale * net(q + offset)`` of samples ``(n, N)`` in numpy, with its history.

    >>> net = torch.nn.Linear(4, 4)
    >>> w = Learned(net, offset=1.0, scale=2.0)
    >>> w(np.zeros((3, 4))).shape, w.unknowns
    ((3, 4), 20)
    """

    net: nn.Module
    history: History = field(default_factory=History)
    offset: float = 0.0
    scale: float = 1.0
    card: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, q: ArrayLike) -> Array:
        """Return ``(n, N)`` for ``(n, N)``."""
        kind = next(self.net.parameters()).dtype
        inputs = torch.as_tensor(np.asarray(q, dtype=float) + self.offset).to(kind)
        with torch.no_grad():
            parts = [self.net(part) for part in inputs.split(CHUNK)]
        return torch.cat(parts).double().numpy() * self.scale

    def __repr__(self) -> str:
        return f"Learned({type(self.net).__name__}, {self.unknowns:,} parameters, {self.history!r})"

    @property
    def unknowns(self) -> int:
        """The number of parameters."""
        return parameters_in(self.net)

    def save(self, path: str | Path, card: Mapping[str, object] | None = None) -> None:
        """Write network, history, offset, scale and a card of JSON values (who trained it on what, errors) to a file.

        The old file stays until the new one is whole. Raises TypeError for a network that is no `StoredNetwork`, and
        what `storage.save_model` raises.
        """
        own = {"history": self.history.to_dict(), "offset": self.offset, "scale": self.scale}
        save_network(path, self.net, {**self.card, **(card or {}), **own})

    @classmethod
    def load(cls, path: str | Path, *kinds: type[StoredNetwork]) -> Learned:
        """Return the map of a file of `save`; ``kinds`` are the classes that its network may have.

        ``Learned.load("fmmnet.safetensors", DeepFMMNet)``: what a file says is never imported. Raises
        FileNotFoundError, CorruptModelError for a file that is damaged, ModelMismatchError for another class.
        """
        net, card = load_network(path, kinds)
        return cls.of(net, card, path)

    @classmethod
    def of(cls, net: nn.Module, card: Card, path: str | Path) -> Learned:
        """Return the map of a network and the card that stands in the file ``path``; CorruptModelError as `load`."""
        held = dict(card)
        history, offset, scale = held.pop("history", {}), held.pop("offset", 0.0), held.pop("scale", 1.0)
        if not (isinstance(history, dict) and isinstance(offset, float) and isinstance(scale, float)):
            raise CorruptModelError(f"{path}: expected history, offset and scale on the card, got others")
        try:
            return cls(net, History.from_dict(history), offset, scale, held)
        except TypeError as error:
            raise CorruptModelError(f"{path}: the card holds another history ({error})") from error


Solver = Callable[[Samples], Learned]


def squared_residual(net: nn.Module, rows: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean of ``|net(q) - w|^2 / |w|^2`` over samples, FMM-Net (8)."""
    q, w = rows
    return ((net(q) - w).square().sum(dim=1) / w.square().sum(dim=1)).mean()


def learn(
    net: nn.Module,
    problem: Samples,
    recipe: Recipe,
    *,
    seed: int = 0,
    offset: float = 0.0,
    scaled: bool = False,
) -> Learned:
    """Train a network on the training samples and keep the parameters with the least validation residual.

    The residual is the mean of ``|u - w| / |w|`` over samples. ``offset`` is added to the inputs. With ``scaled`` the
    network gives outputs in units of their root mean square on the training samples, for networks that have no scale of
    their own. ``seed`` orders the batches. Raises as `training.fit`, RuntimeError where the loss is not finite.
    """
    kind = next(net.parameters()).dtype
    q, w = (torch.as_tensor(values).to(kind) for values in problem.part("train"))
    inputs, outputs = problem.part("validation")
    lengths = np.linalg.norm(outputs, axis=1)
    scale = float(w.double().square().mean().sqrt()) if scaled else 1.0

    def residual(net: nn.Module) -> float:
        got = Learned(net, offset=offset, scale=scale)(inputs)
        return float((np.linalg.norm(got - outputs, axis=1) / lengths).mean())

    optimiser, schedule = recipe.start(net)
    history = fit(
        net, squared_residual, (q + offset, w / scale), optimiser=optimiser, steps=recipe.steps, batch=recipe.batch,
        seed=seed, every=min(recipe.every, recipe.steps), validate=residual, schedule=schedule,
        checkpoint=recipe.checkpoint, progress=recipe.progress,
    )  # fmt: skip
    if history.status < 0:
        raise RuntimeError(f"the training diverged: {history.message}; take a smaller rate")
    return Learned(net, history, offset, scale)
