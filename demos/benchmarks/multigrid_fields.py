"""The fields on which multigrid is judged: 21 families on the unit square, each of any contrast and seed.

Lengths are those of a mesh of 256 x 256 cells (no feature is thinner than 1/256), and the same field is drawn on finer
meshes. Names that end in "soft" have inclusions of 1 / contrast.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import ndarray
from scipy.spatial import cKDTree
from skfem import Mesh

from skfem_ml.coefficients import channels, checkerboard, cracks, iid_multilevel, inclusions, log_normal
from skfem_ml.meshes import midpoints

Draw = Callable[[Mesh, float, np.random.Generator], ndarray]
THIN = 1 / 128  # the width of cracks


def stretched(logs: ndarray, contrast: float) -> ndarray:
    """exp of the logarithms, scaled so that the largest value is ``contrast`` times the smallest."""
    return np.exp((logs - logs.min()) * np.log(contrast) / np.ptp(logs))


def blocks(level: int) -> Draw:
    """Log-uniform values on 2^level x 2^level cells."""
    return lambda mesh, contrast, rng: stretched(iid_multilevel(mesh, level, 1, 2, rng), contrast)


def multilevel(mesh: Mesh, contrast: float, rng: np.random.Generator) -> ndarray:
    return stretched(np.log(iid_multilevel(mesh, range(9), 1, 5, rng)), contrast)


def gaussian(*lengths: float) -> Draw:
    """Log-normal with these correlation lengths along x and y."""
    return lambda mesh, contrast, rng: stretched(np.log(log_normal(mesh, 1.0, np.array(lengths), rng)), contrast)


def discs(mesh: Mesh, contrast: float, rng: np.random.Generator) -> ndarray:
    return inclusions(mesh, contrast, 100, 0.03, rng)


def along_x(mesh: Mesh, contrast: float, rng: np.random.Generator) -> ndarray:
    return channels(mesh, contrast, 8, 1 / 64, rng)


def crossing(mesh: Mesh, contrast: float, rng: np.random.Generator) -> ndarray:
    both = [channels(mesh, contrast, 6, 1 / 64, rng, axis) for axis in (0, 1)]
    return np.maximum(*both) if contrast > 1 else np.minimum(*both)


def crack_lines(mesh: Mesh, contrast: float, rng: np.random.Generator) -> ndarray:
    """60 segments of length 0.3 of up to ``contrast`` on a background that varies by 1.4."""
    return cracks(mesh, 60, THIN, 0.3, rng, (1.0, 1.4), (0.7 * contrast, contrast))


def board(cells: int) -> Draw:
    return lambda mesh, contrast, rng: checkerboard(mesh, cells, 1.0, contrast)


def voronoi(mesh: Mesh, contrast: float, rng: np.random.Generator) -> ndarray:
    """Log-uniform values on the Voronoi cells of 300 points."""
    points, logs = rng.uniform(size=(300, 2)), rng.uniform(size=300)
    return stretched(logs[cKDTree(points).query(midpoints(mesh).T)[1]], contrast)


def bernoulli(share: float) -> Draw:
    """``contrast`` on that share of 128 x 128 cells, at random, 1 elsewhere."""
    return lambda mesh, contrast, rng: np.where(iid_multilevel(mesh, 7, 1, 2, rng) > 2 - share, contrast, 1.0)


def layers(degrees: float) -> Draw:
    """Layers of random log-uniform values, 1/100 thick, turned by an angle."""

    def draw(mesh: Mesh, contrast: float, rng: np.random.Generator) -> ndarray:
        angle = np.deg2rad(degrees)
        place = np.array([-np.sin(angle), np.cos(angle)]) @ (midpoints(mesh) - 0.5)
        return stretched(rng.uniform(size=150)[np.floor(100 * place).astype(int) + 75], contrast)

    return draw


def fibres(mesh: Mesh, contrast: float, rng: np.random.Generator) -> ndarray:
    """16 x 16 round fibres, of radius 0.3 of their distance; with ``contrast`` below 1 a perforated medium."""
    return np.where(np.linalg.norm(16 * midpoints(mesh) % 1 - 0.5, axis=0) <= 0.3, contrast, 1.0)


def texture(mesh: Mesh, contrast: float, rng: np.random.Generator) -> ndarray:
    """The sum of five plane waves bent by another."""
    x = midpoints(mesh)
    x = x + 0.05 * np.sin(2 * np.pi * rng.uniform(1, 6, 2) @ x)
    waves = 2 * np.pi * 15 * rng.normal(size=(5, 2))
    return stretched(np.sin(waves @ x + rng.uniform(0, 2 * np.pi, (5, 1))).sum(axis=0), contrast)


def soft(draw: Draw) -> Draw:
    """The same with inclusions that are softer than the background."""
    return lambda mesh, contrast, rng: draw(mesh, 1 / contrast, rng)


FAMILIES: dict[str, Draw] = {
    "iid, every cell": blocks(8),
    "iid, 32 x 32": blocks(5),
    "multilevel": multilevel,
    "log-normal": gaussian(0.04, 0.04),
    "log-normal, stretched": gaussian(0.15, 0.01),
    "discs": discs,
    "discs, soft": soft(discs),
    "channels": along_x,
    "crossing channels": crossing,
    "crossing channels, soft": soft(crossing),
    "cracks": crack_lines,
    "checkerboard 128": board(128),
    "checkerboard 32": board(32),
    "Voronoi": voronoi,
    "Bernoulli .2": bernoulli(0.2),
    "Bernoulli .5": bernoulli(0.5),
    "layers": layers(0.0),
    "layers, 30 degrees": layers(30.0),
    "fibres": fibres,
    "perforated": soft(fibres),
    "texture": texture,
}


def field(mesh: Mesh, family: str, contrast: float, seed: int) -> ndarray:
    """One field ``(nelems,)``, from a stream of its own."""
    return FAMILIES[family](mesh, contrast, np.random.default_rng([seed, list(FAMILIES).index(family)]))
