"""Make a surrogate of the package again, by its recipe in `skfem_ml.lod.surrogate.RECIPES`.

Labels and checkpoint are kept in a folder, and a run that was broken off goes on where it was. A recipe with ``start``
begins with the weights of that model: the one of the package, or the file START. Certificates are made afterwards, by
`data.certify_models`.

Run in the root of the source tree: python -m data.remake_models NAME FOLDER [START] (labels and training take one to
two hours of one busy core with AMX, the n = 32 less)
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from skfem_ml.learning import History
from skfem_ml.lod import Surrogate
from skfem_ml.lod.surrogate import RECIPES, remake


def make(name: str, folder: Path, start: Path | None = None) -> Surrogate:
    """The model, written into the folder."""
    begin = start or RECIPES[name].start
    model = remake(RECIPES[name], folder, Surrogate.load(begin) if begin else None, progress=told)
    model.save(folder / f"{name}.safetensors")
    return model


def told(done: int, total: int, text: str) -> None:
    """How far it is."""
    print(f"{done} of {total}: {text}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) < 3 or sys.argv[1] not in RECIPES:
        raise SystemExit(f"{__doc__}\nNAME is one of {', '.join(RECIPES)}")
    made = make(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    print(f"{History.from_dict(made.card.facts['history'])}; {dict(made.card.errors)}")
