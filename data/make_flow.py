"""Make the flow past a cylinder that the package ships: ``python data/make_flow.py``, two to three minutes.

Re = 100, Taylor-Hood on the 2984 triangles of `reference.cylinder.cylinder_mesh`: coarse, in a channel ten diameters
wide with slipping walls, so the Strouhal number (0.178) is above that of free flow (0.165). After 80 time units the
street is periodic to a few digits; then one frame every 0.2, 151 to learn and 45 held out. There is no randomness.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from skfem import ElementTriP1

from skfem_ml.problems.sequences import FLOW_FILE
from skfem_ml.reference.cylinder import CylinderFlow, cylinder_mesh

DT, SPIN_UP, EVERY, TRAIN, MORE, RANK = 0.01, 8000, 20, 151, 45, 22
GRID = np.linspace(-1.0, 13.5, 117), np.linspace(-2.5, 2.5, 41)
FOLDER = Path(__file__).parents[1] / "skfem_ml" / "fields"


def simulate(flow: CylinderFlow) -> np.ndarray:
    """Return the velocities of all frames, ``(frames, 2 n)``."""
    state, frames = flow.start(), []
    for k in range(SPIN_UP + (TRAIN + MORE - 1) * EVERY + 1):
        if k >= SPIN_UP and (k - SPIN_UP) % EVERY == 0:
            frames.append(flow.velocity(state).ravel())
        state = flow.step(state)
    return np.array(frames)


def reduce(flow: CylinderFlow, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Return states (right singular vectors in the L2 inner product) and vorticity modes on a grid, half precision."""
    n = flow.basis.N
    weighted = np.concatenate([frames[:, :n] @ flow.M, frames[:, n:] @ flow.M], axis=1)
    squares, vectors = np.linalg.eigh(weighted[:TRAIN] @ frames[:TRAIN].T)
    vectors, values = vectors[:, ::-1][:, :RANK], np.sqrt(squares[::-1][:RANK])
    modes = vectors.T @ frames[:TRAIN]  # singular values times left singular vectors
    states = weighted @ modes.T / values**2
    fields = np.stack([vorticity(flow, mode) for mode in modes])
    return {
        "states": states, "train": np.array(TRAIN), "dt": np.array(DT * EVERY), "x": GRID[0], "y": GRID[1],
        "vorticity": fields.astype(np.float16),
    }  # fmt: skip


def vorticity(flow: CylinderFlow, velocity: np.ndarray) -> np.ndarray:
    """Return ``dv/dx - du/dy`` on the grid, ``(ny, nx)``, NaN in the cylinder."""
    u, v = (flow.basis.interpolate(part) for part in velocity.reshape(2, -1))
    basis = flow.basis.with_element(ElementTriP1())
    nodal = basis.project(v.grad[0] - u.grad[1])
    x, y = np.meshgrid(*GRID)
    field = np.full(x.shape, np.nan)
    outside = np.hypot(x, y) > 0.5
    field[outside] = basis.probes(np.stack([x[outside], y[outside]])) @ nodal
    return field


def write(flow: CylinderFlow, frames: np.ndarray) -> None:
    """Write the file and its line in the manifest."""
    np.savez_compressed(FOLDER / FLOW_FILE, **reduce(flow, frames))
    manifest = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    manifest[FLOW_FILE] = hashlib.sha256((FOLDER / FLOW_FILE).read_bytes()).hexdigest()
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    flow = CylinderFlow(cylinder_mesh(), dt=DT)
    write(flow, simulate(flow))
