"""Exact local matrices of two or three fine meshes, extrapolated, with a certificate that needs no training."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import BilinearForm

from skfem_ml import checks
from skfem_ml.lod.local import PickledForm

if TYPE_CHECKING:
    from skfem_ml.lod.method import LOD

ORDERS = 1.0, 2.0  # an order that is estimated stays within them


class Extrapolation(NamedTuple):
    """What `Extrapolated.judge` returns.

    Attributes
    ----------
    matrices
        Local matrices ``(k, rows, columns)``.
    scores
        The certificate ``|S - S_fine|_F / |S|_F``, ``(k,)``: by how much extrapolation moved each matrix.
    absolute
        ``|S - S_fine|_F``, ``(k,)``.
    orders
        The order p that was used, ``(k,)``.

    >>> import numpy as np
    >>> from skfem_ml.lod import Extrapolation
    >>> found = Extrapolation(np.ones((2, 36, 4)), np.array([0.01, 0.2]), np.array([0.12, 2.4]), np.full(2, 2.0))
    >>> float(found.scores.max())
    0.2
    """

    matrices: ndarray
    scores: ndarray
    absolute: ndarray
    orders: ndarray


class Extrapolated(PickledForm):
    r"""A local map: exact matrices on meshes with ``refines`` fine cells along a coarse edge, extrapolated.

    With S_1, S_2 the matrices for n_1 < n_2 = q n_1 and p the order of convergence,
    S = S_2 + (S_2 - S_1) / (q^p - 1): with (8, 16) and p = 2, S_16 + (S_16 - S_8) / 3.
    The matrices of the finest mesh are off by about ``|S_2 - S_1|_F / (q^p - 1)``; S should be closer than that: this
    is its certificate (`judge`, `doubt`), measured and not proven. With three meshes, n_3 = q n_2 = q^2 n_1, the order
    of every element is estimated, ``p = log_q(|S_2 - S_1|_F / |S_3 - S_2|_F)``, and kept within [1, 2]; S extrapolates
    the two finest.

    It serves wherever a form does, on lines, quads and hexes, with the LOD's engine, patches and boundary; its own
    ``refine`` and ``interiors`` do not matter. S scales and keeps constants as exact matrices do, but need not be
    definite where they are. ``Hybrid(Extrapolated(form), form, element_tol=0.02)`` computes elements of a
    larger certificate on the LOD's own mesh; with ``tol=`` as many as a promised error of u_h takes.

    Parameters
    ----------
    form
        A symmetric elliptic ``BilinearForm``.
    refines
        Two or three numbers of fine cells, multiples of the LOD's ``cells``; three in equal ratio.
    order
        p where there are two, a positive number: 2 for smooth coefficients.

    Raises
    ------
    TypeError
        For a form that is no ``BilinearForm``.
    ValueError
        For other numbers; when called, for numbers that are no multiples of ``cells``.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD, Extrapolated
    >>> from skfem_ml.problems import diffusion
    >>> lod = LOD(MeshQuad().refined(2), refine=32, cells=1, ell=1)
    >>> found, exact = Extrapolated(diffusion, (4, 8)).judge(lod, a=2.0), lod.local(diffusion, a=2.0)
    >>> bool(abs(found.matrices - exact).max() < 0.2 * abs(lod.with_fine(8).local(diffusion, a=2.0) - exact).max())
    True

    References
    ----------
    Richardson, Phil. Trans. A 226 (1927).
    """

    def __init__(self, form: BilinearForm, refines: Sequence[int] = (8, 16), order: float = 2.0):
        if not isinstance(form, BilinearForm):
            raise TypeError(f"form: expected a BilinearForm, got {type(form).__name__}")
        refines = tuple(checks.whole(refine, "refines", 1) for refine in refines)
        ratios = [fine / coarse for coarse, fine in itertools.pairwise(refines)]
        if len(ratios) not in (1, 2) or min(ratios) <= 1 or ratios[0] != ratios[-1]:
            raise ValueError(
                f"refines: expected two growing numbers of fine cells, such as (8, 16), or three in equal ratio, such "
                f"as (8, 16, 32), got {refines}"
            )
        checks.positive(order, "order")
        self.form, self.refines, self.order, self.ratio = form, refines, order, ratios[0]

    def __repr__(self) -> str:
        name = getattr(getattr(self.form, "form", None), "__name__", type(self.form).__name__)
        order = f", order={self.order:g}" if len(self.refines) == 2 and self.order != 2 else ""
        return f"Extrapolated({name}, refines={self.refines}{order})"

    def local(self, lod: LOD, elements: ndarray, **coefficients: ArrayLike) -> ndarray:
        """Local matrices of the elements, ``(k, (2 ell + 2)**d, 2**d)``; errors as for `System`."""
        return self.judge(lod, elements, **coefficients).matrices

    def judge(self, lod: LOD, elements: ndarray | None = None, **coefficients: ArrayLike) -> Extrapolation:
        """Local matrices of all elements, or of some, with their certificates and orders."""
        chosen = lod.space.all_elements if elements is None else lod.space.chosen(elements)
        *coarser, previous, finest = (
            lod.with_fine(refine).local(self.form, chosen, **coefficients) for refine in self.refines
        )
        gap, orders = finest - previous, np.full(len(chosen), float(self.order))
        if coarser:
            orders = self._orders(_norms(previous - coarser[0]), _norms(gap))
        matrices = finest + gap / (self.ratio**orders - 1)[:, None, None]
        absolute = _norms(gap) / (self.ratio**orders - 1)
        size = _norms(matrices)
        return Extrapolation(matrices, absolute / np.where(size > 0, size, 1.0), absolute, orders)

    def doubt(self, lod: LOD, elements: ndarray, **coefficients: ArrayLike) -> ndarray:
        """The certificate ``|S - S_fine|_F / |S|_F`` of the elements, ``(k,)``, in the place of a surrogate's doubt."""
        return self.judge(lod, elements, **coefficients).scores

    def with_score(self, lod: LOD, elements: ndarray, **coefficients: ArrayLike) -> tuple[ndarray, ndarray]:
        """Local matrices of the elements and their certificates, as `Hybrid` asks for them."""
        return self.judge(lod, elements, **coefficients)[:2]

    def _orders(self, before: ndarray, after: ndarray) -> ndarray:
        """log_q of the ratio of two differences, within the bounds; the upper one where nothing changes."""
        low, high = ORDERS
        ratio = np.divide(before, after, out=np.full(len(after), np.inf), where=after > 0)
        return np.log(ratio.clip(self.ratio**low, self.ratio**high)) / np.log(self.ratio)


def _norms(matrices: ndarray) -> ndarray:
    return np.linalg.norm(matrices, axis=(1, 2))
