"""How much of a local matrix is lost to rounding at high contrast: some are computed again, more exactly.

An engine eliminates without pivoting, which is stable for what is positive definite. That it was is looked at, not
believed: a sample of patches is solved again with iterative refinement, residuals and sums in extended precision (where
the machine has it). What rounding of S then costs in u_h, the coarse solve tells (`coarse.CoarseSystem`).
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from skfem_ml import checks
from skfem_ml.lod.engine.reference import PatchProblem, ReferenceEngine, _assembled, _multipliers
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm

SPREAD = 1e7  # contrasts from here on are looked at: below, no digit that anybody counts is lost
SAMPLE = 3
TOLD, REFUSED = 1e-6, 0.1  # relative losses
STEPS = 8
Exact = np.longdouble


def check_sampled(space: Discretisation, fine_form: FineForm, local: ndarray) -> None:
    """Compare some of all local matrices with better ones, where a coefficient has a contrast above 1e7.

    Warns (UserWarning) with the loss where it is more than 1e-6 of a matrix, and raises ValueError from a tenth on.
    """
    ratios = _ratios(space, fine_form)
    if space.interiors is not None or not ratios.max(initial=1.0) > SPREAD:
        return
    rest = np.random.default_rng(0).permutation(len(ratios))[: SAMPLE - 1]
    engine, sample = ReferenceEngine(space, fine_form), np.unique([int(ratios.argmax()), *rest.tolist()])
    loss = max(_loss(local[T], refined_matrix(engine, T)) for T in sample)
    if not loss <= REFUSED:
        raise ValueError(
            f"S: expected local matrices of some correct digits, got a loss of {loss:.1e} in a sample of {len(sample)} "
            "(rounding at this contrast); take values nearer to each other, or a finer coarse mesh"
        )
    if loss > TOLD:
        checks.warn(
            f"S: rounding changes its local matrices by {loss:.1e} (the largest of a sample of {len(sample)}); that is "
            "the contrast of the coefficient, and the solution is no better"
        )


def refined_matrix(engine: ReferenceEngine, T: int) -> ndarray:
    """S_T ``(rows, 2**d)`` by iterative refinement, for the element matrices of the form as they are."""
    space = engine.space
    _, index_of, matrices = next(engine._blocks(np.array([T])))
    own_matrices, corners = matrices[index_of[space.refinement.cells[T]]], space.fine_corners_in_cell
    patch = engine._patch(T, index_of, matrices)
    problem = PatchProblem(patch, engine._own_load(T, own_matrices))
    K = _assembled(matrices[index_of[patch.cells]].astype(Exact), patch.corners, patch.corners, patch.stiffness.shape)
    own = np.zeros((len(patch.own), len(engine.hats)), dtype=Exact)
    np.add.at(
        own, corners, np.einsum("eij,cej->eic", own_matrices.astype(Exact), engine.hats[:, corners].astype(Exact))
    )
    g = np.zeros((len(patch.nodes), own.shape[1]), dtype=Exact)
    g[patch.own] = own
    w = np.zeros_like(g)
    if len(patch.free):
        w[patch.free] = _refined(problem, K[patch.free][:, patch.free], g[patch.free])
    on_coarse = space.prolongation[patch.nodes].T.astype(Exact) @ (g - K @ w)
    rows = space.patches.nodes[T]
    return np.where(rows[:, None] >= 0, on_coarse[rows], 0).astype(float)


def _refined(problem: PatchProblem, K: ndarray, g: ndarray) -> ndarray:
    """w and multipliers of K w + C^T mu = g, C w = 0, corrected until nothing changes."""
    C = problem.constraints.astype(Exact)
    w, mu = np.zeros_like(g), np.zeros((len(C), g.shape[1]), dtype=Exact)
    last = np.inf
    for _ in range(STEPS):
        r = (g - K @ w - C.T @ mu).astype(float)
        plain = problem.factor.solve(r)
        step = _multipliers(problem.gram, problem.constraints @ plain + np.asarray(C @ w, dtype=float))
        change = plain - problem.responses @ step
        size = float(np.abs(change).max())
        if not size < last:
            break
        w, mu, last = w + change, mu + step, size
    return w


def _loss(local: ndarray, better: ndarray) -> float:
    return float(np.linalg.norm(local - better) / np.linalg.norm(better))


def _ratios(space: Discretisation, fine_form: FineForm) -> ndarray:
    """The largest over the smallest value of a positive coefficient on every patch."""
    cells, around = space.coefficient_refinement.cells, space.patches.cells
    out = np.ones(len(around))
    for value in fine_form.coefficients.values():
        if isinstance(value, ndarray) and value.ndim == 1 and len(value) and value.min() > 0:
            low, high = value[cells].min(axis=1), value[cells].max(axis=1)
            there = around >= 0
            lowest = np.where(there, low[around], np.inf).min(axis=1)
            out = np.maximum(out, np.where(there, high[around], 0.0).max(axis=1) / lowest)
    return out
