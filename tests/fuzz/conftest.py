"""How long fuzzers look: some seconds in the suite, ``--fuzz-minutes M`` minutes each else.

``python -m pytest tests/fuzz -n0 -s --fuzz-minutes 10`` draws new inputs every time. What fails is shrunk and shown,
and then kept as a seed of its test.
"""

import resource
import time

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
GROWTH = 500_000  # kilobytes


@pytest.fixture
def explored(pytestconfig):
    """``explored(check, *strategies, examples=100, seeds=[...])`` calls ``check(*drawn)`` on so many inputs, or for as
    long as is asked; ``seeds`` are inputs that failed once.

    Where minutes are asked for, the process may not grow by 500 MB.
    """
    minutes = pytestconfig.getoption("--fuzz-minutes")

    def explore(check, *strategies, examples, seeds=()):
        def once(number, **more):
            @settings(max_examples=number, **QUIET, **more)
            @given(st.tuples(*strategies))
            def test(drawn):
                check(*drawn)

            return test

        for arguments in seeds:
            check(*arguments)
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


def memory():
    """The most that this process has had, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
