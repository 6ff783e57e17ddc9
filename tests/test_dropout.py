"""The places and masks of dropout."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, nd
from networks import E, N, T, V, make, random_ids

from gluonlm.config import ModelConfig
from gluonlm.models import build_model


def test_dropout_acts_only_in_training_at_the_embedding_between_layers_and_at_the_output():
    model, ids = make("lstm", (7, 5), dropout=0.5), random_ids((T, N))
    calm = [model(ids, model.begin_state(N))[0].asnumpy() for _ in range(2)]
    assert (calm[0] == calm[1]).all()
    seen = []
    model.hybridize(False)
    model.dropout.register_forward_hook(
        lambda block, inputs, output: seen.append(
            (output.shape, float((output == 0).mean().asscalar()))
        )
    )
    with autograd.record():
        model(ids, model.begin_state(N))
    assert [shape for shape, _ in seen] == [(T, N, E), (T, N, 7), (T, N, 5)]
    assert all(0.2 < zeros < 0.8 for _, zeros in seen)


def masks(model, ids):
    """Return the zeros of each dropout output in a training pass, in order."""
    seen = []
    model.hybridize(False)
    for block in {id(b): b for b in (model.embed_dropout, model.dropout)}.values():
        block.register_forward_hook(
            lambda block, inputs, output: seen.append((output == 0).asnumpy())
        )
    with autograd.record():
        model(ids, model.begin_state(ids.shape[1]))
    return seen


def test_variational_dropout_masks_are_constant_over_time_and_differ_by_column_and_call():
    model, ids = make("lstm", (40, 50), dropout=0.5, variational=True), random_ids((T, N))
    first, again = masks(model, ids)[:], masks(model, ids)
    assert len(first) == len(again) == 3
    for mask, other in zip(first, again):
        assert (mask == mask[:1]).all()
        assert (mask[:, 0] != mask[:, 1]).any()
        assert (mask != other).any()
    ordinary = masks(make("lstm", (40, 50), dropout=0.5), ids)
    assert len(ordinary) == 3
    assert all((mask != mask[:1]).any() for mask in ordinary)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_weight_drop_masks_recurrent_weights_only_in_training(kind):
    dropped, plain = (make(kind, (6,), dropout=0.0, weight_drop=rate) for rate in (0.5, 0.0))
    weight = dropped.layers[0].l0_h2h_weight
    for name, parameter in plain.parameters().items():
        parameter.set_data(dropped.parameters()[name].data())
    ids = random_ids((T, N))

    def agree(logits):
        np.testing.assert_allclose(
            logits.asnumpy(), plain(ids, plain.begin_state(N))[0].asnumpy(), atol=1e-6
        )

    agree(dropped(ids, dropped.begin_state(N))[0])  # scoring uses all of them
    masks = []
    dropped.hybridize(False)
    dropped.layers[0].weight_drop.register_forward_hook(
        lambda block, inputs, output: masks.append((output / weight.data()).asnumpy())
    )
    for _ in range(2):
        with autograd.record():
            logits, _ = dropped(ids, dropped.begin_state(N))
        logits.backward()
        assert set(np.unique(masks[-1].round(5))) == {0, 2}
        assert (
            weight.grad().asnumpy()[masks[-1] == 0] == 0
        ).all()  # dropped weights do not affect the loss
        plain.layers[0].l0_h2h_weight.set_data(weight.data() * nd.array(masks[-1]))
        agree(logits)  # the same weights at every time step
    assert (masks[0] != masks[1]).any()


def test_the_embedding_can_have_its_own_dropout():
    ids = random_ids((50, 20))
    embedded, between, last = masks(make("gru", (40, 50), dropout=0.2, embed_dropout=0.6), ids)
    assert abs(embedded.mean() - 0.6) < 0.03
    assert abs(between.mean() - 0.2) < 0.02
    assert abs(last.mean() - 0.2) < 0.02
    embedded, between, _ = masks(
        build_model(ModelConfig(dropout=0.3, embed_dropout=0.0, num_layers=2), V).prepare(
            [mx.cpu()]
        ),
        ids,
    )
    assert embedded.mean() == 0
    assert between.mean() > 0.2


@pytest.mark.parametrize("tied", [False, True])
def test_word_dropout_drops_tokens_for_a_call_only_in_training(tied):
    dropped, plain = (
        make("gru", (E,), dropout=0.0, tie_weights=tied, word_dropout=rate) for rate in (0.5, 0)
    )
    plain.load_arrays(dropped.arrays())
    ids = random_ids((T, N))
    calm = dropped(ids, dropped.begin_state(N))[0].asnumpy()
    np.testing.assert_array_equal(calm, plain(ids, plain.begin_state(N))[0].asnumpy())
    masks = []
    dropped.hybridize(False)
    dropped.embedding.word_dropout.register_forward_hook(
        lambda block, inputs, output: masks.append((output / inputs[0]).asnumpy())
    )
    dropped.embedding.register_forward_hook(
        lambda block, inputs, output: np.testing.assert_allclose(
            output.asnumpy(),
            (dropped.embedding.weight.data().asnumpy() * masks[-1])[ids.asnumpy().astype(int)],
            rtol=1e-6,
        )
    )
    for _ in range(2):
        with autograd.record():
            dropped(ids, dropped.begin_state(N))
        assert set(np.unique(masks[-1].round(5))) == {0, 2}
        assert (masks[-1] == masks[-1][:, :1]).all()  # a token is dropped completely
    assert (masks[0] != masks[1]).any()
