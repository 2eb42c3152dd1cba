r"""One operator, many uses
=======================

Many loads, a heat equation and the lowest eigenpairs, all on one small matrix of the LOD.

S is assembled once for :math:`-\nabla \cdot (a \nabla \, \cdot)` on 32 x 32 coarse cells with a on 256 x 256, and M is
the coarse mass matrix:

- loads: :math:`S u = F` for each of them, with 961 unknowns in place of 65025;
- heat equation :math:`u' = \nabla \cdot (a \nabla u)`: implicit Euler steps,
  :math:`(M + \tau S) \, u^{k+1} = M u^k`;
- lowest eigenvalues: :math:`S v = \lambda M v`. Localisation leaves S a little unsymmetric, so this calls for a solver
  of general matrices (``eigs``). In the Galerkin variant, with the fine stiffness A and mass :math:`M_h` on the basis
  :math:`B = P - Q`, :math:`B^T A B \, v = \lambda \, B^T M_h B \, v` is symmetric (``eigsh``) and bounds the fine
  eigenvalues from above (Rayleigh-Ritz), at the price of the correctors.

A single load is no reason to use LOD: multigrid has the fine solution in a tenth of the time that S takes. What a solve
saves afterwards has to earn back the difference in set-up, against elimination and against multigrid, whichever is
cheaper for so many loads; that number is measured here, also where every solution is wanted on the fine mesh (B too).
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import eigs, eigsh, splu
from skfem import MeshQuad

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.compare import best_of
from skfem_ml.lod import LOD
from skfem_ml.pictures import figure, grid, legend_below
from skfem_ml.problems import diffusion, load, mass
from skfem_ml.solvers import Multigrid
from skfem_ml.solvers.direct import factorised
from skfem_ml.stepping import ThetaMethod, evolve

LEVEL, REFINE, ELL = 5, 8, 2
LOADS = 10
T_END, STEPS = 0.02, 20
EIGENPAIRS = 6
SEEDS = (0, 1)  # of the coefficient and of the loads
FINE = ("fine, elimination", "fine, multigrid")
TOLERANCE = 1e-6  # of multigrid, relative residual: far below the error of any coarse function


class Setting:
    """The coefficient and the matrices of all methods, on interior nodes; ``seconds`` says what each took (CPU)."""

    def __init__(self, level: int = LEVEL, refine: int = REFINE, ell: int = ELL):
        lod = LOD(MeshQuad().refined(level), refine=refine, ell=ell)
        self.fine, self.coarse = lod.fine, lod.coarse
        self.a = iid_multilevel(self.fine.mesh, range(level, level + 4), 1.0, 10.0, rng=np.random.default_rng(SEEDS[0]))
        self.I, self.i = (basis.complement_dofs(basis.get_dofs()) for basis in (self.fine, self.coarse))
        lod.local(diffusion, np.arange(1), a=self.a)  # loads torch, which is not what we time
        self.multigrid = Multigrid(self.fine, diffusion, a=1.0)  # what depends on the mesh is not what we time either
        A, fine = best_of(lambda: diffusion.assemble(self.fine, a=self.a[:, None]), 3)
        S, small = best_of(lambda: lod.assemble(diffusion, a=self.a), 3)
        Q, correct = best_of(lambda: lod.correctors(diffusion, a=self.a))
        self.seconds = {"A": fine.cpu, "S": small.cpu, "Q": correct.cpu}
        self.P, self.Q = (matrix[self.I][:, self.i].tocsr() for matrix in (lod.prolongation, Q))
        self.A, self.fine_mass = (matrix[self.I][:, self.I].tocsc() for matrix in (A, mass.assemble(self.fine)))
        self.S, self.mass = (matrix[self.i][:, self.i].tocsc() for matrix in (S, mass.assemble(self.coarse)))

    def error(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """|u - v| / |v| in L2, for values at the interior fine nodes, a column each."""
        norm = lambda values: np.sqrt((values * (self.fine_mass @ values)).sum(axis=0))
        return norm(u - v) / norm(v)


@dataclass
class Loads:
    """L2 errors of u_H and of (1 - Q) u_H, one for each load; CPU seconds of the set-up and of one solve, by method."""

    errors: np.ndarray
    prolonged: np.ndarray
    seconds: dict[str, tuple[float, float]]

    def break_even(self, method: str) -> float:
        """From how many loads on a method is cheaper than both ways to the fine solution; inf if never."""
        pairs = [np.subtract(self.seconds[method], self.seconds[fine]) for fine in FINE]
        return max(0.0, *(more / -saved if saved < 0 else np.inf for more, saved in pairs))


def many_loads(s: Setting, number: int = LOADS) -> Loads:
    """Waves of random directions as loads, solved on the fine mesh, then with S."""
    directions = np.random.default_rng(SEEDS[1]).uniform(-10, 10, size=(number, 2))
    waves = [load(lambda x, k=k: np.cos(k[0] * x[0] + k[1] * x[1])) for k in directions]
    fine, coarse = ([wave.assemble(basis) for wave in waves] for basis in (s.fine, s.coarse))
    factors, factorise = best_of(lambda: factorised(s.A))
    exact, eliminate = best_of(lambda: [factors.solve(F[s.I]) for F in fine])
    levels, coarsen = best_of(lambda: s.multigrid.update(a=s.a), 3)
    _, cycle = best_of(lambda: [levels.solve(F, rtol=TOLERANCE) for F in fine])
    small, factorise_small = best_of(lambda: splu(s.S))
    u, solve = best_of(lambda: [small.solve(F[s.i]) for F in coarse])
    prolonged, prolong = best_of(lambda: [s.P @ u_H - s.Q @ u_H for u_H in u])
    lod = s.seconds["S"] + factorise_small.cpu
    seconds = {
        FINE[0]: (s.seconds["A"] + factorise.cpu, eliminate.cpu / number),
        FINE[1]: (coarsen.cpu, cycle.cpu / number),
        "LOD": (lod, solve.cpu / number),
        "LOD, prolonged": (lod + s.seconds["Q"], (solve.cpu + prolong.cpu) / number),
    }
    u, prolonged, exact = (np.stack(solutions, axis=1) for solutions in (u, prolonged, exact))
    return Loads(s.error(s.P @ u, exact), s.error(prolonged, exact), seconds)


@dataclass
class Heat:
    """Times, and the relative L2 errors against fine steps of the same size, by method, one for each time."""

    t: np.ndarray
    errors: dict[str, np.ndarray]


def heat(s: Setting, t_end: float = T_END, steps: int = STEPS) -> Heat:
    fine, coarse = s.fine.doflocs[:, s.I], s.coarse.doflocs[:, s.i]
    equations = (s.fine_mass, s.A, fine), (s.mass, s.P.T @ s.A @ s.P, coarse), (s.mass, s.S, coarse)
    exact, fem, lod = (
        evolve(ThetaMethod(M, K, t_end / steps, theta=1.0), np.sin(np.pi * x).prod(axis=0), t_end)
        for M, K, x in equations
    )
    return Heat(exact.t, {"coarse FEM": s.error(s.P @ fem.y, exact.y), "LOD": s.error(s.P @ lod.y, exact.y)})


def eigenvalues(s: Setting, number: int = EIGENPAIRS) -> dict[str, np.ndarray]:
    """The lowest eigenvalues by method, ascending."""
    B, options = s.P - s.Q, {"k": number, "sigma": 0, "return_eigenvectors": False}
    v0 = np.ones(len(s.i))  # ARPACK would start at random
    general = eigs(s.S, M=s.mass, v0=v0, **options)
    if abs(general.imag).max() > 1e-6 * abs(general).max():  # nothing forbids it, but it has not been seen
        raise ArithmeticError("S has complex eigenvalues; raise ell, or use the Galerkin variant")
    values = {
        "fine": eigsh(s.A, M=s.fine_mass, v0=np.ones(len(s.I)), **options),
        "coarse FEM": eigsh((s.P.T @ s.A @ s.P).tocsc(), M=s.mass, v0=v0, **options),
        "Petrov-Galerkin LOD": general.real,
        "Galerkin LOD": eigsh((B.T @ s.A @ B).tocsc(), M=(B.T @ s.fine_mass @ B).tocsc(), v0=v0, **options),
    }
    return {name: np.sort(lowest) for name, lowest in values.items()}


def compute() -> tuple[Loads, Heat, dict[str, np.ndarray]]:
    setting = Setting()
    return many_loads(setting), heat(setting), eigenvalues(setting)


def visualize(results: tuple[Loads, Heat, dict[str, np.ndarray]] | None = None):
    """Cost over the number of loads, error of the heat equation over time, errors of eigenvalues."""
    loads, flow, lowest = compute() if results is None else results
    number = np.geomspace(1, 10000, 200)
    with figure(15, 5.4) as picture:
        left, middle, right = picture.subplots(1, 3)
        for name, (setup, solve) in loads.seconds.items():
            left.loglog(number, setup + number * solve, label=name)
        off = f"$u_H$ {loads.errors.max():.1e}, prolonged {loads.prolonged.max():.1e} off"
        left.set(title=f"many loads: {off}", xlabel="number of loads", ylabel="CPU seconds, with set-up")
        for name, errors in flow.errors.items():
            middle.semilogy(flow.t[1:], errors[1:], "o-", ms=4, label=name)
        middle.set(title="heat equation", xlabel="time $t$", ylabel="relative $L^2$ error to fine steps")
        for (name, values), style in zip(list(lowest.items())[1:], ("s-", "o-", "D-"), strict=True):
            right.semilogy(range(1, len(values) + 1), abs(values / lowest["fine"] - 1), style, label=name)
        right.set(title="lowest eigenvalues", xlabel="number $k$", ylabel=r"relative error of $\lambda_k$")
        for axes in (left, middle, right):
            grid(axes)
            legend_below(axes)
    return picture


if __name__ == "__main__":
    result = loads, flow, lowest = compute()
    print(f"{LOADS} loads: worst relative L2 error {loads.errors.max():.1e}, prolonged {loads.prolonged.max():.1e}")
    for name, (setup, solve) in loads.seconds.items():
        earned = "" if name in FINE else f"; cheaper than both from {np.ceil(loads.break_even(name)):.0f} loads on"
        print(f"  {name:17s} set-up {setup:.2f} s CPU, one solve {1e3 * solve:.2f} ms{earned}")
    at_end = {name: errors[-1] for name, errors in flow.errors.items()}
    worst = {name: abs(v / lowest["fine"] - 1).max() for name, v in lowest.items() if name != "fine"}
    for what, errors in (("heat equation", at_end), (f"lowest {EIGENPAIRS} eigenvalues", worst)):
        print(f"{what}, worst relative error:", ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))
    visualize(result).savefig("many_uses.png")
    print(f"pays from {np.ceil(loads.break_even('LOD')):.0f} loads on; heat equation {at_end['LOD']:.1e} off "
          f"(coarse FEM {at_end['coarse FEM']:.1e}); eigenvalues {worst['Petrov-Galerkin LOD']:.1e}")  # fmt: skip
