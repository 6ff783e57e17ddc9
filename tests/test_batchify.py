"""Batches of text: exact small arrays, NumPy and MXNet alike."""

import mxnet as mx
import numpy as np
import pytest
from conftest import start
from hypothesis import given
from hypothesis import strategies as st

from gluonlm.batchify import batches as batches_module
from gluonlm.batchify.batches import StreamBatches, WindowBatches, make_batches
from gluonlm.batchify.shuffle import line_order, mixed_order
from gluonlm.batchify.slicing import get_batch, rnn_batch, windows
from gluonlm.system.errors import InputError


def as_numpy(array):
    return array.asnumpy() if isinstance(array, mx.nd.NDArray) else np.asarray(array)


@pytest.fixture(params=["numpy", "mxnet"])
def ids(request):
    """Return a function that returns 0, 1, 2 ... as an array of the library under test."""
    arange = np.arange if request.param == "numpy" else mx.nd.arange
    return lambda n: arange(n, dtype="int32")


def test_rnn_batch_splits_into_streams_and_drops_the_rest(ids):
    streams = rnn_batch(ids(11), 3)
    assert streams.dtype == np.int32
    assert as_numpy(streams).tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert as_numpy(rnn_batch(ids(3), 3)).tolist() == [[0, 1, 2]]


def test_get_batch_returns_next_tokens_and_a_short_last_batch(ids):
    streams = rnn_batch(ids(12), 2)
    inputs, targets = get_batch(streams, 0, 3)
    assert as_numpy(inputs).tolist() == [[0, 6], [1, 7], [2, 8]]
    assert as_numpy(targets).tolist() == [1, 7, 2, 8, 3, 9]
    inputs, targets = get_batch(streams, 3, 3)
    assert as_numpy(inputs).tolist() == [[3, 9], [4, 10]]
    assert as_numpy(targets).tolist() == [4, 10, 5, 11]


def test_windows_start_at_multiples_of_step_and_target_the_next_token(ids):
    inputs, targets = windows(ids(9), 3, 2)
    assert as_numpy(inputs).tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert as_numpy(targets).tolist() == [3, 5, 7]
    inputs, targets = windows(ids(8), 3, 1)
    assert as_numpy(inputs)[-1].tolist() == [4, 5, 6]
    assert as_numpy(targets)[-1] == 7
    assert len(inputs) == len(targets) == 5
    inputs, targets = windows(ids(4), 3)
    assert (as_numpy(inputs).tolist(), as_numpy(targets).tolist()) == ([[0, 1, 2]], [3])


def test_numpy_results_are_views():
    data = np.arange(100, dtype=np.int32)
    streams = rnn_batch(data, 4)
    for view in (streams, get_batch(streams, 5, 3)[0], *windows(data, 10, 3)):
        assert np.shares_memory(view, data)


def test_mxnet_ids_beyond_float32_stay_exact():
    data = mx.nd.array(np.array([2**24, 2**24 + 1, 2**24 + 2, 2**24 + 3]), dtype="int32")
    assert as_numpy(windows(data, 2)[0]).tolist() == [[2**24, 2**24 + 1], [2**24 + 1, 2**24 + 2]]


@given(st.integers(2, 300), st.integers(1, 20), st.integers(1, 30))
def test_concatenated_batches_are_the_text(tokens, batch_size, seq_len):
    data = np.random.default_rng(tokens).integers(0, 50, tokens).astype(np.int32)
    rows = tokens // batch_size
    if rows < 2:
        with pytest.raises(ValueError, match=str(tokens)):
            StreamBatches(data, batch_size, seq_len)
        return
    batches = StreamBatches(data, batch_size, seq_len)
    pairs = [batches(0, i) for i in range(len(batches))]
    inputs = np.concatenate([inputs for inputs, _ in pairs])
    targets = np.concatenate([targets.reshape(-1, batch_size) for _, targets in pairs])
    streams = data[: rows * batch_size].reshape(batch_size, rows)
    assert inputs.T.tolist() == streams[:, :-1].tolist()
    assert targets.T.tolist() == streams[:, 1:].tolist()
    assert {len(inputs) for inputs, _ in pairs[:-1]} <= {seq_len}


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 20))
def test_windows_cover_every_position(tokens, length, step):
    data = np.arange(tokens)
    expected = [(list(range(i, i + length)), i + length) for i in range(0, tokens - length, step)]
    if not expected:
        with pytest.raises(ValueError, match=str(tokens)):
            windows(data, length, step)
        return
    inputs, targets = windows(data, length, step)
    assert list(zip(inputs.tolist(), targets.tolist())) == expected


def test_window_batches_are_shuffled_by_seed_and_epoch_without_loss():
    data = np.arange(50, dtype=np.int32)
    batches = WindowBatches(data, 8, 3, seed=5)
    seen = [np.concatenate([batches(epoch, i)[1] for i in range(len(batches))]) for epoch in (0, 1)]
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(3, 50))
    assert seen[0].tolist() != seen[1].tolist()
    again = WindowBatches(data, 8, 3, seed=5)
    assert again(1, 2)[1].tolist() == seen[1][16:24].tolist()  # without reading epoch 0 first
    assert WindowBatches(data, 8, 3, seed=0)(0, 0)[1].tolist() != list(range(3, 11))
    inputs, targets = batches(0, 0)
    assert inputs.shape == (3, 8)
    assert [column.tolist() for column in inputs.T] == [[t - 3, t - 2, t - 1] for t in targets]
    assert batches(0, 5)[0].shape == (3, 7)
    assert batches(0, 5)[1].shape == (7,)


def test_without_a_seed_windows_are_in_text_order():
    batches = WindowBatches(np.arange(20), 3, 2, step=2)
    assert len(batches) == 3
    assert [batches(7, i)[1].tolist() for i in range(3)] == [[2, 4, 6], [8, 10, 12], [14, 16, 18]]


@pytest.mark.parametrize("shuffle, order", [("mixed", mixed_order), ("line", line_order)])
@pytest.mark.parametrize("batch_size", [1, 7, 12, 13, 40])
def test_batches_follow_the_order_when_read_in_any_order(shuffle, order, batch_size, monkeypatch):
    monkeypatch.setattr(batches_module, "SHUFFLED_AT_ONCE", 12)
    batches = WindowBatches(np.arange(103), batch_size, 3, seed=4, shuffle=shuffle)
    expected = {epoch: order(np.arange(100), 100, 4, epoch) + 3 for epoch in (0, 1)}
    assert len(batches) == -(-100 // batch_size)
    for index in (*range(len(batches)), *reversed(range(len(batches)))):
        for epoch in (0, 1):
            rows = slice(index * batch_size, (index + 1) * batch_size)
            assert batches(epoch, index)[1].tolist() == expected[epoch][rows].tolist()


def test_the_error_of_an_unknown_order_lists_the_valid_ones():
    with pytest.raises(InputError, match=r"^`shuffle` 'riffle': .* mixed, line$"):
        WindowBatches(np.arange(20), 3, 2, seed=1, shuffle="riffle")


def test_make_batches_follows_the_window_of_the_model():
    data = np.arange(40, dtype=np.int32)
    streams = make_batches(None, data, 4, 5)
    assert streams(0, 0)[0].tolist() == rnn_batch(data, 4)[:5].tolist()
    assert (
        streams(0, 1)[0].tolist() == streams(3, 1)[0].tolist() == rnn_batch(data, 4)[5:9].tolist()
    )
    assert make_batches(3, data, 4, 5)(0, 0)[0].T.tolist() == [[i, i + 1, i + 2] for i in range(4)]
    inputs, targets = make_batches(3, data, 4, 5, 2, 7, "line")(1, 0)  # 19 windows
    assert targets.tolist() == (2 * line_order(np.arange(4), 19, 7, 1) + 3).tolist()
    mixed = make_batches(3, data, 4, 5, 2, 7)(1, 0)[1]
    assert mixed.tolist() == (2 * mixed_order(np.arange(4), 19, 7, 1) + 3).tolist()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda d: rnn_batch(d, 0), "5 tokens .* 0 .*`batch_size`"),
        (lambda d: rnn_batch(d, -1), "5 tokens .* -1 .*`batch_size`"),
        (lambda d: rnn_batch(d, 6), "5 tokens .* 6 .*`batch_size` from 1 to 5"),
        (lambda d: get_batch(d[:, None], 4, 2), "row 4 .*`seq_len` 2"),
        (lambda d: get_batch(d[:, None], -1, 2), "row -1 .* 0 to 3"),
        (lambda d: get_batch(d[:, None], 0, 0), "row 0 .*`seq_len` 0"),
        (lambda d: windows(d, 5), " 5 .* step 1 .* 5 tokens"),
        (lambda d: windows(d, 0), " 0 .* step 1 .* 5 tokens"),
        (lambda d: windows(d, 2, 0), " 2 .* step 0 .* 5 tokens"),
        (lambda d: StreamBatches(d, 3, 2), "5 tokens .* 3 .*`batch_size`"),
    ],
)
def test_errors_about_short_data_and_bad_sizes_include_the_numbers(call, message):
    with pytest.raises(InputError, match=message):
        call(np.arange(5))


def test_batchify_and_vocabulary_import_without_mxnet():
    code = (
        "import sys; sys.modules['mxnet'] = None; import gluonlm; "
        "from gluonlm import rnn_batch, get_batch, Vocab; "
        "print(Vocab('char', 'ab').encode('ba').tolist())"
    )
    out, err = start("-c", code).communicate()
    assert (out, err) == ("[1, 0]\n", "")


@pytest.mark.full
def test_the_tutorials_shapes_on_nietzsche(corpus_path):
    text = corpus_path("nietzsche").read_bytes().decode("latin-1")
    symbols = sorted(set(text))
    ids = np.array([symbols.index(c) for c in text], np.int32)
    assert len(ids) == 600_901
    assert len(symbols) == 85
    assert rnn_batch(ids, 32).shape == (18778, 32)
    # the tutorial stops its range one window early and then drops two more
    assert windows(ids, 3, 3)[0].shape == (200_297 + 3, 3)


def test_random_segments_are_consecutive_with_the_requested_mean_length():
    text = np.arange(5001)
    batches, plain = StreamBatches(text, 2, 20, seed=3), StreamBatches(text, 2, 20)
    assert len(batches) == len(plain) == 125
    lengths = []
    for epoch in (0, 1):
        read = [batches(epoch, index) for index in range(len(batches))]
        inputs = np.concatenate([inputs for inputs, _ in read])
        targets = np.concatenate([targets.reshape(-1, 2) for _, targets in read])
        np.testing.assert_array_equal(inputs, plain.streams[:-1])
        np.testing.assert_array_equal(targets, plain.streams[1:])
        lengths.append([len(inputs) for inputs, _ in read])
    assert lengths[0] != lengths[1]
    shares = np.concatenate(lengths) / 20
    assert 0.02 < (shares < 0.75).mean() < 0.1
    assert shares.min() > 0.2
    assert shares.max() < 1.5
    again = StreamBatches(text, 2, 20, seed=3)  # read a single batch, out of order
    np.testing.assert_array_equal(again(1, 77)[0], batches(1, 77)[0])


def test_random_segments_are_never_empty_and_too_short_ones_are_refused():
    for seed in range(200):
        batches = StreamBatches(np.arange(333), 1, 8, seed)
        assert min(len(batches(0, index)[0]) for index in range(len(batches))) >= 1
    with pytest.raises(InputError, match="`seq_len` 7"):
        StreamBatches(np.arange(333), 1, 7, seed=1)
