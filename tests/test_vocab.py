"""Text to ids and back."""

import json
from collections import Counter
from pydoc_data.topics import topics

import numpy as np
import pytest
from conftest import start
from hypothesis import example, given
from hypothesis import strategies as st

from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab, split_words

any_text = st.text(st.characters(), min_size=1)  # lone surrogates included


@given(any_text)
@example("e\u0301 \u05e9\u05dc\u05d5\u05dd \U0001f600 \ud800")
def test_characters_round_trip(text):
    vocab = Vocab.build([text])
    assert vocab.tokens == sorted(set(text))
    ids = vocab.encode(text)
    assert ids.dtype == np.int32
    assert vocab.decode(ids) == text


def test_long_text_is_encoded_across_chunks():
    text = "abc" * 50_000 + "d"
    vocab = Vocab.build([text])
    assert vocab.tokens == list("abcd")
    assert vocab.encode(text).tolist() == [0, 1, 2] * 50_000 + [3]
    with pytest.raises(InputError, match="'x' at position 150001"):
        vocab.encode(text + "x")


def test_words_are_ordered_by_frequency_after_special_tokens():
    vocab = Vocab.build(["b a a\nc b a\n"], "word")
    assert vocab.tokens == ["<unk>", "<eos>", "a", "b", "c"]
    assert vocab.encode("a zebra\n").tolist() == [2, 0, 1]
    assert vocab.decode([2, 3, 1, 4]) == "a b\nc"


def test_rare_words_become_unknown_and_the_size_is_as_requested():
    vocab = Vocab.build(["d d d c c b a\n"], "word", 4)
    assert vocab.tokens == ["<unk>", "<eos>", "d", "c"]
    assert vocab.encode("a b c d").tolist() == [0, 0, 3, 2]
    assert Vocab.build(["d c b d"], "word", 3).tokens == ["<unk>", "d", "b"]
    assert Vocab.build(["a <unk> <unk> b <unk> a"], "word", 3).tokens == ["<unk>", "a", "b"]
    assert len(Vocab.build(["d d c b\n", "a"], "word", 0)) == 6
    assert Vocab.build(["d d c b\n"], "word", 1).tokens == ["<unk>", "<eos>", "d"]  # at least one


def test_words_are_split_like_the_published_reader():
    words = split_words(" no it was n't \n <unk> N\r\nx\ry")
    assert " | ".join(words) == "no | it | was | n't | <eos> | <unk> | N | <eos> | x | <eos> | y"


PENN = (
    "no , it was n't mr. smith 's $ N million ( <unk> 's ) ; N % of `` that '' he said : why ?\n"
    "the companies ' -- we 'll see ...\n"
)


def test_words_are_typeset_naturally_and_decoded_exactly():
    vocab = Vocab.build([PENN], "word")
    ids = vocab.encode(PENN)
    assert vocab.typeset(ids) == (
        "no, it wasn't mr. smith's $N million (<unk>'s); N% of ``that'' he said: why?\n"
        "the companies' -- we'll see...\n"
    )
    assert vocab.decode(ids) == PENN
    assert vocab.typeset(vocab.encode("it"), vocab.index["$"]) == "it"
    assert vocab.typeset(vocab.encode("it"), vocab.index["no"]) == " it"
    shouted = Vocab.build(["WAS N'T IT 'S"], "word")
    assert shouted.typeset(shouted.encode("IT 'S WAS N'T")) == "IT'S WASN'T"
    characters = Vocab.build([PENN])
    assert characters.typeset(characters.encode(PENN)) == PENN


@given(st.lists(st.integers(0, 20), min_size=1), st.integers(0, 40))
def test_pieces_typeset_in_turn_join_to_the_typeset_text(ids, cut):
    vocab = Vocab.build([PENN], "word")
    head, tail = ids[:cut], ids[cut:]
    last = head[-1] if head else None
    assert vocab.typeset(head) + vocab.typeset(tail, last) == vocab.typeset(ids)


def test_gluonnlp_agrees_on_every_id():
    pytest.importorskip("gluonnlp")
    for vocab in (Vocab.build(["hello world"]), Vocab.build(["a b b\n"], "word")):
        theirs = vocab.to_gluonnlp()
        assert theirs.idx_to_token == vocab.tokens
        assert theirs[vocab.tokens] == list(range(len(vocab)))


@pytest.mark.parametrize("size", [0, 1, 50, 2000])
def test_words_are_ordered_and_limited_like_gluonnlps(size):
    gluonnlp = pytest.importorskip("gluonnlp")
    text = "\n\n".join(topics[name] for name in sorted(topics))
    words = Counter(split_words(text))
    eos = words.pop("<eos>")
    kept = max(1, size - 2) if size else None
    special = dict.fromkeys(("padding_token", "bos_token", "eos_token"))
    theirs = gluonnlp.Vocab(words, max_size=kept, reserved_tokens=["<eos>"], **special)
    tokens = Vocab.build([text], "word", size).tokens
    assert eos
    assert tokens == theirs.idx_to_token
    assert len(tokens) == (max(3, size) if size else len(words) + 2)


WITHOUT_GLUONNLP = """
import sys
sys.modules["gluonnlp"] = None
from gluonlm import InputError, Vocab
from gluonlm.train.__main__ import main
from gluonlm.evaluate.__main__ import main as evaluate
from gluonlm.generate.__main__ import main as generate
flags = "--level word --hidden-size 4 --max-steps 2 --batch-size 2 --seq-len 5 --quiet"
main(["--data", sys.argv[1], "--run", sys.argv[2], *flags.split()])
evaluate([sys.argv[2]])
generate([sys.argv[2], "--length", "3"])
try:
    Vocab("word", ["a"]).to_gluonnlp()
except InputError as error:
    print(error)
"""


def test_words_are_trained_scored_and_generated_without_gluonnlp(text_file, tmp_path):
    process = start("-c", WITHOUT_GLUONNLP, text_file, tmp_path / "run")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "gluonlm[gluonnlp]" in out.splitlines()[-1]


def test_an_unknown_character_is_reported_with_its_position_or_skipped():
    vocab = Vocab("char", "ab")
    for text, place in (("abxa", 2), ("ab\U0001f600", 2), ("b\u00e9", 1)):
        with pytest.raises(InputError, match=f"{text[place]!r} at position {place} "):
            vocab.encode(text)
        with pytest.raises(InputError, match=f"at position {place + 100} "):
            vocab.encode(text, start=100)
    ids = vocab.encode("axbx", unknown="skip")
    assert ids.tolist() == [0, 1]
    assert ids.dtype == np.int32
    with pytest.raises(InputError) as caught:
        vocab.encode("x\0")
    assert "'x' at position 0" in str(caught.value)
    assert "`unknown` skip" in str(caught.value)


def test_a_word_is_unknown_only_to_a_vocabulary_without_unk():
    vocab = Vocab("word", ["a", "b"])
    with pytest.raises(InputError, match=r"'zebra' at position 7 .* 2 "):
        vocab.encode("a b zebra", start=5)
    assert vocab.encode("a zebra b", unknown="skip").tolist() == [0, 1]
    assert Vocab("word", ["a", "<unk>"]).encode("a zebra", unknown="skip").tolist() == [0, 1]


def test_the_default_prompt_begins_a_line_if_possible():
    assert Vocab("char", "a\nb").default_prompt() == [1]
    assert Vocab("char", "ab").default_prompt() == [0]
    assert Vocab("word", ["<unk>", "a", "<eos>", "\n"]).default_prompt() == [2]
    assert Vocab("word", ["<unk>", "a"]).default_prompt() == [0]


def test_vocabularies_compare_by_level_and_order_and_round_trip_as_json():
    vocab = Vocab("char", "ab\ud800\n")
    assert Vocab.from_dict(json.loads(json.dumps(vocab.to_dict()))) == vocab
    assert vocab != Vocab("char", "ba\ud800\n")
    assert vocab != Vocab("word", "ab\ud800\n")
    assert vocab != vocab.to_dict()


@pytest.mark.parametrize(
    "level, tokens, message",
    [
        ("char", ["ab"], ".*character"),
        ("char", ["a", ""], ".*character"),
        ("char", ["a", "a"], "2 tokens, 1 "),
        ("char", [], "0 tokens"),
        ("word", ["a", ""], ".*empty"),
        ("word", ["a", 3], ".*text"),
        ("line", ["a"], ".*'line'.* char, word"),
    ],
)
def test_a_forged_vocabulary_is_rejected(level, tokens, message):
    with pytest.raises(InputError, match=f"^vocabulary: {message}"):
        Vocab(level, tokens)


@pytest.mark.parametrize("level", ["char", "word"])
def test_an_empty_text_has_no_character_vocabulary(level):
    if level == "char":
        with pytest.raises(InputError, match="vocabulary: 0 tokens"):
            Vocab.build([""], level)
    else:
        assert Vocab.build([" "], level).tokens == ["<unk>"]


def test_ids_are_the_same_in_every_process():
    code = (
        "from gluonlm import Vocab; "
        "print(Vocab.build(['the cat sat on the mat'], 'word').tokens, "
        "Vocab.build(['zebra']).tokens)"
    )
    printed = {
        start("-c", code, env={"PYTHONHASHSEED": str(seed)}).communicate()[0] for seed in (1, 2)
    }
    assert printed == {"['<unk>', 'the', 'cat', 'mat', 'on', 'sat'] ['a', 'b', 'e', 'r', 'z']\n"}
