"""Saved maps of samples, of whatever method: ``load_operator(path)``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skfem_ml.learning import Learned, Regression


def load_operator(path: str | Path) -> Learned | Regression:
    """Return the map ``w(q)`` of samples ``(n, N)`` that any solver of `OperatorSamples` gave and ``save`` wrote.

    ``.card`` is what was told of it. A network is made again from its sizes, a regression from its arrays; nothing that
    stands in a file is imported or run.

    Raises FileNotFoundError, CorruptModelError for a file that is damaged, ModelMismatchError for a model of another
    kind (a surrogate, a flow map), ImportError for an `FNO` where its library is missing.

    >>> import numpy as np, tempfile
    >>> from skfem_ml import load_operator
    >>> from skfem_ml.baselines import MeanMap
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     MeanMap(np.array([1.0, 2.0])).save(f"{folder}/null.safetensors", {"who": "a doctest"})
    ...     w = load_operator(f"{folder}/null.safetensors")
    >>> w, w.card["who"], w(np.zeros((1, 2))).tolist()
    (MeanMap(2 numbers), 'a doctest', [[1.0, 2.0]])
    """
    from skfem_ml.baselines import FNO, MNNH2, AdditiveMap, ConvNet, KernelMap, MeanMap
    from skfem_ml.fmm import H2Map
    from skfem_ml.fmm.networks.models import KINDS
    from skfem_ml.learning import AffineMap, Learned, load_model

    kind = load_model(path)[1].get("kind")
    for regression in (AdditiveMap, AffineMap, H2Map, KernelMap, MeanMap):
        if regression.__name__ == kind:
            return regression.load(path)
    return Learned.load(path, *KINDS, MNNH2, ConvNet, FNO)
