"""Every route to eigenpairs, measured again: values, vectors, residuals, CPU seconds, three seeds for learners.

Run ``python -m demos.benchmarks.eigen`` in the root of the source tree; it writes ``eigen.md`` and ``eigen.png`` beside
this file. Give the number of threads by ``OMP_NUM_THREADS``; the times of the table in the tree are for one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from skfem import Basis, ElementQuad2, ElementTriP2, MeshQuad, MeshTri

from demos import eigen_networks
from skfem_ml.baselines import eig_published
from skfem_ml.compare import Table, compare, median_rows, seeded
from skfem_ml.pinn import eig_neural, eig_subspace
from skfem_ml.problems import Eigenproblem, dirichlet_laplacian, report_matrix, report_start
from skfem_ml.reference import eig_flow, eig_reference
from skfem_ml.solutions import Eigenpairs

MATRIX = "All six pairs of matrix (26)"
OUTPUT = Path(__file__).with_suffix(".md")
# First eigenvalues of the L-shape of area 3: Betcke and Trefethen, SIAM Review 47 (2005); the third is 2 pi^2.
L_SHAPE = np.array([9.6397238440219, 15.1972519264543, 19.7392088021787, 29.5214811141506])


def matrix_solvers() -> dict[str, Callable]:
    """Return everything that finds the pairs of matrix (26)."""
    return {
        "eigh": eig_reference(6),
        "Euler as in the report (t = 8)": eig_flow(t_end=8.0, dt=4e-5, start=report_start(), normalise=False),
        "Euler, projected start only": eig_flow(deflation="start only", start=report_start()),
        "Euler with projection": eig_flow(start=report_start()),
        "solve_ivp with projection": eig_flow(method="ivp", start=report_start()),
        **seeded("windowed networks", eig_neural, method="windowed"),
        **seeded("orthonormal network", eig_neural, method="orthonormal"),
        "network as published, 6 runs of 20000 epochs": eig_published(runs=6, epochs=20_000, start=report_start()),
    }


def square_problem(cells: int, intorder: int) -> Eigenproblem:
    """Return the Dirichlet Laplacian on the unit square with its exact six eigenvalues."""
    exact = np.sort([np.pi**2 * (i * i + j * j) for i in range(1, 9) for j in range(1, 9)])[:6]
    edge = np.linspace(0, 1, cells + 1)
    basis = Basis(MeshQuad.init_tensor(edge, edge), ElementQuad2(), intorder=intorder)
    return dirichlet_laplacian(basis, Eigenpairs(exact))


def l_shape_problem(refinements: int) -> Eigenproblem:
    """Return the Dirichlet Laplacian on the L-shape; eigenfunctions are singular at the corner."""
    basis = Basis(MeshTri.init_lshaped().refined(refinements), ElementTriP2(), intorder=6)
    return dirichlet_laplacian(basis, Eigenpairs(L_SHAPE))


def report_lines(table: Table) -> list[str]:
    """Return tables I and II of the report beside ours: the relative error of every eigenvalue."""
    empty = np.empty(0)
    result = eigen_networks.Result(table.solutions["eigh"], table, empty, empty)
    heading = "Relative error of every eigenvalue, tables I (Euler) and II (network) of the report first:"
    return [heading, "", eigen_networks.report_tables(result)]


def _found(name: str, pairs) -> str:
    """Return how many pairs the published network found; its row compares them with the first ones in order."""
    if not hasattr(pairs, "record") or "found" not in pairs.record:
        return ""
    told = pairs.record
    values = ", ".join(f"{value:.6f}" for value in pairs.values)
    return f"{name}: found {told['found']} of 6 eigenvalues in {told['runs']} runs: {values}"


def sections(progress: Callable | None = None):
    """Yield title and table of each comparison."""
    matrix = Eigenproblem(report_matrix())
    yield MATRIX, compare(matrix, matrix_solvers(), reference="eigh", progress=progress)
    square = {
        "eigsh, Q2": eig_reference(6, "eigsh"),
        "lobpcg + pyamg, Q2": eig_reference(6, "lobpcg"),
        **seeded("subspace of 400 features", lambda seed: eig_subspace(6, seed=seed)),
    }
    yield "Six eigenvalues of the square (8 x 8 cells)", compare(square_problem(8, 13), square, progress=progress)
    l_shape = {
        "eigsh, P2": eig_reference(4, "eigsh"),
        "lobpcg + pyamg, P2": eig_reference(4, "lobpcg"),
        **seeded("subspace of 400 features", lambda seed: eig_subspace(4, seed=seed)),
    }
    yield "Four eigenvalues of the L-shape (1536 triangles)", compare(l_shape_problem(4), l_shape, progress=progress)


def main() -> None:
    """Measure everything and write the Markdown file."""
    threads = os.environ.get("OMP_NUM_THREADS", "not limited")
    torch.set_num_threads(int(threads) if threads.isdigit() else torch.get_num_threads())
    text = ["# Routes to eigenpairs, measured", ""]
    text.append("Written by `python -m demos.benchmarks.eigen`. Learners: median of three seeds, worst in brackets.")
    for title, table in sections(lambda done, total, name: print(f"{done + 1}/{total} {name}", file=sys.stderr)):
        print(title, table, sep="\n", flush=True)
        text += ["", f"## {title}", "", *median_rows(table), "", *table.notes]
        text += [note for name, pairs in table.solutions.items() if (note := _found(name, pairs))]
        if title == MATRIX:
            text += ["", *report_lines(table)]
    OUTPUT.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
