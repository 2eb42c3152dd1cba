"""Blocks on processes of dask: the serial bits, and after any fault nothing is computed again but what was lost."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from skfem_ml import Surrogate
from skfem_ml.lod import Extrapolated
from skfem_ml.lod.blocks import BlocksFailedError, Computed
from skfem_ml.problems import diffusion
from tests.cli.commands import skfem_ml
from tests.conftest import ROOT
from tests.distributed.case import BLOCKS, COARSE, field, files, system

pytestmark = [
    pytest.mark.filterwarnings("ignore:a. :UserWarning"),  # of fields outside the range of training
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is known to POSIX alone"),
]


@pytest.fixture(scope="module")
def serial():
    return system().matrix()


def same(S, other):
    return S.data.tobytes() == other.data.tobytes() and np.array_equal(S.indices, other.indices)


FORMS = {
    "exact": lambda: diffusion,
    "extrapolated": lambda: Extrapolated(diffusion, (8, 16)),
    "super-elements": lambda: Surrogate.load("diffusion"),
    "network": lambda: Surrogate.load("diffusion-q1-ell2-n8"),
}


@pytest.mark.parametrize(("name", "rows"), [("exact", 1), ("exact", 5), *((name, 7) for name in FORMS), ("exact", 99)])
def test_serial_threads_and_dask_give_the_same_bits(name, rows, client, tmp_path):
    form = FORMS[name]()
    np.save(tmp_path / "a.npy", np.random.default_rng(1).uniform(1, 5, (8 * COARSE, 8 * COARSE)))
    a = np.load(tmp_path / "a.npy", mmap_mode="r")
    S = system(form=form, rows=4, a=np.array(a)).matrix()
    on_dask = system(tmp_path / "dask", client, form=form, rows=rows, a=np.array(a) if rows == 99 else a)
    assert same(on_dask.matrix(), S) and on_dask.compute() == (len(on_dask), 0)
    assert (tmp_path / "dask" / "a.npy").exists() == (rows == 99)  # arrays of this process do not travel in tasks
    with ThreadPoolExecutor(2) as pool:
        assert same(system(tmp_path / "threads", pool, form=form, rows=rows, a=a).matrix(), S)


def test_workers_are_reached_from_this_machine_alone(client):
    import dask

    told = client.scheduler_info()
    assert [address.partition(":")[2][:12] for address in (told["address"], *told["workers"])] == ["//127.0.0.1:"] * 3
    assert set(client.run(lambda: os.environ["OMP_NUM_THREADS"]).values()) == {"1"}
    assert set(client.run(lambda: dask.config.get("distributed.worker.profile.enabled")).values()) == {False}


def test_a_worker_is_killed(client, pids, serial, tmp_path):
    def progress(done, total, text):
        if done == 3:
            os.kill(pids[0], signal.SIGKILL)

    assert same(system(tmp_path, client, progress).matrix(), serial)
    assert len(files(tmp_path)) == BLOCKS and system(tmp_path).compute() == (BLOCKS, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_the_driver_is_killed_and_started_again(seed, client, serial, tmp_path):
    command = [sys.executable, "-m", "tests.distributed.case", str(tmp_path), str(seed)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    died = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    wait_for_the_end_of(int(died.stdout))  # its worker may yet finish a block
    left = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    assert 1 <= len(left) < BLOCKS
    again = system(tmp_path, client)
    assert again.compute() == Computed(found=len(left), computed=BLOCKS - len(left))
    assert same(again.matrix(), serial) and all(path.stat().st_mtime_ns == time for path, time in left.items())


def wait_for_the_end_of(pid):
    with contextlib.suppress(ProcessLookupError):
        for _ in range(600):
            os.kill(pid, 0)
            time.sleep(0.1)


@pytest.mark.slow
def test_the_scheduler_is_killed(client, serial, tmp_path):
    from distributed import Client

    where, folder = str(tmp_path / "scheduler.json"), tmp_path / "blocks"
    here = ["--host", "127.0.0.1", "--no-dashboard"]
    commands = [
        ["distributed.cli.dask_scheduler", "--port", "0", "--scheduler-file", where],
        ["distributed.cli.dask_worker", "--scheduler-file", where, "--nthreads", "1", "--no-nanny"],
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen([sys.executable, "-m", *one, *here], env=environment, **quiet) for one in commands]
    try:
        with Client(scheduler_file=where, timeout=60, set_as_default=False) as lost:
            lost.wait_for_workers(1)
            lost._timeout = 2  # seconds for which it tries to reconnect

            def progress(done, total, text):
                if done == 3:
                    started[0].kill()

            with pytest.raises(BlocksFailedError, match=r"cannot be handed out.*files of the others stay") as told:
                system(folder, lost, progress).matrix()
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
    left = len(files(folder))
    assert 3 <= left < BLOCKS and COARSE <= len(told.value.elements) <= COARSE * (BLOCKS - 3)
    again = system(folder, client)
    assert again.compute() == (left, BLOCKS - left) and same(again.matrix(), serial)


def test_the_disk_is_full(client, pids, tmp_path):
    """Files have a limit that the last block, of fewer rows, fits in."""
    rows = 7
    whole = system(rows=rows).matrix()
    (tmp_path / "sizes").mkdir()
    system(tmp_path / "sizes", rows=rows).compute()
    sizes = [path.stat().st_size for path in files(tmp_path / "sizes")]
    on_full_disk = system(tmp_path / "blocks", client, rows=rows)
    client.run(limit, (sizes[0] + sizes[1]) // 2)
    try:
        with pytest.raises(BlocksFailedError, match=r"1 of 2 blocks failed 3 times.*rows 0 to 6.*too large") as told:
            on_full_disk.matrix()
    finally:
        client.run(limit, None)
    assert len(told.value.elements) == rows * COARSE
    assert [path.name for path in (tmp_path / "blocks").iterdir()] == ["block-00001.safetensors"]
    assert on_full_disk.compute() == (1, 1) and same(on_full_disk.matrix(), whole)


def limit(size):
    """Let files of this process have so many bytes."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if size is None else size, most))


def test_a_file_is_corrupt(client, serial, tmp_path):
    broken = system(tmp_path, client)
    broken.compute()
    cut, changed = files(tmp_path)[2:4]
    cut.write_bytes(cut.read_bytes()[:-30])
    data = bytearray(changed.read_bytes())
    data[-9] ^= 1
    changed.write_bytes(data)
    with pytest.warns(UserWarning, match="computed again") as told:
        assert broken.compute() == (BLOCKS - 2, 2)
    assert len(told) == 2 and same(broken.matrix(), serial)


def test_coefficients_that_are_wrong_are_told_at_once(client, tmp_path):
    with pytest.raises(ValueError, match=r"a: .*in or around coarse rows"):
        system(tmp_path, client, a=lambda x: field(x) - 2).matrix()


@pytest.mark.slow
def test_whole_problems_by_workers_of_the_command_line(tmp_path):
    pytest.importorskip("distributed", reason="dask.distributed is not installed")
    np.save(tmp_path / "field.npy", np.random.default_rng(2).uniform(1, 5, (64, 64)))
    arguments = "solve", tmp_path / "field.npy", "--corrected", "--json", "--output", tmp_path
    one, two = (json.loads(skfem_ml(*arguments, "--workers", workers).stdout) for workers in (1, 2))
    for name in ("max", "norm_l2", "norm_energy"):
        assert abs(two[name] - one[name]) < 1e-9 * abs(one[name])
    assert two["processes"] == 2 and "processes" not in one and not two["warnings"]
