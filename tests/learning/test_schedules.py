"""The one cosine: its ends, its rise, and the formula that trained the shipped models."""

import math

import pytest

from skfem_ml.learning import cosine


@pytest.mark.parametrize("warm", [20, 50, 0.05 * 7, 0.05 * 400])
def test_the_rate_is_the_formula_to_the_last_bit(warm):
    rate = cosine(3e-3, 400, warm)
    for step in range(400):
        assert rate(step) == 3e-3 * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / 400))


def test_without_a_rise_it_starts_at_the_rate_and_falls_to_zero():
    rate = cosine(0.2, 10)
    assert rate(0) == 0.2 and rate(10) == pytest.approx(0, abs=1e-17)
    assert all(rate(k + 1) < rate(k) for k in range(10))


@pytest.mark.parametrize(("rate", "steps", "warm"), [(0.0, 10, 0), (0.1, 0, 0), (0.1, 10, -1), (math.nan, 10, 0)])
def test_numbers_out_of_range(rate, steps, warm):
    with pytest.raises(ValueError, match="rate, steps, warm: expected > 0, >= 1, >= 0"):
        cosine(rate, steps, warm)
