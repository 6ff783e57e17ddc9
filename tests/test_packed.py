"""Packed parameters share memory; each part keeps its name, value and gradient."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd
from mxnet.gluon import rnn
from networks import E, N, T, make, random_ids

from gluonlm.models.packed import BufferPool, Packed, memory_of, put_gradients, split, together
from gluonlm.models.recurrent import FUSED, PARTS


@pytest.fixture
def parts():
    made = [gluon.Parameter(name, shape=shape) for name, shape in (("a", (2, 3)), ("b", (4,)))]
    for number, part in enumerate(made):
        part.initialize(mx.init.Constant(number + 1))
    return made


def test_parts_are_contiguous_and_keep_their_values(parts):
    packed = Packed("whole", parts)
    assert packed.data().asnumpy().tolist() == [1] * 6 + [2] * 4
    parts[1].set_data(nd.array([5, 6, 7, 8]))
    assert packed.data().asnumpy().tolist() == [1] * 6 + [5, 6, 7, 8]
    packed.data()[:] = nd.arange(10)
    assert parts[0].data().asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert parts[1].data().asnumpy().tolist() == [6, 7, 8, 9]


def test_the_packed_gradient_equals_the_parts_gradients_in_any_buffer(parts):
    packed = Packed("whole", parts)
    for buffer in (packed.grad(), nd.zeros(12)[1:11]):
        put_gradients(packed, [buffer])
        with autograd.record():
            loss = (packed.data() * nd.arange(10)).sum()
        loss.backward()
        assert buffer.asnumpy().tolist() == list(range(10))
        assert parts[0].grad().asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]
        assert parts[1].grad().asnumpy().tolist() == [6, 7, 8, 9]


def test_memory_views_share_the_arrays_memory(parts):
    array = nd.zeros((2, 3))
    memory_of(array)[1, 2] = 4
    assert array.asnumpy().tolist() == [[0, 0, 0], [0, 0, 4]]


def test_a_buffer_pool_has_one_buffer_for_each_shape():
    pool, ids = BufferPool(mx.cpu()), np.arange(12, dtype=np.int64).reshape(3, 4)
    first, other = pool.put(ids), pool.put(ids[0])
    assert first.dtype == np.int32
    assert first.asnumpy().tolist() == ids.tolist()
    assert pool.put(ids[:, ::-1]) is first
    assert first.asnumpy().tolist() == ids[:, ::-1].tolist()
    assert other.asnumpy().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", FUSED)
def test_a_packed_layer_agrees_with_gluons(kind):
    size = 7
    ours, theirs = FUSED[kind](size, input_size=E), getattr(rnn, kind.upper())(size, input_size=E)
    for layer in (ours, theirs):
        layer.initialize(mx.init.Uniform(0.5))
    names = sorted(theirs._collect_params_with_prefix())
    ours.pack_weights()
    ours.pack_weights()  # packing again has no effect
    ours.hybridize(static_alloc=True, static_shape=True)
    named = ours._collect_params_with_prefix()
    assert sorted(named) == names
    assert list(ours.collect_params()) == [ours.prefix + "packed"]
    for name, parameter in theirs._collect_params_with_prefix().items():
        named[name].set_data(parameter.data())
    inputs, results = nd.random.uniform(-1, 1, (T, N, E)), []
    for layer in (ours, theirs):
        with autograd.record():
            output, state = layer(inputs, layer.begin_state(N))
            (output * output).sum().backward()
        gradients = [layer._collect_params_with_prefix()[name].grad() for name in names]
        results.append([each.asnumpy() for each in (output, *state, *gradients)])
    for got, want in zip(*results):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_layers_with_weight_drop_are_not_packed():
    models = [make("lstm", weight_drop=rate) for rate in (0.0, 0.5)]
    for model in models:
        model.pack()
    plain, dropped = (model.layers[0] for model in models)
    assert list(plain.collect_params()) == [plain.prefix + "packed"]
    assert len(list(dropped.collect_params())) == len(PARTS)


def test_packing_keeps_a_models_names_and_logits():
    model, ids = make("gru", (7, 5)), random_ids((T, N))
    shapes = {name: parameter.shape for name, parameter in model.parameters().items()}
    plain = model(ids, model.begin_state(N))[0].asnumpy()
    arrays = model.arrays()
    model.pack()
    assert {name: parameter.shape for name, parameter in model.parameters().items()} == shapes
    assert (model(ids, model.begin_state(N))[0].asnumpy() == plain).all()
    model.load_arrays({name: 2 * array for name, array in arrays.items()})
    model.load_arrays(arrays)
    assert (model(ids, model.begin_state(N))[0].asnumpy() == plain).all()


def test_packing_everything_reuses_existing_packs(parts):
    alone = gluon.Parameter("c", shape=(2,))
    alone.initialize(mx.init.Constant(3))
    inner = Packed("inner", parts)
    whole = together([*parts, alone])
    assert whole.parts == [inner, alone]
    assert together(parts) is whole
    whole.data()[:] = nd.arange(12)
    assert parts[1].data().asnumpy().tolist() == [6, 7, 8, 9]
    assert inner.data().asnumpy().tolist() == list(range(10))
    with autograd.record():
        loss = (inner.data() * nd.arange(10)).sum() + alone.data()[1]
    loss.backward()
    assert whole.grad().asnumpy().tolist() == [*range(10), 0, 1]
    places = [(part.name, place.asnumpy().tolist()) for part, place in split(whole, whole.data())]
    assert places == [("a", [[0, 1, 2], [3, 4, 5]]), ("b", [6, 7, 8, 9]), ("c", [10, 11])]
