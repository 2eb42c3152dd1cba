"""Files of every kind that the package writes, small: how each is written, and numbers of what is read again.

``python -m tests.formats.files FOLDER`` writes them, with the numbers in ``numbers.json``. Those of a release stay in a
folder of its own, written once by the release itself: v0_1 by commit 78500bf, the last of version 0.1.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from skfem import MeshQuad

from skfem_ml import LOD, DeepFMMNet, Eigenpairs, H2Operator, HiTS, load_operator
from skfem_ml.baselines import KernelMap, Recurrent
from skfem_ml.fmm import H2Skeleton
from skfem_ml.hits import FlowMap
from skfem_ml.learning import MLP, AffineMap, History, Learned, fit
from skfem_ml.learning.checkpoints import load_checkpoint
from skfem_ml.lod import FieldNetwork, SuperElements, Surrogate
from skfem_ml.lod.surrogate import Setting
from skfem_ml.pinn import solver_elm
from skfem_ml.pinn.solution import LearnedSolution
from skfem_ml.problems import heat_box

LINE = np.linspace(0, 1, 40)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def small_lod() -> LOD:
    return LOD(MeshQuad().refined(1), refine=2, ell=1)


def on_field(model, lod) -> list[float]:
    a = np.linspace(1, 2, lod.coefficient_mesh.t.shape[1])
    return lod.assemble(model, a=a).toarray().ravel()[:12].tolist()


def surrogate(path):
    net = FieldNetwork(2, 1, encoding=2, outer=1, width=2, generator=seeded())
    Surrogate(net, Setting.of(small_lod())).save(path)


def elements(path):
    from skfem_ml.lod.surrogate.elements import ElementNetwork

    SuperElements(ElementNetwork(n=4, width=4, depth=1, generator=seeded()), checked=0.0).save(path)


def hits(path):
    HiTS([FlowMap(MLP((2, 4, 2), generator=seeded()), dt, increment=0.0) for dt in (0.1, 0.2)]).save(path, system="toy")


def operator(path):
    skeleton = H2Skeleton(LINE[None], leaf=10)
    H2Operator.from_kernel(skeleton, lambda x, y: np.exp(-((x - y) ** 2).sum(axis=0)), tol=1e-4).save(path)


def network(path):
    net = DeepFMMNet(H2Skeleton(LINE[None], leaf=10), rank=2, generator=seeded())
    Learned(net, History([1], [0.5], [0.1], 0.5, 1), 0.0, 1.0).save(path, {"who": "a test"})


def kernel(path):
    KernelMap(np.eye(2), np.zeros((1, 2)), np.ones((1, 2)), np.zeros(2), np.array(1.0)).save(path)


def affine(path):
    AffineMap(2 * np.eye(2), np.ones(2), np.zeros(2), settings="doubled").save(path)


def learned(path):
    solver_elm(20, points=8, times=8)(heat_box()).save(path)


def eigen(path):
    Eigenpairs(np.array([1.0, 4.0]), np.eye(2)).save(path, {"problem": "toy"})


def recurrent(path):
    torch.manual_seed(0)
    Recurrent("lstm", 3, [0.0, 1.0], 0.5).save(path)


def trained(path, steps=4, **more):
    """A training of so many steps, kept in a checkpoint."""
    net = MLP((1, 3, 1), generator=seeded())
    x = torch.linspace(0, 1, 8, dtype=torch.double)[:, None]
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return fit(net, squares, (x, x**2), optimiser=optimiser, steps=steps, every=2, checkpoint=path, **more)


def squares(net, rows):
    return ((net(rows[0]) - rows[1]) ** 2).mean()


def in_checkpoint(path) -> list[float]:
    state = load_checkpoint(path)
    return [float(value.double().sum()) for _, value in sorted(state["net"].items())]


# File -> (write it, numbers of what is read).
KINDS = {
    "surrogate.safetensors": (surrogate, lambda path: on_field(Surrogate.load(path), small_lod())),
    "elements.safetensors": (
        elements,
        lambda path: on_field(Surrogate.load(path), LOD(MeshQuad().refined(1), refine=4, ell=1)),
    ),
    "hits.safetensors": (hits, lambda path: HiTS.load(path).solve((0, 0.4), [1.0, 2.0]).y.ravel().tolist()),
    "operator.safetensors": (operator, lambda path: (H2Operator.load(path) @ LINE)[::8].tolist()),
    "network.safetensors": (network, lambda path: load_operator(path)(LINE[None])[0, ::8].tolist()),
    "kernel.safetensors": (kernel, lambda path: load_operator(path)(np.array([[0.5, 1.0]])).ravel().tolist()),
    "affine.safetensors": (affine, lambda path: load_operator(path)(np.array([[0.5, 1.0]])).ravel().tolist()),
    "learned.safetensors": (
        learned,
        lambda path: LearnedSolution.load(path, heat_box())(LINE[None, ::8], 0.1).tolist(),
    ),
    "eigen.safetensors": (eigen, lambda path: Eigenpairs.load(path).values.tolist()),
    "recurrent.safetensors": (
        recurrent,
        lambda path: np.ravel(Recurrent.load(path).forecast(np.ones((4, 2)), 3)).tolist(),
    ),
    "training.pt": (trained, in_checkpoint),
}


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {}
    for name, (make, read) in KINDS.items():
        make(folder / name)
        numbers[name] = read(folder / name)
    (folder / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
