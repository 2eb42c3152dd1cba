"""One form with one set of coefficients on one `SLOD`: its basis, its matrices, and any number of loads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from skfem import BilinearForm, LinearForm
from skfem.assembly.form.coo_data import COOData

from skfem_ml import checks
from skfem_ml.lod.mesh.ellipticity import check_elliptic
from skfem_ml.lod.mesh.forms import FineForm, check_coefficients, described
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.lod.slod.given import Given, Load
from skfem_ml.lod.slod.matrices import Matrices
from skfem_ml.progress import bar

if TYPE_CHECKING:
    from skfem_ml.lod.slod.damping import Damped
    from skfem_ml.lod.slod.method import SLOD
    from skfem_ml.lod.slod.sweep import Sweep

VARIANTS = ("collocation", "galerkin")
FAR = 0.3  # of the estimated error, from where a solution is warned of
Loads: TypeAlias = "Load | Sequence[Load]"


class SLODSystem:
    r"""One form with one set of coefficients on one `SLOD`, and what has been computed of it.

    With B the basis functions phi_T on the fine mesh and g_T their loads, A phi_T = g_T up to what is left on the rims.

    - ``"collocation"``: G c = F(1_K), G[K, T] = g_T on K; no fine matrix is needed.
    - ``"galerkin"``: B^T A B c = B^T F; the error in energy is the least that the basis allows, that in L2 up to four
      times smaller. `solution` takes it.

    A load F that is not constant on elements has a part psi that no basis of nelems functions has: the sum of local
    responses whose fluxes are cancelled on the rims by loads d on elements. ``corrected`` (the default) takes it out of
    the load, F(1_K) - d_K, and ``prolong(c, load=f)`` puts it back: u = B c + psi. Any load is then as good as a
    constant one.

    Made by ``slod.system(form, **coefficients)``; coefficients are checked and copied.

    Raises
    ------
    TypeError
        For what is no ``BilinearForm``, complex forms, coefficients that are functions.
    ValueError
        For coefficients not finite or not positive where they must be, forms not symmetric or not elliptic, and where u
        is fixed nowhere.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import SLOD
    >>> from skfem_ml.problems import diffusion, load
    >>> system = SLOD(MeshQuad().refined(2), refine=4, ell=2).system(diffusion, a=2.0)
    >>> c = system.solve(load(1.0))
    >>> c.shape, round(float(system.prolong(c).max()), 3)
    ((16,), 0.037)
    """

    def __init__(self, slod: SLOD, form: BilinearForm, coefficients: dict[str, ArrayLike]):
        self.slod, self.form, space = slod, form, slod.space
        cells, nodes = space.coefficient_refinement.cells.size, space.fine_mesh.p.shape[1]
        self.coefficients = check_coefficients(coefficients, cells, nodes, space.grid.dim)
        self._fine_form = FineForm(space, form, self.coefficients)
        check_elliptic(self._fine_form)
        _require_solvable(slod, self._fine_form)
        self._lock = RLock()  # of all that the sweep does: threads may share a system
        self._responded: tuple[ndarray, ndarray, ndarray] | None = None

    def __repr__(self) -> str:
        name = getattr(self.form.form, "__name__", "form")
        told = [name, *(described(key, value) for key, value in self.coefficients.items())]
        return f"SLODSystem({', '.join(told)} on {self.slod!r})"

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_sweep", "_lock")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__ |= {**state, "_lock": RLock()}

    # What the patches give.

    def basis(self) -> csr_matrix:
        """The basis functions phi_T on the fine mesh, ``(fine.N, nelems)``."""
        return self._basis.copy()

    def elemental(self) -> COOData:
        """The loads g_T on the elements of patches, as the host's ``COOData``: ``.tocsr()`` is G ``(nelems, nelems)``.

        ``tolocal()`` gives them, ``(nelems, (2 ell + 1)**2, 1)``, in the order of ``slod.patches``.
        """
        coo = self._matrices.elemental
        return replace(coo, data=coo.data.copy())

    def matrix(self, variant: str = "collocation") -> csr_matrix:
        """G, or B^T A B with ``variant="galerkin"``: ``(nelems, nelems)``."""
        checks.choice(variant, VARIANTS, "variant")
        matrices = self._matrices
        return (matrices.galerkin if variant == "galerkin" else matrices.collocation).copy()

    @property
    def epsilon(self) -> ndarray:
        """The damping of every patch, ``(nelems,)``: that of the SLOD, or 3 to 100 times that where that is better."""
        return self._chosen.epsilon.copy()

    @property
    def condition(self) -> float:
        """An estimate of the condition number of the Galerkin matrix with unit diagonal.

        Above 1e4 and 100 times the number of elements functions are hard to tell apart, and larger damping is tried.
        """
        return self._chosen.condition

    # Loads.

    def load(
        self,
        f: Loads,
        /,
        *,
        corrected: bool = True,
        variant: str = "collocation",
        x: ArrayLike | None = None,
        **fields: ArrayLike,
    ) -> ndarray:
        """The right-hand side ``(nelems,)``: F(1_K) - d_K, or B^T (F - A psi) for ``variant="galerkin"``.

        Without ``corrected`` F(1_K) or B^T F. For a list of loads ``(nelems, k)``, which costs less than k of them. See
        `solve` for ``x``; ``fields`` are the keyword arguments of ``f`` (see `FineLoad`).
        """
        checks.choice(variant, VARIANTS, "variant")
        if x is not None and not corrected and variant == "collocation":
            raise ValueError('corrected: expected True with boundary values x (or variant="galerkin"), got False')
        given = Given(self.slod.space, self._fine_form, f, fields, x)
        return given.shaped(self._right(given, corrected, variant))

    def solve(
        self,
        f: Loads | ArrayLike,
        /,
        *,
        corrected: bool = True,
        variant: str = "collocation",
        x: ArrayLike | None = None,
        **fields: ArrayLike,
    ) -> ndarray:
        """The coefficients c of the basis functions ``(nelems,)``, or ``(nelems, k)`` for a list of k loads.

        ``f`` is a load, or a right-hand side as of `load`. The matrix is factorised once.

        ``x`` are boundary values: a function on the coarse mesh ``(coarse.N,)`` or the fine one ``(fine.N,)`` that has
        them, the smoother the better; u - x is what is solved for. Give `prolong` the same load and ``x``.
        """
        checks.choice(variant, VARIANTS, "variant")
        forms = f if isinstance(f, list | tuple) else [f]
        if all(isinstance(g, LinearForm | FineLoad) for g in forms):
            b = self.load(f, corrected=corrected, variant=variant, x=x, **fields)
        else:
            b = self._by_element("f", f)
        c = self._matrices.solve(variant, b)
        worst = float(np.max(self.estimate(c), initial=0.0))
        if worst > FAR:
            checks.warn(
                f"slod: what the basis leaves on the rims of patches is {worst:.0%} of the solution in energy; take "
                f"ell={self.slod.ell + 1}, or LOD at a high contrast"
            )
        return c

    def prolong(
        self, c: ArrayLike, /, load: Loads | None = None, *, x: ArrayLike | None = None, **fields: ArrayLike
    ) -> ndarray:
        """The solution B c on the fine mesh ``(fine.N,)``; with ``load``, B c + psi + x."""
        c = self._by_element("c", c)
        if load is None:
            if x is not None or fields:
                raise TypeError("load: expected the load that c was solved for beside x and fields, got none")
            return self._basis @ c
        given = Given(self.slod.space, self._fine_form, load, fields, x)
        return self._basis @ c + given.shaped(self._beside(given))

    def solution(
        self, f: Loads, /, *, variant: str = "galerkin", x: ArrayLike | None = None, **fields: ArrayLike
    ) -> ndarray:
        """The solution on the fine mesh ``(fine.N,)``: `solve` and `prolong` with the corrected load."""
        given = Given(self.slod.space, self._fine_form, f, fields, x)
        c = self.solve(self._right(given, True, variant), variant=variant)
        return given.shaped(self._basis @ c + self._beside(given))

    def _by_element(self, name: str, values: object) -> ndarray:
        array, count = np.asarray(values), len(self.slod.patches)
        if array.shape[:1] != (count,) or array.ndim > 2 or array.dtype.kind not in "fiu":
            raise ValueError(f"{name}: expected {count} real values, one per element, got {array.dtype} {array.shape}")
        return array.astype(float)

    def estimate(self, c: ArrayLike, /) -> float | ndarray:
        """An estimate of the relative error in energy of B c, by what the functions leave on the rims of their patches.

        ``(sum_T |c_T W g_T|^2)^(1/2)`` over the energy norm of B c; one for each column of c. To contrast 100 and from
        ell = 2 on it was within a factor of 2 of the true error; at contrast 1e7 it was up to 300 times too small.
        """
        columns = self._by_element("c", c)
        found = self._matrices.estimate(columns.reshape(len(columns), -1))
        return found if columns.ndim > 1 else float(found[0])

    # How it is computed.

    @property
    def _matrices(self) -> Matrices:
        return self._chosen.matrices

    @property
    def _basis(self) -> csr_matrix:
        return self._matrices.basis

    @cached_property
    def _sweep(self) -> Sweep:
        from skfem_ml.lod.slod.sweep import Sweep  # here, since it loads torch

        return Sweep(self.slod.space, self._fine_form, self.slod.memory)

    @property
    def held(self) -> int:
        """How many patches are held factorised, for corrected loads."""
        return self._sweep.patches if "_sweep" in self.__dict__ else 0

    @property
    def _chosen(self) -> Damped:
        with self._lock:
            return self._choice

    @cached_property
    def _choice(self) -> Damped:
        from skfem_ml.lod.slod.damping import damped

        slod = self.slod
        with self._told() as tell:
            return damped(self._sweep, slod.epsilon, slod.adaptive, slod.patches, tell)

    @contextmanager
    def _told(self) -> Iterator[Callable[[int], None]]:
        """Tells the progress of patches."""
        progress, total = self.slod.progress, len(self.slod.patches)
        with nullcontext(progress) if callable(progress) else bar(progress) as tell:
            yield lambda done: tell(done, total, "patches")

    def _right(self, given: Given, corrected: bool, variant: str) -> ndarray:
        """The right-hand side, ``(nelems, k)``."""
        if variant == "galerkin":
            b = self._basis.T @ given.on_fine
            return b - self._matrices.energy(self._response(given)[0]) if corrected else b
        return given.on_elements - self._response(given)[1] if corrected else given.on_elements

    def _beside(self, given: Given) -> ndarray:
        """What is in the solution beside B c, psi + x, ``(fine.N, k)``."""
        return self._response(given)[0] + given.lift

    def _response(self, given: Given) -> tuple[ndarray, ndarray]:
        """psi ``(fine.N, k)`` and d ``(nelems, k)``; the last ones are kept for the same loads by their values."""
        from skfem_ml.lod.slod.loads import respond

        if given.by_element:
            return np.zeros((len(given.lift), given.split.shape[2])), np.zeros_like(given.on_elements)
        with self._lock:
            if self._responded is None or not np.array_equal(self._responded[0], given.split):
                self._responded = (given.split, *respond(self._sweep, self.epsilon, given.split))
            return self._responded[1], self._responded[2]


def _require_solvable(slod: SLOD, fine_form: FineForm) -> None:
    """Raise ValueError where u is fixed nowhere and the form does not see constants."""
    if slod.space.fixed.any():
        return
    matrices = fine_form.matrices(np.arange(slod.space.refinement.cells.size))
    if np.abs(matrices.sum(axis=(1, 2))).max() <= 1e-12 * np.abs(matrices).max():
        raise ValueError(
            "dirichlet: expected a part of the boundary where u is fixed, got none: constants are not seen by the form"
        )
