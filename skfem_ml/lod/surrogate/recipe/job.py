"""What every kind of training is given, and the verdict that ends it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy import ndarray
from skfem import BilinearForm

from skfem_ml.compare import Verdict
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.recipe.budget import Budget
from skfem_ml.lod.surrogate.recipe.fields import PARTS, Fields
from skfem_ml.lod.surrogate.recipe.recipes import Recipe
from skfem_ml.lod.surrogate.recipe.rivals import Judge, LocalMaps, tabulated
from skfem_ml.lod.surrogate.recipe.run import Run
from skfem_ml.progress import Progress

MOST = 1000  # labelled fields, a gigabyte of them on 32 x 32 coarse elements


@dataclass(frozen=True)
class Job:
    """One training: for which LOD and form, from which fields, within which time, or by which numbers."""

    lod: LOD
    form: BilinearForm
    fields: Fields
    run: Run
    limit: Budget | None
    recipe: Recipe | None
    seed: int = 0
    device: str = "cpu"
    progress: Progress | None = None

    def say(self, done: int, total: int, text: str) -> None:
        """Tell how far it is."""
        if self.progress is not None:
            self.progress(done, total, text)

    @property
    def sizes(self) -> dict[str, int] | None:
        """How many fields a part has by the recipe; None where the time decides."""
        if self.recipe is None:
            return None
        one = self.recipe
        return dict(zip(PARTS, (one.fields, one.held, one.doubt, one.calibration, one.test), strict=True))

    @property
    def total(self) -> int:
        """How many fields are taken: by the recipe, or as was decided in this run."""
        if self.sizes is not None:
            return min(self.fields.count or MOST, sum(self.sizes.values()))
        return int(str(self.run.decisions["fields"]))

    def numbers(self) -> dict[str, ndarray]:
        """The numbers of the fields by part."""
        return self.fields.divided(self.total, self.seed, self.sizes)

    def verdict(self, learned: LocalMaps, given: LocalMaps, finest: int, alike: Sequence[str] = ()) -> Verdict | None:
        """What the learned maps are worth on test fields, as many as the time allows, beside exact ones and those that
        are given; None where nothing can be judged.

        The seconds of training are those of the run so far. Ctrl-C ends it with the fields that are measured, if any.
        """
        fixed, spent, rows = self.lod.space.fixed, self.run.spent, self.numbers()["test"]
        if self.recipe is not None:
            rows = rows[: self.recipe.verdict]
        if not len(rows) or not 0 < fixed.sum() < len(fixed):
            return None
        started, done = time.perf_counter(), [0]

        def left() -> bool:
            done[0] += 1
            return self.limit is None or self.limit.left > (time.perf_counter() - started) / done[0]

        with self.run.stage("verdict"):
            judge = Judge(self.lod, self.form, finest, learned, given, alike)
            table = tabulated(judge, (self.fields.draw(int(row)) for row in rows), left, self.progress)
        if table is None:
            return None
        which = (f"{name}: {local_map!r}" for name, local_map in learned.items())
        return Verdict(replace(table, notes=(*which, *table.notes)), spent)
