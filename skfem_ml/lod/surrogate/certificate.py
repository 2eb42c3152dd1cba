"""What a network says of its own error: how it is trained, and where it means nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from skfem_ml.lod.surrogate.networks.local_network import Certified
from skfem_ml.lod.surrogate.networks.place import Inputs, Sample
from skfem_ml.lod.surrogate.patterns import patterns

STRANGE = 0.1  # of the range of a feature: further out a network's word means nothing
MOST_TRUSTED = 0.1  # a relative error that nobody should overlook
MARGIN = 1.25  # of the largest doubt on the fields that it was fitted on
LARGEST_BATCH = 4096


class Answer(NamedTuple):
    """Local matrices ``(fields, k, rows, 4)`` and, ``(fields, k)``, how far inputs are out of range, whether a patch
    looks like nothing in training, and the relative error that the network expects (None where none was trained).
    """

    matrices: Tensor
    excess: Tensor
    odd: Tensor
    doubt: Tensor | None

    @property
    def finite(self) -> Tensor:
        return self.matrices.isfinite().all(dim=3).all(dim=2)

    def expected(self) -> Tensor:
        """The doubt, infinite where it means nothing."""
        assert self.doubt is not None
        return self.doubt.nan_to_num(nan=torch.inf).where(~self.odd & self.finite, torch.inf)


def warn(answers: list[Answer], trusted: float | None) -> None:
    """Warn with the number of patches that are unlike those of training, or have a doubt above ``trusted``."""
    value = torch.cat([answer.excess > 0 for answer in answers])
    pattern = torch.cat([answer.odd for answer in answers])
    doubts = [answer.doubt for answer in answers if answer.doubt is not None]
    doubtful = torch.cat(doubts) > trusted if doubts and trusted is not None else torch.zeros_like(value)
    outside = value | pattern | doubtful
    if not outside.any():
        return
    reasons = (
        (value, "by their values"),
        (pattern & ~value, "by their pattern"),
        (doubtful & ~pattern & ~value, f"by a doubt above {trusted:.4g}" if trusted is not None else ""),
    )
    said = ", ".join(f"{int(part.sum())} {reason}" for part, reason in reasons if part.any())
    remedy = "Hybrid recomputes them" if doubts else "exact correctors do not"
    warnings.warn(
        f"a: {int(outside.sum())} of {outside.numel()} patches are outside the range of training ({said}); their local "
        f"matrices are extrapolated, {remedy}",
        UserWarning,
        stacklevel=4,
    )


def relative_errors(got: Tensor, exact: Tensor) -> Tensor:
    """|S^_T - S_T|_F / |S_T|_F of every patch, ``(fields, k)``."""
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

    The loss is the pinball loss of log |S^_T - S_T|_F / |S_T|_F. The samples should be new to the network: neither
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
