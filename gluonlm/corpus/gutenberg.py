"""Remove the header and licence that Project Gutenberg adds to a book."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

HEADER = 1 << 16  # largest size of a header in characters
LONGEST = 1 << 11  # characters of the longest marker
_FLAGS = re.IGNORECASE | re.MULTILINE
_SAME_PARAGRAPH = r"(?:[^\n]|\n(?![^\S\n]*\n))"
# a long title continues on the next lines, up to the closing asterisks
_START = re.compile(
    r"\*\*\* ?START OF (?:THE|THIS) (?:COPYRIGHTED )?PROJECT GUTENBERG"
    rf"(?:{_SAME_PARAGRAPH}{{0,500}}?\*\*\*)?[^\n]*(?:\n|\Z)",
    _FLAGS,
)
# the end of the header in files until about 2003; some have the newer marker above it
_SMALL_PRINT = re.compile(r"^\*END ?\*? ?THE SMALL PRINT![^\n]*(?:\n|\Z)", _FLAGS)
_CREDITS = re.compile(
    r"\[?(?:(?:this |the )?(?:e-?text|e-?book|file|text) )?(?:was )?"
    r"(?:produced|prepared|transcribed|scanned|proofread|typed|converted)\b"
    rf"{_SAME_PARAGRAPH}{{0,80}}?\bby\b|transcribed from the |html version by ",
    _FLAGS,
)
_END = re.compile(
    r"^[ \t*]*(?:END|ENDE|EINDE|FIN|FINE|FIM|SLUT)\b[^\n]{0,40}?\bPROJE[CK]?T GUTENBERG", _FLAGS
)
_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)*")
_PARAGRAPH = re.compile(r"(?:[^\S\n]*\S[^\n]*(?:\n|\Z))*")


def has_header(path: Path) -> bool:
    """Return whether a file begins with a Project Gutenberg header."""
    try:
        with open(path, encoding="latin-1") as stream:
            return _start_of_book(stream.read(HEADER)) is not None
    except OSError:
        return False


def stripped(pieces: Iterable[str]) -> Iterator[str]:
    """Yield books without headers and licences; yield other texts unchanged.

    Parameters
    ----------
    pieces
        The text of one file: one book, or several books in order.
    """
    pieces = iter(pieces)
    rest = _fill("", pieces, HEADER)
    rest, inside = rest[_start_of_book(rest) or 0 :], True
    while True:
        marker = (_END if inside else _START).search(rest)
        if marker and inside:
            yield rest[: marker.start()].rstrip() + "\n"
            rest, inside = rest[marker.end() :], False
        elif marker:
            rest = _fill(rest[marker.start() :], pieces, HEADER)
            rest, inside = rest[_start_of_book(rest) :], True
        else:
            # the marker may span two pieces, and the white space before it is removed
            place = len(rest[:-LONGEST].rstrip())
            yield rest[:place] if inside else ""
            tail = rest[place:]
            rest = _fill(tail, pieces, len(tail) + 1)
            if rest == tail:
                yield rest if inside else ""
                return


def _fill(text: str, pieces: Iterator[str], size: int) -> str:
    """Return a text followed by more pieces, until it has `size` characters."""
    while len(text) < size and (piece := next(pieces, "")):
        text += piece
    return text


def _start_of_book(text: str) -> int | None:
    """Return the position after a header at the beginning of a text; None without a header."""
    start = _START.search(text, 0, HEADER)
    place = start.end() if start else None
    small = _SMALL_PRINT.search(text, place or 0, HEADER)
    if small and text[small.end() :].strip() and not _END.search(text, place or 0, small.start()):
        place = small.end()
    if place is None:
        return None
    place = _after(_BLANK_LINES, text, place)
    while _CREDITS.match(text, place):
        place = _after(_BLANK_LINES, text, _after(_PARAGRAPH, text, place))
    return place


def _after(pattern: re.Pattern, text: str, place: int) -> int:
    """Return the position after a pattern that matches everywhere, at least the empty string."""
    found = pattern.match(text, place)
    return found.end() if found else place
