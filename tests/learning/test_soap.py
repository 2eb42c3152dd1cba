"""SOAP beside ten lines of numpy after Vyas et al., algorithm 3, and its plain Adam for vectors."""

import numpy as np
import pytest
import torch

from skfem_ml.learning import SOAP

RATE, B1, B2, EPS, FREQUENCY = 0.1, 0.9, 0.8, 1e-8, 2


def steps_of_soap(start, gradients):
    """The parameters after each step; the loss is linear, so the gradients are those that are given."""
    p = torch.tensor(start, requires_grad=True)
    optimiser = SOAP([p], lr=RATE, betas=(B1, B2), eps=EPS, frequency=FREQUENCY)
    result = []
    for gradient in torch.tensor(gradients):

        def closure(gradient=gradient):
            optimiser.zero_grad()
            loss = (p * gradient).sum()
            loss.backward()
            return loss

        optimiser.step(closure)
        result.append(p.detach().numpy().copy())
    return result


def algorithm_3(W, gradients):
    """For W (m, n): the first gradient sets the bases, then Adam in them, all averages with bias correction."""
    first, *rest = gradients
    L, R, M, V = first @ first.T, first.T @ first, np.zeros_like(W), np.zeros_like(W)
    QL, QR = np.linalg.eigh(L)[1][:, ::-1], np.linalg.eigh(R)[1][:, ::-1]
    yield W
    for t, G in enumerate(rest, start=1):
        M, V = B1 * M + (1 - B1) * G, B2 * V + (1 - B2) * (QL.T @ G @ QR) ** 2
        N = (QL.T @ M @ QR) / (1 - B1**t) / (np.sqrt(V / (1 - B2**t)) + EPS)
        W = W - RATE * QL @ N @ QR.T
        L, R = B2 * L + (1 - B2) * G @ G.T, B2 * R + (1 - B2) * G.T @ G
        if t % FREQUENCY == 0:
            QL, QR = np.linalg.qr(L @ QL)[0], np.linalg.qr(R @ QR)[0]
        yield W


def test_soap_is_algorithm_3():
    """Finding E: without bias correction, and with another decay, the first steps are others."""
    rng = np.random.default_rng(0)
    W, gradients = rng.standard_normal((4, 3)), rng.standard_normal((8, 4, 3))
    expected = list(algorithm_3(W, gradients))
    for got, wanted in zip(steps_of_soap(W, gradients), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    moved = abs(np.diff(expected, axis=0)).max(axis=(1, 2))
    assert moved[0] > 0.03 and moved[1:].min() > 0.03  # every step is far above the tolerance


def test_vectors_take_adam():
    """Finding E: with bias correction the first step has the size of the rate, whatever the gradient."""
    rng = np.random.default_rng(0)
    x, gradients = rng.standard_normal(5), rng.standard_normal((4, 5))
    p = torch.tensor(x, requires_grad=True)
    adam = torch.optim.Adam([p], lr=RATE, betas=(B1, B2), eps=EPS)
    for got, gradient in zip(steps_of_soap(x, gradients), gradients, strict=True):
        p.grad = torch.tensor(gradient)
        adam.step()
        np.testing.assert_allclose(got, p.detach().numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(abs(steps_of_soap(x, gradients)[0] - x), RATE, rtol=1e-6)


def test_complex_parameters_are_refused():
    with pytest.raises(ValueError, match="expected real parameters"):
        SOAP([torch.zeros(2, 2, dtype=torch.complex64, requires_grad=True)])
