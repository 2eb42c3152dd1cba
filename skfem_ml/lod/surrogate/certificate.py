"""What a network says of its own error: how it is trained, and where it means nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy import ndarray
from skfem import BilinearForm
from torch import Tensor

from skfem_ml import checks
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.conformal import Certificate, Novel, Novelty, Scored, certify
from skfem_ml.lod.surrogate.inputs import blocks, place_of
from skfem_ml.lod.surrogate.networks.local_network import Certified, LocalNetwork
from skfem_ml.lod.surrogate.networks.place import Inputs, Place, Sample
from skfem_ml.lod.surrogate.patterns import patterns, textures
from skfem_ml.problems import diffusion
from skfem_ml.progress import Progress

if TYPE_CHECKING:
    from skfem_ml.lod.surrogate.model import Surrogate

STRANGE = 0.1  # of the range of a feature: further out a network's word means nothing
MOST_TRUSTED = 0.1  # a relative error that nobody should overlook
MARGIN = 1.25  # of the largest doubt on the fields that it was fitted on
LARGEST_BATCH = 4096


class Asked(NamedTuple):
    """Elements ``(k,)`` of an LOD: which of their patches have a shape that training has not seen, and the place of the
    patches of all elements, for what is said of a field as a whole.
    """

    elements: ndarray
    foreign: Tensor
    everything: Place


class Strange(NamedTuple):
    """Patches ``(fields, k)`` that look like nothing in training, those that are called novel with a stated rate of
    false alarms, and fields ``(fields, 1)`` no element of which is to be trusted.
    """

    patches: Tensor
    novel: Tensor
    fields: Tensor


class Answer(NamedTuple):
    """Local matrices ``(fields, k, rows, 4)`` and, ``(fields, k)``, how far inputs are out of range, what is strange
    about them, and the relative error that the network expects (None where none was trained).
    """

    matrices: Tensor
    excess: Tensor
    strange: Strange
    doubt: Tensor | None

    @property
    def finite(self) -> Tensor:
        return self.matrices.isfinite().all(dim=3).all(dim=2)

    def expected(self) -> Tensor:
        """The doubt, infinite where it means nothing."""
        assert self.doubt is not None
        known = ~(self.strange.patches | self.strange.novel | self.strange.fields) & self.finite
        return self.doubt.nan_to_num(nan=torch.inf).where(known, torch.inf)


def warn(answers: list[Answer], trusted: float | None) -> None:
    """Warn with the number of patches that are unlike those of training, or have a doubt above ``trusted``.

    A doubt that is no number is above everything. Patches that are novel one by one do not count here: a field of the
    families has some; those that are further away than any of its field do, and all where the field is novel.
    """
    doubts = [answer.doubt for answer in answers if answer.doubt is not None]
    value = torch.cat([~(answer.excess <= 0) for answer in answers])
    doubtful = ~(torch.cat(doubts) <= trusted) if doubts and trusted is not None else torch.zeros_like(value)
    reasons = {
        "by their values": value,
        "by their pattern": torch.cat([answer.strange.patches for answer in answers]),
        "by the pattern of the field": torch.cat(
            [answer.strange.fields.expand_as(answer.excess) for answer in answers]
        ),
        f"by a doubt above {trusted or 0:.4g}": doubtful,
    }
    outside, said = torch.zeros_like(value), []
    for reason, part in reasons.items():
        count = int((part & ~outside).sum())
        said += [f"{count} {reason}"] if count else []
        outside = outside | part
    if said:
        checks.warn(
            f"a: {int(outside.sum())} of {outside.numel()} patches are outside the range of training "
            f"({', '.join(said)}); their local matrices are extrapolated, "
            + ("Hybrid recomputes them" if doubts else "exact correctors do not")
        )


def novel_fields(test: Novelty | None, a: Tensor, everything: Place) -> list[Novel]:
    """What a test of novelty says of every field ``(fields, nelems, m**2)``, all elements; none without a test."""
    if test is None:
        return []
    return [test.judge(features) for features in textures(a, everything).cpu().numpy()]


def strangeness(patches: Tensor, found: list[Novel], elements: ndarray) -> Strange:
    """What ranges say of patches ``(fields, k)`` and a test of novelty of all elements of their fields."""
    if not found:
        return Strange(patches, torch.zeros_like(patches), torch.zeros_like(patches[:, :1]))

    def on(name: str) -> Tensor:
        values = np.stack([getattr(novel, name)[elements] for novel in found])
        return torch.from_numpy(values).to(patches.device)

    everywhere = torch.tensor([[novel.everywhere] for novel in found], device=patches.device)
    return Strange(patches | on("far"), on("elements"), everywhere)


def excess_of(net: LocalNetwork, inputs: Inputs, foreign: Tensor, known: tuple[float, float] | None) -> Tensor:
    """How far inputs are outside the range ``known``, ``(fields, k)``; infinite for a shape not seen in training."""
    extent = net.extent(inputs.a, inputs.place)
    excess = torch.zeros_like(extent[:, :, 0])
    if known is not None:
        low, high = known
        # Rounding of the logarithm alone puts nobody outside.
        slack = 1e-9 * max(1.0, abs(low), abs(high))
        gap = torch.maximum(low - extent[:, :, 0], extent[:, :, 1] - high)
        excess = torch.where(gap <= slack, 0.0, gap.nan_to_num(nan=torch.inf))
    return excess.masked_fill(foreign.to(excess.device), torch.inf)


def relative_errors(got: Tensor, exact: Tensor) -> Tensor:
    """``|S^_T - S_T|_F / |S_T|_F`` of every patch, ``(fields, k)``."""
    return (got - exact).square().sum(dim=(2, 3)).sqrt() / exact.double().square().sum(dim=(2, 3)).sqrt()


def feature_range(net: Certified, fields: Iterable[Inputs]) -> dict[str, list[float]]:
    """Smallest and largest value of each of `Certified.invariants` on some fields: a card's "features".

    Raises ValueError for none.
    """
    parts = (part for inputs in fields for part in inputs.split(1))
    with torch.no_grad():
        return _range(net.invariants(net.look(*part))[0] for part in parts)


def pattern_range(fields: Iterable[Inputs]) -> dict[str, list[float]]:
    """Smallest and largest value of each of `patterns` on some fields: a card's "patterns"; ValueError for none."""
    return _range(patterns(part.a, part.place)[0] for inputs in fields for part in inputs.split(1))


def _range(values: Iterable[Tensor]) -> dict[str, list[float]]:
    both = [(each.amin(dim=0), each.amax(dim=0)) for each in values if len(each)]
    if not both:
        raise ValueError("fields: expected at least one, got none")
    low, high = (torch.stack(side) for side in zip(*both, strict=True))
    return {"low": low.amin(dim=0).tolist(), "high": high.amax(dim=0).tolist()}


def beyond(features: Tensor, seen: Mapping[str, list[float]]) -> Tensor:
    """How far features ``(..., count)`` lie outside their range on the fields of training, ``(...)``.

    The largest over the features of max(low - x, x - high, 0) / (high - low), for what `feature_range` or
    `pattern_range` gives; zero where there are no features.
    """
    low, high = (torch.tensor(seen[side], dtype=torch.float64, device=features.device) for side in ("low", "high"))
    if not len(low):
        return features.new_zeros(features.shape[:-1])
    gap = torch.maximum(low - features, features - high).clamp(min=0)
    return (gap / (high - low).clamp(min=torch.finfo(torch.float32).tiny)).amax(dim=-1)


def strange(values: Tensor, seen: Mapping[str, list[float]] | None) -> Tensor:
    """Where values ``(..., count)`` are further outside than a tenth of their range, or are not finite."""
    if seen is None:
        return torch.zeros(values.shape[:-1], dtype=torch.bool, device=values.device)
    return ~(beyond(values, seen) <= STRANGE)  # NaN as well: products of features may overflow far outside


def fit_doubt(
    net: Certified,
    samples: Iterable[Sample],
    quantile: float = 0.9,
    steps: int = 500,
    rate: float = 1e-2,
    seed: int = 0,
) -> dict[str, float]:
    """Train ``net.doubt`` to predict a quantile of the relative error of a patch; the rest is left as it is.

    The loss is the pinball loss of ``log |S^_T - S_T|_F / |S_T|_F``. The samples should be new to the network: neither
    trained on nor used to choose its weights. Returns a card's "doubt": the "quantile", the share "covered" of the
    samples, and "trusted", the largest doubt on them with a margin (at most 0.1). Raises ValueError for no samples or a
    quantile outside (0, 1).
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile: expected a number between 0 and 1, got {quantile}")
    x, y = _errors(net, samples)
    generator = torch.Generator().manual_seed(seed)
    start = float(y.sort().values[int(quantile * (len(y) - 1))])
    with torch.no_grad():
        torch.nn.init.constant_(net.doubt.get_parameter("2.bias"), start)
    optimiser = torch.optim.Adam(net.doubt.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (min(len(x), LARGEST_BATCH),), generator=generator)
        optimiser.zero_grad()
        gap = y[rows] - net.doubt(x[rows])[:, 0]
        torch.maximum(quantile * gap, (quantile - 1) * gap).mean().backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        said = net.doubt(x)[:, 0]
    trusted = min(MOST_TRUSTED, MARGIN * float(said.max().exp()))
    return {"quantile": quantile, "covered": float((y <= said).double().mean()), "trusted": float(f"{trusted:.2g}")}


@torch.no_grad()
def coverage(net: Certified, samples: Iterable[Sample]) -> float:
    """The share of patches whose relative error is not above what the network says. Raises ValueError for none."""
    x, y = _errors(net, samples)
    return float((y <= net.doubt(x)[:, 0]).double().mean())


@torch.no_grad()
def _errors(net: Certified, samples: Iterable[Sample]) -> tuple[Tensor, Tensor]:
    """Features of all patches and the logarithms of their relative errors."""
    features, errors = [], []
    for sample in samples:
        view = net.look(*sample.inputs)
        features.append(net.invariants(view)[0])
        found = relative_errors(net.matrices(view, sample.place), sample.exact[None])[0]
        errors.append(found.clamp(min=1e-12).log().to(features[0].dtype))
    if not features:
        raise ValueError("samples: expected at least one field with its local matrices, got none")
    return torch.cat(features), torch.cat(errors)


def certified(
    model: Surrogate,
    lod: LOD,
    fields: Mapping[str, ndarray],
    form: BilinearForm = diffusion,
    *,
    known: Iterable[ndarray] = (),
    fresh: Mapping[str, ndarray] | None = None,
    used: Collection[object] = (),
    level: float = 0.9,
    family: str = "",
    exact: Mapping[str, ndarray] | None = None,
    progress: Progress | None = None,
) -> Surrogate:
    """The surrogate with a certificate: a test of novelty, a factor for its doubt, a promise of u_h.

    ``fields`` ``{name: (nelems,)}`` are labelled for the two latter; ``fresh`` ones, for the novelty, need no labels
    (default: the same). ``known`` are fields of training, or like them; without any there is no test of novelty. None
    of ``fields`` and ``fresh`` may have been seen by the weights, their choice or the doubt: ``used`` are the names of
    those that were. The rest, and what is raised, as for `conformal.certify`.
    """

    def features(a: ndarray) -> ndarray:
        return textures(blocks(lod, a), everything)[0].numpy()

    everything, fresh = place_of(lod, lod.space.all_elements), fields if fresh is None else fresh
    reference, novelty = [features(a) for a in known], None
    if reference:
        novelty = Novelty.of(reference, [features(a) for a in fresh.values()], fresh, used=used)
    scored: Scored = recarded(model, Certificate(novelty=novelty))  # type: ignore[assignment]  # of the coefficient a
    made = certify(
        scored, lod, fields, form, used=used, level=level, novelty=novelty, family=family, exact=exact,
        progress=progress,
    )  # fmt: skip
    return recarded(model, made)


def recarded(model: Surrogate, certificate: Certificate) -> Surrogate:
    """The same surrogate with another certificate on its card."""
    card = replace(model.card, certificate=certificate.to_json() or None)
    return type(model)(model.net, card, symmetric=model.symmetric, device=model.device)
