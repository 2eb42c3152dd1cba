r"""Elements whose energies are given, and the form that an engine then solves with.

With b the values on the 4 n boundary nodes of an element T and m = P_T v the four moments of the quasi-interpolation,
let H be the energies of T: (b, m) . H (b, m) is the smallest a_T(v, v) of functions with these values. The exact H of
the fine mesh, in the bordered matrix [[S, C], [C^T, -G]] of `ElementCondenser.bordered`, is

    H = [[S + C G^-1 C^T, -C G^-1], [-G^-1 C^T, G^-1]],   S = H_bb - C G^-1 C^T,  C = -H_bm G,  G = H_mm^-1.       (1)

Where another H~ is put in its place, all is as if the form were

    a~(u, v) = a(u, v) + sum_T D_T u . (H~_T - H_T) D_T v,   D_T v = (v on the boundary of T, P_T v),              (2)

since functions without values and moments on T are a_T-orthogonal to the others and see no change. So an interior with
values b and moments m is that of the fine mesh, for any H~; and every result is that of LOD for a~.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy import ndarray
from scipy.sparse import coo_matrix, csr_matrix
from torch import Tensor

from skfem_ml.lod.engine.bordered import Eliminated
from skfem_ml.lod.engine.elements.condenser import ElementCondenser
from skfem_ml.lod.engine.protocol import FOLD, Energies
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm


def energies_of(bordered: Tensor) -> Tensor:
    """H of bordered matrices ``(k, N, N)``, constraints last, by (1). Raises ValueError where P sees no interior."""
    S, C, G = _blocks(bordered, -1.0)
    factor, info = torch.linalg.cholesky_ex(G)
    if bool(info.any()):
        raise ValueError(
            "interiors: expected a quasi-interpolation that sees the interior of elements (projection, clement), got "
            "one whose functionals are taken on their boundary; leave interiors out"
        )
    inverse = torch.cholesky_inverse(factor)
    X = C @ inverse
    return _joined(S + X @ C.mT, -X, inverse)


def bordered_of(energies: Tensor) -> Tensor:
    """The bordered matrices of energies ``(k, N, N)``, moments last: the inverse of `energies_of`.

    Raises ValueError where those of the moments are not positive.
    """
    H, X, moments = _blocks(energies)
    factor, info = torch.linalg.cholesky_ex(moments)
    if bool(info.any()):
        raise indefinite(int((info > 0).sum()))
    G = torch.cholesky_inverse(factor)
    C = -X @ G
    return _joined(H + X @ C.mT, C, -G)


def indefinite(count: int) -> ValueError:
    """The error where energies are not positive."""
    return ValueError(
        f"interiors: expected energies of elements that are positive, got {count} that are not; extrapolate from finer "
        "meshes, or take CondensedInteriors, which does not extrapolate"
    )


class EnergyCondenser(ElementCondenser):
    """Condenses elements whose energies are given: an `ElementCondenser` for the form (2).

    Its elimination steps are those of the exact interior, and one more, the exchange, with factor [G^-1; G~ G^-1] and
    coupling (C - C~) G^-1: where the values around it are b, multipliers mu of such an element belong to multipliers
    G^-1 G~ mu + G^-1 (C - C~)^T b of the exact interior. Loads are moved by the transposes of the same.

    Parameters
    ----------
    space, fine_form
        As for `ElementCondenser`.
    energies
        Gives H~ of elements, ``(k, 4 n + 4, 4 n + 4)``.
    """

    def __init__(self, space: Discretisation, fine_form: FineForm, energies: Energies):
        super().__init__(space, fine_form)
        self.energies = energies

    def bordered(self, elements: ndarray, keep: bool = False) -> tuple[Tensor, list[Eliminated]]:
        """Bordered matrices of elements by (1), ``(k, 4 n + 4, 4 n + 4)``."""
        given = bordered_of(self.given(elements))
        if not keep:
            return given, []
        exact, steps = super().bordered(elements, keep)
        return given, [*steps, _exchange(given, exact)]

    def given(self, elements: ndarray) -> Tensor:
        """H~ of elements, ``(k, 4 n + 4, 4 n + 4)``. Raises ValueError for another shape."""
        energies, size = self.energies(elements).to(self.device), 4 * self.space.n + 4
        if energies.shape != (len(elements), size, size):
            raise ValueError(
                f"interiors: expected energies {(len(elements), size, size)}, got {tuple(energies.shape)}: of the "
                f"{size - 4} boundary nodes and four moments of each element"
            )
        return energies

    def correction(self, elements: ndarray) -> ndarray:
        """D^T (H~ - H) D on the nodes of elements, x fastest, ``(k, (n + 1)**2, (n + 1)**2)``."""
        gap = self.given(elements) - energies_of(super().bordered(elements)[0])
        D = self.border.new_zeros(len(self.outer) + 4, len(self.border))
        D[torch.arange(len(self.outer), device=self.device), self.outer] = 1.0
        D[-4:] = self.border.mT
        return (D.mT @ gap @ D).cpu().numpy()

    def _load(self, elements: ndarray, steps: list[Eliminated], loads: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        *exact, exchange = steps
        boundary, constraints, halves = super()._load(elements, exact, loads)
        changed = exchange.factor[:, 4:] @ constraints
        rest = exchange.factor[:, :4] @ (changed - constraints)  # F - G^-1 G~ F, the constraints being -G F
        return boundary + exchange.coupling @ constraints, changed, [*halves, rest]

    def _interior(
        self,
        elements: ndarray,
        steps: list[Eliminated],
        boundary: Tensor,
        multipliers: Tensor,
        halves: list[Tensor] | None,
    ) -> Tensor:
        *exact, exchange = steps
        multipliers = exchange.factor[:, 4:].mT @ multipliers + exchange.coupling.mT @ boundary
        if halves is not None:
            *halves, rest = halves
            multipliers = multipliers + rest
        return super()._interior(elements, exact, boundary, multipliers, halves)


def element_source(space: Discretisation, fine_form: FineForm) -> ElementCondenser:
    """The condenser of a space's elements: exact, or with the energies of its ``interiors``."""
    if space.interiors is None:
        return ElementCondenser(space, fine_form)
    return EnergyCondenser(space, fine_form, space.interiors.energies(space, fine_form))


def added_stiffness(fine_form: FineForm) -> csr_matrix:
    """The matrix of a~ - a by (2) on the fine mesh, ``(fine.N, fine.N)``, for the interiors of the form's space."""
    space = fine_form.space
    source, nodes = element_source(space, fine_form), space.refinement.nodes
    total = csr_matrix((space.fine_mesh.p.shape[1],) * 2)
    for line in np.array_split(space.all_elements, max(1, len(nodes) * nodes.shape[1] ** 2 // FOLD)):
        rows, columns = np.broadcast_arrays(nodes[line][:, :, None], nodes[line][:, None, :])
        blocks = source.correction(line)
        if blocks is not None:
            total = total + coo_matrix((blocks.ravel(), (rows.ravel(), columns.ravel())), shape=total.shape).tocsr()
    return total


def _exchange(given: Tensor, exact: Tensor) -> Eliminated:
    _, C, G = _blocks(exact, -1.0)
    _, given_C, given_G = _blocks(given, -1.0)
    inverse = torch.linalg.inv(G)
    return Eliminated(G, torch.cat([inverse, given_G @ inverse], 1), (C - given_C) @ inverse)


def _blocks(matrices: Tensor, sign: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """The blocks of boundary nodes, of both, and (times the sign) of the four constraints or moments."""
    return matrices[:, :-4, :-4], matrices[:, :-4, -4:], sign * matrices[:, -4:, -4:]


def _joined(boundary: Tensor, both: Tensor, moments: Tensor) -> Tensor:
    whole = torch.cat([torch.cat([boundary, both], 2), torch.cat([both.mT, moments], 2)], 1)
    return (whole + whole.mT) / 2
