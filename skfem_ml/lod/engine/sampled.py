"""How many digits are lost at high contrast: of correctors, of which some are computed again, and of S.

Elimination without pivoting is stable for what is positive definite. That it was is looked at, not believed: a sample
of patches is solved again with iterative refinement, residuals in extended precision (where the machine has it).

S is another matter: S_T[i, j] = a_T(lambda_j, lambda_i) - a(Q_T lambda_j, lambda_i) is a difference of numbers as large
as the largest coefficient on T, also where the result is of the size of the smallest. Its entries are off by eps times
the former, and u_h by what S^-1 makes of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import splu

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


def tell_rounding(space: Discretisation, fine_form: FineForm, made: Callable[[], csr_matrix]) -> None:
    """Warn (UserWarning) where the cancellation in S may cost more than 1e-6 of u_h, for a constant load.

    The loss is max |S^-1 D e| / max |u_h| for eight vectors e of signs, D_i = eps sum_{T around i} k_T max_T |u_h|,
    with k_T the largest entry of the element matrices on T. Looked at where a patch has a contrast above 1e7; only then
    is S made.
    """
    free, corners = np.flatnonzero(~space.fixed), space.patches.corners
    if not len(free) or not _ratios(space, fine_form).max(initial=1.0) > SPREAD:
        return
    S = made()
    sizes = np.abs(fine_form.matrices(np.arange(space.refinement.cells.size))).max(axis=(1, 2))
    largest = sizes[space.refinement.cells].max(axis=1)
    solve, u = splu(S[free][:, free].tocsc()).solve, np.zeros(S.shape[0])
    u[free] = solve(np.bincount(corners.ravel(), minlength=len(u))[free].astype(float))
    weights = np.repeat(largest * np.abs(u[corners]).max(axis=1), corners.shape[1])
    D, rng = np.finfo(float).eps * np.bincount(corners.ravel(), weights, len(u))[free], np.random.default_rng(0)
    lost = max(np.abs(solve(D * rng.choice([-1.0, 1.0], len(D)))).max() for _ in range(8)) / np.abs(u).max()
    if not lost <= TOLD:
        checks.warn(
            f"S: rounding may change u_h by {lost:.1e} of its largest value, for entries of S are differences of "
            "numbers as large as the largest coefficient: that is what the contrast costs"
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
    """The largest over the smallest value of a positive coefficient on every patch; 1 for a coefficient whose contrast
    as a whole is not looked at.
    """
    cells, around = space.coefficient_refinement.cells, space.patches.cells
    out = np.ones(len(around))
    for value in fine_form.coefficients.values():
        if isinstance(value, ndarray) and value.ndim == 1 and len(value) and 0 < value.min() * SPREAD < value.max():
            low, high = value[cells].min(axis=1), value[cells].max(axis=1)
            there = around >= 0
            lowest = np.where(there, low[around], np.inf).min(axis=1)
            out = np.maximum(out, np.where(there, high[around], 0.0).max(axis=1) / lowest)
    return out
