"""What each idea in the training of the surrogates gives, in small: ``python -m demos.benchmarks.surrogate_ideas``.

16 x 16 coarse elements, n = 8, 80 fields of the paper's families, 20 unseen ones, 150 steps each, one thread, one seed.
The recipe is that of `skfem_ml.lod.surrogate`, in which one thing at a time is changed. Labels are kept in the folder
given as argument, or a temporary one. Writes ``surrogate_ideas.md`` beside this file.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from skfem_ml.learning import SOAP
from skfem_ml.learning.storage import write_whole
from skfem_ml.lod import FieldNetwork
from skfem_ml.lod.surrogate.recipe.labelling.parts import CELLS, ELL, shipped_parts
from skfem_ml.lod.surrogate.recipe.recipes import ShippedRecipe
from skfem_ml.lod.surrogate.recipe.training import learn

RECIPE = ShippedRecipe(150, fields=80, corner=40, held=20, doubt=1, test=0, level=4)
OUTPUT = Path(__file__)


def everything(make: Callable[..., torch.optim.Optimizer], **options: Any) -> Callable:
    """An optimiser for all parameters that want a gradient; the last layer five times slower."""
    return lambda net, rate: make([p for p in net.parameters() if p.requires_grad], lr=rate, **options)


IDEAS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # options of the network, of `learn`
    "the recipe: Muon, ridge, gates silu(x) y, loss to the power 3/4": ({}, {}),
    "Adam in place of Muon": ({}, {"optimiser": everything(torch.optim.Adam, betas=(0.9, 0.99))}),
    "SOAP in place of Muon": ({}, {"optimiser": everything(SOAP, frequency=10)}),
    "no affine part": ({}, {"ridge": False}),
    "the mean loss itself": ({}, {"power": 1.0}),
    "the root of the loss of a field": ({}, {"power": 0.5}),
    "gates sigmoid(x) y and a mean between H and A (wide)": ({"wide": True}, {}),
    "half as many channels": ({"encoding": 16, "width": 16}, {}),
}


def measure(folder: Path) -> list[str]:
    """One line of the table for every idea."""
    _, parts = shipped_parts(RECIPE, folder)
    lines = []
    for name, (network, options) in IDEAS.items():
        net = FieldNetwork(CELLS, ELL, **network, generator=torch.Generator().manual_seed(RECIPE.seed))
        start = time.process_time()
        recipe = replace(RECIPE, power=options.get("power", RECIPE.power))
        others = {key: value for key, value in options.items() if key != "power"}
        history = learn(net, parts, recipe, seed=recipe.seed, every=50, **others)
        lines.append(f"| {name} | {history.best:.2e} | {time.process_time() - start:.0f} |")
        print(lines[-1], flush=True)
    return lines


def main(folder: Path) -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    head = ["# Ideas for the surrogate", "", (__doc__ or "").split("\n\n")[1], ""]
    table = ["| | squared error of a local matrix, unseen fields | CPU seconds |", "|---|---:|---:|", *measure(folder)]
    write_whole(OUTPUT.with_suffix(".md"), "\n".join([*head, *table, ""]).encode())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
