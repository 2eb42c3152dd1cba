"""The gallery: what it says of demos, how it runs them, and the small pictures and the table it writes."""

import json

import numpy as np
import pytest
from PIL import Image

from demos import gallery

DEMO = '''r"""A title
=======

One sentence
on two lines.

More.
"""

import numpy as np
from PIL import Image

SEEDS = (0, 3)

if __name__ == "__main__":
    squares = np.random.default_rng(0).integers(0, 255, (7, 14, 3), dtype=np.uint8)
    Image.fromarray(squares.repeat(100, axis=0).repeat(100, axis=1)).save("tiny.png")
    print("rows")
    print("error 1.5 % | of one")
'''


@pytest.fixture
def one_demo(tmp_path, monkeypatch):
    """A clone with one demo, and a page that has a place for the table."""
    (tmp_path / "demos").mkdir()
    (tmp_path / "demos" / "tiny.py").write_text(DEMO)
    (tmp_path / "demos" / "README.md").write_text(f"before\n{gallery.MARKS[0]}\nold\n{gallery.MARKS[1]}\nafter\n")
    monkeypatch.setattr(gallery, "HERE", tmp_path / "demos")
    monkeypatch.setattr(gallery, "DOCS", tmp_path / "docs" / "pictures")
    return tmp_path


@pytest.mark.parametrize("name", gallery.names())
def test_every_demo_has_a_title_and_a_sentence(name):
    entry = gallery.described(name)
    assert 5 < len(entry["title"]) < 75 and entry["sentence"].endswith((".", "?")) and len(entry["sentence"]) < 160
    lines = (gallery.HERE / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert set(lines[1]) == {"="} and len(lines[1]) >= len(entry["title"]) and lines[2] == ""
    assert not any(line.startswith("from demos") for line in lines)  # a script is copied and runs alone
    assert f'savefig("{name}.png")' in "\n".join(lines)


def test_a_demo_is_run_and_shown(one_demo, capfd):
    (path,) = gallery.write(one_demo / "out", docs=True)
    assert path.exists() and "--- tiny: " in capfd.readouterr().out
    (entry,) = json.loads((one_demo / "docs" / "pictures" / "demos.json").read_text())
    assert (entry["title"], entry["sentence"]) == ("A title", "One sentence\non two lines.")
    assert entry["number"] == "error 1.5 % | of one" and entry["seed"] == "0, 3" and entry["seconds"] > 0
    page = (one_demo / "demos" / "README.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
    assert "| `tiny.py` | One sentence on two lines. | error 1.5 % \\| of one |" in page
    with Image.open(one_demo / "docs" / "pictures" / "tiny.png") as small:
        assert small.width <= gallery.WIDTH and small.mode in ("P", "RGB")
        assert small.text["Source"] == "demos/tiny.py" and small.text["Seed"] == "0, 3" and small.text["Creation Time"]


def test_pictures_fit_into_their_size(tmp_path):
    x = np.linspace(0, 255, 1600)
    smooth = np.stack([np.broadcast_to(x, (800, 1600)), np.broadcast_to(x[:800, None], (800, 1600))] * 2, axis=-1)[
        ..., :3
    ]
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "whole.png")
    entry = {"title": "", "name": "x", "seed": "0", "date": "2026-11-29", "version": "0"}
    gallery.small(tmp_path / "whole.png", tmp_path / "small.png", entry)
    assert (tmp_path / "small.png").stat().st_size <= gallery.BYTES
    with Image.open(tmp_path / "small.png") as small:
        assert (
            abs(np.asarray(small.convert("RGB")).astype(float).mean(axis=(0, 1)) - smooth.mean(axis=(0, 1))).max() < 8
        )


def test_a_demo_that_fails_is_told(one_demo):
    (one_demo / "demos" / "tiny.py").write_text("raise SystemExit(3)")
    with pytest.raises(RuntimeError, match=r"tiny\.py ended with 3"):
        gallery.write(one_demo / "out")
    with pytest.raises(ValueError, match="expected names of demos"):
        gallery.write(one_demo / "out", ["other"])


def test_what_was_not_run_yet_has_no_number(one_demo):
    assert gallery.table([]).splitlines()[-1] == "| `tiny.py` | One sentence on two lines. |  |  |"
