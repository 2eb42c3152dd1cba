r"""Convergence of LOD
==================

Order in H, decay in the number of layers, and two identities that hold to rounding.

For :math:`-\nabla \cdot (a \nabla u) = 1` with an iid coefficient on the finest levels of the mesh, the error relative
to the fine solution :math:`u_h` in L², of:

- *coarse FEM*: the Galerkin solution in :math:`Q_1(T_H)` with the true coefficient. It has the wrong effective
  coefficient, and its error hardly falls before H resolves a;
- *LOD*: :math:`u_H` from :math:`S u_H = F`, with *best*, the L² projection of :math:`u_h` onto :math:`Q_1(T_H)`, which
  no coarse function can beat: of order one, as :math:`u_h` oscillates inside the coarse cells;
- *LOD, prolonged*: :math:`(1 - Q) u_H`, with the fine scale put back: of order two at least.

The localisation error decays like :math:`e^{-c \ell}`: it falls by a factor of ten a layer,

.. math:: \|S_\ell - S_\infty\|_2 \, / \, \|S_\infty\|_2 .

Where the patches cover the whole domain there is no localisation error at all, and two identities hold. With the fine
matrix :math:`A_h`, its load :math:`F_h` and the quasi-interpolation :math:`I_H` on interior nodes,

.. math::

    S = (I_H A_h^{-1} I_H^T)^{-1}, \qquad (1 - Q) u_H + R f = u_h \quad\text{for}\quad
    S u_H = F(\lambda) - a(R f, \lambda) .
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import splu
from skfem import Basis, ElementQuad1, MeshQuad, condense, solve
from skfem.models.poisson import mass, unit_load

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.lod import LOD
from skfem_ml.metrics import l2_error, observed_rates, spectral_error
from skfem_ml.pictures import figure, grid
from skfem_ml.problems import diffusion

LEVELS = (2, 3, 4, 5)  # 4 x 4 to 32 x 32 coarse cells
FINE_LEVEL = 7
ELL = 3
ELLS = (1, 2, 3, 4)
LOW, HIGH = 1.0, 10.0
SEED = 0


def errors_in_h(levels=LEVELS, fine_level: int = FINE_LEVEL, ell: int = ELL) -> dict[str, np.ndarray]:
    """Relative errors in L2 by method, one for each coarse level."""
    errors: dict[str, list[float]] = {name: [] for name in ("coarse FEM", "LOD", "best", "LOD, prolonged")}
    for level in levels:
        coarse = Basis(MeshQuad().refined(level), ElementQuad1())
        lod = LOD(coarse, refine=2 ** (fine_level - level), ell=ell)
        scales = range(fine_level - 2, fine_level + 1)
        a = iid_multilevel(lod.fine.mesh, scales, LOW, HIGH, rng=np.random.default_rng(SEED))
        A, F = diffusion.assemble(lod.fine, a=a[:, None]), unit_load.assemble(lod.fine)
        fine = solve(*condense(A, F, D=lod.fine.get_dofs()))

        P, M, D = lod.prolongation, mass.assemble(lod.fine), coarse.get_dofs()
        u = solve(*condense(lod.assemble(diffusion, a=a), P.T @ F, D=D))
        solutions = {
            "coarse FEM": P @ solve(*condense(P.T @ A @ P, P.T @ F, D=D)),
            "LOD": P @ u,
            "best": P @ solve(*condense(P.T @ M @ P, P.T @ (M @ fine), D=D)),
            "LOD, prolonged": lod.prolong(u, diffusion, a=a),
        }
        for name, y in solutions.items():
            errors[name].append(l2_error(y, fine, lod.fine, relative=True))
    return {name: np.array(values) for name, values in errors.items()}


@dataclass
class Locality:
    """||S_ell - S_inf|| / ||S_inf|| by ell, and the relative defects of the two identities."""

    decay: dict[int, float]
    inverse_defect: float
    solution_defect: float


def locality(level: int = 3, refine: int = 8, ells=ELLS) -> Locality:
    coarse = Basis(MeshQuad().refined(level), ElementQuad1())
    ideal = LOD(coarse, refine=refine, ell=2**level)
    fine = ideal.fine
    a = iid_multilevel(fine.mesh, 6, 1.0, 5.0, rng=np.random.default_rng(SEED))
    S = ideal.assemble(diffusion, a=a)
    decay = {
        ell: spectral_error(LOD(coarse, refine=refine, ell=ell).assemble(diffusion, a=a), S, relative=True)
        for ell in ells
    }

    A, F = diffusion.assemble(fine, a=a[:, None]), unit_load.assemble(fine)
    I, i = fine.complement_dofs(fine.get_dofs()), coarse.complement_dofs(coarse.get_dofs())
    I_H = ideal.quasi_interpolation[i][:, I]
    inverse = np.linalg.inv(I_H @ splu(A[I][:, I].tocsc()).solve(I_H.T.toarray()))

    u = solve(*condense(S, ideal.load(unit_load, corrected=True, bilinear=diffusion, a=a), D=coarse.get_dofs()))
    rebuilt = ideal.prolong(u, diffusion, load=unit_load, a=a)
    exact = solve(*condense(A, F, D=fine.get_dofs()))
    return Locality(decay, spectral_error(S[i][:, i], inverse, relative=True), l2_error(rebuilt, exact, fine, True))


def visualize(errors: dict[str, np.ndarray] | None = None, local: Locality | None = None, levels=LEVELS):
    """Error over H with reference slopes, and the decay in ell."""
    errors = errors_in_h(levels) if errors is None else errors
    local = locality() if local is None else local
    H = 0.5 ** np.array(levels)
    with figure(11.5, 4.9) as picture:
        left, right = picture.subplots(1, 2)
        for (name, values), style in zip(errors.items(), ("s-", "o-", "k--", "D-"), strict=True):
            left.loglog(H, values, style, label=name)
        for order, name, style in ((1, "LOD", "-."), (2, "LOD, prolonged", ":")):
            slope = 0.6 * errors[name][-1] * (H / H[-1]) ** order
            left.loglog(H, slope, style, color="0.5", label=f"order {order}")
        left.set(title="convergence in $H$", xlabel="coarse mesh size $H$", ylabel="relative $L^2$ error")
        left.set_xticks(H, [f"1/{2**level}" for level in levels], minor=False)
        left.minorticks_off()
        left.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        right.semilogy(list(local.decay), list(local.decay.values()), "o-")
        right.set(title=r"decay in $\ell$", xlabel=r"layers $\ell$ of a patch", xticks=list(local.decay))
        right.set_ylabel(r"$\|S_\ell - S_\infty\|_2 \;/\; \|S_\infty\|_2$")
        for axes in (left, right):
            grid(axes)
    return picture


if __name__ == "__main__":
    errors, local = errors_in_h(), locality()
    H = 0.5 ** np.array(LEVELS)
    for name, values in errors.items():
        rates = " ".join(f"{rate:.2f}" for rate in observed_rates(H, values))
        print(f"{name:15s} errors", *(f"{e:.1e}" for e in values), f"  rates {rates}")
    for ell, value in local.decay.items():
        print(f"ell = {ell}: |S_ell - S_inf| / |S_inf| = {value:.1e}")
    print(f"S against the inverse of I_H A_h^-1 I_H^T: {local.inverse_defect:.1e}")
    print(f"ideal method with corrected load against the fine solution: {local.solution_defect:.1e}")
    visualize(errors, local).savefig("convergence.png")
    last = ", ".join(f"{name} {values[-1]:.1e}" for name, values in errors.items())
    print(f"32 x 32: {last}; identities to {max(local.inverse_defect, local.solution_defect):.0e}")
