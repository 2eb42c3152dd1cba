"""The benchmark of SLOD, on coarse meshes of 8 x 8 elements."""

from demos.benchmarks import slod as benchmark


def test_every_load_is_seen_and_slod_is_closer_than_lod():
    told, system = benchmark.accuracy(8, 2, "multilevel, 5", 0)
    for name in benchmark.F:
        assert max(told[f"SLOD, {name}"]) < 2e-3 and max(told[f"collocation, {name}"]) < 2e-3
        assert told[f"SLOD, {name}"][1] < told[f"LOD, {name}"][1]
    assert system.condition < 100


def test_a_table_has_the_titles_of_its_rows(capsys):
    lines = benchmark.table("Costs", [{"ell": 2, "s": "1.0"}, {"ell": 3, "s": "2.0"}])
    assert lines == ["## Costs", "", "| ell | s |", "|---:|---:|", "| 2 | 1.0 |", "| 3 | 2.0 |", ""]
    assert "| 3 | 2.0 |" in capsys.readouterr().out
