"""Vocabularies: `Vocab`, and the three kinds of tokens that it supports."""

from .vocab import Vocab, measure, unescaped
from .words import END_OF_LINE, UNKNOWN, split_words

__all__ = ["END_OF_LINE", "UNKNOWN", "Vocab", "measure", "split_words", "unescaped"]
