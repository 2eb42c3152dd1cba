"""All that is promised of a local map that tells its errors, and how to get it: `certify`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import BilinearForm

from skfem_ml.lod.local import LocalMap
from skfem_ml.lod.surrogate.conformal.calibration import Calibration, number
from skfem_ml.lod.surrogate.conformal.novelty import Novelty
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

    def __repr__(self) -> str:
        found = [repr(part) for part in (self.elements, self.solution, self.novelty) if part is not None]
        return f"Certificate({', '.join(found) or 'nothing is promised'})"


PARTS = "elements", "solution", "novelty", "tested"


def certify(
    model: Scored,
    lod: LOD,
    fields: Mapping[str, ndarray],
    form: BilinearForm = diffusion,
    *,
    exact: Mapping[str, ndarray] | None = None,
    used: Collection[object] = (),
    level: float = 0.9,
    power: float = POWER,
    novelty: Novelty | None = None,
    family: str = "",
    progress: Progress | None = None,
) -> Certificate:
    """Calibrate what a local map says of its errors, on fields ``{name: (nelems,)}`` that nothing else has seen.

    ``model`` gives scores that are not calibrated yet; the promise of u_h is for scores times the factor of the
    elements. ``exact`` are local matrices of fields where they are known, ``used`` names of fields that were used
    before, ``novelty`` goes into the certificate. Raises what `Calibration.of` raises, before anything is computed for
    names that were used.
    """
    Calibration.of([()] * len(fields), [()] * len(fields), fields, level=level, used=used)
    coarse, said, errors, paths = CoarseSolutions(lod), [], [], []
    for done, (name, a) in enumerate(fields.items()):
        known = None if exact is None else exact.get(name)
        S = lod.local(form, a=a) if known is None else np.asarray(known, dtype=float)
        local, scores = model.with_score(lod, lod.space.all_elements, a=a)
        said.append(scores)
        errors.append(relative_errors(local, S))
        paths.append(path(coarse, local, S, scores, power))
        if progress is not None:
            progress(done + 1, len(fields), "calibration")
    elements = Calibration.of(said, errors, fields, level=level, used=used, family=family)
    sums, true = [estimates * elements.factor for estimates, _ in paths], [found for _, found in paths]
    solution = Promise.of(sums, true, fields, level=level, used=used, power=power, family=family)
    return Certificate(elements, solution, novelty)


def relative_errors(got: ndarray, exact: ndarray) -> ndarray:
    """|S^_T - S_T|_F / |S_T|_F of elements ``(k,)``; infinite for a matrix that is not finite."""
    errors = np.linalg.norm(got - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    return np.nan_to_num(errors, nan=np.inf, posinf=np.inf)
