"""Systems by blocks: the bits of the whole for any block, read by windows, found again in files."""

import json
import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skfem import MeshLine, MeshQuad

from skfem_ml.lod import LOD, GeometricMean
from skfem_ml.lod.blocks import BlocksFailedError, BlockSystem, Computed
from skfem_ml.lod.blocks.task import BlockTask
from skfem_ml.problems import diffusion
from tests.cli.commands import skfem_ml
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
@pytest.mark.parametrize("form", [diffusion, GeometricMean()], ids=["form", "map"])
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


def test_no_mesh_of_fine_cells_is_built():
    lod = LOD(MeshQuad().refined(3), refine=4)
    for a in (random_raster(lod), lambda x: 1 + x[0]):
        system = BlockSystem(lod, diffusion, rows=3, a=a)
        task = system.task(1)
        task.run()
        assert not {"fine", "_fine"} & set(vars(task.window.refinement))
        system.matrix()
    assert not {"fine_grid", "refinement"} & set(vars(lod.space))


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
        BlockSystem(lod, diffusion, a=a.ravel()[1:])
    with pytest.raises(ValueError, match="around coarse rows 0 to 1"):
        BlockSystem(lod, diffusion, rows=2, a=np.where(np.arange(16)[:, None] == 15, -1, a)).matrix()


def test_zarr_arrays_are_read_by_windows_from_their_chunks(tmp_path):
    """With the library itself; what a task carries is the store's place, not the values."""
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    lod = LOD(MeshQuad().refined(3), refine=4)
    a = random_raster(lod)
    store = zarr.create_array(store=str(tmp_path / "a.zarr"), shape=a.shape, chunks=(8, 8), dtype=a.dtype)
    store[:] = a
    want = BlockSystem(lod, diffusion, rows=3, a=a).matrix()
    stored = BlockSystem(lod, diffusion, rows=3, a=store, folder=tmp_path / "zarr")
    data = pickle.dumps(stored.task(1))
    assert pickle.loads(data).run().columns.tobytes() == stored.task(1).run().columns.tobytes()
    assert len(data) < len(pickle.dumps(BlockSystem(lod, diffusion, rows=3, a=1.0).task(1))) + 5000
    assert stored.matrix().data.tobytes() == want.data.tobytes()
    store[16:24] = 2 * a[16:24]
    changed = BlockSystem(lod, diffusion, rows=3, a=store, folder=tmp_path / "zarr").matrix()
    twice = np.concatenate([a[:16], 2 * a[16:24], a[24:]])
    assert changed.data.tobytes() == BlockSystem(lod, diffusion, rows=3, a=twice).matrix().data.tobytes()


def test_solutions_are_those_of_the_system():
    lod = LOD(MESHES["L"](), refine=4, ell=1)
    a = random_raster(lod)
    u = BlockSystem(lod, diffusion, rows=2, a=a).solve(sloped_load)
    again = BlockSystem(lod, diffusion, rows=2, a=on_cells(lod, a))
    assert np.array_equal(again.solve(sloped_load), u) and again.coarse() is again.coarse()
    assert relative(u, lod.system(diffusion, a=on_cells(lod, a)).solve(sloped_load)) < 1e-11


def test_corrected_loads_by_blocks():
    lod = LOD(MESHES["L"](), refine=4, ell=1, dirichlet=["left"])
    a = random_raster(lod)
    whole = lod.system(diffusion, a=on_cells(lod, a))
    first, *others = (BlockSystem(lod, diffusion, rows=rows, a=a) for rows in (1, 2, 99))
    b = first.load(sloped_load, corrected=True)
    assert relative(b, whole.load(sloped_load, corrected=True)) < 1e-12
    assert relative(b, first.load(sloped_load)) > 1e-3
    assert all(other.load(sloped_load, corrected=True).tobytes() == b.tobytes() for other in others)
    u = others[0].solve(sloped_load, corrected=True)
    assert relative(u, whole.solve(sloped_load, corrected=True)) < 1e-10
    with pytest.raises(TypeError, match=r"of GeometricMean; take lod\.system"):
        BlockSystem(lod, GeometricMean(), a=a).load(sloped_load, corrected=True)
    with pytest.raises(AttributeError, match=r"take lod\.system\(form, a=a\)\.prolong where"):
        first.prolong(u)
    with pytest.raises(AttributeError, match=r"no attribute 'prologn'$"):
        first.prologn(u)


@pytest.mark.parametrize("dirichlet", [None, ["left"], lambda x: x[0] < 0.3], ids=["all", "left", "corner"])
def test_equal_patches_are_solved_once(dirichlet, monkeypatch):
    """Of n x n equal cells those near a side, by their distance up to ell + 1, and one inside: the bits of all."""
    n, ell = 9, 1
    lod = LOD(MeshQuad.init_tensor(*[np.linspace(0, 1, n + 1)] * 2).with_defaults(), 4, ell=ell, dirichlet=dirichlet)
    a = np.tile(np.random.default_rng(5).uniform(1, 5, (4, 4)), (n, n))
    system = BlockSystem(lod, diffusion, rows=99, a=a)
    kinds = 2 * (ell + 1) + 1
    rows = kinds if dirichlet is None else n  # where a rim may be free, rows are equal as a whole
    assert system.distinct == rows * kinds
    S = system.matrix()
    by_blocks = BlockSystem(lod, diffusion, rows=4, a=a)
    assert by_blocks.matrix().data.tobytes() == S.data.tobytes() and by_blocks.distinct < n * n
    assert BlockSystem(lod, diffusion, a=random_raster(lod)).distinct == n * n
    for other in (reaction_diffusion, GeometricMean()):  # not looked for
        given = {"a": a, "c": 1.0 + a} if other is reaction_diffusion else {"a": a}
        assert BlockSystem(lod, other, **given).distinct == n * n
    monkeypatch.setattr(BlockTask, "first_of_equals", lambda task: task.window.own)
    assert system.distinct == n * n and system.matrix().data.tobytes() == S.data.tobytes()


def test_equal_cells_in_other_patches_are_told_apart():
    """One cell that is different: the patches that see it are solved, and no more."""
    lod = LOD(MeshQuad.init_tensor(*[np.arange(12.0)] * 2), 4, ell=1)
    a = np.ones((44, 44))
    uniform = BlockSystem(lod, diffusion, rows=99, a=a).distinct
    a[20:24, 20:24] = 2
    system = BlockSystem(lod, diffusion, rows=99, a=a)
    assert system.distinct == uniform + 9
    S = system.matrix()
    whole = lod.system(diffusion, a=on_cells(lod, a))
    assert abs(S - whole.matrix()).max() < 1e-13 * abs(S).max()
    assert system.task(0).local().tobytes() == whole.local(system.task(0).window.elements).tobytes()


def test_threads_take_blocks_and_failures_are_told(tmp_path, monkeypatch):
    lod, told = LOD(MeshQuad().refined(3), refine=4, ell=1), []
    lod.progress = lambda done, total, text: told.append((done, total, text))
    a, run, failures = random_raster(lod), BlockTask.run, Counter()
    S = BlockSystem(lod, diffusion, rows=2, a=a).matrix()
    bad = {2: 2, 4: 99}  # the second block fails twice, the third always

    def sometimes(task):
        failures[task.window.rows.start] += 1
        if failures[task.window.rows.start] <= bad.get(task.window.rows.start, 0):
            raise OSError("no space left")
        return run(task)

    with ThreadPoolExecutor(2) as pool:
        system = BlockSystem(lod, diffusion, rows=2, folder=tmp_path, client=pool, a=a)
        with (
            monkeypatch.context() as patch,
            pytest.raises(BlocksFailedError, match="1 of 4 blocks failed 3 times") as e,
        ):
            patch.setattr(BlockTask, "run", sometimes)
            system.matrix()
        assert set(e.value.elements) == set(np.flatnonzero(np.isin(lod.space.grid.cells[1], [4, 5])))
        assert failures == {0: 1, 2: 3, 4: 3, 6: 1} and told[-1] == (3, 4, "blocks")
        assert system.compute() == Computed(found=3, computed=1)
        assert system.matrix().data.tobytes() == S.data.tobytes() and system.compute() == (4, 0)
        with pytest.raises(ValueError, match=r"in or around coarse rows \d to \d"):
            BlockSystem(lod, diffusion, rows=2, folder=tmp_path, client=pool, a=-a).matrix()
        with pytest.raises(ValueError, match="folder: expected one, where workers"):
            BlockSystem(lod, diffusion, client=pool, a=a)
    with pytest.raises(TypeError, match=r"client: expected a dask.*got int"):
        BlockSystem(lod, diffusion, folder=tmp_path, client=2, a=a)
    with pytest.raises(ValueError, match="folder: expected one where blocks"):
        BlockSystem(lod, diffusion, a=a).compute()


def test_files_are_found_again_and_damaged_ones_are_told(tmp_path, monkeypatch):
    lod = LOD(MeshQuad().refined(3), refine=4, ell=1)
    a, ran = random_raster(lod), []
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


def test_the_command_line_takes_threads_where_there_is_no_dask(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    np.save(tmp_path / "field.npy", np.random.default_rng(2).uniform(1, 5, (32, 32)))
    arguments = "solve", tmp_path / "field.npy", "--workers", 2, "--json", "--output", tmp_path
    done = skfem_ml(*arguments)
    assert done.exit_code == 0 and "dask is not installed" in str(json.loads(done.stdout)["warnings"]), done.output
    refused = skfem_ml(*arguments, "--method", "fem")
    assert refused.exit_code != 0 and "--workers: expected 1 with --method fem" in refused.stderr
