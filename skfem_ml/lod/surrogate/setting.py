"""What a local matrix depends on besides the coefficient: two settings that agree have the same matrices."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache

import numpy as np
from skfem import Basis, BilinearForm

from skfem_ml.lod.mesh.interpolation import NAMED
from skfem_ml.lod.method import LOD
from skfem_ml.meshes.grid import ELEMENTS, SUPPORTED
from skfem_ml.problems import diffusion

LINES = ([0.3, 0.8, 1.5], [-0.2, 0.5, 0.9], [0.1, 0.4, 1.3])  # cells of unequal size off the origin, by axis
VALUES = (1.0, 2.5, 0.3, 7.0, 1.5, 4.0, 0.7, 3.0)  # coefficients of the (at most eight) cells
DIGITS = 12


@dataclass(frozen=True)
class Setting:
    """The setting of local matrices, as labels and models record it.

    Parameters
    ----------
    dim, n, cells, ell
        Dimension; fine cells and coefficient cells along a coarse edge; layers of a patch.
    interpolation
        The name of the quasi-interpolation, "custom" where it has none.
    boundary
        "dirichlet" where Gamma_D is the whole boundary, else "mixed".
    cell
        "square" where all coarse cells are equal squares (cubes): in two dimensions the matrices of diffusion are then
        free of the mesh size.
    form
        `fingerprint` of the bilinear form.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD
    >>> wanted, got = (Setting.of(LOD(MeshQuad().refined(2), refine=n, ell=1)) for n in (4, 8))
    >>> wanted.form, wanted.mismatch(got)
    ('diffusion', {'n': (4, 8), 'cells': (4, 8)})
    """

    dim: int
    n: int
    cells: int
    ell: int
    interpolation: str
    boundary: str
    cell: str
    form: str

    @classmethod
    def of(cls, lod: LOD, form: BilinearForm = diffusion) -> Setting:
        """The setting of the matrices of ``form`` on ``lod``; errors as for `fingerprint`."""
        return cls.with_form(lod, fingerprint(form, lod.space.grid.dim))

    @classmethod
    def with_form(cls, lod: LOD, form: str) -> Setting:
        """The setting of an LOD, with a fingerprint that is known. Raises ValueError for one with interiors."""
        space = lod.space
        if space.interiors is not None:
            raise ValueError(
                f"lod: expected one with the exact interiors of its fine mesh, got {space.interiors!r}, whose matrices "
                f"are others; take lod.with_fine({space.n})"
            )
        names = [name for name, known in NAMED.items() if known is space.interpolation]
        corners = space.grid.mesh.p[:, space.grid.corners]
        size = corners[:, :, -1] - corners[:, :, 0]
        return cls(
            dim=space.grid.dim,
            n=space.n,
            cells=space.m,
            ell=space.ell,
            interpolation=names[0] if names else "custom",
            boundary="dirichlet" if space.all_dirichlet else "mixed",
            cell="square" if np.ptp(size) <= 1e-8 * size.max() else "unequal",
            form=form,
        )

    def mismatch(self, got: Setting) -> dict[str, tuple[object, object]]:
        """The entries in which ``got`` is of no use here, name -> (wanted, got): none where all agree.

        What was made for a "mixed" boundary serves on any.
        """
        pairs = {field.name: (getattr(self, field.name), getattr(got, field.name)) for field in fields(self)}
        if got.boundary == "mixed":
            del pairs["boundary"]
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def to_json(self) -> dict[str, object]:
        """The entries of a card."""
        return asdict(self)

    @classmethod
    def from_json(cls, card: Mapping[str, object]) -> Setting:
        """The setting in a card. Raises ValueError for entries that are missing or of another type."""
        entries = {field.name: card.get(field.name) for field in fields(cls)}
        missing = [name for name, value in entries.items() if value is None]
        if missing:
            raise ValueError(f"card: expected the entries {', '.join(entries)}, got none of {missing}; see Setting.of")
        wrong = [name for name, value in entries.items() if type(value) is not (int if name in COUNTS else str)]
        if wrong:
            raise ValueError(f"card: expected whole numbers {', '.join(COUNTS)} and else text, got others: {wrong}")
        return cls(**entries)  # type: ignore[arg-type]


COUNTS = ("dim", "n", "cells", "ell")


def fingerprint(form: BilinearForm, dim: int = 2) -> str:
    """What a form of one coefficient ``a`` computes: "diffusion", or "form-" and twelve hexadecimal digits.

    It is taken of the element matrices of 2^dim cells of unequal size off the origin, with a coefficient of its own in
    each, rounded to twelve digits: forms written in other words that give the same matrices have the same.

    Raises ValueError for a form that needs other coefficients, or does not evaluate on a mesh of its own.
    """
    found = _probe(form, dim)
    return "diffusion" if found == _known(dim) else f"form-{found}"


@cache
def _known(dim: int) -> str:
    return _probe(diffusion, dim)


def _probe(form: BilinearForm, dim: int) -> str:
    mesh = SUPPORTED[dim].init_tensor(*(np.array(line) for line in LINES[:dim]))
    # By position: the cells of different versions of the host may be numbered in another way.
    x = mesh.p[:, mesh.t].mean(axis=1)
    number = sum((x[axis] > LINES[axis][1]) * 2**axis for axis in range(dim))
    a = np.array(VALUES)[number]
    order = np.lexsort([*(mesh.p[axis, mesh.t] for axis in range(dim))], axis=0)
    try:
        data = form.elemental(Basis(mesh, ELEMENTS[dim]()), a=a[:, None]).data
    except (AttributeError, KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"form: expected a BilinearForm of the coefficient a alone, got {error} where it was tried on {len(a)} "
            "cells; other coefficients must be constants inside the form"
        ) from error
    size = 2**dim
    matrices = np.asarray(data).reshape(size, size, -1)
    rows, cells = order[:, None, :], np.arange(len(a))
    sorted_ = matrices[rows, order[None, :, :], cells][:, :, np.argsort(number)]
    rounded = [f"{value:.{DIGITS}g}" for value in (np.round(sorted_, DIGITS) + 0.0).ravel().tolist()]
    return hashlib.sha256(" ".join(rounded).encode()).hexdigest()[:12]
