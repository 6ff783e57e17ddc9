"""Slices of a text's ids: streams, segments, windows, and batches of them.

This package does not import MXNet; `rnn_batch` and `get_batch` also work on NumPy arrays alone.
"""

from .batches import make_batches
from .slicing import get_batch, rnn_batch, windows

__all__ = ["get_batch", "make_batches", "rnn_batch", "windows"]
