"""Characters as tokens: one for each code point."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable

import numpy as np

from ..system.errors import InputError

_CHUNK = 1 << 16  # characters encoded at a time, so that temporary copies fit into the CPU cache


def _codes(text: str) -> np.ndarray:
    """Return a text's code points, `(characters,)`; lone surrogates count as characters."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.intp)


class Characters:
    """Conversion of characters to ids and back.

    Parameters
    ----------
    separator
        The only token of several characters: each of its occurrences in a text is one token.
    """

    unit = "character"
    line_break = "\n"

    def __init__(self, tokens: list[str], index: dict[str, int], separator: str = ""):
        single = [token for token in tokens if not separator or token != separator]
        if not all(len(token) == 1 for token in single):
            raise InputError("vocabulary: every token must be a single character")
        codes = _codes("".join(single))
        # the last entry, -1, represents all larger codes
        self._table = np.full(codes.max(initial=0) + 2, -1, np.int32)
        self._table[codes] = [index[token] for token in single]
        self.separator, self._index = separator, index

    @staticmethod
    def reserves(separator: str) -> bool:
        """Return whether a document separator needs a token of its own."""
        return len(separator) > 1

    @staticmethod
    def build(
        pieces: Iterable[str], max_size: int, tokenizer: str, first: float, separator: str = ""
    ) -> dict:
        """Collect all characters of a text in code-point order, followed by the separator."""
        seen = np.zeros(0x110000, bool)
        for piece in pieces:
            rest = piece.replace(separator, "") if separator else piece
            for start in range(0, len(rest), _CHUNK):
                seen[_codes(rest[start : start + _CHUNK])] = True
        more = [separator] if separator else []
        return {"tokens": [*map(chr, np.flatnonzero(seen)), *more], **_details(separator)}

    def lookup(self, text: str) -> tuple[np.ndarray, str]:
        """Return the ids of a text's tokens, -1 if unknown, and the tokens themselves."""
        out = np.empty(len(text), np.int32)
        for i in range(0, len(text), _CHUNK):
            codes = _codes(text[i : i + _CHUNK])
            np.take(self._table, codes, mode="clip", out=out[i : i + len(codes)])
        if not self.separator or self.separator not in text:
            return out, text
        found = re.finditer(re.escape(self.separator), text)
        starts = np.fromiter((each.start() for each in found), np.intp)
        out[starts] = self._index[self.separator]
        kept = np.ones(len(text), bool)
        for place in range(1, len(self.separator)):
            kept[starts + place] = False
        return out[kept], "".join(itertools.compress(text, kept))

    def decode(self, tokens: list[str]) -> str:
        """Return the text that encodes to these tokens."""
        return "".join(tokens)

    def speller(self, before: str | None) -> Callable[[str], str]:
        """Return a function that converts tokens to text one by one."""
        return lambda token: token

    def length(self, token: str) -> int:
        """Return the number of characters of a token."""
        return len(token)

    def details(self) -> dict:
        """Return the data of this vocabulary apart from its tokens."""
        return _details(self.separator)


def _details(separator):
    return {"separator": separator} if separator else {}
