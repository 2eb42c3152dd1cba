"""Surrogate where it is trusted, exact correctors elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import BilinearForm

from skfem_ml.learning.storage import ModelMismatchError
from skfem_ml.lod.extrapolation import Extrapolated
from skfem_ml.lod.local import LocalMap, PickledForm
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.model import Surrogate
from skfem_ml.lod.surrogate.setting import fingerprint

Score = Callable[..., ndarray]


class Judgement(NamedTuple):
    """What a hybrid makes of a field: local matrices ``(k, rows, 4)``, scores ``(k,)`` and which were recomputed.

    >>> import numpy as np
    >>> from skfem_ml.lod.surrogate import Judgement
    >>> Judgement(np.zeros((2, 36, 4)), np.array([0.01, 0.5]), np.array([False, True])).fraction
    0.5
    """

    matrices: ndarray
    scores: ndarray
    recomputed: ndarray

    @property
    def fraction(self) -> float:
        """The share of elements that was recomputed."""
        return float(self.recomputed.mean()) if len(self.recomputed) else 0.0


@runtime_checkable
class Scored(LocalMap, Protocol):
    """A local map that tells the relative error it expects of its matrices: a `Surrogate`, `Extrapolated`."""

    def with_score(self, lod: LOD, elements: ndarray, **coefficients: ArrayLike) -> tuple[ndarray, ndarray]:
        """Local matrices of the elements ``(k, rows, columns)``, and their scores ``(k,)``."""


class Hybrid(PickledForm):
    """A local map: a cheap map's matrices, recomputed by exact correctors where their score exceeds ``tol``.

    The score of an element is the relative error that a surrogate expects of itself (`Surrogate.doubt`) plus how far
    its inputs lie outside the range of training (`Surrogate.excess`); of `Extrapolated` it is the certificate. It tells
    where the map is in doubt; it bounds no error, and a tolerance is to be chosen on fields whose exact matrices are
    known.

    Parameters
    ----------
    surrogate
        The fast local map: a `Surrogate`, `Extrapolated`, or another `Scored` one.
    form
        The form it stands for.
    tol
        Elements with ``score > tol`` are recomputed, as those whose score or matrix is not a number. At 0 all are:
        exact LOD to the last bit.
    score
        Another score: ``score(lod, elements, a=a)`` gives ``(k,)``, not negative.

    Raises
    ------
    ValueError
        For a negative tolerance and, without ``score``, a surrogate whose doubt was not trained; when called, for
        scores of another shape.
    TypeError
        For a local map without scores.
    ModelMismatchError
        For another form than that of the surrogate or of `Extrapolated`.

    >>> from skfem_ml import Hybrid, Surrogate, diffusion
    >>> surrogate = Surrogate.load("diffusion-q1-ell2-n8")
    >>> Hybrid(surrogate, diffusion, tol=0.02)
    Hybrid('diffusion-q1-ell2-n8', tol=0.02)
    """

    def __init__(self, surrogate: Surrogate | Scored, form: BilinearForm, tol: float, score: Score | None = None):
        if not tol >= 0:
            raise ValueError(f"tol: expected a number of at least 0, got {tol}")
        if not isinstance(surrogate, Scored):
            raise TypeError(
                "surrogate: expected a Surrogate, Extrapolated or a local map with with_score(lod, elements, ...), got "
                f"{type(surrogate).__name__}"
            )
        _require_form(surrogate, form)
        if score is None and isinstance(surrogate, Surrogate):
            surrogate.require_doubt()
        self.surrogate, self.form, self.tol, self.score = surrogate, form, tol, score

    def __repr__(self) -> str:
        name = self.surrogate.card.name if isinstance(self.surrogate, Surrogate) else ""
        return f"Hybrid({repr(name) if name else self.surrogate}, tol={self.tol:g})"

    def local(self, lod: LOD, elements: ndarray, **coefficients: ArrayLike) -> ndarray:
        """Local matrices of the elements, ``(k, (2 ell + 2)**2, 4)``, for ``a`` of shape ``(nelems,)``."""
        return self.judge(lod, elements, **coefficients).matrices

    def judge(self, lod: LOD, elements: ndarray | None = None, **coefficients: ArrayLike) -> Judgement:
        """Local matrices of all elements, or of some, with their scores and which of them were recomputed."""
        chosen = lod.space.all_elements if elements is None else np.asarray(elements)
        if np.ndim(coefficients.get("a", 1.0)) == 2:
            raise ValueError("a: expected one field (nelems,), got several; call once for each")
        out, scores = self._scored(lod, chosen, **coefficients)
        # Nothing passes a tolerance of zero, not even a score that happens to vanish.
        again = ~(scores <= self.tol) if self.tol > 0 else np.ones(len(chosen), dtype=bool)
        again |= ~np.isfinite(out).all(axis=(1, 2))  # also at an infinite tolerance
        if again.any():
            out = out.copy()
            out[again] = lod.local(self.form, chosen[again], **coefficients)
        return Judgement(out, scores, again)

    def _scored(self, lod: LOD, elements: ndarray, **coefficients: ArrayLike) -> tuple[ndarray, ndarray]:
        """Matrices of the cheap map, finite or not, and their scores."""
        if self.score is None:
            return self.surrogate.with_score(lod, elements, **coefficients)
        if isinstance(self.surrogate, Surrogate):
            out, _ = self.surrogate.raw(lod, elements, **coefficients)
        else:
            out = self.surrogate.local(lod, elements, **coefficients)
        scores = np.asarray(self.score(lod, elements, **coefficients), dtype=float)
        if scores.shape != elements.shape:
            raise ValueError(f"score: expected one value an element, ({len(elements)},), got shape {scores.shape}")
        return out, np.where(np.isfinite(out).all(axis=(1, 2)), scores, np.inf)


def _require_form(surrogate: Surrogate | Scored, form: BilinearForm) -> None:
    """Raise ModelMismatchError where a surrogate, or `Extrapolated`, is of another form."""
    if isinstance(surrogate, Extrapolated):
        wrong = surrogate.form is not form
        wanted, got, remedy = repr(form), repr(surrogate.form), "give Hybrid the form of Extrapolated"
    elif isinstance(surrogate, Surrogate):
        wanted, got, remedy = fingerprint(form), surrogate.setting.form, "train one"
        wrong = wanted != got
    else:
        return
    if wrong:
        told = f"wanted is the form at hand, got the model's; {remedy}"
        raise ModelMismatchError("surrogate", {"form": wanted}, {"form": got}, told)
