"""The licence text around a Gutenberg book."""

import re

import pytest
from conftest import TINY
from hypothesis import given
from hypothesis import strategies as st

from gluonlm.corpus.gutenberg import has_header, stripped

HEADER = "The Project Gutenberg eBook\n\n*** START OF THE PROJECT GUTENBERG EBOOK A ***\n\n\n"
LICENCE = "\n\n\n*** END OF THE PROJECT GUTENBERG EBOOK A ***\nSection 1. General Terms\n"


@given(st.lists(st.integers(1, 40)), st.sampled_from([HEADER, ""]), st.sampled_from([LICENCE, ""]))
def test_a_book_is_found_in_chunks_of_any_size(lengths, header, licence):
    book = "It was a night *** START of storms.\n" * 20
    whole, pieces = header + book.rstrip("\n") + licence, []
    rest = whole
    for length in lengths:
        pieces.append(rest[:length])
        rest = rest[length:]
    found = "".join(stripped([*filter(None, pieces), rest]))
    if header:
        assert found == book.rstrip("\n") + ("\n" if licence else "")
    else:
        assert found == whole


def test_a_long_book_is_stripped():
    book = "x" * 200_000
    pieces = [(HEADER + book + LICENCE)[i : i + 5000] for i in range(0, 201_000, 5000)]
    assert "".join(stripped(pieces)) == book + "\n"


def test_a_header_is_recognised(tmp_path):
    for name, text, expected in (("a", HEADER + "x", True), ("b", "START OF", False)):
        (tmp_path / name).write_text(text)
        assert has_header(tmp_path / name) is expected
    assert has_header(tmp_path / "none") is False


@pytest.mark.parametrize("flags, kept", [([], True), (["--strip-gutenberg"], False)])
def test_training_reports_a_books_licence_and_can_remove_it(
    flags, kept, text_file, tmp_path, command
):
    book = tmp_path / "book.txt"
    book.write_text(HEADER + text_file.read_text() + LICENCE)
    tiny = [flag for flag in TINY if flag != "--quiet"]
    code, out, err = command("train", "--data", book, "--run", tmp_path / "run", *tiny, *flags)
    assert (code, err) == (0, "")
    assert ("--strip-gutenberg" in out) == kept
    config = (tmp_path / "run" / "config.json").read_text()
    assert ('"strip_gutenberg": false' in config) == kept
    parts = re.search(r"book: (.*) chars", out)[1].split(" + ")
    read = sum(int(count.replace(",", "")) for count in parts)
    assert read == len(book.read_text() if kept else text_file.read_text())
