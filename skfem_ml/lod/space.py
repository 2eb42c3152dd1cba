"""The class ``LOD``: a coarse Q1 basis whose forms are assembled with localized orthogonal decomposition."""

from __future__ import annotations

import operator
from functools import cached_property
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.sparse import coo_matrix, csr_matrix
from skfem import Basis, BilinearForm, LinearForm, Mesh
from skfem.assembly import Dofs
from skfem.assembly.form.coo_data import COOData

from .boundary import DirichletPart
from .engines import find_engine, progress_over
from .forms import ELEMENTS, FineForm, check_coefficients, corner_nodes, load_vectors
from .grid import BoxGrid, Refinement, refined_mesh
from .interpolation import Interpolation, find_interpolation, hat_values, tensor
from .patches import Patches


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
        Whether to show a progress bar.

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

    def __init__(self, coarse: Basis | Mesh, refine: int | None = None, cells: int | None = None, ell: int = 2, *,
                 fine: Mesh | Basis | None = None, dirichlet: Any = None,
                 interpolation: str | Interpolation = "projection", engine: str = "auto", device: str = "cpu",
                 workers: int = 1, progress: bool = False):
        mesh = coarse if isinstance(coarse, Mesh) else coarse.mesh
        self.grid = BoxGrid(mesh, "coarse mesh")
        self.coarse = _q1_basis(coarse, self.grid.dim)
        if (refine is None) == (fine is None):
            raise ValueError("refine, fine: expected one of them (refine=n to have the fine mesh built, or fine=mesh), got "
                             + ("neither" if fine is None else "both"))
        if fine is not None:
            self._fine_mesh = fine if isinstance(fine, Mesh) else fine.mesh
            self.n = self.refinement.n
        else:
            self.n = _whole("refine", refine, 1)
        self.m = self.n if cells is None else _whole("cells", cells, 1)
        if self.n % self.m:
            raise ValueError(f"cells: expected a divisor of refine = {self.n}, got {self.m}")
        self.ell = min(_whole("ell", ell, 1), max(max(self.grid.shape) - 1, 1))
        self.dirichlet = DirichletPart(self.grid, self.coarse, dirichlet)
        self.interpolation = find_interpolation(interpolation)
        self.engine, self.device, self.workers, self.progress = engine, device, _whole("workers", workers, 1), progress
        find_engine(self)                                                          # refuses unknown or unfit engines now
        self.patches = Patches(self.grid, self.ell)
        self._assembled: tuple[BilinearForm, dict[str, Any]] | None = None

    # -- meshes and maps, built when first needed ------------------------------------------------------------------------

    @cached_property
    def _fine_mesh(self) -> Mesh:
        return self.coefficient_mesh if self.m == self.n else refined_mesh(self.grid, self.n)

    @cached_property
    def coefficient_mesh(self) -> Mesh:
        if self.m == self.n and "_fine_mesh" in self.__dict__:
            return self._fine_mesh
        return refined_mesh(self.grid, self.m)

    @cached_property
    def fine(self) -> Basis:
        return Basis(self._fine_mesh, ELEMENTS[self.grid.dim]())

    @cached_property
    def fine_dofs(self) -> Dofs:
        return Dofs(self._fine_mesh, ELEMENTS[self.grid.dim]())

    @cached_property
    def fine_grid(self) -> BoxGrid:
        return BoxGrid(self._fine_mesh, "fine mesh")

    @cached_property
    def refinement(self) -> Refinement:
        return Refinement(self.grid, self.fine_grid)

    @cached_property
    def coefficient_refinement(self) -> Refinement:
        if self.m == self.n and "refinement" in self.__dict__:
            return self.refinement
        return Refinement(self.grid, BoxGrid(self.coefficient_mesh, "coefficient mesh"))

    @cached_property
    def coefficient_cell(self) -> ndarray:
        """The coefficient cell of every fine cell, ``(fine nelems,)``."""
        if self.m == self.n:
            return np.arange(self.refinement.cells.size)
        index = np.indices((self.n,) * self.grid.dim) // (self.n // self.m)
        within = np.ravel_multi_index(tuple(index), (self.m,) * self.grid.dim).ravel()
        out = np.empty(self.refinement.cells.size, dtype=int)
        out[self.refinement.cells] = self.coefficient_refinement.cells[:, within]
        return out

    @cached_property
    def fine_corners_in_cell(self) -> ndarray:
        return corner_nodes(self.n, self.grid.dim)

    @cached_property
    def fine_node_cells(self) -> ndarray:
        """How many coarse cells hold a fine node."""
        return np.bincount(self.refinement.nodes.ravel(), minlength=self._fine_mesh.p.shape[1])

    @cached_property
    def fine_dirichlet(self) -> ndarray:
        """Which fine nodes lie on Gamma_D."""
        out = np.zeros(self._fine_mesh.p.shape[1], dtype=bool)
        out[self.refinement.nodes[self.dirichlet.fine_nodes(self.n)]] = True
        return out

    @cached_property
    def floating(self) -> ndarray:
        """Which patches have neither Dirichlet boundary nor a neighbour, ``(nelems,)``: their stiffness may be singular."""
        around = np.bincount(self.grid.corners.ravel(), minlength=self.grid.mesh.p.shape[1])
        nodes, cells = self.patches.nodes, self.patches.cells
        closed = np.where(nodes >= 0, around[nodes], 0).sum(axis=1) == (cells >= 0).sum(axis=1) * 2**self.grid.dim
        return closed & ~self.gather_dirichlet().any(axis=1)

    @cached_property
    def averages(self) -> ndarray:
        """Weights of the quasi-interpolation's average, ``(nelems, 2**d)``: the share of T at each of its corners."""
        share = np.ones(len(self.grid.corners)) if self.interpolation.average == "count" else self.grid.widths().prod(axis=0)
        share = np.broadcast_to(share[:, None], self.grid.corners.shape)
        total = np.bincount(self.grid.corners.ravel(), share.ravel(), minlength=self.grid.mesh.p.shape[1])
        return share / total[self.grid.corners]

    @cached_property
    def prolongation(self) -> csr_matrix:
        """Nodal prolongation P of V_h into the fine space, ``(fine.N, coarse.N)``."""
        hats = tensor(hat_values(self.n), self.grid.dim)
        nodes, first = np.unique(self.refinement.nodes, return_index=True)
        cell, local = np.unravel_index(first, self.refinement.nodes.shape)
        values, columns = hats[:, local].T, self.grid.corners[cell]
        shape = (self._fine_mesh.p.shape[1], self.coarse.N)
        matrix = coo_matrix((values.ravel(), (np.repeat(nodes, values.shape[1]), columns.ravel())), shape=shape).tocsr()
        matrix.eliminate_zeros()
        return matrix

    # -- what a script calls ---------------------------------------------------------------------------------------------

    def gather(self, a: ndarray) -> ndarray:
        """Coefficient patches ``(nelems, ((2 ell + 1) m)**d)``, x fastest, zero outside the domain."""
        a = check_coefficients({"a": a}, self.coefficient_refinement.cells.size, -1)["a"]
        cells, m, dim, width = self.patches.cells, self.m, self.grid.dim, 2 * self.ell + 1
        values = np.where(cells[:, :, None] >= 0, a[self.coefficient_refinement.cells[cells]], 0)
        blocks = values.reshape((len(cells),) + (width,) * dim + (m,) * dim)
        order = [0] + [axis for pair in zip(range(1, dim + 1), range(dim + 1, 2 * dim + 1), strict=True) for axis in pair]
        return blocks.transpose(order).reshape(len(cells), -1)

    def gather_dirichlet(self) -> ndarray:
        """Which nodes of each patch lie on Gamma_D, ``(nelems, (2 ell + 2)**d)``: what a patch needs beside coefficients."""
        nodes = self.patches.nodes
        return (nodes >= 0) & self.dirichlet.nodes[nodes]

    def local(self, form: Any, elements: ndarray | None = None, **coefficients: Any) -> ndarray:
        """Local matrices S_T of all elements, or of some: ``(k, (2 ell + 2)**d, 2**d)``; rows test, columns trial functions.

        ``form`` is a symmetric elliptic ``BilinearForm``, or a *local map*: an object with a method
        ``local(lod, elements, **coefficients)`` that returns the same (a surrogate).
        """
        chosen = np.arange(len(self.grid.corners)) if elements is None else np.asarray(elements)
        if not isinstance(form, BilinearForm):
            return form.local(self, chosen, **coefficients)
        return self._gathered(self._engine(form, coefficients), chosen, None)

    def elemental(self, form: Any, **coefficients: Any) -> COOData:
        """Local matrices with their global places; ``tolocal()`` gives ``(nelems, (2 ell + 2)**d, 2**d)``, rows test functions."""
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

        Raises
        ------
        ValueError
            For coefficients that are not positive or of the wrong size, and forms that are not symmetric or elliptic.
        """
        if variant == "petrov-galerkin":
            return self.elemental(form, **coefficients).tocsr()
        _only_variants(variant)
        basis = self.prolongation - self.correctors(form, **coefficients)
        return (basis.T @ self._fine_matrix(form, coefficients) @ basis).tocsr()

    def correctors(self, form: BilinearForm, **coefficients: Any) -> csr_matrix:
        """Q: column j is the corrector of lambda_j on the fine mesh, ``(fine.N, coarse.N)``. The basis is P - Q."""
        engine = self._engine(form, coefficients)
        shape = (self._fine_mesh.p.shape[1], self.coarse.N)
        total = csr_matrix(shape)
        rows: list[ndarray] = []
        cols: list[ndarray] = []
        data: list[ndarray] = []
        elements = self._in_rows(np.arange(len(self.grid.corners)))
        for done, nodes, values in progress_over(engine.correct(elements), len(elements), self.progress):
            used = np.broadcast_to((nodes >= 0)[:, :, None], values.shape) & (values != 0)
            rows.append(np.broadcast_to(nodes[:, :, None], values.shape)[used])
            cols.append(np.broadcast_to(self.grid.corners[done][:, None], values.shape)[used])
            data.append(values[used])
            if sum(map(len, data)) > 2**24:                                        # fold now and then: bounded memory
                total = total + _folded(rows, cols, data, shape)
                rows, cols, data = [], [], []
        return total + _folded(rows, cols, data, shape) if data else total

    def prolong(self, u: ndarray, form: BilinearForm, *, load: LinearForm | None = None, **coefficients: Any) -> ndarray:
        """The fine reconstruction u_ms = (1 - Q) u_h, nodal values on the fine mesh ``(fine.N,)``.

        With ``load`` the right-hand-side corrector is added: u_ms = (1 - Q) u_h + R f.
        """
        u = np.asarray(u)
        if u.shape != (self.coarse.N,):
            raise ValueError(f"u: expected values of the {self.coarse.N} coarse degrees of freedom, got shape {u.shape}")
        engine = self._engine(form, coefficients)
        elements = self._in_rows(np.arange(len(self.grid.corners)))
        out = self.prolongation @ u - engine.correct_sum(elements, None, u[self.grid.corners])
        if load is not None:
            out += engine.correct_sum(elements, load_vectors(self, load, {})[:, :, None], None)
        return out

    def load(self, form: LinearForm, *, corrected: bool = False, bilinear: BilinearForm | None = None,
             variant: str = "petrov-galerkin", **coefficients: Any) -> ndarray:
        """The right-hand side ``(coarse.N,)``: F(lambda_i), or F(lambda_i) - a(R f, lambda_i) when ``corrected``.

        R f is the sum over T of R_T f in W(N^ell(T)) with a(R_T f, w) = F_T(w): what the fine scales see of the load. With
        ``prolong(..., load=form)`` and a large ``ell`` the fine solution is recovered exactly. F is integrated on the fine
        mesh. The bilinear form and its coefficients are those given, or, without ``bilinear``, those last assembled.
        ``variant="galerkin"`` gives F((1 - Q) lambda_i).
        """
        split = load_vectors(self, form, {})
        on_fine = np.bincount(self.refinement.nodes.ravel(), split.ravel(), minlength=self._fine_mesh.p.shape[1])
        if variant != "petrov-galerkin":
            _only_variants(variant)
        if not corrected and variant == "petrov-galerkin":
            return self.prolongation.T @ on_fine
        bilinear, coefficients = self._remembered(bilinear, coefficients)
        if variant == "galerkin":
            return (self.prolongation - self.correctors(bilinear, **coefficients)).T @ on_fine
        rows = self._gathered(self._engine(bilinear, coefficients), np.arange(len(self.grid.corners)), split[:, :, None])
        nodes = self.patches.nodes
        return np.bincount(nodes[nodes >= 0], rows[nodes >= 0, 0], minlength=self.coarse.N)

    def update(self, S: Any, a_old: ndarray, a_new: ndarray, form: BilinearForm | None = None, **coefficients: Any) -> Any:
        """S for the coefficient ``a_new``, from S for ``a_old``: only patches whose coefficient changed are solved again.

        ``S`` is the ``csr_matrix`` of ``assemble`` (local matrices of changed patches are solved for both coefficients) or
        the ``COOData`` of ``elemental`` (they are replaced: half the work, no rounding left behind). The form and its other
        coefficients are those given, or, without ``form``, those last assembled. Returns what was given, changed.
        """
        form, coefficients = self._remembered(form, coefficients)
        nelems = self.coefficient_refinement.cells.size
        old, new = (check_coefficients({"a": a}, nelems, -1)["a"] for a in (a_old, a_new))
        changed = (old != new).reshape(-1, nelems).any(axis=0)[self.coefficient_refinement.cells].any(axis=1)
        cells = self.patches.cells
        elements = np.flatnonzero((changed[cells] & (cells >= 0)).any(axis=1))
        rest = {**coefficients, "a": new}
        fresh = self.local(form, elements, **rest)
        if isinstance(S, COOData):
            local = S.tolocal().copy()
            local[elements] = fresh
            return S.fromlocal(local)
        stale = self.local(form, elements, **{**coefficients, "a": old})
        change = np.zeros((len(self.grid.corners),) + fresh.shape[1:])
        change[elements] = fresh - stale
        self._assembled = (form, rest)
        return S + self._coo(change).tocsr()

    # -- inside ----------------------------------------------------------------------------------------------------------

    def _engine(self, form: BilinearForm, coefficients: dict[str, Any]) -> Any:
        if not isinstance(form, BilinearForm):
            raise TypeError(f"form: expected a BilinearForm, got {type(form).__name__}")
        checked = check_coefficients(coefficients, self.coefficient_refinement.cells.size, self._fine_nodes())
        self._assembled = (form, coefficients)
        return find_engine(self)(self, FineForm(self, form, checked))

    def _fine_nodes(self) -> int:
        return self._fine_mesh.p.shape[1] if "_fine_mesh" in self.__dict__ else -1

    def _remembered(self, form: BilinearForm | None, coefficients: dict[str, Any]) -> tuple[BilinearForm, dict[str, Any]]:
        if form is not None:
            return form, coefficients
        if self._assembled is None:
            raise ValueError("form: expected the bilinear form (nothing was assembled on this LOD before), got none; give it")
        return self._assembled[0], {**self._assembled[1], **coefficients}

    def _gathered(self, engine: Any, elements: ndarray, loads: ndarray | None) -> ndarray:
        columns = self.grid.corners.shape[1] if loads is None else loads.shape[2]
        out = np.zeros((len(self.grid.corners), self.patches.nodes.shape[1], columns))
        ordered = self._in_rows(elements)
        for done, rows in progress_over(engine.local(ordered, loads), len(ordered), self.progress):
            out[done] = rows
        return out[elements]

    def _in_rows(self, elements: ndarray) -> ndarray:
        """Elements ordered by their place, x fastest, so that neighbours are treated together."""
        return elements[np.lexsort(self.grid.cells[:, elements])]

    def _coo(self, local: ndarray) -> COOData:
        rows, cols = self.patches.scatter()
        indices = np.stack([np.moveaxis(index, 0, -1).ravel() for index in (rows, cols)])
        return COOData(indices, np.moveaxis(local, 0, -1).ravel(), (self.coarse.N,) * 2, local.shape[1:])

    def _fine_matrix(self, form: BilinearForm, coefficients: dict[str, Any]) -> csr_matrix:
        checked = check_coefficients(coefficients, self.coefficient_refinement.cells.size, self._fine_nodes())
        cells = np.arange(self.refinement.cells.size)
        corners = self.fine_grid.corners
        rows, cols = np.broadcast_arrays(corners[:, :, None], corners[:, None, :])
        blocks = FineForm(self, form, checked).matrices(cells)
        return coo_matrix((blocks.ravel(), (rows.ravel(), cols.ravel()))).tocsr()


def _q1_basis(coarse: Basis | Mesh, dim: int) -> Basis:
    element = ELEMENTS[dim]
    if isinstance(coarse, Mesh):
        return Basis(coarse, element())
    if type(coarse.elem) is not element:
        raise TypeError(f"coarse: expected a basis of {element.__name__}, got one of {type(coarse.elem).__name__}; LOD treats "
                        "scalar Q1 spaces (no vector or higher-order elements)")
    if coarse.tind is not None:
        raise TypeError("coarse: expected a basis on all cells of its mesh, got one on a subset; restrict the mesh instead")
    return coarse


def _whole(name: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{name}: expected a whole number >= {least}, got {value!r}")
    return number


def _only_variants(variant: str) -> None:
    if variant != "galerkin":
        raise ValueError(f'variant: expected "petrov-galerkin" or "galerkin", got {variant!r}')


def _folded(rows: list[ndarray], cols: list[ndarray], data: list[ndarray], shape: tuple[int, int]) -> csr_matrix:
    return coo_matrix((np.concatenate(data), (np.concatenate(rows), np.concatenate(cols))), shape=shape).tocsr()
