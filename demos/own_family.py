r"""A family of your own
====================

Two hundred pictures in a folder become a model within two minutes, and a verdict says whether it pays.

On the unit square :math:`-\nabla \cdot (a \nabla u) = 1`, u = 0 on the boundary. The coefficients are ellipses, hard
and soft in a matrix, of contrast 27: grey pictures of 8 bits, whose black is :math:`27^{-1/2}` and whose white is
:math:`27^{1/2}`, linear in log a between. Nothing in the package was tuned for them. Three lines are all there is to
it::

    fields = fields_of(FOLDER, lod, low=27**-0.5, high=27**0.5, scale="log")
    model = train_surrogate(lod, fields, budget="2min")
    print(model.verdict)

The pictures are divided: to train on, to choose weights, for the model's doubt, for the verdict. On those of the last
part, which the training has not seen, the model stands beside what else one would take, the super-elements that the
package ships among it. "error u_h" is the relative L² error of the coarse solution against exact LOD on the finest mesh
(32 cells along a coarse edge), "error u" that against the fine finite element solution. The last sentence says from how
many fields on the model pays, or what to use.

The same from the command line, on pictures of your own::

    skfem-ml train surrogate FOLDER --budget 20min --coarse 32 --refine 32 --cells 8 --low 0.19 --high 5.2 --scale log
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from PIL import Image
from skfem import MeshQuad

from skfem_ml import LOD, Surrogate, train_surrogate
from skfem_ml.compare.verdict import COARSE, FINE, LEARNED
from skfem_ml.lod.surrogate import Fields, SuperElements, fields_of
from skfem_ml.pictures import colour_bar, figure, grid, plot_cells, plot_nodal, shared_norm
from skfem_ml.problems import load
from skfem_ml.progress import Progress, bar

CONTRAST = 27.0
LEVEL, CELLS, REFINE, ELL = 4, 8, 32, 2  # 16 x 16 coarse elements, 128 x 128 pixels
COUNT, BUDGET = 200, "2min"
SEEDS = (0, 1)  # of the family, and of the new field
MARKS = {COARSE: "o", FINE: "s", LEARNED: "*"}


class Trained(NamedTuple):
    """The LOD, the family, its model, and a field that the model has not seen."""

    lod: LOD
    fields: Fields
    model: Surrogate | SuperElements
    new: ndarray


def ellipses(pixels: int, rng: np.random.Generator) -> ndarray:
    """A picture ``(pixels, pixels)``: 128 in the matrix, 0 and 255 in 40 ellipses at random places."""
    x = (np.arange(pixels) + 0.5) / pixels
    grey = np.full((pixels, pixels), 128, dtype=np.uint8)
    for _ in range(40):
        centre, angle, (long, short) = rng.uniform(0, 1, 2), rng.uniform(0, np.pi), rng.uniform(0.02, 0.1, 2)
        dx, dy = x[None, :] - centre[0], x[:, None] - centre[1]
        along, across = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
        grey[(along / long) ** 2 + (across / short) ** 2 < 1] = rng.choice([0, 255])
    return grey


def draw_pictures(folder: Path, count: int, pixels: int, seed: int = 0) -> None:
    """Write the folder that a user would have."""
    for number in range(count):
        Image.fromarray(ellipses(pixels, np.random.default_rng([seed, number]))).save(folder / f"{number:03d}.png")


def family(folder: Path, lod: LOD) -> Fields:
    """The coefficients in the pictures."""
    return fields_of(folder, lod, low=CONTRAST**-0.5, high=CONTRAST**0.5, scale="log")


def compute(level: int = LEVEL, count: int = COUNT, budget: str = BUDGET, progress: Progress | None = None) -> Trained:
    """Draw the pictures, and train on them."""
    lod = LOD(MeshQuad().refined(level), refine=REFINE, cells=CELLS, ell=ELL)
    with TemporaryDirectory() as place:
        folder = Path(place) / "ellipses"
        folder.mkdir()
        draw_pictures(folder, count, CELLS * 2**level)
        fields = family(folder, lod)
        model = train_surrogate(lod, fields, budget, progress=progress)
        for old in folder.iterdir():
            old.unlink()
        draw_pictures(folder, 1, CELLS * 2**level, seed=1)
        new = family(folder, lod).draw(0)
    return Trained(lod, fields, model, new)


def report(result: Trained) -> str:
    """The model and its verdict."""
    model, lod = result.model, result.lod
    spent = ", ".join(f"{name} {seconds:.0f}" for name, seconds in dict(model.card["cpu"]).items())
    doubt = model.card.doubt or {}
    covered = f"its doubt covers {doubt['covered, new fields']:.0%} of the elements of fields of test (90 % meant)"
    S = lod.assemble(model, a=result.new)
    return f"{result.fields}\n{model}\n{model.verdict}\nCPU seconds: {spent}; {covered}\nS of a new field: {S.shape}"


def visualize(result: Trained | None = None):
    """A new field, its u_h, and error over seconds of the model and its rivals."""
    result = compute(level=2, count=40, budget="30s") if result is None else result
    lod, a = result.lod, result.new
    with figure(17, 5) as picture:
        left, middle, right = picture.subplots(1, 3, width_ratios=(1, 1, 1.25))
        left.set_title("a new field")
        colour_bar(left, plot_cells(left, lod.coefficient_mesh, a, norm=shared_norm(a)), "$a$")
        u = lod.system(result.model, a=a).solve(load(1.0))
        middle.set_title("$u_h$ of the model")
        colour_bar(middle, plot_nodal(middle, lod.coarse, u), "$u_h$")
        draw_verdict(right, result.model)
    return picture


def draw_verdict(axes, model: Surrogate | SuperElements) -> None:
    """Error over CPU seconds of every row; of fine answers that of u, and exact LOD on the finest mesh has none."""
    rows = [row for row in model.verdict.table if not row.failure]
    for number, row in enumerate(rows):
        error = row["error u"] if row.group == FINE else row["error u_h"]
        if error:
            size, front = (17, 1) if row.group == LEARNED else (8, 2)  # a star shows below a point
            look = {"color": f"C{number % 8}", "markersize": size, "zorder": front}
            axes.loglog(row.cpu_seconds, error, MARKS[row.group], label=row.name, **look)
    axes.set(title="squares: $u$; others: $u_h$", xlabel="CPU seconds a field, one load")
    axes.set_ylabel("relative $L^2$ error")
    grid(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


if __name__ == "__main__":
    with bar() as show:
        result = compute(progress=show)
    print(report(result))
    visualize(result).savefig("own_family.png")
    print(result.model.verdict.sentence())
