"""Mutants of the LOD and of the storage: a sample, and what of it the tests do not see.

Run ``python -m tests.mutation [COUNT [SEED]]`` in the root of a clone, with ``pip install mutmut`` (3.8) besides the
extra ``test`` and one thread (``OMP_NUM_THREADS=1``). mutmut writes mutants of what ``[tool.mutmut]`` in
``pyproject.toml`` names into ``mutants/``; COUNT of them are drawn at random and run one by one against the tests that
call them, a third each of the LOD, the certificate and the storage; ``docs/mutation.md`` says how many were killed and
lists what survived. A longer sample of the same seed begins with the shorter one, and results in ``mutants/`` are kept.
"""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
MUTANTS, PAGE = ROOT / "mutants", ROOT / "docs" / "mutation.md"
COUNT, SEED, PORTION, CHILDREN = 150, 0, 50, 2
ROOMS = {"certificate": ("skfem_ml.lod.surrogate.certificate", "skfem_ml.lod.surrogate.conformal"),
         "storage": ("skfem_ml.learning.storage", "skfem_ml.learning.stored"),
         "lod": ("skfem_ml.lod",)}  # fmt: skip
FAILED, ENDLESS, ALIVE = {1, 3}, {36, 24, -24, 152, 255, -9, -11}, {0, 5, 33}
HEAD = """# What the tests see: mutants

Written by `python -m tests.mutation {count} {seed}` on {date} (mutmut {version}). Of the {total:,} mutants of
`skfem_ml/lod` (without blocks, networks and training), with the certificate of surrogates a part of its own, and of
the storage of files {count} were drawn, each part alike, and run against the tests in `[tool.mutmut]` of
`pyproject.toml` that call the function; the rest of the suite may kill more. Of those drawn **{killed:.1%} were
killed** ({endless} of them by the clock: fifteen times the usual seconds).

{shares}

| part | mutants | killed | survived |
|---|---:|---:|---:|
"""


def mutmut(*arguments: str) -> str:
    """Run mutmut, and return what it prints."""
    program = Path(sys.executable).with_name("mutmut")
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"mutmut {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def codes() -> dict[str, int | None]:
    """The exit codes of the tests of all mutants that there are; None of one that has not run."""
    found: dict[str, int | None] = {}
    for path in sorted(MUTANTS.rglob("*.meta")):
        found |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def room(name: str) -> str:
    """The key in ``ROOMS`` that a mutant belongs to, the first that fits."""
    return next(key for key, starts in ROOMS.items() if name.startswith(starts))


def drawn(mutants: Iterable[str], count: int, seed: int) -> list[str]:
    """Draw so many mutants at random, as many from each of ``ROOMS``."""
    names = sorted(mutants)
    random.Random(seed).shuffle(names)
    return [name for key in ROOMS for name in [n for n in names if room(n) == key][: count // len(ROOMS)]]


def part(name: str) -> str:
    """The folder of ``lod``, or the file elsewhere, that a mutant stands in."""
    words = name.split(".x")[0].split(".")[1:]
    return "/".join(words[:-1] if words[0] == "lod" else words)


def page(sample: dict[str, int], seed: int, total: int) -> str:
    """The Markdown page: shares by part, and the change of every survivor."""
    alive = [name for name, code in sample.items() if code in ALIVE]
    endless = sum(code in ENDLESS for code in sample.values())
    facts = {"date": date.today(), "version": version("mutmut"), "total": total, "count": len(sample), "seed": seed}
    shares = shared(Counter(map(room, sample)), Counter(map(room, alive)))
    text = HEAD.format(**facts, killed=1 - len(alive) / len(sample), endless=endless, shares=shares)
    all_of, alive_of = (Counter(map(part, names)) for names in (sample, alive))
    for name, count in sorted(all_of.items()):
        text += f"| `{name}` | {count} | {count - alive_of[name]} | {alive_of[name]} |\n"
    text += "\n## Survivors\n"
    for name in sorted(alive):
        untested = "" if sample[name] == 0 else " (no test calls it)"
        text += f"\n`{name.split('.x')[0].removeprefix('skfem_ml.')}`{untested}:\n\n```diff\n{change(name)}```\n"
    return text


def shared(drawn: Counter[str], alive: Counter[str]) -> str:
    """One sentence: the share killed of each of ``ROOMS``."""
    return "; ".join(f"{key}: {1 - alive[key] / n:.0%} of {n}" for key, n in sorted(drawn.items())) + "."


def change(name: str) -> str:
    """The lines that a mutant takes out and puts in."""
    lines = mutmut("show", name).splitlines()
    return "".join(f"{line}\n" for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


def main(count: int = COUNT, seed: int = SEED) -> None:
    """Make the mutants, run those drawn that have no result yet, and write the page."""
    if not codes():
        mutmut("run", "--max-children", str(CHILDREN), "skfem_ml.lod.shown.*")  # the first run makes all
    found = codes()
    names = drawn(found, count, seed)
    wanted = [name for name in names if found[name] is None]
    for k in range(0, len(wanted), PORTION):
        mutmut("run", "--max-children", str(CHILDREN), *wanted[k : k + PORTION])
        print(f"{min(k + PORTION, len(wanted))} of {len(wanted)}", flush=True)
    found = codes()
    odd = {name: found[name] for name in names if found[name] not in FAILED | ENDLESS | ALIVE}
    if odd:
        raise RuntimeError(f"exit codes that say nothing: {odd}")
    PAGE.write_text(page({name: found[name] for name in names}, seed, len(found)), encoding="utf-8")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
