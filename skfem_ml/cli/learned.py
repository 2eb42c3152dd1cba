"""Surrogates and hybrids on the command line: which models fit a case, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skfem_ml.cli.errors import held_interrupt


def load_surrogate(model: str | None) -> Any:
    """Load a model by the name of a shipped one or by its file; ValueError that lists the names where none is given."""
    with held_interrupt():
        from skfem_ml.learning.storage import shipped
        from skfem_ml.lod.surrogate.model import Surrogate

    if model is None:
        known = ", ".join(shipped("lod")) or "none is shipped; train one by skfem-ml train surrogate"
        raise ValueError(f"model: expected the name of a model or its file, got none; give --model ({known})")
    return Surrogate.load(Path(model) if Path(model).is_file() else model)


def learned_solver(
    case: Any, surrogate: Any, method: str, ell: int | None, tol: float, scores: bool = False, **options: Any
) -> Callable:
    """Return ``solver(problem)`` for u_h by a surrogate or a hybrid; ``record["cells"]`` is the map of scores.

    The model says n and ell; ``case.refine`` are the cells of its coefficient along a coarse edge.
    """
    from skfem_ml.lod.coarse_solver import solver_coarse
    from skfem_ml.lod.method import LOD
    from skfem_ml.lod.surrogate.hybrid import Hybrid
    from skfem_ml.problems import diffusion

    card = surrogate.card
    refine = card["n"] if card["n"] % case.refine == 0 else None
    # A surrogate with scores is a hybrid that recomputes nothing.
    hybrid = Hybrid(surrogate, diffusion, tol if method == "hybrid" else np.inf)
    local_map = hybrid if method == "hybrid" or scores else surrogate
    solve = solver_coarse(case.coarse, local_map, card["ell"] if ell is None else ell, refine, **options)

    def solver(problem: Any) -> Any:
        u = solve(problem)
        notes: dict[str, Any] = {"model": card.get("name", type(surrogate.net).__name__)}
        if method == "hybrid":
            notes |= {"tol": tol, "recomputed": hybrid.fraction, "largest score": float(hybrid.scores.max())}
        if scores:
            cells = LOD(case.coarse, fine=problem.mesh).space.refinement.cells
            on_cells = np.empty((2, cells.size))
            on_cells[0, cells] = hybrid.scores[:, None]
            on_cells[1, cells] = ~(hybrid.scores <= hybrid.tol)[:, None] | (hybrid.tol == 0)
            notes["cells"] = dict(zip(("score", "recomputed"), on_cells, strict=True))
        return replace(u, record=u.record.with_notes(**notes))

    return solver


def learned_rows(case: Any, models: list[str] | None, tol: float, engine: str) -> dict[str, Callable]:
    """The rows of surrogates and hybrids, and of the exact u_h beside them: name -> ``solver(problem)``.

    ``models`` are names or files, which must fit the case (None: the shipped ones that do).
    """
    with held_interrupt():
        from skfem_ml.learning.storage import shipped

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
        ell = surrogate.card["ell"]
        try:
            # The row of exact LOD, which is judged by the fine mesh of the field, has this setting.
            surrogate.check(LOD(case.coarse, fine=case.problem.mesh, dirichlet=case.problem.dirichlet, ell=ell))
        except ModelMismatchError:
            if models:
                raise
            continue
        rows[f"u_h of LOD ell={ell}"] = solver_coarse(case.coarse, diffusion, ell, engine=engine)
        for method in ("surrogate", "hybrid"):
            rows[f"u_h of {method} {label}"] = learned_solver(case, surrogate, method, None, tol, engine=engine)
    return rows
