r"""Ten dimensions, where a learner is sensible
===========================================

Poisson's equation in the unit ball of ten dimensions, by a network of nine hundred parameters.

.. math:: -\Delta u = f \text{ in } |x| < 1, \qquad u = 0 \text{ on } |x| = 1, \qquad u = (1 - |x|^2) e^{-|x - c|^2} .

A grid of ten points an axis has :math:`10^{10}` unknowns and would still be coarse. A network
:math:`u = (1 - |x|^2) N(x)` with exact boundary data has about nine hundred parameters; its residual is taken at random
points, and Gauss-Newton steps (Levenberg-Marquardt) fit them. The error is measured at points that training never saw.
More points help until the network's own capacity is reached.

What a sampling method would do: walk on spheres gives one value at one point with an error of about
:math:`s / \sqrt n` for n walks, 1e-3 after about a million; the network gives the whole function.
"""

from dataclasses import dataclass

import numpy as np

from skfem_ml.metrics import observed_rates
from skfem_ml.pictures import figure, grid
from skfem_ml.pinn import laplace, solver_pinn
from skfem_ml.problems import PDE

DIM, WIDTH, STEPS = 10, 24, 40
POINTS = (250, 500, 1000)
SEED = 0
CENTRE = 0.3 * np.ones(DIM) / np.sqrt(DIM)


@dataclass
class Result:
    points: tuple[int, ...]
    errors: np.ndarray
    losses: list[list[float]]
    exact: np.ndarray
    learned: np.ndarray


def in_ball(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n points ``(DIM, n)`` of uniform radius: in the uniform distribution nearly all sit at the boundary."""
    direction = rng.standard_normal((DIM, n))
    return rng.uniform(0, 1, n) * direction / np.linalg.norm(direction, axis=0)


def exact(x: np.ndarray) -> np.ndarray:
    return (1 - (x**2).sum(0)) * bump(x)


def bump(x: np.ndarray) -> np.ndarray:
    return np.exp(-((x - CENTRE[:, None]) ** 2).sum(0))


def source(x: np.ndarray) -> np.ndarray:
    """f = -laplace(zeta v) = 2 d v + 4 x . grad v - zeta laplace(v) with v = exp(-|x - c|^2)."""
    y, v, zeta = x - CENTRE[:, None], bump(x), 1 - (x**2).sum(0)
    return v * (2 * DIM - 8 * (x * y).sum(0) - zeta * (4 * (y**2).sum(0) - 2 * DIM))


class Zeta:
    """The distance 1 - |x|^2 with its derivatives."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return 1 - (x**2).sum(0)

    def grad(self, x: np.ndarray) -> np.ndarray:
        return -2 * x

    def hess(self, x: np.ndarray) -> np.ndarray:
        return -2 * np.eye(DIM)[:, :, None] * np.ones(x.shape[1])


def poisson(u, w):
    return -laplace(u) - source(w.x[:, 0])


def compute(points: tuple[int, ...] = POINTS, steps: int = STEPS, width: int = WIDTH, seed: int = SEED) -> Result:
    test = in_ball(10_000, np.random.default_rng(99))
    truth = exact(test)
    errors, losses = [], []
    for n in points:
        x = in_ball(n, np.random.default_rng(seed))
        solver = solver_pinn("lm", (width, width), steps, 200, seed=seed, points=x, distance=Zeta())
        u = solver(PDE(poisson, [(-1, 1)] * DIM, boundary=0.0))
        learned = u(test)
        errors.append(np.linalg.norm(learned - truth) / np.linalg.norm(truth))
        losses.append([value for stage in u.record.history for value in stage.losses])
    return Result(points, np.array(errors), losses, truth, learned)


def visualize(result: Result | None = None):
    """Error over training points, and the learned values over the exact ones at points never seen."""
    result = compute() if result is None else result
    with figure(11.5, 5.2) as picture:
        left, right = picture.subplots(1, 2)
        left.loglog(result.points, result.errors, "o-", label="network")
        order = result.errors[0] * result.points[0] / np.array(result.points)
        left.loglog(result.points, order, ":", color="0.5", label="$1 / n$")
        left.set(title=f"Poisson in {DIM} dimensions", xlabel="random training points $n$")
        left.set_ylabel("relative error at new points")
        left.set_xticks(result.points, [str(n) for n in result.points])
        left.set_yticks(result.errors, [f"{e:.1e}" for e in result.errors])
        left.minorticks_off()
        grid(left)
        left.legend()
        right.plot(result.exact[:2000], result.learned[:2000], ".", ms=3)
        right.axline((0, 0), slope=1, color="0.4", lw=1)
        right.set(title=f"{result.points[-1]} training points: {result.errors[-1]:.1e} off", xlabel="exact $u$")
        right.set_ylabel("learned $u$, at new points")
    return picture


if __name__ == "__main__":
    result = compute()
    for n, error in zip(result.points, result.errors, strict=True):
        print(f"{n:6d} points: relative error {error:.1e}")
    print("observed rates in the number of points:", observed_rates(1 / np.array(result.points), result.errors))
    visualize(result).savefig("high_dimension.png")
    errors = ", ".join(f"{error:.1e}" for error in result.errors)
    print(f"relative error at new points {errors} for {', '.join(map(str, result.points))} training points")
