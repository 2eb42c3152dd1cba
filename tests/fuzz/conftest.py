"""How long fuzzers look: some seconds in the suite, ``--fuzz-minutes M`` minutes each else.

``python -m pytest tests/fuzz -n0 -s --fuzz-minutes 10`` draws new inputs every time. What fails is shrunk and shown,
and then kept as a seed of its test.
"""

import resource
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
GROWTH = 500_000  # kilobytes


@pytest.fixture
def explored(pytestconfig):
    """``explored(check, *strategies, examples=100, seeds=[...])`` calls ``check(*drawn)`` on so many inputs, or for as
    long as is asked; ``seeds`` are inputs that failed once.

    No input may take more than 500 MB while it is checked, nor all of them together.
    """
    minutes = pytestconfig.getoption("--fuzz-minutes")

    def explore(check, *strategies, examples, seeds=()):
        def once(number, **more):
            @settings(max_examples=number, **QUIET, **more)
            @given(st.tuples(*strategies))
            def test(drawn):
                bounded(check, drawn)

            return test

        for arguments in seeds:
            bounded(check, arguments)
        if not minutes:
            once(examples, derandomize=True, phases=[Phase.generate])()
            return
        end, turn, before, start = time.monotonic() + 60 * minutes, int(time.time()), memory(), 0
        while time.monotonic() < end:
            turn, start = turn + 1, start + 200
            seed(turn)(once(200))()
            assert memory() - before < GROWTH, f"the process grew by {memory() - before} kB, seed {turn}"
        print(f"{start} inputs of {check.__name__}, grown by {(memory() - before) // 1000} MB")

    return explore


def bounded(check, drawn):
    """Call ``check(*drawn)``, which may take 500 MB; one that would take all of the machine's gets a MemoryError."""
    before = memory()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + 8 * GROWTH * 1024, limits[1]))
    try:
        check(*drawn)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    grown = memory(peak=True) - before
    assert grown < GROWTH, f"one input took {grown} kB"


def memory(*, peak=False):
    """What this process holds, in kB; with ``peak`` the most since the last call without."""
    if not peak:
        Path("/proc/self/clear_refs").write_text("5")
    name = "VmHWM" if peak else "VmRSS"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def address_space():
    """Bytes of addresses in use."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
