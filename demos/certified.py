r"""A surrogate that knows where it is in doubt: what the score is worth, and what it says of fields it never saw.

`Hybrid` gives every element T the score

    (the relative error |S^_T - S_T|_F / |S_T|_F that the network expects of itself)
    + (how far log-ratios of the coefficient on the patch lie outside the range of training),

and recomputes by exact correctors what is above a tolerance. It is no bound. Two questions are put to it.

First, elements are recomputed in the order of falling score, of a random permutation, and of the true error
|S^_T - S_T|_F, which nobody has (the oracle), and the error of the matrix and of u_h are drawn over the share that is
recomputed. What u_h loses by an error in S_T is about the error times |S_T|_F, so the order by score times |S^_T|_F,
free to have, is drawn as well. The fields are one in the family of training, iid U[1, 5] on the fine cells, and three
cracks of contrast 100 on a quiet background.

Second, a table for the model of the paper's families, and one for the wide model, whose network corrects exact matrices
of a coarser fine mesh: fields in and out of the range of training, the share of patches out of range, the share with a
score above the tolerance, and relative L2 errors of u_h, load 1 and zero boundary values, against exact LOD. That exact
LOD itself is poor at contrasts of 1000 and above (``high_contrast.py``) is another matter.

A regular pattern whose values are in range, such as a checkerboard of the fine cells, is like nothing in training:
values do not tell, but the regularity of the coefficient does (`surrogate.patterns`), and mostly the features of the
network; the score is infinite where either is far from training. What passes all of it may still be worse than the
network says (it predicts the 0.9 quantile of its error, for fields like those of training). A spot check finds out: 16
of the elements that are not recomputed are drawn at random and computed exactly. The column "above doubt" has the share
of them that is further off than predicted, which should be about a tenth.

Run: python -m demos.certified [PERMX.csv], with SPE10 model 1 as for ``spe10.py``, here on 40 x 8 square elements.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix
from skfem import Mesh, MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.coefficients import channels, checkerboard, cracks, from_file, iid_multilevel
from skfem_ml.lod import LOD, GeometricMean, Hybrid, Surrogate
from skfem_ml.lod.surrogate import Judgement
from skfem_ml.metrics import l2_error, spectral_error
from skfem_ml.problems import diffusion

MODEL, WIDE = "diffusion-q1-ell2-n8", "diffusion-wide-q1-ell2-n32"
LEVEL, REFINE = 4, 8
TOL = 0.01
CHECKED = 16  # elements of the spot check
SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
SEED = 0
SCORE, SCALED, RANDOM, ORACLE = "score", "score times norm", "random", "oracle"
IN_RANGE, OUT = "iid on the fine cells, U[1, 5]", "3 cracks, contrast 100"


class Curve(NamedTuple):
    """Errors over the share recomputed, ``(shares,)``, by order: the matrix in the spectral norm, u_h relative in L2.

    ``flagged`` is the share of patches out of range.
    """

    lod: LOD
    a: ndarray
    score: ndarray
    spectral: dict[str, ndarray]
    l2: dict[str, ndarray]
    flagged: float


class Row(NamedTuple):
    """One field of the table."""

    name: str
    contrast: float
    flagged: float
    recomputed: float
    above: float
    surrogate: float
    hybrid: float
    null: float


def fields(mesh: Mesh) -> dict[str, ndarray]:
    """Coefficients ``(nelems,)`` by name; the first three are in the range of training."""
    rng = np.random.default_rng(SEED)
    x, y = mesh.p[:, mesh.t].mean(axis=1)
    cells = round(len(x) ** 0.5)
    thin, level = 2 / cells, min(8, cells.bit_length() - 1)
    return {
        IN_RANGE: iid_multilevel(mesh, level, 1.0, 5.0, rng),
        "2 + sin 2 pi x sin 2 pi y": 2 + np.sin(2 * np.pi * x) * np.sin(2 * np.pi * y),
        "40 cracks, U[1, 2] and U[4, 5]": cracks(mesh, 40, thin, 0.3, rng, level=level),
        "checkerboard of fine cells, 1 and 4.99": checkerboard(mesh, cells, 1.0, 4.99),
        "checkerboard of fine cells, 1 and 100": checkerboard(mesh, cells, 1.0, 100.0),
        OUT: cracks(mesh, 3, thin, 0.3, rng, (1.0, 1.4), (90.0, 100.0), level=level),
        "6 channels, contrast 1000": channels(mesh, 1000.0, 6, thin, rng),
    }


def compute(level: int = LEVEL, name: str = OUT, shares: tuple[float, ...] = SHARES) -> Curve:
    """Recompute more and more elements in each order."""
    lod, surrogate = LOD(MeshQuad().refined(level), refine=REFINE, ell=2), Surrogate.load(MODEL)
    a = fields(lod.coefficient_mesh)[name]
    exact, got, judged = locals_of(lod, surrogate, a)
    gap = np.linalg.norm(got - exact, axis=(1, 2))
    orders = {
        SCORE: judged.scores,
        SCALED: judged.scores * np.linalg.norm(got, axis=(1, 2)),
        RANDOM: np.random.default_rng(SEED).random(len(gap)),
        ORACLE: gap,
    }
    S = matrix(lod, exact)
    u = solution(lod, S)
    spectral, l2 = {}, {}
    for order, scores in orders.items():
        ranks = np.argsort(np.argsort(-scores))
        mixed = [np.where((ranks < share * len(gap))[:, None, None], exact, got) for share in shares]
        matrices = [matrix(lod, local) for local in mixed]
        spectral[order] = np.array([spectral_error(R, S) for R in matrices])
        l2[order] = np.array([l2_error(solution(lod, R), u, lod.coarse, relative=True) for R in matrices])
    outside = surrogate.excess(lod, lod.space.all_elements, a=a) > 0
    return Curve(lod, a, judged.scores, spectral, l2, float(outside.mean()))


def locals_of(lod: LOD, surrogate: Surrogate, a: ndarray) -> tuple[ndarray, ndarray, Judgement]:
    """Local matrices: exact, of the surrogate; and what the hybrid at the tolerance makes of the field."""
    got, _ = surrogate.with_score(lod, lod.space.all_elements, a=a)
    return lod.local(diffusion, a=a), got, Hybrid(surrogate, diffusion, TOL).judge(lod, a=a)


def matrix(lod: LOD, local: ndarray) -> csr_matrix:
    """S from local matrices."""
    return lod.sum(local).tocsr()


def solution(lod: LOD, S: csr_matrix) -> ndarray:
    """u_h for load 1 and zero boundary values."""
    return solve(*condense(S, unit_load.assemble(lod.coarse), D=lod.coarse.get_dofs()))


def judge(lod: LOD, surrogate: Surrogate, name: str, a: ndarray) -> Row:
    """One row of the table."""
    exact, got, judged = locals_of(lod, surrogate, a)
    trusted = ~judged.recomputed
    mixed = judged.matrices
    u = solution(lod, matrix(lod, exact))
    errors = [
        l2_error(solution(lod, matrix(lod, local)), u, lod.coarse, relative=True)
        for local in (got, mixed, lod.local(GeometricMean(), a=a))
    ]
    flagged = float((surrogate.excess(lod, lod.space.all_elements, a=a) > 0).mean())
    above = spot_check(lod, surrogate, a, np.flatnonzero(trusted))
    return Row(name, float(a.max() / a.min()), flagged, judged.fraction, above, *errors)


def spot_check(lod: LOD, surrogate: Surrogate, a: ndarray, trusted: ndarray, count: int = CHECKED) -> float:
    """The share of some trusted elements, drawn at random, that are further off than predicted; NaN where none is."""
    if not len(trusted):
        return float("nan")
    some = np.random.default_rng(SEED).choice(trusted, min(count, len(trusted)), replace=False)
    exact, (got, _) = lod.local(diffusion, some, a=a), surrogate.with_score(lod, some, a=a)
    error = np.linalg.norm(got - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    return float((error > surrogate.doubt(lod, some, a=a)).mean())


def table(level: int = LEVEL, path: str | Path | None = None, model: str = MODEL) -> list[Row]:
    """All fields, and SPE10 where its file is given."""
    surrogate = Surrogate.load(model)
    sizes = {"refine": surrogate.setting.n, "cells": surrogate.setting.cells, "ell": surrogate.setting.ell}
    lod = LOD(MeshQuad().refined(level), **sizes)
    rows = [judge(lod, surrogate, name, a) for name, a in fields(lod.coefficient_mesh).items()]
    if path is not None:
        section = LOD(MeshQuad.init_tensor(np.linspace(0, 5, 41), np.linspace(0, 1, 9)), **sizes)
        rows.append(
            judge(section, surrogate, "SPE10 model 1", from_file(path, section.coefficient_mesh, resample="nearest"))
        )
    return rows


def report(rows: list[Row]) -> str:
    """The table as text."""
    lines = [
        f"{'relative L2 error of u_h':38s} contrast  out of range recomputed  above doubt  surrogate   hybrid     null"
    ]
    return "\n".join(
        lines
        + [
            f"{row.name:38s} {row.contrast:9.1e} {row.flagged:12.1%} {row.recomputed:11.1%} {_percent(row.above)}"
            f"   {row.surrogate:8.1e} {row.hybrid:8.1e} {row.null:8.1e}"
            for row in rows
        ]
    )


def _percent(share: float) -> str:
    return f"{'-':>12s}" if np.isnan(share) else f"{share:12.0%}"


def visualize(curves: dict[str, Curve] | None = None, shares: tuple[float, ...] = SHARES):
    """A row for each field: the coefficient, the scores, and the errors over the share recomputed."""
    from matplotlib.figure import Figure

    curves = {name: compute(name=name) for name in (IN_RANGE, OUT)} if curves is None else curves
    figure = Figure(figsize=(15, 3.7 * len(curves)), layout="constrained")
    for row, (name, curve) in zip(figure.subplots(len(curves), 4, squeeze=False), curves.items(), strict=True):
        _draw_row(row, name, curve, shares)
    return figure


def _draw_row(row, name: str, curve: Curve, shares: tuple[float, ...]) -> None:
    from skfem_ml.pictures import colour_bar, plot_cells, shared_norm

    drawn = plot_cells(row[0], curve.lod.coefficient_mesh, curve.a, norm=shared_norm(curve.a))
    colour_bar(row[0], drawn, "$a$")
    row[0].set_title(name)
    # Beyond 1 a score says no more than "recompute", and it may be astronomic.
    shown = np.clip(curve.score, 1e-4, 1)
    drawn = plot_cells(row[1], curve.lod.coarse.mesh, shown, norm=shared_norm(shown, log=True))
    colour_bar(row[1], drawn, "score", extend="max" if curve.score.max() > 1 else "neither")
    row[1].set_title(f"score; {curve.flagged:.0%} out of range")
    for axes, errors, title, label in (
        (row[2], curve.spectral, "error of the matrix", r"$\|\hat S - S\|_2$"),
        (row[3], curve.l2, "error of the solution", r"relative $L^2$ error of $u_h$"),
    ):
        for (order, values), style in zip(errors.items(), ("o-", "s--", "x:", "k-"), strict=True):
            axes.semilogy(shares, np.where(values > 1e-11, values, np.nan), style, markersize=4, label=order)
        axes.set(title=title, xlabel="share recomputed", ylabel=label)
        axes.axvline(curve.flagged, color="0.6", linewidth=6, alpha=0.4, label="share out of range")
        axes.grid(alpha=0.3)
        axes.legend(title="recomputed in the order of", fontsize="small", title_fontsize="small")


if __name__ == "__main__":
    for model in (MODEL, WIDE):
        print(f"{model}\n{report(table(path=sys.argv[1] if len(sys.argv) > 1 else None, model=model))}\n", flush=True)
    outcomes = {name: compute(name=name) for name in (IN_RANGE, OUT)}
    for name, curve in outcomes.items():
        print(f"{name}: error of the matrix and of u_h over the share recomputed")
        for order in curve.l2:
            pairs = zip(SHARES, curve.spectral[order], curve.l2[order], strict=True)
            print(f"  {order:17s}", ", ".join(f"{share:.0%} {s:.1e} {e:.1e}" for share, s, e in pairs))
    visualize(outcomes).savefig("certified.png", dpi=130)
