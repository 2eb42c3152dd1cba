"""The geometry of an H2-matrix: a kd-tree over points, with the lists of close and of admissible cluster pairs.

The product with an H2-matrix is (Sushnikova, Kharyuk, Oseledets, FMM-Net, equation (18)) ::

    w = C q + sum_l (U_L ... U_l) M_l (V_l ... V_L) q

with U, V block-diagonal, and C, M_l block-sparse by the lists made here.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class Nodal(Protocol):
    """What has the places of degrees of freedom: a scikit-fem basis, ``doflocs`` ``(dim, N)``."""

    doflocs: Array


@dataclass(frozen=True, eq=False, repr=False)
class Level:
    """One level of the tree: cluster k holds ``order[starts[k]:starts[k + 1]]`` and interacts by the pairs ``far``.

    ``starts`` is ``(n + 1,)``; ``low`` and ``high`` ``(dim, n)`` are the corners of the bounding boxes; ``far``
    ``(2, m)`` holds (row, column) clusters, sorted by row; ``children`` is the number of children of each cluster of
    the level above.

    >>> import numpy as np
    >>> from skfem_ml.fmm import H2Skeleton
    >>> H2Skeleton((np.arange(80)[None] + 0.5) / 80, leaf=10).levels[2]
    Level(4 clusters of 20, 6 admissible pairs)
    """

    starts: Index
    low: Array
    high: Array
    far: Index
    children: int

    @property
    def n(self) -> int:
        """The number of clusters."""
        return len(self.starts) - 1

    def __repr__(self) -> str:
        largest = int(np.diff(self.starts).max())
        return f"Level({self.n} clusters of {largest}, {self.far.shape[1]} admissible pairs)"


class H2Skeleton:
    """Clusters of points and the pairs of them that interact: ``H2Skeleton(points, leaf=32, eta=None)``.

    ``points`` is ``(dim, N)`` with dim 1, 2 or 3, such as ``basis.doflocs``. Every cluster is cut at the median along
    the longest side of its box, ``dim`` times from one level to the next (``2 ** dim`` children; the first level may be
    cut in three each time, ``3 ** dim`` children), until no leaf has more than ``leaf`` points; sizes within a level
    differ by at most one. Two clusters of a level
    are admissible when ::

        distance of boxes > 0   and   distance of boxes >= eta * max(diameters)

    Admissible pairs whose parents are not are ``levels[l].far``, and the other pairs of leaves ``close`` ``(2, m)``,
    sorted by row: together they hold every pair of points exactly once. ``eta`` is 1 in 1D and 0.5 otherwise unless
    given. Where nothing is admissible ``compressible`` is False, and a UserWarning says so: all blocks are dense.

    Raises ValueError for points of another shape, not finite or coinciding, leaf outside 1..N and eta <= 0.

    >>> import numpy as np
    >>> from skfem_ml import H2Skeleton
    >>> H2Skeleton((np.arange(80)[None] + 0.5) / 80, leaf=10)
    H2Skeleton(80 points in 1D, 8 leaves of 10, eta=1, 22 close and 24 admissible blocks)
    """

    def __init__(self, points: ArrayLike, leaf: int = 32, eta: float | None = None):
        self.points = _checked(points)
        self.dim, self.N = self.points.shape
        if not isinstance(leaf, (int, np.integer)) or not 1 <= leaf <= self.N:
            raise ValueError(f"leaf: expected an integer from 1 to the number of points, {self.N}, got {leaf!r}")
        self.leaf = int(leaf)
        self.eta = (1.0 if self.dim == 1 else 0.5) if eta is None else float(eta)
        if not self.eta > 0:
            raise ValueError(f"eta: expected a positive admissibility, got {eta!r}; 0.5 to 1 are usual")
        self.order, trees = _tree(self.points, _plan(self.N, self.dim, self.leaf))
        self.levels, self.close = _lists(self.points, self.order, trees, self.dim, self.eta)
        self.compressible = any(level.far.shape[1] for level in self.levels)
        if not self.compressible:
            warnings.warn(
                f"no two of the {self.levels[-1].n} leaves (at most {self.leaf} points each, of {self.N}) are "
                f"admissible at eta={self.eta}: nothing is compressed, all blocks stay dense; "
                "take a smaller leaf or more points",
                UserWarning,
                stacklevel=2,
            )

    def __repr__(self) -> str:
        far = sum(level.far.shape[1] for level in self.levels)
        return (
            f"H2Skeleton({self.N} points in {self.dim}D, {self.levels[-1].n} leaves of {self.width}, eta={self.eta:g}, "
            f"{self.close.shape[1]} close and {far} admissible blocks)"
        )

    @classmethod
    def from_basis(cls, basis: Nodal, leaf: int = 32, eta: float | None = None) -> H2Skeleton:
        """Return the skeleton on the degrees of freedom of a scikit-fem basis, ``basis.doflocs`` ``(dim, N)``.

        Raises ValueError as the constructor does: vector elements have several degrees of freedom at one point.
        """
        return cls(basis.doflocs, leaf=leaf, eta=eta)

    @property
    def first(self) -> int:
        """The number of the first level with admissible pairs; ``len(levels)`` where there is none."""
        found = [k for k, level in enumerate(self.levels) if level.far.shape[1]]
        return found[0] if found else len(self.levels)

    @property
    def width(self) -> int:
        """The number of points of the largest leaf."""
        return int(np.diff(self.levels[-1].starts).max())

    def leaf_index(self) -> Index:
        """Return the points of each leaf, ``(leaves, width)``; the missing one of a smaller leaf is N."""
        starts = self.levels[-1].starts
        at = starts[:-1, None] + np.arange(self.width)
        inside = at < starts[1:, None]
        return np.where(inside, self.order[np.minimum(at, self.N - 1)], self.N)

    def draw(self, ax: Axes | None = None) -> Axes:
        """Draw the block picture on matplotlib axes (default: new ones) and return them.

        Rows and columns are the points in tree order; close blocks are dark, admissible ones lighter by level.
        """
        import matplotlib.pyplot as plt
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        ax = plt.subplots(figsize=(6, 6), layout="constrained")[1] if ax is None else ax
        shades = plt.get_cmap("viridis")(np.linspace(0.95, 0.35, len(self.levels)))
        lists = [(self.levels[-1], self.close, plt.get_cmap("viridis")(0.0))]
        lists += [(level, level.far, shade) for level, shade in zip(self.levels, shades, strict=True)]
        for level, pairs, shade in lists:
            s, size = level.starts, np.diff(level.starts)
            blocks = [Rectangle((s[j], s[i]), size[j], size[i]) for i, j in pairs.T]
            ax.add_collection(PatchCollection(blocks, facecolor=shade, edgecolor="white", linewidth=0.3))
        ax.set(xlim=(0, self.N), ylim=(self.N, 0), aspect="equal", xlabel="column (point in tree order)")
        ax.set_ylabel("row (point in tree order)")
        far = sum(level.far.shape[1] for level in self.levels)
        ax.set_title(f"N = {self.N}: {self.close.shape[1]} close blocks (dark), {far} admissible")
        return ax


def _checked(points: ArrayLike) -> Array:
    points = np.array(points, dtype=float)
    if points.ndim != 2 or points.shape[0] not in (1, 2, 3) or points.shape[1] < 1:
        raise ValueError(f"points: expected shape (dim, N) with dim 1, 2 or 3, got {points.shape}")
    bad = ~np.isfinite(points).all(axis=0)
    if bad.any():
        raise ValueError(
            f"points: expected finite coordinates, {int(bad.sum())} points are not, the first is {int(bad.argmax())}"
        )
    order = np.lexsort(points)
    same = (np.diff(points[:, order], axis=1) == 0).all(axis=0)
    if same.any():
        i, j = sorted(order[int(same.argmax()) :][:2].tolist())
        raise ValueError(
            f"points: expected distinct points, {int(same.sum())} coincide with another, the first are {i} and {j} at "
            f"{points[:, i].tolist()}; merge them (of a vector element take one component)"
        )
    return points


def _boxes(points: Array, order: Index, starts: Index) -> tuple[Array, Array]:
    ordered = points[:, order]
    return np.minimum.reduceat(ordered, starts[:-1], axis=1), np.maximum.reduceat(ordered, starts[:-1], axis=1)


def _plan(N: int, dim: int, leaf: int) -> list[int]:
    """The parts that each cut makes, ``dim`` cuts from a level to the next: as few leaves as ``leaf`` allows.

    Cuts in two, perhaps after a level of cuts in three: with 2^dim children alone the leaf sizes that can be had are a
    factor 2^dim apart, and cutting some axes more often than others makes long boxes, which have more neighbours.
    """
    plans = []
    for first in ([], [3] * dim):
        plan = list(first)
        while -(-N // math.prod(plan)) > leaf:
            plan += [2] * dim
        plans.append(plan)
    return min(plans, key=math.prod)


def _tree(points: Array, plan: list[int]) -> tuple[Index, list[Index]]:
    """Return the tree order ``(N,)`` and the starts of the clusters after 0, 1, 2, ... cuts."""
    N = points.shape[1]
    order, starts = np.arange(N), np.array([0, N])
    trees = [starts]
    for parts in plan:
        sizes = np.diff(starts)
        filled = np.flatnonzero(sizes)
        axis = np.zeros(len(sizes), dtype=int)
        low, high = _boxes(points, order, np.append(starts[:-1][filled], N))
        axis[filled] = (high - low).argmax(axis=0)
        cluster = np.repeat(np.arange(len(sizes)), sizes)
        order = order[np.lexsort((points[axis[cluster], order], cluster))]
        cuts = starts[:-1, None] + sizes[:, None] * np.arange(parts) // parts
        starts = np.append(cuts.ravel(), N)
        trees.append(starts)
    return order, trees


def _lists(points: Array, order: Index, trees: list[Index], dim: int, eta: float) -> tuple[tuple[Level, ...], Index]:
    """Descend the tree with all pairs: admissible ones stay at their level, the others go on to their children."""
    levels: list[Level] = []
    pairs = np.zeros((2, 1), dtype=np.int64)
    for depth in range(0, len(trees), dim):
        children = (len(trees[depth]) - 1) // (len(trees[depth - dim]) - 1) if depth else 1
        i, j = np.divmod(np.arange(children**2), children)
        pairs = np.stack([(children * pairs[0][:, None] + i).ravel(), (children * pairs[1][:, None] + j).ravel()])
        low, high = _boxes(points, order, trees[depth])
        gap = np.maximum(low[:, pairs[0]] - high[:, pairs[1]], low[:, pairs[1]] - high[:, pairs[0]])
        distance = np.linalg.norm(np.maximum(gap, 0.0), axis=0)
        diameter = np.linalg.norm(high - low, axis=0)
        far = (distance > 0) & (distance >= eta * np.maximum(diameter[pairs[0]], diameter[pairs[1]]))
        levels.append(Level(trees[depth], low, high, _sorted(pairs[:, far]), children))
        pairs = pairs[:, ~far]
    return tuple(levels), _sorted(pairs)


def _sorted(pairs: Index) -> Index:
    return pairs[:, np.lexsort((pairs[1], pairs[0]))]
