"""Scores of many texts in batches equal those of each text alone."""

import itertools
import math

import mxnet as mx
import numpy as np
import pytest
from networks_of_each_kind import KINDS, VOCAB, checkpoint_of
from test_native import COMPILED

from gluonlm import InputError, score_texts
from gluonlm.evaluate import texts as texts_module
from gluonlm.evaluate.scoring import score
from gluonlm.evaluate.texts import score_each
from gluonlm.models import RNNModel
from gluonlm.models.build import build_model
from gluonlm.vocab import Vocab

LENGTHS = (3, 0, 120, 1, 2, 40, 41, 12, 5, 6, 7, 300, 2, 0, 25)
RANDOM = np.random.default_rng(4)
IDS = [RANDOM.integers(0, len(VOCAB), length).astype(np.int32) for length in LENGTHS]
SETTINGS = {**KINDS, "adaptive": dict(model="gru", hidden_size=(16,), adaptive_softmax=(6, 15))}


def spied(model, monkeypatch):
    """Return a list that receives the shape of each batch of inputs that the model scores."""
    shapes, losses = [], model.losses
    monkeypatch.setattr(
        model, "losses", lambda i, t, s: (shapes.append(i.shape), losses(i, t, s))[1]
    )
    return shapes


def assert_each_as_alone(model, batch_tokens):
    found = list(score_each(model, IDS, batch_tokens=batch_tokens))
    assert len(found) == len(IDS)
    skipped = model.window or 1
    for ids, losses in zip(IDS, found):
        expected = score(model, ids) if len(ids) > skipped else np.empty(0)
        assert losses.shape == expected.shape
        np.testing.assert_allclose(losses, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kernels", ["native", "mxnet"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_each_sequence_is_scored_as_alone(kind, kernels):
    if kernels == "native" and not COMPILED:
        pytest.skip("there are no native kernels here")
    model, _ = checkpoint_of(SETTINGS[kind])
    model.use_kernels(kernels)
    for batch_tokens in (1, 50, 1000):
        assert_each_as_alone(model, batch_tokens)


def test_padding_does_not_begin_a_document():
    model = RNNModel("gru", len(VOCAB), 5, (7,), separator=4).prepare([mx.cpu()], "uniform:1", 1)
    assert_each_as_alone(model, 100)


def test_a_context_may_be_named():
    model, _ = checkpoint_of("lstm")
    for one, other in zip(score_each(model, IDS, "cpu"), score_each(model, IDS, mx.cpu())):
        np.testing.assert_array_equal(one, other)


def test_a_long_text_beside_short_ones_needs_no_more_memory_than_alone(monkeypatch):
    model, _ = checkpoint_of("gru")
    shapes = spied(model, monkeypatch)
    lengths = [20] * 300 + [100_000] + [30] * 300
    ids = [np.zeros(length, np.int32) for length in lengths]
    assert [len(each) for each in score_each(model, ids)] == [n - 1 for n in lengths]
    assert max(rows * streams for rows, streams in shapes) <= 1000
    assert sum(rows * streams for rows, streams in shapes) <= 1.5 * sum(lengths)


def test_short_texts_share_passes(monkeypatch):
    model, _ = checkpoint_of("lstm")
    shapes = spied(model, monkeypatch)
    list(score_each(model, [ids[:40] for ids in IDS if len(ids)] * 40))
    assert len(shapes) < 13 * 40 / 20


def test_texts_are_read_as_they_are_needed(monkeypatch):
    monkeypatch.setattr(texts_module, "POOLED", 1000)
    model, read = checkpoint_of("gru")[0], []

    def endless():
        for length in itertools.cycle((10, 3, 0)):
            read.append(length)
            yield np.zeros(length, np.int32)

    found = [len(losses) for losses in itertools.islice(score_each(model, endless()), 60)]
    assert found == [9, 2, 0] * 20
    assert len(read) < 120


def test_the_figures_of_a_text():
    model, _ = checkpoint_of("lstm")
    texts = ["the cat, the hat.\n", "", "a", "ab"]
    scores = list(score_texts(model, VOCAB, texts))
    losses = score(model, VOCAB.encode(texts[0]))
    first, empty, short, pair = scores
    assert (first.tokens, pair.tokens) == (17, 1)
    assert first.bits == pytest.approx(losses.sum() / math.log(2), rel=1e-6)
    assert first.bits_per_character == pytest.approx(first.bits / 17, rel=1e-12)
    assert first.perplexity == pytest.approx(math.exp(losses.mean()), rel=1e-6)
    for unscored in (empty, short):
        assert unscored[:2] == (0, 0)
        assert all(map(math.isnan, unscored[2:]))


def test_words_are_measured_in_characters():
    vocab = Vocab.build(["the cat sat on the mat\n"], "word")
    model = build_model(checkpoint_of("lstm")[1].config.model, len(vocab))
    model.prepare([mx.cpu()], "uniform:0.5", 3)
    (found,) = score_texts(model, vocab, ["the dog sat\n"])
    assert found.tokens == 3  # <unk>, which counts only its space, "sat" and the line break
    assert found.bits_per_character == pytest.approx(found.bits / len(" sat\n"), rel=1e-12)


def test_an_unknown_character_is_an_error_with_the_number_of_its_text():
    model, _ = checkpoint_of("gru")
    with pytest.raises(InputError, match=r"^text 3: .*'Ω'"):
        list(score_texts(model, VOCAB, ["ab", "", "aΩb", "Ω"]))
    skipped, pure = score_texts(model, VOCAB, ["aΩb", "ab"], unknown="skip")
    assert skipped == pure


def test_one_text_is_not_a_list_of_texts():
    with pytest.raises(InputError, match=r"\[text\]"):
        score_texts(checkpoint_of("gru")[0], VOCAB, "the cat")
    with pytest.raises(InputError, match="ids 0 to"):
        list(score_each(checkpoint_of("gru")[0], [np.array([0, len(VOCAB)])]))
