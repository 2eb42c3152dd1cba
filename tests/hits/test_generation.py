"""Hierarchies that generate sequences: what least squares and memory promise, bad input."""

import numpy as np
import pytest
import torch

from skfem_ml.compare import compare
from skfem_ml.hits import solver_chosen, solver_hits, solver_trained
from skfem_ml.hits.generation import fit_stride, parameter_count, strides_for
from skfem_ml.hits.skip_net import SkipNet, solve_outputs
from skfem_ml.problems import Sequence, clip, cylinder
from tests.gallery import orbit


def noise(n=20, frames=200, more=20):
    """White noise: there is nothing to learn but the frames themselves."""
    return Sequence("noise", np.random.default_rng(0).standard_normal((frames + more, n)), frames, 1.0)


def henon(frames=200):
    states = [np.zeros(2)]
    for _ in range(frames - 1):
        x, y = states[-1]
        states.append(np.array([1 - 1.4 * x**2 + y, 0.3 * x]))
    return np.array(states)


# hierarchies


def test_outputs_solve_the_least_squares_problem():
    net = SkipNet(3, 20, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    z, values = (torch.from_numpy(rng.standard_normal((rows, 3))) for rows in (60, 60))
    residual = solve_outputs(net, z, values, 1e-14)
    F = torch.cat([net.features(z), torch.ones(60, 1, dtype=z.dtype)], dim=1)
    expected = torch.linalg.lstsq(F, values).solution
    assert residual == pytest.approx(float((F @ expected - values).detach().square().mean().sqrt()), rel=1e-6)
    with torch.no_grad():
        assert (F.T @ (net(z) - values)).abs().max() < 1e-8  # the normal equations
    assert solve_outputs(net, z[:10], values[:10], 1e-14) < 1e-10  # fewer rows than features: interpolation


def test_a_linear_sequence_is_learnt_and_continued_to_rounding():
    table = compare(orbit(), {"hits": solver_hits(16), "chosen": solver_chosen(16)})
    assert table["hits"].error < 1e-6 and table["chosen"].error < 1e-6
    assert table["chosen"]["error continued"] < 1e-6 < table["hits"]["error continued"] < 0.1


def test_what_has_as_many_features_as_pairs_remembers_everything():
    sequence = noise()
    exact, few = (compare(sequence, {"hits": solver_hits(width)})["hits"] for width in (200, 4))
    assert exact.error < 1e-6 < 0.5 < min(few.error, exact["error continued"])
    assert exact.unknowns == parameter_count(sequence, 200)
    assert strides_for(200) == (1, 4, 16, 64) and strides_for(151) == (1, 4, 16, 64) and strides_for(4001)[-1] == 1024


def test_training_of_features_lowers_the_residual():
    states = henon(400)
    drawn, trained = (fit_stride(states, 2, 1.0, width=8, steps=steps)[1] for steps in (0, 300))
    assert trained.residual < 0.8 * drawn.residual and trained.history.status == 0
    assert drawn.pairs == 199


def test_the_numbers_of_table_1_are_beaten():
    bounds = {"fluid": 1.23e-7, "video": 7.09e-5}
    for sequence, width in ((cylinder(), 64), (clip(), 200)):
        table = compare(sequence, {"hits": solver_hits(width)})
        assert (table["hits"].error * table.norms["error reproduced"]) ** 2 < bounds[sequence.name]


def test_the_chosen_hierarchy_continues_the_flow():
    table = compare(cylinder(), {"hits": solver_hits(64), "chosen": solver_chosen(64)})
    assert table["chosen"]["error continued"] < 0.02 < 0.5 < table["hits"]["error continued"]


def test_networks_as_published_learn_something():
    result = solver_trained(16, steps=300)(orbit())
    assert result.reproduced.shape == (60, 4) and result.continued.shape == (10, 4)
    losses = result.record.history[0].losses
    assert losses[-1] < 0.8 * losses[0]


def test_seeds():
    first, same, other = (solver_hits(8, seed=seed)(noise()).reproduced for seed in (0, 0, 1))
    assert (first == same).all() and (first != other).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SkipNet(0, 5, generator=torch.Generator()), "n, width, gain"),
        (lambda: solver_hits(8, ridge=1e-20)(orbit()), "ridge: expected at least 1e-15"),
        (lambda: solver_hits(8, (1, 3, 7))(orbit()), "multiple"),
        (lambda: solver_hits(8, (1, 100))(orbit()), "stride: expected below 60"),
        (lambda: strides_for(2), "frames, factor"),
        (lambda: solver_chosen(8)(orbit(more=0)), "expected frames held out"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
