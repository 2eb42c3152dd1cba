"""Super-elements for one family: the network of the package goes on with the elements of a user's fields."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray

from skfem_ml.learning import load_model, save_model
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.training import History
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.surrogate.conformal import certify
from skfem_ml.lod.surrogate.conformal.quantiles import conformal_quantile
from skfem_ml.lod.surrogate.elements import SuperElements
from skfem_ml.lod.surrogate.elements.cells import CellEnergies
from skfem_ml.lod.surrogate.elements.judging import distances
from skfem_ml.lod.surrogate.elements.labels import ElementLabels, Elements, label_elements, layered
from skfem_ml.lod.surrogate.elements.network import ElementNetwork
from skfem_ml.lod.surrogate.elements.samples import varying
from skfem_ml.lod.surrogate.elements.training import FINE_TUNING, fit_elements, held_loss
from skfem_ml.lod.surrogate.recipe.fields import CERTIFIED, LEAST
from skfem_ml.lod.surrogate.recipe.job import MOST, Job
from skfem_ml.lod.surrogate.recipe.pacing import PROBED, Ended, affordable, looped, nothing_yet, paced, seconds_of

LOG = logging.getLogger("skfem_ml")
START = "diffusion"  # the model of the package
FINER = 4  # times n: the fine mesh of the labels
LABELLED = 100_000  # elements in memory, half a gigabyte
HELD = 2048  # elements that choose the weights
LEVEL = 0.9  # of the elements, whose error is not above the doubt
WARM = 50  # steps


def train_elements(job: Job, facts: Mapping[str, object], start: SuperElements | None = None) -> SuperElements:
    """Train super-elements by a job, from those of the package (or ``start``), and calibrate their doubt.

    The network is fine-tuned on exact energies of the elements of the training fields; fields of their own choose the
    weights (those of the start stay where they are better), calibrate the doubt to cover 0.9 of the elements, and
    measure what it covers. ``facts`` is what the card says besides. Raises as `train_patches`.
    """
    model = SuperElements.load(START) if start is None else start
    net = deepcopy(model.net)
    space = job.lod.with_fine(net.n).space
    with job.run.stage("labels"), nothing_yet("elements are being labelled"):
        labels, held = _labelled(job, space)
    with job.run.stage("training"), nothing_yet("no weights were recorded"):
        ended, better = _trained(job, net, labels, held)
    with job.run.stage("calibration"):
        job.say(0, 1, "doubt")
        about: dict[str, object] = {
            "labels": {"by": f"energies at n = {FINER * net.n}, extrapolated", "elements": len(labels.values)},
            "history": ended.history.to_dict(), "steps": ended.steps, "fields": len(job.numbers()["train"]),
            "start": model.card.name, "fine-tuning helped": better, **facts,
        }  # fmt: skip
        about |= {"stopped": ended.stopped} if ended.stopped else {}
        name = str(about.pop("name", ""))
        tuned = SuperElements(net, replace(model.card, name=name, doubt=None, certificate=None, errors={}, facts=about))
        return _certified(job, _calibrated(job, tuned, space))


# Labels.


def _labelled(job: Job, space: Discretisation) -> tuple[ElementLabels, ElementLabels]:
    """Labels to train on and to choose weights, a file a field."""
    first = job.fields.draw(0)
    affordable(job, lambda: label_elements(space, first, space.all_elements), sum(LEAST.values()), MOST)
    numbers, found, done = job.numbers(), {}, 0
    total = sum(len(numbers[name]) for name in ("train", "validation"))
    for name, most in (("train", LABELLED), ("validation", HELD)):
        parts, each = [], max(1, most // len(numbers[name]))
        for row in numbers[name]:
            parts.append(_field(job, space, int(row), each))
            done += 1
            job.say(done, total, "labels")
        found[name] = ElementLabels.joined(parts)
    return found["train"], found["validation"]


def _field(job: Job, space: Discretisation, row: int, most: int) -> ElementLabels:
    """Labels of the elements of a field that vary, at most so many; from their file, where it is there."""
    path = job.run.labels / f"elements-{row:08d}.safetensors"
    if path.exists():
        return ElementLabels(**load_model(path)[0])
    a, rng = job.fields.draw(row), np.random.default_rng([job.seed, row])
    chosen = varying(Elements.of(space, a).values(space.all_elements).numpy(), rng)
    if not len(chosen):
        chosen = space.all_elements[:1]  # a constant field: an element is as good as all
    some = rng.permutation(chosen)[:most]
    labels = label_elements(space, a, np.sort(some))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, labels._asdict(), {"kind": "elements", "field": row})
    return labels


# Weights.


def _trained(job: Job, net: ElementNetwork, labels: ElementLabels, held: ElementLabels) -> tuple[Ended, bool]:
    """How the loop ended, and whether it left better weights than it began with."""
    lost = partial(held_loss, cells=CellEnergies(net.n), held=held)
    before, first = lost(net), deepcopy(net.state_dict())

    def fitted(net: ElementNetwork, steps: int, **options: Any) -> History:
        return fit_elements(net, labels, held, steps=steps, rate=FINE_TUNING, seed=job.seed, **options)

    def speed() -> tuple[float, float]:
        copy = deepcopy(net)
        fitted(copy, 1)  # what is slow for once
        record = seconds_of(lambda: lost(copy))
        steps = seconds_of(lambda: fitted(copy, PROBED, every=PROBED)) - record
        return max(steps / PROBED, 1e-5), record

    pace = paced(job, speed)
    rate = cosine(FINE_TUNING, pace.steps, min(WARM, pace.steps // 10 + 1))
    ended = looped(job, net, pace, rate, lambda **options: fitted(net, **options))
    after = lost(net)
    if after >= before:
        LOG.info("fine-tuning does not help on fields that were held out (%.3g, %.3g before): undone", after, before)
        net.load_state_dict(first)
    return ended, bool(after < before)


# The doubt.


def _calibrated(job: Job, model: SuperElements, space: Discretisation) -> SuperElements:
    """The model whose doubt covers 0.9 of the elements that it is asked for, of fields that nothing else has seen; and
    what it covers on others.
    """
    numbers = job.numbers()
    ratios = np.concatenate(
        [_ratios(job, model, space, int(row)) for row in (*numbers["doubt"], *numbers["calibration"])]
    )
    factor = conformal_quantile(ratios, LEVEL)
    if not np.isfinite(factor):
        LOG.info("doubt: not calibrated, for it is asked for no element, or answers agree where they are wrong")
        return model
    doubt: dict[str, object] = {"quantile": LEVEL, "factor": factor, "covered": float((ratios <= factor).mean())}
    new = [_ratios(job, model, space, int(row)) for row in numbers["test"]]
    if any(map(len, new)):
        doubt["covered, new fields"] = float((np.concatenate(new) <= factor).mean())
    return SuperElements(model.net, replace(model.card, doubt={**doubt, "trusted": 0.1}), checked=model.checked)


def _certified(job: Job, model: SuperElements) -> SuperElements:
    """The model with a certificate of S_T and u_h against exact matrices, by as many fields as the time allows; as it
    is where those are fewer than nine.
    """
    lod, rows = job.lod.with_fine(FINER * model.net.n), job.numbers()["calibration"]
    if len(rows) < CERTIFIED or not lod.space.fixed.any():
        return model
    fields = {str(row): job.fields.draw(int(row)) for row in rows}
    exact: dict[str, ndarray] = {}
    for done, (name, a) in enumerate(fields.items()):
        job.say(done, len(fields), "certificate")
        each = seconds_of(lambda name=name, a=a: exact.update({name: lod.local(job.form, a=a)}))  # type: ignore[misc]
        most = len(fields) if job.limit is None else done + 1 + max(0, int(_left(job) / each))
        if most < CERTIFIED or len(exact) >= most:
            break
    if len(exact) < CERTIFIED:
        LOG.info("certificate: none, for exact matrices of %d fields take too long here", CERTIFIED)
        return model
    used = [str(row) for name in ("train", "validation", "doubt") for row in job.numbers()[name]]
    own = {name: fields[name] for name in exact}
    found = certify(model, lod, own, job.form, used=used, family=job.fields.name, exact=exact)
    card = replace(model.card, certificate=found.to_json() or None)
    return SuperElements(model.net, card, checked=model.checked)


def _left(job: Job) -> float:
    """Seconds that are left before the verdict."""
    return job.limit.left - job.limit.share("verdict") if job.limit is not None else np.inf


def where_asked(truth: Elements) -> ndarray:
    """The elements whose energies are the network's: all but those of one value, or of layers along an axis."""
    everything = truth.space.all_elements
    return everything[~layered(truth.values(everything)).numpy()]


def _ratios(job: Job, model: SuperElements, space: Discretisation, row: int) -> ndarray:
    """True errors over what is said of them, of some elements of a field."""
    a, rng = job.fields.draw(row), np.random.default_rng([job.seed, row, 1])
    truth = Elements.of(space, a)
    some = np.sort(rng.permutation(where_asked(truth))[: max(16, HELD // len(job.numbers()["doubt"]))])
    judged = model.judge(job.lod, some, a=a, tol=np.inf)
    off, said = distances(judged.energies, truth.exact(some)), judged.doubt
    return np.divide(off, said, out=np.where(off > 1e-9, np.inf, 0.0), where=said > 0)
