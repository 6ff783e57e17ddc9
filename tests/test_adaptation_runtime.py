"""MXNet computes the same with every supported NumPy: exact results, from NumPy 1.26.4."""

import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd

from gluonlm.system.adaptation import modules, repairs
from gluonlm.system.adaptation.names import OVERLAYS

SCALARS = [np.float16(3), np.float32(3), np.float64(3), np.int32(3), np.int64(3), 3, 3.0]


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


def measured(metric, *batches):
    for labels, predictions in batches:
        metric.update([nd.array(labels)], [nd.array(predictions)])
    return metric.get()[1]


# parameters of the C++ library: NumPy scalars as text


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8, int])
def test_operators_accept_numpy_integers_in_tuples(integer):
    array = nd.arange(6).reshape((integer(2), integer(3)))
    check(array.sum(axis=(integer(0),)), [3, 5, 7], "float32")
    check(nd.zeros((integer(2), integer(1))), [[0], [0]], "float32")
    check(nd.slice(array, begin=(integer(1), None), end=(None, integer(2))), [[3, 4]], "float32")
    check(nd.tile(nd.ones(1), reps=(integer(2),)), [1, 1], "float32")
    check(nd.random.uniform(2, 2, shape=(integer(2),)), [2, 2], "float32")
    check(mx.np.ones((integer(2),)).sum(axis=(integer(0),)), 2, "float32")


def test_symbols_accept_numpy_scalars():
    shape = (2, np.int64(3))
    data = mx.sym.Variable("data", shape=shape)
    symbol = mx.sym.sum(data * np.float32(0.5), axis=(np.int64(1),))
    attributes = [node.get("attrs", {}) for node in json.loads(symbol.tojson())["nodes"]]
    assert {"__shape__": "(2, 3)"} in attributes
    assert {"scalar": "0.5"} in attributes
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


def test_the_serializer_otherwise_uses_str():
    text = modules.Text
    assert [text(), text("np."), text(1), text((1, "a")), text(None)] == [
        *("", "np.", "1", "(1, 'a')", "None")
    ]
    assert text([np.float32(0.1), np.float64(0.1), np.bool_(True)]) == "[0.1, 0.1, True]"
    assert isinstance("a", text)
    assert not isinstance(1, text)
    assert repr(np.float32(1.5)) == ("np.float32(1.5)" if np.__version__ >= "2" else "1.5")


# arithmetic


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: type(scalar).__name__)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64"])
def test_scalars_do_not_change_the_dtype_of_an_ndarray(dtype, scalar):
    array = nd.array([1, 2], dtype=dtype)
    for result in (array + scalar, scalar + array):
        check(result, [4, 5], dtype)
    check(scalar - array, [2, 1], dtype)
    check(array * scalar, [3, 6], dtype)
    check(scalar**array, [3, 9], dtype)
    check(array > scalar, [0, 0], dtype)
    array[:] = scalar
    array += scalar
    check(array, [6, 6], dtype)


@pytest.mark.parametrize(
    "dtype, scalar, expected",
    [
        ("float16", np.float64(2), "float16"), ("float16", np.int64(2), "float16"),
        ("float32", np.float64(2), "float32"), ("float32", np.int32(2), "float32"),
        ("int32", np.int64(2), "int32"), ("uint8", np.int8(2), "uint8"),
        ("int32", np.float32(2), "float64"), ("float32", 2, "float32"),
    ],
)  # fmt: skip
def test_mxnet_numpy_promotes_scalars_by_value(dtype, scalar, expected):
    array = mx.np.array([5, 6], dtype=dtype)
    check(np.floor_divide(array, scalar), [2, 3], expected)
    operator = repairs._promote_by_value(np.floor_divide)
    assert operator(np.array([5, 6], dtype), np.array(scalar)).dtype == expected


def test_promotion_by_value_keeps_scalars_that_exceed_the_arrays_dtype():
    array = mx.np.array([5, 6], dtype="uint8")
    check(np.floor_divide(array, np.int64(-(2**40))), [-1, -1], "int64")
    assert repairs._promote_by_value(np.fmax)(np.float32(1), np.float64(2)).dtype == "float64"
    check(np.fmax(mx.np.array([1, 3]), np.float64(2)), [2, 3], "float32")
    check(np.logaddexp(mx.np.zeros(1), mx.np.array([-np.inf])), [0], "float32")


# arrays


@pytest.mark.parametrize("make", [nd.array, mx.np.array])
def test_arrays_from_numpy_scalars_arrays_and_lists(make):
    check(make(np.array([1, 2], "int64"), dtype="int64"), [1, 2], "int64")
    check(make([np.float64(1), np.int32(2)]), [1, 2], "float32")
    check(make([np.array([1, 2]), [3, 4]]), [[1, 2], [3, 4]], "float32")
    check(make(np.full(1, 1.5)), [1.5], "float64" if make is mx.np.array else "float32")
    check(make([300, -1, 2**40 + 7], dtype="uint8"), [44, 255, 7], "uint8")
    check(make([2**31], dtype="int32"), [-(2**31)], "int32")
    array = make([0, 0], dtype="uint8")
    array[:] = [257, -2]
    check(array, [1, 254], "uint8")


def test_out_of_range_integers_wrap_in_mxnet_only():
    overlay = OVERLAYS["numpy"]
    for function in (overlay.array, overlay.asarray):
        assert function([255, 256], "uint8").tolist() == [255, 0]
        assert function([1.5], dtype="float32", order="C").dtype == "float32"
        with pytest.raises(OverflowError):
            function([2**70], dtype="int8")
    assert np.array is not overlay.array
    if np.__version__ >= "2":
        with pytest.raises(OverflowError):
            np.array([256], "uint8")


def test_mxnet_numpy_and_its_fallbacks():
    array = mx.np.array([[3.0, 1], [2, 6]])
    check(mx.np.split(mx.np.arange(4), np.int64(2))[1], [2, 3], "float32")
    check(np.concatenate([array, array]).sum(), 24, "float32")
    check(np.any(array > 2, axis=0), [True, True], "bool")
    check(np.prod(array, axis=np.int64(1)), [3, 12], "float32")
    check(mx.np.take_along_axis(array, mx.np.array([[0], [1]], dtype="int64"), 1), [[3], [6]],
          "float32")  # fmt: skip
    check(mx.np.in1d(array, mx.np.array([1.0, 6])), [False, True, False, True], "bool")
    assert mx.np.trapz(mx.np.array([1.0, 4, 2])) == 5.5
    check(mx.np.clip(array, np.float32(2), np.float64(3)), [[3, 2], [2, 3]], "float32")
    check(mx.np.linalg.inv(mx.np.array([[2.0, 0], [0, 4]])), [[0.5, 0], [0, 0.25]], "float32")


def test_decompositions_of_numpy_return_arrays_of_mxnet():
    diagonal = mx.np.array([[0.0, 2], [3, 0]])
    q, r = mx.np.linalg.qr(diagonal)
    check(abs(q), [[0, 1], [1, 0]], "float32")
    check(abs(r), [[3, 0], [0, 2]], "float32")
    check(np.linalg.svd(diagonal).S, [3, 2], "float32")


@pytest.mark.parametrize("keyword", ["interpolation", "method"])
def test_nanquantile_has_the_keyword_of_quantile(keyword):
    array = mx.np.array([1, np.nan, 4, 2], dtype="float32")
    for function, q in ((mx.np.nanquantile, 0.6), (mx.np.nanpercentile, 60)):
        assert [float(function(array, q, **{keyword: name})) for name in ("lower", "higher")] == [
            *(2, 4)
        ]
    assert float(mx.np.nanquantile(array, 0.5)) == 2


def test_random_numbers_depend_only_on_the_seed():
    def draw(seed):
        mx.random.seed(seed)
        return [nd.random.randint(0, 10, shape=8).asnumpy().tolist(),
                mx.np.random.normal(size=(np.int64(2),)).asnumpy().tolist()]  # fmt: skip

    assert draw(np.int64(5)) == draw(5) != draw(6)


def test_arrays_are_saved_and_loaded(tmp_path):
    path = str(tmp_path / "arrays")
    nd.save(path, {"a": nd.array([1, 2], dtype="int64"), "b": nd.ones(1, dtype="float16")})
    loaded = nd.load(path)
    check(loaded["a"], [1, 2], "int64")
    check(loaded["b"], [1], "float16")


# metrics, optimizers, data


def test_metrics_sum_in_double_precision():
    metric = mx.metric.Loss()
    for loss in (2.0**24, 1.0, 1.0, 1.0):
        metric.update(None, [nd.array([loss])])
    assert metric.sum_metric == metric.global_sum_metric == 2**24 + 3
    metric.reset_local()
    assert metric.num_inst == metric.sum_metric == 0
    assert metric.global_sum_metric == 2**24 + 3
    custom = mx.metric.np(lambda label, prediction: np.float32(prediction.sum()))
    assert measured(custom, ([0], [2.0**24]), ([0], [1.0]), ([0], [1.0])) * 3 == 2**24 + 2


@pytest.mark.parametrize(
    "name, value",
    [
        ("acc", 0.5), ("top_k_accuracy", 1.0), ("f1", 0.5), ("mcc", 0.5),
        ("ce", -np.log(0.75 * 0.5 * 0.25 * 0.5) / 4), ("perplexity", (3 / 64) ** -0.25),
    ],
)  # fmt: skip
def test_metrics_of_classes(name, value):
    settings = {"top_k_accuracy": {"top_k": 2}, "perplexity": {"ignore_label": None}}
    first = [0, 1], [[0.75, 0.25], [0.5, 0.5]]
    second = [1, 0], [[0.75, 0.25], [0.5, 0.5]]
    if name in ("f1", "mcc"):
        first, second = ([1, 0], [[0.2, 0.8], [0.8, 0.2]]), ([0, 0], [[0.8, 0.2]] * 2)
    result = measured(mx.metric.create(name, **settings.get(name, {})), first, second)
    assert result == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("name, value", [("mae", 0.75), ("mse", 0.8125), ("rmse", 0.75)])
def test_metrics_of_numbers(name, value):
    batches = ([1.0, 2], [1.5, 2.5]), ([0.0, 0], [1, -1])
    expected = {"mse": (0.25 + 1) / 2}.get(name, value)
    assert measured(mx.metric.create(name), *batches) == expected


STEPS = {
    "adadelta": [0.99, -2.01, 3.01], "adagrad": [0.0, -3.0, 4.0], "adam": [0.0, -3.0, 4.0],
    "adamax": [0.0, -3.0, 4.0], "ftml": [0.0, -3.0, 4.0], "signum": [0.0, -3.0, 4.0],
    "nag": [0.5, -2.25, 4.0], "sgd": [0.5, -2.25, 4.0], "test": [1.5, -1.75, 2.0],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(mx.optimizer.Optimizer.opt_registry))
def test_each_optimizer_updates_the_weights(name):
    weight = updated(name, learning_rate=1.0) if name != "adadelta" else updated(name)
    assert weight.shape == (3,)
    assert (weight != [1, -2, 3]).all()
    assert np.isfinite(weight).all()
    if name in STEPS:
        np.testing.assert_allclose(weight, STEPS[name], atol=1e-3)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_data_loader_returns_batches(workers):
    labels = [np.float64(label) for label in range(3)]
    data = gluon.data.ArrayDataset(np.arange(6, dtype="float32").reshape(3, 2), labels)
    first, last = gluon.data.DataLoader(data, 2, num_workers=workers)
    check(first[0], [[0, 1], [2, 3]], "float32")
    check(last[0], [[4, 5]], "float32")
    check(last[1], [2], "float64")


def test_vocabulary_and_embedding_from_a_file(tmp_path):
    from mxnet.contrib import text

    path = tmp_path / "vectors.txt"
    path.write_text("a 0.5 1\nb 2 3\n")
    vocabulary = text.vocab.Vocabulary(text.utils.count_tokens_from_str("b b c"))
    assert vocabulary.to_indices(["b", "missing"]) == [1, 0]
    embedding = text.embedding.CustomEmbedding(str(path), vocabulary=vocabulary)
    check(embedding.idx_to_vec, [[0, 0], [2, 3], [0, 0]], "float32")
    embedding.update_token_vectors("c", nd.array([7, 8]))
    check(embedding.get_vecs_by_tokens(["c", "b"]), [[7, 8], [2, 3]], "float32")


@pytest.mark.parametrize("label", [7.0, [1, 2.5], np.array([1, 2.5])])
def test_records_are_packed_and_read(tmp_path, label):
    paths = str(tmp_path / "index"), str(tmp_path / "records")
    writer = mx.recordio.MXIndexedRecordIO(*paths, "w")
    writer.write_idx(3, mx.recordio.pack(mx.recordio.IRHeader(0, label, 5, 0), b"text"))
    writer.close()
    reader = mx.recordio.MXIndexedRecordIO(*paths, "r")
    header, content = mx.recordio.unpack(reader.read_idx(3))
    assert content == b"text"
    assert header.id == 5
    np.testing.assert_array_equal(header.label, label)


def test_gradients_flow_through_a_function_of_numpy():
    class Square(autograd.Function):
        def forward(self, x):
            self.save_for_backward(x)
            return nd.array(np.square(x.asnumpy()))

        def backward(self, gradient):
            return 2 * gradient * self.saved_tensors[0]

    x = nd.array([1, 3])
    x.attach_grad()
    with autograd.record():
        y = Square()(x)
    y.backward(nd.array([np.float32(1), np.float64(2)]))
    check(x.grad, [2, 12], "float32")


def test_exported_network_computes_the_same_with_onnx(tmp_path):
    onnx, onnxruntime = map(pytest.importorskip, ("onnx", "onnxruntime"))
    mx.random.seed(1)
    network = gluon.nn.HybridSequential()
    network.add(gluon.nn.Dense(np.int64(3), in_units=2, activation="relu"), gluon.nn.Dense(2))
    network.initialize()
    network.hybridize()
    data = nd.array([[1, -2], [0.5, 3]])
    expected = network(data).asnumpy()
    network.export(str(tmp_path / "net"))
    path = mx.onnx.export_model(
        str(tmp_path / "net-symbol.json"), str(tmp_path / "net-0000.params"), [(2, 2)],
        np.float32, str(tmp_path / "net.onnx"),
    )  # fmt: skip
    model = onnx.load(path)
    # the newest versions of this ONNX may be too new for this ONNX Runtime
    model.ir_version, model.opset_import[0].version = 8, 13
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (output,) = session.run(None, {"data": data.asnumpy()})
    np.testing.assert_allclose(output, expected, rtol=1e-5)


def test_gluonnlp_hashes_bytes_above_127_and_pads_with_values_out_of_range():
    """FNV-1a over signed bytes, as in fastText; -1 is 255 in uint8."""
    pytest.importorskip("gluonnlp")
    from gluonnlp.data.batchify import Pad
    from gluonnlp.vocab.subwords import _fasttext_hash

    expected = 2166136261
    for byte in "τε".encode():
        signed = byte - 256 if byte > 127 else byte
        expected = (expected ^ signed % 2**32) * 16777619 % 2**32
    with np.errstate(over="ignore"):
        assert int(_fasttext_hash("τε".encode())) == expected
    rows = [np.array([1, 2], "uint8"), np.array([3], "uint8")]
    check(Pad(pad_val=-1, dtype="uint8")(rows), [[1, 2], [3, 255]], np.uint8)
