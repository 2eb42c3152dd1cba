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
  :math:`B = P - Q`,

  .. math:: B^T A B \, v = \lambda \, B^T M_h B \, v

  is symmetric (``eigsh``) and bounds the fine eigenvalues from above (Rayleigh-Ritz), at the price of the correctors.

A single load is no reason to use LOD: multigrid has the fine solution in a tenth of the time that S takes. What a solve
saves afterwards has to earn back the difference in set-up, against elimination and against multigrid, whichever is
cheaper for so many loads; that number is measured here. If every solution is wanted on the fine mesh, B has to be
formed too; that is measured as well.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import spmatrix
from scipy.sparse.linalg import eigs, eigsh, splu
from skfem import Basis, ElementQuad1, LinearForm, MeshQuad

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.compare import best_of
from skfem_ml.lod import LOD
from skfem_ml.metrics import l2_error
from skfem_ml.pictures import figure, grid, legend_below
from skfem_ml.problems import diffusion, mass
from skfem_ml.solvers import Multigrid

LEVEL, REFINE, ELL = 5, 8, 2
LOADS = 10
T_END, STEPS = 0.02, 20
EIGENPAIRS = 6
SEEDS = (0, 1)  # of the coefficient and of the loads
FINE = ("fine, elimination", "fine, multigrid")
TOLERANCE = 1e-6  # of multigrid, relative residual: far below the error of any coarse function
SYMMETRIC = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}


class Setting:
    """The coefficient and the matrices of all methods, on interior nodes; ``seconds`` says what each took (CPU)."""

    def __init__(self, level: int = LEVEL, refine: int = REFINE, ell: int = ELL):
        self.coarse = Basis(MeshQuad().refined(level), ElementQuad1())
        self.lod = LOD(self.coarse, refine=refine, ell=ell)
        self.fine = self.lod.fine
        self.a = iid_multilevel(self.fine.mesh, range(level, level + 4), 1.0, 10.0, rng=np.random.default_rng(SEEDS[0]))
        self.I, self.i = (basis.complement_dofs(basis.get_dofs()) for basis in (self.fine, self.coarse))
        self.P = self.lod.prolongation[self.I][:, self.i].tocsr()
        self.lod.local(diffusion, np.arange(1), a=self.a)  # loads torch, which is not what we time
        self.multigrid = Multigrid(self.fine, diffusion, a=1.0)  # what depends on the mesh is not what we time either
        self.seconds: dict[str, float] = {}
        A = self._timed("assemble fine", lambda: diffusion.assemble(self.fine, a=self.a[:, None]), 3)
        S = self._timed("assemble LOD", lambda: self.lod.assemble(diffusion, a=self.a), 3)
        Q = self._timed("correctors", lambda: self.lod.correctors(diffusion, a=self.a))
        self.A, self.S, self.Q = inner(A, self.I), inner(S, self.i), Q[self.I][:, self.i]
        self.fine_mass, self.mass = inner(mass.assemble(self.fine), self.I), inner(mass.assemble(self.coarse), self.i)

    def _timed(self, name: str, compute, repeats: int = 1):
        result, spent = best_of(compute, repeats)
        self.seconds[name] = spent.cpu
        return result

    def error(self, u: np.ndarray, v: np.ndarray) -> float:
        """|u - v| / |v| in L2, for values at the interior fine nodes."""
        y, z = np.zeros((2, self.fine.N))
        y[self.I], z[self.I] = u, v
        return l2_error(y, z, self.fine, relative=True)


def inner(matrix: spmatrix, nodes: np.ndarray) -> spmatrix:
    return matrix[nodes][:, nodes].tocsc()


@dataclass
class Loads:
    """L2 errors of u_H and of (1 - Q) u_H, one for each load; CPU seconds of the set-up and of one solve, by method."""

    errors: np.ndarray
    prolonged: np.ndarray
    setup: dict[str, float]
    solve: dict[str, float]

    def break_even(self, method: str) -> float:
        """From how many loads on a method is cheaper than both ways to the fine solution; inf if never."""
        least = 0.0
        for fine in FINE:
            saved = self.solve[fine] - self.solve[method]
            least = max(least, (self.setup[method] - self.setup[fine]) / saved if saved > 0 else np.inf)
        return least


def many_loads(s: Setting, number: int = LOADS) -> Loads:
    """Waves of random directions as loads, solved on the fine mesh, then with S."""
    rng = np.random.default_rng(SEEDS[1])
    forms = [wave(*rng.uniform(-10, 10, size=2)) for _ in range(number)]
    fine_loads, coarse_loads = ([form.assemble(basis) for form in forms] for basis in (s.fine, s.coarse))
    factors, factorise = best_of(lambda: splu(s.A, **SYMMETRIC))
    exact, eliminate = best_of(lambda: [factors.solve(F[s.I]) for F in fine_loads])
    levels, coarsen = best_of(lambda: s.multigrid.update(a=s.a), 3)
    _, cycle = best_of(lambda: [levels.solve(F, rtol=TOLERANCE) for F in fine_loads])
    small, factorise_small = best_of(lambda: splu(s.S))
    coarse, solve_small = best_of(lambda: [small.solve(F[s.i]) for F in coarse_loads])
    prolonged, prolong = best_of(lambda: [s.P @ u - s.Q @ u for u in coarse])
    assemble, lod = s.seconds["assemble fine"], s.seconds["assemble LOD"] + factorise_small.cpu
    setup = dict(zip(FINE, (assemble + factorise.cpu, coarsen.cpu), strict=True))
    setup |= {"LOD": lod, "LOD, prolonged": lod + s.seconds["correctors"]}
    whole = (eliminate.cpu, cycle.cpu, solve_small.cpu, solve_small.cpu + prolong.cpu)
    return Loads(
        np.array([s.error(s.P @ u, v) for u, v in zip(coarse, exact, strict=True)]),
        np.array([s.error(u, v) for u, v in zip(prolonged, exact, strict=True)]),
        setup,
        {name: seconds / number for name, seconds in zip(setup, whole, strict=True)},
    )


def wave(kx: float, ky: float) -> LinearForm:
    return LinearForm(lambda v, w: np.cos(kx * w.x[0] + ky * w.x[1]) * v)


@dataclass
class Heat:
    """Times, and the relative L2 errors against fine steps of the same size, by method, one for each time."""

    t: np.ndarray
    errors: dict[str, np.ndarray]


def heat(s: Setting, t_end: float = T_END, steps: int = STEPS) -> Heat:
    dt = t_end / steps
    fine_start, start = (
        np.sin(np.pi * basis.doflocs[:, nodes]).prod(axis=0) for basis, nodes in ((s.fine, s.I), (s.coarse, s.i))
    )
    operators = {
        "fine": (s.fine_mass, s.A, fine_start),
        "coarse FEM": (s.mass, (s.P.T @ s.A @ s.P).tocsc(), start),
        "LOD": (s.mass, s.S, start),
    }
    paths = {}
    for name, (M, K, u) in operators.items():
        factors, paths[name] = splu(M + dt * K, **SYMMETRIC), [u]
        for _ in range(steps):
            paths[name].append(factors.solve(M @ paths[name][-1]))
    errors = {
        name: np.array([s.error(s.P @ u, v) for u, v in zip(paths[name], paths["fine"], strict=True)])
        for name in ("coarse FEM", "LOD")
    }
    return Heat(dt * np.arange(steps + 1), errors)


def eigenvalues(s: Setting, number: int = EIGENPAIRS) -> dict[str, np.ndarray]:
    """The lowest eigenvalues by method, ascending."""
    B = (s.P - s.Q).tocsc()
    v0 = np.ones(len(s.i))  # ARPACK would start at random
    options = {"k": number, "sigma": 0, "return_eigenvectors": False}
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
        for name, setup in loads.setup.items():
            left.loglog(number, setup + number * loads.solve[name], label=name)
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
    for name in loads.setup:
        earned = "" if name in FINE else f"; cheaper than both from {np.ceil(loads.break_even(name)):.0f} loads on"
        print(f"  {name:17s} set-up {loads.setup[name]:.2f} s CPU, one solve {1e3 * loads.solve[name]:.2f} ms{earned}")
    at_end = {name: errors[-1] for name, errors in flow.errors.items()}
    worst = {name: abs(v / lowest["fine"] - 1).max() for name, v in lowest.items() if name != "fine"}
    for what, errors in (("heat equation", at_end), (f"lowest {EIGENPAIRS} eigenvalues", worst)):
        print(f"{what}, worst relative error:", ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))
    visualize(result).savefig("many_uses.png")
    print(f"pays from {np.ceil(loads.break_even('LOD')):.0f} loads on; heat equation {at_end['LOD']:.1e} off "
          f"(coarse FEM {at_end['coarse FEM']:.1e}); eigenvalues {worst['Petrov-Galerkin LOD']:.1e}")  # fmt: skip
