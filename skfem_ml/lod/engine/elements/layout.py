"""How the nodes of a coarse quad are ordered, and the index maps by which blocks of its cells become larger ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import flat_index


def boundary_nodes(s: int) -> ndarray:
    """Places (x, y) of the 4 s nodes around s x s cells: west and east with corners, then south and north."""
    y, x = np.arange(s + 1), np.arange(1, s)
    west, east = np.stack([0 * y, y]), np.stack([0 * y + s, y])
    south, north = np.stack([x, 0 * x]), np.stack([x, 0 * x + s])
    return np.concatenate([west, east, south, north], axis=1)


def merge_factors(count: int) -> list[int]:
    """Prime factors, so that ``count`` cells along an edge are merged in steps as small as can be."""
    factors, prime = [], 2
    while count > 1:
        while count % prime == 0:
            factors.append(prime)
            count //= prime
        prime += 1
    return factors


CORNERS = [0, 2, 1, 3]  # lexicographic corners in the order of a stack: the two left ones, then the two right ones


class Merge:
    """Index maps of one merge: q x q blocks of s x s cells become one, and the nodes between them are eliminated."""

    def __init__(self, n: int, s: int, q: int, columns: int):
        size = q * s
        inner = np.array([(x, y) for y in range(1, size) for x in range(1, size) if x % s == 0 or y % s == 0]).T
        nodes = np.concatenate([inner.reshape(2, -1), boundary_nodes(size)], axis=1)
        self.inner, self.width = inner.size // 2, nodes.shape[1] + columns
        place = np.full((size + 1, size + 1), -1)
        place[nodes[0], nodes[1]] = np.arange(nodes.shape[1])
        extra = nodes.shape[1] + np.arange(columns)
        self.children, self.child_rows = [], []
        for by in range(q):
            for bx in range(q):
                x, y = boundary_nodes(s) + s * np.array([[bx], [by]])
                rows = torch.from_numpy(np.append(place[x, y], extra))
                self.child_rows.append(rows)
                self.children.append(flat_index(rows, rows, self.width))
        blocks = n // size  # parents along an edge of the element
        self.blocks, self.q = blocks, q
        corner = size * np.stack(np.divmod(np.arange(blocks**2), blocks)[::-1])  # (2, parents)
        at = corner[:, :, None] + inner.reshape(2, 1, -1)
        self.border_nodes = torch.from_numpy(at[0] + (n + 1) * at[1])  # (parents, inner)

    def child(self, blocks: Tensor, number: int) -> Tensor:
        """Of child matrices (E, child blocks, ...), those at one place of their parents: (E, parents, ...)."""
        e, b, q = len(blocks), self.blocks, self.q
        by, bx = divmod(number, q)
        return blocks.view(e, b, q, b, q, *blocks.shape[2:])[:, :, by, :, bx]

    def joined(self, children: Tensor) -> Tensor:
        """Blocks grouped by parent, (E, parents, q * q, ...), in the order of child blocks (E, child blocks, ...)."""
        e, b, q = len(children), self.blocks, self.q
        grouped = children.view(e, b, b, q, q, *children.shape[3:]).transpose(2, 3)
        return grouped.reshape(e, b * b * q * q, *children.shape[3:])
