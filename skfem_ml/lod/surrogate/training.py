"""Train a network on exact local matrices: ``fit_surrogate(lod, draw, net, ...) -> (Surrogate, History)``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from skfem_ml.learning.optim import SOAP
from skfem_ml.learning.storage import ModelMismatchError
from skfem_ml.learning.training import History, fit
from skfem_ml.lod.judging import errors_of
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.labels import Draw, read_labels, setting
from skfem_ml.lod.surrogate.model import SETTING, Surrogate, extent_of
from skfem_ml.lod.surrogate.networks.symmetries import COUNT, move, move_matrices
from skfem_ml.problems import diffusion

MatrixLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
Batch = tuple[tuple[Any, ...], Tensor, Tensor]
EXTENT_FIELDS = 256  # fields drawn again for the range of training, where there is no end of them


def squared_error(got: Tensor, exact: Tensor, scale: Tensor) -> Tensor:
    """Mean over patches of |S - S^|_F^2: the loss (2.9) of Kropfl, Maier, Peterseim (2022)."""
    return (got - exact).square().sum(dim=(2, 3)).mean()


def scaled_error(got: Tensor, exact: Tensor, scale: Tensor) -> Tensor:
    """Mean over patches of |S - S^|_F^2 / g^2, g the geometric mean of the coefficient on T ``(fields, k)``."""
    return ((got - exact) / scale[:, :, None, None]).square().sum(dim=(2, 3)).mean()


def cosine(rate: float, steps: int, warm: int = 20) -> Callable[[int], float]:
    """The learning rate of a step: a linear rise over ``warm`` steps, half a cosine down to zero at ``steps``."""
    return lambda step: rate * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


def fit_surrogate(
    lod: LOD,
    source: Draw | str | Path,
    net: nn.Module,
    *,
    validation: ndarray,
    steps: int,
    fields: int = 1,
    elements: int | None = None,
    loss: MatrixLoss = scaled_error,
    rate: float = 3e-3,
    optimiser: torch.optim.Optimizer | None = None,
    schedule: Callable[[int], float] | None = None,
    average: float | None = 0.99,
    turns: bool = True,
    seed: int = 0,
    device: str = "cpu",
    card: Mapping[str, Any] | None = None,
    test: ndarray | None = None,
    **options: Any,
) -> tuple[Surrogate, History]:
    """Train a network of `networks` as a surrogate of ``lod``, and fill its card.

    All that a step sees depends on ``seed`` and its number alone, so that a run with ``checkpoint=path`` goes on bit
    for bit.

    Parameters
    ----------
    lod
        Makes the labels; its setting is the model's.
    source
        ``draw(i)``, field i ``(nelems,)`` on ``lod.coefficient_mesh``: labels are made on the fly, and no field is seen
        twice. Or a folder of `labels.write_labels`: its fields are seen in passes, each in an order of its own.
    net
        The network; the best weights seen are left in it.
    validation
        Fields ``(k, nelems)`` whose mean loss, in their own position, is what is recorded.
    steps, fields, elements
        A step takes so many fields, and so many of their coarse elements, drawn for the step (None: all).
    loss
        ``loss(got, exact, scale)`` of local matrices ``(fields, k, rows, 4)`` and geometric means on T ``(fields, k)``.
    rate, optimiser, schedule, average
        Default: SOAP with `cosine`, and averaged weights; see `training.fit`.
    turns
        Whether each step shows its patches in one of their eight symmetric positions.
    device
        Where the network computes.
    card, test
        Entries of your own (family, range), and fields whose `judging.errors_of` go into the card.
    **options
        Of `training.fit`: ``every``, ``patience``, ``tol``, ``checkpoint``, ``progress``.

    Raises
    ------
    ValueError
        For sizes out of range, fields of another length and a network of another n or ell; else as `training.fit`.
    ModelMismatchError
        For a folder with labels of another setting.
    FileNotFoundError
        For a folder without labels.
    """
    untrained = Surrogate(net, setting(lod), device=device)  # refuses a network of another size before any work
    batches = Batches(untrained, lod, source, fields=fields, elements=elements, turns=turns, seed=seed)
    held = [batches.labelled(field[None], lod.space.all_elements) for field in _rows(validation)]

    def validate(net: nn.Module) -> float:
        with torch.no_grad():
            return float(np.mean([float(_loss(net, batch)) for batch in held]))

    def _loss(net: nn.Module, batch: Batch) -> Tensor:
        inputs, exact, scale = batch
        return loss(net(*inputs), exact, scale)

    history = fit(
        net,
        _loss,
        batches,
        optimiser=SOAP(net.parameters(), lr=rate, frequency=10) if optimiser is None else optimiser,
        steps=steps,
        validate=validate,
        schedule=cosine(rate, steps) if schedule is None and optimiser is None else schedule,
        average=average,
        **options,
    )
    about = {"seed": seed, "steps": steps, "fields": batches.seen(steps), "validation loss": history.best}
    extent = batches.extent(net, steps, _rows(validation))
    surrogate = Surrogate(net, {**setting(lod), "extent": extent, **about, **(card or {})}, device=device)
    if test is not None:
        surrogate.card["errors"] = errors_of(surrogate, lod, test)
    return surrogate, history


def fit_as_published(
    lod: LOD,
    folder: str | Path,
    net: nn.Module,
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


class Batches:
    """What a step sees, ``batches(step) -> (inputs of the network, exact matrices, scale)``; see `fit_surrogate`."""

    def __init__(
        self,
        surrogate: Surrogate,
        lod: LOD,
        source: Draw | str | Path,
        *,
        fields: int,
        elements: int | None,
        turns: bool,
        seed: int,
    ):
        self.surrogate, self.lod, self.fields, self.turns, self.seed = surrogate, lod, fields, turns, seed
        self.draw = source if callable(source) else None
        self.stored = None if callable(source) else _stored(lod, source)
        most, patches = math.inf if self.stored is None else len(self.stored[0]), len(lod.space.grid.corners)
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
        if self.draw is not None:
            first = step * self.fields
            fields = np.stack([self.draw(index) for index in range(first, first + self.fields)])
            return self.labelled(fields, chosen, turn=turn)
        assert self.stored is not None
        per_pass = len(self.stored[0]) // self.fields
        order = np.random.default_rng([self.seed, step // per_pass, 1]).permutation(len(self.stored[0]))
        rows = np.sort(order[step % per_pass * self.fields :][: self.fields])
        return self.labelled(self.stored[0][rows], chosen, self.stored[1][rows][:, chosen], turn)

    def labelled(self, fields: ndarray, elements: ndarray, exact: ndarray | None = None, turn: int = 0) -> Batch:
        """Fields ``(f, nelems)`` with their exact matrices on some elements, in symmetric position ``turn``."""
        inputs = self.surrogate.inputs(self.lod, elements, a=fields)
        if exact is None:
            exact = np.stack([self.lod.local(diffusion, elements, a=field) for field in fields])
        scale = inputs[0][:, torch.from_numpy(elements)].log().mean(dim=2).exp()
        matrices = torch.from_numpy(exact).double().to(self.surrogate.device)
        return move(turn, *inputs), move_matrices(turn, matrices), scale

    def seen(self, steps: int) -> int:
        """How many different fields a run of so many steps sees."""
        return steps * self.fields if self.stored is None else min(len(self.stored[0]), steps * self.fields)

    def extent(self, net: nn.Module, steps: int, more: ndarray) -> list[float]:
        """Smallest and largest input over the fields of a run (at most 256 of them where they are drawn) and others."""
        if self.stored is not None:
            fields = iter(self.stored[0])
        else:
            assert self.draw is not None
            fields = map(self.draw, range(min(self.seen(steps), EXTENT_FIELDS)))
        cpu = net.to("cpu")
        both = np.array([extent_of(cpu, self.lod, field[None]) for part in (fields, more) for field in part])
        return [float(both[:, 0].min()), float(both[:, 1].max())]


def _stored(lod: LOD, folder: str | Path) -> tuple[ndarray, ndarray]:
    """All fields and matrices of a folder, in memory."""
    fields, matrices, wanted = [], [], setting(lod)
    for a, local, card in read_labels(folder):
        wrong = [key for key in SETTING if card.get(key) != wanted[key]]
        if wrong or card.get("kind") != "labels":
            raise ModelMismatchError(
                str(folder),
                {key: wanted[key] for key in wrong},
                card,
                "wanted is the LOD at hand, got the labels; use another folder or LOD",
            )
        fields.append(a)
        matrices.append(local)
    return np.concatenate(fields), np.concatenate(matrices)


def _rows(fields: ndarray) -> ndarray:
    if np.ndim(fields) != 2 or not len(fields):
        raise ValueError(f"validation: expected fields (k, nelems), k >= 1, got shape {np.shape(fields)}")
    return np.asarray(fields)
