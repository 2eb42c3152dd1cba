r"""From errors of elements to the error of u_h: dual weighted residuals, and one conformal factor for fields.

With S u = b and S^ u^ = b, r_T = (S_T - S^_T) u^_T is what an element leaves of the equation, and its part of the error
in the direction of u^ is -z_T . r_T, where S^^T z = M u^, M the mass matrix (Becker, Rannacher, Acta Numerica 10,
2001). With e_T a bound of |S^_T - S_T|_F / |S^_T|_F,

    |z_T . r_T| / |u^|^2 <= e_T |S^_T|_F |u^_T| |z_T| / |u^|^2 =: eta_T,

where |.| leaves out the mean over the corners of T if constants have no matrix. How these add up depends on how much
the errors of elements have to do with each other: all of one sign, (sum eta); independent, (sum eta^2)^(1/2). The
estimate takes (sum eta^p)^(1/p) with p between, and a factor that makes it true on fields of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix

from skfem_ml.lod.coarse import CoarseSystem, is_definite
from skfem_ml.lod.surrogate.conformal.calibration import finite_or_none, new_names, number, words
from skfem_ml.lod.surrogate.conformal.quantiles import check_level, conformal_quantile, unknown_as_infinite
from skfem_ml.problems import mass

if TYPE_CHECKING:
    from skfem_ml.lod.method import LOD

POWER = 1.25
MOST = 0.9  # share of elements up to which some are left as they are; beyond it all are recomputed
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, MOST)
ZERO = 1e-8

Load = Callable[[ndarray], ndarray]
# On coordinates (d, points) scaled to the unit box.
LOADS: dict[str, Load] = {
    "1": lambda x: np.ones(x.shape[1]),
    "x - 1/2": lambda x: x[0] - 0.5,
    "sin 2 pi x sin pi y": lambda x: np.sin(2 * np.pi * x[0]) * np.sin(np.pi * x[1:]).prod(axis=0),
    "bell at (.3, .6)": lambda x: np.exp(-np.square(x - np.array([[0.3], [0.6], [0.45]])[: len(x)]).sum(axis=0) / 0.01),
}


class CoarseSolutions:
    """Coarse solutions for loads ``(loads, coarse.N)``, zero on Gamma_D, and their norms.

    >>> from skfem import MeshQuad
    >>> from skfem_ml import LOD, diffusion
    >>> from skfem_ml.lod.surrogate.conformal import CoarseSolutions
    >>> lod = LOD(MeshQuad().refined(2), refine=2, ell=1)
    >>> coarse, exact = CoarseSolutions(lod), lod.local(diffusion, a=1.0)
    >>> coarse.errors(coarse.solutions(1.1 * exact), coarse.solutions(exact)).round(4).tolist()
    [0.0909, 0.0909, 0.0909, 0.0909]
    """

    def __init__(self, lod: LOD, loads: Mapping[str, Load] = LOADS):
        if not lod.space.fixed.any():
            raise ValueError("lod: expected one with a Dirichlet part, got none: without it no u_h is promised")
        x = lod.coarse.mesh.p
        low, size = x.min(axis=1, keepdims=True), np.ptp(x, axis=1, keepdims=True)
        nodal = np.zeros((len(loads), lod.coarse.N))
        for row, load in zip(nodal, loads.values(), strict=True):
            row[lod.coarse.nodal_dofs[0]] = load((x - low) / size)
        self.lod, self.mass = lod, mass.assemble(lod.coarse)
        self.loads = nodal @ self.mass

    def __repr__(self) -> str:
        return f"CoarseSolutions({len(self.loads)} loads on {self.lod!r})"

    def solutions(self, local: ndarray) -> ndarray:
        """u_h for local matrices ``(nelems, rows, columns)``, ``(loads, coarse.N)``."""
        return self._solved(self.lod.sum(local).tocsr(), self.loads)

    def norms(self, u: ndarray) -> ndarray:
        """L2 norms ``(loads,)``."""
        return np.sqrt(np.einsum("li,li->l", u, u @ self.mass).clip(min=0))

    def errors(self, got: ndarray, exact: ndarray) -> ndarray:
        """``|got - exact| / |exact|`` in L2, ``(loads,)``; zero where both vanish (no free node)."""
        size = self.norms(exact)
        return np.divide(self.norms(got - exact), size, out=np.zeros(len(size)), where=size > 0)

    def influence(self, local: ndarray) -> ndarray:
        r"""``|S_T|_F |u_T| |z_T| / |u|^2``, ``(loads, nelems)``: what a relative error of S_T does to u_h.

        Infinite where S is not definite, or cannot be solved with: then nothing is known of u_h.
        """
        S = self.lod.sum(local).tocsr()
        free = np.flatnonzero(~self.lod.space.fixed)
        unknown = np.full((len(self.loads), len(local)), np.inf)
        if not np.isfinite(local).all() or not is_definite(S[free][:, free]):
            return unknown
        try:
            u = self._solved(S, self.loads)
            z = self._solved(S.T.tocsr(), u @ self.mass)
        except ValueError:
            return unknown
        size = np.linalg.norm(local, axis=(1, 2))
        constants = bool(np.abs(local.sum(axis=2)).max(initial=0.0) <= ZERO * size.max(initial=0.0))
        both = [np.linalg.norm(self._on_corners(values, constants), axis=2) for values in (u, z)]
        squares = np.square(self.norms(u))[:, None]
        return np.divide(size * both[0] * both[1], squares, out=np.zeros_like(both[0]), where=squares > 0)

    def parts(self, local: ndarray, scores: ndarray) -> ndarray:
        """eta_T ``(loads, nelems)`` for scores e_T; zero where nothing is said: there ``local`` must be exact."""
        trusted, found = np.isfinite(scores), self.influence(local)
        with np.errstate(invalid="ignore"):  # nothing times infinity is not known
            parts = np.where(trusted, scores, np.inf) * found
        return np.where(trusted, unknown_as_infinite(parts), 0.0)

    def _on_corners(self, values: ndarray, constants: bool) -> ndarray:
        """Values at the corners of the elements, ``(loads, nelems, corners)``, less their mean if constants count for
        nothing.
        """
        corners = values[:, self.lod.patches.corners]
        return corners - corners.mean(axis=2, keepdims=True) if constants else corners

    def _solved(self, S: csr_matrix, b: ndarray) -> ndarray:
        system, zero = CoarseSystem(S, self.lod.space.fixed), np.zeros(self.lod.coarse.N)
        return np.stack([system.solve(row, zero)[0] for row in b])


@dataclass(frozen=True)
class Promise:
    r"""An error of u_h that is promised, from bounds e_T of the relative errors of elements.

    The estimate is factor * max over loads of (sum over T of eta_T^p)^(1/p), eta_T as in this module, over the elements
    that are left as they are. The factor is the conformal quantile, over k fields of the calibration, of the largest
    ratio of the true ``|u_h - u^_h| / |u_h|`` (relative, in L2) to the sum, over the loads and over nested sets of
    elements recomputed in the order of falling eta_T, from none to 90 % of them. So, for a fresh field of the same
    families on such a mesh, whatever is recomputed in that order and for all those loads at once, ::

        P(|u_h - u^_h| / |u_h| <= estimate) >= level,

    with u_h that of exact local matrices and zero boundary values. Nothing is promised for other families, for loads of
    another kind (others were tried, see the coverage table), or of the error of u_h itself.

    Attributes
    ----------
    level, factor
        The level and the factor, infinite for too few fields.
    power
        p.
    names, loads, family
        The fields of the calibration, the loads, and what the fields are.

    >>> import numpy as np
    >>> from skfem_ml.lod.surrogate.conformal import Promise
    >>> promise = Promise(level=0.9, factor=2.0, power=1.0)
    >>> parts = np.array([[0.01, 0.3, 0.02], [0.02, 0.1, 0.01]])
    >>> promise.recomputed(parts, tol=0.1).tolist(), round(promise.estimate(parts[:, [0, 2]]), 3)
    ([False, True, False], 0.06)
    """

    level: float
    factor: float
    power: float = POWER
    names: tuple[str, ...] = ()
    loads: tuple[str, ...] = tuple(LOADS)
    family: str = ""

    @classmethod
    def of(
        cls,
        estimates: Sequence[ArrayLike],
        errors: Sequence[ArrayLike],
        names: Collection[object],
        *,
        level: float = 0.9,
        used: Collection[object] = (),
        power: float = POWER,
        family: str = "",
        loads: Collection[str] = tuple(LOADS),
    ) -> Promise:
        """Calibrate on k fields: sums and true errors ``(sets, loads)`` of each, as `path` gives them."""
        check_level(level)
        if not len(names) == len(estimates) == len(errors):
            raise ValueError(f"names: expected one a field, got {len(names)} for {len(estimates)} and {len(errors)}")
        known = new_names(names, used)
        ratios = [_largest_ratio(*pair) for pair in zip(estimates, errors, strict=True)]
        return cls(level, conformal_quantile(ratios, level), power, known, tuple(loads), family)

    def estimate(self, parts: ndarray) -> float:
        """The error that is promised, for the parts eta_T ``(loads, elements)`` of elements left as they are."""
        return float(self.factor * sums(parts, self.power).max()) if parts.shape[1] else 0.0

    def recomputed(self, parts: ndarray, tol: float) -> ndarray:
        """Which elements to recompute so that at most ``tol`` is promised, ``(elements,)``: as few as possible, in the
        order of falling eta_T; all where that takes more than 90 %.
        """
        order = falling(parts)[::-1]
        reached = np.cumsum(unknown_as_infinite(parts[:, order]) ** self.power, axis=1).max(axis=0)
        allowed = (tol / self.factor) ** self.power if self.factor > 0 else np.inf
        kept = int(np.searchsorted(reached, allowed, side="right")) if tol > 0 else 0
        again = np.ones(parts.shape[1], dtype=bool)
        if kept >= (1 - MOST) * len(again):
            again[order[:kept]] = False
        return again

    def to_json(self) -> dict[str, object]:
        """JSON values; an infinite factor is None."""
        lists = {"names": list(self.names), "loads": list(self.loads)}
        factor = finite_or_none(self.factor)
        return {"level": self.level, "factor": factor, "power": self.power, "family": self.family, **lists}

    @classmethod
    def from_json(cls, flat: Mapping[str, object]) -> Promise:
        """What `to_json` gave. Raises ValueError for something else."""
        numbers = number(flat, "level"), number(flat, "factor", np.inf), number(flat, "power")
        return cls(*numbers, words(flat, "names"), words(flat, "loads"), str(flat.get("family", "")))

    def __repr__(self) -> str:
        kind = f" of {self.family}" if self.family else ""
        return f"Promise({self.level:.0%} of fields{kind}, {len(self.loads)} loads, factor {self.factor:.3g})"


def sums(parts: ndarray, power: float) -> ndarray:
    """(sum over elements of eta^p)^(1/p), ``(loads,)``; infinite where a part is no number."""
    return np.sum(unknown_as_infinite(parts) ** power, axis=1) ** (1 / power)


def falling(parts: ndarray) -> ndarray:
    """Elements in the order of falling parts, the largest over the loads ``(loads, elements)``; ties by number."""
    return np.argsort(-unknown_as_infinite(parts).max(axis=0), kind="stable")


def path(
    coarse: CoarseSolutions, local: ndarray, exact: ndarray, said: ndarray, power: float = POWER
) -> tuple[ndarray, ndarray]:
    """Sums (see `Promise`) and true errors of u_h, ``(sets, loads)``, while more and more elements are recomputed.

    Elements of which nothing is said (infinite, NaN), or whose matrix is not finite, are exact from the start, as in
    `Hybrid`.
    """
    trusted = np.isfinite(said) & np.isfinite(local).all(axis=(1, 2))
    mixed = np.where(trusted[:, None, None], local, exact)
    parts = coarse.parts(mixed, np.where(trusted, said, np.inf))
    order, u = falling(parts), coarse.solutions(exact)
    found = []
    for share in SHARES:
        again = order[: int(np.ceil(share * len(order)))]
        rest = np.delete(parts, again, axis=1)
        now = mixed.copy()
        now[again] = exact[again]
        found.append((sums(rest, power), coarse.errors(coarse.solutions(now), u)))
    estimates, errors = (np.array(side) for side in zip(*found, strict=True))
    return estimates, errors


def _largest_ratio(estimates: ArrayLike, errors: ArrayLike) -> float:
    """The largest ratio of an error to its estimate where that is finite; infinite for an error that is no number."""
    below, above = np.asarray(estimates, dtype=float), unknown_as_infinite(errors)
    ratios = np.divide(above, below, out=np.where(above > ZERO, np.inf, 0.0), where=below > 0)
    return float(ratios[np.isfinite(below)].max(initial=0.0))
