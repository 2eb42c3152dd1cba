"""Cheaper exact answers: extrapolated matrices and extrapolated interiors against exact matrices at n = 32.

Run ``python -m demos.benchmarks.interiors`` in the root of the source tree. Everything runs on one thread. Every field
that is measured goes to ``interiors.json`` beside this file at once, so a run that is stopped goes on where it was; at
the end ``interiors.md`` is written. Fields are named by their family, contrast and seed.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy import ndarray
from skfem import Mesh, MeshQuad, condense, solve
from skfem.models import unit_load
from threadpoolctl import threadpool_limits

from demos.benchmarks.interiors_tables import report
from skfem_ml.coefficients import checkerboard
from skfem_ml.coefficients.families import UNSEEN, WIDE, wide_field
from skfem_ml.compare import best_of
from skfem_ml.learning.storage import write_whole
from skfem_ml.lod import (
    LOD,
    CondensedInteriors,
    Extrapolated,
    ExtrapolatedInteriors,
    GeometricMean,
    Surrogate,
)
from skfem_ml.lod.coarse import is_definite
from skfem_ml.metrics import l2_error
from skfem_ml.problems import diffusion

OUTPUT = Path(__file__)
DECADES = ((2, 10), (10, 100), (100, 1000))
WORST = {"discs": 1_000_005, "channels": 1_000_005}  # the largest errors of the wide surrogate and of its hybrid
FACTORS = (0.0, 0.25, 1 / 3, 0.4, 0.5, 0.6, 0.8)
TOL = 0.02
T = TypeVar("T")
Row = dict[str, Any]
Field = tuple[str, Callable[[Mesh], ndarray]]


# Fine cells a coarse edge, interiors, form or local map; what knows its own error comes after them.
METHODS = {
    "exact, n = 8": (8, None, diffusion),
    "exact, n = 16": (16, None, diffusion),
    "interiors, n = 16": (8, CondensedInteriors(16), diffusion),
    "interiors, n = 32": (8, CondensedInteriors(32), diffusion),
    "extrapolated interiors": (8, ExtrapolatedInteriors(32), diffusion),
    "geometric mean": (32, None, GeometricMean()),
}


def space(n: int, level: int = 5, interiors: object = None) -> LOD:
    """2^level x 2^level coarse elements with 8 x 8 coefficient cells each, n fine cells along a coarse edge."""
    return LOD(MeshQuad().refined(level), refine=n, cells=8, ell=2, interiors=interiors)  # type: ignore[arg-type]


# Fields.


def midpoints(mesh: Mesh) -> ndarray:
    return mesh.p[:, mesh.t].mean(axis=1)


def bernoulli(mesh: Mesh, contrast: float, rng: np.random.Generator) -> ndarray:
    """Each cell 1 or the contrast, with equal chance."""
    return np.where(rng.random(mesh.t.shape[1]) < 0.5, 1.0, contrast)


def voronoi(mesh: Mesh, contrast: float, rng: np.random.Generator) -> ndarray:
    """300 Voronoi cells of log-uniform values."""
    x, points = midpoints(mesh), rng.uniform(0, 1, (2, 300))
    nearest = np.argmin((x[0][:, None] - points[0]) ** 2 + (x[1][:, None] - points[1]) ** 2, axis=1)
    return np.exp(rng.uniform(0, np.log(contrast), 300))[nearest]


def layers(mesh: Mesh, contrast: float, rng: np.random.Generator, angle: float = 0.0) -> ndarray:
    """Layers of log-uniform values, one cell of a 256 x 256 grid wide, turned by an angle."""
    x = midpoints(mesh)
    across = -np.sin(angle) * x[0] + np.cos(angle) * x[1]
    number = np.floor(256 * (across - across.min())).astype(int)
    return np.exp(rng.uniform(0, np.log(contrast), number.max() + 1))[number]


def fibres(mesh: Mesh, value: float, rng: np.random.Generator) -> ndarray:
    """A 24 x 24 array of discs of this value in 1, their radius a third of the period, each a little off its place."""
    x = 24 * midpoints(mesh)
    off = rng.uniform(-0.15, 0.15, (2, 24, 24))[:, x[0].astype(int), x[1].astype(int)]
    return np.where(((x % 1 - 0.5 - off) ** 2).sum(axis=0) < 1 / 9, value, 1.0)


def cells_along(mesh: Mesh) -> int:
    return round(mesh.t.shape[1] ** 0.5)


def seeded(draw: Callable[..., ndarray], value: float, seed: int, *more: float) -> Callable[[Mesh], ndarray]:
    return lambda mesh: draw(mesh, value, np.random.default_rng([11, seed]), *more)


def others(seeds: tuple[int, ...] = (0, 1)) -> Iterator[Field]:
    """Fields that no surrogate was trained on; each is random but for the checkerboards."""
    for contrast in (4.99, 100.0):
        yield f"checkerboard {contrast:g}", lambda mesh, c=contrast: checkerboard(mesh, cells_along(mesh), 1.0, c)
    for seed in seeds:
        for contrast in (100.0, 1000.0):
            yield f"Bernoulli {contrast:g}, seed {seed}", seeded(bernoulli, contrast, seed)
        for contrast in (30.0, 300.0):
            yield f"Voronoi {contrast:g}, seed {seed}", seeded(voronoi, contrast, seed)
        yield f"level layers 100, seed {seed}", seeded(layers, 100.0, seed)
        yield f"turned layers 100, seed {seed}", seeded(layers, 100.0, seed, 0.6 + seed)
        yield f"hard fibres 100, seed {seed}", seeded(fibres, 100.0, seed)
        yield f"soft fibres 0.01, seed {seed}", seeded(fibres, 0.01, seed)


def chosen_on() -> Iterator[Field]:
    """Fields of other seeds, contrasts and mesh, on which the factor was chosen."""
    yield "checkerboard 10", lambda mesh: checkerboard(mesh, cells_along(mesh), 1.0, 10.0)
    for name, draw, value in (
        ("Bernoulli", bernoulli, 50.0),
        ("Voronoi", voronoi, 100.0),
        ("level layers", layers, 50.0),
        ("hard fibres", fibres, 50.0),
        ("soft fibres", fibres, 0.02),
    ):
        yield f"{name} {value:g}, seed 7", seeded(draw, value, 7)
    for family in (*WIDE, *UNSEEN):
        yield f"{family}, 3000000", lambda mesh, f=family: wide_field(mesh, f, 3_000_000, contrast=300)


def of_surrogates(count: int = 1) -> Iterator[Field]:
    """The fields of ``surrogate.md``: ``count`` of every family in every decade of contrast; first all first ones."""
    mesh = space(8).coefficient_mesh
    chosen: list[list[Field]] = []
    for family in (*WIDE, *UNSEEN):
        for low, high in DECADES:
            indices = (index for index in range(2_000_000, 3_000_000) if between(mesh, family, index, low, high))
            chosen.append([drawn(family, index, low, high) for index in islice(indices, count)])
    for k in range(count):
        yield from (fields[k] for fields in chosen)


def between(mesh: Mesh, family: str, index: int, low: float, high: float) -> bool:
    a = wide_field(mesh, family, index, contrast=high)
    return bool(low <= a.max() / a.min() <= high)


def drawn(family: str, index: int, low: float, high: float) -> Field:
    name = f"{family}, contrast {low} to {high}, {index}"
    return name, lambda mesh: wide_field(mesh, family, index, contrast=high)


def worst() -> Iterator[Field]:
    """Fields on which the wide surrogate (discs) and its hybrid (channels) have the largest errors that are known."""
    for family, index in WORST.items():
        yield f"worst {family}, {index}", lambda mesh, f=family, i=index: wide_field(mesh, f, i)


def fields() -> Iterator[Field]:
    """All that are reported."""
    return chain(others(), worst(), of_surrogates())


# Measuring.


class Judge:
    """Errors of local matrices against exact ones, load 1, zero boundary values."""

    def __init__(self, lod: LOD, exact: ndarray):
        self.lod, self.exact, self.norms = lod, exact, np.linalg.norm(exact, axis=(1, 2))
        self.b, self.free = unit_load.assemble(lod.coarse), np.flatnonzero(~lod.space.fixed)
        S = lod.sum(exact).tocsr()
        self.u, self.definite = self._solution(exact), bool(is_definite(S[self.free][:, self.free]))

    def __call__(self, local: ndarray) -> Row:
        """Relative L2 error of u_h, and relative errors of S_T: their median and their largest."""
        u, relative = self._solution(local), self.gaps(local) / self.norms
        return {
            "u": l2_error(u, self.u, self.lod.coarse, relative=True),
            "median": float(np.median(relative)),
            "largest": float(relative.max()),
        }

    def gaps(self, local: ndarray) -> ndarray:
        """|S_T - exact|_F of every element."""
        return np.linalg.norm(local - self.exact, axis=(1, 2))

    def recomputed(self, local: ndarray, scores: ndarray) -> Row:
        """The same where elements of a larger score than TOL are replaced by exact ones, and their share."""
        again = ~(scores <= TOL)
        return {**self(np.where(again[:, None, None], self.exact, local)), "share": float(again.mean())}

    def _solution(self, local: ndarray) -> ndarray:
        return solve(*condense(self.lod.sum(local).tocsr(), self.b, D=self.lod.dirichlet_dofs))


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result and its CPU seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result, spent = best_of(work)
    return result, spent.cpu


def measured(field: Callable[[Mesh], ndarray]) -> Row:
    """Errors and CPU seconds of every method on one field, against exact matrices at n = 32."""
    lod = space(32)
    a, everything = field(lod.coefficient_mesh), lod.space.all_elements
    exact, seconds = timed(lambda: lod.local(diffusion, a=a))
    judge = Judge(lod, exact)
    row: Row = {"contrast": float(a.max() / a.min()), "definite": judge.definite, "exact, n = 32": {"seconds": seconds}}
    for name, (n, interiors, chosen) in METHODS.items():
        one = space(n, interiors=interiors)
        local, seconds = timed(lambda one=one, chosen=chosen: one.local(chosen, a=a))
        row[name] = {**judge(local), "seconds": seconds}
    wide = Surrogate.load("diffusion-wide-q1-ell2-n32")
    for name, scored, excess in (
        ("extrapolated", Extrapolated(diffusion), 0.0),
        ("wide network", wide, wide.excess(lod, everything, a=a)),
    ):
        (local, scores), seconds = timed(lambda scored=scored: scored.with_score(lod, everything, a=a))
        said = np.where(np.isfinite(excess), scores - excess, np.inf) * judge.norms
        covered = float((judge.gaps(local) <= said).mean())
        row[name] = {**judge(local), "seconds": seconds, "covered": covered, "hybrid": judge.recomputed(local, scores)}
    return row


def towards_the_limit(field: Callable[[Mesh], ndarray]) -> Row:
    """Errors of u_h against exact n = 64, and of interiors extrapolated by several factors against n = 32 and 64."""
    maps = {"exact, n = 8": (8, None), "exact, n = 16": (16, None), "exact, n = 32": (32, None)}
    maps |= {"interiors, n = 32": (8, CondensedInteriors(32)), "extrapolated interiors": (8, ExtrapolatedInteriors(32))}
    a = field(space(8, 4).coefficient_mesh)
    lod = space(64, 4)
    finest, finer = (Judge(lod, space(n, 4).local(diffusion, a=a)) for n in (64, 32))
    row: Row = {name: finest(space(n, 4, i).local(diffusion, a=a))["u"] for name, (n, i) in maps.items()}
    for refines in ((8, 16), (16, 32), (8, 16, 32)):
        row[f"extrapolated {refines}"] = finest(lod.local(Extrapolated(diffusion, refines), a=a))["u"]
    for factor in FACTORS:
        local = space(8, 4, ExtrapolatedInteriors(32, factor)).local(diffusion, a=a)
        row[f"factor {factor:.2f}"] = [judge(local)["u"] for judge in (finer, finest)]
    return row


def rows_so_far() -> dict[str, Row]:
    """What is measured."""
    path = OUTPUT.with_suffix(".json")
    return json.loads(path.read_text()) if path.exists() else {}


def jobs() -> Iterator[tuple[str, Callable[[], Row]]]:
    """Every row by its name."""
    for name, field in chosen_on():
        yield f"limit: {name}", lambda field=field: towards_the_limit(field)
    for name, field in fields():
        yield name, lambda field=field: measured(field)


def main() -> None:
    """Measure what is missing and write the tables."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for name, measure in jobs():
            rows = rows_so_far()
            if name not in rows:
                rows[name] = measure()
                print(name, json.dumps(rows[name]), flush=True)
                write_whole(OUTPUT.with_suffix(".json"), json.dumps(rows, indent=1).encode())
    write_whole(OUTPUT.with_suffix(".md"), report(rows_so_far()).encode())


if __name__ == "__main__":
    main()
