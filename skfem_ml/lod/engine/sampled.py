"""How many digits of correctors are lost at high contrast: some are computed again, more exactly.

Elimination without pivoting is stable for what is positive definite, and finite element matrices keep their digits at
any contrast; but the multipliers of the constraints are as large as the largest coefficient, and a corrector
w = K^-1 (g - C^T mu) is a difference of what they make: eps times the contrast is lost. A sample of patches is solved
again with iterative refinement, residuals in extended precision (where the machine has it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy import ndarray

from skfem_ml import checks
from skfem_ml.lod.engine.protocol import Engine
from skfem_ml.lod.engine.reference import PatchProblem, ReferenceEngine, _assembled, _multipliers
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm

SPREAD = 1e7  # contrasts from here on are looked at: below, no digit that anybody counts is lost
SAMPLE = 3
TOLD, REFUSED = 1e-6, 0.1  # relative losses
STEPS = 8
Exact = np.longdouble


def check_sampled(engine: Engine, space: Discretisation, fine_form: FineForm) -> None:
    """Compare some correctors of an engine with better ones, where a coefficient has a contrast above 1e7 in a patch.

    Warns (UserWarning) with the loss, relative to the largest value, where it is more than 1e-6, and raises ValueError
    from a tenth on.
    """
    ratios = _ratios(space, fine_form)
    if space.interiors is not None or not ratios.max(initial=1.0) > SPREAD:
        return
    rest = np.random.default_rng(0).permutation(len(ratios))[: SAMPLE - 1]
    sample, exact = np.unique([int(ratios.argmax()), *rest.tolist()]), ReferenceEngine(space, fine_form)
    lost = max(
        _loss(values, nodes, *refined_correctors(exact, T)) for T, nodes, values in _each(engine.correct(sample))
    )
    if not lost <= REFUSED:
        raise ValueError(
            f"correctors: expected some correct digits, got a loss of {lost:.1e} of their largest value in a sample of "
            f"{len(sample)} (rounding, at a contrast of {ratios.max():.1e}); take values nearer to each other"
        )
    if lost > TOLD:
        checks.warn(
            f"correctors: rounding changes them by {lost:.1e} of their largest value (in a sample of {len(sample)}): "
            f"that is what a contrast of {ratios.max():.1e} costs, and the solution is no better"
        )


def _each(batches: Iterable[tuple[ndarray, ndarray, ndarray]]) -> Iterator[tuple[int, ndarray, ndarray]]:
    for elements, nodes, values in batches:
        yield from zip(elements.tolist(), nodes, values, strict=True)


def _loss(values: ndarray, nodes: ndarray, better: ndarray, places: ndarray) -> float:
    """The difference of two correctors, given at ``nodes`` (-1: outside) and at ``places``, relative to the largest."""
    whole = np.zeros((max(nodes.max(), places.max()) + 1, values.shape[1]))
    whole[nodes[nodes >= 0]] = values[nodes >= 0]
    whole[places] -= better
    return float(np.abs(whole).max() / (np.abs(better).max() or 1.0))


def refined_correctors(engine: ReferenceEngine, T: int) -> tuple[ndarray, ndarray]:
    """Q_T lambda_j ``(nodes, 2**d)`` by iterative refinement, for the element matrices as they are, and the nodes."""
    space = engine.space
    _, index_of, matrices = next(engine._blocks(np.array([T])))
    own_matrices, corners = matrices[index_of[space.refinement.cells[T]]], space.fine_corners_in_cell
    patch = engine._patch(T, index_of, matrices)
    problem = PatchProblem(patch, engine._own_load(T, own_matrices))
    K = _assembled(matrices[index_of[patch.cells]].astype(Exact), patch.corners, patch.corners, patch.stiffness.shape)
    own, hats = np.zeros((len(patch.own), len(engine.hats)), dtype=Exact), engine.hats[:, corners].astype(Exact)
    np.add.at(own, corners, np.einsum("eij,cej->eic", own_matrices.astype(Exact), hats))
    g = np.zeros((len(patch.nodes), own.shape[1]), dtype=Exact)
    g[patch.own] = own
    w = np.zeros(g.shape)
    if len(patch.free):
        w[patch.free] = _refined(problem, K[patch.free][:, patch.free], g[patch.free])
    return w, patch.nodes


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
