"""Learners in one rough material: weak forms without training data, and maps learnt from other fields or starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from skfem import BilinearForm
from skfem.helpers import dot, grad

from demos.benchmarks.every_method_matrices import FIELD, T_END, centred, galerkin, on, square, start
from skfem_ml import PDE, FEFunction
from skfem_ml.coefficients import log_normal
from skfem_ml.fmm import Recipe, solver_deep
from skfem_ml.hits import FlowMap, fit_map
from skfem_ml.learning import MLP
from skfem_ml.meshes import midpoints, raster_to_cells
from skfem_ml.problems import OperatorSamples, diffusion, load
from skfem_ml.solutions import Evolution, Record
from skfem_ml.stepping import IMEX, POD, SemiDiscrete, evolve, semidiscrete


def draw(rng: np.random.Generator) -> np.ndarray:
    """A field as a raster ``(FIELD, FIELD)``, row 0 at the bottom."""
    mesh = square(FIELD).mesh
    return log_normal(mesh, 1.0, 0.1, rng)[np.lexsort(midpoints(mesh))].reshape(FIELD, FIELD)


@BilinearForm
def conduction(u, v, w):
    """The heat equation, tested."""
    return u.ddt * v + w.a * dot(grad(u), grad(v))


def steady(a: np.ndarray) -> PDE:
    """Diffusion as a statement for learners, on the field's own cells."""
    mesh = square(FIELD).mesh
    return PDE(diffusion, mesh, boundary=0.0, load=load(1.0), coefficients={"a": raster_to_cells(a, mesh)})


def transient(a: np.ndarray) -> PDE:
    """Heat, likewise."""
    mesh = square(FIELD).mesh
    return PDE(conduction, mesh, time=(0, T_END), initial=start, boundary=0.0,
               coefficients={"a": raster_to_cells(a, mesh)})  # fmt: skip


def solver_of_fields(count: int, steps: int, seed: int) -> tuple[Callable[[np.ndarray], FEFunction], float]:
    """DeepFMMNet from log a to u at the centres of the field's cells, and the CPU seconds of data and training."""
    began, rng = time.process_time(), np.random.default_rng([1, seed])
    basis, free = centred(FIELD)
    fields = [draw(rng) for _ in range(count)]
    outputs = [galerkin(a, square(2 * FIELD)).diffusion()(basis.doflocs[:, free]) for a in fields]
    inputs = np.log(fields).reshape(count, -1)
    data = OperatorSamples(basis.doflocs[:, free], inputs, np.array(outputs), count // 10, count // 10)
    learned = solver_deep(Recipe(steps, rate=1e-2, every=20), leaf=16, rank=6, seed=seed)(data)
    spent = time.process_time() - began
    return lambda a: on(basis, free)(learned(np.log(a).reshape(1, -1))[0]), spent


@dataclass
class Reduced:
    """What is learnt of one material from trajectories of other starts: modes, and the flow map between slices."""

    semi: SemiDiscrete
    free: np.ndarray
    pod: POD
    basis: object
    data: tuple[np.ndarray, np.ndarray]
    seconds: float

    def evolution(self, ran) -> Evolution:
        """A function of x and t from coefficients."""
        space = on(self.basis, self.free)
        return Evolution(lambda c: space(self.pod.decode(c)), ran.t, ran.y.T, record=Record(self.pod.r))

    @property
    def first(self) -> np.ndarray:
        """Coefficients of the problem's start."""
        return self.pod.encode(start(self.basis.doflocs[:, self.free]))

    def projected(self, steps: int) -> Evolution:
        """The classical reduced model: the equation restricted to the modes."""
        reduced = self.semi.restrict(self.pod.modes)
        return self.evolution(evolve(IMEX(reduced, T_END / steps, "ars222"), self.first, T_END))

    def flow(self, steps: int, seed: int) -> tuple[FlowMap, float]:
        """A network trained on the coefficients, and its CPU seconds with those of the data."""
        began, (t, y) = time.process_time(), self.data
        net = MLP((self.pod.r, 64, 64, self.pod.r), generator=torch.Generator().manual_seed(seed))
        flow = FlowMap(net, float(t[1]))
        fit_map(flow, t, y, steps=steps, seed=seed)
        return flow, time.process_time() - began + self.seconds


def reduced_from(a: np.ndarray, cells: int, starts: int, modes: int = 16, slices: int = 10) -> Reduced:
    """Modes of trajectories from random combinations of nine products of sines."""
    began, rng = time.process_time(), np.random.default_rng(2)
    basis = square(cells)
    matrices, free = galerkin(a, basis), basis.complement_dofs(basis.get_dofs())
    x = np.pi * basis.doflocs[:, free]
    shapes = [np.sin(k * x[0]) * np.sin(j * x[1]) / (k * k + j * j) for k in (1, 2, 3) for j in (1, 2, 3)]
    u0 = rng.normal(size=(starts, 9)) @ np.array(shapes)
    semi = semidiscrete(matrices.M, matrices.K)
    steps = 10 * slices
    ran = evolve(IMEX(semi, T_END / steps, "ars222"), u0, T_END, every=steps // slices)
    states = ran.y.transpose(0, 2, 1)
    pod = POD(matrices.M, modes).fit(states.reshape(-1, len(free)))
    coefficients = np.array([pod.encode(one).T for one in states])
    return Reduced(semi, free, pod, basis, (ran.t, coefficients), time.process_time() - began)
