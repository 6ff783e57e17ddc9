"""How much of a written text stands in the text that its model was trained on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

GRAM = 8  # tokens of a piece that is looked for
GAP = range(0xD800, 0xE000)  # code points that are half a character


class Novelty(NamedTuple):
    """What a written text has in common with another.

    Attributes
    ----------
    longest
        Where the longest piece in common stands in the written text.
    grams
        The part of all runs of `GRAM` tokens that the other text has, too; 0 if there is none.
    """

    longest: slice
    grams: float


def novelty(written: np.ndarray, known: np.ndarray) -> Novelty:
    """Compare a written text with a known one, both ids `(tokens,)`."""
    text, other = _as_string(written), _as_string(known)
    best = slice(0, 0)
    for begin in range(len(text)):
        while (end := begin + best.stop - best.start + 1) <= len(text) and text[begin:end] in other:
            best = slice(begin, end)
    grams = [text[begin : begin + GRAM] for begin in range(len(text) - GRAM + 1)]
    found = {gram: gram in other for gram in set(grams)}
    return Novelty(best, sum(found[gram] for gram in grams) / max(1, len(grams)))


def _as_string(ids):
    """Return ids as a string of as many characters: Python finds pieces of strings fast."""
    codes = np.asarray(ids, np.uint32)
    codes = codes + len(GAP) * (codes >= GAP.start).astype(np.uint32)
    return codes.astype("<u4").tobytes().decode("utf-32-le")
