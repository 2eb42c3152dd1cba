r"""Eigenpairs of a symmetric matrix by a flow and by networks, and of the Laplacian in a space of random features.

The flow (Yi, Fu and Tang 2004)

    x' = (x'x) A x - (x'A x) x

keeps |x| and, from almost every start, tends to an eigenvector of the largest eigenvalue; orthogonal to those found, to
the next one. A report (Puleo, Svejda and Breitenstein 2022) follows it by Euler's rule and by a network on the whole
time interval, whose cost is small at *any* eigenvector, so it finds four pairs of six in an hour. The tables I and II
of the report stand beside the routes of this package: the flow with the found vectors projected out of every step,
networks on short windows, and a network with orthonormal output. For a matrix of this size all are pointless beside
``eigh``.

For the Laplacian the question is what the span of one hidden layer can do: Rayleigh-Ritz in the space of 50 to 400
features times a distance function. On the square the error falls exponentially; on the L-shape the eigenfunctions are
singular at the corner and features that are smooth gain little.
"""

from dataclasses import dataclass

import numpy as np
from skfem import Basis, ElementQuad2, ElementTriP2, MeshQuad, MeshTri

from skfem_ml.baselines import eig_published
from skfem_ml.compare import Table, compare
from skfem_ml.metrics import eigenvalue_errors
from skfem_ml.pinn import eig_neural, eig_subspace
from skfem_ml.problems import Eigenproblem, dirichlet_laplacian, report_matrix, report_start
from skfem_ml.reference import eig_flow, eig_reference
from skfem_ml.reference.flow import flow
from skfem_ml.solutions import Eigenpairs

# Relative errors of the eigenvalues in tables I (Euler) and II (network; two pairs were never found).
TABLE_1 = np.array([6.99e-7, 1.04e-6, 1.01e-6, 2.89e-6, 8.12e-8, 6.24e-8])
TABLE_2 = np.array([1.274e-5, np.nan, 3.231e-6, 2.901e-7, np.nan, 5.757e-7])
FEATURES = (50, 100, 200, 300, 400)
# Betcke and Trefethen, SIAM Review 47 (2005).
L_SHAPE = np.array([9.6397238440219, 15.1972519264543, 19.7392088021787])
EPOCHS, RUNS = 5_000, 3


@dataclass
class Result:
    exact: Eigenpairs
    table: Table
    square: np.ndarray
    l_shape: np.ndarray

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


def features_study(problem: Eigenproblem, exact: np.ndarray, seeds: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """Median over seeds of the worst relative error of the eigenvalues, one a number of features."""
    return np.array([
        np.median([abs(eig_subspace(len(exact), m, seed=s)(problem).values / exact - 1).max() for s in seeds])
        for m in FEATURES
    ])  # fmt: skip


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
    edge = np.linspace(0, 1, 9)
    square = dirichlet_laplacian(Basis(MeshQuad.init_tensor(edge, edge), ElementQuad2(), intorder=13))
    corner = dirichlet_laplacian(Basis(MeshTri.init_lshaped().refined(refinements), ElementTriP2(), intorder=6))
    on_square = features_study(square, np.pi**2 * np.array([2.0, 5.0, 5.0]))
    return Result(table.solutions["eigh"], table, on_square, features_study(corner, L_SHAPE))


def trajectory(t_end: float = 8.0, dt: float = 1e-2) -> tuple[np.ndarray, np.ndarray]:
    """Euler's rule (21) from the start (27): times and states, figure 5 of the report."""
    states = [report_start()]
    for _ in range(round(t_end / dt)):
        states.append(states[-1] + dt * flow(report_matrix(), states[-1]))
    return dt * np.arange(len(states)), np.array(states)


def visualize(result: Result | None = None):
    """The flow, the error of each eigenvalue by route, and the study of the number of features."""
    from matplotlib.figure import Figure

    result = compute() if result is None else result
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    path, errors, study = figure.subplots(1, 3)
    t, x = trajectory()
    limit = result.exact.vectors[:, -1] * np.linalg.norm(x[-1])  # Euler's rule lengthens x a little
    path.plot(t, x)
    for k, value in enumerate(limit * np.sign(limit @ x[-1])):
        path.axhline(value, color=f"C{k}", ls=":", lw=1)
    path.set(title="the flow from (27); dotted: eigh", xlabel="t", ylabel="components of x")
    routes = {"table I (Euler)": TABLE_1, "table II (network)": TABLE_2}
    routes |= {row.name: result.errors(row.name) for row in result.table.rows if row.name != "eigh" and not row.failure}
    for k, (name, values) in enumerate(routes.items()):
        style = "x" if name.startswith("table") else "osD^vP"[k % 6]
        # Routes that agree to rounding would lie on one another: each has a place of its own beside the tick.
        places = np.arange(6) + 0.8 * ((k + 0.5) / len(routes) - 0.5)
        errors.semilogy(places, np.maximum(values, 1e-17), style, color=f"C{k}", ms=6, label=name)
    errors.set_xticks(range(6), [f"{value:.2f}" for value in result.exact.values])
    errors.set(title="matrix (26): every eigenvalue", xlabel="eigenvalue", ylabel="relative error (1e-17 for less)",
               ylim=(1e-18, 1e4))  # fmt: skip
    errors.legend(fontsize=8, loc="upper center", ncols=2, columnspacing=1.0)
    study.semilogy(FEATURES, result.square, "o-", label="square (8 x 8 cells' quadrature)")
    study.semilogy(FEATURES, result.l_shape, "s-", label="L-shape")
    study.set(title="Rayleigh-Ritz in random features", xlabel="features",
              ylabel="worst relative error of 3 eigenvalues")  # fmt: skip
    study.legend()
    for axes in (errors, study):
        axes.grid(True, alpha=0.3)
    return figure


def report_tables(result: Result) -> str:
    """Tables I and II beside ours, one line an eigenvalue, as Markdown."""
    routes = {"table I": TABLE_1, "table II": TABLE_2}
    routes |= {row.name: result.errors(row.name) for row in result.table.rows if row.name != "eigh"}
    lines = ["| eigenvalue | " + " | ".join(routes) + " |", "|---:|" + "---:|" * len(routes)]
    for k, value in enumerate(result.exact.values):
        cells = ["not found" if np.isnan(e[k]) else f"{e[k]:.1e}" for e in routes.values()]
        lines.append(f"| {value:.3f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    result = compute()
    print(result.table)
    print(report_tables(result))
    print("square:", result.square, "L-shape:", result.l_shape)
    visualize(result).savefig("eigen_networks.png", dpi=120)
