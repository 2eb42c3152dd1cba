"""Optimisers before they know a network: what ``optimiser=`` of the solvers takes, and the words for the usual ones.

>>> short = lbfgs(iterations=5)
>>> short
Optimiser(lbfgs, 5 iterations a step)
>>> chosen("adam", rate=1e-2)
Optimiser(adam, rate 0.01)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from skfem_ml import checks
from skfem_ml.learning.optim.least_squares import LevenbergMarquardt
from skfem_ml.learning.optim.quasi_newton import SSBroyden
from skfem_ml.learning.optim.soap import SOAP

N = TypeVar("N", bound=nn.Module, contravariant=True)
Net = TypeVar("Net", bound=nn.Module)


class LeastSquares(Protocol[N]):
    """A sum of squares of a network, for methods that need more than its gradient."""

    def __call__(self, net: N) -> Tensor:
        """Return the residual ``(rows,)``."""

    def jacobian(self, net: N) -> tuple[Tensor, Tensor]:
        """Return the residual and its derivative ``(rows, parameters)``."""


@dataclass(frozen=True, repr=False)
class Optimiser:
    """A method with its settings: ``start(net, residual)`` gives the torch optimiser of a network.

    ``residual`` is a `LeastSquares`, or None where the loss is no sum of squares. ``rate`` is the learning rate, None
    for methods that have none; ``iterations`` are done in each of its steps; ``warmup`` says whether a few hundred
    steps of Adam should come first. Any callable with the signature of ``make`` makes an Optimiser of one's own:

    >>> from torch import nn
    >>> import torch
    >>> from skfem_ml.learning import Optimiser
    >>> own = Optimiser("sgd", lambda net, residual: torch.optim.SGD(net.parameters(), lr=0.1), rate=0.1)
    >>> type(own.start(nn.Linear(2, 1))).__name__, own
    ('SGD', Optimiser(sgd, rate 0.1))
    """

    name: str
    make: Callable[..., Optimizer]
    rate: float | None = None
    iterations: int = 1
    warmup: bool = False

    def start(self, net: Net, residual: LeastSquares[Net] | None = None) -> Optimizer:
        """Return the optimiser of a network; ValueError for a least-squares method without a residual."""
        return self.make(net, residual)

    def __repr__(self) -> str:
        rate = "" if self.rate is None else f", rate {self.rate:g}"
        return f"Optimiser({self.name}{rate}{f', {self.iterations} iterations a step' if self.iterations > 1 else ''})"


def adam(rate: float = 1e-3, eps: float = 1e-8) -> Optimiser:
    """Adam (Kingma and Ba 2015) with a constant rate, or that of a schedule."""
    checks.positive(rate, "rate")
    return Optimiser("adam", lambda net, _: torch.optim.Adam(net.parameters(), lr=rate, eps=eps), rate)


def soap(rate: float = 3e-3, frequency: int = 2) -> Optimiser:
    """`SOAP`: Adam in the eigenbasis of Shampoo's preconditioner, refreshed every ``frequency`` steps."""
    checks.positive(rate, "rate")
    return Optimiser("soap", lambda net, _: SOAP(net.parameters(), lr=rate, frequency=frequency), rate, warmup=True)


def lbfgs(iterations: int = 20, history: int = 100) -> Optimiser:
    """torch's L-BFGS with a strong Wolfe line search, ``iterations`` a step: one at a time it loses its way."""
    checks.whole(iterations, "iterations", 1)

    def make(net: nn.Module, _: LeastSquares | None) -> Optimizer:
        return torch.optim.LBFGS(
            net.parameters(), max_iter=iterations, history_size=history, tolerance_grad=0, tolerance_change=0,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

    return Optimiser("lbfgs", make, iterations=iterations, warmup=True)


def levenberg_marquardt(mu: float = 1.0) -> Optimiser:
    """`LevenbergMarquardt`, damped by ``mu`` in the first step; for sums of squares alone."""
    checks.positive(mu, "mu")

    def make(net: nn.Module, residual: LeastSquares | None) -> Optimizer:
        if residual is None:
            raise ValueError("lm: expected a residual with a Jacobian, got none; take a method that needs gradients")
        return LevenbergMarquardt(net.parameters(), lambda: residual(net), lambda: residual.jacobian(net), mu=mu)

    return Optimiser("lm", make)


def ssbroyden() -> Optimiser:
    """`SSBroyden`: the self-scaled Broyden method, n^2 numbers of memory for n parameters."""
    return Optimiser("ssbroyden", lambda net, _: SSBroyden(net.parameters()), warmup=True)


# The only place where words stand for methods; ``rate`` is the one that the solver was given.
WORDS: dict[str, Callable[[float], Optimiser]] = {
    "adam": adam,
    "soap": soap,
    "lbfgs": lambda rate: lbfgs(),
    "lm": lambda rate: levenberg_marquardt(),
    "ssbroyden": lambda rate: ssbroyden(),
}


def chosen(
    optimiser: str | Optimiser, rate: float, words: Mapping[str, Callable[[float], Optimiser]] = WORDS
) -> Optimiser:
    """Return an optimiser as it is, or that of a word: ``words[optimiser](rate)``.

    Raises ValueError for another word and a rate that is not positive, TypeError for what is neither.
    """
    if isinstance(optimiser, Optimiser):
        return optimiser
    if not isinstance(optimiser, str):
        raise TypeError(
            f"optimiser: expected a word ({', '.join(words)}) or an Optimiser, such as "
            f"learning.optim.soap(rate=1e-2), got {type(optimiser).__name__}"
        )
    checks.choice(optimiser, tuple(words), "optimiser")
    checks.positive(rate, "rate")
    return words[optimiser](rate)
