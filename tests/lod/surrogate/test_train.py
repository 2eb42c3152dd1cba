"""A family within a budget: stages, time, what is kept, what Ctrl-C leaves, and a verdict that a hand confirms."""

import logging
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from skfem import BilinearForm, MeshQuad
from skfem.helpers import dot, grad

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.compare.verdict import COARSE, FIELD, FINE, LEARNED, LOAD, as_good
from skfem_ml.learning.storage import CorruptModelError, ModelMismatchError
from skfem_ml.lod import LOD, FieldNetwork, GeometricMean, Surrogate, train_surrogate
from skfem_ml.lod.solver import solver_coarse
from skfem_ml.lod.surrogate import Recipe
from skfem_ml.lod.surrogate.recipe.labelling.ways import choose_way, exact_ways
from skfem_ml.lod.surrogate.recipe.rivals import Judge, summarised, tabulated
from skfem_ml.lod.surrogate.recipe.run import Run
from skfem_ml.lod.surrogate.recipe.train import elements_fit
from skfem_ml.metrics import l2_error
from skfem_ml.problems import Diffusion, diffusion
from skfem_ml.reference import solver_fem
from tests.gallery import graded

LOD_8 = LOD(MeshQuad().refined(2), refine=8, cells=2, ell=1)
MESH = LOD_8.coefficient_mesh
RECIPE = Recipe(steps=20, fields=6, held=2, doubt=2, test=2, verdict=2)


def draw(index):
    return iid_multilevel(MESH, 3, 1.0, 30.0, np.random.default_rng([5, index]))


def network():
    import torch

    return FieldNetwork(2, 1, encoding=4, outer=1, width=4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, start, told = tmp_path_factory.mktemp("run"), time.perf_counter(), []
    model = train_surrogate(
        LOD_8, draw, "15s", net=network(), folder=folder, card={"name": "mine"}, progress=lambda *x: told.append(x)
    )
    return folder, model, time.perf_counter() - start, told


def test_all_of_it_happens_and_stands_on_the_card(trained):
    folder, model, _, told = trained
    facts = model.card.facts
    assert facts["labels"]["allowed"] == 0.1 and facts["family"] == "draw" and model.card.name == "mine"
    assert facts["fields"] >= 4 and facts["steps"] >= 1 and facts["history"]["steps"][-1] == facts["steps"]
    assert set(facts["cpu"]) == {"labels", "training", "calibration", "verdict"} and model.has_doubt
    said = dict.fromkeys(text.split(",")[0] for _, _, text in told)
    said.pop("calibration", None)  # of a certificate, where the time was enough for nine fields of it
    assert list(said) == [
        "ways to labels", "labels", "ridge", "speed of training", "training", "last layers and doubt", "verdict",
    ]  # fmt: skip
    again = Surrogate.load(folder / "model.safetensors")
    assert str(again.verdict) == str(model.verdict) and again.card == model.card
    assert train_surrogate(LOD_8, draw, "15s", net=network(), folder=folder, card={"name": "mine"}).card == model.card


def test_the_verdict_is_what_a_hand_finds_in_its_table(trained):
    """The sentence again, from the printed figures alone."""
    _, model, _, _ = trained
    verdict, cpu = model.verdict, model.card.facts["cpu"]
    assert verdict.training == pytest.approx(sum(cpu.values()) - cpu["verdict"])
    rows = {row.name: row for row in verdict.table}
    assert {"geometric mean", "exact, n = 2", "exact, n = 4", "exact, n = 8", "extrapolated, n = 2 and 4"} <= set(rows)
    assert {"multigrid, n = 2", "multigrid, n = 8", "AMG-CG, n = 8", "this model", "its hybrid"} <= set(rows)
    assert (
        rows["exact, n = 8"]["error u_h"] == 0 < rows["exact, n = 4"]["error u_h"] < rows["exact, n = 2"]["error u_h"]
    )

    def hand(loads):
        cost = {name: row.stages[FIELD] + loads * row.stages[LOAD] for name, row in rows.items()}
        found = {}
        for name in ("this model", "its hybrid"):
            good = [
                other for other, row in rows.items()
                if (row.group == COARSE and row["error u_h"] <= 1.5 * rows[name]["error u_h"])
                or (row.group == FINE and row["error u"] <= 1.5 * rows[name]["error u"])
            ]  # fmt: skip
            rival = min(good, key=cost.get)
            saved = cost[rival] - cost[name]
            found[name] = rival, math.ceil(verdict.training / saved) if saved >= 0.1 * cost[name] else None
        return found

    for loads in (1, 10, 1000):
        assert {p.row.name: (p.rival.name, p.fields) for p in verdict.payments(loads)} == hand(loads)
    best = verdict.best()
    assert best.rival.name in verdict.sentence() and ("does not pay" in verdict.sentence()) != best.pays


def test_other_settings_are_refused_with_the_difference(trained, tmp_path):
    folder = trained[0]
    options = {"net": network(), "folder": folder, "card": {"name": "mine"}}
    for change, message in (
        ({"seed": 1}, "seed: wanted 1, got 0"),
        ({"budget": "16s"}, "budget: wanted 16.0, got 15.0"),
        ({"fields": lambda i: 2 * draw(i)}, "fingerprint: wanted '"),
        ({"lod": LOD(MeshQuad().refined(2), refine=8, cells=2, ell=1, dirichlet=lambda x: x[0] == 0)}, "boundary"),
    ):
        with pytest.raises(ModelMismatchError, match=message):
            train_surrogate(**{"lod": LOD_8, "fields": draw, "budget": "15s", **options, **change})
    run = Run(tmp_path, {"seed": 1})
    run.decided("steps", lambda: 3)
    run.path.write_text("{")
    with pytest.raises(CorruptModelError, match=r"run.json: expected the file of a run"):
        Run(tmp_path, {"seed": 1})


def test_decisions_and_seconds_outlive_a_run(tmp_path):
    first = Run(tmp_path, {"seed": 1, "pair": (1, 2)})
    assert first.decided("steps", lambda: 3) == 3
    with pytest.raises(KeyboardInterrupt), first.stage("labels"):
        sum(range(10**6))
        raise KeyboardInterrupt
    again = Run(tmp_path, {"seed": 1, "pair": (1, 2)})
    assert again.decided("steps", lambda: 4) == 3 and again.spent == first.spent > 0


def interrupted(word, after=0):
    count = [0]

    def progress(done, total, text):
        if text.startswith(word):
            count[0] += 1
            if count[0] > after:
                raise KeyboardInterrupt

    return progress


def test_ctrl_c_while_it_trains_leaves_the_best_so_far_and_its_verdict(tmp_path):
    stop = interrupted("training, loss", 5)
    model = train_surrogate(LOD_8, draw, recipe=RECIPE, net=network(), folder=tmp_path, progress=stop)
    assert model.card["stopped"] == "interrupted after 6 of 20 steps"
    assert model.has_doubt and model.verdict is not None and len(model.card["history"]["steps"]) == 6


def test_ctrl_c_before_there_are_weights_says_what_is_missing_and_the_same_call_goes_on(tmp_path):
    options = {"recipe": RECIPE, "net": network(), "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt, match="nothing is trained yet, fields are being labelled"):
        train_surrogate(LOD_8, draw, **options, progress=interrupted("labels", 1))
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("labels-*")}
    assert len(kept) == 2
    with pytest.raises(KeyboardInterrupt, match="nothing is trained yet, no weights were recorded"):
        train_surrogate(LOD_8, draw, **options, progress=interrupted("ridge"))
    model = train_surrogate(LOD_8, draw, **options)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept and model.verdict is not None


def test_ctrl_c_in_the_verdict_keeps_the_fields_that_were_measured(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "skfem_ml"):
        model = train_surrogate(LOD_8, draw, recipe=RECIPE, net=network(), progress=interrupted("verdict, field 2"))
    assert any("the largest of 1 field(s)" in note for note in model.verdict.table.notes)
    assert "interrupted after 1 field" in caplog.text
    none = train_surrogate(LOD_8, draw, recipe=RECIPE, net=network(), progress=interrupted("verdict"))
    assert none.verdict is None and none.has_doubt


def test_a_budget_that_does_not_do_is_told_with_one_that_does():
    with pytest.raises(ValueError, match=r"budget: expected at least \d+ s here, where .* got 0.001 s; give more"):
        train_surrogate(LOD_8, draw, 0.001, net=network())


def test_a_form_of_ones_own_has_no_row_of_the_null_model_and_a_free_boundary_no_verdict():
    form = BilinearForm(lambda u, v, w: w.a * dot(grad(u), grad(v)) + 5 * u * v)
    tiny = Recipe(steps=1, fields=4, held=1, doubt=1, test=1, verdict=1)
    model = train_surrogate(LOD_8, draw, recipe=tiny, net=network(), form=form)
    names = [row.name for row in model.verdict.table if not row.failure]
    assert "geometric mean" not in names and {"exact, n = 8", "multigrid, n = 8", "this model"} <= set(names)
    free = LOD(MeshQuad().refined(2), refine=8, cells=2, ell=1, dirichlet=np.array([], dtype=int))
    assert train_surrogate(free, draw, recipe=tiny, net=network()).verdict is None


SQUARES = LOD(MeshQuad().refined(2), refine=8, ell=1)


def blobs(index, mesh):
    """Discs of contrast 27 in a matrix, hard and soft."""
    rng, x, a = np.random.default_rng([8, index]), mesh.p[:, mesh.t].mean(axis=1), np.ones(mesh.t.shape[1])
    for centre in rng.uniform(0, 1, (12, 2)):
        a[((x - centre[:, None]) ** 2).sum(axis=0) < rng.uniform(0.05, 0.12) ** 2] = 27.0 ** rng.choice([-0.5, 0.5])
    return a


@pytest.fixture(scope="module")
def elements(tmp_path_factory):
    folder, numbers = (
        tmp_path_factory.mktemp("elements"),
        replace(RECIPE, steps=40, doubt=9, test=4, verdict=1, calibration=9),
    )
    return folder, numbers, train_surrogate(SQUARES, blobs, kind="elements", recipe=numbers, folder=folder)


def test_super_elements_of_a_family_are_close_and_know_by_how_much(elements):
    folder, _, model = elements
    rows, card = model.verdict.table, model.card
    assert rows["this model"]["error u_h"] < rows["exact, n = 8"]["error u_h"] / 5 and rows["exact, n = 32"].error == 0
    assert rows["its hybrid"]["error u_h"] < rows["exact, n = 8"]["error u_h"] / 5
    shipped = rows["shipped super-elements"]  # which is as good and as cheap, and costs no training
    assert shipped.group == COARSE and as_good(shipped, rows["this model"])
    assert shipped.stages == rows["this model"].stages and not model.verdict.best(1000).pays
    assert 0.89 < card.doubt["covered"] < 0.94 and 0.75 < card.doubt["covered, new fields"] <= 1
    assert card["start"] == "diffusion" and card["labels"]["by"] == "energies at n = 32, extrapolated"
    assert len(list((folder / "labels").iterdir())) == 8 and card["family"] == "blobs"
    assert len(model.certificate.elements.names) == 9 and model.promise is not None
    again = Surrogate.load(folder / "model.safetensors")
    assert str(again.verdict) == str(model.verdict) and again.card.doubt == card.doubt
    a = blobs(7_000_000, SQUARES.coefficient_mesh)
    assert abs(SQUARES.assemble(again, a=a) - SQUARES.assemble(model, a=a)).max() == 0


def test_weights_that_are_no_better_are_undone(elements, caplog):
    """From weights that were found on these fields, with a rate that spoils them."""
    numbers = elements[1]
    with caplog.at_level(logging.INFO, "skfem_ml"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("skfem_ml.lod.surrogate.recipe.elements.FINE_TUNING", 1.0)
        spoiled = train_surrogate(
            SQUARES, blobs, kind="elements", recipe=replace(numbers, steps=2, verdict=0, calibration=0)
        )
    assert not spoiled.card["fine-tuning helped"] and "undone" in caplog.text
    shipped = Surrogate.load("diffusion").net.state_dict()
    assert all((value == shipped[name]).all() for name, value in spoiled.net.state_dict().items())


def test_what_is_trained_where():
    assert elements_fit(SQUARES) and elements_fit(LOD(MeshQuad().refined(2), refine=32, cells=4, ell=1))
    others = (
        LOD_8,
        LOD(MeshQuad().refined(2), refine=8, ell=1, interpolation="clement"),
        LOD(graded(), refine=8, ell=1),
    )
    assert not any(map(elements_fit, others)) and not elements_fit(SQUARES, BilinearForm(lambda u, v, w: w.a * u * v))
    with pytest.raises(ValueError, match=r"kind: expected .patches. here, got .elements."):
        train_surrogate(LOD_8, draw, "1s", kind="elements")
    with pytest.raises(ValueError, match=r"kind: expected one of 'elements', 'patches'"):
        train_surrogate(LOD_8, draw, "1s", kind="networks")


@pytest.fixture(scope="module")
def judged():
    """One field on a finer mesh than its cells, and an L with a free side."""
    mesh = MeshQuad().refined(2).restrict(lambda x: (x[0] < 0.5) | (x[1] < 0.5))
    lod = LOD(mesh, refine=16, cells=4, ell=1, dirichlet=lambda x: x[0] < 1e-9)
    a = np.exp(np.random.default_rng(0).normal(size=lod.coefficient_mesh.t.shape[1]))
    return lod, a, Judge(lod, diffusion, 16, {"this model": GeometricMean()})(a)


def test_errors_of_the_table_are_those_of_the_solvers(judged):
    """Against `solver_coarse` and `solver_fem`, which know nothing of it."""
    lod, a, rows = judged
    fine = lod.fine.mesh.with_boundaries({"left": lambda x: x[0] < 1e-9})
    problem = Diffusion(fine, a[lod.space.coefficient_cell], dirichlet="left")
    coarse = lod.coarse.mesh.with_boundaries({"left": lambda x: x[0] < 1e-9})
    exact = solver_coarse(coarse, diffusion, 1, cells=4)(problem)
    truth = solver_fem()(problem)
    for name, n in (("exact, n = 4", 4), ("exact, n = 8", 8)):
        own = LOD(lod.coarse, n, cells=4, ell=1, dirichlet=lod.dirichlet_dofs)
        y = own.system(diffusion, a=reordered(lod, own, a)).solve(own.load(unit()))
        assert rows[name]["error u_h"] == pytest.approx(l2_error(y, exact.y, lod.coarse, relative=True), rel=0.05)
    gap = l2_error(exact, truth, lod.fine, relative=True)
    assert rows["exact, n = 16"]["error u"] == pytest.approx(gap, rel=0.05)
    assert rows["multigrid, n = 16"]["error u"] < 1e-5 and rows["AMG-CG, n = 16"]["error u"] < 1e-5
    own = solver_fem()(
        Diffusion(lod.coefficient_mesh.with_boundaries({"left": lambda x: x[0] < 1e-9}), a, dirichlet="left")
    )
    gap = l2_error(own, truth, lod.fine, relative=True)
    assert rows["multigrid, n = 4"]["error u"] == pytest.approx(gap, rel=0.1)


def unit():
    from skfem.models import unit_load

    return unit_load


def reordered(lod, other, a):
    out = np.empty_like(a)
    out[other.space.coefficient_refinement.cells] = a[lod.space.coefficient_refinement.cells]
    return out


def test_rows_come_in_groups_with_costs_by_stage(judged):
    rows = judged[2]
    assert {row.group for row in rows.values()} == {FINE, COARSE, LEARNED}
    assert all(row.stages[FIELD] > 0 and row.stages[LOAD] >= 0 for row in rows.values())
    assert rows["this model"]["error u_h"] == rows["geometric mean"]["error u_h"]
    loads = {row.stages[LOAD] for row in summarised([rows]).rows if row.group != FINE}
    assert len(loads) == 1  # one coarse system is as large as another
    assert all((row["error u_h"] is None) == (row.group == FINE) for row in rows.values())


def test_a_method_that_fails_is_told_and_the_worst_field_counts():
    class Broken:
        def local(self, lod, elements, **coefficients):
            raise ValueError("no answer")

    judge = Judge(LOD_8, diffusion, 8, {"this model": Broken()})
    fields = [draw(0), draw(1)]
    table = tabulated(judge, fields)
    assert table["this model"].failure == "ValueError: no answer"
    each = [judge(a)["exact, n = 2"]["error u_h"] for a in fields]
    row = table["exact, n = 2"]
    assert row["error u_h"] == pytest.approx(max(each)) and row["mean u_h"] == pytest.approx(np.mean(each))
    assert "the largest of 1 field(s)" in tabulated(judge, fields, left=lambda: False).notes[0]


def test_labels_are_computed_by_the_cheapest_way_that_is_good_enough():
    """Smooth fields allow extrapolation; a checkerboard of the cells does not."""
    lod = LOD(MeshQuad().refined(2), refine=32, cells=4, ell=1)
    x = lod.coefficient_mesh.p[:, lod.coefficient_mesh.t].mean(axis=1)
    smooth = 2 + np.sin(3 * x[0]) * np.cos(2 * x[1])
    rough = np.where((np.floor(16 * x[0]) + np.floor(16 * x[1])) % 2, 1.0, 1000.0)
    choice = choose_way(lod, diffusion, [smooth], tolerance=0.5)
    assert choice.way.name != "exact, n = 32" and choice.errors[choice.way.name] <= 0.5
    assert choose_way(lod, diffusion, [rough], tolerance=1e-4).way.name == "exact, n = 32"
    ways = exact_ways(lod, diffusion, 32)
    assert list(ways) == [
        "exact, n = 4", "exact, n = 8", "exact, n = 16", "exact, n = 32", "extrapolated, n = 4 and 8",
        "interiors, n = 4 and 32",
    ]  # fmt: skip
    exact = lod.local(diffusion, a=smooth)
    gaps = {name: np.linalg.norm(way.local(smooth) - exact) for name, way in ways.items()}
    assert gaps["exact, n = 32"] == 0 < gaps["interiors, n = 4 and 32"] < gaps["exact, n = 4"] / 3
    told = choice.told()
    assert told["by"] == choice.way.name and told["checked on"] == 1 and told["allowed"] == 0.1
