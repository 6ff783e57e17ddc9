"""Batches of text: exact small arrays, NumPy and MXNet alike."""

import mxnet as mx
import numpy as np
import pytest
from conftest import start
from hypothesis import given
from hypothesis import strategies as st

from gluonlm.batchify import (
    StreamBatches,
    WindowBatches,
    get_batch,
    make_batches,
    rnn_batch,
    windows,
)


def as_numpy(array):
    return array.asnumpy() if isinstance(array, mx.nd.NDArray) else np.asarray(array)


@pytest.fixture(params=["numpy", "mxnet"])
def ids(request):
    """Gives 0, 1, 2 ... as an array of the library under test."""
    return lambda n: (
        np.arange(n, dtype=np.int32) if request.param == "numpy" else mx.nd.arange(n, dtype="int32")
    )


def test_rnn_batch_puts_strips_side_by_side_and_cuts_the_rest(ids):
    columns = rnn_batch(ids(11), 3)
    assert columns.dtype == np.int32
    assert as_numpy(columns).tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


def test_get_batch_gives_each_input_its_successor_and_a_short_last_batch(ids):
    columns = rnn_batch(ids(12), 2)
    inputs, targets = get_batch(columns, 0, 3)
    assert as_numpy(inputs).tolist() == [[0, 6], [1, 7], [2, 8]]
    assert as_numpy(targets).tolist() == [1, 7, 2, 8, 3, 9]
    inputs, targets = get_batch(columns, 3, 3)
    assert as_numpy(inputs).tolist() == [[3, 9], [4, 10]]
    assert as_numpy(targets).tolist() == [4, 10, 5, 11]


def test_windows_overlap_by_step_and_know_what_follows(ids):
    inputs, targets = windows(ids(9), 3, 2)
    assert as_numpy(inputs).tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert as_numpy(targets).tolist() == [3, 5, 7]
    inputs, targets = windows(ids(8), 3, 1)
    assert (
        as_numpy(inputs)[-1].tolist() == [4, 5, 6]
        and as_numpy(targets)[-1] == 7
        and len(inputs) == len(targets) == 5
    )


def test_numpy_results_are_views():
    data = np.arange(100, dtype=np.int32)
    columns = rnn_batch(data, 4)
    for view in (columns, get_batch(columns, 5, 3)[0], *windows(data, 10, 3)):
        assert np.shares_memory(view, data)


def test_mxnet_ids_beyond_float32_stay_exact():
    data = mx.nd.array(np.array([2**24, 2**24 + 1, 2**24 + 2, 2**24 + 3]), dtype="int32")
    assert as_numpy(windows(data, 2)[0]).tolist() == [[2**24, 2**24 + 1], [2**24 + 1, 2**24 + 2]]


@given(st.integers(2, 300), st.integers(1, 20), st.integers(1, 30))
def test_batches_glued_together_are_the_text(tokens, batch_size, seq_len):
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
    assert (
        inputs.T.ravel().tolist()
        == data[: rows * batch_size].reshape(batch_size, rows)[:, :-1].ravel().tolist()
    )
    assert (
        targets.T.ravel().tolist()
        == data[: rows * batch_size].reshape(batch_size, rows)[:, 1:].ravel().tolist()
    )


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 20))
def test_windows_are_all_there_are(tokens, length, step):
    data = np.arange(tokens)
    expected = [(list(range(i, i + length)), i + length) for i in range(0, tokens - length, step)]
    if not expected:
        with pytest.raises(ValueError, match=str(tokens)):
            windows(data, length, step)
        return
    inputs, targets = windows(data, length, step)
    assert list(zip(inputs.tolist(), targets.tolist())) == expected


def test_window_batches_are_shuffled_by_seed_and_epoch_and_lose_nothing():
    data = np.arange(50, dtype=np.int32)
    batches = WindowBatches(data, 8, 3, seed=5)
    seen = [np.concatenate([batches(epoch, i)[1] for i in range(len(batches))]) for epoch in (0, 1)]
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(3, 50))
    assert seen[0].tolist() != seen[1].tolist()
    again = WindowBatches(data, 8, 3, seed=5)
    assert again(1, 2)[1].tolist() == seen[1][16:24].tolist()  # without epoch 0 before it
    inputs, targets = batches(0, 0)
    assert inputs.shape == (3, 8) and (inputs[-1] + 1 == targets).all()


def test_make_batches_follows_the_context_of_the_model():
    data = np.arange(40, dtype=np.int32)
    assert make_batches(None, data, 4, 5)(0, 0)[0].shape == (5, 4)
    assert make_batches(3, data, 4, 5)(0, 0)[0].shape == (3, 4)


@pytest.mark.parametrize(
    "call",
    [
        lambda d: rnn_batch(d, 0),
        lambda d: rnn_batch(d, -1),
        lambda d: rnn_batch(d, 6),
        lambda d: get_batch(d[:, None], 4, 2),
        lambda d: get_batch(d[:, None], -1, 2),
        lambda d: get_batch(d[:, None], 0, 0),
        lambda d: windows(d, 5),
        lambda d: windows(d, 0),
        lambda d: windows(d, 2, 0),
    ],
)
def test_too_little_data_and_impossible_sizes_are_told_with_the_numbers(call):
    with pytest.raises(ValueError, match="5"):
        call(np.arange(5))


def test_batchify_and_vocabulary_import_without_mxnet():
    code = (
        "import sys; sys.modules['mxnet'] = None; import gluonlm; from gluonlm import rnn_batch, get_batch, Vocab; "
        "print(Vocab('char', 'ab').encode('ba').tolist())"
    )
    out, err = start("-c", code).communicate()
    assert (out, err) == ("[1, 0]\n", "")


@pytest.mark.full
def test_the_tutorials_shapes_on_nietzsche(corpus_path):
    text = corpus_path("nietzsche").read_bytes().decode("latin-1")
    symbols = sorted(set(text))
    ids = np.array([symbols.index(c) for c in text], np.int32)
    assert len(ids) == 600_901 and len(symbols) == 85
    assert rnn_batch(ids, 32).shape == (18778, 32)
    # the tutorial stops its range one window early and then drops two more
    assert windows(ids, 3, 3)[0].shape == (200_297 + 3, 3)
