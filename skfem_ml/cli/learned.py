"""Surrogates and hybrids on the command line: which models fit a case, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skfem_ml.cli.errors import held_interrupt

if TYPE_CHECKING:
    from skfem import Mesh

    from skfem_ml.cli.cases import Case
    from skfem_ml.learning import ModelMismatchError
    from skfem_ml.lod import LOD
    from skfem_ml.lod.surrogate import Hybrid, Surrogate
    from skfem_ml.lod.surrogate.hybrid import Judgement
    from skfem_ml.problems import Diffusion
    from skfem_ml.solutions import FEFunction

MOST = 0.5  # share of patches outside its training above which nobody is shown a model unasked


def load_surrogate(name: str | None) -> Surrogate:
    """Load a surrogate by the name of a shipped one or by its file; ValueError with the names where none is given."""
    with held_interrupt():
        from skfem_ml.learning import shipped
        from skfem_ml.lod.surrogate import Surrogate

    if name is None:
        known = ", ".join(shipped("lod")) or "none is shipped; train one by skfem-ml train surrogate"
        raise ValueError(f"surrogate: expected the name of a shipped one or its file, got none; there are: {known}")
    return Surrogate.load(Path(name) if Path(name).is_file() else name)


def learned_solver(
    case: Case, surrogate: Surrogate, method: str, ell: int | None, tol: float, scores: bool = False, **options: Any
) -> Callable[[Diffusion], FEFunction]:
    """Return ``solver(problem)`` for u_h by a surrogate or a hybrid; ``record["cells"]`` is the map of scores.

    The model says n and ell; ``case.refine`` are the cells of its coefficient along a coarse edge. ``options`` are
    those of LOD.
    """
    from skfem_ml.learning import ModelMismatchError
    from skfem_ml.lod import solver_coarse
    from skfem_ml.lod.surrogate import Hybrid
    from skfem_ml.problems import diffusion

    setting, name = surrogate.setting, surrogate.card.name or type(surrogate.net).__name__
    refine = setting.n if setting.n % case.refine == 0 else None
    # A surrogate with scores is a hybrid that recomputes nothing.
    judging = method == "hybrid" or scores
    hybrid = Hybrid(surrogate, diffusion, tol if method == "hybrid" else np.inf) if judging else None

    def solver(problem: Diffusion) -> FEFunction:
        local_map = surrogate if hybrid is None else Noting(hybrid)
        try:
            u = solver_coarse(case.coarse, local_map, setting.ell if ell is None else ell, refine, **options)(problem)
        except ModelMismatchError as error:
            raise ValueError(mismatch(name, error)) from error
        notes: dict[str, object] = {"model": name}
        if isinstance(local_map, Noting):
            (judged,) = local_map.judged
            if method == "hybrid":
                largest = float(judged.scores.max())
                told = largest if np.isfinite(largest) else None  # as JSON has it
                notes |= {"tol": tol, "recomputed": judged.fraction, "largest score": told}
            if scores:
                notes["cells"] = _on_cells(case.coarse, problem, judged)
        return replace(u, record=u.record.with_notes(**notes))

    return solver


class Noting:
    """A hybrid as a local map that notes what it judged."""

    def __init__(self, hybrid: Hybrid):
        self.hybrid = hybrid
        self.judged: list[Judgement] = []

    def local(self, lod: LOD, elements: np.ndarray, **coefficients: np.ndarray) -> np.ndarray:
        """Local matrices of the elements."""
        self.judged.append(self.hybrid.judge(lod, elements, **coefficients))
        return self.judged[-1].matrices


def _on_cells(coarse: Mesh, problem: Diffusion, judged: Judgement) -> dict[str, np.ndarray]:
    """Scores of coarse elements, and which were recomputed, on the cells of the problem's mesh."""
    from skfem_ml.lod import LOD

    cells = LOD(coarse, fine=problem.mesh).space.refinement.cells
    on_cells = np.empty((2, cells.size))
    on_cells[0, cells], on_cells[1, cells] = judged.scores[:, None], judged.recomputed[:, None]
    return dict(zip(("score", "recomputed"), on_cells, strict=True))


def learned_rows(
    case: Case, names: list[str] | None, tol: float, engine: str
) -> tuple[dict[str, Callable[[Diffusion], FEFunction]], list[str]]:
    """The rows of surrogates and hybrids, the exact u_h beside them, and a line on each model that is left out.

    ``names`` are names or files, which must fit the case. None: the shipped ones that do; of these, one that was never
    trained on most of the patches of the field is left out.
    """
    with held_interrupt():
        from skfem_ml.learning import ModelMismatchError, shipped

    from skfem_ml.lod import LOD, solver_coarse
    from skfem_ml.problems import diffusion

    rows: dict[str, Callable[[Diffusion], FEFunction]] = {}
    left_out = []
    for name in names or shipped("lod"):
        surrogate, label = load_surrogate(name), Path(name).stem
        ell = surrogate.setting.ell
        # The row of exact LOD, which is judged by the fine mesh of the field, has this setting.
        lod = LOD(case.coarse, fine=case.problem.mesh, dirichlet=case.problem.dirichlet, ell=ell)
        try:
            surrogate.check(lod)
        except ModelMismatchError as error:
            if names:
                raise ValueError(mismatch(label, error)) from error
            continue
        if not names and (outside := share_outside(surrogate, lod, case.problem.a)) > MOST:
            left_out.append(
                f"left out: {label}, for {outside:.0%} of the patches are outside its training; show it by "
                f"--surrogate {label}"
            )
            continue
        rows[f"u_h of LOD ell={ell}"] = solver_coarse(case.coarse, diffusion, ell, engine=engine)
        for method in ("surrogate", "hybrid") if surrogate.has_doubt else ("surrogate",):
            rows[f"u_h of {method} {label}"] = learned_solver(case, surrogate, method, None, tol, engine=engine)
    return rows, left_out


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


def share_outside(surrogate: Surrogate, lod: LOD, a: np.ndarray) -> float:
    """The share of patches whose values, shape or features the model was not trained on: their score is infinite, or
    their values are out of range.
    """
    elements = lod.space.all_elements
    _, scores = surrogate.with_score(lod, elements, a=a)
    return float((~np.isfinite(scores) | (surrogate.excess(lod, elements, a=a) > 0)).mean())
