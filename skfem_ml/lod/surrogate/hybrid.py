"""Surrogate where it is trusted, exact correctors elsewhere, with an error of u_h that is promised."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import BilinearForm

from skfem_ml.learning.storage import ModelMismatchError
from skfem_ml.lod.extrapolation import Extrapolated
from skfem_ml.lod.local import PickledForm
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.conformal import CoarseSolutions, Promise, Scored
from skfem_ml.lod.surrogate.conformal.known import EXTRAPOLATED
from skfem_ml.lod.surrogate.model import Surrogate
from skfem_ml.lod.surrogate.setting import fingerprint

LOG = logging.getLogger("skfem_ml")
Score = Callable[..., ndarray]


class Judgement(NamedTuple):
    """What a hybrid makes of a field.

    Attributes
    ----------
    matrices, scores, recomputed
        Local matrices ``(k, rows, columns)``, scores ``(k,)`` and which were recomputed ``(k,)``.
    promised
        The relative L2 error of u_h that is promised of the whole field, 0 where all elements are exact; None where
        nothing is promised (a tolerance of elements).

    >>> import numpy as np
    >>> from skfem_ml.lod.surrogate import Judgement
    >>> Judgement(np.zeros((2, 36, 4)), np.array([0.01, 0.5]), np.array([False, True]), 0.004).fraction
    0.5
    """

    matrices: ndarray
    scores: ndarray
    recomputed: ndarray
    promised: float | None = None

    @property
    def fraction(self) -> float:
        """The share of elements that was recomputed."""
        return float(self.recomputed.mean()) if len(self.recomputed) else 0.0


class Hybrid(PickledForm):
    r"""A local map: a cheap map's matrices, and as many exact ones as a promised error of u_h takes.

    ``tol`` is an error of u_h: for nine of ten fields like those of the calibration, ``|u_h - u^_h| / |u_h| <= tol`` in
    L2, with u_h of exact LOD on the same meshes. What is promised exactly, and for which loads, is said by `Promise`;
    it is calibrated, not proven, and nothing is promised of families that calibration did not see (what is known of
    those stands in ``demos/benchmarks/coverage.md``). First every element is recomputed of which the cheap map says
    nothing (infinite scores: out of the range of training, or novel), then those with the largest part in the estimate,
    until that is at most ``tol``; all of them where S is not definite before, or where more than 90 % would have to be.

    ``element_tol`` in its place is a threshold for the score of an element, the relative error of S_T that the map
    expects: those above it are recomputed. It promises nothing of u_h.

    Parameters
    ----------
    surrogate
        The cheap local map: a `Surrogate`, `Extrapolated`, or another `Scored` one.
    form
        The form it stands for.
    tol
        The error of u_h, 0 or more. At 0 all elements are recomputed: exact LOD to the last bit.
    element_tol
        In its place, the largest score of an element that is left as it is.
    score
        Another score, with ``element_tol``: ``score(lod, elements, a=a)`` gives ``(k,)``, not negative.
    promise
        A `Promise` for this map. Default that of the surrogate's card; of ``Extrapolated(diffusion, (8, 16))`` one is
        known for diffusion on 32 fine cells a coarse edge. Others are made by `certify`.

    Raises
    ------
    ValueError
        For a negative tolerance, both or none of them, no promise where ``tol`` is given and, without ``score``, a
        surrogate whose doubt was not trained; when called, for scores of another shape and where nothing is fixed.
    TypeError
        For a local map without scores.
    ModelMismatchError
        For another form than that of the surrogate or of `Extrapolated`.

    >>> from skfem_ml import Hybrid, Surrogate, diffusion
    >>> surrogate = Surrogate.load("diffusion-q1-ell2-n8")
    >>> Hybrid(surrogate, diffusion, tol=0.01)
    Hybrid('diffusion-q1-ell2-n8', tol=0.01)
    >>> Hybrid(surrogate, diffusion, element_tol=0.02)
    Hybrid('diffusion-q1-ell2-n8', element_tol=0.02)
    """

    def __init__(
        self,
        surrogate: Surrogate | Scored,
        form: BilinearForm,
        tol: float | None = None,
        *,
        element_tol: float | None = None,
        score: Score | None = None,
        promise: Promise | None = None,
    ):
        _check_tolerances(tol, element_tol, score)
        if not isinstance(surrogate, Scored):
            raise TypeError(
                "surrogate: expected a Surrogate, Extrapolated or a local map with with_score(lod, elements, ...), got "
                f"{type(surrogate).__name__}"
            )
        _require_form(surrogate, form)
        if score is None and isinstance(surrogate, Surrogate):
            surrogate.require_doubt()
        self.surrogate, self.form, self.tol, self.element_tol, self.score = surrogate, form, tol, element_tol, score
        self.promise = promise or promise_of(surrogate)
        if tol and self.promise is None:
            raise ValueError(
                f"tol: expected a map with a promise of u_h, got {surrogate!r}, which has none; calibrate it "
                "(skfem_ml.lod.surrogate.conformal.certify), or give a threshold for elements, element_tol="
            )

    def __repr__(self) -> str:
        name = self.surrogate.card.name if isinstance(self.surrogate, Surrogate) else ""
        told = f"element_tol={self.element_tol:g}" if self.tol is None else f"tol={self.tol:g}"
        return f"Hybrid({repr(name) if name else self.surrogate}, {told})"

    @property
    def of_whole_field(self) -> bool:
        """Whether a change of the coefficient anywhere may change matrices everywhere: what is promised is of u_h, and
        a field may be novel as a whole.
        """
        certificate = getattr(self.surrogate, "certificate", None)
        return bool(self.tol) or getattr(certificate, "novelty", None) is not None

    def local(self, lod: LOD, elements: ndarray, **coefficients: ArrayLike) -> ndarray:
        """Local matrices of the elements, ``(k, (2 ell + 2)**2, 4)``, for ``a`` of shape ``(nelems,)``."""
        return self.judge(lod, elements, **coefficients).matrices

    def judge(self, lod: LOD, elements: ndarray | None = None, **coefficients: ArrayLike) -> Judgement:
        """Local matrices of all elements, or of some, with their scores and which of them were recomputed.

        With ``tol`` the choice is made for the whole field, whatever elements are asked for.
        """
        chosen = lod.space.all_elements if elements is None else np.asarray(elements)
        if np.ndim(coefficients.get("a", 1.0)) == 2:
            raise ValueError("a: expected one field (nelems,), got several; call once for each")
        if not self.tol:
            # Nothing passes a tolerance of zero, not even a score that happens to vanish.
            out, scores = self._scored(lod, chosen, **coefficients)
            again = ~(scores <= self.element_tol) if self.element_tol else np.ones(len(chosen), dtype=bool)
            again |= ~np.isfinite(out).all(axis=(1, 2))  # also at an infinite tolerance
            promised = None if self.tol is None else 0.0
            return Judgement(self._replaced(lod, out, chosen, again, **coefficients), scores, again, promised)
        whole = self._promised(lod, chosen, **coefficients)
        return Judgement(whole.matrices[chosen], whole.scores[chosen], whole.recomputed[chosen], whole.promised)

    def _promised(self, lod: LOD, chosen: ndarray, **coefficients: ArrayLike) -> Judgement:
        """The judgement of all elements; exact matrices only where they are needed: for the estimate, or chosen."""
        assert self.tol is not None and self.promise is not None
        everything, promise = lod.space.all_elements, self.promise
        out, scores = self._scored(lod, everything, **coefficients)
        unknown = ~np.isfinite(scores) | ~np.isfinite(out).all(axis=(1, 2))
        out = self._replaced(lod, out, everything, unknown, **coefficients)
        if unknown.all():
            return Judgement(out, scores, unknown, 0.0)
        parts = CoarseSolutions(lod).parts(out, np.where(unknown, np.inf, scores))
        again = promise.recomputed(parts, self.tol) | unknown
        if again.all():
            LOG.info("hybrid: all %d elements are exact, tol = %g cannot be promised of fewer", len(again), self.tol)
        asked = np.zeros(len(again), dtype=bool)
        asked[chosen] = True
        out = self._replaced(lod, out, everything, again & ~unknown & asked, **coefficients)
        return Judgement(out, scores, again, promise.estimate(parts[:, ~again]))

    def _replaced(
        self, lod: LOD, local: ndarray, elements: ndarray, again: ndarray, **coefficients: ArrayLike
    ) -> ndarray:
        """Local matrices with exact ones where ``again`` says so."""
        if not again.any():
            return local
        out = local.copy()
        out[again] = lod.local(self.form, elements[again], **coefficients)
        return out

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


def promise_of(local_map: object) -> Promise | None:
    """The promise of u_h that comes with a local map: on the card of a `Surrogate`, or known of `Extrapolated`."""
    if isinstance(local_map, Surrogate):
        return local_map.certificate.solution
    if isinstance(local_map, Extrapolated):
        same = local_map.refines == (8, 16) and local_map.order == 2 and _is_diffusion(local_map.form)
        return EXTRAPOLATED if same else None
    found = getattr(local_map, "promise", None)
    return found if isinstance(found, Promise) else None


def _is_diffusion(form: BilinearForm) -> bool:
    try:
        return fingerprint(form) == "diffusion"
    except ValueError:  # a form of other coefficients
        return False


def _check_tolerances(tol: float | None, element_tol: float | None, score: Score | None) -> None:
    if (tol is None) == (element_tol is None):
        raise ValueError(
            f"tol, element_tol: expected one of the two, an error of u_h or a threshold for elements, got {tol} and "
            f"{element_tol}"
        )
    for name, value in (("tol", tol), ("element_tol", element_tol)):
        if value is not None and not value >= 0:
            raise ValueError(f"{name}: expected a number of at least 0, got {value}")
    if score is not None and element_tol is None:
        raise ValueError("score: expected with element_tol=, got one with tol=, whose promise is for the map's own")


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
