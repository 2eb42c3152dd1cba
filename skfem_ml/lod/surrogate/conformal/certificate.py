"""All that is promised of a local map that tells its errors, and how to get it: `certify`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import BilinearForm

from skfem_ml.lod.local import LocalMap
from skfem_ml.lod.surrogate.conformal.calibration import Calibration, new_names, number, scaled
from skfem_ml.lod.surrogate.conformal.novelty import Novelty
from skfem_ml.lod.surrogate.conformal.quantiles import check_level, unknown_as_infinite
from skfem_ml.lod.surrogate.conformal.solution import POWER, CoarseSolutions, Promise, path
from skfem_ml.problems import diffusion
from skfem_ml.progress import Progress

if TYPE_CHECKING:
    from skfem_ml.lod.method import LOD


@runtime_checkable
class Scored(LocalMap, Protocol):
    """A local map that tells the relative error it expects of its matrices: a `Surrogate`, `Extrapolated`."""

    def with_score(self, lod: LOD, elements: ndarray, **coefficients: ArrayLike) -> tuple[ndarray, ndarray]:
        """Local matrices of the elements ``(k, rows, columns)``, and their scores ``(k,)``."""


@dataclass(frozen=True)
class Certificate:
    """What is promised of a local map: of elements, of u_h, and of which fields; None where nothing is.

    Attributes
    ----------
    elements, solution, novelty
        `Calibration`, `Promise` and `Novelty`, each calibrated on fields that nothing else has seen.
    tested
        What was found on further fields: the shares "elements" and "fields" that are covered, "solution" of fields
        whose u_h is as good as promised, "alarms" of fields that are called novel, and the number of "fields tested".

    >>> from skfem_ml.lod.surrogate.conformal import Calibration, Certificate
    >>> made = Certificate(elements=Calibration(level=0.9, factor=1.2, field_factor=3.0))
    >>> made
    Certificate(Calibration(90% of elements on 0 fields: factor 1.2, of all elements 3))
    >>> Certificate.from_json(made.to_json()) == made
    True
    """

    elements: Calibration | None = None
    solution: Promise | None = None
    novelty: Novelty | None = None
    tested: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """JSON values, the entry "certificate" of a card."""
        parts = {"elements": self.elements, "solution": self.solution, "novelty": self.novelty}
        found: dict[str, object] = {name: part.to_json() for name, part in parts.items() if part is not None}
        return found | ({"tested": dict(self.tested)} if self.tested else {})

    @classmethod
    def from_json(cls, flat: Mapping[str, object]) -> Certificate:
        """What `to_json` gave. Raises ValueError for something else."""
        entries: dict[str, Mapping[str, object]] = {}
        for name, value in flat.items():
            if name not in PARTS or not isinstance(value, Mapping):
                raise ValueError(f"card: expected dictionaries {', '.join(PARTS)} in the certificate, got {name!r:.80}")
            entries[name] = value
        elements, solution, novelty = (entries.get(name) for name in PARTS[:3])
        tested = entries.get("tested", {})
        return cls(
            None if elements is None else Calibration.from_json(elements),
            None if solution is None else Promise.from_json(solution),
            None if novelty is None else Novelty.from_json(novelty),
            {name: number(tested, name) for name in tested},
        )

    def kept(self, found: Measured) -> dict[str, float]:
        """How often the promises were kept, on `Measured` fields of a map that says what is promised; for "tested".

        ValueError for no field, or nothing promised.
        """
        if not found.said or self.elements is None or self.solution is None:
            raise ValueError("found: expected at least one field, and a certificate of elements and u_h")
        held = [error[np.isfinite(said)] <= said[np.isfinite(said)] for said, error in zip(*found[:2], strict=True)]
        wider = self.elements.field_factor / self.elements.factor
        whole = [(error <= wider * said).all() for said, error in zip(*found[:2], strict=True)]
        solved = [(true <= self.solution.factor * sums).all() for sums, true in zip(*found[2:], strict=True)]
        shares = {"elements": [np.mean(part) for part in held if len(part)], "fields": whole, "solution": solved}
        return {name: float(np.mean(values)) for name, values in shares.items()} | {"fields tested": len(solved)}

    def __repr__(self) -> str:
        found = [repr(part) for part in (self.elements, self.solution, self.novelty) if part is not None]
        return f"Certificate({', '.join(found) or 'nothing is promised'})"


PARTS = "elements", "solution", "novelty", "tested"


class Measured(NamedTuple):
    """What a local map said of fields and what was true, a list by field: scores and relative errors ``(nelems,)``, and
    the sums and true errors of u_h ``(sets, loads)`` of `path`.

    >>> import numpy as np
    >>> from skfem_ml.lod.surrogate.conformal import Measured
    >>> one = Measured([np.full(4, 0.02)], [np.full(4, 0.01)], [np.full((9, 4), 0.02)], [np.full((9, 4), 0.03)])
    >>> len(one.said)
    1
    """

    said: list[ndarray]
    errors: list[ndarray]
    sums: list[ndarray]
    true: list[ndarray]


def measured(
    model: Scored,
    lod: LOD,
    fields: Mapping[str, ndarray],
    form: BilinearForm = diffusion,
    *,
    exact: Mapping[str, ndarray] | None = None,
    power: float = POWER,
    progress: Progress | None = None,
) -> Measured:
    """Put a local map to the test on fields ``{name: (nelems,)}``; ``exact`` are local matrices that are known."""
    coarse, found = CoarseSolutions(lod), Measured([], [], [], [])
    for done, (name, a) in enumerate(fields.items()):
        known = None if exact is None else exact.get(name)
        S = lod.local(form, a=a) if known is None else np.asarray(known, dtype=float)
        local, scores = model.with_score(lod, lod.space.all_elements, a=a)
        sums, true = path(coarse, local, S, scores, power)
        for values, value in zip(found, (scores, relative_errors(local, S), sums, true), strict=True):
            values.append(value)
        if progress is not None:
            progress(done + 1, len(fields), "calibration")
    return found


def certify(
    model: Scored,
    lod: LOD,
    fields: Mapping[str, ndarray],
    form: BilinearForm = diffusion,
    *,
    used: Collection[object] = (),
    level: float = 0.9,
    power: float = POWER,
    novelty: Novelty | None = None,
    family: str = "",
    exact: Mapping[str, ndarray] | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Calibrate what a local map says of its errors, on fields ``{name: (nelems,)}`` that nothing else has seen.

    ``model`` gives scores that are not calibrated yet; the promise of u_h is for scores times the factor of the
    elements. ``used`` are names of fields that were used before, ``novelty`` goes into the certificate; the rest as for
    `measured`. Raises what `Calibration.of` raises, before anything is computed for names that were used.
    """
    check_level(level)
    new_names(fields, used)
    found = measured(model, lod, fields, form, exact=exact, power=power, progress=progress)
    elements = Calibration.of(found.said, found.errors, fields, level=level, used=used, family=family)
    sums = [scaled(values, elements.factor) for values in found.sums]
    solution = Promise.of(sums, found.true, fields, level=level, used=used, power=power, family=family)
    return Certificate(elements, solution, novelty)


def relative_errors(got: ndarray, exact: ndarray) -> ndarray:
    """``|S^_T - S_T|_F / |S_T|_F`` of elements ``(k,)``; infinite for a matrix that is not finite."""
    errors = np.linalg.norm(got - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    return unknown_as_infinite(errors)
