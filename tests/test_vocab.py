"""Text to ids and back."""

import numpy as np
import pytest
from conftest import start
from hypothesis import example, given
from hypothesis import strategies as st

from gluonlm.errors import InputError
from gluonlm.vocab import Vocab, split_words

any_text = st.text(st.characters(), min_size=1)  # lone surrogates included


@given(any_text)
@example("e\u0301 \u05e9\u05dc\u05d5\u05dd \U0001f600 \ud800")
def test_characters_round_trip(text):
    vocab = Vocab.build([text])
    assert vocab.tokens == sorted(set(text))
    ids = vocab.encode(text)
    assert ids.dtype == np.int32 and vocab.decode(ids) == text


def test_long_text_is_encoded_across_chunks():
    text = "abc" * 50_000
    assert Vocab.build([text]).encode(text).tolist() == [0, 1, 2] * 50_000


def test_words_stand_by_frequency_after_the_two_special_ones():
    vocab = Vocab.build(["b a a\nc b a\n"], "word")
    assert vocab.tokens == ["<unk>", "<eos>", "a", "b", "c"]
    assert vocab.encode("a zebra\n").tolist() == [2, 0, 1]
    assert vocab.decode([2, 3, 1, 4]) == "a b\nc"


def test_rare_words_become_unknown_and_the_size_is_what_was_asked_for():
    vocab = Vocab.build(["d d d c c b a\n"], "word", 4)
    assert vocab.tokens == ["<unk>", "<eos>", "d", "c"]
    assert vocab.encode("a b c d").tolist() == [0, 0, 3, 2]


def test_the_published_reader_of_words():
    assert split_words(" no it was n't \n <unk> N\r\nx") == [
        "no",
        "it",
        "was",
        "n't",
        "<eos>",
        "<unk>",
        "N",
        "<eos>",
        "x",
    ]


PENN = "no , it was n't mr. smith 's $ N million ( <unk> 's ) ; N % of `` that '' he said : why ?\nthe companies ' -- we 'll see ...\n"


def test_words_are_typeset_as_a_reader_would_write_them_and_decoded_exactly():
    vocab = Vocab.build([PENN], "word")
    ids = vocab.encode(PENN)
    assert vocab.typeset(ids) == (
        "no, it wasn't mr. smith's $N million (<unk>'s); N% of ``that'' he said: why?\nthe companies' -- we'll see...\n"
    )
    assert vocab.decode(ids) == PENN
    assert Vocab.build([PENN]).typeset(Vocab.build([PENN]).encode(PENN)) == PENN


@given(st.lists(st.integers(0, 20), min_size=1), st.integers(0, 40))
def test_pieces_that_are_typeset_one_after_another_make_up_the_whole(ids, cut):
    vocab = Vocab.build([PENN], "word")
    head, tail = ids[:cut], ids[cut:]
    assert vocab.typeset(head) + vocab.typeset(tail, head[-1] if head else None) == vocab.typeset(
        ids
    )


def test_gluonnlp_agrees_on_every_id():
    for vocab in (Vocab.build(["hello world"]), Vocab.build(["a b b\n"], "word")):
        theirs = vocab.to_gluonnlp()
        assert theirs.idx_to_token == vocab.tokens
        assert theirs[vocab.tokens] == list(range(len(vocab)))


def test_an_unknown_character_is_named_with_its_place_or_skipped():
    vocab = Vocab("char", "ab")
    for text, place in (("abxa", 2), ("ab\U0001f600", 2), ("b\u00e9", 1)):
        with pytest.raises(InputError, match=f"{text[place]!r} at position {place}"):
            vocab.encode(text)
    assert vocab.encode("axbx", unknown="skip").tolist() == [0, 1]


@pytest.mark.parametrize(
    "level, tokens",
    [
        ("char", ["ab"]),
        ("char", ["a", "a"]),
        ("char", []),
        ("word", [""]),
        ("word", [3]),
        ("line", ["a"]),
    ],
)
def test_a_forged_vocabulary_is_refused(level, tokens):
    with pytest.raises(InputError, match="vocabulary"):
        Vocab(level, tokens)


def test_ids_are_the_same_in_every_process():
    code = "from gluonlm import Vocab; print(Vocab.build(['the cat sat on the mat'], 'word').tokens, Vocab.build(['zebra']).tokens)"
    printed = {
        start("-c", code, env={"PYTHONHASHSEED": str(seed)}).communicate()[0] for seed in (1, 2)
    }
    assert printed == {"['<unk>', 'the', 'cat', 'mat', 'on', 'sat'] ['a', 'b', 'e', 'r', 'z']\n"}
