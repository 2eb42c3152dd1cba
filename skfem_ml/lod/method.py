"""The class ``LOD``: a coarse Q1 basis whose forms are assembled with localized orthogonal decomposition."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.sparse import coo_matrix, csr_matrix
from skfem import Basis, BilinearForm, LinearForm, Mesh
from skfem.assembly.form.coo_data import COOData

from skfem_ml.lod.engine.protocol import corrector_matrix, find_engine, progress_over
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm, check_coefficients, load_vectors
from skfem_ml.lod.mesh.grid import ELEMENTS
from skfem_ml.lod.mesh.interpolation import Interpolation
from skfem_ml.progress import Progress


class LOD:
    r"""Petrov-Galerkin localized orthogonal decomposition on a coarse Q1 basis, assembled like a form of scikit-fem.

    For every coarse element T and corner j the element corrector Q_T lambda_j in W(N^ell(T)) solves
    a(Q_T lambda_j, w) = a_T(lambda_j, w) for all w in W(N^ell(T)), the fine functions on the patch whose
    quasi-interpolation vanishes. The local matrix
    S_T[i, j] = a_T(lambda_j, lambda_i) - a(Q_T lambda_j, lambda_i)
    has the (2 ell + 2)^d nodes of the unclipped patch as rows (test functions) and the 2^d corners of T as columns, x
    fastest in both. S is their sum through the local-to-global maps; rows and columns of boundary nodes are kept, and
    ``condense`` does the rest.

    Parameters
    ----------
    coarse
        Basis of ``ElementLineP1``, ``ElementQuad1`` or ``ElementHex1`` on a mesh of boxes: a rectangle or a union of
        its cells, of equal or unequal size, in any order. A mesh is taken as its Q1 basis.
    refine
        n: fine cells along a coarse edge (>= 1; with 1 there is nothing to correct). Give this or ``fine``.
    cells
        m: coefficient cells along a coarse edge; divides n. Default n.
    ell
        Localisation parameter: layers of coarse elements around T (>= 1). One larger than the domain is clipped to it.
    fine
        A fine mesh of your own in place of ``refine``, in any order: n x ... x n equal cells in every coarse cell.
    dirichlet
        Gamma_D, where correctors vanish: names of boundaries of the coarse mesh, or degrees of freedom of the coarse
        basis. Default the whole boundary. Elsewhere the boundary condition is natural.
    interpolation
        ``"projection"`` (default), ``"clement"``, ``"nodal"`` or an ``Interpolation``.
    engine
        ``"condensation"`` (fast; quads), ``"reference"`` (everything), or ``"auto"``: the fast one where it applies.
    device
        Where the fast engine computes: a torch device such as ``"cpu"`` or ``"cuda"``.
    workers
        Threads of the fast engine on a CPU, each taking rows of patches.
    progress
        Whether to show a progress bar; or ``progress(done, total, text)`` to be told instead.

    Attributes
    ----------
    coarse, fine
        The two Q1 bases.
    coefficient_mesh
        The mesh with m^d cells a coarse cell on which coefficients live, one value a cell, in its own order; it is
        ``fine.mesh`` when m = n.
    ell
        The localisation parameter in force.

    Raises
    ------
    TypeError
        For meshes and elements that are not supported.
    ValueError
        For parameters out of range and a fine mesh that is no refinement.

    References
    ----------
    Malqvist, Peterseim, Math. Comp. 83 (2014); Elfverson, Ginting, Henning, Numer. Math. 131 (2015) (Petrov-Galerkin);
    Engwer, Henning, Malqvist, Peterseim, CMAME 350 (2019) (implementation); Kropfl, Maier, Peterseim, Adv. Cont. Discr.
    Models 2022:29, sections 2-3 (local-to-global maps).
    """

    def __init__(
        self,
        coarse: Basis | Mesh,
        refine: int | None = None,
        cells: int | None = None,
        ell: int = 2,
        *,
        fine: Mesh | Basis | None = None,
        dirichlet: Any = None,
        interpolation: str | Interpolation = "projection",
        engine: str = "auto",
        device: str = "cpu",
        workers: int = 1,
        progress: bool | Progress = False,
    ):
        self.space = Discretisation(
            coarse,
            refine,
            cells,
            ell,
            fine=fine,
            dirichlet=dirichlet,
            interpolation=interpolation,
            device=device,
            workers=workers,
        )
        self.coarse, self.ell, self.patches = self.space.coarse, self.space.ell, self.space.patches
        self.engine, self.progress = find_engine(engine, self.space), progress
        self._choices = {"dirichlet": dirichlet, "interpolation": interpolation, "device": device, "workers": workers}
        self._assembled: tuple[BilinearForm, dict[str, Any]] | None = None

    def with_fine(self, refine: int) -> LOD:
        """The same coarse space, patches and boundary with ``refine`` fine cells along a coarse edge.

        Its coefficient mesh has the cells of this one; they are in the same order where both are built by ``LOD``.
        Raises ValueError where ``refine`` is no multiple of the coefficient cells along a coarse edge.
        """
        return LOD(self.coarse, refine, self.space.m, self.ell, **self._choices)

    @cached_property
    def fine(self) -> Basis:
        return Basis(self.space.fine_mesh, ELEMENTS[self.space.grid.dim]())

    @property
    def coefficient_mesh(self) -> Mesh:
        return self.space.coefficient_mesh

    @property
    def prolongation(self) -> csr_matrix:
        """P: nodal prolongation of V_h into the fine space, ``(fine.N, coarse.N)``."""
        return self.space.prolongation

    @property
    def quasi_interpolation(self) -> csr_matrix:
        """I_h: the quasi-interpolation as a matrix ``(coarse.N, fine.N)``, the rows at nodes on Gamma_D kept."""
        return self.space.quasi_interpolation

    def gather(self, a: ndarray) -> ndarray:
        """Coefficient patches ``(nelems, ((2 ell + 1) m)**d)``, x fastest, zero outside the domain."""
        a = check_coefficients({"a": a}, self.space.coefficient_refinement.cells.size, -1)["a"]
        cells, m, dim, width = self.patches.cells, self.space.m, self.space.grid.dim, 2 * self.ell + 1
        values = np.where(cells[:, :, None] >= 0, a[self.space.coefficient_refinement.cells[cells]], 0)
        blocks = values.reshape((len(cells),) + (width,) * dim + (m,) * dim)
        order = [0] + [
            axis for pair in zip(range(1, dim + 1), range(dim + 1, 2 * dim + 1), strict=True) for axis in pair
        ]
        return blocks.transpose(order).reshape(len(cells), -1)

    def gather_dirichlet(self) -> ndarray:
        """Which nodes of each patch lie on Gamma_D, ``(nelems, (2 ell + 2)**d)``: what a patch needs beside
        coefficients.
        """
        return self.space.dirichlet_of_patches()

    def local(self, form: Any, elements: ndarray | None = None, **coefficients: Any) -> ndarray:
        """Local matrices S_T of all elements, or of some: ``(k, (2 ell + 2)**d, 2**d)``; rows test, columns trial
        functions.

        ``form`` is a symmetric elliptic ``BilinearForm``, or a *local map*: an object with a method
        ``local(lod, elements, **coefficients)`` that returns the same (a surrogate).
        """
        chosen = self.space.all_elements if elements is None else _chosen(elements, len(self.space.grid.corners))
        if not isinstance(form, BilinearForm):
            return form.local(self, chosen, **coefficients)
        return self._gathered(self._engine(form, coefficients), chosen, None)

    def elemental(self, form: Any, **coefficients: Any) -> COOData:
        """Local matrices with their global places; ``tolocal()`` gives ``(nelems, (2 ell + 2)**d, 2**d)``, rows test
        functions.
        """
        return self._coo(self.local(form, **coefficients))

    def assemble(self, form: Any, *, variant: str = "petrov-galerkin", **coefficients: Any) -> csr_matrix:
        """The LOD matrix S ``(coarse.N, coarse.N)``, rows test functions.

        Parameters
        ----------
        form
            A symmetric elliptic ``BilinearForm`` (or a local map, see ``local``).
        variant
            ``"petrov-galerkin"``: S[i, j] = a((1 - Q) lambda_j, lambda_i); ``"galerkin"``: tested with (1 - Q) lambda_i
            as well, symmetric, more robust at high contrast, and dearer: correctors are formed.
        **coefficients
            The form's keyword arguments: numbers, one value per cell of ``coefficient_mesh`` ``(nelems,)``, or tensors
            ``(d, d, nelems)``.

        At high contrast in connected channels (from about 1e3 on) the Petrov-Galerkin S may lose definiteness and its
        solution be worse than that of coarse FEM; nothing in S itself tells. Compare with the Galerkin variant there.

        Raises
        ------
        ValueError
            For coefficients that are not positive or of the wrong size, and forms that are not symmetric or elliptic.
        """
        if variant == "petrov-galerkin":
            return self.elemental(form, **coefficients).tocsr()
        _only_variants(variant)
        basis = self.basis(form, **coefficients)
        return (basis.T @ self._fine_matrix(form, coefficients) @ basis).tocsr()

    def basis(self, form: BilinearForm, **coefficients: Any) -> csr_matrix:
        """The multiscale basis P - Q: column j holds (1 - Q) lambda_j on the fine mesh, ``(fine.N, coarse.N)``.

        With B the basis, A and F the fine matrix and load, B^T A B and B^T F are the Galerkin variant.
        """
        return (self.space.prolongation - self.correctors(form, **coefficients)).tocsr()

    def correctors(self, form: BilinearForm, **coefficients: Any) -> csr_matrix:
        """Q: column j is the corrector of lambda_j on the fine mesh, ``(fine.N, coarse.N)``."""
        return corrector_matrix(self.space, self._engine(form, coefficients), self.progress)

    def prolong(
        self, u: ndarray, form: BilinearForm, *, load: LinearForm | None = None, **coefficients: Any
    ) -> ndarray:
        """The fine reconstruction u_ms = (1 - Q) u_h, nodal values on the fine mesh ``(fine.N,)``.

        With ``load`` the right-hand-side corrector is added: u_ms = (1 - Q) u_h + R f.
        """
        u = np.asarray(u)
        if u.shape != (self.coarse.N,):
            raise ValueError(
                f"u: expected values of the {self.coarse.N} coarse degrees of freedom, got shape {u.shape}"
            )
        engine = self._engine(form, coefficients)
        elements = self.space.in_rows(self.space.all_elements)
        loads = None if load is None else load_vectors(self.space, load, {})[:, :, None]
        fine = engine.correct_sum(elements, -u[self.space.grid.corners][:, :, None], loads)
        return self.space.prolongation @ u + fine[:, 0]

    def load(
        self,
        form: LinearForm,
        *,
        corrected: bool = False,
        bilinear: BilinearForm | None = None,
        variant: str = "petrov-galerkin",
        **coefficients: Any,
    ) -> ndarray:
        """The right-hand side ``(coarse.N,)``: F(lambda_i), or F(lambda_i) - a(R f, lambda_i) when ``corrected``.

        R f is the sum over T of R_T f in W(N^ell(T)) with a(R_T f, w) = F_T(w): what the fine scales see of the load.
        With ``prolong(..., load=form)`` and a large ``ell`` the fine solution is recovered exactly. F is integrated on
        the fine mesh. The bilinear form and its coefficients are those given, or, without ``bilinear``, those last
        assembled. ``variant="galerkin"`` gives F((1 - Q) lambda_i).
        """
        split = load_vectors(self.space, form, {})
        on_fine = np.bincount(
            self.space.refinement.nodes.ravel(), split.ravel(), minlength=self.space.fine_mesh.p.shape[1]
        )
        if variant != "petrov-galerkin":
            _only_variants(variant)
        if not corrected and variant == "petrov-galerkin":
            return self.space.prolongation.T @ on_fine
        bilinear, coefficients = self._remembered(bilinear, coefficients)
        if variant == "galerkin":
            return self.basis(bilinear, **coefficients).T @ on_fine
        rows = self._gathered(self._engine(bilinear, coefficients), self.space.all_elements, split[:, :, None])
        nodes = self.patches.nodes
        return np.bincount(nodes[nodes >= 0], rows[nodes >= 0, 0], minlength=self.coarse.N)

    def update(
        self, S: Any, a_old: ndarray, a_new: ndarray, form: BilinearForm | None = None, **coefficients: Any
    ) -> Any:
        """S for the coefficient ``a_new``, from S for ``a_old``: only patches whose coefficient changed are solved
        again.

        ``S`` is the ``csr_matrix`` of ``assemble`` (local matrices of changed patches are solved for both coefficients)
        or the ``COOData`` of ``elemental`` (they are replaced: half the work, no rounding left behind). The form and
        its other coefficients are those given, or, without ``form``, those last assembled. Returns what was given,
        changed.
        """
        form, coefficients = self._remembered(form, coefficients)
        nelems = self.space.coefficient_refinement.cells.size
        old, new = (check_coefficients({"a": a}, nelems, -1)["a"] for a in (a_old, a_new))
        changed = (old != new).reshape(-1, nelems).any(axis=0)[self.space.coefficient_refinement.cells].any(axis=1)
        cells = self.patches.cells
        elements = np.flatnonzero((changed[cells] & (cells >= 0)).any(axis=1))
        rest = {**coefficients, "a": new}
        fresh = self.local(form, elements, **rest)
        if isinstance(S, COOData):
            local = S.tolocal().copy()
            local[elements] = fresh
            return S.fromlocal(local)
        stale = self.local(form, elements, **{**coefficients, "a": old})
        change = np.zeros((len(self.space.grid.corners),) + fresh.shape[1:])
        change[elements] = fresh - stale
        self._assembled = (form, rest)
        return S + self._coo(change).tocsr()

    def _engine(self, form: BilinearForm, coefficients: dict[str, Any]) -> Any:
        if not isinstance(form, BilinearForm):
            raise TypeError(f"form: expected a BilinearForm, got {type(form).__name__}")
        checked = check_coefficients(coefficients, self.space.coefficient_refinement.cells.size, self._fine_nodes())
        self._assembled = (form, coefficients)
        return self.engine(self.space, FineForm(self.space, form, checked), 0)

    def _fine_nodes(self) -> int:
        return self.space.fine_mesh.p.shape[1] if "fine_mesh" in self.space.__dict__ else -1

    def _remembered(
        self, form: BilinearForm | None, coefficients: dict[str, Any]
    ) -> tuple[BilinearForm, dict[str, Any]]:
        if form is not None:
            return form, coefficients
        if self._assembled is None:
            raise ValueError(
                "form: expected the bilinear form (nothing was assembled on this LOD before), got none; give it"
            )
        return self._assembled[0], {**self._assembled[1], **coefficients}

    def _gathered(self, engine: Any, elements: ndarray, loads: ndarray | None) -> ndarray:
        columns = self.space.grid.corners.shape[1] if loads is None else loads.shape[2]
        out = np.zeros((len(self.space.grid.corners), self.patches.nodes.shape[1], columns))
        ordered = self.space.in_rows(elements)
        for done, rows in progress_over(engine.local(ordered, loads), len(ordered), self.progress):
            out[done] = rows
        return out[elements]

    def _coo(self, local: ndarray) -> COOData:
        rows, cols = self.patches.scatter()
        indices = np.stack([np.moveaxis(index, 0, -1).ravel() for index in (rows, cols)])
        return COOData(indices, np.moveaxis(local, 0, -1).ravel(), (self.coarse.N,) * 2, local.shape[1:])

    def _fine_matrix(self, form: BilinearForm, coefficients: dict[str, Any]) -> csr_matrix:
        checked = check_coefficients(coefficients, self.space.coefficient_refinement.cells.size, self._fine_nodes())
        cells = np.arange(self.space.refinement.cells.size)
        corners = self.space.fine_grid.corners
        rows, cols = np.broadcast_arrays(corners[:, :, None], corners[:, None, :])
        blocks = FineForm(self.space, form, checked).matrices(cells)
        return coo_matrix((blocks.ravel(), (rows.ravel(), cols.ravel()))).tocsr()


def _only_variants(variant: str) -> None:
    if variant != "galerkin":
        raise ValueError(f'variant: expected "petrov-galerkin" or "galerkin", got {variant!r}')


def _chosen(elements: Any, count: int) -> ndarray:
    chosen = np.asarray(elements)
    if chosen.dtype == bool and chosen.shape == (count,):
        return np.flatnonzero(chosen)
    if chosen.size and (chosen.ndim != 1 or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= count):
        raise ValueError(f"elements: expected numbers of coarse elements, 0 to {count - 1}, got {chosen.ravel()[:5]}")
    return chosen.astype(int).ravel()
