"""Cross-entropy and its gradient, compared with simple formulas."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd

from gluonlm.models.loss import cross_entropy, negative_log_likelihood


@pytest.mark.parametrize("rows, vocab_size", [(1, 1), (7, 2), (64, 103), (30, 5000)])
def test_loss_and_gradient_follow_the_formula(rows, vocab_size):
    mx.random.seed(1)
    logits = 4 * nd.random.normal(shape=(rows, vocab_size))
    targets = nd.array(np.random.default_rng(1).integers(0, vocab_size, rows), dtype="int32")
    exact = logits.asnumpy().astype(np.float64)
    exact = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    slope = np.exp(exact)
    slope[np.arange(rows), targets.asnumpy()] -= 1
    losses, gradient = cross_entropy(logits, targets)
    np.testing.assert_allclose(gradient.asnumpy(), slope, atol=2e-6)
    for computed in (losses.asnumpy(), negative_log_likelihood(logits, targets)):
        np.testing.assert_allclose(
            computed, -exact[np.arange(rows), targets.asnumpy()], rtol=1e-6, atol=1e-6
        )


def test_gradients_agree_with_gluons_loss():
    logits, targets = 3 * nd.random.normal(shape=(20, 30)), nd.arange(20, dtype="int32")
    logits.attach_grad()
    with autograd.record():
        expected = gluon.loss.SoftmaxCrossEntropyLoss()(logits, targets)
    expected.backward()
    losses, gradient = cross_entropy(logits, targets)
    # log_softmax is off by 1.4e-6 on processors without AVX-512
    np.testing.assert_allclose(gradient.asnumpy(), logits.grad.asnumpy(), atol=5e-6)
    np.testing.assert_allclose(losses.asnumpy(), expected.asnumpy(), atol=5e-6)


def test_extreme_logits_give_finite_losses_and_gradients():
    logits, targets = nd.array([[0, 500.0], [-1e4, 0], [0, 0]]), nd.array([0, 1, 1], dtype="int32")
    losses, gradient = cross_entropy(logits, targets)
    assert np.isfinite(losses.asnumpy()).all()
    assert losses.asnumpy()[0] > 80
    assert negative_log_likelihood(logits, targets).tolist() == pytest.approx([500, 0, np.log(2)])
    assert gradient.asnumpy().tolist() == [[-1, 1], [0, 0], [0.5, -0.5]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_propagated(bad):
    for row in ([[bad, bad]], [[0, bad]]):
        losses, _ = cross_entropy(nd.array(row), nd.array([1], dtype="int32"))
        assert np.isnan(losses.asnumpy()).all()
    for row in ([[np.nan, 0]], [[np.nan, np.nan]]):
        assert np.isnan(negative_log_likelihood(nd.array(row), nd.array([1], dtype="int32"))).all()
