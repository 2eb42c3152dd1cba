"""Surrogate where it is trusted, exact correctors elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray
from skfem import BilinearForm

from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.model import Surrogate

Score = Callable[..., ndarray]


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
        Elements with ``score > tol`` are recomputed. At 0 all are: exact LOD to the last bit.
    score
        Another score: ``score(lod, elements, a=a)`` gives ``(k,)``, not negative.

    Attributes
    ----------
    scores
        Scores of the elements of the last call, ``(k,)``, in their order.
    fraction
        The share of them that was recomputed.

    Raises
    ------
    ValueError
        For a negative tolerance; when called, for scores of another shape. NaN scores count as above any tolerance.
    """

    def __init__(self, surrogate: Surrogate, form: BilinearForm, tol: float, score: Score | None = None):
        if not tol >= 0:
            raise ValueError(f"tol: expected a number of at least 0, got {tol}")
        self.surrogate, self.form, self.tol = surrogate, form, tol
        self.score = score
        self.scores = np.zeros(0)
        self.fraction = 0.0

    def local(self, lod: LOD, elements: ndarray, **coefficients: Any) -> ndarray:
        """Local matrices of the elements, ``(k, (2 ell + 2)**2, 4)``, for ``a`` of shape ``(nelems,)``."""
        if np.ndim(coefficients.get("a", 1.0)) == 2:
            raise ValueError("a: expected one field (nelems,), got several; call once for each")
        local = None
        if self.score is None:
            local, scores = self.surrogate.with_score(lod, elements, **coefficients)
        else:
            scores = np.asarray(self.score(lod, elements, **coefficients), dtype=float)
        if scores.shape != elements.shape:
            raise ValueError(f"score: expected one value an element, ({len(elements)},), got shape {scores.shape}")
        # Nothing passes a tolerance of zero, not even a score that happens to vanish.
        exact = ~(scores <= self.tol) if self.tol > 0 else np.ones(len(elements), dtype=bool)
        out = np.empty((len(elements), lod.patches.nodes.shape[1], lod.patches.corners.shape[1]))
        if exact.any():
            out[exact] = lod.local(self.form, elements[exact], **coefficients)
        if not exact.all():
            trusted = elements[~exact]
            out[~exact] = self.surrogate.local(lod, trusted, **coefficients) if local is None else local[~exact]
        self.scores, self.fraction = scores, float(exact.mean()) if len(exact) else 0.0
        return out
