"""Files of tensors: what is written comes back, and every real fault of a file or a disk is met as it should be."""

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from skfem_ml.learning import CorruptModelError, ModelMismatchError, load_model, save_model, storage
from skfem_ml.learning.storage import map_model

CARD = {"n": 8, "name": "x", "errors": [1e-3, 2.5], "nested": {"a": None, "b": True}}


def tensors():
    g = torch.Generator().manual_seed(0)
    return {
        "w": torch.randn(3, 5, generator=g),
        "d": torch.randn(4, dtype=torch.float64, generator=g),
        "i": torch.arange(6).reshape(2, 3).T,
        "mask": torch.tensor([True, False]),
        "scalar": torch.tensor(2.0, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
    }


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, tensors(), CARD)
    return path


@pytest.mark.parametrize("load", [load_model, map_model])
def test_round_trip(load, saved):
    loaded, card = load(str(saved))
    assert card == CARD
    assert loaded.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor)
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_saving_is_reproducible_and_shared_memory_is_no_obstacle(saved, tmp_path):
    save_model(tmp_path / "again", tensors(), dict(reversed(CARD.items())))  # its order is nobody's business
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()
    w = torch.ones(3)
    save_model(tmp_path / "tied", {"a": w, "b": w}, {})
    assert torch.equal(load_model(tmp_path / "tied")[0]["b"], w)


@pytest.mark.slow
def test_every_flipped_bit_of_a_small_file_is_caught(saved):
    good = saved.read_bytes()
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        saved.write_bytes(bad)
        with pytest.raises(CorruptModelError):
            load_model(saved)


def test_random_flipped_bits_of_a_large_file_are_caught(tmp_path):
    path = tmp_path / "large"
    save_model(path, {"w": torch.randn(200_000, generator=torch.Generator().manual_seed(1))}, CARD)
    data = bytearray(path.read_bytes())
    for bit in np.random.default_rng(0).integers(0, 8 * len(data), 100):
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(CorruptModelError):
            load_model(path)
        data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    load_model(path)


@pytest.mark.parametrize("load", [load_model, map_model])
def test_every_truncation_and_trailing_bytes_are_caught(load, saved):
    good = saved.read_bytes()
    for length in range(len(good)):
        saved.write_bytes(good[:length])
        with pytest.raises(CorruptModelError):
            load(saved)
    saved.write_bytes(good + b"\0")
    with pytest.raises(CorruptModelError):
        load(saved)


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch bombed",))


@pytest.mark.parametrize("write", [lambda o, f: pickle.dump(o, f), lambda o, f: torch.save(o, f)], ids=["plain", "zip"])
def test_pickles_are_refused_and_never_run(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("model", "wb") as file:
        write(Bomb(), file)
    with pytest.raises(CorruptModelError, match="pickle"):
        load_model("model")
    assert not Path("bombed").exists()


def raw(header, body=b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


HOSTILE = {
    "huge declared header": struct.pack("<Q", 2**62) + b"{}",
    "header above the cap": raw(b"{" + b" " * 2**21 + b"}"),
    "no card": raw({}),
    "metadata is a list": raw({"__metadata__": []}),
    "entry is a number": raw({"__metadata__": {"skfem_ml": 3}}),
    "card is a number": raw({"__metadata__": {"skfem_ml": "0" * 64 + "3"}}),
    "nested card": raw({"__metadata__": {"skfem_ml": "0" * 64 + "[" * 100_000}}),
    "huge tensor": raw(
        {
            "__metadata__": {"skfem_ml": "0" * 64 + "{}"},
            "w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        }
    ),
    "overlapping tensors": raw(
        {
            "__metadata__": {"skfem_ml": "0" * 64 + "{}"},
            "v": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        },
        b"\0" * 4,
    ),
    "wrong checksum": raw({"__metadata__": {"skfem_ml": "0" * 64 + '{"path": "/etc/passwd"}'}}),
    "random bytes": bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)),
    "text": b"<html>404 not found</html>",
}


@pytest.mark.parametrize("load", [load_model, map_model])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused(data, load, tmp_path):
    (tmp_path / "model").write_bytes(data)
    with pytest.raises(CorruptModelError, match=r"/model: expected"):
        load(tmp_path / "model")


def test_the_reason_is_told(tmp_path):
    (tmp_path / "model").write_bytes(HOSTILE["card is a number"])
    with pytest.raises(CorruptModelError, match=r"TypeError: the card is no dictionary\)"):
        load_model(tmp_path / "model")


def test_files_above_the_cap_are_refused_both_ways(saved, monkeypatch):
    monkeypatch.setattr(storage, "MAX_FILE", 100)
    with pytest.raises(CorruptModelError, match="at most 100 bytes"):
        load_model(saved)
    with pytest.raises(ValueError, match="split it"):
        save_model(saved, tensors(), CARD)


def test_a_file_as_large_as_the_caps_is_sound(saved, monkeypatch):
    monkeypatch.setattr(storage, "MAX_FILE", saved.stat().st_size)
    monkeypatch.setattr(storage, "MAX_HEADER", int.from_bytes(saved.read_bytes()[:8], "little"))
    save_model(saved, tensors(), CARD)
    assert load_model(saved)[1] == CARD
    monkeypatch.setattr(storage, "MAX_HEADER", storage.MAX_HEADER - 1)
    with pytest.raises(ValueError, match="of header"):
        save_model(saved, tensors(), CARD)
    with pytest.raises(CorruptModelError, match="expected a header of JSON"):
        load_model(saved)


@pytest.mark.parametrize("load", [load_model, map_model])
def test_what_is_no_file(load, tmp_path):
    with pytest.raises(CorruptModelError, match="regular file"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorruptModelError, match="regular file"):
        load(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


@pytest.mark.parametrize("card", [{"x": float("nan")}, {"x": torch.ones(1)}])
def test_cards_that_are_no_json_are_refused(card, saved):
    with pytest.raises(ValueError, match="card: expected JSON"):
        save_model(saved, {}, card)
    assert load_model(saved)[1] == CARD


def test_mismatch_lists_wanted_and_got():
    error = ModelMismatchError("model", {"n": 8, "ell": 2}, {"n": 4, "ell": 2}, "train another")
    assert "n: wanted 8, got 4" in str(error) and error.got["n"] == 4 and isinstance(error, ValueError)


def test_what_a_killed_save_left_goes_after_an_hour_and_nothing_else(saved):
    folder = saved.parent
    old, new, other = (folder / name for name in (f".{saved.name}.1.tmp", f".{saved.name}.2.tmp", ".other.3.tmp"))
    for path, age in ((old, 3700), (new, 3500), (other, 10**6)):
        path.write_bytes(b"")
        os.utime(path, (time.time() - age,) * 2)
    save_model(saved, tensors(), CARD)
    assert not old.exists() and new.exists() and other.exists()


def child(code: str, *arguments: str) -> subprocess.Popen:
    source = "import sys, torch\nfrom skfem_ml.learning.storage import *\n" + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", source, *arguments], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], text=True
    )


def test_a_full_disk_leaves_the_old_file(saved):
    """A limit on the size of files: the write fails half-way, as on a full disk."""
    code = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            save_model(sys.argv[1], {"w": torch.ones(1_000_000)}, {})
        except OSError as error:
            print("refused", error.errno)
    """
    process = child(code, str(saved))
    assert process.communicate(timeout=60)[0].startswith("refused")
    assert load_model(saved)[1] == CARD
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


@pytest.mark.slow
def test_kill_9_during_a_save_leaves_a_whole_file(tmp_path):
    path = tmp_path / "model"
    save_model(path, {"w": torch.zeros(2_000_000)}, {"i": 0})
    code = """
        print("ready", flush=True)
        for i in range(1, 10**6):
            save_model(sys.argv[1], {"w": torch.full((2_000_000,), float(i))}, {"i": i})
    """
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = child(code, str(path))
        process.stdout.readline()
        time.sleep(0.1 + 0.2 * rng.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        loaded, card = load_model(path)
        assert (loaded["w"] == card["i"]).all()


def test_kill_9_with_half_of_the_bytes_written(saved):
    """The process dies at the worst moment: its temporary file is half written, the old one is whole."""
    code = """
        import os, signal
        os.fsync = lambda handle: (os.ftruncate(handle, 50), os.kill(os.getpid(), signal.SIGKILL))
        save_model(sys.argv[1], {"w": torch.ones(1000)}, {})
    """
    process = child(code, str(saved))
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert len(list(saved.parent.iterdir())) == 2
    assert load_model(saved)[1] == CARD


def test_headers_of_every_length_load_again(tmp_path):
    """One header length in 32 begins with the byte 0x80, as a pickle does."""
    first = set()
    for length in range(0, 256, 8):
        path = tmp_path / f"{length}.safetensors"
        save_model(path, {"w": torch.ones(2)}, {"text": "x" * length})
        first.add(path.read_bytes()[0])
        assert load_model(path)[1] == {"text": "x" * length}
    assert 0x80 in first and len(first) == 32
