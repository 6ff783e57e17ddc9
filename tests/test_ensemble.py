"""Several networks with averaged probabilities."""

import mxnet as mx
import numpy as np
from mxnet import nd
from networks import E, N, T, V, random_ids, some_input

from gluonlm.config import ModelConfig
from gluonlm.models import Ensemble, RNNModel, build_model
from gluonlm.models.loss import negative_log_likelihood


def make_ensemble():
    return Ensemble([RNNModel("lstm", V, E, (7, 4)) for _ in range(3)]).prepare(
        [mx.cpu()], "uniform:2", 3
    )


def test_an_ensemble_returns_the_mean_of_its_networks_probabilities():
    model = make_ensemble()
    ids, _, state = some_input(model)
    each = [network(ids, state[4 * i : 4 * i + 4]) for i, network in enumerate(model.networks)]
    chances = [nd.softmax(logits).asnumpy() for logits, _ in each]
    assert (
        min(abs(chances[i] - chances[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.1
    )  # otherwise the mean would not test anything
    logits, new = model(ids, state)
    np.testing.assert_allclose(np.exp(logits.asnumpy()), np.mean(chances, axis=0), atol=1e-6)
    expected = [array for _, states in each for array in states]
    assert len(new) == len(expected)
    assert all((a.asnumpy() == b.asnumpy()).all() for a, b in zip(new, expected))


def test_an_ensemble_is_exact_where_a_float32_probability_underflows():
    networks = [RNNModel("gru", V, E, (7,)) for _ in range(2)]
    model = Ensemble(networks).prepare([mx.cpu()], "uniform:0.5", 3)
    for network, height in zip(networks, (3000, 400)):
        bias = np.zeros(V)
        bias[0] = height
        network.decoder.bias.set_data(nd.array(bias))
    ids, targets = random_ids((T, N)), np.ones(T * N, np.int64)
    each = [
        network(ids, network.begin_state(N))[0].asnumpy().astype(np.float64) for network in networks
    ]
    chances = [logits - np.logaddexp.reduce(logits, axis=1, keepdims=True) for logits in each]
    expected = np.log(2) - np.logaddexp(*(chance[:, 1] for chance in chances))
    logits, _ = model(ids, model.begin_state(N))
    losses = negative_log_likelihood(logits, nd.array(targets, dtype="int32"))
    assert losses.min() > 395
    assert losses.max() < 405  # the second network's, and log 2
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    stepper = model.stepper(N)
    stepped = np.concatenate([stepper.step(row) for row in ids.asnumpy()])
    np.testing.assert_allclose(-stepped[:, 1], expected, rtol=1e-6)


def test_an_ensembles_training_pass_equals_each_networks():
    model = make_ensemble()
    ids, targets, state = some_input(model)
    losses, new = model.forward_backward(ids, targets, state)
    gradients = {name: p.grad().asnumpy() for name, p in model.parameters().items()}
    assert len(gradients) == 3 * len(model.networks[0].parameters())
    separate, states = [], []
    for i, network in enumerate(model.networks):
        each, carried = network.forward_backward(ids, targets, state[4 * i : 4 * i + 4])
        separate.append(each.asnumpy())
        states += carried
        for name, parameter in network.parameters().items():
            assert (gradients[f"networks.{i}.{name}"] == parameter.grad().asnumpy()).all()
    np.testing.assert_allclose(losses.asnumpy(), np.mean(separate, axis=0), rtol=1e-6)
    assert len(new) == len(states) == 3 * 4
    assert all((a.asnumpy() == b.asnumpy()).all() for a, b in zip(new, states))
    squares = np.array([3.0, 4.0, 5.0])
    assert model.gradient_norm(squares) == 2
    assert networks_norm(model, squares) == 12**0.5


def networks_norm(model, squares):
    return model.networks[0].gradient_norm(squares)


def test_an_ensembles_stepper_agrees_with_the_ensemble():
    model, ids = make_ensemble(), random_ids((9, 4))
    stepper = model.stepper(4)
    stepped = np.concatenate([stepper.step(row) for row in ids.asnumpy()])
    np.testing.assert_allclose(
        np.exp(stepped), np.exp(model(ids, model.begin_state(4))[0].asnumpy()), atol=1e-6
    )
    stepper.select([2, 2])
    again = model.stepper(2)
    for row in ids.asnumpy()[:, [2, 2]]:
        again.step(row)
    np.testing.assert_allclose(
        stepper.step(np.array([1, 2])), again.step(np.array([1, 2])), atol=1e-5
    )


def test_members_have_the_same_settings_and_different_weights():
    model = build_model(
        ModelConfig(model="rnn", members=3, hidden_size=(9,), tie_weights=True, embed_size=9), V
    ).prepare([mx.cpu()])
    single = build_model(
        ModelConfig(model="rnn", hidden_size=(9,), tie_weights=True, embed_size=9), V
    )
    assert len(model.networks) == 3
    assert model.count_parameters() == 3 * single.count_parameters()
    first, second, third = (network.decoder.weight.data().asnumpy() for network in model.networks)
    assert (first != second).any()
    assert (first != third).any()
    assert (second != third).any()
