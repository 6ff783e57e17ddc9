"""Slices of a text's ids: streams, segments, windows, and batches of them.

No MXNet is imported: `rnn_batch` and `get_batch` work on NumPy arrays alone.
"""

from .batches import make_batches
from .slicing import get_batch, rnn_batch, windows

__all__ = ["get_batch", "make_batches", "rnn_batch", "windows"]
