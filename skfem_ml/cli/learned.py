"""Surrogates and hybrids on the command line: which models fit a case, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from skfem_ml.cli.errors import held_interrupt

if TYPE_CHECKING:
    from skfem_ml.cli.cases import Case
    from skfem_ml.learning import ModelMismatchError
    from skfem_ml.lod import LOD
    from skfem_ml.lod.surrogate import Hybrid, SuperElements, Surrogate
    from skfem_ml.lod.surrogate.hybrid import Judgement
    from skfem_ml.problems import Diffusion, Staged
    from skfem_ml.problems.staged import Answer
    from skfem_ml.solutions import FEFunction

T = TypeVar("T")
Learned: TypeAlias = "Surrogate | SuperElements"
MOST = 0.5  # share of patches outside its training above which nobody is shown a model unasked


def load_surrogate(name: str | None) -> Learned:
    """Load a surrogate by the name of a shipped one or by its file; ValueError with the names where none is given."""
    with held_interrupt():
        from skfem_ml.learning import shipped
        from skfem_ml.lod.surrogate import Surrogate

    if name is None:
        known = ", ".join(shipped("lod")) or "none is shipped; train one by skfem-ml train surrogate"
        raise ValueError(f"surrogate: expected the name of a shipped one or its file, got none; there are: {known}")
    return Surrogate.load(Path(name) if Path(name).is_file() else name)


def learned_solver(
    case: Case, surrogate: Learned, method: str, ell: int | None, tol: float, scores: bool = False, **options: Any
) -> Staged:
    """Return ``solver(problem)`` for u_h by a surrogate or a hybrid; with ``scores`` their record is for `score_maps`.

    The model says n and ell; ``case.refine`` are the cells of its coefficient along a coarse edge. ``options`` are
    those of LOD.
    """
    from skfem_ml.lod import solver_coarse
    from skfem_ml.problems import Staged

    setting, name = surrogate.setting, surrogate.card.name or type(surrogate.net).__name__
    refine = setting.n if setting.n % (case.refine * case.below) == 0 else None
    noting = Noting(hybrid_of(surrogate, tol if method == "hybrid" else None)) if method == "hybrid" or scores else None
    ell = setting.ell if ell is None else ell
    solver = solver_coarse(case.coarse, noting or surrogate, ell, refine, cells=case.refine, **options)

    def build(problem: Diffusion) -> Callable[[np.ndarray], Answer]:
        inner = _explained(name, lambda: solver.build(problem))

        def prepare(a: np.ndarray) -> Answer:
            answer, notes = _explained(name, lambda: inner(a)), {}
            if noting is not None:
                judged = noting.judged[-1]
                notes = _judged(judged, tol if method == "hybrid" else None)
                notes |= {"judged": (judged.scores, judged.recomputed)} if scores else {}
            notes["model"] = name
            return lambda f: _with_notes(answer(f), notes)

        return prepare

    return Staged(build)


def hybrid_of(surrogate: Learned, tol: float | None) -> Hybrid:
    """The hybrid that promises ``tol``; by elements for a model without a promise; None: it judges, no more."""
    from skfem_ml.lod.surrogate import Hybrid
    from skfem_ml.problems import diffusion

    if tol is not None and not tol >= 0:
        raise ValueError(f"tol: expected a number of at least 0, got {tol}")
    if tol is not None and (tol <= 0 or surrogate.certificate.solution is not None):
        return Hybrid(surrogate, diffusion, tol)
    return Hybrid(surrogate, diffusion, element_tol=np.inf if tol is None else tol)


def _explained(name: str, work: Callable[[], T]) -> T:
    """The result; a model that does not fit is told with the options that bring the two together."""
    from skfem_ml.learning import ModelMismatchError

    try:
        return work()
    except ModelMismatchError as error:
        raise ValueError(mismatch(name, error)) from error


def _judged(judged: Judgement, tol: float | None) -> dict[str, object]:
    """What a hybrid recomputed; nothing for a surrogate that is only scored."""
    if tol is None:
        return {}
    largest = float(judged.scores.max())
    told = largest if np.isfinite(largest) else None  # as JSON has it
    limit = {"element tol": tol} if judged.promised is None else {"tol": tol, "promised": judged.promised}
    return {**limit, "recomputed": judged.fraction, "largest score": told}


def _with_notes(u: FEFunction, notes: Mapping[str, object]) -> FEFunction:
    return replace(u, record=u.record.with_notes(**notes))


class Noting:
    """A hybrid as a local map that notes what it judged."""

    def __init__(self, hybrid: Hybrid):
        self.hybrid = hybrid
        self.judged: list[Judgement] = []

    def local(self, lod: LOD, elements: np.ndarray, **coefficients: np.ndarray) -> np.ndarray:
        """Local matrices of the elements."""
        self.judged.append(self.hybrid.judge(lod, elements, **coefficients))
        return self.judged[-1].matrices


def score_maps(case: Case, u: FEFunction) -> dict[str, np.ndarray]:
    """Scores of coarse elements, and which were recomputed, on the cells of the field; {} where u has none."""
    from skfem_ml.lod import LOD

    if "judged" not in u.record:
        return {}
    parent = LOD(case.coarse, fine=case.given.mesh).space.refinement.parent
    on_cells = (np.asarray(values, dtype=float)[parent] for values in u.record["judged"])
    return dict(zip(("score", "recomputed"), on_cells, strict=True))


@dataclass(frozen=True, eq=False)
class Chosen:
    """The models of a comparison by name, the fine cells along one of the field that they want, and what is said."""

    models: dict[str, Learned]
    below: int | None = None
    notes: tuple[str, ...] = ()
    named: bool = False


def chosen_models(case: Case, names: list[str] | None) -> Chosen:
    """The named models (files or shipped), or the shipped one whose card fits the field best: the least mean doubt.

    A shipped model fits where its setting does and less than half of the patches are outside its training; the others
    are told of. Raises ValueError for a named model that does not fit, and named ones of unlike fine meshes.
    """
    with held_interrupt():
        from skfem_ml.learning import ModelMismatchError, shipped

    fits: dict[str, tuple[Learned, float]] = {}
    left_out = []
    for name in names or shipped("lod"):
        surrogate, label = load_surrogate(name), Path(name).stem
        try:
            lod = _lod_of(case, surrogate)
            _require(surrogate, lod)
        except ModelMismatchError as error:
            if names:
                raise ValueError(mismatch(label, error)) from error
            continue
        outside, doubt = (0.0, 0.0) if names else doubts(surrogate, lod, case.given.a)
        if outside <= MOST:
            fits[label] = surrogate, doubt
            continue
        left_out.append(
            f"left out: {label}, for {outside:.0%} of the patches are outside its training; show it by "
            f"--surrogate {label}"
        )
    if not names and fits:
        best = min(fits, key=lambda label: fits[label][1])
        left_out += [f"left out: {label}, which fits less well than {best}" for label in fits if label != best]
        fits = {best: fits[best]}
    below = {surrogate.setting.n // case.refine for surrogate, _ in fits.values()}
    if len(below) > 1:
        raise ValueError(
            f"surrogate: expected models of one fine mesh, got {sorted(below)} cells along one of the field"
        )
    models = {label: surrogate for label, (surrogate, _) in fits.items()}
    return Chosen(models, next(iter(below), None), tuple(left_out), names is not None)


def _require(surrogate: Learned, lod: LOD) -> None:
    """Raise ModelMismatchError where the model is not for this LOD."""
    from skfem_ml.learning import ModelMismatchError
    from skfem_ml.lod import Interiors
    from skfem_ml.lod.surrogate import Setting

    if not isinstance(surrogate, Interiors):
        surrogate.check(lod)
        return
    made = replace(surrogate.setting, ell=lod.ell)  # for any
    pairs = Setting.of(lod).mismatch(made)
    if pairs:
        wanted, got = ({name: pair[side] for name, pair in pairs.items()} for side in (0, 1))
        raise ModelMismatchError("surrogate", wanted, got, "change the LOD or load another model")


def _lod_of(case: Case, surrogate: Learned) -> LOD:
    """The LOD on the case's meshes with the model's ell and, where that is possible, its fine mesh.

    Its coefficient mesh is that of the field.
    """
    from skfem_ml.lod import LOD

    setting = surrogate.setting
    lod = LOD(case.coarse, fine=case.given.mesh, dirichlet=case.problem.dirichlet, ell=setting.ell)
    return lod.with_fine(setting.n) if setting.n % case.refine == 0 and setting.n != case.refine else lod


def learned_rows(case: Case, models: Mapping[str, Learned], tol: float, engine: str) -> dict[str, Callable]:
    """The rows of surrogates and of their hybrids."""
    rows: dict[str, Callable] = {}
    for label, surrogate in models.items():
        for method in ("surrogate", "hybrid") if getattr(surrogate, "has_doubt", True) else ("surrogate",):
            scores = method == "hybrid"  # which judges in any case
            rows[f"{method}, {label}"] = learned_solver(case, surrogate, method, None, tol, scores, engine=engine)
    return rows


def mismatch(name: str, error: ModelMismatchError) -> str:
    """What a model is made for, what the case has, and the options that bring them together."""
    made = {key: error.got.get(key) for key in error.wanted}
    remedies = []
    if "cells" in made or "n" in made:
        remedies.append(f"--refine {error.got.get('cells')}")
    if "ell" in made:
        remedies.append(f"--ell {made['ell']} with enough coarse cells for it (a small domain clips it)")
    if "boundary" in made:
        remedies.append("no --dirichlet")
    return (
        f"surrogate: {name} is made for {_listed(made)}, the case has {_listed(error.wanted)}; take "
        f"{' and '.join(remedies) or 'another model'} (skfem-ml models lists those in the package)"
    )


def _listed(setting: Mapping[str, object]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in setting.items())


def doubts(surrogate: Learned, lod: LOD, a: np.ndarray) -> tuple[float, float]:
    """The share of patches that the model was not trained on (values out of range, an infinite score), and the mean
    score of the others.
    """
    from skfem_ml.lod import Interiors

    elements = lod.space.all_elements
    _, scores = surrogate.with_score(lod, elements, a=a)
    outside = ~np.isfinite(scores)
    if not isinstance(surrogate, Interiors):
        outside |= surrogate.excess(lod, elements, a=a) > 0
    return float(outside.mean()), float(scores[~outside].mean()) if not outside.all() else np.inf
