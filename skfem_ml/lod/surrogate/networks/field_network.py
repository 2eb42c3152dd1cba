"""A network for whole fields of coefficients, with what is known of local matrices built in."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, pad, silu

from skfem_ml.lod.surrogate.networks.equivariant import (
    Average,
    Lift,
    channels,
    grid_actions,
    initialise,
    joined,
    plain,
    times,
)
from skfem_ml.lod.surrogate.networks.field_encoder import FieldEncoder, Gate, gated
from skfem_ml.lod.surrogate.networks.local_network import View, check_sizes, conserve, extremes, stiffness
from skfem_ml.lod.surrogate.networks.place import Place
from skfem_ml.lod.surrogate.networks.symmetries import COUNT, permutation


class FieldNetwork(FieldEncoder):
    r"""A network that conserves constants and commutes with scaling and the eight symmetries, all by construction.

    S_T = exp(mean_T log a) Pi(K + N(z)): K is the Q1 stiffness matrix of the unit coefficient on T, Pi the projection
    of `conserve`, z what is left of the patch when a is scaled. All layers are those of `equivariant`. Convolutions
    over the whole field (the first on differences of log a, since sums would see the scale) encode every coarse element
    once. The encodings of T and its neighbours see no further than one element; those of the outer elements see the
    element alone, so that nothing is seen beyond the patch. A gated residual network (silu(x) y: products are what the
    expansion in log a is made of) combines them with the differences of the elements' means, the elements inside, and
    the nodes on Gamma_D; an affine map of the raw patch stands beside it (see `ridge.fit_affine`). N is zero at first:
    untrained, this is the coarse finite element method with the geometric mean on T. Squares of any size h.

    Parameters
    ----------
    m, ell
        Coefficient cells along a coarse edge, layers of the patch.
    encoding, outer
        Regular channels (eight values each) of the encodings of inner and outer elements.
    width, depth
        Regular channels and number of the residual blocks on the patch.
    wide
        For high contrast: gates sigmoid(x) y, which do not grow like products, and in place of the geometric mean one
        between the harmonic and the arithmetic mean on T, H^(1 - t) A^t, where the network says t (1/2 at first).
    base
        Not zero: the network corrects the exact matrices B_T of a fine mesh with only ``base`` cells along a coarse
        edge, a multiple of m, which it is given and sees as well: ``S_T = B_T + |B_T|_F Pi(N(z))``.
    generator
        Draws the weights; None leaves them unset, for weights that are loaded.

    Raises ValueError for sizes out of range.

    >>> import torch
    >>> from skfem_ml.lod import FieldNetwork
    >>> net = FieldNetwork(m=4, ell=1, width=8, generator=torch.Generator().manual_seed(0))
    >>> net.config["width"], net.base, bool((net.head.weight == 0).all())
    (8, 0, True)
    """

    def __init__(
        self,
        m: int,
        ell: int = 2,
        encoding: int = 32,
        outer: int = 4,
        width: int = 32,
        depth: int = 2,
        wide: bool = False,
        base: int = 0,
        *,
        generator: torch.Generator | None,
    ):
        super().__init__()
        check_sizes(m=m, ell=ell, encoding=encoding, outer=outer, width=width, depth=depth, base=base or 1)
        if base % m:
            raise ValueError(f"base: expected a multiple of m = {m}, got {base}")
        self.config = {
            "m": m, "ell": ell, "encoding": encoding, "outer": outer, "width": width, "depth": depth, "wide": wide,
            "base": base,
        }  # fmt: skip
        self.m, self.ell, self.base, self.gate = m, ell, base, torch.sigmoid if wide else silu
        self.build_encoder(m, encoding)
        self._build_patch(encoding, outer, width, depth, wide)
        if generator is not None:
            self._draw(generator)

    def _build_patch(self, encoding: int, outer: int, width: int, depth: int, wide: bool) -> None:
        """Add the layers that see a patch: the encodings of its elements, and what else is known of it."""
        side, nodes = 2 * self.ell + 1, 2 * self.ell + 2
        self.near, self.far = _rings(self.ell)
        self.own = Lift(grid_actions(self.m), outer)
        marks = grid_actions(side), grid_actions(nodes)
        inner = times(grid_actions(3 if self.ell > 1 else 1), channels(encoding))
        edge = times(_restricted(grid_actions(side), self.far), channels(outer))
        out = times(grid_actions(nodes), grid_actions(2))
        known = [out] if self.base else []
        self.combine = Lift(joined(inner, edge, grid_actions(side), *marks, *known), width)
        self.blocks = nn.ModuleList(_Block(width, self.gate) for _ in range(depth))
        self.between = nn.Linear(width, 1) if wide and not self.base else None
        self.head = Average(channels(width), out)
        self.affine = Average(joined(times(grid_actions(side), grid_actions(self.m)), *marks, *known, plain(1)), out)
        self.doubt = nn.Sequential(nn.Linear(2 * width, 32), nn.SiLU(), nn.Linear(32, 1))

    def _draw(self, generator: torch.Generator) -> None:
        initialise(self, generator)
        for parameter in self.doubt.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)
        for parameter in self.between.parameters() if self.between is not None else ():
            nn.init.zeros_(parameter)

    def look(self, a: Tensor, place: Place, base: Tensor | None = None) -> View:
        """All that the network makes of the patches before its last layers."""
        if (base is None) == bool(self.base):
            wanted, got = ("matrices", "none") if self.base else ("none", "some")
            raise ValueError(f"base: expected {wanted} of a coarser fine mesh, got {got}")
        logs = a.log()
        means = logs.mean(dim=2)
        kind = self.head.weight.dtype
        steps = self._steps(means, place).to(kind)
        index = place.cells.where(place.cells >= 0, a.shape[1])  # the last row, added below, is zero
        known = self._known(place, base, len(a))
        alone = (logs - means[:, :, None]).to(kind)
        # The shift is for single precision only: what follows sees differences.
        encoded = self.encode((logs - means.mean(dim=1)[:, None, None].detach()).to(kind), place.lattice)
        far = pad(silu(self.own(alone)), (0, 0, 0, 1))[:, index[:, self.far]]
        x = self._combined(encoded, place, torch.cat([far.flatten(2), steps, *known], dim=2))
        for block in self.blocks:
            x = x + block(x)
        x = silu(x)
        scale = self._scale(a, means, place, x) if base is None else _norms(base)
        return View(self._affine(alone, place, steps, known), x, scale, base)

    def raw(self, a: Tensor, place: Place, base: Tensor | None = None) -> Tensor:
        """Inputs of the affine part ``(fields, k, ...)``: log a - mean_T log a on the patch, marks of elements inside
        and of nodes on Gamma_D, ``B_T / |B_T|_F`` where there is one, and 1.
        """
        logs, kind = a.log(), self.head.weight.dtype
        means = logs.mean(dim=2)
        index = place.cells.where(place.cells >= 0, a.shape[1])
        relative = pad((logs - means[:, :, None]).to(kind), (0, 0, 0, 1))[:, index]
        patch = (relative + self._steps(means, place).to(kind)[..., None]).flatten(2)
        return torch.cat([patch, *self._known(place, base, len(a)), torch.ones_like(patch[:, :, :1])], dim=2)

    def matrices(self, view: View, place: Place) -> Tensor:
        """Local matrices ``(fields, k, rows, 4)``."""
        change = (self.head(view.hidden) + view.affine).double().unflatten(2, (-1, 4))
        scale = view.scale[:, :, None, None]
        if view.base is not None:
            return view.base + scale * conserve(change, place.nodes)
        return scale * conserve(stiffness(self.ell).to(change.device) + change, place.nodes)

    def _scale(self, a: Tensor, means: Tensor, place: Place, x: Tensor) -> Tensor:
        middle = place.cells[:, place.cells.shape[1] // 2]
        if self.between is None:
            return means[:, middle].exp()
        own = a[:, middle]
        t = torch.sigmoid(self.between(x.unflatten(2, (-1, COUNT)).mean(dim=3))[..., 0].double())
        return torch.lerp(-own.reciprocal().mean(dim=2).log(), own.mean(dim=2).log(), t).exp()

    def invariants(self, view: View) -> Tensor:
        """What no symmetry changes of `View.hidden`: mean and deviation of every channel, ``(fields, k, 2 width)``."""
        x = view.hidden.unflatten(2, (-1, COUNT))
        mean = x.mean(dim=3)
        away = (x - mean[..., None]).square().sum(dim=3).sqrt()  # many times as fast as std, or the norm
        return torch.cat([mean, away / (COUNT - 1) ** 0.5], dim=2)

    def extent(self, a: Tensor, place: Place) -> Tensor:
        """Smallest and largest input of every patch, ``(fields, k, 2)``: log a - mean_T log a."""
        logs = a.log()
        own = place.cells[:, place.cells.shape[1] // 2]
        return extremes(logs, place) - logs.mean(dim=2)[:, own, None]

    def _steps(self, means: Tensor, place: Place) -> Tensor:
        own = place.cells[:, place.cells.shape[1] // 2]
        return (means[:, place.cells.clamp(min=0)] - means[:, own, None]) * (place.cells >= 0)

    def _known(self, place: Place, base: Tensor | None, fields: int) -> list[Tensor]:
        kind = self.head.weight.dtype
        known = [torch.cat([place.cells >= 0, place.dirichlet], dim=1).to(kind).expand(fields, -1, -1)]
        return known if base is None else [*known, (base / _norms(base)[:, :, None, None]).flatten(2).to(kind)]

    def _affine(self, alone: Tensor, place: Place, steps: Tensor, known: list[Tensor]) -> Tensor:
        """``affine(raw)``, as a convolution over the mesh of log-ratios to the mean of each element."""
        columns, rows = place.lattice.T
        image = alone.new_zeros(len(alone), int(rows.max()) + 1, int(columns.max()) + 1, alone.shape[2])
        image[:, rows, columns] = alone
        matrix, side = self.affine.matrix(), 2 * self.ell + 1
        kernel = matrix[:, : side**2 * alone.shape[2]].reshape(-1, side, side, alone.shape[2])
        columns, rows = place.lattice[place.cells[:, side**2 // 2]].T
        patch = conv2d(image.permute(0, 3, 1, 2), kernel.permute(0, 3, 1, 2), padding=self.ell)[:, :, rows, columns]
        others = torch.cat([steps, *known, torch.ones_like(steps[:, :, :1])], dim=2)
        rest = torch.cat([kernel.sum(dim=3).flatten(1), matrix[:, side**2 * alone.shape[2] :]], dim=1)
        return patch.transpose(1, 2) + linear(others, rest)

    def _combined(self, encoded: Tensor, place: Place, others: Tensor) -> Tensor:
        """`combine` of the encodings of T and its neighbours, and what else there is, ``(fields, k, 8 width)``.

        The former as a convolution over the mesh: faster than to gather them first.
        """
        matrix, channels, side = self.combine.matrix(), encoded.shape[1], round(len(self.near) ** 0.5)
        kernel = matrix[:, : channels * len(self.near)].reshape(-1, side, side, channels).permute(0, 3, 1, 2)
        columns, rows = place.lattice[place.cells[:, place.cells.shape[1] // 2]].T
        near = conv2d(encoded, kernel.to(encoded.dtype), padding=side // 2)[:, :, rows, columns].transpose(1, 2)
        bias = self.combine.bias.repeat_interleave(COUNT)
        return near.to(others.dtype) + linear(others, matrix[:, channels * len(self.near) :], bias)


class _Block(nn.Module):
    def __init__(self, width: int, act: Gate):
        super().__init__()
        self.act = act
        self.gate, self.project = Lift(channels(width), 2 * width), Lift(channels(width), width)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(gated(self.gate(silu(x)), -1, self.act))


def _rings(ell: int) -> tuple[list[int], list[int]]:
    """The elements of a patch whose neighbours are in it (T and, if ell > 1, those around T), and the others."""
    side, reach = 2 * ell + 1, min(1, ell - 1)
    grid = permutation(0, side).reshape(side, side)
    middle = slice(ell - reach, ell + reach + 1)
    near = grid[middle, middle].flatten().tolist()
    return near, [i for i in range(side**2) if i not in near]


def _restricted(actions: Tensor, kept: list[int]) -> Tensor:
    """The actions on a part of the inputs that they map to itself."""
    number = {index: i for i, index in enumerate(kept)}
    return torch.tensor([[number[i] for i in row] for row in actions[:, kept].tolist()], device="cpu")


def _norms(matrices: Tensor) -> Tensor:
    """|S_T|_F, ``(fields, k)``."""
    return matrices.square().sum(dim=(2, 3)).sqrt()
