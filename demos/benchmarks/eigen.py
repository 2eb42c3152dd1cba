"""Every route to eigenpairs, measured again: values, vectors, residuals, CPU seconds, three seeds for learners.

Run ``python -m demos.benchmarks.eigen`` in the root of the source tree; it writes ``eigen.json``, ``eigen.md`` and
``eigen.png`` beside this file. With the first words of titles as arguments it measures these tables alone and keeps the
others. Give the number of threads by ``OMP_NUM_THREADS``; the times of the table in the tree are for one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from skfem import (
    Basis,
    BilinearForm,
    ElementQuad1,
    ElementQuad2,
    ElementQuadP,
    ElementTriP2,
    ElementTriP3,
    ElementTriP4,
    MeshQuad,
    MeshTri,
)
from skfem.helpers import dot, grad

from demos import eigen_networks
from demos.eigen_networks import BOX, CORNER, quadrature
from skfem_ml.baselines import eig_published
from skfem_ml.coefficients import log_normal
from skfem_ml.compare import Table, by_method, compare, median_rows, seeded, sentence
from skfem_ml.meshes import graded
from skfem_ml.metrics import eigen_residuals
from skfem_ml.pictures import figure, grid
from skfem_ml.pictures.graphs import look, powers_of_ten
from skfem_ml.pinn import eig_neural, eig_subspace
from skfem_ml.problems import Eigenproblem, dirichlet_laplacian, mass, report_matrix, report_start
from skfem_ml.progress import Progress
from skfem_ml.reference import eig_flow, eig_reference, l_shape_eigenvalues
from skfem_ml.solutions import Eigenpairs, Record

MATRIX = "All six pairs of matrix (26)"
SQUARE = "Six eigenvalues of the square (8 x 8 cells)"
L_SHAPE = "Four eigenvalues of the L-shape"
FORMS = "Two forms of one's own: four pairs of 72 unknowns"
LARGE = "Ten pairs of 9801 unknowns"
LEARNED = "learned"
OUTPUT = Path(__file__).with_suffix(".md")
Solvers = dict[str, Callable]


@BilinearForm
def stiffness(u, v, w):
    """``int a grad u . grad v``."""
    return w.a * dot(grad(u), grad(v))


@BilinearForm
def density(u, v, w):
    """``int rho u v``."""
    return w.rho * u * v


def matrix_solvers() -> dict[str, Solvers]:
    """Return everything that finds the pairs of matrix (26)."""
    return {
        "linear algebra and flows": {
            "eigh": eig_reference(6),
            "Euler as in the report (t = 8)": eig_flow(t_end=8.0, dt=4e-5, start=report_start(), normalise=False),
            "Euler, projected start only": eig_flow(deflation="start only", t_end=60.0, start=report_start()),
            "Euler with projection": eig_flow(start=report_start()),
            "solve_ivp with projection": eig_flow(method="ivp", start=report_start()),
        },
        LEARNED: {
            **seeded("windowed networks, 1-8-6", eig_neural, method="windowed"),
            **seeded("orthonormal network, 6-20-6", eig_neural, method="orthonormal"),
            "network as published, 6 runs of 20000 epochs": eig_published(runs=6, epochs=20_000, start=report_start()),
        },
    }


def square_problem(cells: int, intorder: int) -> Eigenproblem:
    """Return the Dirichlet Laplacian on the unit square with its six first pairs; all their spaces are complete."""
    modes = sorted((i * i + j * j, i, j) for i in range(1, 9) for j in range(1, 9))[:6]
    edge = np.linspace(0, 1, cells + 1)
    problem = dirichlet_laplacian(Basis(MeshQuad.init_tensor(edge, edge), ElementQuad2(), intorder=intorder))
    assert problem.basis is not None
    x, y = problem.basis.doflocs[:, problem.free]
    vectors = [np.sin(np.pi * i * x) * np.sin(np.pi * j * y) for _, i, j in modes]
    exact = Eigenpairs(np.pi**2 * np.array([size for size, _, _ in modes], dtype=float), np.array(vectors).T)
    return dirichlet_laplacian(problem.basis, exact)


def l_shape_problem() -> Eigenproblem:
    """Return the Dirichlet Laplacian on the L-shape: values by particular solutions, functions by singular features."""
    best = eig_subspace(4, features=0, extra=[CORNER.features(8, 10, BOX)])(quadrature(26, 18))
    basis = Basis(graded(MeshTri.init_lshaped().refined(4), (0, 0), 2.0), ElementTriP2())
    problem = dirichlet_laplacian(basis)
    functions = best.record["functions"](basis.doflocs[:, problem.free])
    return dirichlet_laplacian(basis, Eigenpairs(l_shape_eigenvalues(4), functions))


def elements(make: Callable[[], Basis], k: int) -> Callable[[Eigenproblem], Eigenpairs]:
    """Return ``solve(problem) -> Eigenpairs`` by another basis, assembly included, vectors at the problem's nodes."""

    def solve(problem: Eigenproblem) -> Eigenpairs:
        own = dirichlet_laplacian(make())
        pairs = eig_reference(k, "eigsh")(own)
        vectors = own.basis.probes(problem.basis.doflocs[:, problem.free]) @ own.extend(pairs.vectors)
        told = {"residuals": eigen_residuals(pairs, own.A, own.M)}
        return Eigenpairs(pairs.values, vectors, Record(own.size, notes=told))

    return solve


def triangles(element, refinements: int, exponent: float) -> Callable[[Eigenproblem], Eigenpairs]:
    """Return `elements` on the L-shape, graded towards the corner."""
    return elements(lambda: Basis(graded(MeshTri.init_lshaped().refined(refinements), (0, 0), exponent), element()), 4)


def high_order(cells: int, degree: int) -> Callable[[Eigenproblem], Eigenpairs]:
    """Return `elements` of high order on the square."""
    edge = np.linspace(0, 1, cells + 1)
    return elements(lambda: Basis(MeshQuad.init_tensor(edge, edge), ElementQuadP(degree)), 6)


def singular(degree: int, levels: int, intorder: int) -> Callable[[Eigenproblem], Eigenpairs]:
    """Return ``solve(problem) -> Eigenpairs`` in a space of singular functions, vectors at the problem's nodes."""

    def solve(problem: Eigenproblem) -> Eigenpairs:
        features = CORNER.features(8, degree, BOX)
        pairs = eig_subspace(4, features=0, extra=[features])(quadrature(levels, intorder))
        nodes = pairs.record["functions"](problem.basis.doflocs[:, problem.free])
        return Eigenpairs(pairs.values, nodes, pairs.record)

    return solve


def l_shape_solvers() -> dict[str, Solvers]:
    """Return elements on uniform and graded meshes, smooth features and singular ones."""
    return {
        "elements, eigsh": {
            "P2, uniform": triangles(ElementTriP2, 4, 1.0),
            "P2, graded 2": triangles(ElementTriP2, 4, 2.0),
            "P3, graded 3": triangles(ElementTriP3, 4, 3.0),
            "P3, graded 3, finer": triangles(ElementTriP3, 5, 3.0),
            "P4, graded 4": triangles(ElementTriP4, 4, 4.0),
            "P4, graded 4, finer": triangles(ElementTriP4, 5, 4.0),
        },
        LEARNED: {
            **seeded("subspace of 400 smooth features", eig_subspace, k=4),
            "corner functions, degree 6": singular(6, 20, 12),
            "corner functions, degree 8": singular(8, 24, 15),
            "corner functions, degree 10": singular(10, 26, 18),
        },
    }


def forms_problem() -> Eigenproblem:
    """Return two forms with coefficients that jump from cell to cell, u = 0 on one side."""
    mesh, rng = MeshTri().refined(2).with_defaults(), np.random.default_rng(0)
    basis = Basis(mesh, ElementTriP2())
    a, rho = rng.uniform(1, 10, mesh.nelements), rng.uniform(1, 2, mesh.nelements)
    return Eigenproblem.of_forms(stiffness, density, basis, D=basis.get_dofs("left"), a=a, rho=rho)


def forms_solvers() -> dict[str, Solvers]:
    """Return every route; flows and networks work on the inverse in standard form."""
    return {
        "linear algebra and flows": {
            "eigh": eig_reference(6),
            "eigsh": eig_reference(4, "eigsh"),
            "lobpcg + pyamg": eig_reference(4, "lobpcg", tol=1e-13),
            "Euler with projection": eig_flow(4),
            "solve_ivp with projection": eig_flow(4, "ivp"),
        },
        LEARNED: {
            **seeded("orthonormal network, 72-20-4", eig_neural, k=4, method="orthonormal"),
            **seeded("subspace of 60 features, 8 steps", eig_subspace, k=4, features=60, space="elements", steps=8),
        },
    }


def large_problem(a) -> Eigenproblem:
    """Return a diffusion of coefficient ``a(mesh)`` on 100 x 100 cells."""
    edge = np.linspace(0, 1, 101)
    basis = Basis(MeshQuad.init_tensor(edge, edge), ElementQuad1())
    return Eigenproblem.of_forms(stiffness, mass, basis, D=basis.get_dofs(), a=a(basis.mesh))


FIELDS = {
    "a = 1": lambda mesh: 1.0,
    "a log-normal, sigma 1, length 0.3": lambda mesh: log_normal(mesh, 1.0, 0.3, rng=np.random.default_rng(7)),
    "a log-normal, sigma 1.5, length 0.03": lambda mesh: log_normal(mesh, 1.5, 0.03, rng=np.random.default_rng(7)),
}


def large_solvers() -> dict[str, Solvers]:
    """Return learned subspaces beside shift-invert Lanczos and LOBPCG with multigrid."""
    subspace = {"k": 10, "space": "elements"}
    return {
        "linear algebra": {
            "eigsh, 14 pairs": eig_reference(14, "eigsh"),
            "eigsh": eig_reference(10, "eigsh"),
            **seeded("lobpcg + pyamg", eig_reference, k=10, method="lobpcg"),
        },
        LEARNED: {
            **seeded("subspace of 400 features", eig_subspace, features=400, **subspace),
            **seeded("subspace of 100 features, 2 steps", eig_subspace, features=100, steps=2, **subspace),
            **seeded("subspace of 50 features, 6 steps", eig_subspace, features=50, steps=6, **subspace),
            **seeded("lobpcg + pyamg from 100 features", learned_start),
        },
    }


def learned_start(seed: int) -> Callable[[Eigenproblem], Eigenpairs]:
    """Return LOBPCG from the fifteen first Ritz vectors of a subspace."""
    return eig_reference(10, "lobpcg", start=eig_subspace(15, 100, seed=seed, space="elements"))


def sections() -> dict[str, Callable[[Progress], Table]]:
    """Return every comparison by its title."""

    def matrix(progress: Progress) -> Table:
        table = compare(Eigenproblem(report_matrix()), matrix_solvers(), reference="eigh", progress=progress)
        found = [note for name, pairs in table.solutions.items() if (note := _found(name, pairs))]
        return replace(table, notes=(*table.notes, *found, *report_lines(table)))

    def square(progress: Progress) -> Table:
        solvers = {
            "elements": {
                "eigsh, Q2": eig_reference(6, "eigsh"),
                "lobpcg + pyamg, Q2": eig_reference(6, "lobpcg"),
                "degree 6 on 4 x 4 cells": high_order(4, 6),
                "degree 8 on 4 x 4 cells": high_order(4, 8),
            },
            LEARNED: seeded("subspace of 400 features", eig_subspace, k=6),
        }
        return compare(square_problem(8, 13), solvers, progress=progress)

    def large(field: Callable, progress: Progress) -> Table:
        return compare(large_problem(field), large_solvers(), reference="eigsh, 14 pairs", progress=progress)

    return {
        MATRIX: matrix,
        SQUARE: square,
        L_SHAPE: lambda progress: compare(l_shape_problem(), l_shape_solvers(), progress=progress),
        FORMS: lambda progress: compare(forms_problem(), forms_solvers(), reference="eigh", progress=progress),
        **{f"{LARGE}, {name}": partial(large, field) for name, field in FIELDS.items()},
    }


def report_lines(table: Table) -> list[str]:
    """Return tables I and II of the report beside ours: the relative error of every eigenvalue."""
    result = eigen_networks.Result(table.solutions["eigh"], table)
    heading = "Relative error of every eigenvalue, tables I (Euler) and II (network) of the report first:"
    return [heading, "", eigen_networks.report_tables(result)]


def _found(name: str, pairs) -> str:
    """Return how many pairs the published network found; its row compares them with the first ones in order."""
    if not hasattr(pairs, "record") or "found" not in pairs.record:
        return ""
    told = pairs.record
    values = "".join(f", {value:.6f}" for value in pairs.values)
    return f"{name}: found {told['found']} of 6 eigenvalues in {told['runs']} runs{values}"


def visualize(tables: dict[str, Table]):
    """Return errors of eigenvalues over CPU seconds, one panel a problem, one mark a seed."""
    lines = (len(tables) + 1) // 2
    with figure(16, 4.9 * lines) as picture:
        panels = picture.subplots(lines, 2, squeeze=False).ravel()
        for axes, (title, table) in zip(panels, tables.items(), strict=False):
            for k, (name, rows) in enumerate(by_method(table).items()):
                good = [row for row in rows if row.error and row.cpu_seconds]
                if good:
                    pairs = [r.cpu_seconds for r in good], [r.error for r in good]
                    axes.loglog(*pairs, **look(k), linestyle="none", label=name)
            axes.set(title=title, xlabel="CPU seconds", ylabel="relative error of eigenvalues")
            powers_of_ten(axes)
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
            grid(axes)
        for axes in panels[len(tables) :]:
            axes.remove()
    return picture


HEAD = [
    "# Routes to eigenpairs, measured",
    "",
    "Written by `python -m demos.benchmarks.eigen`. Learners: median of three seeds (0, 1, 2), worst in brackets. The",
    "residual is that of a method's own discrete problem: an `eigsh` on a coarse mesh may have a residual of rounding",
    "and an error of discretisation. Angles on the L-shape are to the corner functions of degree 10.",
]


def report(tables: dict[str, Table]) -> str:
    """Return ``eigen.md``."""
    text = list(HEAD)
    for title, table in tables.items():
        text += ["", f"## {title}", "", *median_rows(table), "", *table.notes[:2], "", sentence(table, LEARNED)]
        text += ["", *table.notes[2:]] if table.notes[2:] else []
    return "\n".join(text) + "\n"


def main() -> None:
    """Measure what is asked for, keep the rest, and write all three files after every table."""
    threads = os.environ.get("OMP_NUM_THREADS", "not limited")
    torch.set_num_threads(int(threads) if threads.isdigit() else torch.get_num_threads())
    path = OUTPUT.with_suffix(".json")
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    tables = {title: Table.from_json(kept[title]) for title in sections() if title in kept}
    for title, measure in sections().items():
        if sys.argv[1:] and not title.startswith(tuple(sys.argv[1:])):
            continue
        tables[title] = measure(lambda done, total, name: print(f"{done + 1}/{total} {name}", file=sys.stderr))
        print(title, tables[title], sep="\n", flush=True)
        tables = {name: tables[name] for name in sections() if name in tables}
        content = {name: json.loads(table.to_json()) for name, table in tables.items()}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        OUTPUT.write_text(report(tables), encoding="utf-8")
    visualize(tables).savefig(OUTPUT.with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    main()
