"""Penalties on the last layer's output, compared with GluonNLP's losses."""

import numpy as np
import pytest
from mxnet import autograd, nd
from networks import N, T, V, make, random_ids

from gluonlm.models.loss import cross_entropy
from gluonlm.models.recurrent import Penalty


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("hybrid", [False, True])
def test_a_penalty_passes_its_input_through_and_adds_its_gradient(temporal, rows, hybrid):
    x = np.random.default_rng(1).normal(size=(rows, 3, 4)).astype(np.float32)
    head = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
    penalty, hidden = Penalty(0.7, temporal), nd.array(x)
    penalty.hybridize(hybrid)
    hidden.attach_grad()
    with autograd.record():
        output = penalty(hidden)
    output.backward(nd.array(head))
    np.testing.assert_array_equal(output.asnumpy(), x)
    gradient = np.zeros_like(x)
    if temporal:
        change = 2 * 0.7 * np.diff(x, axis=0) / 4
        gradient[1:] += change
        gradient[:-1] -= change
    else:
        gradient = 2 * 0.7 * x / 4
    np.testing.assert_allclose(hidden.grad.asnumpy(), head + gradient, rtol=1e-5, atol=1e-6)


def gradients(model, backward):
    backward()
    return {name: p.grad().asnumpy() for name, p in model.parameters().items()}


def test_the_gradients_of_a_model_match_gluonnlps_losses():
    loss = pytest.importorskip("gluonnlp.loss")
    model, ids = make("lstm", (6, 4), dropout=0.0, activation_reg=2.0, temporal_reg=1.5), None
    plain = make("lstm", (6, 4), dropout=0.0)
    plain.load_arrays(model.arrays())
    ids, targets = random_ids((T, N)), nd.array(np.arange(T * N) % V, dtype="int32")
    ours = gradients(model, lambda: model.forward_backward(ids, targets, model.begin_state(N)))

    def theirs():
        plain.hybridize(False)
        seen = []
        plain.layers[1].register_forward_hook(lambda block, x, output: seen.append(output[0]))
        with autograd.record():
            logits, _ = plain(ids, plain.begin_state(N))
            alone = loss.ActivationRegularizationLoss(2.0)(seen[0])
            change = loss.TemporalActivationRegularizationLoss(1.5)(seen[0])
            # ours counts every token, including the first, whose change is zero
            penalty = T * N * alone + (T - 1) * N * change
        nd_heads = [cross_entropy(logits, targets)[1], nd.ones(penalty.shape)]
        autograd.backward([logits, penalty], nd_heads)

    expected = gradients(plain, theirs)
    for name in expected:
        np.testing.assert_allclose(ours[name], expected[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_penalty_does_not_change_predictions_or_reported_losses():
    model, plain = make("gru", (6,), dropout=0.0, activation_reg=5.0), make("gru", (6,), dropout=0)
    plain.load_arrays(model.arrays())
    ids, targets = random_ids((T, N)), nd.array(np.arange(T * N) % V, dtype="int32")
    losses = [
        m.forward_backward(ids, targets, m.begin_state(N))[0].asnumpy() for m in (model, plain)
    ]
    np.testing.assert_array_equal(*losses)
