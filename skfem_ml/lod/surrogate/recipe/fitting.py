"""The training loop alone, for any network: ``fit_surrogate(lod, source, net, ...) -> (Surrogate, History)``.

What it gives knows its range of inputs, not its error: see `training.train_surrogate` for that.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from skfem import BilinearForm
from torch import Tensor

from skfem_ml.learning.loop.ranks import world
from skfem_ml.learning.models import Card
from skfem_ml.learning.optim import SOAP
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.training import History, fit
from skfem_ml.lod.judging import errors_of
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.inputs import check_squares, extent_of
from skfem_ml.lod.surrogate.model import Surrogate
from skfem_ml.lod.surrogate.networks.local_network import LocalNetwork
from skfem_ml.lod.surrogate.networks.place import Inputs
from skfem_ml.lod.surrogate.networks.symmetries import COUNT, move, move_matrices
from skfem_ml.lod.surrogate.recipe.labelling.labelled import scaled_error, squared_error
from skfem_ml.lod.surrogate.recipe.labelling.labels import Source, Stored, read_labels
from skfem_ml.lod.surrogate.setting import Setting
from skfem_ml.problems import diffusion

MatrixLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
Batch = tuple[Inputs, Tensor, Tensor]
BATCHES = "fields", "elements", "turns"  # options of `Batches`
WARM = 20  # steps over which the rate rises
EXTENT_FIELDS = 256  # fields drawn again for the range of training, where there is no end of them


def fit_surrogate(
    lod: LOD,
    source: Source,
    net: LocalNetwork,
    *,
    validation: ndarray,
    steps: int,
    loss: MatrixLoss = scaled_error,
    rate: float = 3e-3,
    optimiser: torch.optim.Optimizer | None = None,
    seed: int = 0,
    device: str = "cpu",
    form: BilinearForm = diffusion,
    card: Mapping[str, object] | None = None,
    test: ndarray | None = None,
    **options: Any,
) -> tuple[Surrogate, History]:
    """Train a network on exact matrices, without a doubt; for ``source`` see `training.train_surrogate`.

    ``loss(got, exact, scale)`` takes matrices ``(fields, k, rows, 4)`` and geometric means on T ``(fields, k)``; its
    mean over ``validation`` ``(k, nelems)`` is recorded. `errors_of` the fields ``test`` and ``card`` go on the card.
    ``options``: those of `Batches` and `training.fit`. Default: SOAP with `cosine`, averaged weights. Errors as those.
    """
    untrained = Surrogate(net, Setting.of(lod, form), device=device)
    batches = Batches(untrained, lod, source, form=form, seed=seed, **_taken(options))
    held = [batches.labelled(field[None], lod.space.all_elements) for field in _rows(validation)]

    def measure(net: LocalNetwork, batch: Batch) -> Tensor:
        return loss(net(*batch[0]), *batch[1:])

    @torch.no_grad()
    def mean(net: LocalNetwork) -> float:
        return float(np.mean([float(measure(net, batch)) for batch in held]))

    if optimiser is None:
        optimiser = SOAP(net.parameters(), lr=rate, frequency=10)
        options.setdefault("schedule", cosine(rate, steps, WARM))
    history = fit(net, measure, batches, optimiser=optimiser, steps=steps, validate=mean, **{"average": 0.99} | options)
    facts = {"validation loss": history.best, **(card or {})}
    return _carded(batches, net, steps, facts, _rows(validation), test), history


def fit_as_published(
    lod: LOD,
    folder: str | Path,
    net: LocalNetwork,
    *,
    validation: ndarray,
    epochs: tuple[int, int] = (5, 15),
    steps: tuple[int, int] | None = None,
    batch: int = 1000,
    **options: Any,
) -> tuple[Surrogate, History]:
    """The schedule of Kropfl, Maier, Peterseim (2022), section 4: Adam, 1e-4 for 5 epochs and 1e-5 for 15, loss (2.9).

    A batch of 1000 patches is a tenth each of ten fields of the folder (the paper does not say how it draws them); an
    epoch is as many batches as there are patches over 1000. ``steps``, where given, are the batches at either rate in
    the place of ``epochs``. No symmetries, no averages. Arguments and errors as for `fit_surrogate`.
    """
    count = sum(len(block) for block, _, _ in read_labels(folder))
    fields = min(10, count)
    elements = min(max(1, batch // fields), len(lod.space.grid.corners))
    epoch = max(1, count * len(lod.space.grid.corners) // (fields * elements))
    first, second = steps if steps is not None else (epoch * number for number in epochs)
    return fit_surrogate(
        lod,
        folder,
        net,
        validation=validation,
        steps=first + second,
        fields=fields,
        elements=elements,
        loss=squared_error,
        optimiser=torch.optim.Adam(net.parameters(), lr=1e-4),
        schedule=lambda step: 1e-4 if step < first else 1e-5,
        average=None,
        turns=False,
        **options,
    )


def _taken(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `Batches` out of others."""
    return {name: options.pop(name) for name in BATCHES if name in options}


def _carded(
    batches: Batches,
    net: LocalNetwork,
    steps: int,
    facts: dict[str, object],
    validation: ndarray,
    test: ndarray | None,
) -> Surrogate:
    setting, device = batches.surrogate.setting, batches.surrogate.device
    extent, name = batches.extent(net, steps, validation), str(facts.pop("name", ""))
    facts = {"seed": batches.seed, "steps": steps, "fields": batches.seen(steps), **facts}
    surrogate = Surrogate(net, Card(name=name, setting=setting.to_json(), extent=extent, facts=facts), device=device)
    if test is not None:
        errors = errors_of(surrogate, batches.lod, test, batches.form)
        surrogate.card = replace(surrogate.card, errors=errors)
    return surrogate


class Batches:
    """What a step sees, ``batches(step) -> (inputs of the network, exact matrices, scale)``.

    A step takes ``fields`` fields, and ``elements`` of their coarse elements, drawn for the step (None: all); with
    ``turns`` it shows its patches in one of their eight symmetric positions. Raises ValueError for sizes out of range.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        lod: LOD,
        source: Source,
        *,
        fields: int = 1,
        elements: int | None = None,
        turns: bool = True,
        seed: int = 0,
        form: BilinearForm = diffusion,
    ):
        check_squares(lod)
        self.surrogate, self.lod, self.fields, self.turns, self.seed = surrogate, lod, fields, turns, seed
        self.form = form
        self.draw = (lambda index: source[index % len(source)]) if isinstance(source, ndarray) else source
        self.stored = Stored(lod, self.draw, form) if isinstance(self.draw, (str, Path)) else None
        most, patches = math.inf if self.stored is None else len(self.stored), len(lod.space.grid.corners)
        self.elements = patches if elements is None else elements
        if not (1 <= fields <= most and 1 <= self.elements <= patches):
            raise ValueError(
                f"fields, elements: expected 1 to {most} fields and 1 to {patches} elements a step, got {fields} and "
                f"{elements}"
            )

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        rng, chosen = np.random.default_rng([self.seed, step]), self.lod.space.all_elements
        if self.elements < len(chosen):
            chosen = np.sort(rng.choice(chosen, self.elements, replace=False))
        turn = int(rng.integers(COUNT)) if self.turns else 0
        if self.stored is None:
            first = step * self.fields
            return self.labelled(self._drawn(range(first, first + self.fields)), chosen, turn=turn)
        per_pass = len(self.stored) // self.fields
        order = np.random.default_rng([self.seed, step // per_pass, 1]).permutation(len(self.stored))
        rows = np.sort(order[step % per_pass * self.fields :][: self.fields])
        fields, exact = self.stored.rows(rows, chosen)
        return self.labelled(fields, chosen, exact, turn)

    def _drawn(self, indices: range) -> ndarray:
        assert callable(self.draw)
        return np.stack([self.draw(index) for index in indices])

    def labelled(self, fields: ndarray, elements: ndarray, exact: ndarray | None = None, turn: int = 0) -> Batch:
        """Fields ``(f, nelems)`` with their exact matrices on some elements, in symmetric position ``turn``."""
        inputs = self.surrogate.inputs(self.lod, elements, a=fields)
        if exact is None:
            exact = np.stack([self.lod.local(self.form, elements, a=field) for field in fields])
        scale = inputs[0][:, torch.from_numpy(elements)].log().mean(dim=2).exp()
        matrices = torch.from_numpy(exact).double().to(self.surrogate.device)
        return move(turn, *inputs), move_matrices(turn, matrices), scale

    def seen(self, steps: int) -> int:
        """How many different fields a run of so many steps sees, on all its ranks."""
        drawn = steps * self.fields * world()
        return drawn if self.stored is None else min(len(self.stored), drawn)

    def extent(self, net: LocalNetwork, steps: int, more: ndarray) -> tuple[float, float]:
        """Smallest and largest input over the fields of a run (at most 256 of them where they are drawn) and others."""
        few = range(min(self.seen(steps), EXTENT_FIELDS))
        fields = itertools.chain(self._drawn(few) if self.stored is None else self.stored, more)
        cpu = net.to("cpu")
        both = np.array([extent_of(cpu, self.lod, field[None]) for field in fields])
        return float(both[:, 0].min()), float(both[:, 1].max())


def _rows(fields: ndarray) -> ndarray:
    if np.ndim(fields) != 2 or not len(fields):
        raise ValueError(f"validation: expected fields (k, nelems), k >= 1, got shape {np.shape(fields)}")
    return np.asarray(fields)
