"""Subwords: every text round-trips, and external model files are not read."""

import numpy as np
import pytest
import sentencepiece
from conftest import TINY
from hypothesis import given
from hypothesis import strategies as st

from gluonlm.run.folder import Run
from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab
from gluonlm.vocab.subwords import _BYTES, suggest_size

TEXT = "the ducks went out to play\nout there, ducks played and went\n" * 30
VOCABS = {kind: Vocab.build([TEXT], "subword", 310, tokenizer=kind) for kind in ("unigram", "bpe")}


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581")))
def test_every_text_round_trips(text):
    for vocab in VOCABS.values():
        ids = vocab.encode(text)
        assert vocab.decode(ids) == vocab.typeset(ids) == text
        assert vocab.count_characters(ids) == len(text)


@pytest.mark.parametrize("kind", VOCABS)
def test_the_rebuilt_model_tokenizes_like_the_trained_one(kind, tmp_path):
    """Compare with SentencePiece's model of the same text and settings."""
    vocab = VOCABS[kind]
    (tmp_path / "rebuilt.model").write_bytes(vocab.kind.model_file())
    read = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "rebuilt.model"))
    assert [read.id_to_piece(i) for i in range(len(read))] == vocab.tokens
    pieces = [vocab.tokens[i] for i in vocab.encode("the ducks")]
    assert "".join(pieces) == "the\u2581ducks"
    assert len(pieces) < 9
    assert Vocab.from_dict(vocab.to_dict()).encode(TEXT).tolist() == vocab.encode(TEXT).tolist()


def test_a_text_split_before_spaces_has_the_same_subwords():
    for vocab in VOCABS.values():
        whole = vocab.encode("out there, ducks\nplayed").tolist()
        parts = map(vocab.encode, ("out", " there,", " ducks\n", "played"))
        assert np.concatenate([*parts]).tolist() == whole


def test_a_character_is_written_with_its_last_byte():
    vocab = VOCABS["bpe"]
    spell = vocab.speller()
    assert [spell(i) for i in vocab.encode("é€")] == ["", "é", "", "", "€"]


def test_a_lone_surrogate_is_unknown():
    with pytest.raises(InputError, match=r"subword '\\ud800'"):
        VOCABS["bpe"].encode("a\ud800")
    assert VOCABS["bpe"].decode(VOCABS["bpe"].encode("a\ud800", "skip")) == "a"


def test_the_number_of_subwords_grows_with_the_text():
    assert [suggest_size(10**n) for n in (3, 5, 6, 8, 12)] == [400, 900, 3000, 30000, 32000]


def test_too_large_and_too_small_vocabulary_sizes_are_adjusted():
    assert 258 < len(Vocab.build([TEXT], "subword", 5000)) < 5000
    assert len(Vocab.build([TEXT], "subword", 10)) <= 300


MANY = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))  # distinct characters
LINES = "\n".join(MANY[i : i + 20] for i in range(0, 300, 4)) + "\n"


@pytest.mark.parametrize("kind", VOCABS)
def test_the_default_size_contains_every_character_of_the_text(kind):
    for text in (MANY, LINES):
        vocab = Vocab.build([text], "subword", tokenizer=kind)
        assert set(text) - {"\n", " "} <= set(vocab.tokens)
        assert vocab.decode(vocab.encode(text)) == text


@given(st.lists(st.integers(0x4E00, 0x5300), min_size=1), st.sampled_from(sorted(VOCABS)))
def test_every_text_of_many_characters_has_a_default_vocabulary(codes, kind):
    text = "".join(map(chr, codes)) + MANY
    vocab = Vocab.build([text], "subword", tokenizer=kind)
    assert vocab.decode(vocab.encode(text)) == text


@pytest.mark.parametrize("kind", VOCABS)
def test_the_least_and_the_largest_size_are_exact(kind):
    least = 258 + 300
    for size in (1, 400, least - 1):
        with pytest.raises(InputError, match=rf"`vocab_size` {size}: .*\b{least}\b"):
            Vocab.build([LINES], "subword", size, tokenizer=kind)
    assert len(Vocab.build([LINES], "subword", least, tokenizer=kind)) == least
    largest = len(Vocab.build([LINES], "subword", 5000, tokenizer=kind))
    assert largest > least
    for size in (largest - 1, largest, largest + 1):
        found = Vocab.build([LINES], "subword", size, tokenizer=kind)
        assert len(found) == min(size, largest)


def test_a_size_too_large_for_the_text_is_reported(tmp_path, command):
    (tmp_path / "text").write_text(LINES)
    flags = ["--data", tmp_path / "text", "--level", "subword", *TINY]
    flags.remove("--quiet")
    largest = len(Vocab.build([LINES[: round(0.9 * len(LINES))]], "subword", 5000))
    code, out, err = command("train", *flags, "--run", tmp_path / "a", "--vocab-size", largest + 1)
    assert (code, err) == (0, "")
    assert f"--vocab-size {largest + 1}: {largest} " in out
    out = command("train", *flags, "--run", tmp_path / "b", "--vocab-size", largest)[1]
    assert "--vocab-size" not in out


def test_more_characters_than_subwords_exist_are_refused_with_another_level():
    text = "".join(chr(code) for code in range(32, 0x30000) if not 0xD800 <= code < 0xE000)
    with pytest.raises(InputError, match=r"131,072: use `level` char"):
        Vocab.build([text], "subword")


@pytest.mark.parametrize("text", ["", "\n\n", "<unk>"])
def test_a_text_without_subwords_is_refused(text):
    with pytest.raises(InputError, match=r"`level` subword: .* `level` char"):
        Vocab.build([text], "subword")


def test_sentencepieces_own_unknown_sign_does_not_hide_a_line():
    text = "the ducks \u2585 play\n" * 30
    vocab = Vocab.build([text], "subword")
    assert "e" in "".join(vocab.tokens[258:])
    assert vocab.decode(vocab.encode(text)) == text


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(scores=[0.0]), "subword .*score"),
        (dict(scores="x" * 310), "subword .*score"),
        (dict(scores=[float("nan")] * 310), "score .*1e30"),
        (dict(scores=[[]] * 310), "score .*1e30"),
        (dict(scores=[1e39] * 310), "score .*1e30"),
        (dict(tokenizer="moses"), "'moses' .* unigram, bpe"),
        (dict(tokens=["<unk>", "\n", *_BYTES[:-1], "x"]), "SentencePiece"),
        (dict(tokens=["<unk>", "\n", *_BYTES, "\ud800"]), "SentencePiece"),
        (dict(tokens=["<unk>", "\n", *_BYTES, "a" * 300]), "256 bytes"),
        (dict(tokens=["<unk>", "\n", *_BYTES, *map(str, range(1 << 17))]), "131,072"),
    ],
)
def test_forged_subwords_are_refused(change, message):
    forged = {**Vocab.build([TEXT], "subword", 310).to_dict(), **change}
    forged["scores"] = (
        forged["scores"][: len(forged["tokens"])]
        if not change.get("scores")
        else (forged["scores"])
    )
    if len(forged["tokens"]) != 310 and "scores" not in change:
        forged["scores"] = [0.0] * len(forged["tokens"])
    if "scores" in change and len(change["scores"]) == 310:
        length = len(forged["tokens"])
        forged["scores"] = (forged["scores"] * 2)[:length]
    with pytest.raises(InputError, match=message):
        Vocab(**forged)


def test_a_subword_run_resumes_scores_and_generates(text_file, tmp_path, command):
    flags = ["--data", text_file, "--level", "subword", "--tokenizer", "bpe", *TINY]
    run = tmp_path / "run"
    assert command("train", *flags, "--run", run, "--vocab-size", 320)[::2] == (0, "")
    vocab = Run(run).load("best").vocab
    train = text_file.read_text()[: round(0.9 * text_file.stat().st_size)]
    assert vocab == Vocab.build([train], "subword", 320, tokenizer="bpe")
    assert command("train", "--resume", run, "--max-steps", 8, "--quiet")[::2] == (0, "")
    code, out, err = command("evaluate", run, "--data", text_file, "--json")
    assert (code, err) == (0, "")
    assert "bits_per_character" in out
    code, out, err = command("generate", run, "--prompt", "the Ω", "--length", 5)
    assert (code, err) == (0, "")
    assert out.startswith("the Ω")
