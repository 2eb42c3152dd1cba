r"""Allen-Cahn: networks on POD coefficients, and parareal
======================================================

Networks step 40 coefficients in place of 4225 finite element unknowns, and parareal repairs what they are off by.

On the unit square with natural boundary conditions, :math:`\varepsilon = 0.1` and bilinear elements on 64 x 64 cells,

.. math::

    u_t = \varepsilon^2 \Delta u + u - u^3, \qquad M u' + K u = F(u), \quad F(u)_i = \int (u - u^3) v_i .

Starts are random combinations of nine products of cosines, scaled to a largest value drawn from (0.3, 1): a family.
Networks see 200 of them, and are judged at t = 4 on others. With modes V of a proper orthogonal decomposition (POD),
:math:`V^T M V = 1`, and :math:`c = V^T M u`, they take steps of 0.5:

- POD network: :math:`c \mapsto c + N(c)`, N a tanh network;
- remainder: :math:`u \mapsto L u + V N(c)`, L one step of backward Euler for the linear part;
- splitting network: two substeps of an operator splitting on c, its matrices trained. Its untrained form is a classical
  method, and stands in the table as such.

The square has eight symmetries and the equation is odd: every trajectory is sixteen, which is free data. What the modes
cut off is an error no network on c can repair ("POD, best possible"). Parareal repairs it: networks step in sequence,
and the finite element stepper runs on all slices at once, until its own solution is reached.

Null models: the start left as it is, and the linear step alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from skfem import Basis, ElementQuad1, MeshQuad

from skfem_ml.hits import FlowMap, ReducedMap, Remainder, SplittingNet, allen_cahn_reaction, remainder_pairs
from skfem_ml.learning import MLP, SOAP, History, fit
from skfem_ml.pictures import plot_nodal, shared_norm
from skfem_ml.stepping import (
    IMEX,
    POD,
    PararealResult,
    Stepper,
    ThetaMethod,
    allen_cahn,
    allen_cahn_energy,
    evolve,
    parareal,
)

EPS, T_END, DT = 0.1, 4.0, 0.5
LEVEL, MODES, POINTS, BLOCKS = 6, 80, 12, 2
TRAIN, VALIDATION, TEST = 200, 20, 32
FINE = 0.1  # step of the classical stepper that makes the data, and of parareal's fine propagator


class Setting:
    """The equation, its symmetries, and trajectories of training, validation and test at multiples of DT.

    With ``cache``, a folder, trajectories are kept there and read again.
    """

    train: np.ndarray
    validation: np.ndarray
    exact: np.ndarray

    def __init__(
        self,
        level: int = LEVEL,
        counts: tuple[int, int, int] = (TRAIN, VALIDATION, TEST),
        seed: int = 0,
        cache: Path | None = None,
    ):
        self.basis = Basis(MeshQuad().refined(level), ElementQuad1(), intorder=3)
        self.semi = allen_cahn(self.basis, EPS)
        self.images = symmetries(self.basis)
        rng = np.random.default_rng(seed)
        first, second, self.test = (starts(self.basis, n, rng) for n in counts)
        # The truth has a quarter of the step that makes the data: their error can be told from that of the networks.
        jobs = {"train": (first, FINE), "validation": (second, FINE), "exact": (self.test, FINE / 4)}
        for name, (u0, dt) in jobs.items():
            file = None if cache is None else cache / f"{name}_{level}_{seed}_{len(u0)}_{dt:g}.npy"
            if file is None or not file.exists():
                states = self.trajectories(u0, dt)
                if file is not None:
                    np.save(file, states)
            else:
                states = np.load(file)
            setattr(self, name, states)

    def trajectories(self, u0: np.ndarray, dt: float = FINE) -> np.ndarray:
        """States at multiples of DT, ``(starts, times, n)``."""
        return evolve(IMEX(self.semi, dt), u0, T_END, every=round(DT / dt)).y.transpose(0, 2, 1)

    def norm(self, u: np.ndarray) -> np.ndarray:
        """Norms in L2 of states ``(rows, n)``."""
        return np.sqrt(((self.semi.M @ u.T).T * u).sum(axis=1))

    def errors(self, u: np.ndarray) -> np.ndarray:
        """Relative errors in L2 at the end of the first test states, ``(len(u),)``."""
        exact = self.exact[: len(u), -1]
        return self.norm(u - exact) / self.norm(exact)

    def pod(self, r: int = MODES) -> POD:
        """Modes of some trajectories and their images, so that the space is symmetric."""
        some = self.train[: max(8, r // 3), ::2].reshape(-1, self.semi.size)
        return POD(self.semi.M, r).fit(np.concatenate([some[:, image] for image in self.images]))


def starts(basis: Basis, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random states of the family, ``(count, n)``."""
    x = np.pi * basis.doflocs
    shapes = [np.cos(k * x[0]) * np.cos(l * x[1]) / (1 + k * k + l * l) for k in range(3) for l in range(3)]
    waves = rng.normal(size=(count, 9)) @ np.array(shapes)
    return waves / abs(waves).max(axis=1, keepdims=True) * rng.uniform(0.3, 1, size=(count, 1))


def symmetries(basis: Basis) -> list[np.ndarray]:
    """The eight permutations of the nodes by reflections and the exchange of the axes."""
    x = basis.doflocs
    order = np.lexsort(x)
    images = []
    for k in range(8):
        y = np.stack([1 - x[i] if k >> i & 1 else x[i] for i in range(2)])[:: -1 if k & 4 else 1]
        image = np.empty_like(order)
        image[np.lexsort(y)] = order
        images.append(image)
    return images


def splitting_flow(setting: Setting, pod: POD, blocks: int = BLOCKS) -> FlowMap:
    """The untrained splitting network, on Gauss points of the square."""
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    points = np.stack(np.meshgrid(nodes, nodes)).reshape(2, -1) / 2 + 0.5
    values = setting.basis.probes(points) @ pod.modes
    K = pod.modes.T @ (setting.semi.K @ pod.modes)
    net = SplittingNet(values, np.outer(weights, weights).ravel() / 4, K, DT, blocks, allen_cahn_reaction)
    return FlowMap(net, DT)


def dense_flow(pairs: tuple[np.ndarray, np.ndarray], width: int = 256, seed: int = 0) -> FlowMap:
    """A tanh network; one scale for all coefficients, so that the loss is the error in L2."""
    x, y = pairs
    r = x.shape[1]
    net = MLP((r, width, width, r), generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return FlowMap(net, DT, scale=0.3 * x.std(axis=0).max(), increment=np.sqrt(((y - x) ** 2).mean()))


def with_images(setting: Setting, pod: POD, pairs: tuple[np.ndarray, np.ndarray]) -> list[torch.Tensor]:
    """Pairs of coefficients and all their images under the symmetries and the change of sign."""
    turns = [pod.encode(pod.modes.T[:, image]) for image in setting.images]
    return [torch.as_tensor(np.concatenate([s * z @ G for G in turns for s in (1, -1)])).float() for z in pairs]


def train(
    flow: FlowMap,
    data: list[torch.Tensor],
    validation: tuple[np.ndarray, np.ndarray],
    steps: int,
    rate: float,
    progress: Callable | None = None,
    checkpoint: Path | None = None,
    seed: int = 0,
) -> History:
    """Least squares of the increments; the state of the smallest validation error is kept."""
    size = float((data[1] - data[0]).square().sum(dim=1).mean())
    held = [torch.as_tensor(z).float() for z in validation]

    def loss(flow, rows):
        return (flow(rows[0]) - rows[1]).square().sum(dim=1).mean() / size

    def validate(flow):
        with torch.no_grad():
            return float(loss(flow, held))

    return fit(
        flow, loss, data, optimiser=SOAP(flow.parameters(), rate, frequency=10), steps=steps, batch=512, every=100,
        validate=validate, schedule=lambda k: rate * min(1.0, 2 * (1 - k / steps)) + 1e-6, progress=progress,
        checkpoint=checkpoint, seed=seed,
    )  # fmt: skip


def steps_of(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """States before and after a step, ``(rows, n)``, of trajectories ``(starts, times, n)``."""
    return states[:, :-1].reshape(-1, states.shape[-1]), states[:, 1:].reshape(-1, states.shape[-1])


@dataclass
class Row:
    """Errors at the end, mean and worst, and CPU milliseconds a start: in a batch, and alone."""

    name: str
    mean: float
    worst: float
    batch_ms: float
    single_ms: float


def measure(setting: Setting, name: str, run: Callable[[np.ndarray], np.ndarray], count: int | None = None) -> Row:
    """Run the first ``count`` test states at once (default all), and one alone."""
    batch = setting.test[:count]
    errors = setting.errors(run(batch))  # this includes whatever happens at the first call only
    batch_ms, single_ms = (milliseconds(run, states) for states in (batch, setting.test[0]))
    return Row(name, float(errors.mean()), float(errors.max()), batch_ms / len(batch), single_ms)


def milliseconds(run: Callable[[np.ndarray], np.ndarray], states: np.ndarray, least: float = 0.1) -> float:
    """CPU time of a run, the mean over as many as ``least`` seconds take: the clock may tick in 4 ms."""
    start, runs = time.process_time(), 0
    while time.process_time() - start < least:
        run(states)
        runs += 1
    return 1e3 * (time.process_time() - start) / runs


def last(stepper: Stepper) -> Callable[[np.ndarray], np.ndarray]:
    """The state at the end, by any stepper of finite element states."""

    def run(u: np.ndarray) -> np.ndarray:
        for _ in range(round(T_END / stepper.dt)):
            u = stepper.step(u)
        return u

    return run


def last_reduced(pod: POD, flow: Stepper) -> Callable[[np.ndarray], np.ndarray]:
    """Encode once, step the coefficients, decode once."""
    return lambda u: pod.decode(last(flow)(pod.encode(u)))


def best_possible(setting: Setting, pod: POD) -> Callable[[np.ndarray], np.ndarray]:
    """The exact states at the end, with what the modes cut off gone: no method, but a bound of those on modes."""
    return lambda u: pod.decode(pod.encode(setting.exact[: len(np.atleast_2d(u)), -1]))


@dataclass
class Networks:
    """Trained maps, and how long the training took (wall seconds)."""

    pod: POD
    dense: FlowMap
    remainder: Remainder
    splitting: FlowMap
    seconds: dict[str, float]


def train_networks(
    setting: Setting,
    modes: int = MODES,
    steps: dict[str, int] | None = None,
    progress: Callable[[str], Callable] | None = None,
    checkpoints: Path | None = None,
    seed: int = 0,
) -> Networks:
    """Train the three networks, on images of the training trajectories; ``seed`` draws weights and batches."""
    steps = {"POD network": 1200, "remainder": 1200, "splitting network": 3000} if steps is None else steps
    pod = setting.pod(modes)
    linear = ThetaMethod(setting.semi.M, setting.semi.K, DT, theta=1.0)
    plain, rest = [], []
    for states in (setting.train, setting.validation):
        before, after = steps_of(states)
        plain.append((pod.encode(before), pod.encode(after)))
        rest.append(remainder_pairs(linear, before, after, pod))
    jobs = {
        "POD network": (dense_flow(plain[0], seed=seed), plain, 3e-3),
        "remainder": (dense_flow(rest[0], seed=seed), rest, 3e-3),
        "splitting network": (splitting_flow(setting, pod), plain, 1e-4),
    }
    seconds = {}
    for name, (flow, pairs, rate) in jobs.items():
        bar = None if progress is None else progress(name)
        file = None if checkpoints is None else checkpoints / f"{name.replace(' ', '_')}.pt"
        history = train(flow, with_images(setting, pod, pairs[0]), pairs[1], steps[name], rate, bar, file, seed)
        seconds[name] = history.seconds[-1]  # of all runs, where it went on from a checkpoint
    flows = [flow for flow, _, _ in jobs.values()]
    return Networks(pod, flows[0], Remainder(linear, flows[1], pod), flows[2], seconds)


@dataclass
class Parallel:
    """Parareal on the test states: its result, and relative distances at the end, mean over the starts.

    ``to_fine`` and ``to_exact`` are distances of the iterates to the fine stepper and to the small steps,
    ``(iterations + 1,)``; ``fine_error`` is the error of the fine stepper itself.
    """

    result: PararealResult
    to_fine: np.ndarray
    to_exact: np.ndarray
    fine_error: float


def parallel(setting: Setting, nets: Networks) -> Parallel:
    """Eight test starts; the splitting network as the coarse propagator, ars443 with steps of FINE as the fine one."""
    fine, u0 = IMEX(setting.semi, FINE), setting.test[:8]
    result = parareal(ReducedMap(nets.pod, nets.splitting), fine, (0, T_END), u0, round(T_END / DT))
    end = last(fine)(u0)
    scale = setting.norm(end)
    to_fine = [(setting.norm(u[..., -1] - end) / scale).mean() for u in result.iterates]
    to_exact = [setting.errors(u[..., -1]).mean() for u in result.iterates]
    return Parallel(result, np.array(to_fine), np.array(to_exact), float(setting.errors(end).mean()))


@dataclass
class Result:
    setting: Setting
    nets: Networks
    rows: list[Row]
    parallel: Parallel


def compute(
    level: int = LEVEL,
    modes: int = MODES,
    counts: tuple[int, int, int] = (100, 20, 16),
    steps: dict[str, int] | None = None,
    progress: Callable[[str], Callable] | None = None,
) -> Result:
    steps = {"POD network": 500, "remainder": 500, "splitting network": 1000} if steps is None else steps
    setting = Setting(level, counts)
    nets = train_networks(setting, modes, steps, progress)
    runs = {
        "start, left as it is": lambda u: u,
        "linear step alone, dt = 0.5": last(nets.remainder.linear),
        "ars443, dt = 0.25": last(IMEX(setting.semi, 0.25)),
        "ars443, dt = 0.125": last(IMEX(setting.semi, 0.125)),
        "POD, best possible": best_possible(setting, nets.pod),
        "POD network": last_reduced(nets.pod, nets.dense),
        "remainder": last(nets.remainder),
        "splitting, untrained": last_reduced(nets.pod, splitting_flow(setting, nets.pod)),
        "splitting network": last_reduced(nets.pod, nets.splitting),
    }
    rows = [measure(setting, name, run) for name, run in runs.items()]
    return Result(setting, nets, rows, parallel(setting, nets))


def table(rows: list[Row]) -> str:
    lines = [
        "| method | error at t = 4, mean | worst | ms a start, in a batch | ms, one start alone |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.name} | {r.mean:.1e} | {r.worst:.1e} | {r.batch_ms:.2g} | {r.single_ms:.2g} |" for r in rows
    ]  # fmt: skip
    return "\n".join(lines)


def visualize(result: Result | None = None):
    """A film strip of one unseen start, exact, by the network and the error; energy; iterations of parareal."""
    from matplotlib.figure import Figure

    result = compute() if result is None else result
    setting, nets = result.setting, result.nets
    energy = allen_cahn_energy(setting.basis, EPS)
    k = int(np.argmax(setting.exact[:, -1].std(axis=1)))  # some still have an interface at the end
    exact, learned = setting.exact[k], [setting.test[k]]
    c = nets.pod.encode(setting.test[k])
    for _ in range(len(exact) - 1):
        c = nets.splitting.step(c)
        learned.append(nets.pod.decode(c))
    shown = [0, 1, 2, 4, 8]
    figure = Figure(figsize=(14, 10), layout="constrained")
    grid = figure.add_gridspec(3, 5, height_ratios=(1, 1, 1.25))
    top, below = ([figure.add_subplot(grid[row, column]) for column in range(row, 5)] for row in range(2))
    errors = [abs(learned[i] - exact[i]) for i in shown[1:]]
    scale, error_scale = shared_norm(exact[shown]), shared_norm(*errors, log=True, decades=3)
    for axes, i in zip(top, shown, strict=True):
        drawn = plot_nodal(axes, setting.basis, exact[i], norm=scale)
        axes.set_title(f"u at t = {DT * i:g}")
    figure.colorbar(drawn, ax=top, label="u")
    for axes, i in zip(below, shown[1:], strict=True):
        drawn = plot_nodal(axes, setting.basis, learned[i] - exact[i], norm=error_scale, transform=magnitude)
        axes.set_title(f"error of the network, t = {DT * i:g}")
    figure.colorbar(drawn, ax=below, label="|error|, splitting network")
    lower = grid[2, :].subgridspec(1, 3)
    left, middle, right = panels = [figure.add_subplot(lower[0, i]) for i in range(3)]
    t = DT * np.arange(len(exact))
    left.plot(t, [energy(u) for u in exact], label="finite elements, small steps")
    left.plot(t, [energy(u) for u in learned], "o", label="splitting network")
    left.set(title="energy", xlabel="time t", ylabel="energy")
    left.legend()
    work(middle, result.rows)
    right.semilogy(np.maximum(result.parallel.to_fine, 1e-16), "o-")
    right.set(title="parareal", xlabel="iteration", ylabel="relative L2 distance to the fine stepper")
    for axes in panels:
        axes.grid(True, which="major", alpha=0.3)
    return figure


def work(axes, rows: list[Row]) -> None:
    """Errors over cost of all rows but the null models, and the floor that the modes set."""
    for i, row in enumerate(rows[2:]):
        if not row.name.startswith("POD, best possible"):
            axes.loglog(row.batch_ms, row.mean, "osD^vP*X<>"[i], ms=8, label=row.name)
    floor = next(row.mean for row in rows if row.name.startswith("POD, best possible"))
    axes.axhline(floor, color="0.6", ls="--", label="POD, best possible")
    axes.set(title="work and precision", xlabel="CPU ms a start, in a batch", ylabel="relative L2 error at t = 4")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)  # no point is covered


def magnitude(u: np.ndarray) -> np.ndarray:
    """A floor: zero has no place on a logarithmic scale."""
    return np.maximum(abs(u), 1e-12)


if __name__ == "__main__":
    result = compute()
    print(table(result.rows))
    print("wall seconds of training:", ", ".join(f"{name} {s:.0f}" for name, s in result.nets.seconds.items()))
    print(
        "parareal, distance to the fine stepper by iteration:", ", ".join(f"{e:.1e}" for e in result.parallel.to_fine)
    )
    visualize(result).savefig("allen_cahn.png", dpi=120)
