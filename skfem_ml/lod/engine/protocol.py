"""What an engine and its interiors are, which are chosen, and what is collected from any of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy import ndarray
from scipy.sparse import coo_matrix, csr_matrix
from skfem import BilinearForm

from skfem_ml.checks import whole
from skfem_ml.lod.engine.reference import ReferenceEngine
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.progress import Progress, bar

if TYPE_CHECKING:
    from torch import Tensor

DENSE = 10  # fine cells along the edge of a hex, up to which dense algebra is faster than iterations
FOLD = 2**24  # entries collected before they are summed: bounds the memory
Batch = TypeVar("Batch", bound=tuple)


class Engine(Protocol):
    """Solves the corrector problems of one form with its coefficients: find w in W(N^l(T)) with a(w, .) = g_T.

    An engine is made once for a form and asked many times; what it holds within its bound of memory is not factorised
    again. ``elements`` are numbers of coarse elements; results come in any order.
    """

    def local(self, elements: ndarray, loads: ndarray | None = None) -> Iterator[tuple[ndarray, ndarray]]:
        """Pairs of elements and their rows g_T(lambda_i) - a(w_T, lambda_i), ``(k, (2 ell + 2)**d, v)``.

        g_T is ``loads[T]`` on the nodes of T, ``(nelems, (n + 1)**d, v)``; without loads a_T(lambda_j, .): the local
        matrix S_T.
        """

    def correct(self, elements: ndarray) -> Iterator[tuple[ndarray, ndarray, ndarray]]:
        """Elements, fine nodes of their patches ``(k, nodes)``, -1 outside, and Q_T lambda_j there ``(., ., 2**d)``."""

    def correct_sum(self, elements: ndarray, weights: ndarray, loads: ndarray | None = None) -> ndarray:
        """The sum over T of sum_j weights[T, j] Q_T lambda_j + R_T f on the fine mesh, ``(fine.N, v)``.

        ``weights`` are ``(nelems, 2**d, v)``; ``loads``, the functionals f on T, ``(nelems, (n + 1)**d, v)``.
        """

    @property
    def patches(self) -> int:
        """How many factorised patches are held."""


class Interiors(ABC):
    """What stands in the place of the interiors of coarse quads on the fine mesh: energies from elsewhere.

    For every element T they give a symmetric H ``(4 n + 4, 4 n + 4)``: (b, m) . H (b, m) takes the place of the
    smallest a_T(v, v) of fine functions v with values b at the 4 n nodes on the boundary of T and moments m = P_T v,
    P_T being the quasi-interpolation on T before it is averaged. Nodes come west and east from below, with corners,
    then south and north from the left, without; moments at the corners (0, 0), (0, 1), (1, 0), (1, 1) as (x, y). H must
    be positive, but for what the form does not see (constants); H(c a) = c H(a) is expected of it. What an engine does
    with it is told in `engine.elements.energies`.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD, CondensedInteriors, Interiors
    >>> from skfem_ml.problems import diffusion
    >>> class Doubled(Interiors):
    ...     def energies(self, space, fine_form):
    ...         plain = CondensedInteriors(space.n).energies(space, fine_form)
    ...         return lambda elements: 2 * plain(elements)
    >>> one, two = (LOD(MeshQuad().refined(2), 4, interiors=i).assemble(diffusion, a=1.0) for i in (None, Doubled()))
    >>> bool(abs(2 * one - two).max() < 1e-12)
    True
    """

    form: BilinearForm | None = None  # what they stand for as well, where that is one form alone

    def fits(self, space: Discretisation) -> bool:
        """Whether they can take the place of a form on a space: they know their form, and `check` passes."""
        try:
            self.check(space)
        except ValueError:
            return False
        return self.form is not None

    def check(self, space: Discretisation) -> None:  # noqa: B027 (most have nothing to check)
        """Raise ValueError where they do not fit the space."""

    @abstractmethod
    def energies(self, space: Discretisation, fine_form: FineForm) -> Energies:
        """The function that gives H of elements ``(k,)``: a tensor of doubles ``(k, 4 n + 4, 4 n + 4)``."""

    def stiffness(self, fine_form: FineForm) -> csr_matrix:
        """What they add to the matrix of the form on the fine mesh, ``(fine.N, fine.N)``."""
        from skfem_ml.lod.engine.elements import added_stiffness  # here, since it loads torch

        return added_stiffness(fine_form)


Energies = Callable[[ndarray], "Tensor"]
"""``energies(elements) -> H``, ``(k, 4 n + 4, 4 n + 4)``: of elements by their numbers, see `Interiors`."""
EngineFactory = Callable[[Discretisation, FineForm, int], Engine]
"""``factory(space, fine_form, memory) -> Engine``: what ``LOD(engine=...)`` takes; memory in bytes.

One that is to honour ``LOD(interiors=...)`` takes its elements from `engine.elements.element_source`.
"""


def reference(space: Discretisation, fine_form: FineForm, memory: int = 0) -> Engine:
    """The engine of sparse Schur complements: lines, quads and hexes; see `ReferenceEngine`."""
    return ReferenceEngine(space, fine_form, memory)


def condensation(space: Discretisation, fine_form: FineForm, memory: int = 0) -> Engine:
    """The fast engine on quads and hexes: `CondensationEngine`, `HexEngine`. ValueError where it does not apply."""
    _require_condensing(space)
    if space.grid.dim == 3:
        from skfem_ml.lod.engine.hexes.engine import HexEngine  # here, since it loads torch

        return HexEngine(space, fine_form, memory)
    from skfem_ml.lod.engine.condensation import CondensationEngine

    return CondensationEngine(space, fine_form, memory)


def iterative(space: Discretisation, fine_form: FineForm, memory: int = 0) -> Engine:
    """The engine of conjugate gradients preconditioned by AMG, for large patches; see `ProjectedEngine`."""
    from skfem_ml.lod.engine.hexes.projected import ProjectedEngine  # here, since few need it

    return ProjectedEngine(space, fine_form, memory)


ENGINES: dict[str, EngineFactory] = {"condensation": condensation, "reference": reference, "iterative": iterative}


def find_engine(choice: str | EngineFactory, space: Discretisation) -> EngineFactory:
    """The factory of that name, or the one given.

    "auto" is the fast one where it applies; on hexes with more than ten fine cells along a coarse edge the iterative
    one, which is then faster (`engine.hexes` has the measurements) and takes less memory.

    Raises ValueError for an unknown name and for the fast engine where it does not apply.
    """
    if callable(choice):
        return choice
    if choice == "auto":
        if space.grid.dim == 3 and space.n > DENSE:
            return iterative
        return condensation if _condenses(space) else reference
    if choice not in ENGINES:
        raise ValueError(f"engine: expected auto, {', '.join(ENGINES)} or a factory of engines, got {choice!r}")
    if choice == "condensation":
        _require_condensing(space)
    return ENGINES[choice]


def find_interiors(
    choice: int | Interiors | None, space: Discretisation, engine: str | EngineFactory
) -> Interiors | None:
    """Interiors extrapolated from so many cells along a coarse edge, those given, or None for those of the fine mesh.

    Raises TypeError for what is none of them, and ValueError where they, or the fast engine, do not apply.
    """
    if choice is None:
        return None
    applies = space.grid.dim == 2 and space.n > 2  # with fewer nodes inside, moments are not free
    if engine in ("reference", reference) or not applies:
        raise ValueError(
            f"interiors: expected quads, refine > 2 and the condensation engine, got dimension {space.grid.dim}, "
            f"refine = {space.n} and engine = {engine!r}; leave interiors out, or take Extrapolated(form)"
        )
    if not isinstance(choice, Interiors):
        from skfem_ml.lod.engine.elements import ExtrapolatedInteriors  # here, since it loads torch

        choice = ExtrapolatedInteriors(whole(choice, "interiors", 2))
    choice.check(space)
    return choice


def _condenses(space: Discretisation) -> bool:
    return space.grid.dim > 1 and space.n > 1


def _require_condensing(space: Discretisation) -> None:
    if not _condenses(space):
        raise ValueError(
            "engine: expected quads or hexes with refine > 1 for the condensation engine, got dimension "
            f'{space.grid.dim} and refine = {space.n}; use engine="auto" or "reference"'
        )


def progress_over(batches: Iterable[Batch], total: int, progress: bool | Progress) -> Iterator[Batch]:
    """Pass batches on, whose first entry lists elements, and tell how many of ``total`` are done."""
    if progress is False:
        yield from batches
        return
    done = 0
    with bar() if progress is True else nullcontext(progress) as tell:
        for batch in batches:
            done += len(batch[0])
            tell(done, total, "correctors")
            yield batch


def corrector_matrix(space: Discretisation, engine: Engine, progress: bool | Progress) -> csr_matrix:
    """Q ``(fine.N, coarse.N)``: the sum over T of Q_T lambda_j on the fine mesh, for every coarse node j."""
    shape = (space.fine_mesh.p.shape[1], space.coarse.N)
    total, parts, held = csr_matrix(shape), [], 0
    elements = space.in_rows(space.all_elements)
    for done, nodes, values in progress_over(engine.correct(elements), len(elements), progress):
        parts.append(_entries(nodes, space.grid.corners[done], values))
        held += len(parts[-1][0])
        if held > FOLD:
            total, parts, held = total + _folded(parts, shape), [], 0
    return total + _folded(parts, shape) if parts else total


def _entries(nodes: ndarray, corners: ndarray, values: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Values, rows and columns of correctors ``(k, nodes, corners)``; nodes outside the domain are -1."""
    used = np.broadcast_to((nodes >= 0)[:, :, None], values.shape) & (values != 0)
    rows, columns = np.broadcast_arrays(nodes[:, :, None], corners[:, None])
    return values[used], rows[used], columns[used]


def _folded(parts: list[tuple[ndarray, ndarray, ndarray]], shape: tuple[int, int]) -> csr_matrix:
    values, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    return coo_matrix((values, (rows, columns)), shape=shape).tocsr()
