"""The output bias starts at the log unigram frequencies."""

import json

import mxnet as mx
import numpy as np
import pytest
from trainings import make_model

from gluonlm.corpus import Corpus, load
from gluonlm.run.folder import Run
from gluonlm.vocab import Vocab

COUNTS = np.array([40, 9, 1, 7, 2, 30, 11])
TRAIN = np.repeat(np.arange(6, dtype=np.int32), [2, 0, 5, 1, 0, 3])


@pytest.mark.parametrize("kind", ["gru", "unrolled", "window", "lstm adaptive", "rnn ensemble"])
def test_without_weights_the_network_is_the_unigram_model(kind):
    model = make_model(kind)
    for parameter in model.parameters().values():
        parameter.set_data(mx.nd.zeros(parameter.shape))
    model.begin_at(COUNTS / COUNTS.sum())
    ids = mx.nd.array(np.ones((model.window or 5, 3)), dtype="int32")
    logits, _ = model(ids, model.begin_state(3))
    chances = mx.nd.softmax(logits).asnumpy()
    np.testing.assert_allclose(chances, np.tile(COUNTS / 100, (len(chances), 1)), atol=1e-6)


@pytest.mark.parametrize("block", [1 << 24, 4, 1])
def test_frequencies_are_add_one_smoothed(monkeypatch, block):
    monkeypatch.setattr(load, "_BLOCK", block)
    nothing = TRAIN[:0]
    corpus = Corpus("six", Vocab("char", "abcdef"), TRAIN, nothing, nothing, "")
    np.testing.assert_array_equal(corpus.frequencies() * 17, [3, 1, 6, 2, 1, 4])
    monkeypatch.setattr(load, "_ENOUGH", 5)
    np.testing.assert_array_equal(corpus.frequencies() * 11, [3, 1, 4, 1, 1, 1])


@pytest.mark.parametrize("kind", ["frequency", "zero"])
def test_a_run_starts_at_the_unigram_model_by_default(kind, tmp_path, command):
    text, run = tmp_path / "text", tmp_path / "run"
    text.write_text("a" * 1200 + "b" * 597)
    small = "--max-steps 1 --lr 1e-30 --split 100/0/0 --hidden-size 3 --quiet".split()
    assert command("train", "--data", text, "--run", run, "--output-bias", kind, *small)[0] == 0
    bias = Run(run).load("last").parameters["decoder.bias"]
    expected = np.log([1201 / 1799, 598 / 1799]) if kind == "frequency" else [0, 0]
    np.testing.assert_allclose(bias, expected, rtol=1e-6, atol=1e-29)
    assert json.loads((run / "config.json").read_text())["output_bias"] == kind


def test_the_output_bias_of_another_runs_weights_is_kept(tmp_path, command):
    text, old, new = tmp_path / "text", tmp_path / "old", tmp_path / "new"
    text.write_text("ab" * 900)
    small = "--max-steps 1 --lr 1e-30 --split 100/0/0 --hidden-size 3 --quiet".split()
    flags = ("train", "--data", text, *small)
    assert command(*flags, "--run", old, "--output-bias", "zero")[0] == 0
    warm = ("--init-from", old, "--output-bias", "frequency")
    assert command(*flags, "--run", new, *warm)[0] == 0
    assert (abs(Run(new).load("last").parameters["decoder.bias"]) < 1e-29).all()
