"""Texts are decoded unchanged, in chunks; binary input is rejected."""

import hashlib
import io
import os
import types

import pytest
from conftest import start

from gluonlm.corpus import text as text_module
from gluonlm.corpus.text import Text, read_text
from gluonlm.system.errors import InputError


@pytest.fixture
def file(tmp_path):
    """Write bytes to a file and return its path."""

    def write(content, name="file"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.fixture
def standard_input(monkeypatch):
    """Provide bytes on standard input."""

    def put(content):
        stream = types.SimpleNamespace(buffer=io.BytesIO(content))
        monkeypatch.setattr(text_module.sys, "stdin", stream)

    return put


def test_byte_order_marks_are_removed_and_line_ends_converted_unless_kept(file):
    path = file("\ufeffone\r\ntwo\rthree\n".encode())
    assert read_text(path) == "one\ntwo\nthree\n"
    assert read_text(path, keep_line_ends=True) == "one\r\ntwo\rthree\n"
    assert read_text(file("\u00e9t\u00e9".encode("utf-16")), "utf-16") == "\u00e9t\u00e9"


def test_sources_are_joined_by_line_breaks(file, monkeypatch):
    monkeypatch.setattr(text_module, "PIECE", 4)
    one, two = file("\ufeffab\ufeffcdefgh".encode(), "1"), file("\ufeff\ufeffx".encode(), "2")
    text = Text([one, "middle", two])
    assert list(text.pieces()) == ["ab\ufeff", "cdef", "gh", "\n", "middle", "\n", "\ufeffx"]
    assert list(text.pieces()) == list(text.pieces())
    assert list(Text([]).pieces()) == []


def test_pieces_of_complete_words_split_no_word(file, monkeypatch):
    monkeypatch.setattr(text_module, "PIECE", 4)
    path = file(b"one two\nthree four five\r\nsixes\rseven")
    pieces = list(Text([path], cut="word", keep_line_ends=True).pieces())
    assert pieces == ["one ", "two\n", "three ", "four ", "five\r\n", "sixes\rseven"]
    sigma = file("\u039f\u0394\u039f\u03a3\u0391 \u03a3".encode())  # split after its sigma
    whole = read_text(sigma).lower()
    assert "".join(Text([sigma], lower=True).pieces()) == whole
    assert "".join(piece.lower() for piece in Text([sigma]).pieces()) != whole


@pytest.mark.parametrize(
    "content, encoding, message",
    [
        (b"caf\xe9 au lait", "utf-8", "0xe9 at offset 3 .*`encoding`.*latin-1"),
        (b"", "utf-8", "empty"),
        (b"\xef\xbb\xbf", "utf-8", "empty"),
        (b"a\0b", "utf-8", "character 1 .*`encoding`.* utf-16"),
        (b"abc", "klingon", "`encoding` 'klingon'"),
        (b"abc", "rot13", "`encoding` 'rot13'"),
        (bytes(range(128, 256)), "utf-8", "0x80 at offset 0"),
        (b"abc", "utf-16", "0x63 at offset 2 .*utf-16"),
    ],
)
@pytest.mark.parametrize("piped", [False, True])
def test_binary_input_is_rejected_with_a_remedy(
    file, standard_input, content, encoding, message, piped
):
    path = "-" if piped else file(content)
    standard_input(content)
    name = "^standard input.*" if piped else f"{path}.*"
    about_encoding = encoding in ("klingon", "rot13")
    with pytest.raises(InputError, match=message if about_encoding else name + message):
        read_text(path, encoding)


def test_the_position_of_a_nul_counts_from_the_start_of_the_file(file, monkeypatch):
    monkeypatch.setattr(text_module, "PIECE", 4)
    with pytest.raises(InputError, match="character 9 "):
        read_text(file(b"abcdefghi\0j"))
    with pytest.raises(InputError, match="character 9 "):  # the byte order mark is not a character
        read_text(file(b"\xef\xbb\xbfabcdefghi\0j"))


def test_standard_input_is_read_once(standard_input):
    standard_input("\ufeff\u00e9\r\n".encode())
    text = Text(["-", "x"])
    assert ["".join(text.pieces()) for _ in range(2)] == ["\u00e9\n\nx"] * 2
    standard_input(b"\xe9")
    assert read_text("-", "latin-1") == "\u00e9"


def test_missing_files_folders_and_pipes_are_reported(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("nosuch", "nosuch: No such file or directory"),
        (".", ": Is a directory"),
        ("pipe", "pipe "),
    ):
        with pytest.raises(InputError, match=message):
            read_text(tmp_path / name)
    with pytest.raises(InputError, match="pipe "):
        Text([tmp_path / "pipe"]).longest()


def test_texts_do_not_exceed_their_maximum_length(file):
    path = file("\u00e9\u00e9".encode())  # 4 bytes
    assert Text([path]).longest() == 5
    assert Text([path, "abc"]).longest() == 9
    assert Text([path, "abc"], lower=True).longest() == 27
    worst = max(map(chr, range(0x110000)), key=lambda c: len(c.lower()))
    text = Text([worst * 10, worst], lower=True)
    assert len("".join(text.pieces())) <= text.longest()


def test_a_fingerprint_covers_the_bytes_and_the_decoding(file):
    """Old runs and old id files contain fingerprints, so they must not change."""
    sources = [file(b"abc"), "\ud800d"]
    expected = hashlib.sha256(b"('utf-8', False)")
    for content in (b"abc", b"\xed\xa0\x80d"):
        expected.update(hashlib.sha256(content).digest())
    fingerprint = Text(sources, cut="word").fingerprint()
    assert fingerprint == expected.hexdigest()
    others = [Text(sources, "latin-1"), Text(sources, lower=True), Text(sources[::-1])]
    assert len({fingerprint, *(other.fingerprint() for other in others)}) == 4


def test_texts_do_not_import_mxnet(file):
    code = (
        "import sys; sys.modules['mxnet'] = None; from gluonlm.corpus import load_corpus; "
        "from gluonlm.config import DataConfig; "
        "corpus = load_corpus(DataConfig(data=(sys.argv[1],))); "
        "print(len(corpus.train), 'argparse' in sys.modules)"
    )
    out, err = start("-c", code, file(b"0123456789")).communicate()
    assert (out, err) == ("9 False\n", "")
