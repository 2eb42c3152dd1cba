"""Whether a model pays: by hand from small tables, each with one reason."""

import json
import math

import numpy as np
import pytest

from skfem_ml.compare import Row, Table, Verdict
from skfem_ml.compare.verdict import COARSE, FINE, HEADINGS, LEARNED, as_good, cost


def row(name, group, u_h, u, field, load=0.0, failure=""):
    errors = {} if failure else dict(zip(HEADINGS, (u_h, u_h, u), strict=True))
    return Row(name, errors, 1.0, field + load, 9, failure, group, {"CPU s field": field, "CPU s load": load})


def verdict(*rows, training=1000.0):
    return Verdict(Table(rows, headings=HEADINGS), training)


MODEL = row("this model", LEARNED, 2e-4, 1e-2, 0.5)
EXACT = row("exact, n = 32", COARSE, 0.0, 1e-2, 6.0)
ROUGH = row("exact, n = 8", COARSE, 1.5e-3, 1.01e-2, 0.4)


def test_it_pays_from_the_fields_that_a_hand_finds():
    """(6 - 0.5) N >= 1000: N = 182; n = 8 is cheaper and no rival, since its error is seven times the model's."""
    found = verdict(MODEL, EXACT, ROUGH)
    assert found.best().fields == 182 == math.ceil(1000 / 5.5) and found.best().rival is EXACT
    assert found.sentence() == (
        "pays from 182 fields on: this model takes 0.5 CPU seconds a field, exact, n = 32, the cheapest that is as "
        "good, 6; training took 1000."
    )
    assert 181 * 6.0 < 1000 + 181 * 0.5 and 182 * 6.0 >= 1000 + 182 * 0.5
    assert verdict(MODEL, EXACT, training=0.0).best().fields == 1


def test_a_rival_that_is_as_good_and_cheaper_is_named():
    twin = row("extrapolated", COARSE, 2.9e-4, 1e-2, 0.3)
    found = verdict(MODEL, EXACT, twin)
    assert not found.best().pays and found.best(1000).rival is twin
    assert found.sentence() == (
        "does not pay: use extrapolated, which is as good as this model in 0.3 CPU seconds a field, not 0.5."
    )
    worse = row("extrapolated", COARSE, 3.1e-4, 1e-2, 0.3)
    assert verdict(MODEL, EXACT, worse).best().rival is EXACT  # 1.55 times the error: not as good
    same = row("extrapolated", COARSE, 2.9e-4, 1e-2, 0.54)
    assert not verdict(MODEL, EXACT, same).best().pays  # 8 % are within what a clock errs by
    slower = row("extrapolated", COARSE, 2.9e-4, 1e-2, 1.5)
    assert verdict(MODEL, EXACT, slower).best().fields == 1000


def test_a_model_that_is_worst_pays_never():
    bad = row("this model", LEARNED, 0.3, 0.3, 0.5)
    null = row("geometric mean", COARSE, 0.1, 0.1, 0.02)
    found = verdict(bad, EXACT, ROUGH, null)
    assert [found.best(loads).pays for loads in (1, 10, 1000)] == [False] * 3
    assert "does not pay: use geometric mean, which is as good as this model in 0.02" in found.sentence()
    dear = row("this model", LEARNED, 2e-4, 1e-2, 7.0)
    assert "does not pay: use exact, n = 32" in verdict(dear, EXACT).sentence()


def test_where_it_never_pays_it_says_what_many_loads_want():
    """The model of the package costs as much a field and no training: multigrid for one load, that model for many."""
    multigrid, twin = row("multigrid", FINE, None, 2e-3, 0.03, 0.01), row("shipped", COARSE, 2.5e-4, 1e-2, 0.5, 1e-4)
    found = verdict(row("this model", LEARNED, 2e-4, 1e-2, 0.5, 1e-4), EXACT, multigrid, twin)
    assert [found.best(loads).rival.name for loads in (1, 10, 100, 1000)] == ["multigrid"] * 2 + ["shipped"] * 2
    assert found.sentence() == (
        "does not pay: use multigrid, which is as good as this model in 0.04 CPU seconds a field, not 0.5; for 1000 "
        "loads a field, use shipped."
    )


def test_a_fine_answer_is_judged_by_the_fine_solution_and_costs_on_every_load():
    multigrid = row("multigrid", FINE, None, 2e-3, 0.03, 0.01)
    model = row("this model", LEARNED, 2e-4, 1e-2, 0.1, 0.0001)
    found = verdict(model, multigrid, EXACT)
    assert as_good(multigrid, model) and not as_good(row("pass", FINE, None, 2e-2, 0.01), model)
    assert cost(multigrid, 10) == pytest.approx(0.13) and cost(model, 10) == pytest.approx(0.101)
    fields = math.ceil(1000 / (0.13 - 0.101))
    assert found.best(1).rival is multigrid and not found.best(1).pays and found.best(10).fields == fields
    assert found.sentence().startswith("does not pay: use multigrid, which is as good as this model in 0.04")
    assert f"for 10 loads a field it pays from {fields} fields on" in found.sentence()


def test_the_learned_row_that_pays_first_is_spoken_of():
    hybrid = row("its hybrid", LEARNED, 1e-5, 1e-2, 1.0)
    twin = row("extrapolated", COARSE, 2.5e-4, 1e-2, 0.3)
    found = verdict(MODEL, hybrid, EXACT, twin)
    assert found.best().row is hybrid and found.best().fields == 200  # the model alone does not pay
    poor = row("this model", LEARNED, 1e-2, 1e-2, 0.45)
    found = verdict(poor, row("its hybrid", LEARNED, 1e-5, 1e-2, 8.0), EXACT, ROUGH)
    assert "use exact, n = 32, which is as good as its hybrid" in found.sentence()  # none pays: the better one
    close = row("its hybrid", LEARNED, 1.9e-4, 1e-2, 0.9)
    assert "as good as this model in 0.1" in verdict(MODEL, close, row("twin", COARSE, 1e-4, 1e-2, 0.1)).sentence()


def test_rows_that_failed_are_no_rivals():
    broken = row("extrapolated", COARSE, 0.0, 0.0, 0.01, failure="ValueError: no")
    assert verdict(MODEL, broken, EXACT).best().rival is EXACT
    lost = verdict(row("this model", LEARNED, None, None, 0.5), EXACT)
    assert lost.best() is None and lost.sentence().startswith("no verdict")
    assert verdict(MODEL, broken).sentence().startswith("no verdict")


def test_a_card_keeps_it():
    found = verdict(MODEL, EXACT, row("multigrid", FINE, None, 2e-3, 0.03, 0.01), row("a", COARSE, 0, 0, 0, 0, "no"))
    content = json.loads(json.dumps(found.to_json(), sort_keys=True))
    again = Verdict.from_json(content)
    assert str(again) == str(found) and again.training == 1000 and again.to_json() == content
    assert again.table.rows == found.table.rows and repr(again) == f"Verdict({found.sentence()})"
    assert Verdict.brief({"verdict": content}) == "; does not pay" and Verdict.brief({}) == ""
    assert str(found).endswith(found.sentence()) and found.sentence() in found._repr_html_()


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"expected a row of the group 'learned', got .'coarse answers'."):
        verdict(EXACT)
    for seconds in (-1.0, np.nan):
        with pytest.raises(ValueError, match=r"training: expected CPU seconds of at least 0"):
            verdict(MODEL, training=seconds)
    with pytest.raises(ValueError, match=r"verdict: expected training and table"):
        Verdict.from_json({"training": 1.0})
    with pytest.raises(ValueError, match=r"table: expected what Table.to_json writes"):
        Verdict.from_json({"training": 1.0, "table": {"rows": [{"name": "x"}]}})
    with pytest.raises(ValueError, match=r"loads: expected a whole number >= 1"):
        verdict(MODEL, EXACT).payments(0)
