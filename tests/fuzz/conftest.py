"""How long fuzzers look: some seconds in the suite, ``--fuzz-minutes M`` minutes each else.

``python -m pytest tests/fuzz -n0 --fuzz-minutes 10`` draws new inputs every time. What fails is shrunk and shown; it is
kept here as an ``@example``.
"""

import resource
import time

import pytest
from hypothesis import HealthCheck, Phase, seed, settings

QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
GROWTH = 500_000  # kilobytes


@pytest.fixture
def explored(pytestconfig, record_property):
    """``explored(test, examples)`` runs a test of hypothesis on so many inputs, or for as long as is asked.

    Where minutes are asked for, the process may not grow by 500 MB.
    """
    minutes = pytestconfig.getoption("--fuzz-minutes")

    def explore(test, examples):
        if not minutes:
            settings(max_examples=examples, derandomize=True, phases=(Phase.explicit, Phase.generate), **QUIET)(test)()
            return
        end, turn = time.monotonic() + 60 * minutes, int(time.time())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        while time.monotonic() < end:
            turn += 1
            seed(turn)(settings(max_examples=200, **QUIET)(test))()
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < GROWTH, f"the process grew by {grown} kB, seed {turn}"

    return explore
