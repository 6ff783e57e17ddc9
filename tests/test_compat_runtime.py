"""MXNet computes the same with every supported NumPy: exact results, from NumPy 1.26.4."""

import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon, nd

from gluonlm import compat


def check(array, values, dtype):
    """Assert that an array has exactly these values and this dtype."""
    assert np.dtype(array.dtype) == dtype
    np.testing.assert_array_equal(array.asnumpy(), values)


def updated(name, **settings):
    """Return a weight after one step of an optimizer."""
    mx.random.seed(1)
    weight = nd.array([1, -2, 3])
    if name == "groupadagrad":  # a matrix
        weight = weight.reshape((3, 1))
    update = mx.optimizer.get_updater(mx.optimizer.create(name, **settings))
    update(0, nd.array([0.5, 0.25, -1]).reshape(weight.shape), weight)
    return weight.asnumpy().ravel()


# parameters of the C++ library: text with the scalars of NumPy


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8, int])
def test_operators_take_numpy_integers_in_tuples(integer):
    array = nd.arange(6).reshape((integer(2), integer(3)))
    check(array.sum(axis=(integer(0),)), [3, 5, 7], "float32")
    check(nd.zeros((integer(2), integer(1))), [[0], [0]], "float32")
    check(nd.slice(array, begin=(integer(1), None), end=(None, integer(2))), [[3, 4]], "float32")
    check(nd.tile(nd.ones(1), reps=(integer(2),)), [1, 1], "float32")
    check(nd.random.uniform(2, 2, shape=(integer(2),)), [2, 2], "float32")
    check(mx.np.ones((integer(2),)).sum(axis=(integer(0),)), 2, "float32")


def test_symbols_take_numpy_scalars():
    shape = (2, np.int64(3))
    data = mx.sym.Variable("data", shape=shape)
    symbol = mx.sym.sum(data * np.float32(0.5), axis=(np.int64(1),))
    attributes = [node.get("attrs", {}) for node in json.loads(symbol.tojson())["nodes"]]
    assert {"__shape__": "(2, 3)"} in attributes and {"scalar": "0.5"} in attributes
    assert {"axis": "(1,)"} in attributes
    (output,) = mx.sym.load_json(symbol.tojson()).eval(data=nd.ones((2, 3)))
    check(output, [1.5, 1.5], "float32")


def test_initializers_and_optimizers_pass_numpy_scalars_on():
    layer = gluon.nn.Dense(2, in_units=np.int64(3), weight_initializer=mx.init.Orthogonal(2.0))
    layer.initialize()
    weight = layer.weight.data().asnumpy()
    np.testing.assert_allclose(weight @ weight.T, 4 * np.eye(2), atol=1e-5)
    plain = updated("sgd", learning_rate=0.5, wd=0.25)
    assert plain.tolist() == [0.625, -1.875, 3.125]
    assert updated("sgd", learning_rate=np.float64(0.5), wd=np.float32(0.25)).tolist() == [*plain]


def test_text_of_a_serializer_is_str_otherwise():
    text = compat.Text
    assert [text(), text("np."), text(1), text((1, "a")), text(None)] == [
        *("", "np.", "1", "(1, 'a')", "None")
    ]
    assert text([np.float32(0.1), np.float64(0.1), np.bool_(True)]) == "[0.1, 0.1, True]"
    assert isinstance("a", text) and not isinstance(1, text)
    assert repr(np.float32(1.5)) == ("np.float32(1.5)" if np.__version__ >= "2" else "1.5")
