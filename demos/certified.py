r"""A surrogate with a certificate
==============================

What is promised of a surrogate's answers, what is said of fields that it never saw, and what is true.

A model of the package says how far off each local matrix is likely to be, a relative error :math:`e_T`. Its card has a
certificate, calibrated on fields that nothing else has seen (conformal prediction: Vovk, Gammerman, Shafer 2005; with
fields as units: Dunn, Wasserman, Ramdas 2023):

- of the elements of a fresh field of its families nine of ten are off by at most what is said;
- a test of novelty calls one in twenty of such fields novel, and of others what looks different;
- :math:`u_h`: with dual weighted residuals :math:`\eta_T = e_T \, |S_T|_F \, |u_T| \, |z_T| / |u|^2` the estimate

  .. math:: |u_h - \hat u_h| / |u_h| \; \le \; C \left( \sum_T \eta_T^p \right)^{1/p}

  holds for nine fresh fields of ten, whatever elements are recomputed in the order of falling :math:`\eta_T`.

``Hybrid(surrogate, form, tol)`` recomputes by exact correctors what is novel, and then as few elements as bring the
estimate to ``tol``. Two questions are put to it. First, fresh fields of the families: promised and true errors over
tolerances, and what they cost. Second, fields of other families, where nothing is promised: the share of elements that
is called novel, what is left uncovered, whether assembling warns, and what the hybrid makes of it.

Usage: ``python certified.py [PERMX.csv]``, with SPE10 model 1 as for ``spe10.py``, on 40 x 8 square elements.
"""

import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from skfem import MeshQuad

from skfem_ml.coefficients import from_file
from skfem_ml.coefficients.families import paper_field, unseen_fields
from skfem_ml.lod import LOD, Hybrid, Surrogate
from skfem_ml.lod.surrogate.conformal import CoarseSolutions, relative_errors
from skfem_ml.pictures import figure, grid, legend_below
from skfem_ml.problems import diffusion

MODEL = "diffusion-q1-ell2-n8"
LEVEL, REFINE = 5, 8
TOLERANCES = (1e-3, 5e-4, 2e-4, 1e-4, 5e-5)
TOL = 1e-3
LARGE = 0.05  # an error of u_h that nobody should overlook
OWN = ("iid-5", "iid-6", "iid-7", "iid-8", "multiscale")
FRESH = 14_000_000  # the first number of a field: nothing else uses them
SEED = 0


class Kept(NamedTuple):
    """A field of the families and a tolerance: the errors of u_h, promised and true, and the share recomputed."""

    family: str
    tol: float
    promised: float
    true: float
    share: float


class Row(NamedTuple):
    """A field of another family: shares of elements, errors of u_h, and whether assembling warned."""

    name: str
    contrast: float
    novel: float
    uncovered: float
    said: bool
    surrogate: float
    promised: float
    hybrid: float
    share: float


def promises(level: int = LEVEL, tolerances: tuple[float, ...] = TOLERANCES) -> list[Kept]:
    """Fresh fields of the families: what is promised, what is true."""
    lod, surrogate = LOD(MeshQuad().refined(level), refine=REFINE, ell=2), Surrogate.load(MODEL)
    coarse, found = CoarseSolutions(lod), []
    for number, family in enumerate(OWN):
        a = paper_field(lod.coefficient_mesh, family, FRESH + number)
        u = coarse.solutions(lod.local(diffusion, a=a))
        for tol in tolerances:
            judged = Hybrid(surrogate, diffusion, tol).judge(lod, a=a)
            true = coarse.errors(coarse.solutions(judged.matrices), u).max()
            found.append(Kept(family, tol, judged.promised, float(true), judged.fraction))
    return found


def judge(lod: LOD, surrogate: Surrogate, name: str, a: ndarray) -> Row:
    """What the certificate says of one field, and what is true."""
    exact, coarse = lod.local(diffusion, a=a), CoarseSolutions(lod)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        lod.assemble(surrogate, a=a)
    got, scores = surrogate.with_score(lod, lod.space.all_elements, a=a)
    judged, u = Hybrid(surrogate, diffusion, TOL).judge(lod, a=a), coarse.solutions(exact)
    errors = [float(coarse.errors(coarse.solutions(local), u).max()) for local in (got, judged.matrices)]
    uncovered, novel = (relative_errors(got, exact) > scores).mean(), (~np.isfinite(scores)).mean()
    told = bool(said), errors[0], judged.promised, errors[1], judged.fraction
    return Row(name, float(a.max() / a.min()), float(novel), float(uncovered), *told)


def table(level: int = LEVEL, path: str | Path | None = None) -> list[Row]:
    """All fields, and SPE10 where its file is given."""
    lod, surrogate = LOD(MeshQuad().refined(level), refine=REFINE, ell=2), Surrogate.load(MODEL)
    rows = [judge(lod, surrogate, name, a) for name, a in unseen_fields(lod.coefficient_mesh, SEED).items()]
    if path is not None:
        mesh = MeshQuad.init_tensor(np.linspace(0, 5, 41), np.linspace(0, 1, 9))
        section = LOD(mesh, refine=REFINE, ell=2)
        a = from_file(path, section.coefficient_mesh, resample="nearest")
        rows.append(judge(section, surrogate, "SPE10 model 1", a))
    return rows


def report(kept: list[Kept], rows: list[Row]) -> str:
    """Both tables as text."""
    lines = ["fresh fields   tolerance  promised      true  recomputed"]
    lines += [f"{one.family:13s} {one.tol:10.0e} {one.promised:9.1e} {one.true:9.1e} {one.share:11.0%}" for one in kept]
    lines += [f"kept: {sum(one.true <= one.promised for one in kept)} of {len(kept)}", ""]
    lines += ["other fields             contrast  novel uncovered warned  surrogate  hybrid promised recomputed"]
    lines += [
        f"{row.name:24s} {row.contrast:8.3g} {row.novel:6.0%} {row.uncovered:9.0%} {'yes' if row.said else 'no':>6s} "
        f"{row.surrogate:10.1e} {row.hybrid:7.0e} {row.promised:8.0e} {row.share:10.0%}"
        for row in rows
    ]
    return "\n".join(lines)


def visualize(kept: list[Kept] | None = None, rows: list[Row] | None = None):
    """Promised and true errors of fresh fields, what the promise costs, and what is said of other families."""
    kept, rows = promises() if kept is None else kept, table() if rows is None else rows
    with figure(17, 5.8) as picture:
        left, middle, right = picture.subplots(1, 3, width_ratios=(1, 1, 1.3))
        for family, marker in zip(OWN, "osD^v", strict=True):
            own = [one for one in kept if one.family == family]
            shown = [one for one in own if one.share < 1]
            left.loglog([one.promised for one in shown], [one.true for one in shown], marker, label=family)
            middle.semilogx([one.tol for one in own], [100 * one.share for one in own], marker + "-", label=family)
        ends = np.array([min(one.tol for one in kept) / 4, max(one.tol for one in kept)])
        left.loglog(ends, ends, "k-", linewidth=1, label="as promised")
        count = sum(one.true <= one.promised for one in kept)
        left.set(title=f"fresh fields: {count} of {len(kept)} promises kept", xlabel="promised error of $u_h$")
        left.set_ylabel("true error, relative $L^2$")
        middle.set(title="what a promise costs", xlabel="tolerance for $u_h$", ylabel="elements recomputed, %")
        for axes in (left, middle):
            grid(axes)
            legend_below(axes, 3)
        _draw_shares(right, rows)
    return picture


def _draw_shares(axes, rows: list[Row]) -> None:
    """A bar for each field: elements called novel, covered, and not covered; errors of u_h beside it."""
    place = np.arange(len(rows))
    novel, uncovered = (100 * np.array([getattr(row, name) for row in rows]) for name in ("novel", "uncovered"))
    axes.barh(place, novel, color="C0", label="called novel, recomputed")
    axes.barh(place, 100 - novel - uncovered, left=novel, color="0.85", label="covered by what is said")
    axes.barh(place, uncovered, left=100 - uncovered, color="C1", label="not covered")
    for at, row in zip(place, rows, strict=True):
        hybrid = f"{row.hybrid:.0e}" if row.hybrid else "exact"
        axes.text(102, at, f"{row.surrogate:.0e} / {hybrid}", va="center", fontsize=10)
    axes.set_yticks(place, [row.name for row in rows])
    silent = sum(row.surrogate > LARGE and not row.said for row in rows)
    axes.set(xlim=(0, 136), xticks=range(0, 101, 25), xlabel="elements, %", ylabel="coefficient")
    axes.set_title(f"other families: {silent} silent failures")
    axes.text(135, -0.75, "$u_h$: surrogate / hybrid", ha="right", va="center", fontsize=10)
    axes.set_ylim(len(rows) - 0.4, -1.1)
    legend_below(axes)


if __name__ == "__main__":
    result = promises(), table(path=sys.argv[1] if len(sys.argv) > 1 else None)
    print(report(*result))
    visualize(*result).savefig("certified.png")
    kept = sum(one.true <= one.promised for one in result[0])
    bad = [row for row in result[1] if row.surrogate > LARGE]
    told = f"{len(bad)} fields are more than {LARGE:.0%} off, {sum(row.said for row in bad)} of them warned of"
    print(f"{kept} of {len(result[0])} promises kept; of other families {told}")
