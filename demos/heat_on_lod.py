r"""Heat through rough material
===========================

A heat equation with a rough conductivity, stepped on the small matrix of the LOD forty times faster than the fine one.

On the unit square, with a conductivity that is constant on each of 128 x 128 cells (random values from 1 to 50), and
data that are hot on the left and cold on the right,

.. math:: u_t = \nabla \cdot (a \nabla u) + f, \qquad u = 1 - x \text{ on the boundary and at } t = 0 ,

where f is :math:`3000 \sin^2 40 t` on a spot in the lower half, and :math:`3000 \cos^2 40 t` on one in the upper half.

In space four ways, all :math:`M u' + K u = b(t)` with lifted boundary data (``skfem_ml.stepping.semidiscrete``):

- fine FEM, 256 x 256 bilinear elements: what the others are measured against;
- coarse FEM, 32 x 32, with the fine coefficient under the integral;
- LOD: the matrix S with the plain coarse mass matrix and load, :math:`u_H` on the coarse mesh; ``lod.prolong`` gives
  the fine scale back at any time that one wants to see;
- Galerkin LOD: everything restricted to the multiscale basis :math:`(1 - Q) \lambda_j`, mass and load as well.

In time the same L-stable method of order 2 (the implicit part of ars222) with equal steps. LOD pays as soon as there
are steps enough: its set-up costs about what the fine factorisation costs, its steps a fortieth.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from skfem import Basis, MeshQuad

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.compare import clocked
from skfem_ml.lod import LOD
from skfem_ml.pictures import (
    colour_bar,
    figure,
    grid,
    legend_below,
    nodal_film,
    plot_cells,
    plot_error,
    plot_nodal,
    shared_norm,
)
from skfem_ml.problems import diffusion, load, mass
from skfem_ml.stepping import IMEX, SemiDiscrete, evolve, heat, semidiscrete

LEVEL, REFINE, ELL, HIGH = 5, 8, 2, 50.0
T_END, STEPS = 0.1, 100
SHOWN = (0.0, 0.01, 0.04, 0.1)
BUMPS = ((0.3, 0.3), (0.65, 0.7))
SEED = 1


def sources(basis: Basis) -> Callable[[float], np.ndarray]:
    """The load ``b(t)`` on a basis, ``(basis.N,)``, of two sources of strength 3000, about 0.1 wide."""
    lower, upper = (
        load(lambda x, at=at: 3000.0 * np.exp(-((x[0] - at[0]) ** 2 + (x[1] - at[1]) ** 2) / 0.01)).assemble(basis)
        for at in BUMPS
    )
    return lambda t: np.sin(40 * t) ** 2 * lower + np.cos(40 * t) ** 2 * upper


@dataclass
class Result:
    """States on the fine mesh ``(times, fine.N)`` and CPU seconds (set-up, all steps), by method."""

    lod: LOD
    a: np.ndarray
    t: np.ndarray
    states: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)

    def errors(self, name: str) -> np.ndarray:
        """Relative errors in L2 against the fine solution, ``(times,)``."""
        M, exact = mass.assemble(self.lod.fine), self.states["fine FEM"]
        norm = lambda u: np.sqrt(((M @ u.T).T * u).sum(axis=1))
        return norm(self.states[name] - exact) / norm(exact)


def hot_left(basis: Basis) -> np.ndarray:
    """The start and the boundary data, ``(basis.N,)``."""
    return 1 - basis.doflocs[0]


def discretisations(lod: LOD, a: np.ndarray) -> dict[str, Callable[[], SemiDiscrete]]:
    """The four semi-discretisations, boundary data lifted."""
    fine, coarse, P = lod.fine, lod.coarse, lod.prolongation
    data = coarse.get_dofs(), hot_left(coarse)
    on_coarse = lambda K: semidiscrete(mass.assemble(coarse), K, load=sources(coarse)).lifted(*data)
    return {
        "fine FEM": lambda: heat(fine, a, D=fine.get_dofs(), x=hot_left(fine), load=sources(fine)),
        "coarse FEM": lambda: on_coarse(P.T @ diffusion.assemble(fine, a=a[:, None]) @ P),
        "LOD": lambda: on_coarse(lod.assemble(diffusion, a=a)),
        "Galerkin LOD": lambda: heat(fine, a, load=sources(fine)).restrict(lod.basis(diffusion, a=a)).lifted(*data),
    }


def compute(level: int = LEVEL, refine: int = REFINE, ell: int = ELL, steps: int = STEPS) -> Result:
    lod = LOD(MeshQuad().refined(level), refine=refine, ell=ell)
    a = iid_multilevel(lod.fine.mesh, level + 2, 1.0, HIGH, rng=np.random.default_rng(SEED))
    result = Result(lod, a, T_END / steps * np.arange(steps + 1))
    lod.local(diffusion, np.arange(1), a=a)  # loads torch, which is not what we time
    for name, way in discretisations(lod, a).items():
        basis = lod.fine if name == "fine FEM" else lod.coarse
        start = hot_left(basis)[basis.complement_dofs(basis.get_dofs())]
        with clocked() as setup:
            semi = way()
            stepper = IMEX(semi, T_END / steps, "ars222")
        with clocked() as run:
            y = evolve(stepper, start, T_END).y.T
        u = semi.full(y)
        result.states[name] = u if u.shape[1] == lod.fine.N else (lod.prolongation @ u.T).T
        result.seconds[name] = setup.cpu, run.cpu
        if name == "LOD":
            result.states["LOD, prolonged"] = (lod.basis(diffusion, a=a) @ u.T).T
    return result


def visualize(result: Result | None = None):
    """Snapshots of the LOD, coefficient and errors below them; errors over time and seconds over steps."""
    result = compute() if result is None else result
    fine, shown = result.lod.fine, np.rint(np.array(SHOWN) / T_END * (len(result.t) - 1)).astype(int)
    exact, lod = result.states["fine FEM"], result.states["LOD, prolonged"]
    errors = [abs(lod[k] - exact[k]) for k in shown[1:]]
    scale, error_scale = shared_norm(exact[shown], lod[shown], log=False), shared_norm(*errors, log=True, decades=3)
    with figure(14.5, 11.5) as picture:
        panels = picture.add_gridspec(3, 4, height_ratios=(1, 1, 1.15))
        top, middle = ([picture.add_subplot(panels[row, column]) for column in range(4)] for row in range(2))
        for axes, k in zip(top, shown, strict=True):
            drawn = plot_nodal(axes, fine, lod[k], norm=scale)
            axes.set_title(f"LOD, prolonged, $t = {result.t[k]:.2g}$")
        colour_bar(top[-1], drawn, "temperature $u$")
        colour_bar(middle[0], plot_cells(middle[0], fine.mesh, result.a), "$a$")
        middle[0].set_title("conductivity")
        size = result.errors("LOD, prolonged")
        for axes, k, error in zip(middle[1:], shown[1:], errors, strict=True):
            drawn = plot_error(axes, fine, error, norm=error_scale)
            axes.set_title(f"{size[k]:.1e} off in $L^2$, $t = {result.t[k]:.2g}$")
        colour_bar(middle[-1], drawn, r"$|u - u_{\mathrm{fine}}|$", extend="min")
        draw_graphs([picture.add_subplot(panels[2, 2 * i : 2 * i + 2]) for i in range(2)], result)
    return picture


def draw_graphs(panels, result: Result) -> None:
    """Errors over time, and CPU seconds over the number of steps."""
    (left, right), steps = panels, np.arange(len(result.t))
    for k, name in enumerate(result.states):
        if name != "fine FEM":
            left.semilogy(result.t[1:], result.errors(name)[1:], color=f"C{k}", label=name)
        if name in result.seconds:
            setup, run = result.seconds[name]
            right.plot(steps, setup + run * steps / steps[-1], color=f"C{k}", label=name)
    left.set(title="error over time", xlabel="time $t$", ylabel="relative $L^2$ error")
    right.set(title="cost", xlabel="steps", ylabel="CPU seconds, with set-up")
    for axes in panels:
        grid(axes)
        legend_below(axes)


def animate(result: Result, path: str = "heat_on_lod.gif", frames: int = 34) -> None:
    """A film: fine FEM beside the LOD."""
    shown = np.linspace(0, len(result.t) - 1, frames).astype(int)
    seconds = {name: sum(result.seconds[name]) for name in ("fine FEM", "LOD")}
    states = {f"fine FEM, {seconds['fine FEM']:.1f} CPU s": result.states["fine FEM"][shown]}
    states[f"LOD, {seconds['LOD']:.1f} CPU s"] = result.states["LOD, prolonged"][shown]
    nodal_film(path, result.lod.fine, states, result.t[shown], label="temperature $u$")


if __name__ == "__main__":
    result = compute()
    print("method, error at the end, largest error after the first tenth, CPU seconds of set-up and of all steps")
    for name in result.states:
        errors, (setup, run) = result.errors(name), result.seconds.get(name, (np.nan, np.nan))
        print(f"{name}: {errors[-1]:.2e}, {errors[len(errors) // 10 :].max():.2e}, {setup:.2f} s, {run:.3f} s")
    visualize(result).savefig("heat_on_lod.png")
    animate(result)
    last = {name: result.errors(name)[-1] for name in ("coarse FEM", "LOD", "LOD, prolonged")}
    faster = result.seconds["fine FEM"][1] / result.seconds["LOD"][1]
    print(", ".join(f"{name} {error:.1e} off" for name, error in last.items()) + f"; steps {faster:.0f} times faster")
