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
    assert found == (book.rstrip("\n") + "\n" if licence else book.rstrip("\n"))


def test_a_long_book_is_stripped():
    book = "x" * 200_000
    pieces = [(HEADER + book + LICENCE)[i : i + 5000] for i in range(0, 201_000, 5000)]
    assert "".join(stripped(pieces)) == book + "\n"


TITLE = "THE PROJECT GUTENBERG EBOOK"
SMALL = "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n"
STARTS = [
    f"The Project Gutenberg eBook of A\n\n*** START OF {TITLE} A ***\n\n",
    f"Credits: B\n\n*** START OF {TITLE} A VERY LONG\nTITLE OF\nTHREE LINES ***\n\n",
    "***START OF THIS PROJECT GUTENBERG EBOOK A***\n\n\nProduced by B C and the Online\n"
    "Distributed Proofreading Team\n\n",
    f"*** START OF {TITLE} A ***\n\nE-text prepared by B\n\n\n"
    "Transcribed from the 1897 edition\n\n",
    "*** Start of the Project Gutenberg EBook of A\n",
    "***START OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK A***\n\nScanned and proofread\nby B\n\n",
    f"The Project Gutenberg Etext of A\n\n**Copyright laws**\n\n{SMALL}\n\n"
    "This etext was prepared by B.\n\n",
    f"***START OF {TITLE} A***\n\nOld header\n\n{SMALL.replace('END*THE', 'END THE')}\n",
]
ENDS = [
    f"\n\n\n*** END OF {TITLE} A ***\n\nUpdated editions\n",
    f"\n\nEnd of Project Gutenberg's A, by B\n\n*** END OF {TITLE} A ***\nSection 1\n",
    "\n\n      End of the Project Gutenberg EBook of A, by\nB\n\n***END OF THIS PROJECT GUTENBERG",
    "\n\nEnd of the Project Gutenberg Etext of A\n",
    "\n\nEnde dieses Projekt Gutenberg Etextes A\n",
    "\n \n  End of this Project Gutenberg Etext A",
    "\n\nFin de Project Gutenberg's A\n\n*** END OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK A ***",
    "",
]
BOOK = "    CHAPTER I\n\nProduce was sold by the end of June.\n\n\nTHE END"


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("start", STARTS)
def test_no_line_of_the_frame_is_left(start, end, line_end, tmp_path):
    whole, book = ((start + BOOK + end).replace("\n", line_end), BOOK.replace("\n", line_end))
    assert "".join(stripped([whole])) == book + "\n" * bool(end)
    assert "".join(stripped(list(whole))) == book + "\n" * bool(end)
    (tmp_path / "book").write_text(whole, newline="")
    assert has_header(tmp_path / "book")


def test_every_book_of_a_file_is_kept():
    books = [f"Book {number}.\n" + "text\n" * (number * 9000) + "end" for number in range(4)]
    text = "".join(start + book + end for start, book, end in zip(STARTS, books, ENDS))
    pieces = [text[i : i + 5000] for i in range(0, len(text), 5000)]
    assert "".join(stripped(pieces)) == "".join(book + "\n" for book in books)


def test_much_white_space_is_read_in_linear_time():
    space = "\n \t" * 300_000
    pieces = [(HEADER + "x" + space + "y")[i : i + 100_000] for i in range(0, 900_100, 100_000)]
    assert "".join(stripped(pieces)) == "x" + space + "y"


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
