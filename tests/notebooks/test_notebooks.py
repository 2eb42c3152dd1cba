"""Two demos as notebooks, run by a kernel: what stands in a cell's last line shows itself."""

import ast
import os
import textwrap

import pytest

from tests.conftest import ROOT

nbclient = pytest.importorskip("nbclient", reason="notebooks are run by nbclient: pip install 'skfem-ml[test]'")
nbformat = pytest.importorskip("nbformat")

HEAT = 'compute(steps=36, methods=("lm",))'  # seconds in place of minutes
FINE = "from skfem_ml import FEFunction\nFEFunction(result.lod.fine, result.truth)"
# Demo -> (what its main guard is changed by, cells after it, the beginning of what each shows).
SHOWN = {
    "one_line": (
        {},
        {
            "result.lod": "<table><caption>LOD</caption>",
            "result.lod.system(diffusion, a=result.a)": "<table><caption>System</caption><tr><th>form",
            FINE: "<figure><figcaption>FEFunction(",
        },
    ),
    "heat_pinn": (
        {"compute()": HEAT},
        {
            "result.table": "<table>\n<tr><th></th>",
            "result.table.solutions['PINN lm'].record.history[-1]": "<figure><figcaption>History(",
            "result.table.solutions['PINN lm']": "<figure><figcaption>LearnedSolution(u(x, t), ",
            "result.table.solutions['FEM P1 + CN']": "<p>Evolution(",
        },
    ),
}


def notebook(source, changed):
    """A script as a notebook: its docstring as text, what it defines, and what its main guard runs."""
    *defined, guard = ast.parse(source).body
    assert ast.unparse(guard).startswith("if __name__ == '__main__'")
    lines, end = source.splitlines(keepends=True), defined[0].end_lineno
    main = textwrap.dedent("".join(lines[guard.body[0].lineno - 1 :]))
    for old, new in changed.items():
        assert old in main
        main = main.replace(old, new)
    cells = [nbformat.v4.new_markdown_cell(ast.get_docstring(ast.parse(source)))]
    cells += [nbformat.v4.new_code_cell(text) for text in ("".join(lines[end : guard.lineno - 1]), main)]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_a_demo_runs_as_a_notebook(name, tmp_path):
    changed, asked = SHOWN[name]
    book = notebook((ROOT / "demos" / f"{name}.py").read_text(encoding="utf-8"), changed)
    book.cells += [nbformat.v4.new_code_cell(text) for text in asked]
    client = nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"})
    nbformat.validate(book)
    assert (tmp_path / f"{name}.png").stat().st_size > 500 and book.cells[2].outputs[0].output_type == "stream"
    for cell, beginning in zip(book.cells[3:], asked.values(), strict=True):
        (output,) = [output for output in cell.outputs if output.output_type == "execute_result"]
        assert output.data["text/html"].startswith(beginning) and "text/plain" in output.data
