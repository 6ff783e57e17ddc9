"""Vocabularies: `Vocab`, and the three kinds of tokens that it supports."""

from .vocab import Vocab, escaped, measure, unescape
from .words import END_OF_LINE, UNKNOWN, split_words

__all__ = ["END_OF_LINE", "UNKNOWN", "Vocab", "escaped", "measure", "split_words", "unescape"]
