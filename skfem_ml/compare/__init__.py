"""``compare(problem, {"name": solver, ...}) -> Table``: solvers side by side on one problem."""

from skfem_ml.compare.advice import advice
from skfem_ml.compare.clock import Clock, best_of, clocked, machine
from skfem_ml.compare.iterations import Iterated, iterated
from skfem_ml.compare.loads import compare_loads
from skfem_ml.compare.measures import measure_of
from skfem_ml.compare.run import compare
from skfem_ml.compare.seeds import (
    by_method,
    median_and_worst,
    median_rows,
    seeded,
    seeds_lines,
    sentence,
    worst_of_seeds,
)
from skfem_ml.compare.table import Row, Table
from skfem_ml.compare.verdict import Payment, Verdict

__all__ = [
    "Clock", "Iterated", "Payment", "Row", "Table", "Verdict", "advice", "best_of", "by_method", "clocked", "compare",
    "compare_loads", "iterated", "machine", "measure_of", "median_and_worst", "median_rows", "seeded", "seeds_lines",
    "sentence", "worst_of_seeds",
]  # fmt: skip
