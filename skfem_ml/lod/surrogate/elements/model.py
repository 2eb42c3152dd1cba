"""Learned super-elements: a network's energies in the place of the interiors of coarse elements."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from skfem_ml.compare import Verdict
from skfem_ml.learning.models import Card, find_model
from skfem_ml.learning.storage import fitting, load_model, save_model
from skfem_ml.lod.engine.protocol import Energies, Interiors
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.interpolation import PROJECTION
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.conformal import Certificate, Promise
from skfem_ml.lod.surrogate.elements.cells import CellEnergies, gradient_modes
from skfem_ml.lod.surrogate.elements.checking import beside_corners, check_elements
from skfem_ml.lod.surrogate.elements.judging import ElementJudgement, judged
from skfem_ml.lod.surrogate.elements.labels import Elements
from skfem_ml.lod.surrogate.elements.network import ElementNetwork, predicted
from skfem_ml.lod.surrogate.setting import Setting
from skfem_ml.problems import diffusion

SETTING = ("n", "interpolation", "form")
ELL = 2  # where none is asked for
CHECKED = 0.02  # of the elements, for every coefficient
KNOWN = 5e-3  # score of elements with known energies: S_T is off by up to 1.5e-2, as of layers of contrast 1000


class SuperElements(Interiors):
    r"""A network that gives the energies of coarse elements, for diffusion on n x n cells each, as on a far finer mesh.

    It learns the element, not the patch: H^ (`Interiors`) of an element from the values of its cells, by the formulas
    of `surrogate.elements.cells`: positive but for constants, H^(c a) = c H^(a), close to H_4n + (H_4n - H_2n) / 3. All
    else is the exact algebra of the n x n mesh, and elements of one value or of layers along an axis are exact, every
    pattern of layers solved once. So one model serves every ell, boundary condition, union of cells, variant, load and
    fine reconstruction.

    It stands in the place of a form, ``lod.assemble(model, a=a)``: the matrix of ``LOD(..., refine=n,
    interiors=model)``, which has every verb of a system. The coefficient may have n x n cells an element, or fewer.

    Parameters
    ----------
    net
        An `ElementNetwork`.
    card
        A `Card`; its "doubt" has the ``factor`` by which disagreement is multiplied.
    tol
        Elements with a doubt above it are replaced by exact ones, one by one. None: none, and no doubt is computed.
    checked
        The share of elements, drawn by place, whose energies are compared with exact ones for every coefficient. There
        are warnings where more than a tenth of them are further off than the card's "trusted", where exact ones on
        4 n x 4 n cells are themselves a per cent from what they converge to, and where hard cells touch at corners on
        the sides of elements. 0: none.

    Raises
    ------
    ValueError
        For a ``tol`` that is negative, a share outside [0, 1]; on use, for meshes, forms and quasi-interpolations that
        it was not made for.

    >>> from skfem import MeshQuad
    >>> from skfem_ml import LOD, Surrogate, diffusion
    >>> model = Surrogate.load("diffusion")
    >>> LOD(MeshQuad().refined(2), refine=8, ell=1, interiors=model).assemble(diffusion, a=2.0).shape
    (25, 25)
    """

    form = diffusion

    def __init__(
        self, net: ElementNetwork, card: Card | None = None, *, tol: float | None = None, checked: float = CHECKED
    ):
        if tol is not None and not tol >= 0:
            raise ValueError(f"tol: expected a number of at least 0, or None, got {tol}")
        if not 0 <= checked <= 1:
            raise ValueError(f"checked: expected a share of the elements, 0 to 1, got {checked}")
        setting = {"n": net.n, "interpolation": "projection", "form": "diffusion"}
        self.net, self.tol, self.checked = net.eval(), tol, float(checked)
        self.layers = True  # whether elements of one value, and of layers along an axis, are exact
        self.card = replace(card or Card(), kind="elements", setting=setting, network=self._network(net))
        self.cells, self.certificate = CellEnergies(net.n), Certificate.from_json(self.card.certificate or {})

    def __repr__(self) -> str:
        told = [repr(self.card.name)] if self.card.name else []
        told += [f"n={self.net.n}", *([f"tol={self.tol:g}"] if self.tol is not None else [])]
        return f"SuperElements({', '.join(told)}{Verdict.brief(self.card.facts)})"

    @property
    def promise(self) -> Promise | None:
        """What is promised of u_h, for `Hybrid`."""
        return self.certificate.solution

    @property
    def setting(self) -> Setting:
        """The LOD whose matrices it gives: 4 n fine cells along a coarse edge; for any ell, and any boundary."""
        n = self.net.n
        return Setting(2, 4 * n, n, ELL, "projection", "mixed", "square", "diffusion")

    @property
    def verdict(self) -> Verdict | None:
        """Whether it pays, as measured at the end of its training (`train_surrogate`); None where it was not."""
        return Verdict.of_card(self.card.facts)

    # As interiors of an LOD.

    def check(self, space: Discretisation) -> None:
        """Raise ValueError unless the space has n fine cells along a coarse edge and L2 projections as averages."""
        if space.grid.dim != 2 or space.n != self.net.n:
            raise ValueError(
                f"interiors: expected quads and refine = {self.net.n}, which is the model's, got dimension "
                f"{space.grid.dim} and refine = {space.n}; the coefficient may have fewer cells"
            )
        if space.interpolation is not PROJECTION:
            raise ValueError('interiors: expected interpolation="projection", which is the model\'s, got another')

    def energies(self, space: Discretisation, fine_form: FineForm) -> Energies:
        """H^ of elements, ``(k, 4 n + 4, 4 n + 4)``; some are compared with exact ones first, see ``checked``.

        Raises ValueError for a form other than diffusion on equal squares with one coefficient ``a``.
        """
        self.check(space)
        _require_diffusion(fine_form)
        truth = Elements(space, fine_form)

        def learned(elements: ndarray) -> Tensor:
            return self._judge(elements, truth, self.tol).energies

        if self.checked:
            check_elements(truth, learned, self.checked, self._on_card("trusted", 0.1))
        return learned

    # In the place of a form.

    def on(self, lod: LOD) -> LOD:
        """The LOD with n x n fine cells an element, and these interiors."""
        return (lod if lod.space.n == self.net.n else lod.with_fine(self.net.n)).with_interiors(self)

    def without_exact(self) -> SuperElements:
        """The network's energies alone: no element is exact, none is checked."""
        other = copy.copy(self)
        other.tol, other.checked, other.layers = None, 0.0, False
        return other

    def local(self, lod: LOD, elements: ndarray, **coefficients: ArrayLike) -> ndarray:
        """Local matrices of the elements, ``(k, (2 ell + 2)**2, 4)``, for ``a`` of shape ``(nelems,)`` alone.

        ``lod`` may have another ``refine``: the matrices are those of ``LOD(..., refine=n, interiors=model)``.
        """
        return self.on(lod).local(diffusion, elements, **coefficients)

    def judge(
        self, lod: LOD, elements: ArrayLike | None = None, *, a: ArrayLike, tol: float | None = None
    ) -> ElementJudgement:
        """Energies of coarse elements, how far they are expected to be off, and which are exact.

        The doubt is an estimate of ``d = max |log eig(H^-1 H^)|``, the relative error of any energy of the element: how
        much the answers to two symmetric images differ from it, times the card's factor. ``tol``: as of the model.
        """
        learned = self.on(lod)
        chosen = learned.space.all_elements if elements is None else learned.space.chosen(elements)
        truth = Elements.of(learned.space, np.asarray(a, dtype=float))
        return self._judge(chosen, truth, self.tol if tol is None else tol, doubt=True)

    def doubt(self, lod: LOD, elements: ArrayLike | None = None, *, a: ArrayLike) -> ndarray:
        """The error d to be expected of the energies of coarse elements, ``(k,)``; see `judge`."""
        return self.judge(lod, elements, a=a, tol=np.inf).doubt

    def with_score(self, lod: LOD, elements: ndarray, **coefficients: ArrayLike) -> tuple[ndarray, ndarray]:
        """Local matrices ``(k, (2 ell + 2)**2, 4)`` for ``a``, and the relative errors to be expected, ``(k,)``:
        the largest doubt in each patch, of energies or for hard cells that touch at corners on the sides of elements,
        times the factor of the certificate.
        """
        learned, a, made = self.on(lod), np.asarray(coefficients["a"], dtype=float), self.certificate.elements
        truth = Elements.of(learned.space, a)
        judged = self._judge(learned.space.all_elements, truth, np.inf, doubt=True)
        doubt = np.maximum(np.where(judged.known, KNOWN, judged.doubt), beside_corners(truth))
        doubt = np.append(doubt, 0.0)  # outside the domain
        scores = doubt[lod.patches.cells[elements]].max(axis=1)
        return learned.local(diffusion, elements, a=a), scores * (made.factor if made else 1.0)

    # Files.

    def save(self, path: str | Path) -> None:
        """Write weights and card to one file; see `storage.save_model` for what is raised."""
        save_model(path, self.net.state_dict(), {**self.card.to_json(), "network": self._network(self.net)})

    @classmethod
    def load(cls, name_or_path: str | Path, *, tol: float | None = None, checked: float = CHECKED) -> SuperElements:
        """Read a model: a path, or the name of one of the package.

        Raises FileNotFoundError with the names there are, and CorruptModelError for what `save` did not write.
        """
        path = find_model("lod", name_or_path)
        tensors, flat = load_model(path)
        return cls.read(path, tensors, flat, tol=tol, checked=checked)

    @classmethod
    def read(
        cls,
        path: Path,
        tensors: Mapping[str, Tensor],
        flat: Mapping[str, Any],
        tol: float | None = None,
        checked: float = CHECKED,
    ) -> SuperElements:  # fmt: skip
        """A model from what `load_model` gives of a file."""
        with fitting(path, "the weights and card of super-elements"):
            described = dict(flat["network"])
            if described.pop("kind") != "ElementNetwork":
                raise ValueError("another kind of network")
            with torch.device("meta"):
                net = ElementNetwork(**described)
            net.load_state_dict(tensors, assign=True)
            return cls(net, Card.from_json(flat, SETTING), tol=tol, checked=checked)

    @staticmethod
    def _network(net: ElementNetwork) -> dict[str, object]:
        return {"kind": type(net).__name__, **net.config}

    # What is behind it.

    def answer(self, values: Tensor) -> Tensor:
        """Bordered matrices for values of cells ``(k, n n)``, x fastest; differentiable."""
        return predicted(self.net, self.cells, values)

    def _judge(self, elements: ndarray, truth: Elements, tol: float | None, *, doubt: bool = False) -> ElementJudgement:
        factor = float(self._on_card("factor", 1.0)) if doubt or tol is not None else None
        return judged(self.answer, elements, truth, tol, factor, self.layers)

    def _on_card(self, name: str, default: float) -> float:
        value = (self.card.doubt or {}).get(name, default)
        return float(value) if isinstance(value, (int, float)) else default


def _require_diffusion(fine_form: FineForm) -> None:
    """Raise ValueError unless element matrices are the values of ``a`` times the stiffness of a square."""
    modes = gradient_modes()
    unit = fine_form.unit_matrix
    if (
        unit is None
        or set(fine_form.coefficients) - {"a"}
        or not np.allclose(unit, modes.T @ modes, rtol=1e-9, atol=1e-9)
    ):
        raise ValueError(
            "interiors: expected diffusion with one scalar coefficient a on equal squares, which the model was made "
            f"for, got another form, {sorted(fine_form.coefficients)} or unequal cells; take interiors=32"
        )
