"""From a coefficient to a matrix: one form with one set of coefficients on one LOD.

1. ``lod.system(form, a=a)`` checks the coefficients and copies them: `check_coefficients`, `check_elliptic`.
2. The engine of ``lod`` is given the form on the fine mesh (`FineForm`) and solves, on the patch around every coarse
   element T, for the correctors Q_T lambda_j of its corners.
3. What it returns is the local matrix S_T[i, j] = a_T(lambda_j, lambda_i) - a(Q_T lambda_j, lambda_i): `System.local`.
   Another local map (`local.LocalMap`) returns such matrices without correctors.
4. S is their sum through the local-to-global maps: `System.matrix` is ``sum_local(lod, local).tocsr()``.
5. The same correctors make right-hand sides (`System.load`) and fine solutions of coarse ones (`System.prolong`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from skfem import BilinearForm, LinearForm
from skfem.assembly.form.coo_data import COOData

from skfem_ml.lod.coarse import CoarseSystem, check_sum, contrast, near_matrix, warn_unseen
from skfem_ml.lod.completion import complete, fine_multigrid
from skfem_ml.lod.correctors import Correctors, without_correctors
from skfem_ml.lod.engine.protocol import Interiors
from skfem_ml.lod.local import LocalMap, changed_elements, check_form, check_local, form_of, sum_local
from skfem_ml.lod.mesh.ellipticity import check_elliptic
from skfem_ml.lod.mesh.forms import FineForm, coefficients_on
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.lod.shown import system_html, system_text
from skfem_ml.solvers import Multigrid, Solved, Solver

if TYPE_CHECKING:
    from skfem_ml.lod.method import LOD

VARIANTS = ("petrov-galerkin", "galerkin")


class System:
    """One form with one set of coefficients on one LOD, and what has been computed of it.

    Made by ``lod.system(form, **coefficients)``. Coefficients are checked and copied once: arrays that are changed in
    place later change nothing. What one verb has computed serves the next; nothing is remembered by ``lod``.

    Use `solve`, or ``condense`` with ``D=lod.dirichlet_dofs``: u must be fixed where the LOD was told so (``LOD(...,
    dirichlet=...)``), because correctors vanish there. Conditions that only ``condense`` hears of cost digits.

    Parameters
    ----------
    lod
        The LOD.
    form
        A symmetric elliptic ``BilinearForm``, or a local map (`LocalMap`: a `Surrogate`, `Known`...), which has no
        correctors: uncorrected `load`, `matrix` and `solve` work, the rest raises TypeError.
    coefficients
        The form's keyword arguments: numbers, one value per cell of ``lod.coefficient_mesh`` ``(nelems,)`` (also
        ``a[:, None]`` and ``basis0.interpolate(a)``), or tensors ``(d, d, nelems)``.
    memory
        Bytes of factorised patches to hold for the next verb. ``lod.system`` gives the LOD's.

    Raises
    ------
    TypeError
        For what is no form or local map, complex forms, second derivatives, coefficients that are functions.
    ValueError
        For coefficients not finite, not positive where they must be, or of the wrong size, and forms not symmetric or
        not elliptic.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD
    >>> from skfem_ml.problems import diffusion, load
    >>> system = LOD(MeshQuad().refined(2), refine=4, ell=2).system(diffusion, a=2.0)
    >>> u = system.solve(load(1.0), corrected=True)
    >>> round(float(system.prolong(u, load=load(1.0)).max()), 3)
    0.037
    """

    def __init__(self, lod: LOD, form: BilinearForm | LocalMap, coefficients: Mapping[str, ArrayLike], memory: int = 0):
        check_form(form)
        if isinstance(form, Interiors) and form.form is not None and form.fits(lod.space):
            lod, form = lod.with_interiors(form), form.form  # they serve every verb
        self.lod, self.form, self.memory = lod, form, memory
        self.coefficients = coefficients_on(lod.space, coefficients, isinstance(form, BilinearForm))
        self._correctors: Correctors | None = None
        if isinstance(form, BilinearForm):
            fine_form = FineForm(lod.space, form, self.coefficients)
            check_elliptic(fine_form)
            self._correctors = Correctors(lod, fine_form, memory)
        self._matrices: dict[str, csr_matrix] = {}
        self._coarse: dict[str, CoarseSystem] = {}
        self._exact: dict[BilinearForm, System] = {}
        self._inherited: tuple[ndarray, ndarray] | None = None

    __repr__, _repr_html_ = system_text, system_html

    def local(self, elements: ArrayLike | None = None) -> ndarray:
        """Local matrices S_T of all elements, or of some: ``(k, (2 ell + 2)**d, 2**d)``; rows test functions."""
        if elements is None:
            return self._local.copy()
        chosen = self.lod.space.chosen(elements)
        return self._local[..., chosen, :, :] if "_local" in self.__dict__ else self._computed(chosen)

    def elemental(self) -> COOData:
        """Local matrices with their global places; ``tolocal()`` gives `local`."""
        return sum_local(self.lod, self._local)

    def matrix(self, variant: str = "petrov-galerkin") -> csr_matrix:
        """The LOD matrix ``(coarse.N, coarse.N)``, rows test functions.

        ``variant``: ``"petrov-galerkin"``, S[i, j] = a((1 - Q) lambda_j, lambda_i), or ``"galerkin"``, tested with
        (1 - Q) lambda_i as well: symmetric, definite at any contrast, and dearer (correctors are formed). Warns where
        the Petrov-Galerkin S is not definite, as may happen with channels of high contrast.
        """
        _check_variant(variant)
        if variant not in self._matrices:
            B = self.basis() if variant == "galerkin" else None
            self._matrices[variant] = self._summed() if B is None else (B.T @ self.fine_matrix() @ B).tocsr()
        return self._matrices[variant].copy()

    def galerkin(self) -> csr_matrix:
        """B^T A B with the basis B and the fine matrix A: ``matrix("galerkin")``."""
        return self.matrix("galerkin")

    def load(
        self,
        f: LinearForm | FineLoad,
        /,
        *,
        corrected: bool = False,
        variant: str = "petrov-galerkin",
        **fields: ArrayLike,
    ) -> ndarray:
        """The right-hand side ``(coarse.N,)``: F(lambda_i), or F(lambda_i) - a(R f, lambda_i) when ``corrected``.

        R f is the sum over T of R_T f in W(N^ell(T)) with a(R_T f, w) = F_T(w): what the fine scales see of the load.
        With ``prolong(u, load=f)`` and a large ``ell`` the fine solution is recovered exactly. F is integrated on the
        fine mesh, once where ``f`` is a `FineLoad`; ``fields`` are its keyword arguments. ``variant="galerkin"`` gives
        F((1 - Q) lambda_i), corrected or not. Warns of an uncorrected load that oscillates below the coarse mesh.
        """
        _check_variant(variant)
        load = FineLoad.of(self.lod.space, f, fields)
        if not corrected:
            warn_unseen(load)
        if variant == "galerkin":
            return self.basis().T @ load.on_fine
        return self._for("load(..., corrected=True)").load(load.split) if corrected else load.on_coarse

    def solve(
        self,
        f: LinearForm | FineLoad | ArrayLike,
        /,
        x: ArrayLike | None = None,
        *,
        corrected: bool = False,
        variant: str = "petrov-galerkin",
        solver: Solver | None = None,
        **fields: ArrayLike,
    ) -> ndarray:
        """The coarse solution u_h of S u_h = b, u_h = x on the Gamma_D of the LOD (default 0), ``(coarse.N,)``.

        ``f`` is a load (assembled as by `load`) or the right-hand side b ``(coarse.N,)`` itself; ``solver`` as for
        `coarse`. Raises ValueError where nothing is fixed or the backward error of the solution is above 1e-10.
        """
        if not isinstance(f, LinearForm) and fields:
            raise TypeError(f"f: expected a LinearForm for the fields {sorted(fields)}, got a vector")
        if isinstance(f, LinearForm | FineLoad):
            f = self.load(f, corrected=corrected, variant=variant, **fields)
        values = np.zeros(self.lod.coarse.N) if x is None else self.lod.space.on_coarse("x", x)
        return self.coarse(variant, solver).solve(self.lod.space.on_coarse("f", f), values)[0]

    def coarse(self, variant: str = "petrov-galerkin", solver: Solver | None = None) -> CoarseSystem:
        """S u = b ready for any number of loads: by ``solver``, by default elimination or, if large, `Krylov`."""
        if solver is None and (held := self._coarse.get(variant)):
            return held
        near = near_matrix(self.lod.space, self.form, self.coefficients) if solver is None else None
        made = CoarseSystem(self.matrix(variant), self.lod.space.fixed, near, solver)
        return made if solver is not None else self._coarse.setdefault(variant, made)

    def exact(self, form: BilinearForm | None = None) -> System:
        """This system where it is of a form; else that of the form behind its local map, with the same coefficients.

        ``form`` is asked for where the local map has none itself (``local_map.form``). Raises TypeError without one.
        """
        if self._correctors is not None:
            return self
        if (form := form_of(self.form, form)) not in self._exact:
            self._exact[form] = System(self.lod, form, self.coefficients, self.memory)
        return self._exact[form]

    def fine_matrix(self) -> csr_matrix:
        """A: the matrix of the form on the fine mesh, ``(fine.N, fine.N)``."""
        return self._for("fine_matrix").fine_form.assembled()

    @cached_property
    def multigrid(self) -> Multigrid:
        """Multigrid of the form itself on the fine mesh, whatever the ``interiors``: what `complete` solves with."""
        return fine_multigrid(self._for("multigrid").fine_form)

    # What needs correctors.

    def correctors(self) -> csr_matrix:
        """Q: column j is the corrector of lambda_j on the fine mesh, ``(fine.N, coarse.N)``."""
        return self._for("correctors").matrix.copy()

    def basis(self) -> csr_matrix:
        """The multiscale basis B = P - Q: column j holds (1 - Q) lambda_j on the fine mesh, ``(fine.N, coarse.N)``.

        With A and F the fine matrix and load, B^T A B and B^T F are the Galerkin variant.
        """
        return self._for("basis").basis()

    def prolong(self, u: ArrayLike, /, load: LinearForm | FineLoad | None = None, **fields: ArrayLike) -> ndarray:
        """The fine reconstruction u_ms = (1 - Q) u_h, nodal values on the fine mesh ``(fine.N,)``.

        ``u`` is ``(coarse.N,)``, or ``(coarse.N, k)`` for k of them at once. With ``load`` the right-hand-side
        corrector is added: u_ms = (1 - Q) u_h + R f.
        """
        correctors, u = self._for("prolong"), np.asarray(u, dtype=float)
        if u.shape not in ((self.lod.coarse.N,), (self.lod.coarse.N, *u.shape[1:2])):
            raise ValueError(f"u: expected values of the {self.lod.coarse.N} coarse degrees of freedom, got {u.shape}")
        columns = u.reshape(len(u), -1)
        loads = None if load is None else FineLoad.of(self.lod.space, load, fields).split
        fine = correctors.sum(-columns[self.lod.patches.corners], loads)
        return self.lod.space.prolongation @ u + fine.reshape(len(fine), *u.shape[1:])

    def complete(
        self,
        u: ArrayLike,
        /,
        load: LinearForm | FineLoad,
        tol: float = 1e-6,
        form: BilinearForm | None = None,
        **fields: ArrayLike,
    ) -> Solved:
        """The fine solution from u, ``(coarse.N,)`` or ``(fine.N,)``: `multigrid` until the error is ``tol`` in energy.

        u of exact LOD or of a local map (``form``: see `exact`) is the start and gives the values on Gamma_D. `Solved`
        has the true relative residual and an estimate of ``|u - u*|_a / |u*|_a``. RuntimeError after 200 steps.
        """
        F = FineLoad.of(self.lod.space, load, fields)
        return complete(self.exact(form), np.asarray(u, dtype=float), F, tol)

    def update(self, **coefficients: ArrayLike) -> System:
        """The system with other values of some coefficients; local matrices of unchanged patches are taken over."""
        unknown = sorted(set(coefficients) - set(self.coefficients))
        if unknown:
            raise TypeError(f"update: expected some of {sorted(self.coefficients)}, got {unknown}")
        system = System(self.lod, self.form, {**self.coefficients, **coefficients}, self.memory)
        known, stale = (self._local, []) if "_local" in self.__dict__ else (self._inherited or (None, []))
        if known is not None:
            changed = changed_elements(self.form, self.lod.space, self.coefficients, system.coefficients)
            system._inherited = known, np.union1d(stale, changed).astype(int)
        return system

    @property
    def held(self) -> int:
        """How many patches are held factorised."""
        return 0 if self._correctors is None else self._correctors.held

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "multigrid"}  # made again

    @cached_property
    def _local(self) -> ndarray:
        if (inherited := self._inherited) is None:
            return self._computed(self.lod.space.all_elements)
        known, stale = inherited
        out = known.copy()
        if len(stale):
            out[..., stale, :, :] = self._computed(stale)
        self._inherited = None
        return out

    def _computed(self, elements: ndarray) -> ndarray:
        if isinstance(self.form, BilinearForm):
            return self._for("local").rows(elements)
        local = self.form.local(self.lod, elements, **self.coefficients)
        check_local(self.lod, local if np.ndim(local) < 4 else local[0], len(elements))
        return local

    def _summed(self) -> csr_matrix:
        S = self.elemental().tocsr()
        check_sum(S, np.flatnonzero(~self.lod.space.fixed), self.form, contrast(self.coefficients), self.lod.ell)
        return S

    def _for(self, verb: str) -> Correctors:
        """The correctors, for a verb that needs them."""
        if self._correctors is None:
            raise without_correctors(verb, self.form)
        return self._correctors


def _check_variant(variant: str) -> None:
    if variant not in VARIANTS:
        raise ValueError(f'variant: expected "petrov-galerkin" or "galerkin", got {variant!r}')
