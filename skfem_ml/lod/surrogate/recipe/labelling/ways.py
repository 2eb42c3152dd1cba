"""Ways to exact local matrices on one coarse mesh, and the cheapest that is good enough for labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix
from skfem import BilinearForm
from skfem.models import unit_load

from skfem_ml.compare import best_of
from skfem_ml.lod.coarse import solve_coarse
from skfem_ml.lod.extrapolation import Extrapolated
from skfem_ml.lod.local import LocalMap
from skfem_ml.lod.method import LOD

LOG = logging.getLogger("skfem_ml")
TOLERANCE = 0.1  # of the error of the coarsest exact matrices, which labels may be off by
CHEAPER = 0.8  # of the time of exact matrices, which is worth another way


class Way:
    """Local matrices of a form, or of a local map, by an LOD of its own; coefficients are those of ``lod``.

    Parameters
    ----------
    name
        What it is called in tables and on cards.
    lod
        The LOD on whose coefficient mesh the coefficients live.
    form
        The form, or the local map.
    other
        The LOD that computes, of the same coarse mesh and cells; default ``lod``.
    """

    def __init__(self, name: str, lod: LOD, form: BilinearForm | LocalMap, other: LOD | None = None):
        self.name, self.form, self.lod = name, form, lod if other is None else other
        own, its = (each.space.coefficient_refinement.cells.ravel() for each in (lod, self.lod))
        self._order = own[np.argsort(its)]

    def __repr__(self) -> str:
        return f"Way({self.name!r}, {self.lod!r})"

    def local(self, a: ndarray) -> ndarray:
        """Local matrices of all elements ``(nelems, rows, columns)``."""
        return self.lod.local(self.form, a=a[self._order])

    def matrix(self, a: ndarray) -> csr_matrix:
        """The matrix S ``(coarse.N, coarse.N)``."""
        return self.lod.sum(self.local(a)).tocsr()


def exact_ways(lod: LOD, form: BilinearForm, finest: int) -> dict[str, Way]:
    """Exact matrices with m, 2 m, 4 m, ... up to ``finest`` fine cells along a coarse edge (m coefficient cells), and
    what is made of them: extrapolated matrices, and extrapolated interiors where the fast engine is there.
    """
    m, ways = lod.space.m, []
    n = m
    while n < finest:
        ways.append(Way(f"exact, n = {n}", lod, form, lod.with_fine(n)))
        n *= 2
    ways.append(Way(f"exact, n = {finest}", lod, form, lod.with_fine(finest)))
    if finest >= 4 * m:
        ways.append(Way(f"extrapolated, n = {m} and {2 * m}", lod, Extrapolated(form, (m, 2 * m))))
    if finest % (4 * m) == 0 and m > 2:
        try:
            other = with_interiors(lod, m, finest)
        except (TypeError, ValueError) as error:
            LOG.info("extrapolated interiors are left out: %s", error)
        else:
            ways.append(Way(f"interiors, n = {m} and {finest}", lod, form, other))
    return {way.name: way for way in ways}


def with_interiors(lod: LOD, refine: int, interiors: int) -> LOD:
    """The LOD with another fine mesh and extrapolated interiors; errors as for `LOD`."""
    space = lod.space
    return LOD(
        lod.coarse, refine, cells=space.m, ell=lod.ell, dirichlet=lod.dirichlet_dofs, interiors=interiors,
        interpolation=space.interpolation, device=space.device, workers=space.workers,
    )  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What labels are computed by, and why: errors relative to those of the coarsest exact matrices, by way."""

    way: Way
    errors: dict[str, float]
    seconds: dict[str, float]
    fields: int

    def told(self) -> dict[str, object]:
        """The entries of a card."""
        return {
            "by": self.way.name,
            "checked on": self.fields,
            "error over that of the coarsest exact matrices": self.errors.get(self.way.name, 0.0),
            "allowed": TOLERANCE,
        }


def choose_way(lod: LOD, form: BilinearForm, fields: Sequence[ndarray], tolerance: float = TOLERANCE) -> Choice:
    """The cheapest way to the exact matrices of an LOD that is good enough, judged on some fields ``(nelems,)``.

    Good enough: the root mean square error of S_T, and the L2 error of u_h (load 1), are at most ``tolerance`` times
    those of exact matrices with as many fine cells as coefficient cells, on every field. The exact ones themselves
    where nothing else is, or nothing is cheaper.
    """
    ways = exact_ways(lod, form, lod.space.n)
    exact = ways.pop(f"exact, n = {lod.space.n}")
    rough = next(iter(ways), None)
    if rough is None:
        return Choice(exact, {}, {}, 0)
    worst, seconds = dict.fromkeys(ways, 0.0), dict.fromkeys((*ways, exact.name), np.inf)
    for a in fields:
        found = {}
        for way in (exact, *ways.values()):
            found[way.name], spent = best_of(partial(way.local, a))
            seconds[way.name] = min(seconds[way.name], spent.cpu)
        gaps = {name: _gaps(lod, found[name], found[exact.name]) for name in ways}
        for name, gap in gaps.items():
            ratio = np.divide(gap, gaps[rough], out=np.zeros_like(gap), where=gaps[rough] > 0)
            worst[name] = max(worst[name], float(ratio.max()))
    good = [name for name in ways if worst[name] <= tolerance and seconds[name] <= CHEAPER * seconds[exact.name]]
    chosen = ways[min(good, key=lambda name: seconds[name])] if good else exact
    LOG.info("labels by %s; errors over those of %s: %s", chosen.name, rough, worst)
    return Choice(chosen, worst, seconds, len(fields))


def _gaps(lod: LOD, got: ndarray, exact: ndarray) -> ndarray:
    """How far local matrices are off: their root mean square, and u_h where it is unique."""
    local = float(np.linalg.norm(got - exact) / np.linalg.norm(exact))
    fixed = lod.space.fixed
    if not 0 < fixed.sum() < len(fixed):
        return np.array([local])
    b, zero = unit_load.assemble(lod.coarse), np.zeros(len(fixed))
    u, v = (solve_coarse(lod.sum(each).tocsr(), b, zero, fixed)[0] for each in (got, exact))
    return np.array([local, np.linalg.norm(u - v) / np.linalg.norm(v)])
