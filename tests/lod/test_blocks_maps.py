"""Local maps and interiors by blocks against the whole, and files that another process finds again."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from skfem import BilinearForm, MeshQuad
from skfem.helpers import dot, grad

from skfem_ml import Hybrid, Surrogate
from skfem_ml.lod import CLEMENT, LOD, NODAL, PROJECTION, Extrapolated, ExtrapolatedInteriors, GeometricMean, Known
from skfem_ml.lod.blocks import BlockSystem
from skfem_ml.lod.blocks.identity import identity
from skfem_ml.lod.blocks.task import UNIT
from skfem_ml.lod.mesh.interpolation import Interpolation
from skfem_ml.problems import diffusion
from tests.conftest import ROOT
from tests.gallery import reaction_diffusion
from tests.lod.test_blocks import on_cells, random_raster

pytestmark = pytest.mark.filterwarnings("ignore:a. :UserWarning")  # of fields outside the range of training
MAPS = {
    "extrapolated": lambda: Extrapolated(diffusion, (8, 16)),
    "super-elements": lambda: Surrogate.load("diffusion"),
    "super-elements, doubtful ones exact": lambda: Hybrid(Surrogate.load("diffusion"), diffusion, element_tol=0.05),
    "hybrid of extrapolated": lambda: Hybrid(Extrapolated(diffusion, (8, 16)), diffusion, element_tol=0.02),
    "network": lambda: Surrogate.load("diffusion-q1-ell2-n8"),
}


def matrices(local_map, lod, a, rows):
    """The matrix and the local matrices, in the order of the whole."""
    system = BlockSystem(lod, local_map, rows=rows, a=a)
    local = np.zeros((len(lod.patches.corners), *lod.patches.nodes.shape[1:], 4))
    for number in range(len(system)):
        task = system.task(number)
        local[task.window.elements[task.window.own]] = task.local()
    return system.matrix(), local


@pytest.mark.parametrize("name", MAPS)
def test_local_maps_by_blocks(name):
    """Bit for bit those of the whole; a network, asked for units of rows, the same for any block."""
    mesh = MeshQuad.init_tensor(np.arange(4.0), np.arange(UNIT + 4.0))
    lod, local_map = LOD(mesh, refine=8, ell=2 if name == "network" else 1), MAPS[name]()
    a = 1 + 4 * np.random.default_rng(3).random((8 * (UNIT + 3), 24))
    whole = lod.local(local_map, a=on_cells(lod, a))
    first, local = matrices(local_map, lod, a, 99)
    if name == "network":
        assert 0 < abs(local - whole).max() < 1e-5 * abs(whole).max()
    else:
        assert local.tobytes() == whole.tobytes()
    for rows in (7, UNIT):
        S, again = matrices(local_map, lod, a, rows)
        assert again.tobytes() == local.tobytes() and S.data.tobytes() == first.data.tobytes()


@pytest.mark.parametrize("interiors", [16, Surrogate.load("diffusion")], ids=str)
def test_interiors_by_blocks(interiors):
    lod = LOD(MeshQuad().refined(3), refine=4 if interiors == 16 else 8, ell=1, interiors=interiors)
    a = random_raster(lod)
    first, local = matrices(diffusion, lod, a, 3)
    assert local.tobytes() == lod.local(diffusion, a=on_cells(lod, a)).tobytes()
    assert matrices(diffusion, lod, a, 8)[0].data.tobytes() == first.data.tobytes()


def test_interpolations_are_themselves_in_another_process():
    """Networks ask whether it is the very one that they were made for."""
    custom = Interpolation(PROJECTION.local, average="volume")
    assert all(pickle.loads(pickle.dumps(one)) is one for one in (PROJECTION, CLEMENT, NODAL))
    assert pickle.loads(pickle.dumps(custom)) == custom != PROJECTION


def test_maps_that_are_refused():
    lod = LOD(MeshQuad().refined(2), refine=8)
    a, network = random_raster(lod), Surrogate.load("diffusion-q1-ell2-n8")
    with pytest.raises(TypeError, match=r"got Known; take lod\.assemble"):
        BlockSystem(lod, Known(lod.local(diffusion, a=1.0)), a=a)
    for whole in (Hybrid(network, diffusion, tol=0.01), Hybrid(network, diffusion, element_tol=0.01)):
        with pytest.raises(ValueError, match=r"element by element, got Hybrid.*field as a whole"):
            BlockSystem(lod, whole, a=a)


class Scaled:
    """A user's local map."""

    def __init__(self, factor, rng=None):
        self.factor, self.rng = factor, rng

    def local(self, lod, elements, **coefficients):
        return self.factor * GeometricMean().local(lod, elements, **coefficients)


def scaled(factor):
    return BilinearForm(lambda u, v, w: factor * w.a * dot(grad(u), grad(v)))


FACTOR = 2.0


def by_global():
    return BilinearForm(lambda u, v, w: FACTOR * w.a * dot(grad(u), grad(v)))


def test_identities_tell_apart_what_differs_and_nothing_else(monkeypatch):
    model = Surrogate.load("diffusion")
    some = [diffusion, reaction_diffusion, scaled(1.0), scaled(2.0), by_global(), Scaled(1.0), Scaled(2.0), model]
    some += [Surrogate.load("diffusion-q1-ell2-n8"), ExtrapolatedInteriors(32), ExtrapolatedInteriors(16)]
    found = [identity(one) for one in some]
    assert len(set(found)) == len(some)
    assert found[3] == identity(scaled(2.0)) and found[6] == identity(Scaled(2.0))
    LOD(MeshQuad().refined(2), refine=8, interiors=model).assemble(diffusion, a=2.0)
    assert identity(model) == found[7]  # use changes nothing
    with_other_weights = Surrogate.load("diffusion")
    next(with_other_weights.net.parameters()).data[0] += 1
    assert identity(with_other_weights) != found[7]
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert identity(by_global()) != found[4]


def test_what_no_other_process_can_know_again_is_refused_with_a_folder(tmp_path):
    lod = LOD(MeshQuad().refined(2), refine=2)
    odd = Scaled(1.0, np.random.default_rng(0))
    assert BlockSystem(lod, odd, a=1.0).matrix().nnz
    with pytest.raises(TypeError, match=r"folder: expected .*got Generator at 0\.rng; leave folder out"):
        BlockSystem(lod, odd, folder=tmp_path, a=1.0)


OTHER = """
import logging, sys
import numpy as np
from skfem import MeshQuad
from skfem_ml import Surrogate
from skfem_ml.lod import LOD, GeometricMean
from skfem_ml.lod.blocks import BlockSystem
from skfem_ml.problems import diffusion
from tests.gallery import diffusion as mine
from tests.lod.test_blocks_maps import Scaled, by_global, scaled

logging.basicConfig(format="%(message)s", level=logging.INFO)
lod = LOD(MeshQuad().refined(2), refine=8)
forms = [diffusion, mine, scaled(3.0), by_global(), Scaled(2.0), GeometricMean()]
forms += [Surrogate.load("diffusion"), Surrogate.load("diffusion-q1-ell2-n8")]
for number, form in enumerate(forms):
    S = BlockSystem(lod, form, rows=2, folder=f"{sys.argv[1]}/{number}", a=lambda x: 2 + np.sin(9 * x[0])).matrix()
    print(S.sum())
"""


def test_another_process_finds_the_files_of_every_kind_of_form(tmp_path):
    told = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-W", "ignore", "-c", OTHER, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told.append((done.stdout, done.stderr))
    (first, _), (second, log) = told
    assert first == second and log.count("2 of 2 blocks found") == 8, log
