"""Remove the header and licence that Project Gutenberg adds to a book."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

HEADER = 1 << 16  # largest size of a header in characters
_START = re.compile(r"\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG[^\n]*\n\s*")
_END = re.compile(r"\s*\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG")
_LONGEST_END = 200  # characters of white space and end marker


def has_header(path: Path) -> bool:
    """Return whether a file begins with a Project Gutenberg header."""
    try:
        with open(path, encoding="latin-1") as stream:
            return bool(_START.search(stream.read(HEADER)))
    except OSError:
        return False


def stripped(pieces: Iterable[str]) -> Iterator[str]:
    """Yield a book without its header and licence; yield other texts unchanged.

    Parameters
    ----------
    pieces
        The text of one file.
    """
    pieces = iter(pieces)
    head = ""
    while len(head) < HEADER and (piece := next(pieces, "")):
        head += piece
    start = _START.search(head)
    if not start:
        yield head
        yield from pieces
        return
    rest = head[start.end() :]
    while True:
        end = _END.search(rest)
        if end:
            yield rest[: end.start()] + "\n"
            for _ in pieces:  # read to the end, to check that all of the file is text
                pass
            return
        piece = next(pieces, "")
        if not piece:
            yield rest
            return
        # the marker may span two pieces
        place = max(0, len(rest) - _LONGEST_END)
        if place:
            yield rest[:place]
        rest = rest[place:] + piece
