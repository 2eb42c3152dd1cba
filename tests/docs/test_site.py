"""What the site says of the package is complete: names, pages, demos. Building it is for .ci/run."""

import importlib
import re
import sys
import zlib

import pytest

from tests.conftest import ROOT

DOCS = ROOT / "docs"
sys.path.append(str(DOCS / "_ext"))

api = importlib.import_module("api")
gallery = importlib.import_module("gallery")
links = importlib.import_module("links")
measured = importlib.import_module("measured")

PAGES = [path for path in DOCS.rglob("*.md") if not {"api", "gallery", "measured"} & set(path.relative_to(DOCS).parts)]
GENERATED = {"gallery/index", "api/index", "measured/index"}


def toctrees(text: str) -> list[str]:
    """The entries of all tables of contents of a page."""
    found = re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in found for line in block.splitlines() if line.strip() and line[0] != ":"]


def test_every_public_name_has_a_place():
    """Every name of every room, and of the package, is documented on one page, and listed in each of its rooms."""
    documented = api.homes()
    assert len(documented) > 300
    for room in ["skfem_ml", *api.rooms()]:
        text = api.page(room, documented)
        for name in api.public(room):
            place = documented[id(getattr(importlib.import_module(room), name))]
            own = f"   {name}\n" in text if place == f"{room}.{name}" else f"`~{place}`" in text
            assert own, f"{room}.{name}"


def test_every_room_is_listed_and_nothing_twice():
    front = api.page("skfem_ml", api.homes())
    assert all(f"<{room}>" in front for room in api.rooms())
    assert len(set(api.homes().values())) == len(api.homes())


def test_every_page_is_in_one_table_of_contents():
    listed = []
    for page in PAGES:
        for entry in toctrees(page.read_text(encoding="utf-8")):
            target = (page.parent / entry).resolve()
            listed.append(target)
            generated = target.relative_to(DOCS).as_posix() in GENERATED
            assert generated or target.with_suffix(".md").exists(), f"{page.name}: {entry}"
    wanted = {page.with_suffix("") for page in PAGES} - {DOCS / "index"}
    assert wanted <= set(listed), wanted - set(listed)
    assert len(listed) == len(set(listed))


def test_every_benchmark_has_a_page():
    assert {path.stem for path in (ROOT / "demos" / "benchmarks").glob("*.md")} == set(measured.names())


def test_every_demo_has_a_section_and_a_picture():
    demos = {path.stem for path in (ROOT / "demos").glob("*.py")} - {"__init__", "gallery"}
    assert set(gallery.section_of()) == demos
    assert set(gallery.fast()) <= demos
    pictures = {path.stem for path in (DOCS / "pictures").glob("*.png")}
    if missing := sorted(demos - set(gallery.fast()) - pictures):
        pytest.xfail(f"no picture yet of {', '.join(missing)}: run demos/gallery.py for them")


def test_the_gallery_takes_pictures_away_from_where_a_demo_wrote_them(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "demo.png").write_bytes(b"a picture")
    variables = {
        "src_file": str(tmp_path / "demo.py"),
        "image_path_iterator": iter([str(tmp_path / "images" / "demo_001.png")]),
    }
    pytest.importorskip("sphinx_gallery")
    text = gallery.written((), variables, {"src_dir": str(tmp_path)})
    assert "demo_001.png" in text and not (tmp_path / "demo.png").exists()
    assert (tmp_path / "images" / "demo_001.png").read_bytes() == b"a picture"


def test_broken_links_are_found(tmp_path):
    (tmp_path / "index.html").write_text('<a href="b.html#here"></a><img src="x.png"><a href="https://a.b/c"></a>')
    (tmp_path / "b.html").write_text('<p id="there"></p><a href="#there"></a><a href="index.html"></a>')
    assert links.broken(tmp_path) == [
        "index.html: b.html#here: no such place on that page",
        "index.html: x.png: no such file",
    ]


def test_the_first_sentence_is_whole():
    assert api.first_sentence(["The map ``x . y``. More."], None) == "The map ``x . y``."
    assert api.first_sentence(["One sentence", "on two lines", "", "More."], None) == "One sentence on two lines"


def test_columns_of_a_docstring_become_a_list():
    lines = ["Rooms.", "", "``a``     what", "``long``  what", "          goes on", "", "``Text`` in prose."]
    expected = ["Rooms.", "", "", "- ``a``: what", "- ``long``: what", "  goes on", ""]
    assert api.listed(lines)[:7] == expected


def test_the_stored_inventory_has_what_annotations_name():
    """Cross links to scikit-fem: made by docs/_ext/inventory.py, from the version that is installed."""
    inventory = importlib.import_module("inventory")
    names = inventory.entries()
    wanted = {"skfem.Basis", "skfem.assembly.basis.cell_basis.CellBasis", "skfem.mesh.mesh_quad_1.MeshQuad1"}
    assert wanted <= set(names)
    stored = inventory.FILE.read_bytes()
    lines = zlib.decompress(stored[stored.index(b"zlib.\n") + 6 :]).decode().splitlines()
    assert {line.split()[0] for line in lines} == set(names)


def numbers(text: str) -> set[str]:
    """Figures in scientific notation, in one spelling."""
    return {f"{float(found):.1e}" for found in re.findall(r"\d\.?\d*e[-−]\d+", text.replace("−", "-"))}


@pytest.mark.parametrize(
    "page", sorted((DOCS / "methods").glob("*.md")) + [DOCS / "which_method.md"], ids=lambda p: p.stem
)
def test_figures_stand_on_a_page_that_a_script_wrote(page):
    """Every error on the pages of methods is one of a benchmark's page, of the demos' table or of a demo."""
    sources = [*(ROOT / "demos").glob("*.md"), *(ROOT / "demos").glob("*.py"), ROOT / "README.md"]
    sources += (ROOT / "demos" / "benchmarks").glob("*.md")
    known = set().union(*(numbers(path.read_text(encoding="utf-8")) for path in sources))
    lost = {figure for figure in numbers(page.read_text(encoding="utf-8")) if figure not in known}
    assert not lost, lost
