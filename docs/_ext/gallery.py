"""The demos in sphinx-gallery: which are executed, where they are staged, and the pictures that they write.

sphinx-gallery runs a script in its own folder, and demos write their pictures into the current one: so they are run as
copies in ``docs/_demos/SECTION``, and nothing is left in ``demos/``. A demo that is not executed shows the picture that
``demos/gallery.py`` made and ``docs/pictures`` holds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
DEMOS, STAGE, TARGET, PICTURES = DOCS.parent / "demos", DOCS / "_demos", DOCS / "gallery", DOCS / "pictures"
SECTIONS = {
    "lod": (
        "Multiscale finite elements",
        "one_line convergence high_contrast many_uses heat_on_lod l_shape spe10 hex_3d recover_coefficient",
    ),
    "surrogate": ("Networks in the place of the form", "certified other_meshes own_family uncertainty inverse"),
    "learners": (
        "Learners beside differences and elements",
        "heat_pinn kovasznay burgers convection_diffusion own_weak_form inverse_conductivity high_dimension "
        "eigen_networks",
    ),
    "operators": (
        "Operators as H²-matrices and networks",
        "h2_operator h2_finite_elements coefficient_to_solution rte_network",
    ),
    "time": ("Time-stepping", "van_der_pol allen_cahn sequences"),
}
# Those of the least CPU seconds in docs/pictures/demos.json, 140 in all; -t gallery executes all.
FAST = "one_line convergence many_uses l_shape spe10 hex_3d convection_diffusion h2_operator van_der_pol"
TITLE = """Gallery
=======

Every demo is one script: the mathematics, a computation, its numbers, a picture. Download it as a script or a notebook
from its page, or run it in a clone: ``python demos/one_line.py``. Those that import another demo need the clone.

"""
MARK = ".. GENERATED FROM PYTHON SOURCE LINES"
FIRST_CELL = "import time\n\nstarted = time.time()  # the last cell shows the pictures written since"
LAST_CELL = """from pathlib import Path

from IPython.display import Image, display

for picture in sorted(Path().glob("*.png")):
    if picture.stat().st_mtime >= started:
        display(Image(str(picture)))"""


def section_of() -> dict[str, str]:
    """The section that each demo stands in."""
    return {name: section for section, (_, names) in SECTIONS.items() for name in names.split()}


def fast() -> list[str]:
    """The demos that every build executes."""
    return FAST.split()


def stage(everything: bool) -> None:
    """Copy the demos where they are executed, and the pictures of those that are not where their pages look."""
    shutil.rmtree(STAGE, ignore_errors=True)
    for section, (title, names) in SECTIONS.items():
        (STAGE / section).mkdir(parents=True)
        (STAGE / section / "GALLERY_HEADER.rst").write_text(f"{title}\n{'-' * len(title)}\n\n", encoding="utf-8")
        for name in names.split():
            shutil.copy(DEMOS / f"{name}.py", STAGE / section)
            if not everything and name not in fast() and (PICTURES / f"{name}.png").exists():
                (TARGET / section / "images").mkdir(parents=True, exist_ok=True)
                shutil.copy(PICTURES / f"{name}.png", TARGET / section / "images" / f"sphx_glr_{name}_001.png")
    (STAGE / "GALLERY_HEADER.rst").write_text(TITLE, encoding="utf-8")


def configuration(everything: bool) -> dict[str, object]:
    """The configuration of sphinx-gallery, and the demos staged."""
    stage(everything)
    return {
        "examples_dirs": ["_demos"],
        "gallery_dirs": ["gallery"],
        "subsection_order": [f"_demos/{section}" for section in SECTIONS],
        "within_subsection_order": "gallery.place",
        "nested_sections": False,
        "filename_pattern": "" if everything else rf"/({'|'.join(fast())})\.py$",
        "image_scrapers": ("gallery.written",),
        "capture_repr": (),
        "abort_on_example_error": True,
        "remove_config_comments": True,
        "download_all_examples": False,
        "show_memory": False,
        "show_signature": False,
        "write_computation_times": False,
        "min_reported_time": 0,
        "parallel": 2 if everything else False,
        "first_notebook_cell": FIRST_CELL,
        "last_notebook_cell": LAST_CELL,
        "matplotlib_animations": False,
    }


def place(file: str) -> int:
    """Where a demo stands among those of its section."""
    return [name for _, names in SECTIONS.values() for name in names.split()].index(Path(file).stem)


def written(block: tuple, variables: dict, configured: dict) -> str:
    """What sphinx-gallery calls after a script: take the pictures of its name, and say it in reST."""
    from sphinx_gallery.scrapers import figure_rst

    places: Iterator[str] = variables["image_path_iterator"]
    paths = []
    script = Path(variables["src_file"])  # another one may be running in this folder
    for picture in sorted(script.parent.glob(f"{script.stem}.[pg][ni][gf]")):
        paths.append(str(Path(next(places)).with_suffix(picture.suffix)))
        shutil.move(picture, paths[-1])
    return figure_rst(paths, configured["src_dir"])


def records() -> dict[str, dict[str, object]]:
    """What ``demos/gallery.py`` wrote of each demo when it drew its picture: number, seconds, seed, date."""
    path = PICTURES / "demos.json"
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return {entry["name"]: entry for entry in entries}


def show(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the stored number and seconds on the page of a demo, and the stored picture where it is not executed."""
    if page == "gallery/index":
        source[0] += "\n".join(table(records()))
        return
    section, _, name = page.removeprefix("gallery/").partition("/")
    if not page.startswith("gallery/") or section_of().get(name) != section:
        return
    told = []
    if not app.tags.has("gallery") and name not in fast():
        image = f"/gallery/{section}/images/sphx_glr_{name}_001.png"
        if (DOCS / image[1:]).exists():
            told += [f".. image:: {image}", "   :alt: what the demo draws", ""]
        told += ["Not executed in this build; the picture is that of the run that is stored.", ""]
    if entry := records().get(name):
        told += [f"**{entry['number']}** ({entry['seconds']} CPU s, {entry['date']})", ""]
    head, mark, rest = source[0].partition(MARK)
    text, mark2, code = rest.partition(MARK)
    source[0] = head + mark + text + "\n".join(["", *told, ""]) + mark2 + code if mark2 else source[0]


def table(entries: dict[str, dict[str, object]]) -> list[str]:
    """All demos with their numbers and seconds."""
    lines = ["", "Numbers", "-------", "", ".. list-table::", "   :header-rows: 1", ""]
    lines += ["   * - demo", "     - what it prints", "     - CPU s"]
    for name, section in section_of().items():
        if entry := entries.get(name):
            lines += [f"   * - :doc:`{section}/{name}`", f"     - {entry['number']}", f"     - {entry['seconds']}"]
    return [*lines, ""] if entries else []


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", show)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
