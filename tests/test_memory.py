"""Parameters that share memory: their parts keep names, values and gradients of their own."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd
from mxnet.gluon import rnn
from networks import E, N, T, make, random_ids

from gluonlm.memory import Packed, memory_of, put_gradients
from gluonlm.models.recurrent import FUSED, PARTS


@pytest.fixture
def parts():
    made = [gluon.Parameter(name, shape=shape) for name, shape in (("a", (2, 3)), ("b", (4,)))]
    for number, part in enumerate(made):
        part.initialize(mx.init.Constant(number + 1))
    return made


def test_parts_lie_behind_each_other_with_their_values(parts):
    packed = Packed("whole", parts)
    assert packed.data().asnumpy().tolist() == [1] * 6 + [2] * 4
    parts[1].set_data(nd.array([5, 6, 7, 8]))
    assert packed.data().asnumpy().tolist() == [1] * 6 + [5, 6, 7, 8]
    packed.data()[:] = nd.arange(10)
    assert parts[0].data().asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert parts[1].data().asnumpy().tolist() == [6, 7, 8, 9]


def test_gradients_of_the_whole_are_those_of_the_parts_wherever_they_are_put(parts):
    packed = Packed("whole", parts)
    for buffer in (packed.grad(), nd.zeros(12)[1:11]):
        put_gradients(packed, [buffer])
        with autograd.record():
            loss = (packed.data() * nd.arange(10)).sum()
        loss.backward()
        assert buffer.asnumpy().tolist() == list(range(10))
        assert parts[0].grad().asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]
        assert parts[1].grad().asnumpy().tolist() == [6, 7, 8, 9]


def test_memory_is_that_of_the_array(parts):
    array = nd.zeros((2, 3))
    memory_of(array)[1, 2] = 4
    assert array.asnumpy().tolist() == [[0, 0, 0], [0, 0, 4]]


@pytest.mark.parametrize("kind", FUSED)
def test_a_packed_layer_computes_what_gluons_own_does(kind):
    size = 7
    ours, theirs = FUSED[kind](size, input_size=E), getattr(rnn, kind.upper())(size, input_size=E)
    for layer in (ours, theirs):
        layer.initialize(mx.init.Uniform(0.5))
    names = sorted(theirs._collect_params_with_prefix())
    ours.pack()
    ours.pack()  # a second time changes nothing
    ours.hybridize(static_alloc=True, static_shape=True)
    named = ours._collect_params_with_prefix()
    assert sorted(named) == names and list(ours.collect_params()) == [ours.prefix + "packed"]
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


def test_layers_with_weight_drop_stay_in_parts_as_the_mask_is_for_one_of_them():
    plain, dropped = (make("lstm", weight_drop=rate).layers[0] for rate in (0.0, 0.5))
    assert list(plain.collect_params()) == [plain.prefix + "packed"]
    assert len(list(dropped.collect_params())) == len(PARTS)


def test_a_saved_model_is_read_by_one_that_is_not_prepared():
    model, ids = make("gru"), random_ids((T, N))
    fresh = make("gru")
    fresh.load_arrays(model.arrays())
    got = [each(ids, each.begin_state(N))[0].asnumpy() for each in (model, fresh)]
    assert (got[0] == got[1]).all()
