"""Scores do not depend on the segmentation of a text."""

import math

import mxnet as mx
import numpy as np
import pytest

from gluonlm.batchify.batches import make_batches
from gluonlm.evaluate.scoring import Unit, mean_loss, perplexity, score
from gluonlm.models import RNNModel, UnrolledRNN, WindowModel
from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab

IDS = np.random.default_rng(0).integers(0, 9, 103).astype(np.int32)
MODELS = {
    kind: lambda kind=kind: RNNModel(kind, 9, 5, (6, 4), dropout=0.5).prepare(
        [mx.cpu()], "uniform:1", 1
    )
    for kind in ("rnn", "lstm", "gru", "mingru", "minlstm")
}
MODELS["unrolled"] = lambda: UnrolledRNN(9, 5, 6, dropout=0.5).prepare([mx.cpu()], "uniform:1", 1)
MODELS["window"] = lambda: WindowModel(9, 6, 12, dropout=0.5).prepare([mx.cpu()], "uniform:1", 1)


@pytest.mark.parametrize("kind", MODELS)
def test_scores_agree_for_any_segments_and_with_the_stepper(kind):
    model, stepper = MODELS[kind](), MODELS[kind]().stepper()
    losses = [score(model, IDS, seq_len=length) for length in (1, 7, 50, 1000)]
    for other in losses[1:]:
        np.testing.assert_allclose(other, losses[0], atol=1e-6)
    logits = np.concatenate([stepper.step([i]) for i in IDS[:-1]]).astype(np.float64)
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(102), IDS[1:]]
    np.testing.assert_allclose(losses[0], expected[102 - len(losses[0]) :], atol=1e-5)
    assert len(losses[0]) == 103 - {"unrolled": 3, "window": 12}.get(kind, 1)


def test_mean_loss_weights_every_token_equally():
    model = MODELS["gru"]()
    batches = make_batches(None, IDS, 4, 10)  # 25 rows: batches of 10, 10 and 4 rows
    each = [
        np.concatenate([score(model, IDS[column * 25 : (column + 1) * 25])]) for column in range(4)
    ]
    assert mean_loss(model, batches, mx.cpu()) == pytest.approx(
        np.concatenate(each).mean(), abs=1e-6
    )


def test_units():
    assert Unit("char").describe(math.log(4)) == "2.000 bits per character"
    assert Unit("subword", 2.0).describe(math.log(4)) == "1.000 bits per character"
    words = Unit("word", 4.0)
    assert words.describe(math.log(118)) == "perplexity 118.00"
    report = words.report(math.log(256), 1234, "a.txt")
    assert report.startswith(
        "perplexity 256.00, 5.5452 nats, 2.0000 bits per character, over 1,234"
    )
    assert Unit("char").report(math.log(4)).startswith("2.0000 bits per character, 1.3863 nats,")
    assert words.describe(1e4) == "perplexity inf"


@pytest.mark.parametrize("tokenizer", ["split", "punctuation"])
def test_words_count_all_characters_except_in_unknown_words(tokenizer):
    text = "ab ab c\n\nab c\nab ab\n"
    vocab = Vocab.build([text], "word", tokenizer=tokenizer)
    assert vocab.count_characters(vocab.encode(text)) == len(text)
    assert vocab.count_characters(vocab.encode("ab what c\n")) == len("ab  c\n")
    assert Unit.of(vocab, vocab.encode(text)).characters == len(text) / 11


def test_too_short_a_text_is_refused():
    with pytest.raises(InputError, match=r" 1 tokens.* 1 "):
        score(MODELS["gru"](), IDS[:1])
    with pytest.raises(InputError, match=r" 3 tokens.* 3 "):
        score(MODELS["unrolled"](), IDS[:3])


def test_perplexity_overflows_to_infinity():
    assert perplexity(708.9) == math.exp(708.9)
    assert perplexity(709) == math.inf


def test_a_text_is_scored_on_the_models_device():
    here = mx.cpu(1)
    model = RNNModel("gru", 9, 5, (6,)).prepare([here], "uniform:1", 1)
    contexts = []
    forward = model.forward
    model.forward = lambda x, state: (
        contexts.append((x.context, state[0].context)),
        forward(x, state),
    )[1]
    score(model, IDS, here, seq_len=60)
    assert contexts == [(here, here)] * 2


def test_two_tokens_suffice_to_predict_one():
    assert score(MODELS["gru"](), IDS[:2]).shape == (1,)
    assert score(MODELS["unrolled"](), IDS[:4]).shape == (1,)
