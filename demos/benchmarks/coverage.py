"""What certificates are worth: fields of the calibrated families that nobody has seen, and families never calibrated.

Run ``python -m demos.benchmarks.coverage [SOURCE ...]`` in the root of the source tree, on one thread. Every row
goes to ``coverage.json`` beside this file at once, so a run that is stopped goes on where it was; at the end
``coverage.md`` is written. A source of rows is a local map that tells its errors, the LOD that it is for, and fields of
its own families; another one is one more entry of `SOURCES`.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from skfem import Mesh, MeshQuad
from threadpoolctl import threadpool_limits

from demos.benchmarks import interiors
from demos.benchmarks import multigrid_fields as gallery
from demos.benchmarks.coverage_tables import report
from demos.benchmarks.interiors import cells_along
from skfem_ml.coefficients import checkerboard
from skfem_ml.coefficients.families import NAMES, WIDE, paper_field, wide_field
from skfem_ml.learning.storage import write_whole
from skfem_ml.lod import LOD, Extrapolated, SuperElements, Surrogate
from skfem_ml.lod.surrogate.conformal import CoarseSolutions, Scored, relative_errors
from skfem_ml.lod.surrogate.elements.families import CELLWISE, cellwise_field
from skfem_ml.lod.surrogate.elements.samples import field_of, on_elements
from skfem_ml.lod.surrogate.hybrid import promise_of
from skfem_ml.problems import diffusion

OUTPUT = Path(__file__)
FRESH = 13_000_000  # the first number of a field: training, calibration and its test stay below
LATER = 17_000_000  # fields that were looked at after thresholds of warnings were chosen on others
TESTED = 11_000_000  # at n = 32, where labels are dear, the fields on which certificates were tested
Field = tuple[str, Callable[[Mesh], ndarray]]
Row = dict[str, Any]
# A load that no calibration has seen.
SINES = np.random.default_rng(5).normal(size=(4, 4))
WAVES = np.pi * np.arange(1, 5)[:, None]
OTHER = {"sines": lambda x: np.einsum("ij,ik,jk->k", SINES, np.sin(WAVES * x[0]), np.sin(WAVES * x[1]))}


@dataclass(frozen=True)
class Source:
    """A local map with scores, the LOD it is for, and fields of the families it was calibrated on."""

    model: Callable[[], Scored]
    n: int
    own: Callable[[], Iterator[Field]]
    tol: float = 3e-4  # of the hybrid
    level: int = 5
    unseen: bool = True


def drawn(draw: Callable[..., ndarray], families: tuple[str, ...], first: int, count: int) -> Iterator[Field]:
    """So many fields of each family."""
    for index in range(first, first + count):
        for family in families:
            yield f"{family} {index}", lambda mesh, f=family, i=index: draw(mesh, f, i)


def paper(first: int, count: int) -> Iterator[Field]:
    """Fields of Kropfl, Maier, Peterseim."""
    return drawn(paper_field, NAMES, first, count)


def wide(first: int, count: int) -> Iterator[Field]:
    """Fields of what users bring."""
    return drawn(wide_field, WIDE, first, count)


def cellwise(first: int, count: int) -> Iterator[Field]:
    """Fields of 16 x 16 elements of the families of super-elements, contrast up to 1000, as their certificate's."""
    space = lod_of(32, 4).space
    for number in range(first, first + count):
        family, rng = CELLWISE[number % len(CELLWISE)], np.random.default_rng([0, number])
        image = cellwise_field(family, 128, 1e3 ** rng.uniform(), rng)
        yield f"{family} {number}", lambda mesh, image=image: field_of(space, on_elements(image, 8))


SOURCES = {
    "diffusion-q1-ell2-n8": Source(lambda: Surrogate.load("diffusion-q1-ell2-n8"), 8, lambda: paper(FRESH, 3)),
    "diffusion-q1-ell2-n8, 16 x 16": Source(
        lambda: Surrogate.load("diffusion-q1-ell2-n8"), 8, lambda: paper(FRESH, 2), level=4, unseen=False
    ),
    "diffusion-q1-ell2-n32": Source(lambda: Surrogate.load("diffusion-q1-ell2-n32"), 32, lambda: paper(TESTED, 1)),
    "diffusion-wide-q1-ell2-n32": Source(
        lambda: Surrogate.load("diffusion-wide-q1-ell2-n32"),
        32,
        lambda: chain(wide(TESTED, 1), wide(FRESH, 3)),
        tol=0.01,
    ),
    "super-elements": Source(lambda: Surrogate.load("diffusion"), 32, lambda: wide(TESTED, 1), tol=3e-3),
    "super-elements, 16 x 16, families of training": Source(
        lambda: Surrogate.load("diffusion"), 32, lambda: cellwise(FRESH, 132), tol=3e-3, level=4, unseen=False
    ),
    "super-elements, 16 x 16, further fields": Source(
        lambda: Surrogate.load("diffusion"), 32, lambda: cellwise(LATER, 132), tol=3e-3, level=4, unseen=False
    ),
    "extrapolated, 8 and 16": Source(lambda: Extrapolated(diffusion), 32, lambda: wide(TESTED, 1), tol=3e-3),
}


def unseen() -> Iterator[Field]:
    """Families that no patch model was calibrated on, and the worst fields that are known."""
    for contrast in (4.99, 10.0, 100.0):
        yield f"checkerboard {contrast:g}", lambda mesh, c=contrast: checkerboard(mesh, cells_along(mesh), 1.0, c)
    for contrast in (10.0, 100.0):
        yield (
            f"checkerboard of elements {contrast:g}",
            lambda mesh, c=contrast: checkerboard(mesh, cells_along(mesh) // 8, 1.0, c),
        )
    for contrast in (3.0, 10.0, 100.0, 1000.0):
        yield f"Bernoulli {contrast:g}", interiors.seeded(interiors.bernoulli, contrast, FRESH)
    yield "level layers 5", interiors.seeded(interiors.layers, 5.0, FRESH)
    yield "level layers 100", interiors.seeded(interiors.layers, 100.0, FRESH)
    yield "turned layers 100", interiors.seeded(interiors.layers, 100.0, FRESH, 0.6)
    yield "hard fibres 5", interiors.seeded(interiors.fibres, 5.0, FRESH)
    yield "hard fibres 100", interiors.seeded(interiors.fibres, 100.0, FRESH)
    yield "soft fibres 0.01", interiors.seeded(interiors.fibres, 0.01, FRESH)
    for family, index in interiors.WORST.items():
        yield f"worst {family}, {index}", lambda mesh, f=family, i=index: wide_field(mesh, f, i)
    yield "perforated medium, 1/1000", lambda mesh: gallery.field(mesh, "perforated", 1000.0, FRESH)
    for contrast in (5.0, 30.0):
        yield f"Voronoi {contrast:g}", interiors.seeded(interiors.voronoi, contrast, FRESH)
    yield "cracks 100", lambda mesh: wide_field(mesh, "cracks", FRESH, contrast=100.0)
    yield "textures 5", lambda mesh: wide_field(mesh, "textures", FRESH, contrast=5.0)


DEAR = (
    "checkerboard 4.99", "checkerboard 10", "checkerboard 100", "checkerboard of elements 10",
    "checkerboard of elements 100", "Bernoulli 3", "Bernoulli 100", "Bernoulli 1000", "level layers 100",
    "hard fibres 100", "soft fibres 0.01", "worst discs, 1000005", "worst channels, 1000005",
    "perforated medium, 1/1000", "Voronoi 30",
)  # fmt: skip
"""Those for which exact matrices at n = 32 are computed as well."""


@cache
def lod_of(n: int, level: int) -> LOD:
    """The LOD of a source."""
    return LOD(MeshQuad().refined(level), refine=n, cells=8, ell=2)


KNOWN: dict[tuple[int, int, str], ndarray] = {}


def exact_of(n: int, level: int, name: str, field: Callable[[Mesh], ndarray]) -> ndarray:
    """Exact matrices of a field, which sources share."""
    if (n, level, name) not in KNOWN:
        lod = lod_of(n, level)
        KNOWN[n, level, name] = lod.local(diffusion, a=field(lod.coefficient_mesh))
    return KNOWN[n, level, name]


def measured(source: Source, name: str, field: Callable[[Mesh], ndarray], kind: str) -> Row:
    """What is said and what is true of one field."""
    lod, model = lod_of(source.n, source.level), source.model()
    a = field(lod.coefficient_mesh)
    exact = exact_of(source.n, source.level, name, field)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lod.assemble(model, a=a)
    local, scores = model.with_score(lod, lod.space.all_elements, a=a)
    errors, trusted = relative_errors(local, exact), np.isfinite(scores)
    coarse, other = CoarseSolutions(lod), CoarseSolutions(lod, OTHER)
    row: Row = {"contrast": float(a.max() / a.min()), "kind": kind, "said": [str(one.message) for one in caught]}
    row |= {"uncovered": float((errors > scores).mean()), "trusted": float(trusted.mean())}
    if isinstance(model, SuperElements):
        finer = lod_of(2 * source.n, source.level).local(diffusion, a=a)
        row["exact"] = largest(coarse, exact, finer)
    if isinstance(model, Surrogate):
        said = model.raw(lod, lod.space.all_elements, a=a)[1].doubt
        row["blind"] = float((errors > said[0].cpu().numpy()).mean()) if said is not None else np.nan
    mixed = np.where(trusted[:, None, None], local, exact)
    row |= {"surrogate": largest(coarse, local, exact), "left": largest(coarse, mixed, exact)}
    promise = promise_of(model)
    if promise is not None:  # what is left is trusted
        parts = coarse.parts(mixed, scores)
        again = promise.recomputed(parts, source.tol) | ~trusted
        hybrid = np.where(again[:, None, None], exact, mixed)
        row["promised"] = promise.estimate(parts[:, trusted])
        row["hybrid"] = {"share": float(again.mean()), "promised": promise.estimate(parts[:, ~again])}
        row["hybrid"] |= {"true": largest(coarse, hybrid, exact), "other load": largest(other, hybrid, exact)}
        row["other load"] = largest(other, mixed, exact)
    return row


def largest(coarse: CoarseSolutions, got: ndarray, exact: ndarray) -> float:
    """The largest relative error of u_h over the loads; infinite where there is no solution."""
    try:
        return float(coarse.errors(coarse.solutions(got), coarse.solutions(exact)).max())
    except ValueError:
        return np.inf


def rows_so_far() -> dict[str, dict[str, Row]]:
    """What is measured, by source and field."""
    path = OUTPUT.with_suffix(".json")
    return json.loads(path.read_text()) if path.exists() else {}


def jobs(asked: list[str]) -> Iterator[tuple[str, str, Callable[[], Row]]]:
    """Every row by its source and name; unseen fields one after the other, for sources to share exact matrices."""
    chosen = {title: source for title, source in SOURCES.items() if not asked or title in asked}
    for title, source in chosen.items():
        for name, field in source.own():
            yield title, name, lambda s=source, n=name, f=field: measured(s, n, f, "own")
    for name, field in unseen():
        for title, source in chosen.items():
            if source.unseen and (source.n < 32 or name in DEAR):
                yield title, name, lambda s=source, n=name, f=field: measured(s, n, f, "unseen")


def main(asked: list[str]) -> None:
    """Measure what is missing and write the tables."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for title, name, measure in jobs(asked):
            rows = rows_so_far()
            if name not in rows.setdefault(title, {}):
                rows[title][name] = measure()
                print(title, name, json.dumps(rows[title][name]), flush=True)
                write_whole(OUTPUT.with_suffix(".json"), json.dumps(rows, indent=1).encode())
    write_whole(OUTPUT.with_suffix(".md"), report(rows_so_far()).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
