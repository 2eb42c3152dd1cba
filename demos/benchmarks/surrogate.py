"""What the shipped surrogates are worth: the paper's experiments, ten families, what users bring, and seconds.

Run ``python -m demos.benchmarks.surrogate`` in the root of the source tree. Everything runs on one thread. Every row
that is measured goes to ``surrogate.json`` beside this file at once, so a run that is stopped goes on where it was; at
the end ``surrogate.md`` is written. ``mlp FOLDER STEPS`` as arguments first trains the paper's network, on labels of
``data.remake_models`` for n = 8 in that folder, where its checkpoint is kept too, and adds its rows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from skfem import LinearForm, condense, solve
from skfem.models import unit_load
from threadpoolctl import threadpool_limits

from demos.benchmarks.surrogate_methods import CHEAPER, ExactOn, competitors, quietly, space
from demos.benchmarks.surrogate_tables import (
    CURVE_OF,
    DECADES,
    EXACT_8,
    MODEL,
    NULL,
    PAPERS,
    PUBLISHED_LOSS,
    TIMED,
    TOL,
    WIDE_MODEL,
    Row,
    report,
)
from skfem_ml.coefficients import cracks
from skfem_ml.coefficients.families import NAMES, UNSEEN, WIDE, paper_field, paper_split, wide_field
from skfem_ml.compare import best_of
from skfem_ml.learning.optim import MuonAdam
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.storage import write_whole
from skfem_ml.lod import LOD, GeometricMean, PatchMLP, Surrogate
from skfem_ml.lod.surrogate import Setting, fit_surrogate
from skfem_ml.lod.surrogate.conformal import relative_errors
from skfem_ml.lod.surrogate.recipe.labelling.labelled import squared_error
from skfem_ml.metrics import l2_error, spectral_error
from skfem_ml.problems import diffusion
from skfem_ml.solvers import solver_direct, solver_pyamg

OUTPUT = Path(__file__)
SEEDS, CURVE, ROUNDS = range(5), 50, 25


@LinearForm
def right_half(v, w):
    return w.x[0] * (w.x[0] >= 0.5) * v


@LinearForm
def wave(v, w):
    return np.cos(2 * np.pi * w.x[0]) * v


def experiment(number: int, lod: LOD, seed: int) -> tuple[ndarray, ndarray]:
    """Coefficient and load vector of an experiment of Kropfl, Maier, Peterseim (2022), section 4."""
    mesh = lod.coefficient_mesh
    if number == 1:
        return paper_field(mesh, "multiscale", seed, seed=9), unit_load.assemble(lod.coarse)
    if number == 2:
        x = mesh.p[:, mesh.t].mean(axis=1)
        return 2 + np.sin(2 * np.pi * x[0]) * np.sin(2 * np.pi * x[1]), right_half.assemble(lod.coarse)
    return cracks(mesh, 60, 1 / 128, 0.2, np.random.default_rng([9, seed])), wave.assemble(lod.coarse)


def errors(lod: LOD, local: ndarray, exact: ndarray, b: ndarray) -> Row:
    """Squared error of a local matrix, ``|S - S^|_2``, and L2 errors of u_h, absolute and relative."""
    S, R = (lod.sum(matrices).tocsr() for matrices in (local, exact))
    u, v = (solve(*condense(matrix, b, D=lod.coarse.get_dofs())) for matrix in (S, R))
    return {
        "local": float(np.square(local - exact).sum(axis=(1, 2)).mean()),
        "spectral": spectral_error(S, R),
        "l2": l2_error(u, v, lod.coarse),
        "relative": l2_error(u, v, lod.coarse, relative=True),
    }


def experiments(n: int, mlp: Surrogate | None = None) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """One entry an experiment and seed; every method on the same exact matrices."""
    for number in (1, 2, 3):
        for seed in SEEDS if number != 2 else [0]:

            def measure(number: int = number, seed: int = seed) -> list[Row]:
                lod = space(n)
                a, b = experiment(number, lod, seed)
                exact = lod.local(diffusion, a=a)
                rows = []
                for name, local_map in competitors(n, mlp).items():
                    rows.append({"method": name, "seed": seed, **errors(lod, quietly(lod, local_map, a), exact, b)})
                return rows

            yield f"experiment {number}, n = {n}, seed {seed}" + (" with PatchMLP" if mlp else ""), measure


def families(n: int) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """Test fields of the ten families, load 1."""
    for family in NAMES:

        def measure(family: str = family) -> list[Row]:
            lod, model, rows = space(n), Surrogate.load(MODEL[n]), []
            b = unit_load.assemble(lod.coarse)
            for name in [name for name in paper_split()["test"] if name[0] == family][:5]:
                a = paper_field(lod.coefficient_mesh, *name)
                exact = lod.local(diffusion, a=a)
                for method, local_map in (("surrogate", model), (NULL, GeometricMean())):
                    rows.append({"method": method, **errors(lod, quietly(lod, local_map, a), exact, b)})
            return rows

        yield f"family {family}, n = {n}", measure


def cheaper() -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """What exact matrices of other meshes give at n = 32: in the experiments, and on one field a family."""
    for number in (1, 2, 3):
        for seed in SEEDS if number != 2 else [0]:

            def measure(number: int = number, seed: int = seed) -> list[Row]:
                lod = space(32)
                a, b = experiment(number, lod, seed)
                return by_cheaper(lod, a, b)

            yield f"experiment {number}, n = 32, seed {seed}, exact matrices of other meshes", measure
    for family in NAMES:

        def of_family(family: str = family) -> list[Row]:
            lod, rows = space(32), []
            for name in [name for name in paper_split()["test"] if name[0] == family][:1]:
                rows += by_cheaper(lod, paper_field(lod.coefficient_mesh, *name), unit_load.assemble(lod.coarse))
            return rows

        yield f"family {family}, n = 32, exact matrices of other meshes", of_family


def by_cheaper(lod: LOD, a: ndarray, b: ndarray) -> list[Row]:
    """Errors of exact matrices of other meshes on one field."""
    exact = lod.local(diffusion, a=a)
    return [{"method": name, **errors(lod, quietly(lod, one, a), exact, b)} for name, one in CHEAPER.items()]


def wide() -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """Two unseen fields of every family in every decade of contrast."""
    for family in WIDE + UNSEEN:
        for low, high in DECADES:

            def measure(family: str = family, low: int = low, high: int = high) -> list[Row]:
                lod, model, rows, index = space(32), Surrogate.load(WIDE_MODEL), [], 2_000_000
                b = unit_load.assemble(lod.coarse)
                while len(rows) < 2:
                    a, index = wide_field(lod.coefficient_mesh, family, index, contrast=high), index + 1
                    if low <= a.max() / a.min() <= high:
                        rows.append(judged(lod, model, a, b))
                return rows

            yield f"wide {family}, contrast {low} to {high}", measure


def judged(lod: LOD, model: Surrogate, a: ndarray, b: ndarray) -> Row:
    """Errors of the wide model, of the hybrid and of the null models, what the certificate says, and the error of exact
    LOD itself, against finite elements on the mesh n = 8.
    """
    elements, exact = lod.space.all_elements, lod.local(diffusion, a=a)
    local, doubt = quietly(lod, model, a), model.doubt(lod, elements, a=a)
    true = np.linalg.norm(local - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    recomputed = doubt + model.excess(lod, elements, a=a) > TOL
    mixed = np.where(recomputed[:, None, None], exact, local)
    return {
        "contrast": float(a.max() / a.min()),
        **errors(lod, local, exact, b),
        "hybrid": errors(lod, mixed, exact, b)["relative"],
        "null": errors(lod, GeometricMean().local(lod, elements, a=a), exact, b)["relative"],
        EXACT_8: errors(lod, ExactOn(8).local(lod, elements, a), exact, b)["relative"],
        "of LOD": own_error(lod.with_fine(8), a),
        "recomputed": float(recomputed.mean()),
        "covered": float((true <= doubt).mean()),
        "true": float(np.quantile(true, 0.9)),
        "said": finite(float(np.quantile(doubt, 0.9, method="inverted_cdf"))),
    }


def finite(value: float) -> float | None:
    """The number, or None for an infinite one, as JSON has it."""
    return value if np.isfinite(value) else None


def own_error(lod: LOD, a: ndarray) -> float:
    """Relative L2 error of u_h of exact LOD against finite elements on its fine mesh, load 1."""
    fine, S = lod.fine, lod.assemble(diffusion, a=a)
    u = solve(*condense(S, unit_load.assemble(lod.coarse), D=lod.coarse.get_dofs()))
    A = diffusion.assemble(fine, a=a[lod.space.coefficient_cell][:, None])
    exact = solve(*condense(A, unit_load.assemble(fine), D=fine.get_dofs()))
    return l2_error(exact, lod.prolongation @ u, fine, relative=True)


def seconds() -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """All local matrices by the exact engine and by the surrogate, alone and in a batch; one direct fine solve."""
    for name, n in TIMED.items():

        def measure(name: str = name, n: int = n) -> list[Row]:
            lod = space(n)
            untrained = PatchMLP(generator=torch.Generator().manual_seed(0))  # its time does not depend on its weights
            model = Surrogate(untrained, Setting.of(lod)) if name == PAPERS else Surrogate.load(name)
            fields = np.stack([paper_field(lod.coefficient_mesh, NAMES[k % 10], k, seed=9) for k in range(64)])
            fine = lod.fine.mesh
            A = diffusion.assemble(lod.fine, a=fields[8][lod.space.coefficient_cell][:, None])
            b = unit_load.assemble(lod.fine)
            row = {
                "exact": fastest(lambda: lod.local(diffusion, a=fields[8]), 3),
                "surrogate": fastest(lambda: quietly(lod, model, fields[8]), 7),
                "batch": fastest(lambda: quietly(lod, model, fields), 2) / 64,
                "assembly": fastest(lambda: lod.sum(np.zeros((1024, 36, 4))).tocsr(), 5),
                "fine": fastest(lambda: solve(*condense(A, b, D=fine.boundary_nodes())), 1),
            }
            return [row]

        yield f"seconds, {name}", measure


def speed() -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """Microseconds an element, CPU on one thread and wall on two, by precision; errors of S_T."""
    for n, name in MODEL.items():

        def measure(n: int = n, name: str = name) -> list[Row]:
            lod, single, rows = space(n), Surrogate.load(name), []
            a, share = paper_field(lod.coefficient_mesh, NAMES[6], 0, seed=9), 1e6 / len(lod.space.all_elements)
            exact = lod.local(diffusion, a=a)
            for method, model in (("single precision", single), ("bfloat16", single.in_bfloat16())):
                run = partial(quietly, lod, model, a)
                got, one = best_of(run, ROUNDS)
                torch.set_num_threads(2)
                two = best_of(run, ROUNDS)[1]
                torch.set_num_threads(1)
                error = float(np.median(relative_errors(got, exact)))
                rows.append({"method": method, "one": share * one.cpu, "two": share * two.wall, "error": error})
            return rows

        yield f"speed, {name}", measure


def fine_solvers() -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """One fine solution by other solvers than the host's: a tuned factorisation, and CG with algebraic multigrid."""
    for n in MODEL:

        def measure(n: int = n) -> list[Row]:
            lod = space(n)
            a = paper_field(lod.coefficient_mesh, NAMES[8], 8, seed=9)
            A = diffusion.assemble(lod.fine, a=a[lod.space.coefficient_cell][:, None])
            system = condense(A, unit_load.assemble(lod.fine), D=lod.fine.mesh.boundary_nodes())
            solvers = {"direct": solver_direct(), "amg": solver_pyamg(tol=1e-6)}
            return [{name: fastest(lambda one=one: solve(*system, solver=one), 1) for name, one in solvers.items()}]

        yield f"fine solvers, n = {n}", measure


def fastest(run: Callable[[], Any], repeats: int) -> float:
    """CPU seconds of the fastest run."""
    return best_of(run, repeats)[1].cpu


def train_mlp(folder: Path, steps: int) -> Surrogate:
    """The paper's network and loss with our optimiser, on labels of `data.remake_models`, until the published loss of
    fields held out, one a family. The curve goes to the rows; a run goes on from its checkpoint, also to more steps.
    """
    lod, rate = space(8), 3e-3
    first = dict(reversed(paper_split()["validation"]))  # by family
    net = PatchMLP(generator=torch.Generator().manual_seed(0))
    hidden, rest = [layer.weight for layer in net.layers[:-1]], [layer.bias for layer in net.layers]
    trained, history = fit_surrogate(
        lod, folder / "train", net, steps=steps, fields=10, elements=100, turns=False, loss=squared_error,
        validation=np.stack([paper_field(lod.coefficient_mesh, family, first[family]) for family in NAMES]),
        optimiser=MuonAdam(hidden, [{"params": [*rest, net.layers[-1].weight]}]), average=0.99,
        schedule=cosine(rate, steps, steps // 30), tol=PUBLISHED_LOSS, every=max(1, steps // CURVE),
        checkpoint=folder / "papers.pt", extend="steps",
        progress=lambda *told: print(*told, f"{process_time():.0f} s", flush=True),
    )  # fmt: skip
    curve = [{"step": step, "loss": loss} for step, loss in zip(history.steps, history.losses, strict=True)]
    keep({**measured(), CURVE_OF: curve})
    return trained


def measured() -> dict[str, list[Row]]:
    """The rows so far."""
    path = OUTPUT.with_suffix(".json")
    return json.loads(path.read_text()) if path.exists() else {}


def keep(rows: dict[str, list[Row]]) -> None:
    """Write the rows so far."""
    write_whole(OUTPUT.with_suffix(".json"), json.dumps(rows, indent=1).encode())


def main(arguments: list[str]) -> None:
    """Measure what is missing and write the table."""
    torch.set_num_threads(1)
    mlp = train_mlp(Path(arguments[1]), int(arguments[2])) if arguments[:1] == ["mlp"] else None
    with threadpool_limits(1):
        exact = chain(fine_solvers(), cheaper())
        for key, measure in chain(
            experiments(8, mlp), families(8), experiments(32), families(32), wide(), seconds(), speed(), exact
        ):
            rows = measured()
            if key not in rows:
                rows[key] = measure()
                print(key, rows[key][0], flush=True)
                keep(rows)
    write_whole(OUTPUT.with_suffix(".md"), report(measured()).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
