"""Surrogate where it is trusted, exact correctors elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import BilinearForm

from skfem_ml.learning.storage import ModelMismatchError
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


class Hybrid:
    """A local map: the surrogate's matrices, recomputed by exact correctors where their score exceeds ``tol``.

    The score of an element is the relative error that the surrogate expects of itself (`Surrogate.doubt`) plus how far
    its inputs lie outside the range of training (`Surrogate.excess`). It tells where the surrogate is in doubt; it
    bounds no error, and a tolerance is to be chosen on fields whose exact matrices are known.

    Parameters
    ----------
    surrogate
        The fast local map.
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
    ModelMismatchError
        For another form than the surrogate's.

    >>> from skfem_ml import Hybrid, Surrogate, diffusion
    >>> surrogate = Surrogate.load("diffusion-q1-ell2-n8")
    >>> Hybrid(surrogate, diffusion, tol=0.02)
    Hybrid('diffusion-q1-ell2-n8', tol=0.02)
    """

    def __init__(self, surrogate: Surrogate, form: BilinearForm, tol: float, score: Score | None = None):
        if not tol >= 0:
            raise ValueError(f"tol: expected a number of at least 0, got {tol}")
        got, wanted = surrogate.setting.form, fingerprint(form)
        if got != wanted:
            raise ModelMismatchError(
                "surrogate",
                {"form": wanted},
                {"form": got},
                "wanted is the form at hand, got the model's; train one",
            )
        if score is None:
            surrogate.require_doubt()
        self.surrogate, self.form, self.tol, self.score = surrogate, form, tol, score

    def __repr__(self) -> str:
        name = self.surrogate.card.name
        return f"Hybrid({repr(name) if name else self.surrogate}, tol={self.tol:g})"

    def __getstate__(self) -> dict[str, object]:
        # A decorated form hides the function of its name: it is pickled by its place, as a function is.
        place = self.form.form.__module__, self.form.form.__qualname__
        found = getattr(sys.modules.get(place[0]), place[1], None)
        return {**vars(self), "form": place if found is self.form else self.form}

    def __setstate__(self, state: dict[str, object]) -> None:
        form = state["form"]
        if isinstance(form, tuple):
            form = getattr(import_module(form[0]), form[1])
        self.__dict__.update(state, form=form)

    def local(self, lod: LOD, elements: ndarray, **coefficients: ArrayLike) -> ndarray:
        """Local matrices of the elements, ``(k, (2 ell + 2)**2, 4)``, for ``a`` of shape ``(nelems,)``."""
        return self.judge(lod, elements, **coefficients).matrices

    def judge(self, lod: LOD, elements: ndarray | None = None, **coefficients: ArrayLike) -> Judgement:
        """Local matrices of all elements, or of some, with their scores and which of them were recomputed."""
        chosen = lod.space.all_elements if elements is None else np.asarray(elements)
        if np.ndim(coefficients.get("a", 1.0)) == 2:
            raise ValueError("a: expected one field (nelems,), got several; call once for each")
        if self.score is None:
            out, scores = self.surrogate.with_score(lod, chosen, **coefficients)
        else:
            out, answer = self.surrogate.raw(lod, chosen, **coefficients)
            scores = np.asarray(self.score(lod, chosen, **coefficients), dtype=float)
            if scores.shape != chosen.shape:
                raise ValueError(f"score: expected one value an element, ({len(chosen)},), got shape {scores.shape}")
            scores = np.where(answer.finite[0].cpu().numpy(), scores, np.inf)
        # Nothing passes a tolerance of zero, not even a score that happens to vanish.
        again = ~(scores <= self.tol) if self.tol > 0 else np.ones(len(chosen), dtype=bool)
        again |= ~np.isfinite(out).all(axis=(1, 2))  # also at an infinite tolerance
        if again.any():
            out = out.copy()
            out[again] = lod.local(self.form, chosen[again], **coefficients)
        return Judgement(out, scores, again)
