"""Static condensation of coarse quads onto their boundary, merging blocks of cells upwards.

A coarse element becomes a bordered matrix ``(4 n + 8, 4 n + 8)``: unknowns are its 4 n boundary nodes, columns the
constraints P (4) and the functionals R = a(lambda_c, .) of its corners (4). Corners are the two left ones, then the two
right ones. A load on its nodes becomes a vector with the same rows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import Eliminated, eliminate, half_load, recover, scatter_add
from skfem_ml.lod.engine.elements.layout import CORNERS, Merge, boundary_nodes, merge_factors
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.interpolation import hat_values, tensor

CHUNK_BYTES = 2**21  # matrices of elements merged at a time: they should stay in the cache


class ElementCondenser:
    """Bordered matrices of coarse elements, interior eliminated: step (4) of the page `skfem_ml.lod.engine`.

    Parameters
    ----------
    space
        The space; two-dimensional.
    fine_form
        The form with its coefficients. Where it is one matrix times the value of the cell, whole coefficient cells are
        condensed once and for all; else the merging starts from the element matrices of the fine mesh.
    """

    def __init__(self, space: Discretisation, fine_form: FineForm):
        self.space, self.fine_form, n = space, fine_form, space.n
        self.device = torch.device(space.device)
        self.unit = fine_form.unit_matrix
        self.leaf = n // space.m if self.unit is not None else 1
        projector = space.interpolation.local(n, 2)[CORNERS]
        hats = tensor(hat_values(n), 2)[CORNERS]
        outer = boundary_nodes(n)
        self.outer = torch.from_numpy(outer[0] + (n + 1) * outer[1]).to(self.device)
        self.hats = self.on_device(hats[:, self.outer.cpu()].T)  # (4n, 4)
        self.border = self.on_device(projector.T)  # ((n+1)**2, 4)
        self.moments = self.on_device(projector @ hats.T)  # P against the hats of the corners
        self.merges, size = [], self.leaf
        for q in merge_factors(n // self.leaf):
            self.merges.append(Merge(n, size, q, 4))
            size *= q
        self.uniform = space.interpolation.average == "count"  # then scaling a constraint is idle
        if self.leaf > 1:
            self._prepare_leaf(projector)

    def on_device(self, array: ndarray) -> Tensor:
        """The array as a tensor where the engine computes."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _prepare_leaf(self, projector: ndarray) -> None:
        """Condense s x s fine cells of value one: stiffness A, constraints B and their Gram G at every place in T."""
        assert self.unit is not None
        n, s = self.space.n, self.leaf
        merge = Merge(s, 1, s, 0)
        matrix = torch.zeros(1, merge.width, merge.width, dtype=torch.float64)
        for child in merge.children:
            scatter_add(matrix, child, torch.from_numpy(self.unit)[CORNERS][:, CORNERS][None])
        done = eliminate(matrix, merge.inner)
        corner = s * np.stack(np.divmod(np.arange((n // s) ** 2), n // s)[::-1])
        x, y = (
            corner[:, :, None] + np.stack([merge.border_nodes[0] % (s + 1), merge.border_nodes[0] // (s + 1)])[:, None]
        )
        self.leaf_nodes = torch.from_numpy(x + (n + 1) * y).to(self.device)  # (places, inner)
        inner = torch.from_numpy(projector.T)[self.leaf_nodes.cpu()]  # (places, inner, 4)
        half = torch.linalg.solve_triangular(done.factor, inner, upper=False)
        self.leaf_stiffness = done.schur[0].to(self.device)
        self.leaf_border = -(done.coupling @ half).to(self.device)
        self.leaf_gram = -(half.mT @ half).to(self.device)
        self.leaf_step = Eliminated(
            done.schur,
            done.factor.to(self.device),
            torch.cat([done.coupling.expand(len(half), -1, -1), half.mT], dim=1).to(self.device),
        )

    def condense(self, elements: ndarray, keep: bool = False) -> tuple[Tensor, list[Eliminated]]:
        """Bordered matrices of elements, ``(k, 4 n + 8, 4 n + 8)``: boundary nodes, P, R.

        With ``keep`` also the elimination steps, for loads and to recover their interior.
        """
        blocks, steps = self.bordered(elements, keep)
        return self._with_functionals(blocks, elements), steps

    def bordered(self, elements: ndarray, keep: bool = False) -> tuple[Tensor, list[Eliminated]]:
        """The part of `condense` that no other element has a say in: ``(k, 4 n + 4, 4 n + 4)``, without R.

        [[S, C], [C^T, -G]] of boundary nodes and of P on the element, not averaged; the interior is eliminated.
        """
        if keep or not len(elements) or not self.merges:
            return self._merged(elements)
        chunk = max(1, CHUNK_BYTES // (8 * max(merge.blocks**2 * merge.width**2 for merge in self.merges)))
        parts = [self._merged(elements[start : start + chunk])[0] for start in range(0, len(elements), chunk)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)), []

    def correction(self, elements: ndarray) -> ndarray | None:
        """What is added to the element matrices of the form, ``(k, (n + 1)**2, (n + 1)**2)``: nothing."""
        return None

    def _merged(self, elements: ndarray) -> tuple[Tensor, list[Eliminated]]:
        blocks, steps = self._leaves(elements), []
        for merge in self.merges:
            matrix = blocks.new_zeros(len(blocks), merge.blocks**2, merge.width, merge.width)
            for number, child in enumerate(merge.children):
                scatter_add(matrix, child.to(self.device), merge.child(blocks, number))
            matrix[:, :, -4:, : merge.inner] += self.border[merge.border_nodes.to(self.device)].mT
            steps.append(eliminate(matrix, merge.inner))
            blocks = steps[-1].schur
        out, nb = blocks[:, 0], 4 * self.space.n
        out[:, :nb, nb:] += self.border[self.outer]  # the boundary's own part of the constraints
        out[:, nb:, :nb] += self.border[self.outer].mT
        return out, steps

    def _leaves(self, elements: ndarray) -> Tensor:
        """Bordered matrices of the smallest blocks, ``(k, blocks, 4 s + 4, ...)``."""
        s = self.leaf
        if self.unit is None:
            cells = self.space.refinement.cells[elements]
            values = self.on_device(self.fine_form.matrices(cells.ravel())).view(*cells.shape, 4, 4)
            values = values[..., CORNERS, :][..., CORNERS]
            return torch.nn.functional.pad(values, (0, 4, 0, 4))
        value = self.values(elements)[..., None, None]
        if s == 1:
            unit = self.on_device(self.unit[CORNERS][:, CORNERS])
            return value * torch.nn.functional.pad(unit, (0, 4, 0, 4))
        out = value.new_zeros(*value.shape[:2], 4 * s + 4, 4 * s + 4)
        out[..., : 4 * s, : 4 * s] = value * self.leaf_stiffness
        out[..., : 4 * s, 4 * s :] = self.leaf_border
        out[..., 4 * s :, : 4 * s] = self.leaf_border.mT
        out[..., 4 * s :, 4 * s :] = self.leaf_gram / value
        return out

    def leaf_parts(self, place: int) -> tuple[Tensor, Tensor, Tensor]:
        """A cell of value one at a place in T: stiffness, constraints and their Gram, where they come as that."""
        assert self.unit is not None
        if self.leaf > 1:
            return self.leaf_stiffness, self.leaf_border[place], self.leaf_gram[place]
        return self.on_device(self.unit[CORNERS][:, CORNERS]), self.border.new_zeros(4, 4), self.border.new_zeros(4, 4)

    def values(self, elements: ndarray) -> Tensor:
        """Value of the coefficient on every leaf, ``(k, leaves)``."""
        cells = self.space.coefficient_refinement.cells[elements]
        if self.leaf == 1 and self.space.m < self.space.n:
            cells = self.space.coefficient_cell[self.space.refinement.cells[elements]]
        a = self.fine_form.coefficients.get("a", 1.0)
        return self.on_device(a[cells] if isinstance(a, ndarray) else np.full(cells.shape, a, dtype=float))

    def _averages(self, elements: ndarray) -> Tensor:
        """What multiplies the constraints at the corners of elements, ``(k, 4)``."""
        return self.on_device(self.space.averages[elements][:, CORNERS])

    def _with_functionals(self, blocks: Tensor, elements: ndarray) -> Tensor:
        """Average the constraints, and add the columns R.

        R = K lambda condenses to S lambda_B, and against a column Y to Y~^T lambda_B - Y^T lambda, so R needs no
        elimination of its own. The last term is left out for R itself: what comes out in the end is then
        g_T(lambda_i) - a(w, lambda_i) itself, without a difference of large numbers.
        """
        nb = 4 * self.space.n
        stiffness, columns = blocks[:, :nb, :nb], blocks[:, :nb, nb:]
        gram, moments = blocks[:, nb:, nb:], self.moments
        if not self.uniform:
            weight = self._averages(elements)
            columns, gram = columns * weight[:, None], gram * weight[:, None] * weight[:, :, None]
            moments = moments * weight[:, :, None]
        functional = stiffness @ self.hats
        mixed = columns.mT @ self.hats - moments  # (k, 4, 4)
        rows = [
            torch.cat([stiffness, columns, functional], 2),
            torch.cat([columns.mT, gram, mixed], 2),
            torch.cat([functional.mT, mixed.mT, functional.mT @ self.hats], 2),
        ]
        return torch.cat(rows, 1)

    def own_loads(self, matrices: Tensor) -> Tensor:
        """The loads a_T(lambda_j, .) of condensed elements, ``(k, 4 n + 8, 4)``, lexicographic j: the columns R."""
        return matrices[:, :, -4:][:, :, CORNERS]

    def load(self, elements: ndarray, steps: list[Eliminated], loads: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Loads ``(k, (n + 1)**2, v)`` condensed like the elements: ``(k, 4 n + 8, v)``, and the halves of `interior`.

        ``steps`` are those of ``condense`` on the same elements.
        """
        boundary, constraints, halves = self._load(elements, steps, loads)
        if not self.uniform:
            constraints = constraints * self._averages(elements)[:, :, None]
        return torch.cat([boundary, constraints, self.hats.T @ boundary], 1), halves

    def _load(self, elements: ndarray, steps: list[Eliminated], loads: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Loads against boundary nodes ``(k, 4 n, v)`` and P ``(k, 4, v)`` of `bordered`, and the halves."""
        s, k, v = self.leaf, len(elements), loads.shape[2]
        blocks = loads.new_zeros(k, (self.space.n // s) ** 2, 4 * s + 4, v)
        halves = []
        if s > 1:
            halves.append(half_load(self.leaf_step, loads[:, self.leaf_nodes], blocks))
            blocks[:, :, 4 * s :] /= self.values(elements)[..., None, None]
        for merge, step in zip(self.merges, steps, strict=True):
            vector = blocks.new_zeros(k, merge.blocks**2, merge.width, v)
            for number, rows in enumerate(merge.child_rows):
                vector.index_add_(2, rows.to(self.device), merge.child(blocks, number).flatten(1, 2))
            inner, blocks = vector.split([merge.inner, merge.width - merge.inner], dim=2)
            halves.append(half_load(step, inner + loads[:, merge.border_nodes.to(self.device)], blocks))
        boundary, constraints = blocks[:, 0].split([4 * self.space.n, 4], dim=1)
        return boundary + loads[:, self.outer], constraints, halves

    def interior(
        self,
        elements: ndarray,
        steps: list[Eliminated],
        boundary: Tensor,
        multipliers: Tensor,
        halves: list[Tensor] | None = None,
    ) -> Tensor:
        """Nodal values ``(k, (n + 1)**2, v)`` of solutions on elements with the given boundary values ``(k, 4 n, v)``.

        ``multipliers`` ``(k, 4, v)`` are those of the constraints at the corners; ``steps`` and ``halves`` come from
        ``condense`` and ``load`` on the same elements.
        """
        if not self.uniform:
            multipliers = multipliers * self._averages(elements)[:, :, None]
        return self._interior(elements, steps, boundary, multipliers, halves)

    def _interior(
        self,
        elements: ndarray,
        steps: list[Eliminated],
        boundary: Tensor,
        multipliers: Tensor,
        halves: list[Tensor] | None,
    ) -> Tensor:
        """`interior` with the multipliers of `bordered`, ``(k, 4, v)``."""
        k, _, v = boundary.shape
        out = boundary.new_zeros(k, (self.space.n + 1) ** 2, v)
        out[:, self.outer] = boundary
        given = [None] * (len(self.merges) + 1) if halves is None else halves
        values = boundary[:, None]  # (k, blocks, nodes around, v)
        for merge, step, half in zip(reversed(self.merges), reversed(steps), reversed(given), strict=False):
            spread = multipliers[:, None].expand(-1, values.shape[1], -1, -1)
            inner = recover(step, torch.cat([values, spread], 2), half)
            out[:, merge.border_nodes.ravel().to(self.device)] = inner.reshape(k, -1, v)
            whole = torch.cat([inner, values], 2)
            children = torch.stack([whole[:, :, rows[:-4].to(self.device)] for rows in merge.child_rows], 2)
            values = merge.joined(children)
        if self.leaf > 1:
            value = self.values(elements)[..., None, None]
            half = None if given[0] is None else given[0] / value
            inner = recover(self.leaf_step, torch.cat([values, multipliers[:, None] / value], 2), half)
            out[:, self.leaf_nodes.ravel()] = inner.reshape(k, -1, v)
        return out
