"""The class ``LOD``: a coarse Q1 basis whose forms are assembled with localized orthogonal decomposition.

It holds meshes, patches and choices (`mesh.discretisation`); what is computed of a form and its coefficients is in a
`System`.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from skfem import Basis, BilinearForm, LinearForm, Mesh
from skfem.assembly.form.coo_data import COOData

from skfem_ml.checks import whole
from skfem_ml.lod.coarse import warn_unseen
from skfem_ml.lod.engine.protocol import EngineFactory, Interiors, find_engine, find_interiors
from skfem_ml.lod.local import LocalMap, changed_elements, sum_local
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import check_coefficients
from skfem_ml.lod.mesh.interpolation import Interpolation
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.lod.mesh.patches import Patches
from skfem_ml.lod.mesh.views import OnSpace
from skfem_ml.lod.shown import lod_html, lod_text
from skfem_ml.lod.system import System
from skfem_ml.meshes.boundary import Dirichlet
from skfem_ml.progress import Progress

Form: TypeAlias = BilinearForm | LocalMap


class LOD(OnSpace):
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
        Localisation parameter: layers of coarse elements around T (>= 1). One larger than the domain is clipped to it,
        with a warning.
    fine
        A fine mesh of your own in place of ``refine``, in any order: n x ... x n equal cells in every coarse cell.
    dirichlet
        Gamma_D, where correctors vanish: names of boundaries of the coarse mesh, a function ``lambda x: x[0] == 0``, or
        degrees of freedom of the coarse basis. Default the whole boundary. Elsewhere the boundary condition is natural.
        Fix u there too: ``condense(..., D=lod.dirichlet_dofs)``, or ``system.solve(f)``.
    interpolation
        ``"projection"`` (default), ``"clement"``, ``"nodal"`` or an ``Interpolation``.
    engine
        ``"condensation"`` (fast; quads, hexes), ``"reference"`` (everything), ``"iterative"`` (patches that are too
        large for these), ``"auto"``: the fastest, as measured; or your own `engine.protocol.EngineFactory`.
    interiors
        What takes the place of the interiors of elements (quads, fast engine): N, a multiple of four times ``refine``,
        for energies extrapolated from N / 2 and N cells along a coarse edge, `ExtrapolatedInteriors`; or `Interiors` of
        your own. Rough coefficients: ``refine=8, interiors=32`` is as good as refine = 32 at twice the time of 8.
    device
        Where the fast engine computes: a torch device such as ``"cpu"`` or ``"cuda"``.
    workers
        Threads of the fast engine on a CPU, each taking rows of patches.
    memory
        Bytes of factorised patches a `System` may hold (300 kB a patch at refine = 8 and ell = 2, 5 MB at 32).
    progress
        Whether to show a progress bar; or ``progress(done, total, text)`` to be told instead.

    Attributes
    ----------
    coarse, fine
        The two Q1 bases.
    coefficient_mesh
        The mesh with m^d cells a coarse cell on which coefficients live, one value a cell, in its own order; it is
        ``fine.mesh`` when m = n. Both have the names of boundaries and subdomains of the coarse mesh.
    ell
        The localisation parameter in force.

    Raises
    ------
    TypeError
        For meshes and elements that are not supported.
    ValueError
        For parameters out of range and a fine mesh that is no refinement.

    Examples
    --------
    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD
    >>> from skfem_ml.problems import diffusion
    >>> lod = LOD(MeshQuad().refined(5), refine=8, ell=2)
    >>> lod
    LOD(1024 quads, refine=8, ell=2, condensation on cpu)
    >>> lod.assemble(diffusion, a=1.0).shape  # was: diffusion.assemble(basis, a=...)
    (1089, 1089)

    References
    ----------
    Malqvist, Peterseim, Math. Comp. 83 (2014); Elfverson, Ginting, Henning, Numer. Math. 131 (2015) (Petrov-Galerkin);
    Engwer, Henning, Malqvist, Peterseim, CMAME 350 (2019); Kropfl, Maier, Peterseim, Adv. Cont. Discr. Models 2022:29.
    """

    def __init__(
        self,
        coarse: Basis | Mesh,
        refine: int | None = None,
        *,
        cells: int | None = None,
        ell: int = 2,
        fine: Mesh | Basis | None = None,
        dirichlet: Dirichlet = None,
        interpolation: str | Interpolation = "projection",
        engine: str | EngineFactory = "auto",
        interiors: int | Interiors | None = None,
        device: str = "cpu",
        workers: int = 1,
        memory: int = 2**30,
        progress: bool | Progress = False,
    ):
        self.space = Discretisation(
            coarse, refine, cells, ell, fine=fine, dirichlet=dirichlet, interpolation=interpolation, device=device,
            workers=workers,
        )  # fmt: skip
        self.ell = self.space.ell
        self.engine, self.progress, self._choice = find_engine(engine, self.space), progress, engine
        self.space.interiors = find_interiors(interiors, self.space, engine)
        self.memory = whole(memory, "memory", 0)

    __repr__, _repr_html_ = lod_text, lod_html

    if not TYPE_CHECKING:  # type checkers are to see what is missing

        def __getattr__(self, name):
            its = "it is no Basis, but has two, lod.coarse and lod.fine: asm(form, lod, ...) is lod.assemble(form, ...)"
            raise AttributeError(f"LOD has no attribute {name!r}" + ("" if name.startswith("_") else f"; {its}"))

    def with_fine(self, refine: int) -> LOD:
        """The same with ``refine`` fine cells along a coarse edge, on the same coefficient mesh, without ``interiors``.

        Raises ValueError where ``refine`` is no multiple of the coefficient cells along a coarse edge.
        """
        other = copy.copy(self)
        other.__dict__.pop("fine", None)
        other.space = self.space.with_fine(refine)
        other.engine = find_engine(self._choice, other.space)
        return other

    def with_interiors(self, interiors: int | Interiors | None) -> LOD:
        """The same with other `Interiors` of its elements; errors as for ``LOD(..., interiors=...)``."""
        other = copy.copy(self)
        other.space = copy.copy(self.space)
        other.space.interiors = find_interiors(interiors, other.space, self._choice)
        return other

    @property
    def patches(self) -> Patches:
        """The patches of all elements and their local-to-global maps."""
        return self.space.patches

    @property
    def quasi_interpolation(self) -> csr_matrix:
        """I_h: the quasi-interpolation as a matrix ``(coarse.N, fine.N)``, the rows at nodes on Gamma_D kept."""
        return self.space.quasi_interpolation

    def gather(self, a: ArrayLike) -> ndarray:
        """Coefficient patches ``(nelems, ((2 ell + 1) m)**d)``, x fastest, zero outside the domain."""
        cells = self.space.coefficient_refinement.cells.size
        return self.space.gathered(np.broadcast_to(check_coefficients({"a": a}, cells)["a"], cells))

    def gather_dirichlet(self) -> ndarray:
        """Which nodes of each patch lie on Gamma_D, ``(nelems, (2 ell + 2)**d)``."""
        return self.space.dirichlet_of_patches()

    def system(self, form: Form, **coefficients: ArrayLike) -> System:
        """The `System` of one form, or local map, with these coefficients: what is computed is shared in it."""
        return System(self, form, coefficients, self.memory)

    # Shorthands, each a system made for one question, which holds no factors.

    def _once(self, form: Form, coefficients: dict[str, ArrayLike]) -> System:
        return System(self, form, coefficients)

    def assemble(self, form: Form, *, variant: str = "petrov-galerkin", **coefficients: ArrayLike) -> csr_matrix:
        """The LOD matrix S ``(coarse.N, coarse.N)``, rows test functions: ``lod.system(form, a=a).matrix(variant)``."""
        return self._once(form, coefficients).matrix(variant)

    def local(self, form: Form, elements: ArrayLike | None = None, **coefficients: ArrayLike) -> ndarray:
        """Local matrices S_T of all elements, or of some: ``(k, (2 ell + 2)**d, 2**d)``; see `System.local`."""
        return self._once(form, coefficients).local(elements)

    def elemental(self, form: Form, **coefficients: ArrayLike) -> COOData:
        """Local matrices with their global places; ``tolocal()`` gives ``(nelems, (2 ell + 2)**d, 2**d)``."""
        return self._once(form, coefficients).elemental()

    def sum(self, local: ndarray) -> COOData:
        """S = sum over T of S_T for local matrices ``(nelems, rows, columns)``; ``.tocsr()`` is the matrix."""
        return sum_local(self, local)

    def basis(self, form: BilinearForm, **coefficients: ArrayLike) -> csr_matrix:
        """The multiscale basis P - Q, ``(fine.N, coarse.N)``; see `System.basis`."""
        return self._once(form, coefficients).basis()

    def correctors(self, form: BilinearForm, **coefficients: ArrayLike) -> csr_matrix:
        """Q, ``(fine.N, coarse.N)``; see `System.correctors`."""
        return self._once(form, coefficients).correctors()

    def prolong(
        self, u: ArrayLike, form: BilinearForm, *, load: LinearForm | None = None, **coefficients: ArrayLike
    ) -> ndarray:
        """The fine reconstruction (1 - Q) u_h [+ R f], ``(fine.N,)``; see `System.prolong`."""
        return self._once(form, coefficients).prolong(u, load)

    def load(
        self,
        form: LinearForm,
        *,
        corrected: bool = False,
        bilinear: BilinearForm | None = None,
        variant: str = "petrov-galerkin",
        **fields: ArrayLike,
    ) -> ndarray:
        """The right-hand side ``(coarse.N,)``; see `System.load`.

        With ``bilinear`` the keyword arguments are the coefficients of that form, which a corrected load and the
        Galerkin variant need; without it they are the fields of the load.
        """
        if bilinear is not None:
            return self._once(bilinear, fields).load(form, corrected=corrected, variant=variant)
        if corrected or variant != "petrov-galerkin":
            raise ValueError(
                "bilinear: expected the bilinear form and its coefficients, got none; "
                "lod.load(f, corrected=True, bilinear=form, a=a), or lod.system(form, a=a).load(f, corrected=True)"
            )
        load = FineLoad(self.space, form, fields)
        warn_unseen(load)
        return load.on_coarse

    def update(
        self,
        S: csr_matrix | COOData,
        a_old: ArrayLike,
        a_new: ArrayLike,
        form: Form | None = None,
        name: str = "a",
        **other: ArrayLike,
    ) -> csr_matrix | COOData:
        """S for the coefficient ``a_new``, from S for ``a_old``: only changed patches are solved again.

        ``S`` is the ``csr_matrix`` of ``assemble`` (local matrices of changed patches are solved for both coefficients)
        or the ``COOData`` of ``elemental`` (they are replaced: half the work, no rounding left behind). ``name`` is
        that of the coefficient in the form, ``other`` are the form's other coefficients. Returns what was given,
        changed; `System.update` remembers the old coefficient by itself.
        """
        if form is None:
            raise TypeError(
                "update: expected the form, lod.update(S, a_old, a_new, form); or hold system = lod.system(form, a=a) "
                "and take system.update(a=a_new).matrix()"
            )
        old, new = (self._once(form, {**other, name: a}) for a in (a_old, a_new))
        elements = changed_elements(form, self.space, old.coefficients, new.coefficients)
        fresh = new.local(elements)
        if isinstance(S, COOData):
            local = S.tolocal().copy()
            local[elements] = fresh
            return S.fromlocal(local)
        change = np.zeros((len(self.patches.corners),) + fresh.shape[1:])
        change[elements] = fresh - old.local(elements)
        return S + self.sum(change).tocsr()
