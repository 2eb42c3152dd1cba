"""Checks of arguments: what passes, and what each refusal says."""

import numpy as np
import pytest

from skfem_ml import checks


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: checks.choice("c", ("a", "b"), "kind"), ValueError, "kind: expected one of 'a', 'b', got 'c'"),
        (lambda: checks.whole(1.0, "n"), ValueError, r"n: expected a whole number >= 0, got 1\.0"),
        (lambda: checks.whole(True, "n"), ValueError, "n: expected a whole number >= 0, got True"),
        (lambda: checks.whole(1, "n", 2), ValueError, "n: expected a whole number >= 2, got 1"),
        (lambda: checks.positive(0.0, "width"), ValueError, r"width: expected a positive, finite number, got 0\.0"),
        (lambda: checks.positive(float("nan"), "width"), ValueError, "width: expected a positive.*nan"),
        (lambda: checks.interval(2, 1), ValueError, "expected 0 < low <= high, got low=2, high=1"),
        (lambda: checks.finite([[1, np.nan], [np.inf, 2]], "u"), ValueError, "2 of 4 .*the first is nan at 0, 1"),
        (lambda: checks.finite(np.inf, "u", "take another"), ValueError, "the first is inf; take another"),
        (lambda: checks.rng(np.random), TypeError, "rng: expected a numpy Generator, got module"),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_what_passes():
    assert checks.whole(np.int32(3), "n", 3) == 3 and type(checks.whole(np.int64(3), "n")) is int
    checks.choice("a", ["a"], "kind")
    checks.positive(1e-300, "width")
    checks.interval(1, 1)
    checks.finite(np.zeros((0, 2)), "u")
    checks.rng(np.random.default_rng(0))
