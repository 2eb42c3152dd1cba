"""What objects show of themselves in a notebook: right numbers, every text escaped, nothing computed for it."""

import base64
import re
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from skfem import Basis, BilinearForm, ElementQuad1, ElementTriP2, ElementVector, MeshHex, MeshLine, MeshQuad, MeshTri
from skfem.helpers import dot, grad

from skfem_ml import LOD, Eigenpairs, History, displays
from skfem_ml.compare import Row, Table
from skfem_ml.pinn import solver_elm
from skfem_ml.problems import heat_box
from skfem_ml.reference import solver_fem
from skfem_ml.solutions import Evolution, FEFunction

NAME = "<script>alert('x & \"y\"')</script>"


def parsed(html):
    """The elements; a parser of XML refuses what is not closed or escaped."""
    closed = re.sub(r"<(img|br)([^>]*)>", r"<\1\2/>", html)
    return ElementTree.fromstring(f"<div>{closed}</div>")


def pixels(html):
    return np.asarray(Image.open(BytesIO(base64.b64decode(re.search(r"base64,([^']+)", html)[1]))))


def texts(html):
    return " ".join("".join(parsed(html).itertext()).split())


def test_what_a_file_or_a_user_calls_things_is_text():
    table = Table((Row(NAME, {"error L2": 0.5}, failure=NAME, group=NAME),), notes=(NAME,), headings=("error L2",))
    shown = [displays.table(NAME, {NAME: NAME}), displays.curve(NAME, [0, 1], [1, 2]), displays.picture(NAME, [[1.0]])]
    shown += [displays.curve(NAME, [], []), table._repr_html_(), History(message=NAME)._repr_html_()]
    for html in shown:
        assert "<script" not in html and "&lt;script&gt;" in html
        assert texts(html).count(NAME) == html.count("&lt;script") - html.count("='&lt;script")


def test_a_history_is_a_curve():
    losses = [100.0, 10.0, float("nan"), 1.0]
    html = History([1, 2, 3, 4], losses, [0.0] * 4, best=1.0, best_step=4)._repr_html_()
    line = next(element for element in parsed(html).iter() if element.tag.endswith("polyline"))
    points = np.array([point.split(",") for point in line.attrib["points"].split()], dtype=float)
    assert points[:, 1].tolist() == [0, displays.HEIGHT / 2, displays.HEIGHT]  # logarithmic, and down
    assert points[:, 0].tolist() == [0, displays.WIDTH / 3, displays.WIDTH]
    assert "1 to 100, logarithmic, over 1 to 4" in html and "best 1.000e+00 at step 4" in html
    assert "logarithmic" not in displays.curve("", [0, 1], [1, 2]) + displays.curve("", [0, 1], [-1, 99])


def test_an_lod_and_a_system_tell_what_was_built_and_compute_nothing():
    form = BilinearForm(lambda u, v, w: w.kappa * dot(grad(u), grad(v)))
    lod = LOD(MeshQuad().refined(3), refine=4, ell=2, interiors=16)
    system = lod.system(form, kappa=np.linspace(1, 2, 1024))
    told, more = (texts(one._repr_html_()) for one in (lod, system))
    for text in ("64 quads, 49 of 81 nodes free", "1024 quads, 4 along a coarse edge", "ell = 2, up to 5 coarse cells"):
        assert text in told and text in more
    assert "kappa in [1, 2]" in more and "<lambda>" in more and "&lt;lambda&gt;" in system._repr_html_()
    assert "interiors" in told and repr(lod.space.interiors) in told
    assert not {"fine", "_local"} & ({*lod.__dict__} | {*system.__dict__})
    parts = LOD(MeshHex().refined(1), refine=2, ell=1, dirichlet=lambda x: x[0] == 0)._repr_html_()
    assert "8 hexes, 18 of 27 nodes free" in parts and "64 hexes" in parts


@pytest.mark.parametrize("mesh", [MeshQuad(), MeshTri()])
def test_a_solution_is_a_picture(mesh):
    """On (0, 2) x (0, 1) with the right half cut off above: transparent there, darkest where u is least."""
    mesh = mesh.refined(3).morphed(lambda x: 2 * x[0], lambda x: x[1])
    middles = mesh.p[:, mesh.t].mean(axis=1)
    mesh = mesh.restrict(np.nonzero((middles[0] < 1) | (middles[1] < 0.5))[0])
    basis = Basis(mesh, mesh.elem())
    html = FEFunction(basis, basis.doflocs[0] + 10)._repr_html_()
    image = pixels(html)
    assert image.shape == (displays.PIXELS // 2, displays.PIXELS, 4)
    assert not image[:39, 81:, 3].any() and image[41:, :, 3].all() and image[:, :79, 3].all()
    assert (np.diff(image[-1, :, 1].astype(int)) >= 0).all()  # green grows in viridis
    assert "10.01 (dark) to 11.99 (bright)" in html


def test_other_solutions():
    line = Basis(MeshLine().refined(3), MeshLine.elem())
    assert "0 to 1, over 0 to 1" in FEFunction(line, line.doflocs[0])._repr_html_()
    cube = Basis(MeshHex().refined(1), MeshHex.elem())
    section = FEFunction(cube, cube.doflocs[2])._repr_html_()
    assert "0.5 (dark) to 0.5 (bright)" in section
    vector = Basis(MeshQuad(), ElementVector(ElementQuad1()))
    assert FEFunction(vector, vector.zeros())._repr_html_() is None
    quadratic = Basis(MeshTri(), ElementTriP2())
    assert "base64" in FEFunction(quadratic, quadratic.doflocs[0])._repr_html_()
    assert "Eigenpairs(2 values" in (html := Eigenpairs(np.array([4.0, 1.0]))._repr_html_())
    assert re.findall(r"<td>(.*?)</td>", html) == ["1", "4"]


def test_solutions_in_time():
    heat = heat_box()
    last = solver_fem(MeshLine().refined(4), MeshLine.elem(), scheme="cn", steps=4)(heat)._repr_html_()
    assert last.startswith("<p>Evolution(5 slices") and "<polyline" in last
    learned = solver_elm(50, points=10, times=10)(heat)._repr_html_()
    assert "LearnedSolution" in learned and max(pixels(learned).shape) == displays.PIXELS
    plain = Evolution(lambda y: lambda x: y[0] * x[0], np.linspace(0, 1, 5), np.ones((5, 1)))
    assert plain._repr_html_() is None
