r"""Eigenpairs by a flow, by networks and by random features
========================================================

All six pairs of a matrix by a flow and by networks, and eigenvalues of the Laplacian in a space of random features.

The flow (Yi, Fu and Tang 2004)

.. math:: x' = (x^T x) \, A x - (x^T A x) \, x

keeps :math:`|x|` and, from almost every start, tends to an eigenvector of the largest eigenvalue; orthogonal to those
found, to the next one. A report (Puleo, Svejda and Breitenstein 2022) follows it by Euler's rule and by a network on
the whole time interval, whose cost is small at *any* eigenvector, so it finds four pairs of six in an hour. The tables
I and II of the report stand beside the routes of this package: the flow with the found vectors projected out of every
step, networks on short windows, and a network with orthonormal output. For a matrix of this size all are pointless
beside ``eigh``.

For the Laplacian the question is what the span of one hidden layer can do: Rayleigh-Ritz in the space of 50 to 400
features times a distance function. On the square the error falls exponentially; on the L-shape the eigenfunctions are
singular at the corner, like :math:`r^{2/3} \sin(2 \theta / 3)`, and features that are smooth gain little. The singular
functions of the corner times polynomials and a function that vanishes on the other sides are exponential again,

.. math:: u = \sum_{j, p} c_{jp} (1 - x^2) (1 - y^2) \, r^{2j/3} \sin(2 j \theta / 3) \, p(x, y) ,

integrated on triangles that halve towards the corner. The reference are particular solutions, the third way.
"""

from dataclasses import dataclass, field

import numpy as np
from skfem import Basis, ElementQuad2, ElementTriP1, ElementTriP2, MeshQuad, MeshTri

from skfem_ml.baselines import eig_published
from skfem_ml.compare import Table, compare
from skfem_ml.meshes import refined_towards
from skfem_ml.metrics import eigenvalue_errors
from skfem_ml.pictures import figure, grid, legend_below
from skfem_ml.pinn import Corner, box_distance, eig_neural, eig_subspace
from skfem_ml.problems import Eigenproblem, dirichlet_laplacian, report_matrix, report_start
from skfem_ml.reference import eig_flow, eig_reference, l_shape_eigenvalues
from skfem_ml.reference.flow import flow
from skfem_ml.solutions import Eigenpairs

# Relative errors of the eigenvalues in tables I (Euler) and II (network; two pairs were never found).
TABLE_1 = np.array([6.99e-7, 1.04e-6, 1.01e-6, 2.89e-6, 8.12e-8, 6.24e-8])
TABLE_2 = np.array([1.274e-5, np.nan, 3.231e-6, 2.901e-7, np.nan, 5.757e-7])
FEATURES = (50, 100, 200, 300, 400)
DEGREES = (2, 4, 6, 8)
# The L-shape is (-1, 1)^2 without (0, 1)^2: its first edge goes up from the corner, the domain is left of it.
CORNER, BOX = Corner((0.0, 0.0), start=np.pi / 2, angle=1.5 * np.pi), box_distance([-1, -1], [1, 1])
EPOCHS, RUNS = 5_000, 3
SEEDS = (0, 1, 2)  # of features: medians are shown


@dataclass
class Result:
    exact: Eigenpairs
    table: Table
    square: np.ndarray = field(default_factory=lambda: np.empty(0))
    l_shape: np.ndarray = field(default_factory=lambda: np.empty(0))
    corner: np.ndarray = field(default_factory=lambda: np.empty((2, 0)))  # numbers of functions, errors

    def errors(self, name: str) -> np.ndarray:
        """Relative error of each of the six eigenvalues; nan where the method did not find it."""
        pairs = self.table.solutions[name]
        if len(pairs.values) == 6:
            return eigenvalue_errors(pairs, self.exact)
        errors = np.full(6, np.nan)
        for value in pairs.values:
            nearest = int(abs(self.exact.values - value).argmin())
            errors[nearest] = abs(value / self.exact.values[nearest] - 1)
        return errors


def features_study(problem: Eigenproblem, exact: np.ndarray, seeds: tuple[int, ...] = SEEDS) -> np.ndarray:
    """Median over seeds of the worst relative error of the eigenvalues, one a number of features."""
    return np.array([
        np.median([abs(eig_subspace(len(exact), m, seed=s)(problem).values / exact - 1).max() for s in seeds])
        for m in FEATURES
    ])  # fmt: skip


def quadrature(levels: int, intorder: int) -> Eigenproblem:
    """The L-shape with a quadrature for functions that are singular at its corner."""
    mesh = refined_towards(MeshTri.init_lshaped().refined(1), CORNER.at, levels)
    return dirichlet_laplacian(Basis(mesh, ElementTriP1(), intorder=intorder))


def corner_study(exact: np.ndarray, levels: int = 20, intorder: int = 14) -> np.ndarray:
    """Numbers of corner functions by degree of the polynomials, and the worst relative error of the eigenvalues."""
    problem, found = quadrature(levels, intorder), []
    for degree in DEGREES:
        features = CORNER.features(8, degree, BOX)
        pairs = eig_subspace(len(exact), features=0, extra=[features])(problem)
        found.append((len(features.indices), abs(pairs.values / exact - 1).max()))
    return np.array(found).T


def compute(epochs: int = EPOCHS, runs: int = RUNS, refinements: int = 3, windowed: bool = True) -> Result:
    problem = Eigenproblem(report_matrix())
    routes = {
        "eigh": eig_reference(6),
        "Euler as in the report": eig_flow(t_end=8.0, dt=4e-4, start=report_start(), normalise=False),
        "Euler, projected": eig_flow(start=report_start()),
        "solve_ivp, projected": eig_flow(method="ivp", start=report_start()),
        "network as published": eig_published(runs=runs, epochs=epochs, start=report_start()),
        "orthonormal network": eig_neural(method="orthonormal"),
    }
    if windowed:
        routes["windowed networks"] = eig_neural(method="windowed")
    table = compare(problem, routes, reference="eigh")
    square = dirichlet_laplacian(Basis(MeshQuad().refined(3), ElementQuad2(), intorder=13))
    corner = dirichlet_laplacian(Basis(MeshTri.init_lshaped().refined(refinements), ElementTriP2(), intorder=6))
    on_square = features_study(square, np.pi**2 * np.array([2.0, 5.0, 5.0]))
    exact = l_shape_eigenvalues(3)
    return Result(table.solutions["eigh"], table, on_square, features_study(corner, exact), corner_study(exact))


def visualize(result: Result | None = None):
    """The flow, the error of each eigenvalue by route, and the study of the number of features."""
    result = compute() if result is None else result
    with figure(16, 6.4) as picture:
        path, errors, study = picture.subplots(1, 3)
        draw_flow(path, result)
        for k, (name, values) in enumerate(routes(result).items()):
            # Routes that agree to rounding would lie on one another: each has a place of its own beside the tick.
            places = np.arange(6) + 0.8 * ((k + 0.5) / len(result.table.rows) - 0.5)
            errors.semilogy(places, np.maximum(values, 1e-17), "xposD^vP"[k % 8], ms=6, label=name)
        errors.set_xticks(range(6), [f"{value:.2f}" for value in result.exact.values])
        errors.set(title="matrix (26): every eigenvalue", xlabel="eigenvalue", ylim=(1e-18, 1e2))
        errors.set_ylabel("relative error ($10^{-17}$ for less)")
        study.semilogy(FEATURES, result.square, "o-", label="square")
        study.semilogy(FEATURES, result.l_shape, "s-", label="L-shape")
        study.semilogy(*result.corner, "D-", label="L-shape, functions of the corner")
        study.set(title="Rayleigh-Ritz in random features", xlabel="number of functions")
        study.set_ylabel("worst relative error of 3 eigenvalues")
        for axes in (errors, study):
            grid(axes)
            legend_below(axes)
    return picture


def draw_flow(axes, result: Result, t_end: float = 8.0, dt: float = 1e-2) -> None:
    """Components of x over time by Euler's rule (21) from the start (27), and where they end (figure 5)."""
    x = [report_start()]
    for _ in range(round(t_end / dt)):
        x.append(x[-1] + dt * flow(report_matrix(), x[-1]))
    axes.plot(dt * np.arange(len(x)), x, lw=1.4)
    limit = result.exact.vectors[:, -1] * np.linalg.norm(x[-1])  # Euler's rule lengthens x a little
    for k, value in enumerate(limit * np.sign(limit @ x[-1])):
        axes.axhline(value, color=f"C{k}", ls=":", lw=1)
    axes.set(title="the flow from (27); dotted: eigh", xlabel="time $t$", ylabel="components of $x$")


def routes(result: Result) -> dict[str, np.ndarray]:
    """Errors of the report's two tables and of ours."""
    rows = [row for row in result.table.rows if row.name != "eigh" and not row.failure]
    return {"table I (Euler)": TABLE_1, "table II (network)": TABLE_2, **{r.name: result.errors(r.name) for r in rows}}


def report_tables(result: Result) -> str:
    """Tables I and II beside ours, one line an eigenvalue, as Markdown."""
    found = routes(result)
    lines = ["| eigenvalue | " + " | ".join(found) + " |", "|---:|" + "---:|" * len(found)]
    for k, value in enumerate(result.exact.values):
        cells = ["not found" if np.isnan(e[k]) else f"{e[k]:.1e}" for e in found.values()]
        lines.append(f"| {value:.3f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    result = compute()
    print(result.table)
    print(report_tables(result))
    print("square:", result.square, "L-shape:", result.l_shape, "with functions of the corner:", *result.corner)
    visualize(result).savefig("eigen_networks.png")
    flow, square, corner = result.errors("Euler, projected").max(), result.square[-1], result.corner[1, -1]
    print(f"all six pairs to {flow:.0e} by the flow; eigenvalues of the square to {square:.0e}, of the L-shape to "
          f"{result.l_shape[-1]:.0e}, with functions of its corner to {corner:.0e}")  # fmt: skip
