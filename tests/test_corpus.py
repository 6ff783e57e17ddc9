"""From the name of a text to its ids: sources, vocabulary, parts."""

import io
import re
import shlex
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from gluonlm.config import DataConfig
from gluonlm.corpus import CATALOGUE, Entry, File, load_corpus
from gluonlm.corpus.load import expand
from gluonlm.corpus.trust import check_trusted
from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab


def parts(corpus):
    return [corpus.vocab.decode(part) for part in (corpus.train, corpus.valid, corpus.test)]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write texts to files with these names in a new working folder."""
    monkeypatch.chdir(tmp_path)

    def write(**texts):
        for name, text in texts.items():
            Path(name).write_bytes(text.encode())

    return write


def test_the_embedded_corpus_is_split_contiguously():
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[key] for key in sorted(topics))
    corpus = load_corpus()
    assert corpus.vocab.tokens == sorted(set(text))
    assert corpus.name == "python-docs"
    assert "".join(parts(corpus)) == text
    shares = [round(len(part) / len(text), 3) for part in (corpus.train, corpus.valid, corpus.test)]
    assert shares == [0.9, 0.05, 0.05]
    assert all(part.dtype == np.int32 for part in (corpus.train, corpus.valid, corpus.test))


def test_own_validation_and_test_files_and_several_texts(files):
    files(b_txt="bbb", a_txt="aaaa", v="cc", t="d")
    config = DataConfig(data=("*_txt",), valid="v", test="t")
    corpus = load_corpus(config)
    assert parts(corpus) == ["aaaa\nbbb", "cc", "d"]
    changed = load_corpus(DataConfig(data=config.data, valid="t", test="v"))
    assert changed.fingerprint != corpus.fingerprint
    assert parts(load_corpus(DataConfig(data=("b_txt", "a_txt"), valid="v"))) == [
        "bbb\naaaa",
        "cc",
        "",
    ]
    assert parts(load_corpus(DataConfig(data=("a_txt",), test="t"))) == ["aaaa", "", "d"]
    assert parts(load_corpus(DataConfig(data=("python-docs",), valid="v")))[1:] == ["cc", ""]


def test_patterns_find_files_at_any_depth_and_names_that_look_like_patterns(files):
    Path("deep/er").mkdir(parents=True)
    files(**{"deep/er/z": "zz", "deep/y": "yy", "[y]": "bracket", "y": "plain"})
    config = dict(split="100/0/0")
    assert parts(load_corpus(DataConfig(data=("deep/**/?",), **config)))[0] == "zz\nyy"
    assert parts(load_corpus(DataConfig(data=("[y]",), **config)))[0] == "bracket"
    assert parts(load_corpus(DataConfig(data=("[x-z]",), **config)))[0] == "plain"


def test_standard_input_is_accepted_as_a_text(files, monkeypatch):
    files(text="ab")
    stream = types.SimpleNamespace(buffer=io.BytesIO(b"cd\n"))
    monkeypatch.setattr(sys, "stdin", stream)
    corpus = load_corpus(DataConfig(data=("text", "-")))
    assert "".join(parts(corpus)) == "ab\ncd\n"


def test_a_corpus_is_named_after_its_first_file(files):
    files(**{"rhyme.old.txt": "aa", "b": "bb"})
    names = [load_corpus(DataConfig(data=data)).name for data in (("rhyme.old.txt", "b"), ("b",))]
    assert names == ["rhyme.old", "b"]


def test_the_word_vocabulary_covers_only_the_training_part(files):
    files(train="a b\n", valid="a z\n", test="b\n")
    corpus = load_corpus(DataConfig(data=("train",), valid="valid", test="test", level="word"))
    assert corpus.vocab.tokens == ["<unk>", "<eos>", "a", "b"]
    assert corpus.valid.tolist() == [corpus.vocab.index["a"], 0, corpus.vocab.index["<eos>"]]


def test_words_missing_from_the_training_part_are_unknown(files):
    files(text="a b a c\n" * 8 + "a d\n" * 4)  # 40 words with <eos>, then 12
    config = DataConfig(data=("text",), level="word", split="75/15/10")
    corpus = load_corpus(config)
    assert corpus.vocab.tokens == ["<unk>", "<eos>", "a", "b", "c"]
    assert corpus.vocab.decode(corpus.test) == "<unk>\na <unk>\n"
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [39, 8, 5]
    files(text="a\nb\nc d")  # 6 words: the training part ends with c
    tokens = {
        split: load_corpus(DataConfig(data=("text",), level="word", split=split)).vocab.tokens[2:]
        for split in ("84/8/8", "66/17/17", "100/0/0")
    }
    assert tokens == {"84/8/8": ["a", "b", "c"], "66/17/17": ["a", "b"], "100/0/0": list("abcd")}


def test_words_are_counted_in_all_pieces_of_the_training_part(files, monkeypatch):
    from gluonlm.corpus import text as text_module

    monkeypatch.setattr(text_module, "PIECE", 5)
    files(text="one two\nthree four\nfive six\nseven eight\n")
    corpus = load_corpus(DataConfig(data=("text",), level="word", split="50/25/25"))
    assert sorted(corpus.vocab.tokens[2:]) == ["four", "one", "three", "two"]
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [6, 3, 3]


def test_text_settings_are_applied(files):
    files(text="ABCDEFGHIJ")
    corpus = load_corpus(DataConfig(data=("text",), split="50/30/20", lower=True))
    assert parts(corpus) == ["abcde", "fgh", "ij"]
    files(words="a a a b b c\n" * 9)
    corpus = load_corpus(DataConfig(data=("words",), level="word", vocab_size=3))
    assert corpus.vocab.tokens == ["<unk>", "<eos>", "a"]
    Path("latin").write_bytes(b"caf\xe9")
    corpus = load_corpus(DataConfig(data=("latin",), encoding="latin-1"))
    assert corpus.vocab.tokens == ["a", "c", "f", "\u00e9"]


def test_an_invalid_split_is_rejected(files):
    files(text="ABCDEFGHIJ")
    for split in ("90/5", "90/5/6", "0/50/50", "a/b/c", "110/-5/-5", "nan/5/5"):
        with pytest.raises(InputError, match=f"`split` '{split}'"):
            load_corpus(DataConfig(data=("text",), split=split))


def test_a_given_vocabulary_is_kept_and_unknown_characters_are_located(files, monkeypatch):
    from gluonlm.corpus import text as text_module

    monkeypatch.setattr(text_module, "PIECE", 4)
    files(text="abcabcabca", other="ab" * 5 + "x")
    vocab = Vocab("char", "cbaz")
    corpus = load_corpus(DataConfig(data=("text",)), vocab)
    assert corpus.vocab is vocab
    assert corpus.train.tolist() == [2, 1, 0] * 3
    with pytest.raises(InputError, match=r"'x' at position 10 .* 4 "):
        load_corpus(DataConfig(data=("other",)), vocab)


def test_fingerprints_match_older_runs(files):
    files(text="Ab ab\n" * 20, v="a")
    texts = [
        dict(),
        dict(level="word"),
        dict(lower=True),
        dict(encoding="latin-1"),
        dict(valid="v"),
    ]
    found = [load_corpus(DataConfig(data=("text",), **each)).fingerprint[:16] for each in texts]
    assert found[:2] == ["33b43f541633c50d"] * 2
    assert found[2:4] == ["e193948e1727fce2", "6162339078cf818c"]
    assert found[4] not in found[:4]


def test_missing_files_and_unknown_names_are_reported(files, tmp_path):
    with pytest.raises(InputError) as caught:
        load_corpus(DataConfig(data=("nosuch",)))
    for name in ("`data` nosuch", *CATALOGUE):
        assert name in str(caught.value)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        load_corpus(DataConfig(data=(str(tmp_path),)))
    files(text="abc")
    with pytest.raises(InputError, match="`data` ptb: "):  # named corpora are used alone
        load_corpus(DataConfig(data=("text", "ptb")))


def test_a_corpus_with_its_own_parts_rejects_others(files, monkeypatch):
    files(a="aa", b="b", c="c", v="v")
    entry = Entry("three", "none", tuple(File(name, "nowhere") for name in "abc"))
    monkeypatch.setitem(CATALOGUE, "three", entry)
    config = dict(data=("three",), data_dir=".")
    assert parts(load_corpus(DataConfig(**config))) == ["aa", "b", "c"]
    for name in ("valid", "test"):
        with pytest.raises(InputError, match="`valid`, `test`: three "):
            load_corpus(DataConfig(**config, **{name: "v"}))


@pytest.mark.full
def test_the_real_corpora_match_the_published_ones(corpus_path):
    corpus_path("nietzsche")
    assert len(load_corpus(DataConfig(data=("nietzsche",), encoding="latin-1")).vocab) == 85
    assert len(load_corpus(DataConfig(data=("nietzsche",))).vocab) == 84
    corpus_path("ptb")
    corpus = load_corpus(DataConfig(data=("ptb",), level="word"))
    assert len(corpus.train) == 929_589
    assert len(corpus.vocab) == 10_000


@pytest.mark.parametrize(
    "names, pattern, read",
    [
        (["a.md", "b.md", "c.html"], "*.md", ["a.md", "b.md"]),
        (["sub/b.txt", "sub/deep/a.txt"], "**/*.txt", ["sub/b.txt", "sub/deep/a.txt"]),
    ],
)
def test_the_error_of_a_folder_names_a_pattern_for_its_files(names, pattern, read, tmp_path):
    folder = tmp_path / "my notes"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    with pytest.raises(InputError, match=r"`data`.* folder") as caught:
        expand((str(folder),))
    assert f"pass {shlex.quote(str(folder / pattern))} " in str(caught.value)
    assert expand((str(folder / pattern),)) == [folder / name for name in read]


def test_a_folder_means_its_texts_in_order(tmp_path):
    folder = tmp_path / "my [notes]"
    for name in ("b.txt", "a.txt", "x.py", ".hidden.txt", "sub/c.txt", "train.txt", "d.txt/e.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    names = ["a.txt", "b.txt", "train.txt"]
    assert expand((str(folder),)) == [folder / name for name in names]
    config = DataConfig(data=(str(folder),), document_separator="<|end|>", split="100/0/0")
    corpus = load_corpus(config)
    assert corpus.vocab.decode(corpus.train) == "<|end|>".join(names)
    (folder / "valid.txt").write_text("v")
    with pytest.raises(InputError, match="`valid`"):
        expand((str(folder),))


def test_a_folder_of_a_run_must_be_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a")
    (tmp_path / "in" / "b.txt").symlink_to("/etc/hostname")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="not in the current folder"):
        check_trusted(DataConfig(data=("in",)), ())
    (tmp_path / "in" / "b.txt").unlink()
    assert check_trusted(DataConfig(data=("in",)), ()).data == ("in",)
    monkeypatch.chdir(tmp_path / "in")
    with pytest.raises(InputError, match="not in the current folder"):
        check_trusted(DataConfig(data=(str(tmp_path),)), ())


def test_the_error_of_a_folder_names_its_parts(tmp_path):
    for name in ("wiki.test.tokens", "wiki.train.tokens", "wiki.valid.tokens", "readme"):
        (tmp_path / name).write_text(name)
    train, valid, test = (tmp_path / f"wiki.{part}.tokens" for part in ("train", "valid", "test"))
    with pytest.raises(InputError, match=f"`data` {train} `valid` {valid} `test` {test}"):
        expand((str(tmp_path),))


def test_patterns_match_files_and_not_folders(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("a")
    with pytest.raises(InputError, match="`data`"):
        expand((str(tmp_path / "*"),))
    (tmp_path / "b").write_text("b")
    assert expand((str(tmp_path / "*"),)) == [tmp_path / "b"]
    assert expand((str(tmp_path / "**"),)) == [tmp_path / "b", tmp_path / "sub" / "a"]
