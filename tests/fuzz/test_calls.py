"""Random calls in random order on one LOD and its systems: every answer is that of objects that were made for it."""

import copy
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from skfem import MeshQuad

from skfem_ml.lod import LOD
from tests.gallery import diffusion, reaction_diffusion, sloped_load, tensor_diffusion, unit_load

STEPS = 50
LODS = {
    "quads": {"coarse": MeshQuad().refined(2).with_defaults(), "refine": 4, "ell": 1},
    "two layers, no memory": {"coarse": MeshQuad().refined(2), "refine": 2, "ell": 2, "memory": 0},
    "mixed boundary": {"coarse": MeshQuad().refined(2).with_defaults(), "refine": 4, "ell": 1, "dirichlet": ["left"]},
    "coarse cells": {"coarse": MeshQuad().refined(2), "refine": 4, "cells": 2, "ell": 1},
    "reference": {"coarse": MeshQuad().refined(1), "refine": 3, "ell": 1, "engine": "reference"},
    "two workers": {"coarse": MeshQuad().refined(2), "refine": 2, "ell": 1, "workers": 2},
}
FORMS = {"diffusion": diffusion, "reaction": reaction_diffusion, "tensor": tensor_diffusion}
LOADS = {"unit": unit_load, "sloped": sloped_load}
SEEDS, VERBS = st.integers(0, 2**16), st.sampled_from(("matrix", "load", "corrected", "prolong", "prolong with load"))
DEARER = st.sampled_from(("galerkin", "solve", "local"))
COUNT = {"steps": 0}


def coefficients(name, count, seed):
    """Fields that differ from those of the seeds beside only in places."""
    a = np.random.default_rng(seed // 3).uniform(1, 9, count)
    if seed % 3:
        place = seed % count
        a[place : place + 3] *= 1 + seed % 3
    return {"a": np.eye(2)[:, :, None] * a if name == "tensor" else a, **({"c": a / 2} if name == "reaction" else {})}


class Held:
    """A system, and how it would be made anew."""

    def __init__(self, name, seed, system):
        self.name, self.seed, self.system = name, seed, system


def answer(system, verb, load, seed):
    """What a system says to one question."""
    u = np.random.default_rng(seed).standard_normal(system.lod.coarse.N)
    return {
        "matrix": lambda: system.matrix().toarray(),
        "galerkin": lambda: system.galerkin().toarray(),
        "load": lambda: system.load(LOADS[load]),
        "corrected": lambda: system.load(LOADS[load], corrected=True),
        "prolong": lambda: system.prolong(u),
        "prolong with load": lambda: system.prolong(u, load=LOADS[load]),
        "solve": lambda: system.solve(LOADS[load], corrected=True),
        "local": lambda: system.local([seed % len(system.lod.patches.corners), 0]),
    }[verb]()


class Calls(RuleBasedStateMachine):
    """One LOD and the systems that are made of it."""

    systems = Bundle("systems")

    @initialize(kind=st.sampled_from(sorted(LODS)))
    def begin(self, kind):
        self.kind, self.lod = kind, LOD(**LODS[kind])
        self.cells = self.lod.coefficient_mesh.nelements

    def fresh(self, held):
        lod = LOD(**LODS[self.kind])
        return lod.system(FORMS[held.name], **coefficients(held.name, self.cells, held.seed))

    def compare(self, got, held, verb, load, seed):
        wanted = answer(self.fresh(held), verb, load, seed)
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12 * np.abs(wanted).max(), err_msg=verb)

    @rule(target=systems, name=st.sampled_from(sorted(FORMS)), seed=SEEDS)
    def make(self, name, seed):
        return Held(name, seed, self.lod.system(FORMS[name], **coefficients(name, self.cells, seed)))

    @rule(name=st.sampled_from(sorted(FORMS)), seed=SEEDS)
    def assemble(self, name, seed):
        got = self.lod.assemble(FORMS[name], **coefficients(name, self.cells, seed)).toarray()
        self.compare(got, Held(name, seed, None), "matrix", "unit", 0)

    @rule(
        held=systems,
        verb=VERBS | st.sampled_from(("galerkin", "solve", "local")),
        load=st.sampled_from(sorted(LOADS)),
        seed=SEEDS,
    )
    def ask(self, held, verb, load, seed):
        self.compare(answer(held.system, verb, load, seed), held, verb, load, seed)

    @rule(target=systems, held=systems, seed=st.integers(-4, 4))
    def update(self, held, seed):
        seed = max(held.seed + seed, 0)
        return Held(held.name, seed, held.system.update(**coefficients(held.name, self.cells, seed)))

    @rule(name=st.sampled_from(("diffusion", "reaction")), seed=SEEDS, step=st.integers(-4, 4), local=st.booleans())
    def update_of_a_matrix(self, name, seed, step, local):
        old, new = (coefficients(name, self.cells, max(each, 0)) for each in (seed, seed + step))
        rest = {key: value for key, value in new.items() if key != "a"}
        made = self.lod.elemental if local else self.lod.assemble
        S = made(FORMS[name], **{**old, **rest})
        got = self.lod.update(S, old["a"], new["a"], FORMS[name], **rest)
        wanted = LOD(**LODS[self.kind]).assemble(FORMS[name], **new)
        size = np.abs(wanted.data).max()
        assert abs((got.tocsr() if local else got) - wanted).max() <= 1e-12 * size

    @rule(target=systems, held=systems, how=st.sampled_from(("pickle", "copy", "deepcopy")))
    def copied(self, held, how):
        make = {"pickle": lambda s: pickle.loads(pickle.dumps(s)), "copy": copy.copy, "deepcopy": copy.deepcopy}[how]
        return Held(held.name, held.seed, make(held.system))

    @rule(how=st.sampled_from(("pickle", "deepcopy")))
    def another_lod(self, how):
        self.lod = pickle.loads(pickle.dumps(self.lod)) if how == "pickle" else copy.deepcopy(self.lod)

    @rule(helds=st.lists(systems, min_size=2, max_size=3), verbs=st.lists(VERBS, min_size=2, max_size=2), seed=SEEDS)
    def threads(self, helds, verbs, seed):
        jobs = [(held, verb) for held in helds for verb in verbs]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda job: answer(job[0].system, job[1], "sloped", seed), jobs))
        for (held, verb), got in zip(jobs, results, strict=True):
            self.compare(got, held, verb, "sloped", seed)

    @rule(held=systems)
    def spoil_what_was_given(self, held):
        """Arrays that came from us, or went in, are the caller's."""
        held.system.matrix().data[:] = 0
        held.system.local()[:] = 0
        held.system.load(unit_load)[:] = 0
        held.system.load(unit_load, corrected=True)[:] = 0

    @invariant()
    def count(self):
        COUNT["steps"] += 1


def explore(examples, steps, **options):
    quiet = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None, **options}
    run_state_machine_as_test(Calls, settings=settings(max_examples=examples, stateful_step_count=steps, **quiet))


def test_random_calls(pytestconfig, capsys):
    """With minutes: as long, and 10,000 calls at least; how many is printed."""
    minutes, COUNT["steps"] = pytestconfig.getoption("--fuzz-minutes"), 0
    if not minutes:
        explore(8, 15, derandomize=True)
        assert COUNT["steps"] >= 60
        return
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end or COUNT["steps"] < 10_000:
        explore(5, STEPS)
    with capsys.disabled():
        print(f"\n{COUNT['steps']} calls on one LOD each, all equal to those of fresh objects")
