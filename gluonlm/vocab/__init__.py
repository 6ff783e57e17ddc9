"""Text to ids and back: `vocab` is the door, the rest are the three kinds of tokens behind it."""

from .vocab import Vocab, measure
from .words import END_OF_LINE, UNKNOWN, split_words

__all__ = ["END_OF_LINE", "UNKNOWN", "Vocab", "measure", "split_words"]
