"""``skfem-ml view``: what is packed comes back, what is not flat is told of, a browser shows what the file holds."""

import json
import re
from types import SimpleNamespace
from xml.sax.saxutils import escape

import meshio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skfem import MeshQuad, MeshTet, MeshTri

from skfem_ml.cli.view.packed import packed, quantised, unpacked
from skfem_ml.cli.view.page import LARGE, page
from skfem_ml.cli.view.scene import read_scene
from tests.cli import browser as room
from tests.cli.commands import refused, skfem_ml

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">'{{data}} &"


def linear(x):
    return x[0] + 2 * x[1]


def written(path, mesh, cells=None, **points):
    """A VTU with its points and cells in an order of its own."""
    rng = np.random.default_rng(0)
    new = rng.permutation(mesh.p.shape[1])
    places = np.zeros((len(new), 3))
    places[new, : len(mesh.p)] = mesh.p.T
    order = rng.permutation(mesh.t.shape[1])
    kind = {MeshQuad: "quad", MeshTri: "triangle", MeshTet: "tetra"}[type(mesh)]
    points = {escape(name, {'"': "&quot;"}): values for name, values in points.items()}  # which meshio does not
    held = {name: np.empty_like(np.asarray(values, dtype=float)) for name, values in points.items()}
    for name, values in points.items():
        held[name][new] = values
    data = {name: [np.asarray(values)[order]] for name, values in (cells or {}).items()}
    meshio.write(path, meshio.Mesh(places, [(kind, new[mesh.t.T][order])], point_data=held, cell_data=data))
    return path


@given(arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 2**16 - 1)))
@settings(deadline=None, max_examples=50)
def test_tables_come_back(numbers):
    for width in (2, 4):
        text = json.loads(json.dumps(packed(numbers, width)))
        assert np.array_equal(unpacked(text), numbers)


def test_smooth_fields_are_packed_as_differences():
    x = np.linspace(0, 1, 200)
    smooth, _ = quantised(np.sin(np.add.outer(x, x)), 2**16 - 1)
    assert packed(smooth, 2)["delta"] and len(str(packed(smooth, 2)["text"])) < smooth.size
    rough = np.random.default_rng(0).integers(0, 2**16, (50, 50))
    assert not packed(rough, 2)["delta"]


@pytest.mark.parametrize("values", [[-3.0, 0.0, 1.0], [1e-3, 1.0, 1e3], [2.0, 2.0], [-1.7e308, 1.7e308], [5e-324, 1.0]])
def test_values_are_exact_to_a_level(values):
    """Linear or, for contrast, logarithmic; nan and infinity are marked, never a number."""
    levels = 2**12 - 1
    table = np.array([[*values, np.nan, np.inf, -np.inf]])
    numbers, scale = quantised(table, levels)
    assert (numbers[0, -3:] == 0).all() and (numbers[0, :-3] >= 1).all() and numbers.max() <= levels
    part = (numbers[0, :-3] - 1) / (levels - 1)
    heights = np.log if scale["log"] else np.asarray
    low, high = heights(scale["low"]), heights(scale["high"])
    off = low * (1 - part) + high * part - heights(values)
    assert abs(off / 2).max() <= (high / 2 - low / 2) * 0.51 / (levels - 1)
    assert scale["log"] == (min(values) > 0 and max(values) >= 20 * min(values))


def test_a_field_without_a_finite_value_is_drawn():
    numbers, scale = quantised(np.full((2, 2), np.nan), 9)
    assert not numbers.any() and scale == {"low": 0.0, "high": 0.0, "log": False}


def test_a_grid_is_found_in_any_order(tmp_path):
    mesh = MeshQuad.init_tensor(np.array([0.0, 1.0, 3.0]), np.linspace(0, 1, 4))
    middles = mesh.p[:, mesh.t].mean(axis=1)
    path = written(tmp_path / "r.vtu", mesh, {"c": linear(middles)}, u=linear(mesh.p), v=np.stack([*mesh.p]).T)
    scene = read_scene(path)
    assert scene.cells == 6
    assert [line.tolist() for line in scene.grid] == [
        [0, 1, 3],
        pytest.approx([0, 1 / 3, 2 / 3, 1]),
    ]
    c, u, first, second = scene.fields
    x, y = np.meshgrid(*scene.grid)
    assert [f.name for f in scene.fields] == ["c", "u", "v[0]", "v[1]"] and (c.where, u.where) == ("cells", "points")
    assert np.allclose(u.values, x + 2 * y) and np.allclose(first.values, x) and np.allclose(second.values, y)
    assert np.allclose(c.values, np.add.outer([1 / 3, 1, 5 / 3], [0.5, 2.0]))


def test_a_part_of_a_grid_and_other_meshes(tmp_path):
    whole = MeshQuad().refined(3)
    shape = whole.restrict(np.nonzero((whole.p[:, whole.t].mean(axis=1) < 0.5).any(axis=0))[0])
    scene = read_scene(written(tmp_path / "l.vtu", shape, u=linear(shape.p)))
    assert np.isnan(scene.fields[0].values).sum() == 16 and scene.grid is not None
    tilted = whole.translated((0.0, 0.0)).morphed(lambda x: x[0] + 0.1 * x[1], lambda x: x[1])
    scene = read_scene(written(tmp_path / "t.vtu", tilted, u=linear(tilted.p)))
    assert scene.grid is None and scene.corners[0].shape == (4, 64) and scene.fields[0].values.shape == (1, 81)
    apart = meshio.Mesh(np.tile(whole.p[:, [0, 1, 2, 3]].T, (2, 1)) * 0.0, [("quad", [[0, 1, 2, 3]])])
    corners = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    two = np.concatenate([corners, corners + [1, 0]])  # the points of two cells that touch, twice there
    apart = meshio.Mesh(np.pad(two, ((0, 0), (0, 1))), [("quad", np.arange(8).reshape(2, 4))], {"u": np.arange(8.0)})
    apart.write(tmp_path / "a.vtu")
    scene = read_scene(tmp_path / "a.vtu")
    assert scene.grid is None and scene.fields[0].values.tolist() == [list(range(8))]


def test_what_cannot_be_drawn_is_told(tmp_path):
    tets, flat = MeshTet(), MeshTri().refined(1)
    assert "got tetra; a page shows flat meshes; PyVista" in refused(
        "view", written(tmp_path / "3.vtu", tets, u=tets.p[0])
    )
    assert "found none" in refused("view", written(tmp_path / "0.vtu", flat))
    bent = meshio.Mesh(np.vstack([flat.p, flat.p[0]]).T, [("triangle", flat.t.T)], point_data={"u": flat.p[0]})
    bent.write(tmp_path / "z.vtu")
    assert "expected points of one z, got z from 0 to 1" in refused("view", tmp_path / "z.vtu")
    assert "expected a result as .msh, .vtu" in refused("view", tmp_path / "z.png")
    assert "--html: expected a name that ends in .html" in refused(
        "view", tmp_path / "z.vtu", "--html", tmp_path / "x.vtu"
    )
    assert "found nothing there" in refused("view", tmp_path / "none.vtu")
    assert not list(tmp_path.glob("*.html"))


def test_names_of_a_file_are_text(tmp_path):
    """No name ends an element, no placeholder in one is filled, and the policy lets nothing else run."""
    mesh = MeshQuad().refined(1)
    path = written(tmp_path / "<b>&.vtu", mesh, u=mesh.p[0], **{HOSTILE: mesh.p[1]})
    text = page(read_scene(path))
    assert text.count("</script>") == 2 and "<img" not in text and "<title>&lt;b&gt;&amp;.vtu</title>" in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert [field["name"] for field in data["fields"]] == ["u", HOSTILE] and data["title"] == "<b>&.vtu"
    assert "default-src 'none'" in text and "unsafe" not in text and "http" not in text.replace("http-equiv", "")


def test_the_page_of_256_squared_is_small(tmp_path):
    """The fields of a comparison: rough coefficient, twelve solutions, and their errors."""
    line = np.linspace(0, 1, 257)
    x, y = np.meshgrid(line, line)
    fields = [np.sin((k + 1) * x * y) + 1e-3 * np.sin(90 * x + k) * np.sin(80 * y) for k in range(12)]
    errors = [field - fields[0] for field in fields[1:]]
    scene = SimpleNamespace(title="t", cells=2**16, grid=(line, line), points=np.empty((2, 0)), corners=())
    named = [(f"u_{k}", "points", field) for k, field in enumerate(fields)]
    named += [(f"error_{k}", "points", field) for k, field in enumerate(errors)]
    named += [("coefficient", "cells", np.exp(np.random.default_rng(0).normal(size=(256, 256))))]
    scene.fields = [SimpleNamespace(name=name, where=where, values=values) for name, where, values in named]
    assert len(page(scene)) <= LARGE


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if room.found() is None:
        pytest.skip(f"no browser here (looked for {', '.join(room.BROWSERS)}): apt-get install chromium")
    with room.Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def shown(browser):
    """What stands under the pictures."""
    return browser.tell("[...document.querySelectorAll('output')].map((output) => output.textContent)")


def ticks(browser, panel):
    return browser.tell(f"[...document.querySelectorAll('.ticks')[{panel}].children].map((tick) => tick.textContent)")


@pytest.fixture
def result(tmp_path):
    """The page of a file as ``compare`` writes it, on 8 x 8 cells."""
    mesh = MeshQuad().refined(3)
    middles = mesh.p[:, mesh.t].mean(axis=1)
    u, cells = linear(mesh.p), {"coefficient": np.where(middles[0] < 0.5, 1.0, 100.0), "score_toy": middles[1]}
    written(tmp_path / "r.vtu", mesh, cells, u_fine=u, u_low=u / 10, error_low=0.1 - u)
    made = skfem_ml("view", tmp_path / "r.vtu", "--json")
    told = json.loads(made.stdout)
    assert told["files"] == {"html": str(tmp_path / "r.html")} and told["cells"] == 64
    assert told["bytes"] == (tmp_path / "r.html").stat().st_size
    return tmp_path / "r.html"


def test_values_stand_under_the_pointer(browser, result):
    browser.open(result, 1400, fragment="#left=coefficient&right=u_fine&x=0.3&y=0.2")
    assert shown(browser) == ["coefficient at (0.3, 0.2): 1", "u_fine at (0.3, 0.2): 0.7"]
    where = browser.tell("(({x, y, width, height}) => [x, y, width, height])(document.querySelectorAll('canvas')[2]"
                         ".getBoundingClientRect())")  # fmt: skip
    x, y, width, height = where
    browser.mouse("mouseMoved", x + 0.75 * width, y + 0.25 * height)
    coefficient, u = shown(browser)
    assert coefficient.startswith("coefficient at (0.7") and coefficient.endswith(": 100")
    assert float(u.split(": ")[1]) == pytest.approx(2.25, abs=0.02)
    assert "right=u_fine" in browser.tell("location.hash")


def test_colours_and_numbers_of_the_bar(browser, result):
    """One scale for solutions, unless it is not wanted; a logarithmic one for contrast; zero amid errors."""
    browser.open(result, 1400, fragment="#left=u_low&right=error_low")
    assert ticks(browser, 0) == ["0", "1", "2", "3"]
    assert "0" in ticks(browser, 1) and ticks(browser, 1)[0].startswith("-")
    colour = "[...document.querySelectorAll('canvas')[0].getContext('2d').getImageData(5, 5, 1, 1).data]"
    before = browser.tell(colour)
    browser.tell("document.getElementById('same').click()")
    browser.settle()
    assert ticks(browser, 0) == ["0", "0.1", "0.2", "0.3"] and browser.tell(colour) != before
    assert "same=0" in browser.tell("location.hash")
    browser.open(result, 1400, fragment="#left=coefficient")
    assert ticks(browser, 0) == ["1", "3", "10", "30", "100"]
    browser.tell("document.getElementById('log').click()")
    browser.settle()
    assert ticks(browser, 0) == ["20", "40", "60", "80", "100"]


def test_the_page_is_used_by_keys(browser, result):
    browser.open(result, 1400, fragment="#left=coefficient&right=u_fine&x=0.3&y=0.2")
    browser.tell("document.querySelectorAll('canvas')[2].focus()")
    for _ in range(10):
        browser.key("ArrowRight")
    browser.key("ArrowUp", modifiers=8)
    assert shown(browser)[1] == "u_fine at (0.4, 0.3): 1"
    browser.key("+")
    window = "document.querySelectorAll('.window')[1].textContent"
    assert browser.tell(window) == "x from 0.08 to 0.88, y from 0.06 to 0.86" and shown(browser)[1].endswith(": 1")
    browser.key("0")
    assert browser.tell(window) == "x from 0 to 1, y from 0 to 1"
    browser.key("PageDown")
    assert shown(browser)[1] == "u_low at (0.4, 0.3): 0.1"


@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_overflows(browser, result, width):
    browser.open(result, width)
    browser.tell("document.querySelector('details').open = true")
    browser.settle()
    assert browser.tell("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    boxes = browser.tell("[...document.querySelectorAll('section')].map((part) => part.getBoundingClientRect().x)")
    assert (len(set(boxes)) == 1) == (width == 400)  # beside each other, or one below the other


@pytest.mark.parametrize("kind", [MeshTri, MeshQuad])
def test_other_meshes_are_drawn(browser, tmp_path, kind):
    mesh = kind().refined(3).morphed(lambda x: x[0] + 0.1 * np.sin(3 * x[1]), lambda x: x[1])
    written(
        tmp_path / "m.vtu", mesh, {"c": mesh.p[:, mesh.t].mean(axis=1)[1]}, u=linear(mesh.p), **{HOSTILE: mesh.p[1]}
    )
    assert skfem_ml("view", tmp_path / "m.vtu", "--html", tmp_path / "new" / "p.html").exit_code == 0
    browser.events.clear()
    browser.open(tmp_path / "new" / "p.html", 1000, fragment="#left=u&right=c&x=0.53&y=0.41")
    u, c = (float(text.split(": ")[1]) for text in shown(browser))
    assert u == pytest.approx(1.35, abs=1e-3) and abs(c - 0.41) < 0.125
    names = browser.tell("[...document.querySelectorAll('option')].map((option) => option.textContent)")
    assert HOSTILE in names or " ".join(HOSTILE.split()) in names
    assert browser.tell("document.title") == "m.vtu" and browser.tell("document.images.length") == 0
    happened = [event["method"] for event in browser.events]
    assert not {"Log.entryAdded", "Runtime.exceptionThrown"} & set(happened)
    asked = [
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert asked and all(url.startswith(("file:", "about:")) for url in asked)
