r"""The inverse of a finite element matrix as an H²-matrix
======================================================

At a small tolerance the compressed inverse is the solver, at a large one a preconditioner.

On the unit disk, with P1 elements and a coefficient a that jumps between 1 and 10 at random from cell to cell,

.. math:: -\nabla \cdot (a \nabla u) = f, \qquad u = 0 \text{ on the circle}.

The inverse of the condensed matrix A has no zeros, but its blocks between distant clusters of nodes have a low rank.
``H2Operator.from_solver`` keeps it, to a relative Frobenius error tol, as

.. math:: A^{-1} = C + \sum_l (U_L \cdots U_l) \, M_l \, (V_l \cdots V_L) .

At a small tol it *is* the solver. At a large one it is a preconditioner,
``solve(..., solver=solver_iter_pcg(M=op.aslinearoperator()))``, as long as it is positive definite: an error tol
relative to the largest eigenvalue of the inverse may turn its smallest ones, of relative size :math:`h^2`, negative.
Here it does not: close blocks are exact, and the smallest eigenvalue is that of the inverse at all three tolerances.

It is dear: more than N unit loads are solved while it is made. Algebraic multigrid (pyamg) is made in milliseconds, and
at this size a sparse factorisation solves faster than any of them, so the H² operator pays only where nothing but a
black-box solver, a kernel or data is at hand. The demo prints all of these times.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigvalsh
from skfem import Basis, ElementTriP1, LinearForm, MeshTri, condense
from skfem.utils import build_pc_diag

from skfem_ml.compare import Iterated, best_of, iterated
from skfem_ml.fmm import H2Operator, H2Skeleton, Storage
from skfem_ml.pictures import figure, grid
from skfem_ml.problems import diffusion
from skfem_ml.solvers import Elimination, preconditioner_pyamg

REFINEMENTS, LEAF = 5, 32
TOLS = (1e-2, 1e-4, 1e-6)
RTOL = 1e-10  # of conjugate gradients
SEED = 0


@LinearForm
def unit_load(v, w):
    return v


@dataclass
class Result:
    """Runs by name; storage, relative error of one product as a solver, smallest eigenvalue (of inv(A): 1) by tol; CPU
    seconds of an elimination, to factorise and to solve."""

    skeleton: H2Skeleton
    runs: dict[str, Iterated]
    storage: dict[float, Storage]
    error: dict[float, float]
    smallest: dict[float, float]
    elimination: tuple[float, float] = (np.nan, np.nan)


def compute(refinements: int = REFINEMENTS, tols: tuple[float, ...] = TOLS) -> Result:
    basis = Basis(MeshTri.init_circle(refinements), ElementTriP1())
    a = np.random.default_rng(SEED).choice([1.0, 10.0], basis.mesh.nelements)
    A, b = diffusion.assemble(basis, a=a[:, None]), unit_load.assemble(basis)
    A, b, _, inside = condense(A, b, D=basis.get_dofs())

    skeleton = H2Skeleton(basis.doflocs[:, inside], leaf=LEAF)
    exact = Elimination(A)
    u = exact(b)
    least = 1 / eigvalsh(A.toarray(), subset_by_index=[len(b) - 1, len(b) - 1])[0]
    result = Result(skeleton, {}, {}, {}, {})
    for tol in tols:
        op, spent = best_of(lambda tol=tol: H2Operator.from_solver(skeleton, exact, tol=tol, symmetric=True))
        result.runs[f"H2, tol = {tol:.0e}"] = iterated(A, b, op.aslinearoperator(), spent.cpu, rtol=RTOL)
        result.storage[tol] = op.storage()
        result.error[tol] = float(np.linalg.norm(op @ b - u) / np.linalg.norm(u))
        matrix = op @ np.eye(len(b))
        result.smallest[tol] = float(eigvalsh((matrix + matrix.T) / 2, subset_by_index=[0, 0])[0] / least)
    for name, make in {"pyamg": preconditioner_pyamg, "diagonal": build_pc_diag}.items():
        M, spent = best_of(lambda make=make: make(A))
        result.runs[name] = iterated(A, b, M, spent.cpu, rtol=RTOL)
    factors, setup = best_of(lambda: Elimination(A))
    result.elimination = setup.cpu, best_of(lambda: factors(b), 3)[1].cpu
    return result


def visualize(result: Result | None = None):
    """The blocks of the operator, and residuals of conjugate gradients by preconditioner."""
    result = compute() if result is None else result
    with figure(12.5, 5.8) as picture:
        left, right = picture.subplots(1, 2)
        result.skeleton.draw(left)
        for name, style in zip(result.runs, ("-o", "-s", "-^", "--D", ":"), strict=False):
            one = result.runs[name]
            label = f"{name}: {1e3 * one.seconds:.0f} ms, made in {one.setup:.2g} s"
            right.semilogy(one.residuals, style, markersize=4.5, label=label)
        right.set(xlabel="iteration", ylabel="relative residual", title="conjugate gradients by preconditioner")
        right.set_xlim(0, 2 * max(len(one.residuals) for name, one in result.runs.items() if name != "diagonal"))
        grid(right)
        right.legend()
    return picture


if __name__ == "__main__":
    result = compute()
    for tol, storage in result.storage.items():
        print(f"tol {tol:.0e}: {storage}; as a solver {result.error[tol]:.1e}; smallest {result.smallest[tol]:.2g}")
    for name, one in result.runs.items():
        print(f"{name}: {one.iterations} iterations, {one.setup:.3f} s to make, {one.seconds:.4f} s to use")
    print("elimination: {:.3f} s to factorise, {:.4f} s to solve".format(*result.elimination))
    visualize(result).savefig("h2_operator.png")
    print("iterations:", ", ".join(f"{name} {one.iterations}" for name, one in result.runs.items()))
