"""The stepper, one token at a time, compared with the complete model."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd
from networks import MODELS, E, make, random_ids

from gluonlm.models import RNNModel, stepper


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru", "mingru", "minlstm"])
@pytest.mark.parametrize("sizes, tied", [((7,), False), ((7, E), True), ((5, 7, 5), False)])
@pytest.mark.parametrize(
    "streams, ahead, kept", [(1, 2**21, 0), (4, 2**21, 0), (4, 0, 90), (4, 0, 0)]
)
def test_the_stepper_agrees_with_the_fused_model(
    kind, sizes, tied, streams, ahead, kept, monkeypatch
):
    # products precomputed, cached for the first few tokens, or neither
    monkeypatch.setattr(stepper, "AHEAD", ahead)
    monkeypatch.setattr(stepper, "KEPT", kept)
    model, ids = make(kind, sizes, tie_weights=tied), random_ids((9, streams))
    logits, _ = model(ids, model.begin_state(streams))
    one = model.stepper(streams)
    stepped = np.concatenate([one.step(row) for row in ids.asnumpy()])
    ours, theirs = nd.softmax(nd.array(stepped)).asnumpy(), nd.softmax(logits).asnumpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_products_of_tokens_are_computed_once_and_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(stepper, "KEPT", 2 * 3)
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)
    cell = stepper.RNNCell(weights, np.eye(3), np.zeros(3), np.ones(3))
    made, read = [], cell.read
    monkeypatch.setattr(cell, "read", lambda x: made.append(x[0]) or read(x))
    embedding = np.arange(10.0).reshape(5, 2)
    products = stepper.Products(embedding, cell)
    for ids in ([4, 1], [1, 4], [0, 4], [0, 1]):
        np.testing.assert_allclose(products(np.array(ids)), embedding[ids] @ weights.T + 1)
    assert made == [8, 2, 0, 0]
    assert list(products.rows) == [4, 1]


@pytest.mark.parametrize(
    "name", [name for name in MODELS if "unrolled" in name or "window" in name]
)
def test_the_stepper_of_a_window_model_reads_the_last_tokens(name):
    model = MODELS[name]()
    context, ids = model.window, random_ids((model.window + 3, 2)).asnumpy()
    stepper = model.stepper(2)
    steps = [stepper.step(row) for row in ids]
    assert (steps[context - 2] == 0).all()
    np.testing.assert_allclose(
        steps[-1], model(nd.array(ids[3:], dtype="int32"), [])[0].asnumpy(), atol=1e-6
    )


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_stepper_uses_its_models_activation(activation):
    model = RNNModel("rnn", 11, 6, (7, 5), activation=activation)
    model.prepare([mx.cpu()], "uniform:1", 3)
    ids = np.random.default_rng(0).integers(0, 11, (9, 4)).astype(np.int32)
    logits, _ = model(mx.nd.array(ids, dtype="int32"), model.begin_state(4))
    stepper = model.stepper(4)
    stepped = np.concatenate([stepper.step(row) for row in ids])
    np.testing.assert_allclose(stepped, logits.asnumpy(), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_stream_that_is_reset_begins_again_and_the_others_continue(name):
    model, ids = MODELS[name](), random_ids((14, 3)).asnumpy()
    fresh, used = model.stepper(3), model.stepper(3)
    for row in ids[:7]:
        used.step(row)
    used.reset([1])
    steps = [(used.step(row), fresh.step(row)) for row in ids[7:]]
    np.testing.assert_array_equal(*(logits[1] for logits in steps[-1]))
    if not model.window:
        ours, theirs = steps[0]
        np.testing.assert_array_equal(ours[1], theirs[1])
        assert (ours[[0, 2]] != theirs[[0, 2]]).any(axis=1).all()
