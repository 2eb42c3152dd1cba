r"""Train a surrogate of the corrector assembly on one CPU core, and say what it is worth.

Labels are exact local matrices S_T of the families of Kropfl, Maier, Peterseim (2022). The loss is the mean over the
patches of |S_T - S^_T|_F^2, both over the geometric mean of a on T, so that no family outweighs another by its scale.
The optimiser is SOAP with a cosine schedule; every step sees one whole field in one of its eight symmetric positions.

The settings are small: they show the road, they make no model to ship. The table has, beside the network, the null
model that the untrained network is: coarse finite elements with the geometric mean on every coarse element. With these
settings the matrices are far better than the null model's, and the solutions of one load hardly are.

Run: python -m demos.train_surrogate [file.safetensors]
"""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from skfem import MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.lod import LOD
from skfem_ml.lod.families import paper_field, paper_split
from skfem_ml.lod.field_network import FieldNetwork
from skfem_ml.lod.labels import setting
from skfem_ml.lod.surrogate import Surrogate, blocks, extent_of, place_of
from skfem_ml.lod.symmetries import COUNT, move, move_matrices
from skfem_ml.metrics import l2_error, spectral_error
from skfem_ml.optim import SOAP
from skfem_ml.problems import diffusion
from skfem_ml.training import History, fit

LEVEL, REFINE, ELL = 4, 8, 2
TRAIN, TEST, STEPS, RATE = 40, 10, 300, 3e-3
SEED = 0


class Errors(NamedTuple):
    """Means over the test fields: squared Frobenius error a patch, ``|S - S^|_2``, relative L2 error of u_h."""

    local: float
    spectral: float
    l2: float


def train(
    level: int = LEVEL, refine: int = REFINE, ell: int = ELL, train: int = TRAIN, test: int = TEST, steps: int = STEPS
) -> tuple[Surrogate, dict[str, Errors], History]:
    """Return the trained surrogate, the errors of it and of the null model on unseen fields, and the history."""
    lod = LOD(MeshQuad().refined(level), refine=refine, ell=ell)
    samples = paper_split(seed=SEED)
    fields = [
        np.stack([paper_field(lod.coefficient_mesh, *sample, SEED) for sample in samples[name][:count]])
        for name, count in (("train", train), ("test", test))
    ]
    exact = [np.stack([lod.local(diffusion, a=a) for a in part]) for part in fields]
    net = FieldNetwork(refine, ell, generator=torch.Generator().manual_seed(SEED))
    null = FieldNetwork(refine, ell, generator=torch.Generator().manual_seed(SEED))
    history = learn(net, lod, fields[0], exact[0], steps)
    card = {**setting(lod), "extent": extent_of(net, lod, fields[0]), "seed": SEED, "family": "iid 0-8, multiscale"}
    models = {"network": Surrogate(net, card), "null": Surrogate(null, setting(lod))}
    return models["network"], {name: judge(m, lod, fields[1], exact[1]) for name, m in models.items()}, history


def learn(net: FieldNetwork, lod: LOD, fields: ndarray, exact: ndarray, steps: int) -> History:
    """Minimise the relative loss; the record is that of the first eight training fields in their own position."""
    a, S, place = blocks(lod, fields), torch.from_numpy(exact), place_of(lod, lod.space.all_elements)
    own = place.cells[:, place.cells.shape[1] // 2]
    scale = a.log().mean(dim=2).exp()[:, own, None, None]
    turn = torch.Generator().manual_seed(SEED)

    def loss(net, rows):
        field, wanted, size = rows
        g = int(torch.randint(COUNT, (1,), generator=turn))
        gap = (net(*move(g, field, place)) - move_matrices(g, wanted)) / size
        return gap.square().sum(dim=(2, 3)).mean()

    def validate(net):
        with torch.no_grad():
            return float(((net(a[:8], place) - S[:8]) / scale[:8]).square().sum(dim=(2, 3)).mean())

    optimiser = SOAP(net.parameters(), lr=RATE, frequency=10)
    return fit(
        net,
        loss,
        (a, S, scale),
        optimiser=optimiser,
        steps=steps,
        batch=1,
        seed=SEED,
        every=max(steps // 10, 1),
        validate=validate,
        schedule=lambda step: RATE * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps)),
    )


def judge(surrogate: Surrogate, lod: LOD, fields: ndarray, exact: ndarray) -> Errors:
    """Errors against exact LOD on unseen fields, load f = 1."""
    b, D = unit_load.assemble(lod.coarse), lod.coarse.get_dofs()
    rows = []
    for a, local in zip(fields, exact, strict=True):
        gap = lod.local(surrogate, a=a) - local
        S, R = lod.assemble(surrogate, a=a), lod.assemble(diffusion, a=a)
        u, v = (solve(*condense(matrix, b, D=D)) for matrix in (S, R))
        error = l2_error(u, v, lod.coarse, relative=True)
        rows.append((np.square(gap).sum(axis=(1, 2)).mean(), spectral_error(S, R), error))
    return Errors(*np.mean(rows, axis=0).tolist())


def visualize(history: History):
    """The loss over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.semilogy(history.steps, history.losses, "o-")
    axes.set(title="training", xlabel="step", ylabel="relative loss of local matrices")
    return figure


if __name__ == "__main__":
    model, table, record = train()
    print(f"{record.message}; {record.seconds[-1]:.0f} s of training")
    for name, errors in table.items():
        print(f"{name:8s}  local {errors.local:.2e}  spectral {errors.spectral:.2e}  relative L2 {errors.l2:.2e}")
    if len(sys.argv) > 1:
        model.save(sys.argv[1])
