"""Slices of NumPy and MXNet arrays of ids: streams, segments and windows.

A text is cut into `batch_size` streams, the columns of a matrix, so that time runs downwards and
neighbouring rows of a column are neighbours in the text. A segment is some consecutive rows: the
inputs of one step. This package does not import MXNet.

>>> text = np.array(list("abcdefghijklmnopqrstuvwxyz"))
>>> streams = rnn_batch(text, batch_size=4)      # "y" and "z" do not fill a row and are dropped
>>> for row in streams:
...     print(*row)
a g m s
b h n t
c i o u
d j p v
e k q w
f l r x
>>> inputs, targets = get_batch(streams, 0, seq_len=2)
>>> for row in inputs:
...     print(*row)
a g m s
b h n t
>>> print(*targets)                              # each input's successor, row by row
b h n t c i o u
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..system.arguments import as_sequence, check_integer
from ..system.errors import InputError

Array = Any  # a NumPy or MXNet array


def _as_array(data, axes=1):
    """Convert a sequence to an array, and reject floats.

    Later code would silently truncate floats, so that 1.9 would become token 1.
    """
    array = data if hasattr(data, "reshape") and hasattr(data, "ndim") else as_sequence(data, axes)
    if array.ndim != axes:
        as_sequence(data, axes)  # raises
    if isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.size:
        raise InputError(f"ids must be integers, not {array.dtype}")
    return array


def rnn_batch(data: Array, batch_size: int) -> Array:
    """Cut a sequence into `batch_size` streams, the columns of the result.

    Parameters
    ----------
    data
        Ids `(tokens,)`: a NumPy or MXNet array, a PyTorch tensor, or any sequence such as a list
        or a range. The result of a PyTorch tensor is not contiguous.
    batch_size
        The number of streams N.

    Returns
    -------
    `(T, N)` with `T = tokens // N`; the last `tokens - T * N` ids are dropped. A view for NumPy.

    Raises
    ------
    InputError
        If the ids do not fill one row, or are not integers.
    """
    data = _as_array(data)
    check_integer("batch_size", batch_size)
    rows = len(data) // batch_size if batch_size > 0 else 0
    if rows < 1:
        raise InputError(
            f"cannot cut {len(data)} tokens into {batch_size} streams: "
            f"use more text or a `batch_size` from 1 to {len(data)}"
        )
    return data[: rows * batch_size].reshape((batch_size, rows)).T


def get_batch(source: Array, i: int, seq_len: int) -> tuple[Array, Array]:
    """Return the `seq_len` rows from row `i` as inputs, and the rows that follow them as targets.

    Parameters
    ----------
    source
        `(T, N)` from `rnn_batch`.
    i
        The first row.
    seq_len
        The maximum number of rows.

    Returns
    -------
    Inputs `(L, N)` and flattened targets `(L*N,)`, `L = min(seq_len, T - 1 - i)`; the last batch
    of a text may be shorter.

    Raises
    ------
    InputError
        If row `i` does not exist or has no successor.
    """
    source = source if hasattr(source, "reshape") else as_sequence(source, axes=2)
    check_integer("i", i)
    check_integer("seq_len", seq_len)
    length = min(seq_len, len(source) - 1 - i)
    if i < 0 or length < 1:
        raise InputError(
            f"no batch at row {i} with `seq_len` {seq_len}: `seq_len` must be at least 1, "
            f"and batches of {len(source)} rows begin at rows 0 to {len(source) - 2}"
        )
    return source[i : i + length], source[i + 1 : i + 1 + length].reshape((-1,))


def windows(data: Array, length: int, step: int = 1) -> tuple[Array, Array]:
    """Return every window of `length` ids, `step` apart, and the id that follows each.

    Parameters
    ----------
    data
        Ids `(tokens,)`.

    Returns
    -------
    Inputs `(M, length)` and targets `(M,)`, `M = (tokens - length - 1) // step + 1`. Views of
    NumPy arrays, even if windows overlap; copies of MXNet arrays, which lack strided views.

    Raises
    ------
    InputError
        If no window has a successor, or the ids are not integers.
    """
    data = _as_array(data)
    check_integer("length", length)
    check_integer("step", step)
    if length < 1 or step < 1 or len(data) <= length:
        raise InputError(
            f"cannot take windows of {length} with step {step} and a successor from "
            f"{len(data)} tokens: length and step must be at least 1, and the text longer "
            "than a window"
        )
    targets = data[length::step]
    if isinstance(data, np.ndarray):
        return np.lib.stride_tricks.sliding_window_view(data, length)[:-1:step], targets
    starts = np.arange(len(targets))[:, None] * step
    return data[starts + np.arange(length)], targets
