"""Output files: checked before any work, written to a temporary file and then put in place at once."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from skfem_ml.solutions import FEFunction


class Outputs:
    """A folder for the named files, made if missing.

    Raises OSError where the folder cannot be made or written, and where a folder has the name of a file: at once, not
    after the work.
    """

    def __init__(self, folder: Path, names: list[str]):
        self.folder, self.names = folder, names
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(f"output: cannot write into {folder} ({reason}); choose another by --output") from error
        for name in names:
            if (folder / name).is_dir():
                raise OSError(f"output: {folder / name} is a folder, expected a file; choose another --output")

    def write(self, name: str, writer: Callable[[Path], object]) -> Path:
        """Call ``writer(path)`` on a temporary file beside the target, then replace the target by it.

        Raises OSError with the target's name where the disk refuses.
        """
        target = self.folder / name
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=target.suffix, dir=self.folder)
        os.close(handle)
        try:
            writer(Path(temporary))
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            # mkstemp gives 0600; the file should have the mode that a plain open() gives.
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
        except OSError as error:
            raise OSError(f"{target}: cannot be written ({error.strerror or error}); make room there") from error
        finally:
            Path(temporary).unlink(missing_ok=True)
        return target

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file."""
        return self.write(name, lambda path: path.write_text(text, encoding="utf-8"))

    def files(self) -> dict[str, str]:
        """Return the paths of the files by suffix."""
        return {Path(name).suffix.lstrip("."): str(self.folder / name) for name in self.names}


def write_vtu(
    path: Path, mesh: Mesh, a: NDArray, points: Mapping[str, NDArray], cells: Mapping[str, NDArray] | None = None
) -> None:
    """Write a mesh with the cell data "coefficient" and others ``(nelems,)`` and nodal fields ``(nvertices,)`` as VTU,
    through meshio.
    """
    from skfem.io.meshio import to_meshio

    cell_data = {name: [values] for name, values in {"coefficient": a, **(cells or {})}.items()}
    data = to_meshio(mesh, point_data=dict(points), cell_data=cell_data, encode_cell_data=False)
    # VTK has three coordinates; given two, meshio fills up with a warning.
    data.points = np.pad(data.points, ((0, 0), (0, 3 - data.points.shape[1])))
    data.write(path)


def nodal_fields(solutions: Mapping[str, FEFunction], reference: str) -> dict[str, NDArray]:
    """Return nodal values of solutions on the fine basis, and of their errors u - reference, by name in the VTU."""
    fine = solutions[reference]
    nodes = fine.basis.nodal_dofs[0]
    fields = {}
    for name, u in solutions.items():
        fields[f"u_{slug(name)}"] = u.y[nodes]
        if name != reference:
            fields[f"error_{slug(name)}"] = (u.y - fine.y)[nodes]
    return fields


def slug(name: str) -> str:
    """Return a name that is safe in files and calculators: "LOD ell=2" becomes "LOD_ell_2"."""
    return re.sub(r"\W+", "_", name).strip("_")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
