r"""Train the surrogates that ship with the package, on a CPU, in under an hour each.

Labels are exact local matrices S_T, kept in files, so that a run that was broken off goes on. The network is
`FieldNetwork`: scale, symmetries and constants are right by construction. Its affine part is found by ridge regression
of what is missing and stays fixed; the rest is trained by Muon with a cosine schedule and averaged weights. A step sees
two square fields (one of the wide family), rough families more often than smooth ones, and every fourth step four
L-shapes as well. The loss of a field is its mean squared error over the patches to the power 3/4: between a mean that
the roughest families rule alone, and one in which all weigh the same. A model of the fine mesh (n = 32) starts from one
of n = 8, whose labels cost a tenth.

The wide family is too wide for that: its network corrects exact matrices of the mesh n = 8, which cost a tenth of those
of n = 32 and are never far off. There the loss is the root of the mean squared relative error, to which
that of the matrix x^T S_T x of linear functions is added: what u_h sees most of.

Last, the layers that the answer is linear in are fitted by ridge, and on fields that were not trained on the network
learns how far off it is likely to be (`fit_doubt`).

Run: python -m demos.train_surrogate NAME FOLDER [START.safetensors]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy import ndarray
from skfem import Mesh, MeshQuad
from torch import Tensor

from skfem_ml.coefficients.families import WIDE, paper_field, paper_split, wide_field
from skfem_ml.learning import History, MuonAdam, fit
from skfem_ml.lod import LOD, FieldNetwork, Surrogate, errors_of
from skfem_ml.lod.surrogate import feature_range, fit_doubt, read_labels, setting, write_labels
from skfem_ml.lod.surrogate.inputs import CoarserFine, blocks, place_of, shapes_of
from skfem_ml.lod.surrogate.networks import Place, fit_affine
from skfem_ml.lod.surrogate.training import cosine

SEED, ELL, CELLS = 0, 2, 8
REFIT = 200  # fields of the last ridge regression
ROUGHNESS = {"iid-0": 0.1, "iid-1": 0.1, "iid-2": 0.15, "iid-3": 0.2, "iid-4": 0.35, "iid-5": 0.7}  # others: 1
ROUGHNESS |= {"log-normal": 0.5, "discs": 2.0}

CORNER = ("iid-4", "iid-5", "iid-6", "iid-7", "multiscale")  # families of the L-shapes


class Recipe(NamedTuple):
    """What is trained: fine cells along a coarse edge, family, numbers of fields, steps, rate, coarse refinements, fine
    cells of the matrices that are corrected (0: none), square fields a step, and the power of the loss of a field.
    """

    n: int
    wide: bool
    square: int
    corner: int
    held: int
    steps: int
    rate: float = 3e-3
    level: int = 5
    base: int = 0
    fields: int = 2
    power: float = 0.75


RECIPES = {
    "diffusion-q1-ell2-n8": Recipe(8, False, 1000, 400, 60, 3500),
    "diffusion-q1-ell2-n32": Recipe(32, False, 88, 60, 16, 800, 1e-3),
    "diffusion-wide-q1-ell2-n32": Recipe(32, True, 120, 60, 20, 8000, 1.7e-3, base=8, fields=1, power=0.5),
}


class Fields(NamedTuple):
    """Labelled fields of one mesh: by element ``(count, nelems, m**2)``, exact matrices, place, chance to be seen, and
    the exact matrices of a coarser fine mesh where those are corrected: none or one tensor.
    """

    a: Tensor
    exact: Tensor
    place: Place
    weights: ndarray
    base: tuple[Tensor, ...] = ()


def square(level: int) -> Mesh:
    """The unit square with 2^level x 2^level cells."""
    return MeshQuad().refined(level)


def corner(level: int) -> Mesh:
    """An L of a quarter as many cells: its corners are patches that no square has."""
    return MeshQuad().refined(level - 1).restrict(lambda x: (x[0] < 0.5) | (x[1] < 0.5))


def sample(recipe: Recipe, part: str, index: int) -> tuple[str, int]:
    """Family and number of a field of "train", "corner" or "validation"; no two parts share one."""
    if recipe.wide:
        start = {"train": recipe.n * 10_000, "corner": 0, "validation": 1_000_000}[part]
        return WIDE[index % len(WIDE)], start + index // len(WIDE)
    if part != "corner":
        return paper_split(seed=SEED)[part][index]
    family, number = [name for name in paper_split(seed=SEED)["train"] if name[0] in CORNER][index]
    return family, number + 10_000


def labelled(recipe: Recipe, part: str, count: int, folder: Path, tell: Callable) -> tuple[LOD, Fields]:
    """Read the labels of a part from its folder, and make those that are missing."""
    mesh = (corner if part == "corner" else square)(recipe.level)
    lod = LOD(mesh, refine=recipe.n, cells=CELLS, ell=ELL)
    draw = wide_field if recipe.wide else paper_field
    names = [sample(recipe, part, index) for index in range(count)]
    where = folder / part
    write_labels(where, lod, lambda i: draw(lod.coefficient_mesh, *names[i], SEED), count, 8, progress=tell)
    fields, exact = zip(*((fields, matrices) for fields, matrices, _ in read_labels(where)), strict=True)
    weights = np.array([ROUGHNESS.get(family, 1.0) for family, _ in names])
    place = place_of(lod, lod.space.all_elements)
    a = blocks(lod, np.concatenate(fields)[:count])
    base = (CoarserFine(lod, recipe.base).matrices(a, lod.space.all_elements),) if recipe.base else ()
    return lod, Fields(a, torch.from_numpy(np.concatenate(exact)[:count]), place, weights / weights.sum(), base)


def field_errors(net: torch.nn.Module, fields: Fields, relative: bool) -> Tensor:
    """Mean over the patches of |S_T - S^_T|_F^2, one value a field; where ``relative``, over |S_T|_F^2, and the same of
    x^T S_T x is added.
    """
    exact = fields.exact.double()
    gap = net(fields.a, fields.place, *fields.base) - exact
    if not relative:
        return gap.square().sum(dim=(2, 3)).mean(dim=1)
    pairs = (gap, exact), (on_linear(gap), on_linear(exact))
    return sum(one.square().sum(dim=(2, 3)) / all_.square().sum(dim=(2, 3)) for one, all_ in pairs).mean(dim=1)


def on_linear(local: Tensor) -> Tensor:
    """x^T S_T x for the two coordinates x of the nodes in coarse cells, ``(..., 2, 2)``: effective conductivities."""

    def x(size: int) -> Tensor:
        line = torch.arange(size, dtype=local.dtype) - (size - 1) / 2
        return torch.cartesian_prod(line, line).flip(1)

    return x(round(local.shape[-2] ** 0.5)).T @ local @ x(2)


def chosen(fields: Fields, rows: ndarray) -> Fields:
    """Some of the fields."""
    return fields._replace(a=fields.a[rows], exact=fields.exact[rows], base=tuple(base[rows] for base in fields.base))


def samples(fields: Fields) -> list[tuple[Any, ...]]:
    """One by one, as `fit_affine` and `fit_doubt` take them."""
    return [
        (a, exact, fields.place, *base) for a, exact, *base in zip(fields.a, fields.exact, *fields.base, strict=True)
    ]


def muon(net: FieldNetwork, rate: float) -> torch.optim.Optimizer:
    """Muon for the matrices, Adam for the rest; the last layer five times slower, the affine part not at all."""
    others = ("head", "affine", "doubt")
    layers = [(name, p) for name, p in net.named_parameters() if not name.startswith(others)]
    inner = [p for name, p in layers if p.dim() == 2 and not name.startswith("between")]
    outer = [p for name, p in layers if p.dim() == 1 or name.startswith("between")]
    return MuonAdam(inner, [{"params": outer}, {"params": [net.head.weight], "scale": 0.2}], lr=rate)


def learn(
    net: FieldNetwork,
    parts: dict[str, Fields],
    recipe: Recipe,
    ridge: bool = True,
    power: float | None = None,
    optimiser: Callable[[FieldNetwork, float], torch.optim.Optimizer] = muon,
    **options: Any,
) -> History:
    """Ridge for the affine part, then the training loop; ``options`` are those of `training.fit`."""
    squares, corners, held = parts["train"], parts["corner"], parts["validation"]
    if ridge:
        fit_affine(net, samples(squares)[:100], relative=recipe.wide)
    net.affine.requires_grad_(False)

    def batch(step: int) -> list[Fields]:
        rng = np.random.default_rng([SEED, step])
        out = [chosen(squares, rng.choice(len(squares.a), recipe.fields, p=squares.weights))]
        return out if step % 4 else [*out, chosen(corners, rng.integers(len(corners.a), size=4))]

    def loss(net, parts):
        return sum(
            (field_errors(net, part, recipe.wide) + 1e-9).pow(recipe.power if power is None else power).mean()
            for part in parts
        )

    return fit(
        net,
        loss,
        batch,
        optimiser=optimiser(net, recipe.rate),
        steps=recipe.steps,
        schedule=cosine(recipe.rate, recipe.steps, warm=max(1, recipe.steps // 50)),
        validate=lambda net: held_out(net, held, recipe),
        average=0.997,
        seed=SEED,
        **options,
    )


def held_out(net: FieldNetwork, held: Fields, recipe: Recipe) -> float:
    """The mean of `field_errors`."""
    with torch.no_grad():
        errors = [field_errors(net, chosen(held, np.array([row])), recipe.wide) for row in range(len(held.a))]
    return float(torch.cat(errors).mean())


def refit(net: FieldNetwork, parts: dict[str, Fields], recipe: Recipe) -> float:
    """Fit the last layers of a trained network by ridge, if that helps on held-out fields; return the loss there."""
    before, state = held_out(net, parts["validation"], recipe), deepcopy(net.state_dict())
    some = samples(parts["train"])[:REFIT] + samples(parts["corner"])[: REFIT // 4]
    fit_affine(net, some, penalty=1e-6, relative=recipe.wide, head=True)
    after = held_out(net, parts["validation"], recipe)
    if after >= before:
        net.load_state_dict(state)
    return min(before, after)


def train(
    recipe: Recipe, folder: Path, start: Surrogate | None = None, test: int = 10, **options: Any
) -> tuple[Surrogate, History]:
    """Return the trained surrogate and the history; labels and checkpoint are kept in ``folder``."""
    counts = {"train": recipe.square, "corner": recipe.corner, "validation": recipe.held}
    tell = options.pop("tell", None)
    made = {part: labelled(recipe, part, count, folder, tell) for part, count in counts.items()}
    net = FieldNetwork(CELLS, ELL, wide=recipe.wide, base=recipe.base, generator=torch.Generator().manual_seed(SEED))
    if start is not None:
        net.load_state_dict(start.net.state_dict())
    parts = {part: fields for part, (_, fields) in made.items()}
    every = max(1, recipe.steps // 20)
    history = learn(net, parts, recipe, every=every, checkpoint=folder / "training.pt", **options)
    about = {"steps": recipe.steps, "fields": recipe.square + recipe.corner}
    return finish(net, recipe, made, about, test), history


def finish(
    net: FieldNetwork, recipe: Recipe, made: dict[str, tuple[LOD, Fields]], about: dict[str, Any], test: int
) -> Surrogate:
    """Fit the last layers, let the network learn its own errors on held-out fields, and fill the card."""
    lod, held = made["validation"]
    best = refit(net, {part: fields for part, (_, fields) in made.items()}, recipe)
    covered = fit_doubt(net, samples(held))
    inputs = torch.cat([net.extent(fields.a, fields.place).flatten() for _, fields in made.values()])
    card = {
        **setting(lod),
        "extent": [float(inputs.min()), float(inputs.max())],
        "features": feature_range(net, [(fields.a, fields.place, *fields.base) for _, fields in made.values()]),
        "shapes": sorted({shape for _, fields in made.values() for shape in shapes_of(fields.place)}),
        "family": ", ".join(WIDE) + "; contrast 2 to 1000" if recipe.wide else "iid-0 to iid-8, multiscale; U[1, 5]",
        "seed": SEED,
        "script": "demos/train_surrogate.py",
        "doubt": {"quantile": 0.9, "covered": covered},
        "validation loss": best,
        **about,
    }
    model = Surrogate(net, card)
    draw = wide_field if recipe.wide else paper_field
    part, first = ("validation", recipe.held) if recipe.wide else ("test", 0)
    names = [sample(recipe, part, index) for index in range(first, first + test)]
    model.card["errors"] = errors_of(model, lod, np.stack([draw(lod.coefficient_mesh, *name, SEED) for name in names]))
    return model


def visualize(history: History | None = None):
    """The loss over the steps; without a history, of a training of a few seconds on 8 x 8 coarse elements."""
    from matplotlib.figure import Figure

    if history is None:
        with tempfile.TemporaryDirectory() as folder:
            small = Recipe(8, False, square=20, corner=8, held=8, steps=100, level=3)
            _, history = train(small, Path(folder), test=1)
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.semilogy(history.steps, history.losses, "o-")
    axes.set(title="training", xlabel="step", ylabel="mean squared error of S_T, held-out fields")
    return figure


if __name__ == "__main__":
    name, where = sys.argv[1], Path(sys.argv[2])
    begin = Surrogate.load(Path(sys.argv[3])) if len(sys.argv) > 3 else None
    torch.set_num_threads(1)
    model, record = train(
        RECIPES[name],
        where,
        begin,
        tell=lambda done, count: print(f"{done} of {count} fields labelled", flush=True),
        progress=lambda step, steps, text: print(f"step {step} of {steps}: {text}", flush=True),
    )
    model.card["name"] = name
    model.save(where / f"{name}.safetensors")
    print(f"{record.message}; {record.seconds[-1]:.0f} s of training; {model.card['errors']}")
