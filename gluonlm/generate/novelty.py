"""Measure how much of a generated text occurs in the training text."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

GRAM = 8  # tokens per n-gram
GAP = range(0xD800, 0xE000)  # surrogate code points


class Novelty(NamedTuple):
    """The overlap of a generated text with the training text.

    Attributes
    ----------
    longest
        Position of the longest common piece in the generated text.
    grams
        Fraction of the generated text's `GRAM`-grams that occur in the training text; 0 if the
        generated text is shorter.
    """

    longest: slice
    grams: float


def novelty(written: np.ndarray, known: np.ndarray) -> Novelty:
    """Compare a generated text with a known text, both ids `(tokens,)`."""
    text, other = _as_string(written), _as_string(known)
    best = slice(0, 0)
    for begin in range(len(text)):
        while (end := begin + best.stop - best.start + 1) <= len(text) and text[begin:end] in other:
            best = slice(begin, end)
    grams = [text[begin : begin + GRAM] for begin in range(len(text) - GRAM + 1)]
    found = {gram: gram in other for gram in set(grams)}
    return Novelty(best, sum(found[gram] for gram in grams) / max(1, len(grams)))


def _as_string(ids):
    """Return ids as a string, one character per id: substring search is fast in Python."""
    codes = np.asarray(ids, np.uint32)
    codes = codes + len(GAP) * (codes >= GAP.start).astype(np.uint32)
    return codes.astype("<u4").tobytes().decode("utf-32-le")
