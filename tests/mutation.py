"""Mutants of the LOD, the storage and the certificate: a sample, which of them the tests see, and which they do not.

Run ``python -m tests.mutation [COUNT [SEED]]`` in the root of a clone, with ``pip install mutmut`` (3.8) besides the
extra ``test`` and one thread (``OMP_NUM_THREADS=1``). mutmut writes mutants of what ``[tool.mutmut]`` in
``pyproject.toml`` names into ``mutants/``; COUNT of them are drawn at random, as many of each part as its share, run
one by one against the tests that call them, and ``docs/mutation.md`` lists what survived. A second run with the same
numbers goes on where the first was stopped.
"""

import json
import random
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
MUTANTS, PAGE, REVIEW = ROOT / "mutants", ROOT / "docs" / "mutation.md", ROOT / "tests" / "mutation.json"
COUNT, SEED, CHILDREN = 400, 0, 2
KILLED = {1, 3, 36, 24, -24, 152, 255, -9, -11}  # a failure, an error, no end within fifteen times the usual seconds
NO_TEST = {5, 33}


class Outcome(NamedTuple):
    """What came of one mutant: its name, the exit code of its tests, and its change as a diff."""

    name: str
    code: int
    change: str

    @property
    def part(self) -> str:
        """The folder or file that it stands in."""
        words = self.name.split(".")
        return ".".join(words[1:3]) + ("" if words[1] == "learning" or len(words) == 4 else f".{words[3]}")


def mutmut(*arguments: str) -> str:
    """Run mutmut, and return what it prints."""
    program = Path(sys.executable).with_name("mutmut")
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"mutmut {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def codes() -> dict[str, int | None]:
    """The exit codes of all mutants that there are; None of one that has not run."""
    found: dict[str, int | None] = {}
    for path in sorted(MUTANTS.rglob("*.meta")):
        found |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def drawn(names: list[str], count: int, seed: int) -> list[str]:
    """Draw so many names at random; a longer sample of the same seed begins with the shorter one."""
    names = sorted(names)
    random.Random(seed).shuffle(names)
    return names[:count]
