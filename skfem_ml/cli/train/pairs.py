"""The pairs of functions that a network is trained on: of the radiative transfer, or from a file of one's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from skfem_ml.problems import OperatorSamples

CELLS, SAMPLES = 320, 6000  # of the radiative transfer


@dataclass(frozen=True)
class Source:
    """Where pairs come from: a name, what determines them (JSON values), and ``draw()``, which makes or reads them."""

    name: str
    setting: dict[str, object]
    draw: Callable[[], OperatorSamples]


def transfer(cells: int | None, samples: int | None, seed: int) -> Source:
    """Return the samples of the radiative transfer; ValueError for sizes out of range."""
    cells, samples = CELLS if cells is None else cells, SAMPLES if samples is None else samples
    if cells < 2 or samples < 30:
        raise ValueError(f"cells, samples: expected at least 2 and 30, got {cells} and {samples}")

    def draw() -> OperatorSamples:
        import numpy as np

        from skfem_ml.problems.operators import usual_parts
        from skfem_ml.reference import transfer_samples

        return transfer_samples(samples, cells, np.random.default_rng(seed), **usual_parts(samples))

    return Source("radiative transfer", {"cells": cells, "samples": samples}, draw)


def own(data: Path, mesh: Path | None) -> Source:
    """Return the pairs in a file, read at once; FileNotFoundError and ValueError as `pairs_in`."""
    found = pairs_in(data, mesh)
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    return Source(found.name, {"data": data.name, "sha256": digest}, lambda: found)


def pairs_in(data: Path, mesh: Path | None) -> OperatorSamples:
    """Return the pairs of a ``.npz`` (`OperatorSamples.from_file`), at points of its own or on a mesh file.

    With a mesh N is the number of its nodes, in the order of the file, or of its cells, whose midpoints are the points.
    Raises ValueError for another N, or one that could be both.
    """
    from skfem_ml.problems import OperatorSamples

    return OperatorSamples.from_file(data, None if mesh is None else points_on(mesh, data))


def points_on(path: Path, data: Path) -> NDArray[np.float64]:
    """The nodes or midpoints of a mesh file, whichever are as many as the columns of the pairs."""
    import numpy as np

    from skfem_ml.coefficients.cell_data import mesh_of
    from skfem_ml.coefficients.limits import Limits
    from skfem_ml.meshes import midpoints

    if not path.is_file():
        raise FileNotFoundError(f"mesh: expected a mesh file, found none at {path}")
    mesh = mesh_of(path, Limits())
    with np.load(data, allow_pickle=False) as file:
        N = file["inputs"].shape[-1] if "inputs" in file.files else -1
    fits = [where for where, count in (("nodes", mesh.nvertices), ("cells", mesh.nelements)) if count == N]
    if len(fits) != 1:
        raise ValueError(
            f"mesh: expected {N} nodes or {N} cells, as many as the pairs have columns, got {mesh.nvertices} nodes and "
            f"{mesh.nelements} cells in {path}; or put points (dim, N) into {data}"
        )
    return mesh.p if fits == ["nodes"] else midpoints(mesh)
