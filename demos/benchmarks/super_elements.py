"""Learned super-elements against exact LOD and extrapolated interiors, on 21 families of every contrast.

Run ``python -m demos.benchmarks.super_elements`` in the root of the source tree. Everything runs on one thread. Every
field that is measured goes to ``super_elements.json`` beside this file at once, so a run that is stopped goes on where
it was; at the end ``super_elements.md`` is written. Fields are those of ``multigrid_fields.py``, seed 1.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy import ndarray
from scipy.sparse import csr_matrix
from skfem import MeshQuad
from skfem.models import mass
from threadpoolctl import threadpool_limits

from demos.benchmarks.multigrid_fields import FAMILIES, field
from skfem_ml.learning.storage import write_whole
from skfem_ml.lod import LOD, GeometricMean, SuperElements, Surrogate, System
from skfem_ml.lod.coarse import is_definite
from skfem_ml.lod.engine.elements.energies import energies_of
from skfem_ml.lod.surrogate.elements.cells import NUMBERS, gradient_modes
from skfem_ml.lod.surrogate.elements.judging import distances
from skfem_ml.lod.surrogate.elements.labels import Elements, cells_of, complement
from skfem_ml.lod.surrogate.elements.samples import drawn_values
from skfem_ml.lod.surrogate.recipe.elements import where_asked
from skfem_ml.problems import diffusion, load

OUTPUT = Path(__file__)
CONTRASTS, FINE, SEED = (10.0, 100.0, 1000.0), 100.0, 1  # FINE: where fine solutions are compared
UNSEEN = ("cracks", "Voronoi", "layers, 30 degrees", "fibres", "perforated", "texture")
LEARNED, EXACT, CLOSE, WIDE, NULL = (
    "super-elements", "exact, n = 8", "extrapolated interiors", "wide network", "geometric mean",
)  # fmt: skip
Row = dict[str, Any]
T = TypeVar("T")


def timed(work: Callable[[], T], runs: int = 1) -> tuple[T, float]:
    """The result and the fewest CPU seconds of some runs."""
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        out = work()
        seconds.append(time.process_time() - start)
    return out, min(seconds)


def measure(family: str, contrast: float) -> Row:
    """Errors of u_h (load 1) against exact LOD at n = 32, of energies, and CPU seconds."""
    mesh = MeshQuad().refined(5)
    plain, finest = LOD(mesh, refine=8), LOD(mesh, refine=32, cells=8)
    a = field(plain.coefficient_mesh, family, contrast, SEED)
    model = SuperElements.load("diffusion")
    wide = Surrogate.load("diffusion-wide-q1-ell2-n32")
    maps = {
        LEARNED: (plain, model), EXACT: (plain, diffusion), CLOSE: (plain.with_interiors(32), diffusion),
        WIDE: (finest, wide), NULL: (plain, GeometricMean()),
    }  # fmt: skip
    M, reference, systems = mass.assemble(plain.coarse), finest.system(diffusion, a=a), {}
    u = reference.solve(load(1.0))
    row: Row = {"definite": is_definite(_free(reference)), "error": {}}
    row["seconds"] = {}
    for name, (lod, form) in maps.items():
        system, row["seconds"][name] = timed(lambda lod=lod, form=form: _assembled(lod.system(form, a=a)))
        systems[name], gap = system, system.solve(load(1.0)) - u
        row["error"][name] = float(np.sqrt(gap @ M @ gap / (u @ M @ u)))
    if contrast == FINE:
        row["fine"] = {name: reconstructed(systems[name], reference, a) for name in (LEARNED, EXACT, CLOSE)}
    return row | energies(plain, a, model)


def reconstructed(system: System, reference: System, a: ndarray) -> dict[str, float]:
    """Relative errors of the corrected and prolonged solution for load 1: in the energy norm of what lies between the
    nodes of n = 8, and of the mean fluxes of coarse elements in L2.
    """
    (u, values), (finest, coefficient) = (_on_elements(each, a) for each in (system, reference))
    modes, step = gradient_modes(), (finest.shape[1] - 1) // (u.shape[1] - 1)
    there = finest[:, ::step, ::step]
    gap, size = (np.einsum("mi,icyx->mcyx", modes, _corners(each)) for each in (u - there, there))
    energy = np.sqrt((values * gap**2).sum() / (values * size**2).sum())
    flux, true = (_fluxes(*each) for each in ((u, values), (finest, coefficient)))
    return {"energy": float(energy), "flux": float(np.linalg.norm(flux - true) / np.linalg.norm(true))}


def _on_elements(system: System, a: ndarray) -> tuple[ndarray, ndarray]:
    """Values at nodes ``(k, n + 1, n + 1)`` and of the coefficient in cells ``(k, n, n)`` of coarse elements."""
    space, f = system.lod.space, load(1.0)
    u = system.prolong(system.solve(f, corrected=True), load=f)
    return (
        u[space.refinement.nodes].reshape(-1, space.n + 1, space.n + 1),
        a[cells_of(space, space.all_elements)].reshape(-1, space.n, space.n),
    )


def _corners(u: ndarray) -> ndarray:
    """Values at the corners of cells, x fastest, ``(4, k, n, n)``."""
    return np.stack([u[:, :-1, :-1], u[:, :-1, 1:], u[:, 1:, :-1], u[:, 1:, 1:]])


def _fluxes(u: ndarray, values: ndarray) -> ndarray:
    """Means of a grad u over coarse elements of edge one, ``(2, k)``."""
    gradients = np.einsum("mi,icyx->mcyx", gradient_modes()[:2], _corners(u))
    return values.shape[1] * (values * gradients).mean(axis=(2, 3))


def _free(system: System) -> csr_matrix:
    free = np.flatnonzero(~system.lod.space.fixed)
    return system.matrix()[free][:, free]


def _assembled(system: System) -> System:
    system.matrix()
    return system


def energies(lod: LOD, a: ndarray, model: SuperElements) -> Row:
    """Quantiles of d over the elements, for the model and for exact n = 8, and the doubt against d."""
    truth, elements = Elements.of(lod.space, a), lod.space.all_elements
    exact = truth.exact(elements)
    judged = model.judge(lod, a=a, tol=np.inf)
    values = truth.values(elements)
    fine = energies_of(model.cells.bordered(values, values.new_zeros(len(values), NUMBERS, values.shape[1])))
    d, plain = distances(judged.energies, exact), distances(fine, exact)
    asked = where_asked(truth)
    return {
        "d": [float(np.quantile(d, q)) for q in (0.5, 0.9, 1.0)],
        "d, n = 8": [float(np.quantile(plain, q)) for q in (0.5, 0.9, 1.0)],
        "asked": len(asked) / len(d),
        "covered": float((d <= judged.doubt)[asked].mean()) if len(asked) else None,
        "flagged": float((judged.doubt > 0.02).mean()),
        "kept": float(d[judged.doubt <= 0.02].max(initial=0.0)),
    }


def relative_seconds() -> float:
    """CPU seconds of all local matrices of a field in units of exact n = 8, the median of what was measured."""
    rows = json.loads(OUTPUT.with_suffix(".json").read_text()).values()
    return float(np.median([row["seconds"][LEARNED] / row["seconds"][EXACT] for row in rows if "seconds" in row]))


def positive(count: int = 100_000, contrast: float = 1e6) -> Row:
    """The smallest eigenvalue of H^ beside its largest diagonal entry, over drawn elements."""
    model, smallest, broken = SuperElements.load("diffusion"), np.inf, 0
    basis, rng = complement(8), np.random.default_rng(7)
    with torch.no_grad():
        for values in torch.from_numpy(drawn_values(8, count, rng, contrast)).split(512):
            H = energies_of(model.answer(values))
            H = H / H.diagonal(dim1=1, dim2=2).amax(dim=1)[:, None, None]
            low = torch.linalg.eigvalsh(basis.T @ H @ basis)[:, 0]
            smallest, broken = min(smallest, float(low.min())), broken + int((low <= 0).sum())
    return {"elements": count, "contrast": contrast, "smallest": smallest, "not positive": broken}


# The page.


def report(found: dict[str, Row]) -> str:
    """The page, from what was measured."""
    fields = {name: row for name, row in found.items() if "error" in row}
    names = [LEARNED, EXACT, CLOSE, WIDE, NULL]
    lines = [
        HEAD,
        "## Coarse solutions\n",
        "| field | " + " | ".join(names) + " |",
        "|---" + "|---:" * len(names) + "|",
    ]
    for name, row in fields.items():
        errors = " | ".join(f"{row['error'][each]:.1e}" for each in names)
        lines.append(f"| {name}{'' if row['definite'] else ' (S not definite)'} | {errors} |")
    good = [row for row in fields.values() if row["definite"]]
    to_close = [row["error"][LEARNED] / row["error"][CLOSE] for row in good]
    to_exact = [row["error"][LEARNED] / row["error"][EXACT] for row in good]
    to_wide = [row["error"][LEARNED] / row["error"][WIDE] for row in good]
    lines += [
        f"\nOn the {len(good)} fields where S is definite the error is {np.median(to_close):.2f} times that of "
        f"extrapolated interiors in the median, {max(to_close):.1f} at most, up to 1.5 on "
        f"{sum(each <= 1.5 for each in to_close)}; {np.median(to_exact):.3f} times that of "
        f"exact n = 8 in the median, {max(to_exact):.2f} at most; and above that of the wide network on "
        f"{sum(each > 1 for each in to_wide)}.\n",
        "## Energies of elements\n",
        "d = max |log eig(H^-1 H^)| over the elements of a field against extrapolated energies: median / 90 % /"
        " largest. The doubt: the share of elements that it covers, of those that the network is asked for (layers"
        " along an axis are exact), the share that it flags at 0.02, and the largest d of the others.\n",
        "| field | super-elements | exact, n = 8 | covered | flagged | largest d of the others |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in fields.items():
        d, plain = (" / ".join(f"{value:.2g}" for value in row[key]) for key in ("d", "d, n = 8"))
        covered = "none asked" if row["covered"] is None else f"{row['covered']:.0%}"
        lines.append(f"| {name} | {d} | {plain} | {covered} | {row['flagged']:.0%} | {row['kept']:.2g} |")
    return "\n".join([*lines, "", *fine_errors(fields), *seconds(fields), *checked(found)]) + "\n"


def fine_errors(fields: dict[str, Row]) -> list[str]:
    """What the corrected and prolonged solutions are off by."""
    names = (LEARNED, EXACT, CLOSE)
    lines = [
        "## Energy and flux\n",
        "Of the corrected and prolonged solution for load 1 against that of exact LOD at n = 32, relative: in the"
        " energy norm, as far as the nodes of n = 8 see it, and of the mean fluxes of coarse elements in L2.\n",
        "| field | " + " | ".join(f"{name}: energy | flux" for name in names) + " |",
        "|---" + 2 * len(names) * "|---:" + "|",
    ]
    for name, row in fields.items():
        if "fine" in row:
            told = " | ".join(f"{row['fine'][each][key]:.1e}" for each in names for key in ("energy", "flux"))
            lines.append(f"| {name}{'' if row['definite'] else ' (S not definite)'} | {told} |")
    return [*lines, ""]


def seconds(fields: dict[str, Row]) -> list[str]:
    """Medians over the fields, in units of exact n = 8 of the same field."""

    def ratio(name: str) -> float:
        return float(np.median([row["seconds"][name] / row["seconds"][EXACT] for row in fields.values()]))

    told = ", ".join(f"{name} {ratio(name):.2f}" for name in (LEARNED, CLOSE, WIDE))
    definite = [row["error"] for row in fields.values() if row["definite"]]
    front = sum(errors[WIDE] < min(errors[EXACT], errors[NULL]) for errors in definite)
    return [
        "## Seconds\n",
        f"CPU seconds of the matrix in units of exact n = 8, medians over the fields: {told}.\n",
        f"The wide network of patches, which corrects exact n = 8, is closer than that on {front} of the "
        f"{len(definite)} fields where S is definite: there it lies on the front of error against seconds, between "
        "exact n = 8 and super-elements, and that is why it is kept.\n",
    ]


def checked(found: dict[str, Row]) -> list[str]:
    """What was found of positivity."""
    row = found["positive"]
    return [
        "## Positive\n",
        f"Of {row['elements']} drawn elements of contrast up to {row['contrast']:.0e}, {row['not positive']} have an "
        f"energy that is not positive; the smallest eigenvalue is {row['smallest']:.1e} of the largest diagonal entry.",
    ]


HEAD = f"""# Learned super-elements

Written by `python -m demos.benchmarks.super_elements`. 32 x 32 coarse elements, ell = 2, the coefficient on 256 x 256
cells, load 1, zero boundary values; the reference is exact LOD at n = 32, errors are relative L2 errors of u_h. One
field (seed {SEED}) of each family and contrast. Nothing like {", ".join(UNSEEN[:3])},
{", ".join(UNSEEN[3:])} was trained on; the others resemble families of training (at the scale of cells), but no field
was seen. Seconds were measured beside other work: read ratios.
"""


def main() -> None:
    """Measure what is missing, and write the page."""
    torch.set_num_threads(1)
    path = OUTPUT.with_suffix(".json")
    found: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of indefinite S: the page says so
        for family in FAMILIES:
            for contrast in CONTRASTS:
                name = f"{family}{' (unseen)' if family in UNSEEN else ''}, {contrast:g}"
                if name not in found:
                    found[name] = measure(family, contrast)
                    write_whole(path, json.dumps(found, indent=1).encode())
                    print(name, {key: f"{value:.1e}" for key, value in found[name]["error"].items()}, flush=True)
        if "positive" not in found:
            found["positive"] = positive()
    write_whole(path, json.dumps(found, indent=1).encode())
    write_whole(OUTPUT.with_suffix(".md"), report(found).encode())


if __name__ == "__main__":
    main()
