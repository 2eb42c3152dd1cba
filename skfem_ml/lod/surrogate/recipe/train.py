"""``train_surrogate(lod, fields, budget="20min") -> Surrogate``: a user's family and a verdict, by one recipe."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from numpy import ndarray
from skfem import BilinearForm

from skfem_ml import checks
from skfem_ml.compare import Verdict
from skfem_ml.learning import load_checkpoint
from skfem_ml.learning.models import Card
from skfem_ml.learning.training import History
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.hybrid import Hybrid
from skfem_ml.lod.surrogate.inputs import check_squares
from skfem_ml.lod.surrogate.model import Surrogate
from skfem_ml.lod.surrogate.networks.field_network import FieldNetwork
from skfem_ml.lod.surrogate.recipe.budget import Budget
from skfem_ml.lod.surrogate.recipe.engines import Choice, Way, choose_way, exact_ways
from skfem_ml.lod.surrogate.recipe.fields import LEAST, Fields, fields_of
from skfem_ml.lod.surrogate.recipe.parts import Parts, labelled_parts
from skfem_ml.lod.surrogate.recipe.recipes import Recipe
from skfem_ml.lod.surrogate.recipe.rivals import Judge, tabulated
from skfem_ml.lod.surrogate.recipe.run import Run, kept_in
from skfem_ml.lod.surrogate.recipe.training import RECORDS, begin, finish, learn, pace, refit
from skfem_ml.lod.surrogate.setting import Setting
from skfem_ml.problems import diffusion
from skfem_ml.progress import Progress

LOG = logging.getLogger("skfem_ml")
BUDGET = "20min"
CHECKED = 2  # fields on which ways to labels are compared
MOST = 1000  # labelled fields, a gigabyte of them on 32 x 32 coarse elements
FEWEST = 20  # steps that are worth a training
HIGH_CONTRAST = 100.0  # largest over smallest value of a field, from which the network is one for high contrast
LATE = 0.05  # of the budget by which a training may be late before it is stopped
MODEL, HYBRID, TOL = "this model", "its hybrid", 0.02


class OutOfTime(Exception):
    """The share of the budget for training is spent."""


def train_surrogate(
    lod: LOD,
    fields: Fields | Callable[..., ndarray] | ndarray | str | Path,
    budget: str | float | None = None,
    *,
    recipe: Recipe | None = None,
    form: BilinearForm = diffusion,
    net: FieldNetwork | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    card: Mapping[str, object] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Surrogate:
    """Train a surrogate for a family of coefficients within a time, and say whether it pays: ``model.verdict``.

    ``fields`` is what `fields_of` takes: a folder, ``draw(i)``, a family's name, an array. Labels are exact matrices by
    the cheapest way that is good enough (`choose_way`). They are divided: to train on, to choose weights, for the
    doubt, for errors and verdict. ``budget`` (wall seconds, or words as `seconds_of` reads them; default "20min") with
    measured speeds decides how many fields are labelled and steps made; a ``recipe`` in its place fixes the numbers.

    ``folder`` keeps labels, weights and decisions: the same call goes on where it was broken off. Ctrl-C while it
    trains ends the training; the best so far gets doubt and verdict. ``card`` are entries of your own (name, family),
    ``net`` is a `FieldNetwork` of your own.

    Raises TypeError for coarse cells that are no equal squares and for both budget and recipe; ValueError for too few
    fields, a budget that does not do (with what would) and what `fields_of` raises; ModelMismatchError for a folder of
    another run.
    """
    if budget is not None and recipe is not None:
        raise TypeError("budget, recipe: expected one of them, got both; a recipe has numbers of its own")
    check_squares(lod)
    checks.device(device)
    limit = Budget(BUDGET if budget is None else budget) if recipe is None else None
    found = fields_of(fields, lod, seed=seed)
    net = net or _network(lod, found, recipe, seed)
    about = Card(setting=Setting.of(lod, form).to_json(), facts={"family": found.name, "seed": seed, **(card or {})})
    Surrogate(net, about)  # refuses a network of another size before any work
    told = None if progress is None else progress
    with kept_in(folder) as place:
        run = Run(place, _settings(lod, found, about, net, limit, recipe))
        return _Training(lod, form, found, net, about, run, limit, recipe, seed, device, told).result()


def _network(lod: LOD, fields: Fields, recipe: Recipe | None, seed: int) -> FieldNetwork:
    """A network with weights of the seed, for high contrast where the first fields are of one."""
    wide = recipe.wide if recipe is not None else _contrast(fields) >= HIGH_CONTRAST
    base = recipe.base if recipe is not None else 0
    generator = torch.Generator().manual_seed(seed)
    return FieldNetwork(lod.space.m, lod.ell, wide=wide, base=base, generator=generator)


def _contrast(fields: Fields) -> float:
    some = [fields.draw(index) for index in range(min(8, fields.count or 8))]
    return float(max(a.max() / a.min() for a in some))


def _settings(
    lod: LOD, fields: Fields, about: Card, net: FieldNetwork, limit: Budget | None, recipe: Recipe | None
) -> dict[str, object]:
    """What determines a run."""
    return {
        **about.to_json(), "kind": "patches", "fields": fields.name, "fingerprint": fields.fingerprint(),
        "elements": len(lod.space.all_elements), "network": net.config,
        "budget": None if limit is None else limit.seconds, "recipe": None if recipe is None else asdict(recipe),
    }  # fmt: skip


@dataclass
class _Training:
    """One run: labels, weights, doubt, verdict."""

    lod: LOD
    form: BilinearForm
    fields: Fields
    net: FieldNetwork
    about: Card
    run: Run
    limit: Budget | None
    recipe: Recipe | None
    seed: int
    device: str
    progress: Progress | None

    def result(self) -> Surrogate:
        """The model with its verdict; that of an earlier run, where it is complete."""
        if "verdict" in self.run.decisions and self.run.model.exists():
            return Surrogate.load(self.run.model, self.device)
        try:
            with self.run.stage("labels"):
                parts, way = self._labels()
        except KeyboardInterrupt:
            kept = f"labels so far are in {self.run.labels}, the same call goes on"
            raise KeyboardInterrupt(f"nothing is trained yet: the fields are being labelled; {kept}") from None
        recipe = self._recipe(parts)
        with self.run.stage("training"):
            recipe, history, stopped = self._trained(parts, recipe)
        with self.run.stage("calibration"):
            model = self._finished(parts, recipe, history, stopped)
        model.save(self.run.model)
        return self._judged(model, recipe, way)

    # Labels.

    def _labels(self) -> tuple[Parts, Way]:
        way = self._way()
        numbers = self.fields.divided(self._total(way), self.seed, self._sizes())
        base = self.net.base
        labelled = labelled_parts(self.lod, self.fields, numbers, way, self.form, base, self.run.labels, self.progress)
        return {name: part.to(self.device) for name, part in labelled.items()}, way

    def _way(self) -> Way:
        """By what labels are computed: decided on the first fields, once a run."""

        def decide() -> dict[str, object]:
            self._say(0, 1, "ways to labels")
            some = [self.fields.draw(k) for k in range(min(CHECKED, self.fields.count or CHECKED))]
            choice: Choice = choose_way(self.lod, self.form, some)
            return choice.told()

        name = str(self.run.decided("labels", decide)["by"])
        return exact_ways(self.lod, self.form, self.lod.space.n)[name]

    def _sizes(self) -> dict[str, int] | None:
        if self.recipe is None:
            return None
        fixed = self.recipe
        return {"train": fixed.fields, "validation": fixed.held, "doubt": fixed.doubt, "test": fixed.test}

    def _total(self, way: Way) -> int:
        """How many fields are labelled: by the recipe, or as many as the time for labels allows."""
        end = MOST if self.fields.count is None else self.fields.count
        if self.limit is None:
            assert self.recipe is not None
            return min(end, sum((self._sizes() or {}).values()))
        limit = self.limit

        def decide() -> int:
            start = time.perf_counter()
            way.local(self.fields.draw(0))
            each = time.perf_counter() - start
            least = sum(LEAST.values())
            if least * each > 0.6 * limit.left:
                raise ValueError(
                    f"budget: expected at least {2 * least * each + limit.spent:.0f} s here, where {least} fields take "
                    f"{least * each:.0f} s to label, got {limit.seconds:g} s; give more, or a smaller LOD"
                )
            return min(end, max(least, int((limit.share("labels") - limit.spent) / each)))

        return self.run.decided("fields", decide)

    # Weights.

    def _recipe(self, parts: Parts) -> Recipe:
        """The numbers of this run, steps and refit perhaps to be decided."""
        if self.recipe is not None:
            return replace(self.recipe, base=self.net.base)
        sizes = {name: len(part.a) for name, part in parts.items()}
        return Recipe(
            fields=sizes["train"], held=sizes["validation"], doubt=sizes["doubt"], test=sizes["test"],
            wide=bool(self.net.config["wide"]), relative=bool(self.net.config["wide"]), base=self.net.base,
        )  # fmt: skip

    def _trained(self, parts: Parts, recipe: Recipe) -> tuple[Recipe, History, str]:
        """The numbers in force, what happened, and why it was stopped, "" where it was not."""
        self._say(0, 1, "ridge")
        begin(self.net.to(self.device), parts, recipe)
        recipe, deadline = self._paced(parts, recipe)
        checkpoint = self.run.checkpoint

        def tell(done: int, total: int, text: str) -> None:
            self._say(done, total, f"training, {text}")
            if deadline is not None and done < total and time.perf_counter() > deadline:
                raise OutOfTime

        try:
            return recipe, learn(self.net, parts, recipe, seed=self.seed, checkpoint=checkpoint, progress=tell), ""
        except (KeyboardInterrupt, OutOfTime) as error:
            if not checkpoint.exists():
                raise KeyboardInterrupt("nothing is trained yet: no weights were recorded; labels are kept") from None
            why = "out of time" if isinstance(error, OutOfTime) else "interrupted"
        state = load_checkpoint(checkpoint)
        self.net.load_state_dict(state["best"])
        self.net.to(self.device)
        stopped = f"{why} after {state['step']} of {recipe.steps} steps"
        LOG.info("training %s; the best weights so far are finished", stopped)
        return recipe, History(**state["history"]), stopped

    def _paced(self, parts: Parts, recipe: Recipe) -> tuple[Recipe, float | None]:
        """The recipe with steps and refit that fit the time, and when the training must end."""
        if self.limit is None:
            return recipe, None
        limit = self.limit
        left = limit.left - limit.share("calibration") - limit.share("verdict")

        def decide() -> dict[str, object]:
            start = time.perf_counter()
            step, record, again = pace(self.net, parts, recipe, self.seed)
            steps = int((left - (time.perf_counter() - start) - RECORDS * record) / step)
            if steps < FEWEST:
                need = limit.seconds + FEWEST * step + RECORDS * record - left
                raise ValueError(
                    f"budget: expected at least {need:.0f} s here, where a step takes {step:.2g} s, got "
                    f"{limit.seconds:g} s; give more, or a smaller LOD"
                )
            most = int(0.5 * limit.share("calibration") / again)
            return {"steps": steps, "refit": min(recipe.refit, recipe.fields, max(2, most))}

        found = self.run.decided("training", decide)
        steps, again = (int(str(found[name])) for name in ("steps", "refit"))
        return replace(recipe, steps=steps, refit=again), time.perf_counter() + left + LATE * limit.seconds

    def _finished(self, parts: Parts, recipe: Recipe, history: History, stopped: str) -> Surrogate:
        self._say(0, 1, "last layers and doubt")
        best = refit(self.net, parts, recipe)
        facts = {
            "labels": self.run.decisions["labels"], "history": history.to_dict(), "notes": list(self.fields.notes),
            "stopped": stopped, **self.about.facts,
        }  # fmt: skip
        about = replace(self.about, facts={name: value for name, value in facts.items() if value not in ("", [])})
        return finish(self.net, self.lod, parts, recipe, about, self.form, best, self.device)

    # Verdict.

    def _judged(self, model: Surrogate, recipe: Recipe, way: Way) -> Surrogate:
        """The model with its verdict on its card, saved again; without one where there is nothing to judge by."""
        verdict = self._verdict(model, recipe)
        facts = {"cpu": dict(self.run.cpu)} | ({} if verdict is None else {"verdict": verdict.to_json()})
        model.card = replace(model.card, facts={**model.card.facts, **facts})
        model.save(self.run.model)
        self.run.decided("verdict", lambda: {"sentence": "none" if verdict is None else verdict.sentence()})
        return model

    def _verdict(self, model: Surrogate, recipe: Recipe) -> Verdict | None:
        fixed, spent = self.lod.space.fixed, self.run.spent
        if not min(recipe.verdict, recipe.test) or not 0 < fixed.sum() < len(fixed):
            return None
        rows = self.fields.divided(self._total_known(), self.seed, self._sizes())["test"]
        if self.recipe is not None:
            rows = rows[: recipe.verdict]
        learned = {MODEL: model, HYBRID: Hybrid(model, self.form, TOL)}
        started, done = time.perf_counter(), [0]

        def left() -> bool:
            done[0] += 1
            each = (time.perf_counter() - started) / done[0]
            return self.limit is None or self.limit.left > each

        with self.run.stage("verdict"):
            judge = Judge(self.lod, self.form, self.lod.space.n, learned)
            table = tabulated(judge, (self.fields.draw(int(row)) for row in rows), left, self.progress)
        return Verdict(table, spent)

    def _total_known(self) -> int:
        found = self.run.decisions.get("fields")
        if isinstance(found, int):
            return found
        return min(self.fields.count or MOST, sum((self._sizes() or {}).values()))

    def _say(self, done: int, total: int, text: str) -> None:
        if self.progress is not None:
            self.progress(done, total, text)
