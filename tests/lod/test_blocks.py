"""Systems by blocks: the bits of the whole for any block, read by windows, found again in files."""

import pickle

import numpy as np
import pytest
from skfem import MeshLine, MeshQuad

from skfem_ml.lod import LOD, GeometricMean
from skfem_ml.lod.blocks import BlockSystem
from skfem_ml.problems import diffusion
from tests.gallery import MESHES, reaction_diffusion, relative, sloped_load


def on_cells(lod, raster):
    """A raster in the order of the coefficient mesh."""
    space, m = lod.space, lod.space.m
    out = np.empty(space.coefficient_refinement.cells.size)
    index = np.indices((m,) * space.grid.dim).reshape(space.grid.dim, -1)
    at = m * space.grid.cells[::-1][:, :, None] + index[:, None]
    out[space.coefficient_refinement.cells] = raster[tuple(at)]
    return out


def random_raster(lod, seed=0):
    shape = tuple(lod.space.m * n for n in lod.space.grid.shape[::-1])
    return np.exp(np.random.default_rng(seed).uniform(0, 3, shape))


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("form", [diffusion, GeometricMean()], ids=str)
def test_any_block_gives_the_bits_of_the_whole(name, form):
    lod = LOD(MESHES[name](), refine=4, ell=1, dirichlet=["left"])
    a = random_raster(lod)
    first = BlockSystem(lod, form, rows=1, a=a).matrix()
    for rows in (2, 3, 99):
        S = BlockSystem(lod, form, rows=rows, a=a).matrix()
        assert S.data.tobytes() == first.data.tobytes() and np.array_equal(S.indices, first.indices)
    assert abs(first - lod.assemble(form, a=on_cells(lod, a))).max() < 1e-13 * abs(first).max()
    assert np.diff(first.indptr).max() <= (2 * lod.ell + 3) ** 2


@pytest.mark.parametrize("workers", [1, 2])
def test_local_matrices_are_those_of_the_whole(workers):
    lod = LOD(MeshQuad().refined(3), refine=4, workers=workers)
    a = random_raster(lod)
    whole = lod.local(diffusion, a=on_cells(lod, a))
    for rows in (1, 3, 8):
        system = BlockSystem(lod, diffusion, rows=rows, a=a)
        for number in range(len(system)):
            task = system.task(number)
            window = task.window
            local = task.lod.system(diffusion, a=task.fields["a"]).local(window.own)
            assert local.tobytes() == whole[window.elements[window.own]].tobytes()


def test_forms_with_more_coefficients_and_the_place_are_evaluated_on_windows():
    lod = LOD(MESHES["graded"](), refine=4, cells=2, ell=1)
    a, c = random_raster(lod), random_raster(lod, 1)
    first, second = (BlockSystem(lod, reaction_diffusion, rows=r, a=a, c=c).matrix() for r in (1, 4))
    assert first.data.tobytes() == second.data.tobytes()
    whole = lod.assemble(reaction_diffusion, a=on_cells(lod, a), c=on_cells(lod, c))
    assert abs(first - whole).max() < 1e-13 * abs(whole).max()


def test_lines_by_the_reference_engine():
    lod = LOD(MeshLine().refined(4), refine=4, ell=1)
    S = BlockSystem(lod, diffusion, rows=3, a=random_raster(lod)).matrix()
    assert abs(S - lod.assemble(diffusion, a=on_cells(lod, random_raster(lod)))).max() < 1e-12 * abs(S).max()


def test_arrays_files_and_functions_are_read_alike(tmp_path):
    lod = LOD(MeshQuad().refined(2), refine=4, ell=1)
    x = (np.arange(16) + 0.5) / 16
    a = 1 + x[None] + 2 * x[:, None]
    np.save(tmp_path / "a.npy", a)
    given = [a, np.load(tmp_path / "a.npy", mmap_mode="r"), lambda x: 1 + x[0] + 2 * x[1]]
    first, *others = (BlockSystem(lod, diffusion, rows=2, a=one).matrix() for one in given)
    assert (others[0] != first).nnz == 0 and abs(others[1] - first).max() < 1e-13
    assert (BlockSystem(lod, diffusion, rows=2, a=tmp_path / "a.npy").matrix() != first).nnz == 0
    with pytest.raises(ValueError, match=r"expected the path of a \.npy file"):
        BlockSystem(lod, diffusion, a="a.csv")
    with pytest.raises(ValueError, match=r"expected a raster \(16, 16\)"):
        BlockSystem(lod, diffusion, a=a.ravel())
    with pytest.raises(ValueError, match="around coarse rows 0 to 1"):
        BlockSystem(lod, diffusion, rows=2, a=np.where(np.arange(16)[:, None] == 15, -1, a)).matrix()


def test_solutions_are_those_of_the_system():
    lod = LOD(MESHES["L"](), refine=4, ell=1)
    a = random_raster(lod)
    u = BlockSystem(lod, diffusion, rows=2, a=a).solve(sloped_load)
    assert relative(u, lod.system(diffusion, a=on_cells(lod, a)).solve(sloped_load)) < 1e-11


def test_files_are_found_again_and_damaged_ones_are_told(tmp_path, monkeypatch):
    lod = LOD(MeshQuad().refined(3), refine=4, ell=1)
    a, ran = random_raster(lod), []
    from skfem_ml.lod.blocks.task import BlockTask

    run = BlockTask.run
    monkeypatch.setattr(BlockTask, "run", lambda task: ran.append(task.window.rows.start) or run(task))
    system = BlockSystem(lod, diffusion, rows=2, folder=tmp_path, a=a)
    first = system.matrix()
    assert ran == [0, 2, 4, 6]
    (tmp_path / "block-00001.safetensors").unlink()
    path = tmp_path / "block-00003.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    ran.clear()
    with pytest.warns(UserWarning, match="computed again"):
        again = system.matrix()
    assert ran == [2, 6] and again.data.tobytes() == first.data.tobytes()
    ran.clear()
    changed = a.copy()
    changed[-1] *= 2  # seen by the last rows only
    BlockSystem(lod, diffusion, rows=2, folder=tmp_path, a=changed).matrix()
    assert ran == [4, 6]


def test_tasks_pickle_with_what_they_need_and_no_more(tmp_path):
    lod = LOD(MeshQuad().refined(5), refine=8, ell=1)
    a = random_raster(lod)
    np.save(tmp_path / "a.npy", a)
    sizes = []
    for given in (1.0, a, np.load(tmp_path / "a.npy", mmap_mode="r"), tmp_path / "a.npy"):
        task = BlockSystem(lod, diffusion, rows=2, a=given).task(3)
        task.key()  # which reads what is not to travel
        data = pickle.dumps(task)
        assert np.array_equal(pickle.loads(data).run().columns, task.run().columns)
        sizes.append(len(data))
    assert sizes[1] - sizes[0] < 1.1 * a.nbytes * 6 / 32 and sizes[0] < 300_000
    assert max(sizes[2:]) - sizes[0] < 1000
    view = np.load(tmp_path / "a.npy", mmap_mode="r")[::-1]  # part of a file in another order
    flipped = BlockSystem(lod, diffusion, rows=2, a=view).task(3)
    assert np.array_equal(pickle.loads(pickle.dumps(flipped)).run().columns, flipped.run().columns)
    assert not np.array_equal(flipped.run().columns, task.run().columns)
