"""From what a model says of the errors of elements to what they are: one factor, by a conformal quantile."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from skfem_ml.lod.surrogate.conformal.quantiles import (
    check_level,
    conformal_quantile,
    pooled_quantile,
    unknown_as_infinite,
)

LOG = logging.getLogger("skfem_ml")


class Coverage(NamedTuple):
    """The shares of elements (mean over fields) and of fields (all elements at once) that are covered.

    >>> from skfem_ml.lod.surrogate.conformal import Coverage
    >>> found = Coverage(elements=0.91, fields=0.88, each=[0.9, 0.92])
    >>> found.elements
    0.91
    """

    elements: float
    fields: float
    each: list[float]


@dataclass(frozen=True)
class Calibration:
    r"""What is said of the relative errors of elements, made true by one factor.

    On k fields that nothing else has seen, with s_T > 0 what a model says of element T and e_T its true error, the
    ratios are r_T = e_T / s_T. Then, for a fresh field of the same families (k + 1 exchangeable fields; elements of one
    field may depend on each other as they like), for the draw of all k + 1 fields,

    - P(e_T <= factor s_T) >= level for an element T of it that is chosen at random (`bound`),
    - P(e_T <= field_factor s_T for all its elements T) >= level (`bound_of_all`).

    It is a promise on average over the families, not for each of them and not for fields of others; both factors are
    infinite for too few fields (below nine at 90 %). Elements with s_T not finite are told of, not trusted: they are
    left out, here and in `coverage`.

    Attributes
    ----------
    level
        The level, such as 0.9.
    factor, field_factor
        The two factors; see `pooled_quantile`, `conformal_quantile`.
    names
        The fields of the calibration, by name (family and number): none may serve again for its test.
    family
        What the fields are, in words.

    >>> import numpy as np
    >>> from skfem_ml.lod.surrogate.conformal import Calibration
    >>> said, true = np.full((2000, 50), 0.01), 0.01 * np.random.default_rng(0).lognormal(size=(2000, 50))
    >>> made = Calibration.of(said[:100], true[:100], range(100))
    >>> fresh = made.coverage(said[100:], true[100:], range(100, 2000))
    >>> bool(abs(fresh.elements - 0.9) < 0.03), bool(abs(fresh.fields - 0.9) < 0.08)
    (True, True)

    References
    ----------
    Those of `quantiles`.
    """

    level: float
    factor: float
    field_factor: float
    names: tuple[str, ...] = ()
    family: str = ""

    @classmethod
    def of(
        cls,
        said: Sequence[ArrayLike],
        errors: Sequence[ArrayLike],
        names: Collection[object],
        *,
        level: float = 0.9,
        used: Collection[object] = (),
        family: str = "",
    ) -> Calibration:
        """Calibrate on k fields: what is said of their elements and the true errors, an array ``(elements,)`` each.

        ``names`` tell the fields (numbers, words), ``used`` are those of all fields that weights, choice, refit or
        novelty have seen. Raises ValueError for a field among them or given twice, and for arrays that do not match.
        """
        check_level(level)
        ratios = ratios_of(said, errors, told(names))
        known = new_names(names, used)
        largest = [part.max(initial=0.0) for part in ratios]
        made = cls(level, pooled_quantile(ratios, level), conformal_quantile(largest, level), known, family)
        if not np.isfinite(made.factor):
            LOG.info("calibration: %d fields are too few for a bound at level %g; it is infinite", len(known), level)
        return made

    def bound(self, said: ArrayLike) -> ndarray:
        """What the error of an element is at most, with the chance of the level; infinite where nothing is said."""
        return scaled(said, self.factor)

    def bound_of_all(self, said: ArrayLike) -> ndarray:
        """What the errors of all elements of a field are at most, with the chance of the level."""
        return scaled(said, self.field_factor)

    def coverage(
        self, said: Sequence[ArrayLike], errors: Sequence[ArrayLike], names: Collection[object] = ()
    ) -> Coverage:
        """The shares that are covered, on fields of their own; ValueError for a field of the calibration."""
        again = sorted(set(told(names)) & set(self.names))
        if again:
            raise ValueError(f"names: expected fields that it was not calibrated on, got {again[:3]}; draw others")
        ratios = ratios_of(said, errors, told(names) or told(range(len(said))))
        each = [float((part <= self.factor).mean()) for part in ratios if len(part)]
        whole = [float((part <= self.field_factor).all()) for part in ratios]
        return Coverage(float(np.mean(each)) if each else np.nan, float(np.mean(whole)) if whole else np.nan, each)

    def to_json(self) -> dict[str, object]:
        """JSON values; an infinite factor is None."""
        factors = {name: finite_or_none(getattr(self, name)) for name in FACTORS}
        return {**asdict(self), "names": list(self.names), **factors}

    @classmethod
    def from_json(cls, flat: Mapping[str, object]) -> Calibration:
        """What `to_json` gave. Raises ValueError for something else."""
        factor, field_factor = (number(flat, name, np.inf) for name in FACTORS)
        return cls(number(flat, "level"), factor, field_factor, words(flat, "names"), str(flat.get("family", "")))

    def __repr__(self) -> str:
        kind = f" of {self.family}" if self.family else ""
        told = f"factor {self.factor:.3g}, of all elements {self.field_factor:.3g}"
        return f"Calibration({self.level:.0%} of elements on {len(self.names)} fields{kind}: {told})"


FACTORS = "factor", "field_factor"


def told(names: Collection[object]) -> tuple[str, ...]:
    """Names of fields as text."""
    return tuple(str(name) for name in names)


def new_names(names: Collection[object], used: Collection[object]) -> tuple[str, ...]:
    """The names as text. Raises ValueError for a field that is given twice or among those that were used before."""
    known = told(names)
    twice = sorted({name for name in known if known.count(name) > 1})
    again = sorted(set(known) & set(told(used)))
    if twice or again:
        raise ValueError(
            f"names: expected fields that are new and different, got {len(twice)} twice and {len(again)} that were "
            f"used before (first {(twice + again)[0]!r}); draw others: nothing is promised of fields seen before"
        )
    return known


def ratios_of(said: Sequence[ArrayLike], errors: Sequence[ArrayLike], names: Collection[object]) -> list[ndarray]:
    """e_T / s_T of the elements of every field of which something is said; ValueError where arrays do not match."""
    if not len(said) == len(errors) == len(names):
        raise ValueError(
            f"said, errors, names: expected one each a field, got {len(said)}, {len(errors)}, {len(names)}"
        )
    return [_ratios(np.asarray(s, dtype=float), np.asarray(e, dtype=float)) for s, e in zip(said, errors, strict=True)]


def _ratios(said: ndarray, errors: ndarray) -> ndarray:
    if said.shape != errors.shape or said.ndim != 1:
        raise ValueError(f"said, errors: expected two arrays (elements,), got shapes {said.shape} and {errors.shape}")
    low = (said < 0).any() or (errors < 0).any()
    if low:
        raise ValueError("said, errors: expected numbers that are not negative, got negative ones")
    trusted = np.isfinite(said)
    said, errors = said[trusted], unknown_as_infinite(errors[trusted])
    return np.divide(errors, said, out=np.where(errors > 0, np.inf, 0.0), where=said > 0)


def scaled(said: ArrayLike, factor: float) -> ndarray:
    """factor times what is said, infinite where one of them is not finite."""
    values = np.asarray(said, dtype=float)
    return np.multiply(
        values, factor, out=np.full(values.shape, np.inf), where=np.isfinite(values) & np.isfinite(factor)
    )


def finite_or_none(value: float) -> float | None:
    """A number as JSON has it."""
    return value if np.isfinite(value) else None


def number(flat: Mapping[str, object], name: str, missing: float | None = None) -> float:
    """A number of a card; ``missing`` where it is None."""
    value = flat.get(name)
    if value is None and missing is not None:
        return missing
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"card: expected a number as {name}, got {value!r:.80}")
    return float(value)


def words(flat: Mapping[str, object], name: str) -> tuple[str, ...]:
    """A list of text of a card."""
    value = flat.get(name, [])
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"card: expected a list of text as {name}, got {value!r:.80}")
    return tuple(value)
