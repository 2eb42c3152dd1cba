"""``skfem-ml predict MODEL DATA``: a map of samples from a file, used on inputs in another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from skfem_ml.cli.outputs import Outputs
    from skfem_ml.learning import Learned, Regression

    Array = NDArray[np.float64]

NAME = "prediction.npz"


def predict(
    screen: Screen,
    model: Annotated[Path, typer.Argument(help="What skfem-ml train fmmnet wrote, or save() of any such map.")],
    data: Annotated[
        Path,
        typer.Argument(
            help=".npz with inputs (n, N). With points (dim, N) the order of the columns does not matter, for models "
            "that know theirs; with outputs (n, N) the residual is told."
        ),
    ],
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Use a saved map of functions on inputs of your own.

    Writes prediction.npz (outputs, one row an input, and points if there are any) into the output folder.
    """
    from skfem_ml.cli.errors import held_interrupt
    from skfem_ml.cli.outputs import Outputs
    from skfem_ml.metrics import mean_residual
    from skfem_ml.saved import load_operator

    outputs = Outputs(output, [NAME])
    with held_interrupt():
        operator = load_operator(model)
    held = arrays_in(data)
    order = order_of(operator, held.get("points"), data)
    w = operator(held["inputs"][:, order])
    w[:, order] = w.copy()
    content: dict[str, object] = {"model": str(model), "kind": repr(operator), "samples": len(w)}
    text = f"{operator!r}: {len(w)} outputs"
    if "outputs" in held:
        content["residual"] = residual = mean_residual(w, held["outputs"])
        text += f", mean relative residual {residual:.2e} against those in {data}"
    write(outputs, {"outputs": w, **{name: held[name] for name in ("points",) if name in held}})
    screen.tell(f"{text}\n\nfiles: {output / NAME}", {**content, "files": outputs.files()})


def arrays_in(data: Path) -> dict[str, Array]:
    """The arrays of a file: inputs, and points and outputs if they are there; ValueError for anything else."""
    import zipfile

    import numpy as np

    from skfem_ml import checks

    if not data.is_file():
        raise FileNotFoundError(f"{data}: expected a .npz file with inputs, found none")
    try:
        with np.load(data, allow_pickle=False) as file:
            names = [name for name in ("inputs", "outputs", "points") if name in file.files]
            held = {name: np.asarray(file[name], dtype=float) for name in names}
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{data}: expected samples as .npz, got {error}") from error
    if "inputs" not in held or any(values.ndim != 2 for values in held.values()):
        raise ValueError(f"{data}: expected arrays (n, N), inputs among them, got {sorted(held)}")
    checks.finite(held["inputs"], f"{data}: the inputs")
    return held


def order_of(operator: Learned | Regression, points: Array | None, data: Path) -> NDArray[np.int64] | slice:
    """Which column of the file is which point of the model, where both know their points; else all as they stand.

    ValueError where they are other points.
    """
    import numpy as np
    from scipy.spatial import cKDTree

    skeleton = getattr(getattr(operator, "net", getattr(operator, "operator", None)), "skeleton", None)
    if skeleton is None or points is None:
        return slice(None)
    size = float(np.ptp(skeleton.points, axis=1).max()) or 1.0
    if points.shape == skeleton.points.shape:
        distance, order = cKDTree(points.T).query(skeleton.points.T)
        if distance.max() <= 1e-9 * size and len(np.unique(order)) == len(order):
            return order
    raise ValueError(
        f"{data}: expected the {skeleton.N} points that the model was made for, in any order, got others "
        f"{points.shape}; leave them out where the columns are in the order of the training"
    )


def write(outputs: Outputs, arrays: dict[str, Array]) -> None:
    """Write the file."""
    import numpy as np

    def save(path: Path) -> None:
        with open(path, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    outputs.write(NAME, save)
