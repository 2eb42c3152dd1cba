"""Surrogates and hybrids on the command line: which models fit a case, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skfem_ml.cli.errors import held_interrupt

if TYPE_CHECKING:
    from skfem import Mesh

    from skfem_ml.lod.method import LOD
    from skfem_ml.lod.surrogate.hybrid import Hybrid, Judgement
    from skfem_ml.lod.surrogate.model import Surrogate
    from skfem_ml.problems import Diffusion
    from skfem_ml.solutions import FEFunction


def load_surrogate(model: str | None) -> Surrogate:
    """Load a model by the name of a shipped one or by its file; ValueError that lists the names where none is given."""
    with held_interrupt():
        from skfem_ml.learning.models import shipped
        from skfem_ml.lod.surrogate.model import Surrogate

    if model is None:
        known = ", ".join(shipped("lod")) or "none is shipped; train one by skfem-ml train surrogate"
        raise ValueError(f"model: expected the name of a model or its file, got none; give --model ({known})")
    return Surrogate.load(Path(model) if Path(model).is_file() else model)


def learned_solver(
    case: Any, surrogate: Surrogate, method: str, ell: int | None, tol: float, scores: bool = False, **options: Any
) -> Callable:
    """Return ``solver(problem)`` for u_h by a surrogate or a hybrid; "cells" of its info hold the map of scores.

    The model says n and ell; ``case.refine`` are the cells of its coefficient along a coarse edge.
    """
    from skfem_ml.lod.coarse_solver import solver_coarse
    from skfem_ml.lod.surrogate.hybrid import Hybrid
    from skfem_ml.problems import diffusion

    setting = surrogate.setting
    refine = setting.n if setting.n % case.refine == 0 else None
    # A surrogate with scores is a hybrid that recomputes nothing.
    judging = method == "hybrid" or scores
    hybrid = Hybrid(surrogate, diffusion, tol if method == "hybrid" else np.inf) if judging else None

    def solver(problem: Diffusion) -> FEFunction:
        local_map = surrogate if hybrid is None else _Noting(hybrid)
        u = solver_coarse(case.coarse, local_map, setting.ell if ell is None else ell, refine, **options)(problem)
        u.info["model"] = surrogate.card.name or type(surrogate.net).__name__
        if not isinstance(local_map, _Noting):
            return u
        (judged,) = local_map.judged
        if method == "hybrid":
            largest = float(judged.scores.max())
            told = largest if np.isfinite(largest) else None  # as JSON has it
            u.info.update({"tol": tol, "recomputed": judged.fraction, "largest score": told})
        if scores:
            u.info["cells"] = _on_cells(case.coarse, problem, judged)
        return u

    return solver


class _Noting:
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
    from skfem_ml.lod.method import LOD

    cells = LOD(coarse, fine=problem.mesh).space.refinement.cells
    on_cells = np.empty((2, cells.size))
    on_cells[0, cells], on_cells[1, cells] = judged.scores[:, None], judged.recomputed[:, None]
    return dict(zip(("score", "recomputed"), on_cells, strict=True))


def learned_rows(case: Any, models: list[str] | None, tol: float, engine: str) -> dict[str, Callable]:
    """The rows of surrogates and hybrids, and of the exact u_h beside them: name -> ``solver(problem)``.

    ``models`` are names or files, which must fit the case (None: the shipped ones that do).
    """
    with held_interrupt():
        from skfem_ml.learning.models import shipped

    names = list(models or shipped("lod"))
    if not names:
        return {}
    from skfem_ml.learning.storage import ModelMismatchError
    from skfem_ml.lod.coarse_solver import solver_coarse
    from skfem_ml.lod.method import LOD
    from skfem_ml.problems import diffusion

    rows: dict[str, Callable] = {}
    for name in names:
        surrogate, label = load_surrogate(name), Path(name).stem
        ell = surrogate.setting.ell
        try:
            # The row of exact LOD, which is judged by the fine mesh of the field, has this setting.
            surrogate.check(LOD(case.coarse, fine=case.problem.mesh, dirichlet=case.problem.dirichlet, ell=ell))
        except ModelMismatchError:
            if models:
                raise
            continue
        rows[f"u_h of LOD ell={ell}"] = solver_coarse(case.coarse, diffusion, ell, engine=engine)
        for method in ("surrogate", "hybrid") if surrogate.has_doubt else ("surrogate",):
            rows[f"u_h of {method} {label}"] = learned_solver(case, surrogate, method, None, tol, engine=engine)
    return rows
