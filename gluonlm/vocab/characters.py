"""Characters as tokens: one for each code point."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..system.errors import InputError

_CHUNK = 1 << 16  # characters encoded at a time, so that temporary copies fit into the CPU cache


def _codes(text: str) -> np.ndarray:
    """Return a text's code points, `(characters,)`; lone surrogates count as characters."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.intp)


class Characters:
    """Conversion of characters to ids and back."""

    unit = "character"
    line_break = "\n"

    def __init__(self, tokens: list[str], index: dict[str, int]):
        if not all(len(token) == 1 for token in tokens):
            raise InputError("vocabulary: every token must be a single character")
        codes = _codes("".join(tokens))
        # the last entry, -1, represents all larger codes
        self._table = np.full(codes.max() + 2, -1, np.int32)
        self._table[codes] = np.arange(len(codes), dtype=np.int32)

    @staticmethod
    def build(pieces: Iterable[str], max_size: int, tokenizer: str, first: float) -> dict:
        """Collect all characters of a text in code-point order."""
        seen = np.zeros(0x110000, bool)
        for piece in pieces:
            for start in range(0, len(piece), _CHUNK):
                seen[_codes(piece[start : start + _CHUNK])] = True
        return {"tokens": list(map(chr, np.flatnonzero(seen)))}

    def lookup(self, text: str) -> tuple[np.ndarray, str]:
        """Return the ids of a text's tokens, -1 if unknown, and the tokens themselves."""
        out = np.empty(len(text), np.int32)
        for i in range(0, len(text), _CHUNK):
            codes = _codes(text[i : i + _CHUNK])
            np.take(self._table, codes, mode="clip", out=out[i : i + len(codes)])
        return out, text

    def decode(self, tokens: list[str]) -> str:
        """Return the text that encodes to these tokens."""
        return "".join(tokens)

    def speller(self, before: str | None) -> Callable[[str], str]:
        """Return a function that converts tokens to text one by one."""
        return lambda token: token

    def length(self, token: str) -> int:
        """Return the number of characters of a token."""
        return 1

    def details(self) -> dict:
        """Return the data of this vocabulary apart from its tokens."""
        return {}
