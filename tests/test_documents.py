"""What the pages say is run: Python blocks from an empty folder, commands from a clean clone, demos as files.

Nothing of this repository is on the path: the package is built, installed and used from there (see ``stranger``).
"""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

PAGES = ("README.md", "demos/README.md", "docs/beyond_one_machine.md", "docs/your_own_problem.md")
PAGES += ("docs/getting_started.md", "docs/which_method.md", "docs/papers.md")
PAGES += tuple(
    f"docs/{folder}/{path.name}"
    for folder in ("how_to", "methods")
    for path in sorted((ROOT / "docs" / folder).glob("*.md"))
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Blocks of Python run as they are, but for these: trainings of minutes, cut to seconds.
SHORTER = {"steps=5000": "steps=50", "steps=110": "steps=4", "steps=60": "steps=4", "320,": "80,"}
SHORTER |= {
    "refined(3), refine=8, ell=2)  # 8 x 8": "refined(2), refine=8, ell=1)  # 4 x 4",
    'budget="20min")': 'kind="elements", recipe=Recipe(2, fields=2, held=1, doubt=1, test=1, verdict=1, affine=2, '
    "refit=2))",
}
SHORTER |= {"Recipe(300)": "Recipe(5)", "20_000": "300", "1_333": "40", "6_667": "40"}
STARTED = "is started up to its main guard: it takes minutes to hours"
HELPED = "is asked for its help: it takes minutes"
SETUP = "is one of the two commands that .ci/run reads from the page and runs"
# Commands run as they are written, but for these: (what is run in their place, what that is).
INSTEAD = {
    'pip install -e ".[docs]"': ("python -m pip --version", "installs for minutes; .ci/run does it"),
    "python -m sphinx -W docs skfem_ml_output/site": ("python -c pass", "takes minutes; .ci/run does it"),
    "skfem-ml view skfem_ml_output/diffusion.vtu": ("skfem-ml view --help", "is asked for its help: there is no file"),
    "python -m demos.benchmarks.lod": ("python -m demos.benchmarks.lod --help", HELPED),
    "python -m demos.benchmarks.lod --shared": ("python -m demos.benchmarks.lod --help", HELPED),
    "python -m demos.own_family": ('python -c "import demos.own_family"', STARTED),
    "skfem-ml train surrogate FIELDS --budget 20min": ("skfem-ml train surrogate --help", HELPED),
    "skfem-ml train fmmnet DATA.npz": ("skfem-ml train fmmnet --help", HELPED),
    "skfem-ml predict MODEL DATA.npz": ("skfem-ml predict --help", "is asked for its help: there is no model yet"),
    "skfem-ml compare diffusion FIELD": (
        "skfem-ml compare diffusion FIELD --ell 1 --below 1",
        "leaves out the slow rows",
    ),
    "skfem-ml compare diffusion FIELD --loads 100": (
        "skfem-ml compare diffusion FIELD --loads 100 --ell 1 --below 1",
        "leaves out the slow rows",
    ),
    **{
        f"python -m demos.benchmarks.{name}": (f'python -c "import demos.benchmarks.{name}"', STARTED)
        for name in (
            *(
                "allen_cahn",
                "eigen",
                "flows",
                "fmm",
                "fmm_rows",
                "fmm_tables",
                "interiors",
                "multigrid",
                "pinn",
                "rte",
                "sequences",
                "slod",
            ),
            *(
                "surrogate",
                "work_precision",
                "super_elements",
                "own_family",
                "coverage",
                "blocks",
                "scaling",
                "uncertainty",
                "deepxde_rows",
            ),
        )
    },
    **{
        f"skfem-ml {name}": (f"skfem-ml {name} --help", HELPED)
        for name in (
            "compare heat",
            "compare eigen",
            "compare flows",
            "compare rte",
            "compare custom-operator",
            "compare sequences",
            "train hits",
            "train fmmnet",
            "train surrogate",
        )
    },
    "python demos/gallery.py": ('python -c "import demos.gallery"', "draws all; one is drawn by the next"),
    "python demos/gallery.py --docs": ('python -c "import demos.gallery"', "draws all; one is drawn by the next"),
    "python demos/gallery.py [FOLDER]": ("python demos/gallery.py pictures one_line", "draws one in place of all"),
}
WRITTEN = {
    "skfem-ml compare diffusion": [f"skfem_ml_output/diffusion.{end}" for end in ("png", "vtu", "csv", "md", "json")],
    "python demos/gallery.py [FOLDER]": ["pictures/one_line.png"],
    "python demos/one_line.py": ["one_line.png"],
    "skfem-ml solve ROCK.png --low 1 --high 100 --scale log": [
        "skfem_ml_output/solve_lod.png",
        "skfem_ml_output/solve_lod.vtu",
    ],
}
PLACEHOLDERS = {
    "FIELD": "skfem_ml/fields/inclusions.npy",
    "PERMX.csv": "permx.csv",
    "ROCK.png": "rock.png",
    "PLATE.msh": "tests/data/gmsh41.msh",
}


def blocks(text: str, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of a language: (line of the page that the block starts in, text)."""
    return [(text[: m.start(2)].count("\n") + 1, m[2]) for m in FENCE.finditer(text) if m[1] == language]


def commands(text: str) -> list[str]:
    """Every command of a page: lines of ``sh`` blocks, spans of code, and comments that name what wrote a table."""
    lines = [line.strip() for _, block in blocks(text, "sh") for line in block.splitlines()]
    prose = FENCE.sub("", text)
    spans = [m[2] for m in re.finditer(r"(`+)(.+?)\1", prose, re.DOTALL)] + re.findall(r"<!-- (.+?) -->", prose)
    found = [" ".join(span.split()) for span in lines + spans]
    return [line for line in dict.fromkeys(found) if re.match(r"(python3?|pip|\S+/pip|skfem-ml) \S", line)]


FOUND = [(page, command) for page in PAGES for command in commands((ROOT / page).read_text(encoding="utf-8"))]
WITH_PYTHON = [page for page in PAGES if blocks((ROOT / page).read_text(encoding="utf-8"), "python")]
# What takes longer than ten seconds.
SLOW = {
    "skfem-ml solve --workers 2",
    "skfem-ml compare diffusion",
    "skfem-ml compare diffusion FIELD",
    "skfem-ml compare diffusion FIELD --loads 100",
    "python demos/gallery.py [FOLDER]",
    "python demos/one_line.py",
}
COMMANDS = [
    pytest.param(page, command, marks=[pytest.mark.slow] * (command in SLOW), id=f"{page}-{command}".replace(" ", "_"))
    for page, command in FOUND
]
RUNNER = """
import json, sys
page, parts = json.load(open(sys.argv[1], encoding="utf-8"))
names = {"__name__": "__main__"}
for line, block in parts:
    exec(compile("\\n" * (line - 1) + block, page, "exec"), names)
    print("ran", line, flush=True)
"""


def test_the_pages_are_read():
    assert WITH_PYTHON and {("README.md", f"skfem-ml {name}") for name in ("compare diffusion", "doctor")} <= set(FOUND)
    assert ("README.md", "python -m demos.benchmarks.lod") in FOUND
    assert not SLOW.difference(command for _, command in FOUND)
    assert any("one_line" in command for _, command in FOUND)


def test_a_page_is_taken_apart():
    text = "Say `skfem-ml compare\ndiffusion`, not `skfem-ml`.\n\n```sh\npython3 -m x && y\n```\n<!-- python -m z -->\n"
    text += "```python\na = `1`\n```\n"
    assert commands(text) == ["python3 -m x && y", "skfem-ml compare diffusion", "python -m z"]
    assert blocks(text, "python") == [(9, "a = `1`\n")]


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_blocks_run(page, stranger, tmp_path):
    """Finding B1: every block is complete, or continues those before it on its page; from an empty folder."""
    parts = []
    for line, block in blocks((ROOT / page).read_text(encoding="utf-8"), "python"):
        for long, short in SHORTER.items():
            block = block.replace(long, short)
        parts.append((line, block))
    (tmp_path / "empty").mkdir()
    (tmp_path / "blocks.json").write_text(json.dumps([page, parts]), encoding="utf-8")
    done = stranger([sys.executable, "-c", RUNNER, str(tmp_path / "blocks.json")], tmp_path / "empty")
    assert done.returncode == 0, f"{page}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    assert done.stdout.count("ran ") >= len(parts)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_run(page, command, clone, stranger, tmp_path):
    """Findings B1, B2: every command of the pages, in the root of a clone; what is not run as written, INSTEAD says."""
    if " -m venv " in command:
        script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        assert "grep -E '^python3 -m venv' README.md" in script, f"{command} {SETUP}"
        return
    line, _ = INSTEAD.get(command, (command, "runs as it is written"))
    np.savetxt(clone / PLACEHOLDERS["PERMX.csv"], np.full((20, 100), 3.0), delimiter=",")
    Image.fromarray(np.tile(np.uint8([0, 255]), (64, 32))).save(clone / PLACEHOLDERS["ROCK.png"])
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line)]
    assert not any(word.startswith("[") for word in words), f"{command}: say in INSTEAD what to run"
    if words[0] == "python":
        words[0] = sys.executable
    for file in WRITTEN.get(command, ()):
        (clone / file).unlink(missing_ok=True)
    done = stranger(words, clone)
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    for file in WRITTEN.get(command, ()):
        assert (clone / file).stat().st_size > 500


DEMOS = sorted(path.name for path in (ROOT / "demos").glob("*.py") if path.name != "__init__.py")


def test_every_demo_starts_as_a_file_and_as_a_module(clone, stranger, tmp_path):
    """Finding B2: ``python demos/x.py`` from any folder and ``python -m demos.x`` in the clone, up to the main guard.

    One process runs them one after the other; what a demo adds to the path or imports of its siblings is taken back.
    """
    code = """
import runpy, sys
from pathlib import Path
clone, names = Path(sys.argv[1]), sys.argv[2:]
path = [entry for entry in sys.path if entry not in ("", str(clone))]
for name in names:
    for entry, start in (
        (str(clone / "demos"), lambda: runpy.run_path(str(clone / "demos" / name))),
        (str(clone), lambda: runpy.run_module("demos." + name.removesuffix(".py"))),
    ):
        sys.path[:] = [entry, *path]
        for loaded in [module for module in sys.modules if module.partition(".")[0] == "demos"]:
            del sys.modules[loaded]
        assert name == "gallery.py" or "visualize" in start(), name
        print("started", name, flush=True)
"""
    done = stranger([sys.executable, "-c", code, str(clone), *DEMOS], tmp_path)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    assert done.stdout.count("started") == 2 * len(DEMOS)


@pytest.mark.slow
def test_the_gallery_draws_a_demo_that_needs_another(clone, stranger, tmp_path):
    """Finding B2: ``python demos/gallery.py`` died at the first demo that imports another."""
    script = "import sys; sys.argv = ['demos/inverse.py']; import runpy\n"
    script += f"sys.path[0] = {str(clone / 'demos')!r}\n"
    script += f"demo = runpy.run_path({str(clone / 'demos' / 'inverse.py')!r})\n"
    script += "print(demo['compute'](level=3, loads=1, iterations=1).error('prior'))"
    done = stranger([sys.executable, "-c", script], tmp_path)
    assert done.returncode == 0 and float(done.stdout) == 1.0, done.stderr[-3000:]
    done = stranger([sys.executable, str(clone / "demos" / "gallery.py"), "drawn", "hex_3d", "other"], tmp_path)
    assert done.returncode == 1 and "got other" in done.stderr and not (tmp_path / "drawn").exists()


def test_the_package_is_the_installed_one(stranger, installed, tmp_path):
    done = stranger([sys.executable, "-c", "import skfem_ml; print(skfem_ml.__file__)"], tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(installed), done.stderr
    done = stranger([sys.executable, "-c", "import demos"], tmp_path)
    assert done.returncode == 1 and "No module named 'demos'" in done.stderr
