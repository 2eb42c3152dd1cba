"""Files that an earlier release wrote are read, or it is said what to do; what is written today is read as well."""

import json
import shutil

import numpy as np
import pytest
import torch

from skfem_ml import __version__
from skfem_ml.learning import ModelMismatchError, load_model
from tests.conftest import ROOT
from tests.formats.files import KINDS, in_checkpoint, trained, write

OLD = ROOT / "tests" / "formats" / "v0_1"
NUMBERS = json.loads((OLD / "numbers.json").read_text(encoding="utf-8"))


def test_every_kind_is_there():
    assert {path.name for path in OLD.iterdir()} == {*KINDS, "numbers.json"} == {*NUMBERS, "numbers.json"}


@pytest.mark.filterwarnings("ignore:.*energies of")  # of a model that is not trained
@pytest.mark.parametrize("name", KINDS)
def test_files_of_0_1_are_read(name):
    assert np.allclose(KINDS[name][1](OLD / name), NUMBERS[name], rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*energies of")
def test_what_is_written_today_is_read(tmp_path):
    write(tmp_path)
    for name in KINDS:
        if name.endswith(".safetensors"):
            (now, card), (then, before) = load_model(tmp_path / name), load_model(OLD / name)
            shapes = [{key: (value.shape, value.dtype) for key, value in held.items()} for held in (now, then)]
            assert shapes[0] == shapes[1] and card.keys() == before.keys(), name


def test_a_training_of_0_1_goes_on_where_it_is_allowed(tmp_path):
    """Code of another version may compute other bits: that is refused until the caller says that it may."""
    path, straight = tmp_path / "training.pt", tmp_path / "straight.pt"
    shutil.copy(OLD / "training.pt", path)
    with pytest.raises(ModelMismatchError, match=r"skfem-ml 0\.1\.0.*name in extend= what may change") as refusal:
        trained(path, steps=8)
    assert set(refusal.value.wanted) == {"code"}
    assert refusal.value.wanted["code"] == f"skfem-ml {__version__}, torch {torch.__version__}"
    history = trained(path, steps=8, extend="code")
    assert history.steps == trained(straight, steps=8).steps
    assert np.allclose(in_checkpoint(path), in_checkpoint(straight), rtol=1e-6)
