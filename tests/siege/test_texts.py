"""Texts that change while they are read, and texts that are larger than memory."""

import pytest
from conftest import PEAK, start

from gluonlm.config import DataConfig
from gluonlm.corpus import ids, load_corpus
from gluonlm.corpus import text as text_module
from gluonlm.corpus.text import Text
from gluonlm.system.errors import InputError


def test_a_fingerprint_covers_the_encoded_bytes(tmp_path, monkeypatch):
    path = tmp_path / "log.txt"
    path.write_text("one two three\n" * 9)
    before = Text([path]).fingerprint()
    encoded = ids._encoded

    def growing(text, vocab):
        yield from encoded(text, vocab)
        with open(path, "a") as stream:  # at this point an older version hashed the file again
            stream.write("four\n")

    monkeypatch.setattr("gluonlm.corpus.ids._encoded", growing)
    corpus = load_corpus(DataConfig(data=(str(path),)))
    assert len(corpus.train) + len(corpus.valid) + len(corpus.test) == 14 * 9
    monkeypatch.undo()
    grown = load_corpus(DataConfig(data=(str(path),)))
    assert grown.fingerprint != corpus.fingerprint
    path.write_text("one two three\n" * 9)
    assert load_corpus(DataConfig(data=(str(path),))).fingerprint == corpus.fingerprint
    assert Text([path]).fingerprint() == before


def test_a_file_is_hashed_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text("one two three\n" * 9)
    monkeypatch.setattr(text_module, "hash_file", None)  # the file is not read again for its hash
    assert load_corpus(DataConfig(data=(str(path),))).fingerprint


def test_ids_of_a_changing_long_text_are_not_kept(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text("abc" * 999)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text, vocab = Text([path]), load_corpus(DataConfig(data=(str(path),))).vocab
    monkeypatch.setattr(ids, "CACHE_FROM", 1000)
    key = ids._key

    def changing(text, vocab, real=key):
        monkeypatch.setattr(ids, "_key", real)
        name = real(text, vocab)
        path.write_text("cab" * 999)
        return name

    monkeypatch.setattr(ids, "_key", changing)
    with pytest.raises(InputError, match="changed"):
        ids.ids_of(Text([path]), vocab)
    assert not list(ids.cache_folder().iterdir())
    assert text.fingerprint() == Text([path]).fingerprint()


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_pieces_of_complete_words_join_to_the_text(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "PIECE", piece)
    text = "One  two\tthree\r\nfour\rfive\n\nΟΔΟΣ ΣΟΦΟΣ, end"
    (tmp_path / "x.txt").write_bytes(text.encode())
    path, spaces = tmp_path / "x.txt", " \n\t"
    pieces = list(Text([path], cut="word", keep_line_ends=True).pieces())
    assert "".join(pieces) == text
    assert all(p[-1] in spaces for p in pieces[:-1])
    assert "".join(Text([path], lower=True, keep_line_ends=True).pieces()) == text.lower()


def test_an_endless_word_is_rejected_but_readable_as_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "PIECE", 10)
    monkeypatch.setattr(text_module, "LONGEST_WORD", 50)
    path = tmp_path / "x.txt"
    path.write_text("A" * 100)
    with pytest.raises(InputError, match=r"x\.txt: .* 50 "):
        list(Text([path], cut="word").pieces())
    assert "".join(Text([path], lower=True).pieces()) == "a" * 100
    path.write_text("A" * 50)
    assert list(Text([path], cut="word").pieces()) == ["A" * 50]


ENDLESS = """
import sys
from gluonlm.corpus.text import Text
from pathlib import Path
before = peak()
try:
    for piece in Text([Path(sys.argv[1])], lower=True, cut=sys.argv[2]).pieces():
        pass
except ValueError as error:
    print(error)
print(peak() - before)
"""


@pytest.mark.parametrize("cut", ["anywhere", "word"])
def test_a_long_line_uses_little_memory(cut, tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"A" * 150_000_000)
    out, err = start("-c", PEAK + ENDLESS, path, cut).communicate()
    *errors, megabytes = out.splitlines()
    assert err == ""
    assert float(megabytes) < 150
    assert ["x.txt" in error for error in errors] == [True] * (cut == "word")
