"""A network in the place of the form: ``lod.assemble(surrogate, a=a)`` is one forward pass for all elements."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from skfem_ml.learning.storage import CorruptModelError, ModelMismatchError, find_model, load_model, save_model
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.certificate import beyond
from skfem_ml.lod.surrogate.inputs import CoarserFine, blocks, place_of, shapes_of
from skfem_ml.lod.surrogate.labels import Draw, setting
from skfem_ml.lod.surrogate.networks.field_network import FieldNetwork, View
from skfem_ml.lod.surrogate.networks.patch_mlp import PatchMLP
from skfem_ml.lod.surrogate.networks.place import Place
from skfem_ml.lod.surrogate.networks.symmetries import images

NETWORKS: dict[str, type[nn.Module]] = {"PatchMLP": PatchMLP, "FieldNetwork": FieldNetwork}
STRANGE = 0.1  # of the range of a feature
SETTING = ("dim", "n", "cells", "ell", "interpolation", "boundary", "cell")


class Surrogate:
    """A local map made of a network and a card that says what it was made for.

    Parameters
    ----------
    net
        A network of `networks`: single precision inside, double precision out.
    card
        What `labels.setting` gives for the LOD of the labels, and optionally "extent" ``[low, high]``, the range of
        the network's inputs in training (see `extent_of`), "shapes", the patches seen there (see `shapes_of`),
        "features", the range of what the network made of them (see `doubt.feature_range`), and anything else that is
        JSON (seed, errors, family).
        "boundary": "mixed" takes Gamma_D of any kind, "dirichlet" the whole boundary only.
    symmetric
        Whether to average over the eight symmetries of the square: equivariant, for eight times the work.
    device
        A torch device such as ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    ValueError
        For a card without one of these entries, or a network of another n or ell, or that corrects a finer mesh.
    """

    def __init__(self, net: nn.Module, card: Mapping[str, Any], *, symmetric: bool = False, device: str = "cpu"):
        missing = [key for key in SETTING if key not in card]
        if missing:
            raise ValueError(
                f"card: expected the entries {', '.join(SETTING)}, got none of {missing}; see setting(lod)"
            )
        for name, size in (("cells", net.m), ("ell", net.ell)):
            if card[name] != size:
                raise ValueError(f"card: expected {name} = {size}, which is the network's, got {card[name]!r}")
        if getattr(net, "base", 0) >= card["n"]:
            raise ValueError(f"card: expected n above {net.base}, whose matrices are corrected, got {card['n']!r}")
        self.net, self.card = net.to(device).eval(), dict(card)
        self.symmetric, self.device = symmetric, device
        self._fits: weakref.ref[LOD] | None = None
        self._coarser: CoarserFine | None = None
        self._shapes = frozenset(self.card.get("shapes") or ())

    def local(self, lod: LOD, elements: ndarray, **coefficients: Any) -> ndarray:
        """Local matrices of the elements, ``(k, (2 ell + 2)**2, 4)``, for ``a`` of shape ``(nelems,)``; a batch of
        fields ``(fields, nelems)`` gives ``(fields, k, ...)``.

        Warns (UserWarning) with the number of elements outside the range of training. Raises ModelMismatchError for an
        LOD of another setting, ValueError for a coefficient that is not positive, and TypeError for other coefficients.
        """
        self.check(lod)
        if not len(elements):
            shape = lod.patches.nodes.shape[1], lod.patches.corners.shape[1]
            return np.zeros(np.shape(coefficients["a"])[:-1] + (0, *shape))
        a, place, *base = self.inputs(lod, elements, **coefficients)
        outside = int((self._excess(a, place) > 0).sum())
        if outside:
            warnings.warn(
                f"a: {outside} of {len(a) * len(place.cells)} patches are outside the range of training "
                f"{self.card.get('extent', '')}; their local matrices are extrapolated, Hybrid recomputes them",
                UserWarning,
                stacklevel=3,
            )
        few = 1 if self.device == "cpu" else 16  # a larger batch would only fall out of the cache
        parts = zip(*(tensor.split(few) for tensor in (a, *base)), strict=True)
        with torch.no_grad():
            result = torch.cat([self.predict(part, place, *more).cpu() for part, *more in parts]).numpy()
        return result if np.ndim(coefficients["a"]) == 2 else result[0]

    def predict(self, *inputs: Any) -> Tensor:
        """Local matrices ``(fields, k, rows, 4)`` in torch, differentiable, for what `inputs` gives."""
        return images(self.net, *inputs).mean(dim=0) if self.symmetric else self.net(*inputs)

    def inputs(self, lod: LOD, elements: ndarray, **coefficients: Any) -> tuple[Any, ...]:
        """What the network takes: fields by element, where the patches of the elements lie, and, where it corrects
        exact matrices of a coarser fine mesh, those: `blocks`, `place_of` and `CoarserFine`, on its device.
        """
        self.check(lod)
        if set(coefficients) != {"a"}:
            raise TypeError(
                f"surrogate: expected the coefficient a alone, got {sorted(coefficients)}; other terms of a form are "
                "not in the model"
            )
        a = blocks(lod, coefficients["a"])
        place = place_of(lod, elements, self.device)
        coarser = self.coarser(lod)
        known = [] if coarser is None else [coarser.matrices(a, elements).to(self.device)]
        return a.to(self.device), place, *known

    def coarser(self, lod: LOD) -> CoarserFine | None:
        """The LOD whose matrices the network corrects, if it does."""
        base = getattr(self.net, "base", 0)
        if not base:
            return None
        if self._coarser is None or self._coarser.of() is not lod:
            self._coarser = CoarserFine(lod, base)
        return self._coarser

    def assemble_batch(self, lod: LOD, a: ndarray) -> list[csr_matrix]:
        """The matrices of several fields ``(fields, nelems)``; errors as for `local`."""
        if np.ndim(a) != 2:
            raise ValueError(f"a: expected fields (fields, nelems), got shape {np.shape(a)}; lod.assemble takes one")
        return [lod.assemble(_Given(local)) for local in self.local(lod, lod.space.all_elements, a=a)]

    def excess(self, lod: LOD, elements: ndarray, **coefficients: Any) -> ndarray:
        """How far inputs lie outside the range of training, ``(k,)``, in the units of the input; 0 inside, or where
        the card has no "extent"; infinite for patches of a shape that is not among the card's "shapes".
        """
        self.check(lod)
        a = blocks(lod, coefficients["a"]).to(self.device)
        return self._excess(a, place_of(lod, elements, self.device))[0].cpu().numpy()

    def doubt(self, lod: LOD, elements: ndarray, **coefficients: Any) -> ndarray:
        """The relative error ``|S^_T - S_T|_F / |S_T|_F`` to be expected, ``(k,)``: no bound.

        It is what the network says of itself (see `FieldNetwork.error`), and infinite where its features lie further
        outside the card's "features" than a tenth of their range (see `doubt.beyond`): what it says there means
        nothing. For a network that says nothing it is `spread`.
        """
        return self._judged(self.inputs(lod, elements, **coefficients))[1].cpu().numpy()

    def spread(self, lod: LOD, elements: ndarray, **coefficients: Any) -> ndarray:
        """Relative spread of the answers to the eight symmetric images of each patch, ``(k,)``.

        ``(1/8 sum_g |S_g - mean|_F^2)^(1/2) / |mean|_F`` with S_g moved back: zero for exact matrices, so what there is
        of it is error. No bound: an error that all images share is not seen.
        """
        with torch.no_grad():
            return _spread(images(self.net, *self.inputs(lod, elements, **coefficients))[:, 0]).cpu().numpy()

    def with_score(self, lod: LOD, elements: ndarray, **coefficients: Any) -> tuple[ndarray, ndarray]:
        """Local matrices of one field ``(k, (2 ell + 2)**2, 4)`` and their `doubt` plus `excess`, for little more than
        the work of the former; no warnings.
        """
        inputs = self.inputs(lod, elements, **coefficients)
        local, doubt = self._judged(inputs)
        return local.cpu().numpy(), (doubt + self._excess(*inputs[:2])[0]).cpu().numpy()

    def _judged(self, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            if hasattr(self.net, "look"):
                view = self.net.look(*inputs)  # type: ignore[operator]
                return self.net.matrices(view, inputs[1])[0], self._doubt(view)  # type: ignore[operator]
            members = images(self.net, *inputs)[:, 0]
            return members.mean(dim=0) if self.symmetric else members[0], _spread(members)

    def _doubt(self, view: View) -> Tensor:
        doubt, features = self.net.error(view)[0], self.net.invariants(view)[0]  # type: ignore[operator]
        if self.card.get("features") is not None:
            # NaN as well: products of features may overflow far outside.
            doubt[~(beyond(features, self.card["features"]) <= STRANGE)] = torch.inf
        return doubt

    def check(self, lod: LOD) -> None:
        """Raise ModelMismatchError, listing wanted and got, unless the model is for an LOD of this setting."""
        if self._fits is not None and self._fits() is lod:
            return
        wanted = setting(lod)
        wrong = [key for key in SETTING if self.card[key] != wanted[key]]
        if self.card["boundary"] == "mixed" and "boundary" in wrong:
            wrong.remove("boundary")  # trained with every kind of Gamma_D
        if wrong:
            raise ModelMismatchError(
                "surrogate",
                {key: wanted[key] for key in wrong},
                self.card,
                "wanted is the LOD at hand, got the model; change the LOD or load another model",
            )
        self._fits = weakref.ref(lod)

    @classmethod
    def fit(
        cls, lod: LOD, source: Draw | str | Path, net: nn.Module | None = None, *, seed: int = 0, **options: Any
    ) -> Surrogate:
        """Train a network for an LOD on exact labels, and return it with its card.

        ``source`` is ``draw(i)``, field i ``(nelems,)`` on ``lod.coefficient_mesh``, or a folder of labels. Default
        network: a `FieldNetwork` with weights of ``seed``. Arguments (``validation`` and ``steps`` are needed) and
        errors as for `fitting.fit_surrogate`, which returns the history as well.
        """
        from skfem_ml.lod.surrogate.training import fit_surrogate

        if net is None:
            net = FieldNetwork(lod.space.m, lod.ell, generator=torch.Generator().manual_seed(seed))
        return fit_surrogate(lod, source, net, seed=seed, **options)[0]

    def save(self, path: str | Path) -> None:
        """Write weights and card to one file; see `storage.save_model` for what is raised."""
        network = {"kind": type(self.net).__name__, **dict(self.net.config)}  # type: ignore[arg-type]
        save_model(path, self.net.state_dict(), {**self.card, "network": network, "symmetric": self.symmetric})

    @classmethod
    def load(cls, name_or_path: str | Path, device: str = "cpu") -> Surrogate:
        """Read a model: a path (anything with a suffix, or a ``Path``), or the name of a model of the package.

        Raises FileNotFoundError with the names there are, and CorruptModelError for what `save` did not write.
        """
        path = find_model("lod", name_or_path)
        tensors, card = load_model(path)
        try:
            described = dict(card.pop("network"))
            # Built without memory, so that sizes are compared with the tensors before anything is allocated.
            with torch.device("meta"):
                net = NETWORKS[described.pop("kind")](**described, generator=None)
            net.load_state_dict(tensors, assign=True)
            return cls(net, card, symmetric=bool(card.pop("symmetric")), device=device)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CorruptModelError(
                f"{path}: expected the weights and card of a surrogate, got something else ({str(error)[:300]}); "
                "it is another kind of file, or of another version"
            ) from error

    def _excess(self, a: Tensor, place: Place) -> Tensor:
        extent = self.net.extent(a, place)  # type: ignore[operator]
        excess = torch.zeros_like(extent[:, :, 0])
        if self.card.get("extent") is not None:
            low, high = self.card["extent"]
            # Rounding of the logarithm alone puts nobody outside.
            slack = 1e-9 * max(1.0, abs(low), abs(high))
            gap = torch.maximum(low - extent[:, :, 0], extent[:, :, 1] - high)
            excess = torch.where(gap > slack, gap, 0.0)
        if self.card.get("shapes") is not None:
            excess[:, [shape not in self._shapes for shape in shapes_of(place)]] = torch.inf
        return excess


def _spread(members: Tensor) -> Tensor:
    mean = members.mean(dim=0)
    gap = (members - mean).square().sum(dim=(2, 3)).mean(dim=0).sqrt()
    return gap / mean.square().sum(dim=(1, 2)).sqrt().clamp(min=torch.finfo(torch.float64).tiny)


class _Given:
    """A local map whose matrices are known."""

    def __init__(self, matrices: ndarray):
        self.matrices = matrices

    def local(self, lod: LOD, elements: ndarray) -> ndarray:
        return self.matrices


def extent_of(net: nn.Module, lod: LOD, a: ndarray) -> list[float]:
    """Smallest and largest input that a network gets from some fields ``(fields, nelems)``: the card's "extent"."""
    both = net.extent(blocks(lod, a), place_of(lod, lod.space.all_elements))  # type: ignore[operator]
    return [float(both.amin()), float(both.amax())]
