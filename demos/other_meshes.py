r"""One model on meshes that it was not trained on
==============================================

A surrogate trained on the unit square answers on an L-shape, a cross, rectangles and other mesh sizes.

Local matrices of :math:`-\nabla \cdot (a \nabla \, \cdot)` in two dimensions do not depend on h, and neither does what
a network makes of a patch. A model is therefore tied to :math:`\ell`, to the cells of the coefficient in a coarse
element and to square cells, but not to the unit square with 32 x 32 elements on which it was trained. On each mesh two
fields are tried,

- iid: :math:`U[1, 5]` on every cell of the coefficient;
- multiscale: the mean over k = 0, ..., 8 of one iid :math:`U[1, 5]` field on :math:`2^k \times 2^k` cells of the
  bounding box,

with load 1 and zero boundary values. The table has the relative L² error of :math:`u_h` against exact LOD beside that
of coarse finite elements with the geometric mean, and the share of patches that the model's card does not know:
log-ratios beyond those of training, or a patch cut by the boundary in a way that training has not seen
(``Surrogate.excess``).
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from skfem import Mesh, MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.coefficients.families import paper_field
from skfem_ml.lod import LOD, GeometricMean, Surrogate
from skfem_ml.metrics import l2_error
from skfem_ml.pictures import colour_bar, figure, plot_cells, plot_error, plot_nodal, shared_norm
from skfem_ml.problems import diffusion

MODEL = "diffusion-q1-ell2-n8"
REFINE = 8
SEED = 0
INDEX = 1000  # beyond the fields of training


class Case(NamedTuple):
    """One mesh and field; u_h by exact LOD and by the surrogate, relative L2 errors, share of patches not known."""

    lod: LOD
    a: ndarray
    exact: ndarray
    got: ndarray
    surrogate: float
    null: float
    flagged: float


def rectangle(nx: int, ny: int) -> Mesh:
    """Squares of side 1 / ny."""
    return MeshQuad.init_tensor(np.linspace(0, nx / ny, nx + 1), np.linspace(0, 1, ny + 1))


def l_shape(n: int) -> Mesh:
    """The unit square of n x n squares without its upper right quarter."""
    mesh = rectangle(n, n)
    return mesh.restrict(np.flatnonzero(~(mesh.p[:, mesh.t].mean(axis=1) > 0.5).all(axis=0)))


def cross(n: int) -> Mesh:
    """The unit square of n x n squares without its four corners, each a quarter of n wide."""
    mesh = rectangle(n, n)
    return mesh.restrict(np.flatnonzero(~(abs(mesh.p[:, mesh.t].mean(axis=1) - 0.5) > 0.25).all(axis=0)))


MESHES: dict[str, Mesh] = {
    "square, 32 x 32 (training)": rectangle(32, 32),
    "square, 16 x 16": rectangle(16, 16),
    "square, 64 x 64": rectangle(64, 64),
    "rectangle, 64 x 32": rectangle(64, 32),
    "strip, 64 x 4": rectangle(64, 4),
    "strip, 64 x 3": rectangle(64, 3),
    "L-shape of 32 x 32": l_shape(32),
    "cross of 32 x 32": cross(32),
}
SHOWN = ("L-shape of 32 x 32", "cross of 32 x 32")
FIELDS: dict[str, Callable[[Mesh], ndarray]] = {
    "iid": lambda mesh: np.random.default_rng(SEED).uniform(1, 5, mesh.t.shape[1]),
    "multiscale": lambda mesh: paper_field(mesh, "multiscale", INDEX, SEED),
}


def compute(mesh: Mesh, field: str = "iid") -> Case:
    """Solve on one mesh by exact LOD, the surrogate and the null model."""
    lod, surrogate = LOD(mesh, refine=REFINE, ell=2), Surrogate.load(MODEL)
    a = FIELDS[field](lod.coefficient_mesh)
    b, D = unit_load.assemble(lod.coarse), lod.coarse.get_dofs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # patches that are not known are counted in the table
        exact, got, null = (
            solve(*condense(lod.assemble(local_map, a=a), b, D=D))
            for local_map in (diffusion, surrogate, GeometricMean())
        )
    errors = [l2_error(u, exact, lod.coarse, relative=True) for u in (got, null)]
    flagged = surrogate.excess(lod, lod.space.all_elements, a=a) > 0
    return Case(lod, a, exact, got, *errors, float(flagged.mean()))


def report(found: dict[tuple[str, str], Case]) -> str:
    """The table: a row for each mesh and field."""
    lines = [f"{'relative L2 error of u_h':28s} {'field':10s}  elements  not known  surrogate     null"]
    for (name, field), case in found.items():
        count = case.lod.coarse.mesh.t.shape[1]
        errors = f"{case.flagged:10.1%}   {case.surrogate:8.1e} {case.null:8.1e}"
        lines.append(f"{name:28s} {field:10s} {count:9d} {errors}")
    return "\n".join(lines)


def visualize(cases: dict[str, Case] | None = None):
    """A row for each mesh: coefficient, exact LOD, surrogate on one scale, and their difference on one for all."""
    cases = {name: compute(MESHES[name]) for name in SHOWN} if cases is None else cases
    gaps = {name: abs(case.got - case.exact) / case.exact.max() for name, case in cases.items()}
    scale = shared_norm(*gaps.values(), log=False)
    with figure(17, 4.3 * len(cases)) as picture:
        for row, (name, case) in zip(picture.subplots(len(cases), 4, squeeze=False), cases.items(), strict=True):
            colour_bar(row[0], plot_cells(row[0], case.lod.coefficient_mesh, case.a), "$a$")
            row[0].set_title(f"coefficient, {name}")
            norm = shared_norm(case.exact, case.got, log=False)
            for axes, u, title in ((row[1], case.exact, "exact LOD"), (row[2], case.got, "surrogate")):
                drawn = plot_nodal(axes, case.lod.coarse, u, norm=norm)
                axes.set_title(f"{title}, $u_h$")
            colour_bar(row[2], drawn, "$u_h$")
            drawn = plot_error(row[3], case.lod.coarse, gaps[name], norm=scale)
            colour_bar(row[3], drawn, r"$|\hat u_h - u_h| \, / \, \max u_h$")
            row[3].set_title(f"{case.surrogate:.1e} off in $L^2$ (null model {case.null:.1e}),\n"
                             f"{case.flagged:.0%} of the patches not known")  # fmt: skip
    return picture


if __name__ == "__main__":
    found = {(name, field): compute(mesh, field) for name, mesh in MESHES.items() for field in FIELDS}
    print(report(found))
    result = {name: found[name, "iid"] for name in SHOWN}
    visualize(result).savefig("other_meshes.png")
    names = (next(iter(MESHES)), *SHOWN)
    told = ", ".join(f"{name} {found[name, 'iid'].surrogate:.1e} / {found[name, 'iid'].null:.1e}" for name in names)
    print(f"error of surrogate / coarse FEM, rough field: {told}")
