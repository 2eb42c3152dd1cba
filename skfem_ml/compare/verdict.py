"""Whether a trained model pays: a table of errors and seconds beside its rivals, and one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape

from skfem_ml import checks
from skfem_ml.compare.advice import NEAR, WORTH
from skfem_ml.compare.clock import in_figures
from skfem_ml.compare.table import Row, Table

LEARNED, COARSE, FINE = "learned", "coarse answers", "fine answers"
COARSE_ERROR, MEAN_ERROR, FINE_ERROR = "error u_h", "mean u_h", "error u"
HEADINGS = (COARSE_ERROR, MEAN_ERROR, FINE_ERROR)
FIELD, LOAD = "CPU s field", "CPU s load"
LOADS = (1, 10, 100, 1000)  # loads a field for which it is asked


@dataclass(frozen=True)
class Payment:
    """What becomes of one learned row: the rival that would be taken in its place, and the ``fields`` from which the
    row pays, None where it never does.

    >>> from skfem_ml.compare import Payment, Row
    >>> payment = Payment(Row("model"), Row("exact"), 200)
    >>> payment.pays, payment.fields
    (True, 200)
    """

    row: Row
    rival: Row
    fields: int | None

    @property
    def pays(self) -> bool:
        """Whether it pays at all."""
        return self.fields is not None


@dataclass(frozen=True)
class Verdict:
    """A table of a family of coefficients, and whether the model that was trained for it pays.

    A model costs ``training`` CPU seconds once and c_M a field; a rival R nothing and c_R, where c is "CPU s field"
    plus "CPU s load" times the loads of a field. R is as good as the model where its error is at most 1.5 times the
    model's: "error u_h" (largest relative L2 error of the coarse solution) of coarse answers, "error u" (against the
    fine solution) of fine ones. With R the cheapest of those, the model pays from training / (c_R - c_M) fields on, and
    does not pay where c_R < 1.1 c_M: a difference that no clock is to decide.

    Parameters
    ----------
    table
        Rows in the groups "learned", "coarse answers" and "fine answers", with those errors and stages.
    training
        CPU seconds of labels and training.

    Raises ValueError for a table without learned rows, and seconds that are negative.

    >>> from skfem_ml.compare import Row, Table, Verdict
    >>> def row(name, error, seconds, group):
    ...     return Row(name, {"error u_h": error}, stages={"CPU s field": seconds, "CPU s load": 0.0}, group=group)
    >>> rows = row("this model", 1e-4, 0.5, "learned"), row("exact", 0.0, 2.5, "coarse answers")
    >>> print(Verdict(Table(rows, headings=("error u_h",)), training=400.0).sentence())
    pays from 200 fields on: this model takes 0.5 CPU seconds a field, exact, the cheapest that is as good, 2.5; training took 400.
    """  # noqa: E501 (the sentence is one line)

    table: Table
    training: float

    def __post_init__(self) -> None:
        if not any(row.group == LEARNED for row in self.table):
            raise ValueError(f"table: expected a row of the group {LEARNED!r}, got {[row.group for row in self.table]}")
        if not (math.isfinite(self.training) and self.training >= 0):
            raise ValueError(f"training: expected CPU seconds of at least 0, got {self.training}")

    def __str__(self) -> str:
        return f"{self.table}\n{self.sentence()}"

    def __repr__(self) -> str:
        return f"Verdict({self.sentence()})"

    def _repr_html_(self) -> str:
        return f"{self.table._repr_html_()}<p>{escape(self.sentence())}</p>"

    def payments(self, loads: int = 1) -> list[Payment]:
        """What becomes of every learned row that has an error and a rival, for so many loads a field."""
        checks.whole(loads, "loads", 1)
        known = [row for row in self.table if not row.failure and FIELD in row.stages]
        rivals = [row for row in known if row.group != LEARNED]
        found = []
        for row in (row for row in known if row.group == LEARNED and _error(row, COARSE_ERROR) is not None):
            good = [rival for rival in rivals if as_good(rival, row)]
            if good:
                rival = min(good, key=lambda one: cost(one, loads))
                found.append(Payment(row, rival, self._fields(cost(row, loads), cost(rival, loads))))
        return found

    def best(self, loads: int = 1) -> Payment | None:
        """The learned row that pays from the fewest fields on; where none pays, the cheapest of those with an error
        within 1.5 times the least of them; None without any.
        """
        found = self.payments(loads)
        paying = [payment for payment in found if payment.fields is not None]
        if paying:
            return min(paying, key=lambda payment: payment.fields or 0)
        least = min((payment.row[COARSE_ERROR] or 0.0 for payment in found), default=0.0)
        near = [payment for payment in found if (payment.row[COARSE_ERROR] or 0.0) <= NEAR * least]
        return min(near, key=lambda payment: cost(payment.row, loads), default=None)

    def sentence(self) -> str:
        """One sentence: for one load a field, and, where that does not pay, for how many it does or what to take."""
        best = self.best()
        if best is None:
            return "no verdict: no learned row has an error that a rival reaches."
        if best.pays:
            return f"{self._told(best, 1)}."
        taken, cheap = best.row, best.rival
        said = (
            f"does not pay: use {cheap.name}, which is as good as {taken.name} in {in_figures(cost(cheap))} CPU "
            f"seconds a field, not {in_figures(cost(taken))}"
        )
        for loads in LOADS[1:]:
            more = self.best(loads)
            if more is not None and more.pays:
                return f"{said}; for {loads} loads a field it {self._told(more, loads)}."
        if more is not None and more.rival.name != cheap.name:
            return f"{said}; for {loads} loads a field, use {more.rival.name}."
        return f"{said}."

    def to_json(self) -> dict[str, object]:
        """JSON values, for a model's card."""
        return {"training": self.training, "table": json.loads(self.table.to_json()), "sentence": self.sentence()}

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> Verdict:
        """The verdict of `to_json`. Raises ValueError for anything else."""
        training, table = content.get("training"), content.get("table")
        if not isinstance(training, (int, float)) or not isinstance(table, Mapping):
            raise ValueError(f"verdict: expected training and table of Verdict.to_json, got {sorted(content)}")
        found = Table.from_json(table)
        known = [heading for heading in HEADINGS if heading in found.headings]  # JSON files do not keep their order
        others = [heading for heading in found.headings if heading not in known]
        return cls(replace(found, headings=(*known, *others)), float(training))

    @classmethod
    def of_card(cls, facts: Mapping[str, object]) -> Verdict | None:
        """The verdict among the facts of a model's card; None where there is none."""
        content = facts.get("verdict")
        return cls.from_json(content) if isinstance(content, Mapping) else None

    @staticmethod
    def brief(facts: Mapping[str, object]) -> str:
        """The beginning of the sentence among the facts of a model's card, as "; does not pay"; "" without one."""
        content = facts.get("verdict")
        return f"; {str(content['sentence']).partition(':')[0]}" if isinstance(content, Mapping) else ""

    def _fields(self, own: float, other: float) -> int | None:
        return max(1, math.ceil(self.training / (other - own))) if other >= WORTH * own and other > own else None

    def _told(self, payment: Payment, loads: int) -> str:
        own, other = cost(payment.row, loads), cost(payment.rival, loads)
        return (
            f"pays from {payment.fields} fields on: {payment.row.name} takes {in_figures(own)} CPU seconds a field, "
            f"{payment.rival.name}, the cheapest that is as good, {in_figures(other)}; training took "
            f"{in_figures(self.training, 3)}"
        )


def cost(row: Row, loads: int = 1) -> float:
    """CPU seconds of one field with so many loads."""
    return row.stages.get(FIELD, 0.0) + loads * row.stages.get(LOAD, 0.0)


def as_good(rival: Row, row: Row) -> bool:
    """Whether a rival's error is within 1.5 times that of a learned row: of u_h, or of u where it is a fine answer."""
    heading = FINE_ERROR if rival.group == FINE else COARSE_ERROR
    reached, wanted = _error(rival, heading), _error(row, heading)
    return reached is not None and wanted is not None and reached <= NEAR * wanted


def _error(row: Row, heading: str) -> float | None:
    return row.errors.get(heading)
