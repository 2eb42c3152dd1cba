"""What a run by blocks will cost: the line through samples, and that it is near what was then spent."""

import time

import numpy as np
import pytest
from skfem import MeshQuad

from skfem_ml.lod import LOD, BlockSystem
from skfem_ml.lod.blocks import BlockSample, Estimate
from skfem_ml.problems import diffusion


def grid(n, **options):
    return LOD(MeshQuad.init_tensor(np.arange(n + 1.0), np.arange(n + 1.0)), **options)


def test_a_line_is_found_and_workers_share_blocks():
    samples = [BlockSample(r, 0.3 + 0.5 * r, 1e8 + 2e6 * r) for r in (1, 2, 4, 6)]
    found = Estimate.of(samples, blocks=10, rows=16, workers=4, matrix_memory=1.0, file_memory=1.0)
    assert found.seconds == pytest.approx(3 * 8.3) and found.worker_memory == pytest.approx(1.32e8)
    assert found.uncertainty < 1e-12 and found.files == 10
    assert found.range == (pytest.approx(found.seconds), pytest.approx(found.seconds))


def test_a_sample_that_the_fit_has_not_seen_tells_how_uncertain_it_is():
    samples = [BlockSample(r, 1.0 * r, None) for r in (1, 2, 4)] + [BlockSample(6, 7.5, None)]
    found = Estimate.of(samples, blocks=4, rows=8, workers=1, matrix_memory=1.0, file_memory=1.0, kept=False)
    assert found.uncertainty == pytest.approx(0.25) and found.worker_memory is None
    assert found.range == (pytest.approx(32 / 1.25), pytest.approx(32 * 1.25))
    assert "memory unknown" in str(found) and "no files" in str(found)
    falling = [BlockSample(r, t, None) for r, t in ((1, 1.0), (2, 0.9), (4, 4.0), (6, 6.0))]
    assert Estimate.of(falling, blocks=1, rows=9, workers=1, matrix_memory=1, file_memory=1).seconds > 0


def test_an_estimate_is_near_what_is_spent_and_counts_files(tmp_path):
    lod = grid(48, refine=8)
    a = np.random.default_rng(0).uniform(1, 5, (384, 384))
    system = BlockSystem(lod, diffusion, rows=16, folder=tmp_path / "blocks", a=a)
    found = system.estimate()
    start = time.process_time()
    S = system.matrix()
    spent = time.process_time() - start
    assert spent / 4 < found.seconds < 4 * spent  # generous, for the machine may be busy
    assert [sample.rows for sample in found.samples] == [1, 2, 4, 6]
    files = list((tmp_path / "blocks").glob("*.safetensors"))
    assert found.files == len(files) == 3
    assert sum(path.stat().st_size for path in files) == pytest.approx(found.file_memory, rel=0.05)
    held = S.data.nbytes + S.indices.nbytes + S.indptr.nbytes
    assert held < found.matrix_memory < 3 * held


def test_small_grids_and_workers_that_are_none():
    lod = grid(3, refine=2, ell=1)
    system = BlockSystem(lod, diffusion, a=2.0)
    assert system.estimate(2).workers == 2
    with pytest.raises(ValueError, match="workers"):
        system.estimate(0)
