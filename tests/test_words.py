"""Three word tokenizers, and their decoding."""

import pytest
from conftest import TINY, assert_refused
from hypothesis import given
from hypothesis import strategies as st

from gluonlm.config import Config, DataConfig
from gluonlm.corpus import load_corpus
from gluonlm.run.folder import Run
from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab
from gluonlm.vocab.words import split_moses, split_punctuation, split_words

NOVEL = "“Yes, then?” said she - it's 3.5 (or so)...\n\nWell--no_one knew; O'Brien: 'tis!\n"


def test_each_tokenizer_splits_by_its_rule():
    assert split_words("“Yes, then?” it's\n") == ["“Yes,", "then?”", "it's", "<eos>"]
    assert split_punctuation("“Yes, then?” it's\n") == (
        ["“￭", "Yes", "￭,", "then", "￭?", "￭”", "it's", "<eos>"]
    )
    assert split_moses('He isn\'t, "is" he?\nNo & yes') == (
        ["He", "isn", "'t", ",", '"', "is", '"', "he", "?", "<eos>", "No", "&", "yes"]
    )


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("हिन्दी में।", ["हिन्दी", "में", "￭।"]),
        ("தமிழ்.", ["தமிழ்", "￭."]),
        ("ภาษาไทย ไทย!", ["ภาษาไทย", "ไทย", "￭!"]),
        ("שָׁלוֹם־טוֹב", ["שָׁלוֹם", "￭־￭", "טוֹב"]),
        ("مَرْحَبًا، می\u200cخواهم", ["مَرْحَبًا", "￭،", "می\u200cخواهم"]),
        ("cafe\u0301, l'e\u0301te\u0301", ["cafe\u0301", "￭,", "l'e\u0301te\u0301"]),
        ("👩\u200d👩\u200d👧👍🏽!", ["👩\u200d👩\u200d👧", "￭👍🏽", "￭!"]),
        ("🇩🇪🇫🇷 #\ufe0f\u20e31\ufe0f\u20e3", ["🇩🇪", "￭🇫🇷", "#\ufe0f\u20e3￭", "1\ufe0f\u20e3"]),
        ("co\xadop, a\u200bb", ["co\xadop", "￭,", "a", "￭\u200b￭", "b"]),
        ("\u0301a", ["\u0301￭", "a"]),
    ],
)
def test_marks_belong_to_the_character_before_them(text, tokens):
    assert split_punctuation(text) == tokens
    vocab = Vocab.build([text], "word", tokenizer="punctuation")
    ids = vocab.encode(text)
    assert [vocab.tokens[i] for i in ids] == tokens
    assert vocab.decode(ids) == vocab.typeset(ids) == text
    assert Vocab.from_dict(vocab.to_dict()).encode(text).tolist() == ids.tolist()


def test_vocabularies_without_a_version_keep_the_former_rule():
    """Their tokens were separated from combining marks."""
    old = ["म", "￭े", "￭ं", "￭।", "cafe", "￭\u0301"]
    vocab = Vocab("word", ["<unk>", *old], tokenizer="punctuation")
    assert [vocab.tokens[i] for i in vocab.encode("में। cafe\u0301")] == old
    assert "version" not in vocab.to_dict()
    for version in (0, 3, True, "2", None, [], 1e9):
        with pytest.raises(InputError, match="version"):
            Vocab("word", vocab.tokens, tokenizer="punctuation", version=version)


@pytest.mark.parametrize("version", [1, 2])
def test_an_extended_vocabulary_keeps_its_version(version, tmp_path):
    (tmp_path / "text").write_text("में मे।\n" * 9, encoding="utf-8")
    vocab = Vocab.build(["ab, c\n"], "word", tokenizer="punctuation", version=version)
    config = DataConfig(data=(str(tmp_path / "text"),), level="word", tokenizer="punctuation")
    grown = load_corpus(config, vocab, extend_vocab=True).vocab
    assert grown.to_dict().get("version", 1) == version
    assert sorted(grown.tokens[len(vocab) :]) == sorted({*split_punctuation("में मे।", version)})


lines = st.lists(
    st.text("ab'’.,“”-(5_ é漢\u0301ि\u200d\u200c\u200b👩🏽🇩\ufe0f", max_size=12), max_size=4
)


@given(lines)
def test_split_punctuation_is_rejoined_exactly(lines):
    text = "\n".join(" ".join(line.split()) for line in lines) + "\n"
    vocab = Vocab.build([text], "word", tokenizer="punctuation")
    ids = vocab.encode(text)
    assert vocab.decode(ids) == vocab.typeset(ids) == text
    assert vocab.count_characters(ids) == len(text)


def test_splitting_punctuation_reduces_the_vocabulary():
    cut = Vocab.build([NOVEL], "word", tokenizer="punctuation")
    assert {"Yes", "￭,", "it's", "no_one", "O'Brien"} <= set(cut.tokens)
    assert cut.decode(cut.encode(NOVEL)) == NOVEL
    whole = Vocab.build([NOVEL], "word")
    assert "“Yes," in whole.tokens
    assert whole.to_dict().keys() == {"level", "tokens"}


def test_a_vocabulary_keeps_its_tokenizer():
    vocab = Vocab.build([NOVEL], "word", tokenizer="punctuation")
    again = Vocab.from_dict(vocab.to_dict())
    assert again == vocab
    assert again.encode("Yes,").tolist() == vocab.encode("Yes,").tolist()
    assert vocab != Vocab("word", vocab.tokens)
    with pytest.raises(InputError, match=r"'latin' .* split, punctuation"):
        Vocab("word", vocab.tokens, tokenizer="latin")
    with pytest.raises(InputError, match="'weights'"):
        Vocab("word", vocab.tokens, weights=[])


def test_the_vocabulary_counts_only_the_first_words():
    vocab = Vocab.build(["a b, ", "b, c d"], "word", tokenizer="punctuation", first=5)
    assert vocab.tokens == ["<unk>", "b", "￭,", "a"]


def test_a_run_keeps_its_tokenizer_and_generates_with_it(text_file, tmp_path, command):
    flags = ["--data", text_file, "--level", "word", "--tokenizer", "punctuation", *TINY]
    code, out, err = command("train", *flags, "--run", tmp_path / "run")
    assert (code, err) == (0, "")
    assert "bits per character" in out
    vocab = Run(tmp_path / "run").load("best").vocab
    assert "￭," in vocab.tokens
    assert "play," not in vocab.tokens
    code, out, err = command("generate", tmp_path / "run", "--prompt", "play, 3", "--length", 2)
    assert (code, err) == (0, "")
    assert out.startswith("play, 3")
    assert_refused(
        command("train", "--resume", tmp_path / "run", "--tokenizer", "split"),
        "tokenizer",
        "punctuation",
        "split",
    )


@pytest.mark.parametrize("level, rule", [("char", "split"), ("word", "bpe"), ("subword", "moses")])
def test_a_tokenizer_of_another_level_is_refused(level, rule):
    with pytest.raises(InputError, match=f"`tokenizer` {rule}"):
        Config.from_dict({"level": level, "tokenizer": rule})
