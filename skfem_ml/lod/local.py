"""Local maps: what gives the local matrices S_T of an LOD, and the sum that makes S of them.

A coarse element T has a local matrix S_T: its ``(2 ell + 2)^d`` rows are the coarse nodes of the unclipped patch around
T (test functions), its ``2^d`` columns the corners of T (trial functions), x fastest in both. A *local map* gives these
matrices for any coefficients; it stands wherever a form stands: ``lod.assemble(local_map, a=a)``. `System` computes
them with correctors for a ``BilinearForm``; a `Surrogate` guesses them, a `Hybrid` does either, `Known` has them, and
`GeometricMean` leaves the correctors out. `sum_local` adds them up through the local-to-global maps of the patches.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import Basis, BilinearForm, LinearForm
from skfem.assembly.form.coo_data import COOData

from skfem_ml.lod.mesh.forms import changed_patches, check_coefficients
from skfem_ml.meshes.forms import element_matrices
from skfem_ml.meshes.grid import ELEMENTS, lexicographic
from skfem_ml.problems import diffusion

if TYPE_CHECKING:
    from skfem_ml.lod.mesh.discretisation import Discretisation
    from skfem_ml.lod.method import LOD


@runtime_checkable
class LocalMap(Protocol):
    """Anything with ``local(lod, elements, **coefficients) -> (k, rows, columns)``.

    >>> from skfem_ml.lod import GeometricMean, LocalMap
    >>> isinstance(GeometricMean(), LocalMap)
    True
    >>> isinstance("diffusion", LocalMap)
    False
    """

    def local(self, lod: LOD, elements: ndarray, **coefficients: Any) -> ndarray:
        """Local matrices of the elements ``(k,)``, ``(k, (2 ell + 2)**d, 2**d)``; rows test, columns trial functions.

        Rows of nodes outside the domain are zero. The matrix of an element must not depend on which others are asked
        for.
        """
        ...


class PickledForm:
    """A local map that holds a ``form``; it is pickled by the place of that, as a function is.

    A decorated form hides the function of its name.
    """

    form: BilinearForm

    def __getstate__(self) -> dict[str, object]:
        place = self.form.form.__module__, self.form.form.__qualname__
        found = getattr(sys.modules.get(place[0]), place[1], None)
        return {**vars(self), "form": place if found is self.form else self.form}

    def __setstate__(self, state: dict[str, object]) -> None:
        form = state["form"]
        if isinstance(form, tuple):
            form = getattr(import_module(form[0]), form[1])
        self.__dict__.update(state, form=form)


class Known:
    """A local map whose matrices are known: ``(nelems, (2 ell + 2)**d, 2**d)``, whatever made them.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD, GeometricMean, Known
    >>> lod = LOD(MeshQuad().refined(2), refine=2, ell=1)
    >>> known = Known(lod.local(GeometricMean(), a=3.0))
    >>> bool(abs(lod.assemble(known) - lod.assemble(GeometricMean(), a=3.0)).max() == 0)
    True
    """

    def __init__(self, matrices: ArrayLike):
        self.matrices = np.array(matrices, dtype=float)

    def local(self, lod: LOD, elements: ndarray, **coefficients: Any) -> ndarray:
        """The matrices of the elements. Raises TypeError for coefficients, ValueError for those of another LOD."""
        if coefficients:
            raise TypeError(f"Known: expected no coefficients (its matrices are fixed), got {sorted(coefficients)}")
        check_local(lod, self.matrices)
        return self.matrices[elements]

    def __repr__(self) -> str:
        return f"Known({' x '.join(map(str, self.matrices.shape))})"


class GeometricMean:
    """The null model: coarse finite elements with the geometric mean of ``a`` on every coarse element.

    S_T[i, j] = exp(mean of log a on T) (grad lambda_j, grad lambda_i)_T at the corners of T, zero elsewhere.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD, GeometricMean
    >>> lod = LOD(MeshQuad().refined(2), refine=2, ell=1)
    >>> lod.local(GeometricMean(), a=1.0).shape
    (16, 16, 4)
    """

    form = diffusion  # what it stands for

    def local(self, lod: LOD, elements: ndarray, **coefficients: Any) -> ndarray:
        """Local matrices of the elements. TypeError for other coefficients than ``a``, ValueError for bad ones."""
        if set(coefficients) != {"a"}:
            raise TypeError(f"GeometricMean: expected the coefficient a alone, got {sorted(coefficients)}")
        space = lod.space
        cells = space.coefficient_refinement.cells
        a = check_coefficients(coefficients, cells.size)["a"]
        if np.ndim(a) > 1:
            raise ValueError(f"a: expected one value per cell, ({cells.size},), got tensors of shape {np.shape(a)}")
        means = np.exp(np.log(np.broadcast_to(a, cells.size)[cells[elements]]).mean(axis=1))
        out = np.zeros((len(elements), space.patches.nodes.shape[1], space.patches.corners.shape[1]))
        if len(elements):
            basis = Basis(lod.coarse.mesh, ELEMENTS[space.grid.dim](), elements=elements)
            rows = _own_rows(space.ell, space.grid.dim)
            out[:, rows] = element_matrices(diffusion, basis, {"a": means[:, None]}, space.grid.order[elements])
        return out

    def __repr__(self) -> str:
        return "GeometricMean()"


def _own_rows(ell: int, dim: int) -> ndarray:
    """The rows of a local matrix that belong to the corners of T, x fastest."""
    index = lexicographic(2, dim) + ell
    return ((2 * ell + 2) ** np.arange(dim)) @ index


def check_form(form: object) -> None:
    """Raise TypeError for what is neither a bilinear form nor a local map."""
    if isinstance(form, LinearForm):
        raise TypeError("form: expected a BilinearForm, got a load; its vector is lod.load(f), or system.load(f)")
    if not isinstance(form, BilinearForm | LocalMap):
        raise TypeError(
            "form: expected a BilinearForm or a local map (an object with local(lod, elements, **coefficients)), "
            f"got {type(form).__name__}; decorate a function of (u, v, w) with skfem.BilinearForm"
        )


def changed_elements(
    form: object, space: Discretisation, old: Mapping[str, float | ndarray], new: Mapping[str, float | ndarray]
) -> ndarray:
    """The elements whose local matrices may differ: those of `changed_patches`; all, where a local map decides for the
    field as a whole (its ``of_whole_field``).
    """
    return space.all_elements if getattr(form, "of_whole_field", False) else changed_patches(space, old, new)


def form_of(local_map: object, form: BilinearForm | None = None) -> BilinearForm:
    """The bilinear form that a local map stands for: the one that is given, else its own. TypeError without one."""
    form = form if form is not None else getattr(local_map, "form", None)
    if not isinstance(form, BilinearForm):
        raise TypeError(
            f"form: expected the bilinear form that {type(local_map).__name__} stands for, got none; pass form=..., "
            "for example problems.diffusion"
        )
    return form


def check_local(lod: LOD, local: ndarray, count: int | None = None) -> None:
    """Raise ValueError unless these have the shape of ``count`` local matrices (default: of all)."""
    patches = lod.patches
    count = len(patches.corners) if count is None else count
    wanted = (count, patches.nodes.shape[1], patches.corners.shape[1])
    if np.shape(local) != wanted:
        raise ValueError(f"local: expected local matrices {wanted}, (elements, rows, columns), got {np.shape(local)}")


def sum_local(lod: LOD, local: ndarray) -> COOData:
    """S = sum over T of S_T through the local-to-global maps, as the host's ``COOData``: ``.tocsr()`` is the matrix."""
    check_local(lod, local)
    rows, cols = lod.patches.scatter()
    indices = np.stack([np.moveaxis(index, 0, -1).ravel() for index in (rows, cols)])
    return COOData(indices, np.moveaxis(local, 0, -1).ravel(), (lod.coarse.N,) * 2, local.shape[1:])
