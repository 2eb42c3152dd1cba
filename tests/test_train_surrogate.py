"""The training demo with short settings: better than the null model on unseen fields, and its file loads."""

import numpy as np
from skfem import MeshQuad

from demos import train_surrogate
from skfem_ml.lod import LOD
from skfem_ml.lod.surrogate import Surrogate


def test_training_beats_the_null_model_on_local_matrices(tmp_path):
    surrogate, table, history = train_surrogate.train(level=3, refine=4, ell=1, train=20, test=5, steps=150)
    assert history.losses[-1] < history.losses[0] / 2
    assert table["network"].local < table["null"].local / 10
    assert table["network"].spectral < table["null"].spectral / 3
    assert np.isfinite(table["network"].l2)
    surrogate.save(tmp_path / "m.safetensors")
    lod = LOD(MeshQuad().refined(3), refine=4, ell=1)
    a = np.random.default_rng(0).uniform(1, 3, lod.coefficient_mesh.t.shape[1])
    loaded = Surrogate.load(tmp_path / "m.safetensors")
    assert abs(lod.assemble(loaded, a=a) - lod.assemble(surrogate, a=a)).max() == 0
    assert train_surrogate.visualize(history).axes[0].get_xlabel() == "step"
