"""Ids in Python: any sequence is accepted, and invalid ids are rejected."""

import re

import mxnet as mx
import numpy as np
import pytest

from gluonlm import Vocab, get_batch, rnn_batch, sample, score, windows
from gluonlm.models import RNNModel
from gluonlm.system.device import to_device
from gluonlm.system.errors import InputError


@pytest.mark.parametrize("make", [list, tuple, lambda ids: ids, np.array, bytearray])
def test_any_sequence_is_batched_like_an_array(make):
    streams = rnn_batch(make(range(11)), 2)
    assert streams.tolist() == [[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]]
    inputs, targets = get_batch(streams, 1, 2)
    assert inputs.tolist() == [[1, 6], [2, 7]]
    assert targets.tolist() == [2, 7, 3, 8]
    inputs, targets = windows(make(range(5)), 3)
    assert inputs.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert targets.tolist() == [3, 4]


def test_pytorch_tensors_are_batched():
    torch = pytest.importorskip("torch")
    streams = rnn_batch(torch.arange(11), 2)
    assert streams.tolist() == rnn_batch(range(11), 2).tolist()
    assert not streams.is_contiguous()


@pytest.mark.parametrize("ids", [[0.0, 1.9, 2.0], np.arange(3.0), [0, 1, np.nan]])
def test_floats_are_rejected_everywhere(ids):
    model = RNNModel("gru", 3, 4, (5,)).prepare([mx.cpu()])
    for use in (
        lambda: rnn_batch(ids, 1),
        lambda: windows(ids, 1),
        lambda: to_device(np.array(ids), 3, mx.cpu()),
        lambda: score(model, np.array(ids)),
        lambda: next(sample(model, ids, 1)),
    ):
        with pytest.raises(InputError, match="float64"):
            use()


@pytest.mark.parametrize("wrong", [-1, 3, 1.0, "a", None, 2**70])
def test_invalid_ids_are_not_decoded(wrong):
    vocab = Vocab("char", "abc")
    assert vocab.decode([np.int32(0), 2]) == "ac"
    with pytest.raises(InputError, match=rf"^{re.escape(repr(wrong))} .* 0 to 2$"):
        vocab.decode([0, wrong])
    words = Vocab("word", ["<unk>", "<eos>", "a"])
    with pytest.raises(InputError, match=rf"^{re.escape(repr(wrong))} "):
        words.typeset([2, wrong])
