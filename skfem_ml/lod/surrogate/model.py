"""A network in the place of the form: ``lod.assemble(surrogate, a=a)`` is one forward pass for all elements."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from skfem import BilinearForm
from torch import Tensor

from skfem_ml import checks
from skfem_ml.compare import Verdict
from skfem_ml.learning.models import Card, find_model
from skfem_ml.learning.storage import ModelMismatchError, fitting, load_model, save_model
from skfem_ml.lod.local import Known
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.certificate import Answer, Asked, excess_of, novel_fields, strange, strangeness, warn
from skfem_ml.lod.surrogate.conformal import Certificate, Novel
from skfem_ml.lod.surrogate.elements import SuperElements
from skfem_ml.lod.surrogate.inputs import CoarserFine, blocks, place_of, shapes_of
from skfem_ml.lod.surrogate.networks.field_encoder import rounded
from skfem_ml.lod.surrogate.networks.field_network import FieldNetwork
from skfem_ml.lod.surrogate.networks.local_network import Certified, LocalNetwork
from skfem_ml.lod.surrogate.networks.patch_mlp import PatchMLP
from skfem_ml.lod.surrogate.networks.place import Inputs, Place
from skfem_ml.lod.surrogate.networks.symmetries import images
from skfem_ml.lod.surrogate.patterns import patterns
from skfem_ml.lod.surrogate.setting import Setting
from skfem_ml.problems import diffusion

NETWORKS: dict[str, type[LocalNetwork]] = {"PatchMLP": PatchMLP, "FieldNetwork": FieldNetwork}
SETTING = tuple(each.name for each in fields(Setting))
BATCH = 16  # fields a pass on a device; on a CPU one, since more would only fall out of the cache


class Surrogate:
    """A local map made of a network and a card that says what it was made for.

    Parameters
    ----------
    net
        A network of `networks`: single precision inside, double precision out.
    card
        A `Card`, or the `Setting` of the labels alone: nothing is then known of the range of training. "extent" is the
        range of the network's inputs in training (see `extent_of`), "shapes" the patches seen there, "features" and
        "patterns" the ranges of `feature_range` and `pattern_range`, "doubt" what `fit_doubt` gives.
    symmetric
        Whether to average over the eight symmetries of the square: equivariant, for eight times the work.
    device
        A torch device such as ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    ValueError
        For a card of another setting than the network's, a network that corrects a finer mesh, and a device that is
        not there.

    >>> from skfem_ml import Surrogate
    >>> surrogate = Surrogate.load("diffusion-q1-ell2-n8")
    >>> surrogate.setting.n, surrogate.card.doubt["quantile"]
    (8, 0.9)
    >>> surrogate
    Surrogate('diffusion-q1-ell2-n8': 8 x 8 cells, n=8, ell=2, trained on iid-0 to iid-8, multiscale; U[1, 5])
    """

    def __init__(self, net: LocalNetwork, card: Card | Setting, *, symmetric: bool = False, device: str = "cpu"):
        if not isinstance(card, (Card, Setting)):
            raise TypeError(f"card: expected a Card or Setting.of(lod), got {type(card).__name__}")
        card = card if isinstance(card, Card) else Card(setting=card.to_json())
        self.net, self.symmetric, self.device = net, symmetric, device
        self.card = replace(card, network=self._network())
        self.setting = Setting.from_json(self.card.setting)
        for name, size in (("cells", net.m), ("ell", net.ell), ("dim", 2)):
            if getattr(self.setting, name) != size:
                found = getattr(self.setting, name)
                raise ValueError(f"card: expected {name} = {size}, which is the network's, got {found!r}")
        if net.base >= self.setting.n:
            raise ValueError(f"card: expected n above {net.base}, whose matrices are corrected, got {self.setting.n}")
        if net.base and self.setting.form != "diffusion":
            raise ValueError(f"card: expected the form diffusion, which is corrected, got {self.setting.form!r}")
        checks.device(device)
        self.net = net.to(device).eval()
        self.certificate = Certificate.from_json(self.card.certificate or {})
        self._shapes = frozenset(self.card.shapes or ())

    def __repr__(self) -> str:
        kind = repr(self.card.name) if self.card.name else type(self.net).__name__
        seen = self.card.facts.get("family") or "fields unknown"
        if self.card.extent is not None and "family" not in self.card.facts:
            seen = "inputs in [{:.4g}, {:.4g}]".format(*self.card.extent)
        size = f"{self.setting.cells} x {self.setting.cells} cells, n={self.setting.n}, ell={self.setting.ell}"
        told = f"{'' if self.has_doubt else ', no doubt trained'}{Verdict.brief(self.card.facts)}"
        return f"Surrogate({kind}: {size}, trained on {seen}{told})"

    @property
    def form(self) -> BilinearForm | None:
        """The bilinear form that it stands for, where that is `problems.diffusion`."""
        return diffusion if self.setting.form == "diffusion" else None

    @property
    def verdict(self) -> Verdict | None:
        """Whether it pays, as measured at the end of its training (`train_surrogate`); None where it was not."""
        return Verdict.of_card(self.card.facts)

    @property
    def has_doubt(self) -> bool:
        """Whether the network was trained to tell its own error."""
        return self.card.doubt is not None and isinstance(self.net, Certified)

    def local(self, lod: LOD, elements: ndarray, *, a: ArrayLike, **others: object) -> ndarray:
        """Local matrices of the elements, ``(k, (2 ell + 2)**2, 4)``, for ``a`` of shape ``(nelems,)``; a batch of
        fields ``(fields, nelems)`` gives ``(fields, k, ...)``.

        Warns (UserWarning) with the number of patches that are unlike those of training or that the network is in doubt
        of. Raises ModelMismatchError for an LOD of another setting, ValueError for a coefficient that is not positive
        and where a matrix is not finite, and TypeError for other coefficients.
        """
        inputs = self.inputs(lod, elements, a=a, **others)
        rows = lod.patches.nodes.shape[1], lod.patches.corners.shape[1]
        if not len(elements):
            return np.zeros(np.shape(a)[:-1] + (0, *rows))
        asked = self._asked(lod, elements, inputs.place)
        answers = [self._answer(part, asked) for part in inputs.split(1 if self.device == "cpu" else BATCH)]
        broken = torch.cat([~answer.finite for answer in answers]).sum().item()
        if broken:
            raise ValueError(
                f"a: expected one that the network can answer, got matrices that are not finite for {broken:.0f} of "
                f"{len(elements) * len(inputs.a)} patches; Hybrid(surrogate, form, tol=0.01) computes them exactly"
            )
        trusted = self.card.doubt.get("trusted") if self.card.doubt is not None else None
        warn(answers, float(trusted) if isinstance(trusted, (int, float)) else None)
        result = torch.cat([answer.matrices.cpu() for answer in answers]).numpy()
        return result if np.ndim(a) == 2 else result[0]

    def in_bfloat16(self) -> Surrogate:
        """The same with the convolutions over the field in bfloat16: about 1.7 times as fast on processors with AMX.

        Local matrices change by 2e-4 (relative), where errors are 1e-3 and more, and so much is missing to the
        symmetries of the square. Files stay in single precision. Raises ValueError for a network without convolutions.
        """
        return type(self)(rounded(self.net, torch.bfloat16), self.card, symmetric=self.symmetric, device=self.device)

    def predict(self, a: Tensor, place: Place, base: Tensor | None = None) -> Tensor:
        """Local matrices ``(fields, k, rows, 4)`` in torch, differentiable, for what `inputs` gives."""
        return images(self.net, a, place, base).mean(dim=0) if self.symmetric else self.net(a, place, base)

    def inputs(self, lod: LOD, elements: ndarray, *, a: ArrayLike, **others: object) -> Inputs:
        """What the network takes: fields by element, where the patches of the elements lie, and, where it corrects
        exact matrices of a coarser fine mesh, those: `blocks`, `place_of` and `CoarserFine`, on its device.
        """
        self.check(lod)
        if others:
            raise TypeError(
                f"surrogate: expected the coefficient a alone, got {sorted(others)} as well; other terms of a form are "
                "not in the model"
            )
        field, base = blocks(lod, a), None
        if self.net.base:
            base = CoarserFine.of(lod, self.net.base).matrices(field, elements).to(self.device)
        return Inputs(field.to(self.device), place_of(lod, elements, self.device), base)

    def assemble_batch(self, lod: LOD, a: ndarray) -> list[csr_matrix]:
        """The matrices of several fields ``(fields, nelems)``, checked as by ``assemble``; errors as for `local`."""
        if np.ndim(a) != 2:
            raise ValueError(f"a: expected fields (fields, nelems), got shape {np.shape(a)}; lod.assemble takes one")
        return [lod.assemble(Known(local)) for local in self.local(lod, lod.space.all_elements, a=a)]

    def excess(self, lod: LOD, elements: ndarray, *, a: ArrayLike) -> ndarray:
        """How far inputs lie outside the range of training, ``(k,)``, in the units of the input; 0 inside, or where
        the card has no "extent"; infinite for patches of a shape that is not among the card's "shapes".
        """
        self.check(lod)
        inputs = Inputs(blocks(lod, a).to(self.device), place_of(lod, elements, self.device))
        return excess_of(self.net, inputs, self._foreign(inputs.place), self.card.extent)[0].cpu().numpy()

    def novelty(self, lod: LOD, *, a: ArrayLike) -> Novel | None:
        """Which elements of a field are unlike those of training by their `textures`, and whether the field is, with
        the rates of false alarms of ``certificate.novelty``; None without one.
        """
        self.check(lod)
        everything = place_of(lod, lod.space.all_elements, self.device)
        found = novel_fields(self.certificate.novelty, blocks(lod, a).to(self.device), everything)
        return found[0] if found else None

    def doubt(self, lod: LOD, elements: ndarray, *, a: ArrayLike) -> ndarray:
        """The relative error ``|S^_T - S_T|_F / |S_T|_F`` to be expected, ``(k,)``; see ``certificate.elements``.

        It is what the network says of itself (see `Certified.error`) times the factor of the `Calibration` on its card,
        where there is one: what is promised then is written there. Infinite where it means nothing: where the features
        of the network, or the patterns of the coefficient, lie further outside their ranges in training than a tenth of
        them, where the element is novel, and everywhere on a novel field. Raises ValueError for a model whose doubt was
        not trained.
        """
        self.require_doubt()
        return self.raw(lod, elements, a=a)[1].expected()[0].cpu().numpy()

    def spread(self, lod: LOD, elements: ndarray, *, a: ArrayLike) -> ndarray:
        """Relative spread of the answers to the eight symmetric images of each patch, ``(k,)``.

        ``(1/8 sum_g |S_g - mean|_F^2)^(1/2) / |mean|_F`` with S_g moved back: zero for exact matrices, so what there is
        of it is error. No bound: an error that all images share is not seen.
        """
        with torch.no_grad():
            members = images(self.net, *self.inputs(lod, elements, a=a))[:, 0]
        mean = members.mean(dim=0)
        gap = (members - mean).square().sum(dim=(2, 3)).mean(dim=0).sqrt()
        size = mean.square().sum(dim=(1, 2)).sqrt()
        return (gap / size.clamp(min=torch.finfo(torch.float64).tiny)).cpu().numpy()

    def with_score(self, lod: LOD, elements: ndarray, *, a: ArrayLike) -> tuple[ndarray, ndarray]:
        """Local matrices of one field ``(k, (2 ell + 2)**2, 4)`` and their `doubt` plus `excess`, for little more than
        the work of the former; no warnings. The score is infinite where a matrix is not finite.
        """
        self.require_doubt()
        matrices, answer = self.raw(lod, elements, a=a)
        return matrices, (answer.expected() + answer.excess)[0].cpu().numpy()

    def raw(self, lod: LOD, elements: ndarray, *, a: ArrayLike) -> tuple[ndarray, Answer]:
        """Local matrices of one field as the network gives them, finite or not, with what is known of them."""
        inputs = self.inputs(lod, elements, a=a)
        answer = self._answer(inputs, self._asked(lod, elements, inputs.place))
        return answer.matrices[0].cpu().numpy(), answer

    def require_doubt(self) -> None:
        """Raise ValueError unless the doubt of the network was trained."""
        if not self.has_doubt:
            raise ValueError(
                "surrogate: expected a model that was trained to tell its own error, got one whose card has no doubt; "
                "train one by train_surrogate(lod, fields), or give Hybrid a score of your own (score=surrogate.spread)"
            )

    def check(self, lod: LOD) -> None:
        """Raise ModelMismatchError, listing wanted and got, unless the model is for an LOD of this setting."""
        pairs = Setting.with_form(lod, self.setting.form).mismatch(self.setting)
        if pairs:
            wanted, got = ({name: pair[side] for name, pair in pairs.items()} for side in (0, 1))
            remedy = "wanted is the LOD at hand, got the model; change the LOD or load another model"
            raise ModelMismatchError("surrogate", wanted, got, remedy)

    def save(self, path: str | Path) -> None:
        """Write weights and card to one file; see `storage.save_model` for what is raised."""
        save_model(
            path,
            self.net.state_dict(),
            {**self.card.to_json(), "network": self._network(), "symmetric": self.symmetric},
        )

    @classmethod
    def load(cls, name_or_path: str | Path, device: str = "cpu") -> Surrogate | SuperElements:
        """Read a model: a path (anything with a suffix, or a ``Path``), or the name of a model of the package.

        ``"diffusion"`` is the one for any coefficient, `SuperElements`, as are files of such.

        Raises FileNotFoundError with the names there are, CorruptModelError for what `save` did not write, and
        ValueError for a device that is not there.
        """
        checks.device(device)
        path = find_model("lod", name_or_path)
        tensors, flat = load_model(path)
        with fitting(path, "the weights and card of a surrogate"):
            described = dict(flat["network"])
            if described["kind"] == "ElementNetwork":
                return SuperElements.read(path, tensors, flat)
            symmetric = bool(flat.pop("symmetric"))
            # Built without memory, so that sizes are compared with the tensors before anything is allocated.
            with torch.device("meta"):
                net = NETWORKS[described.pop("kind")](**described, generator=None)
            net.load_state_dict(tensors, assign=True)
            return cls(net, Card.from_json(flat, SETTING), symmetric=symmetric, device=device)

    def _network(self) -> dict[str, object]:
        return {"kind": type(self.net).__name__, **self.net.config}

    def _answer(self, inputs: Inputs, asked: Asked) -> Answer:
        odd = strange(patterns(inputs.a, inputs.place), self.card.patterns)
        novel = novel_fields(self.certificate.novelty, inputs.a, asked.everything)
        excess = excess_of(self.net, inputs, asked.foreign, self.card.extent)
        with torch.no_grad():
            if not isinstance(self.net, Certified):
                return Answer(self.predict(*inputs), excess, strangeness(odd, novel, asked.elements), None)
            view = self.net.look(*inputs)
            seen, known = self.net.invariants(view), self.certificate.elements
            odd = odd | strange(seen, self.card.features)
            doubt = self.net.error(seen) * (known.factor if known else 1.0) if self.has_doubt else None
            matrices = self.predict(*inputs) if self.symmetric else self.net.matrices(view, inputs.place)
        return Answer(matrices, excess, strangeness(odd, novel, asked.elements), doubt)

    def _asked(self, lod: LOD, elements: ndarray, place: Place) -> Asked:
        everything = place_of(lod, lod.space.all_elements, self.device)
        return Asked(np.asarray(elements), self._foreign(place), everything)

    def _foreign(self, place: Place) -> Tensor:
        """Patches of a shape that training has not seen, ``(k,)``."""
        known = self.card.shapes is None
        return torch.tensor([not known and shape not in self._shapes for shape in shapes_of(place)], dtype=torch.bool)
