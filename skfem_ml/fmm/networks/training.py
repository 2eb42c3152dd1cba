"""Training of the networks on skeletons on samples of an operator, as solvers for `compare` (needs torch)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from skfem_ml.fmm.networks.deep import DeepFMMNet
from skfem_ml.fmm.networks.fmmnet import FMMNet
from skfem_ml.fmm.networks.neural import H2NeuralOperator
from skfem_ml.fmm.skeleton import H2Skeleton
from skfem_ml.learning.samples import PUBLISHED, Learned, Recipe, learn
from skfem_ml.problems import OperatorSamples

LEAF, RANK = 10, 6  # of the paper in 1D
USUAL = Recipe()
Solver = Callable[[OperatorSamples], Learned]


def solver_deep(
    recipe: Recipe = USUAL,
    *,
    leaf: int = LEAF,
    rank: int = 4,
    hidden: int = 24,
    products: int = 3,
    seed: int = 0,
) -> Solver:
    """Return the training of a `DeepFMMNet`, normalised by the training samples."""

    def solver(problem: OperatorSamples) -> Learned:
        generator = torch.Generator().manual_seed(seed)
        net = DeepFMMNet(H2Skeleton(problem.points, leaf), rank, hidden, products, generator=generator)
        net.normalise(*problem.part("train"))
        return learn(net, problem, recipe, seed=seed)

    return solver


def solver_fmmnet(recipe: Recipe = PUBLISHED, *, depth: int = 3, offset: float = 0.0, seed: int = 0) -> Solver:
    """Return the training of the paper's FMMNet, leaves of 10 and rank 6; ``offset`` is added to the inputs."""

    def solver(problem: OperatorSamples) -> Learned:
        generator = torch.Generator().manual_seed(seed)
        net = FMMNet(H2Skeleton(problem.points, LEAF), RANK, depth, generator=generator)
        return learn(net, problem, recipe, seed=seed, offset=offset, scaled=True)

    return solver


def solver_h2no(
    recipe: Recipe = USUAL,
    *,
    leaf: int = 18,
    rank: int = 6,
    channels: int = 4,
    hidden: int = 32,
    layers: int = 1,
    seed: int = 0,
) -> Solver:
    """Return the training of an `H2NeuralOperator`, normalised by the training samples."""

    def solver(problem: OperatorSamples) -> Learned:
        generator = torch.Generator().manual_seed(seed)
        skeleton = H2Skeleton(problem.points, leaf)
        net = H2NeuralOperator(skeleton, rank, channels, hidden, layers, generator=generator)
        net.normalise(*problem.part("train"))
        return learn(net, problem, recipe, seed=seed)

    return solver
