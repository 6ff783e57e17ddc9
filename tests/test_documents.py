"""Documents are predicted independently, wherever they begin in a segment."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_refused
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as some
from mxnet import nd
from runs import assert_same_end

from gluonlm.config import ModelConfig
from gluonlm.corpus.text import Text
from gluonlm.evaluate.scoring import score
from gluonlm.models import build_model
from gluonlm.run.load import load_model
from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab
from gluonlm.vocab.levels import cut_of

MARK = 3
IDS = np.random.default_rng(1).integers(0, 7, 400).astype(np.int32)
KINDS = (
    dict(model="rnn"),
    dict(model="lstm", num_layers=2),
    dict(model="gru", members=2),
    dict(model="mingru", num_layers=2),
    dict(model="minlstm"),
    dict(model="gru", adaptive_softmax=(2, 5)),
)


def make(separator=MARK, **settings):
    config = ModelConfig(hidden_size=(6,), embed_size=5, dropout=0.0, **settings)
    return build_model(config, 7, separator).prepare(init="uniform:0.5", seed=1)


def documents(ids):
    """Yield each document with its separator; the text may begin without one."""
    cuts = [0, *(place for place in np.flatnonzero(ids == MARK) if place), len(ids)]
    for begin, end in itertools.pairwise(cuts):
        yield ids[begin:end]


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("seq_len", [1, 7, 1000])
def test_documents_are_scored_independently(settings, seq_len):
    model, found, expected = make(**settings), [], []
    whole = score(model, IDS[:150], seq_len=seq_len)
    place = 0
    for document in documents(IDS[:150]):
        if len(document) > 1:  # the previous document predicts its first token
            expected.append(score(model, document))
            found.append(whole[place : place + len(document) - 1])
        place += len(document)
    assert len(found) > 5
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=1e-5)
    carried = score(make(None, **settings), IDS[:150])
    assert np.abs(carried - whole).max() > 0.01


@pytest.mark.parametrize("settings", KINDS)
def test_the_stepper_resets_at_documents_like_scoring(settings):
    model, stepper = make(**settings), make(**settings).stepper(2)
    nats = score(model, IDS[:60])
    for t, target in enumerate(IDS[1:60]):
        logits = stepper.step(np.array([IDS[t], 6 - IDS[t]]))
        logits = logits - logits.max(axis=1, keepdims=True)
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert -np.log(chances[0, target]) == pytest.approx(nats[t], abs=1e-4)


@pytest.mark.parametrize("settings", KINDS)
def test_the_gradient_of_a_batch_is_the_sum_over_its_documents(settings):
    model, inputs = make(**settings), IDS[:24].reshape(12, 2)
    targets = np.roll(IDS[:24], -2)
    model.forward_backward(
        *(nd.array(a, dtype="int32") for a in (inputs, targets)), model.begin_state(2)
    )
    found = {name: p.grad().asnumpy() for name, p in model.parameters().items()}
    alone = make(None, **settings)
    summed = {name: 0 for name in found}
    for stream in range(2):
        column, place = inputs[:, stream], 0
        for document in documents(column):
            expected = targets.reshape(12, 2)[place : place + len(document), stream]
            pair = document[:, None], expected
            alone.forward_backward(
                *(nd.array(a, dtype="int32") for a in pair), alone.begin_state(1)
            )
            for name, parameter in alone.parameters().items():
                summed[name] = summed[name] + parameter.grad().asnumpy()
            place += len(document)
    for name in found:
        np.testing.assert_allclose(found[name], summed[name], atol=1e-4, err_msg=name)


FLAGS = (
    "--hidden-size 8 --embed-size 4 --seq-len 10 --batch-size 4 --dropout 0.2 --quiet "
    "--document-separator \\n"
).split()


def test_document_runs_resume_and_work_in_every_command(text_file, tmp_path, command):
    flags = ("train", "--data", text_file, *FLAGS, "--run")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert command(*flags, whole, "--max-steps", 12, "--schedule", "constant")[0] == 0
    assert command(*flags, parts, "--max-steps", 5, "--schedule", "constant")[0] == 0
    assert command("train", "--resume", parts, "--max-steps", 12, "--quiet")[0] == 0
    assert_same_end(parts, whole)
    model, checkpoint = load_model(whole)
    assert model.separator == checkpoint.vocab.index["\n"]
    assert command("evaluate", whole, "--data", text_file)[0] == 0
    assert command("generate", whole, "--length", 9)[0] == 0
    for form, suffix in (("onnx", "onnx"), ("torch", "safetensors"), ("html", "html")):
        out = tmp_path / f"out.{suffix}"
        assert command("export", whole, "--format", form, "--out", out)[0] == 0


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--document-separator", "#ab"), "--document-separator '#ab'"),
        (("--level", "word", "--document-separator", "<|end|>"), "--document-separator '<|end|>'"),
        (("--level", "word", "--document-separator", "<unk>"), "--document-separator '<unk>'"),
        (("--level", "word", "--document-separator", "<eos>"), "--document-separator '<eos>'"),
        (("--document-separator", "\\f"), r"--document-separator '\f'"),
        (("--document-separator", "Ω"), "--document-separator 'Ω'"),
        (("--level", "word", "--document-separator", "zebra"), "--document-separator 'zebra'"),
        (("--model", "unrolled", "--document-separator", "a"), "--model unrolled"),
    ],
)
def test_the_error_names_a_separator_that_is_no_token(text_file, tmp_path, command, flags, message):
    run = tmp_path / "run"
    assert_refused(command("train", "--data", text_file, "--run", run, *flags), message)
    assert not run.exists()


def test_a_separator_is_found_at_every_level():
    text = "to be\nor not\n"
    assert Vocab.build([text]).separator("") is None
    characters, words = Vocab.build([text]), Vocab.build([text], "word")
    assert characters.tokens[characters.separator("\\n")] == "\n"
    assert words.tokens[words.separator("\\n")] == "<eos>"
    assert words.tokens[words.separator("not")] == "not"
    with pytest.raises(InputError, match="'to be'"):
        words.separator("to be")


LEVELS = (
    ("char", "auto"),
    ("word", "split"),
    ("word", "punctuation"),
    ("word", "moses"),
    ("subword", "unigram"),
    ("subword", "bpe"),
)
SEPARATORS = ("<|end|>", "\n\n", " -- ", "\f\t", "  ")


def text_with(separator):
    return separator.join(("one cat,", "two\ndogs", "", "\n.three cats", "two cats")) * 20


@pytest.mark.parametrize("level, tokenizer", LEVELS)
@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_separator_of_several_characters_is_one_token(level, tokenizer, separator):
    text = text_with(separator)
    vocab = Vocab.build([text], level, tokenizer=tokenizer, separator=separator)
    token, ids = vocab.separator(separator), vocab.encode(text)
    assert vocab.tokens[token] == separator
    assert (ids == token).sum() == text.count(separator)
    assert vocab.encode(vocab.decode(ids)).tolist() == ids.tolist()
    parts = [vocab.encode(part).tolist() for part in text.split(separator)]
    assert ids.tolist() == [*parts[0], *(i for part in parts[1:] for i in (token, *part))]
    again = Vocab.from_dict(json.loads(json.dumps(vocab.to_dict())))
    assert again == vocab
    assert again.encode(text).tolist() == ids.tolist()
    if level != "word":
        assert vocab.decode(ids) == vocab.typeset(ids) == text
        assert vocab.count_characters(ids) == len(text)


def test_words_count_the_characters_of_separators():
    text = "a bc<|end|>d\n<|end|>\ne"
    vocab = Vocab.build([text], "word", separator="<|end|>")
    assert vocab.count_characters(vocab.encode(text)) == len(text) + 1  # the space after the last
    assert vocab.decode(vocab.encode(text)) == text


@hypothesis_settings(deadline=None)
@given(
    blocks=some.lists(some.text("ab\n", min_size=1, max_size=5), min_size=1, max_size=9),
    separator=some.sampled_from(["\n\n", "ab", "aba", "\na", "aab"]),
    level=some.sampled_from(["char", "word"]),
)
def test_a_text_read_in_pieces_has_the_same_separators(blocks, separator, level):
    whole = Text(["".join(blocks)], cut=cut_of(level, "auto"), separator=separator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "_read", lambda self, path: iter(blocks))
        patch.setattr("gluonlm.corpus.text.LONGEST_WORD", 100)
        parts = Text([Path("parts")], cut=whole.cut, separator=separator)
        found = [piece.split(separator) for piece in parts.pieces()]
    text = "".join(blocks)
    assert "".join(separator.join(piece) for piece in found) == text
    assert sum(len(piece) - 1 for piece in found) == text.count(separator)


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_the_kind_of_separator_depends_on_its_level(level):
    text = "to be\nor not\n" * 40
    for separator in ("\n", "t", "be"):
        vocab = Vocab.build([text], level, separator=separator)
        reserved = {"char": "be", "word": "tbe", "subword": "tbe"}[level]
        assert vocab.kind.separator == (separator if separator in reserved else "")
    assert "separator" not in Vocab.build([text], level).to_dict()


@pytest.mark.parametrize("level", ["char", "word", "subword"])
@pytest.mark.parametrize("separator", ["x", "", 3, None, ["a"], "\ud800"])
def test_a_forged_separator_is_refused(level, separator):
    made = Vocab.build(["ab cd " * 40], level).to_dict()
    if separator:
        with pytest.raises(InputError):
            Vocab.from_dict({**made, "separator": separator})


def test_characters_are_added_to_a_vocabulary_with_a_separator():
    plain, other = Vocab.build("abc"), Vocab.build(["xa--b"], separator="--")
    found = plain.extended(other)
    assert found.tokens == ["a", "b", "c", "x", "--"]
    assert found.encode("b--x--c").tolist() == [1, 4, 3, 4, 2]
    assert found.extended(Vocab.build("y")).encode("y--").tolist() == [5, 4]
    with pytest.raises(InputError, match="'=='"):
        found.extended(Vocab.build(["a==b"], separator="=="))


@pytest.mark.long
@pytest.mark.parametrize("flags", ["", "--level word", "--level subword", "--lower"])
@pytest.mark.parametrize("separator", ["<|End|>", "\\n\\n"])
def test_runs_with_longer_separators_resume_and_score(flags, separator, tmp_path, command):
    end, data = separator.replace("\\n", "\n"), tmp_path / "cats.txt"
    poems = [f"The {n} cats,\nand {n * n} dogs." for n in range(1, 150)]
    data.write_text(end.join(poems))
    more = [*FLAGS[:-1], separator, *flags.split(), "--schedule", "constant", "--max-steps"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert command("train", "--data", data, "--run", whole, *more, 8)[0] == 0
    assert command("train", "--data", data, "--run", parts, *more, 5)[0] == 0
    assert command("train", "--resume", parts, "--max-steps", 8, "--quiet")[0] == 0
    assert_same_end(parts, whole)
    model, checkpoint = load_model(whole)
    token = checkpoint.vocab.index[end.lower() if "lower" in flags else end]
    assert model.separator == token
    one, other = (checkpoint.encode(text, "skip") for text in (poems[2], poems[5]))
    both = checkpoint.encode(poems[2] + end + poems[5], "skip")
    assert both.tolist() == [*one, token, *other]
    alone = score(model, np.array([token, *other]))  # not after another document
    np.testing.assert_allclose(score(model, both)[-len(alone) :], alone, atol=1e-5)
    assert command("evaluate", whole, "--data", data)[0] == 0
    assert command("generate", whole, "--length", 9, "--prompt", "The" + separator)[0] == 0
