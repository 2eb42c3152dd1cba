"""The numbers of a training, and those of the models of the package."""

from __future__ import annotations

from dataclasses import dataclass

from skfem_ml import checks
from skfem_ml.coefficients.families import WIDE, paper_split


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training.

    Parameters
    ----------
    steps, rate, batch
        Steps, largest learning rate, and fields a step.
    fields, held, doubt, test
        Labelled fields: trained on, those that choose the weights, those on which the network learns its own error, and
        those for the errors and the coverage on the card. No two share one.
    corner
        Fields of a second LOD, four of which are seen every fourth step.
    power, relative
        The loss of a field: its mean squared error over the patches to this power; of relative errors or not.
    wide, base
        For high contrast, and for a network that corrects exact matrices of a coarser fine mesh: see `FieldNetwork`.
    affine, refit
        Fields of the ridge regression before and after training.
    bfloat16
        The share of the steps, from the first on, with convolutions in bfloat16, which take half the time on processors
        with AMX.
    quantile
        Of the relative error that the doubt is to predict.
    verdict, calibration
        Test fields on which the model is held against its rivals at the end, and fields of their own for its
        certificate: none, or at least nine.

    Raises ValueError for sizes out of range.

    >>> from skfem_ml.lod.surrogate import Recipe, RECIPES
    >>> Recipe(steps=500).rate
    0.003
    >>> RECIPES["diffusion-q1-ell2-n8"].steps
    13935
    """

    steps: int = 300
    rate: float = 3e-3
    batch: int = 2
    fields: int = 200
    held: int = 20
    doubt: int = 20
    test: int = 10
    corner: int = 0
    power: float = 0.75
    relative: bool = False
    wide: bool = False
    base: int = 0
    affine: int = 100
    refit: int = 200
    bfloat16: float = 0.0
    quantile: float = 0.9
    verdict: int = 3
    calibration: int = 0

    def __post_init__(self) -> None:
        checks.positive(self.rate, "rate")
        counts = {
            name: getattr(self, name) for name in ("steps", "batch", "fields", "held", "doubt", "affine", "refit")
        }
        low = {name: value for name, value in counts.items() if value < 1}
        none = min(self.test, self.corner, self.verdict, self.calibration) < 0
        if low or none or not 0 < self.power <= 1 or not 0 <= self.bfloat16 <= 1:
            raise ValueError(
                f"recipe: expected {', '.join(counts)} >= 1, test, corner, verdict, calibration >= 0, 0 < power <= 1 "
                f"and 0 <= bfloat16 <= 1, got {self}"
            )


@dataclass(frozen=True)
class ShippedRecipe(Recipe):
    """A recipe of the package: the name of the model, fine cells along a coarse edge, levels of refinement of the unit
    square, seed, and the model that it starts from.
    """

    name: str = ""
    n: int = 8
    level: int = 5
    seed: int = 0
    start: str = ""


RECIPES = {
    recipe.name: recipe
    for recipe in (
        ShippedRecipe(
            13935, 3e-3, fields=1000, corner=400, held=60, doubt=60, bfloat16=0.9, name="diffusion-q1-ell2-n8"
        ),
        ShippedRecipe(
            800, 1e-3, fields=88, corner=60, held=16, doubt=16, bfloat16=0.9, name="diffusion-q1-ell2-n32", n=32,
            start="diffusion-q1-ell2-n8",
        ),
        ShippedRecipe(
            13100, 1.7e-3, batch=1, fields=120, corner=60, power=0.5, relative=True, wide=True, base=8,
            bfloat16=0.9, name="diffusion-wide-q1-ell2-n32", n=32,
        ),
    )
}  # fmt: skip


CORNER = ("iid-4", "iid-5", "iid-6", "iid-7", "multiscale")  # families of the L-shapes
ROUGHNESS = {"iid-0": 0.1, "iid-1": 0.1, "iid-2": 0.15, "iid-3": 0.2, "iid-4": 0.35, "iid-5": 0.7}  # others: 1
ROUGHNESS |= {"log-normal": 0.5, "discs": 2.0}
FIRST = {"corner": 0, "validation": 1_000_000, "doubt": 1_200_000, "test": 1_400_000}  # numbers of wide fields


def sample(recipe: ShippedRecipe, part: str, index: int) -> tuple[str, int]:
    """Family and number of a field of "train", "corner", "validation", "doubt" or "test"; no two share one."""
    if recipe.wide:
        start = recipe.n * 10_000 if part == "train" else FIRST[part]
        return WIDE[index % len(WIDE)], start + index // len(WIDE)
    split = paper_split(seed=recipe.seed)
    if part == "corner":
        family, number = [name for name in split["train"] if name[0] in CORNER][index]
        return family, number + 10_000
    if part == "doubt":
        return split["validation"][recipe.held + index]
    return split[part][index]
