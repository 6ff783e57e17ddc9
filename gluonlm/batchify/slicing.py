"""Slices of ids, for NumPy and MXNet arrays alike: streams, segments and windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..system.errors import InputError

Array = Any  # of NumPy or MXNet


def _as_array(data):
    """Return data that can be cut: a sequence becomes an array, floats are rejected.

    A float would be cut off somewhere later, without a word: 1.9 is not token 1.
    """
    array = data if hasattr(data, "reshape") else np.asarray(data)
    if isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.size:
        raise InputError(f"ids must be whole numbers, not {array.dtype}")
    return array


def rnn_batch(data: Array, batch_size: int) -> Array:
    """Cut a sequence into `batch_size` streams that stand side by side.

    Parameters
    ----------
    data
        Ids `(tokens,)`: an array of NumPy, MXNet or PyTorch, or any sequence such as a list or a
        range. Of PyTorch's tensors the result is not contiguous.
    batch_size
        The number of streams N.

    Returns
    -------
    `(T, N)` with `T = tokens // N`; the last `tokens - T * N` ids are cut. A view for NumPy.

    Raises
    ------
    InputError
        If there is not one whole row, or the ids are not whole numbers.
    """
    data = _as_array(data)
    rows = len(data) // batch_size if batch_size > 0 else 0
    if rows < 1:
        raise InputError(
            f"cannot cut {len(data)} tokens into {batch_size} streams: "
            f"give more text or a `batch_size` from 1 to {len(data)}"
        )
    return data[: rows * batch_size].reshape((batch_size, rows)).T


def get_batch(source: Array, i: int, seq_len: int) -> tuple[Array, Array]:
    """Return rows `i .. i + seq_len` as inputs, and the rows one later as targets.

    Parameters
    ----------
    source
        `(T, N)` from `rnn_batch`.
    i
        The first row.
    seq_len
        The most rows wanted.

    Returns
    -------
    Inputs `(L, N)` and flattened targets `(L*N,)`, `L = min(seq_len, T - 1 - i)`: the last batch
    of a text may be shorter.

    Raises
    ------
    InputError
        If no row with a successor is left at `i`.
    """
    length = min(seq_len, len(source) - 1 - i)
    if i < 0 or length < 1:
        raise InputError(
            f"no batch at row {i} with `seq_len` {seq_len}: "
            f"{len(source)} rows hold inputs for rows 0 to {len(source) - 2}"
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
    `data` for NumPy, whatever the overlap; MXNet has no strided views: there they are gathered.

    Raises
    ------
    InputError
        If not one window has a successor, or the ids are not whole numbers.
    """
    data = _as_array(data)
    if length < 1 or step < 1 or len(data) <= length:
        raise InputError(
            f"cannot take windows of {length} with step {step} and a successor from "
            f"{len(data)} tokens: length and step start at 1, and there must be more tokens "
            "than a window holds"
        )
    targets = data[length::step]
    if isinstance(data, np.ndarray):
        return np.lib.stride_tricks.sliding_window_view(data, length)[:-1:step], targets
    starts = np.arange(len(targets))[:, None] * step
    return data[starts + np.arange(length)], targets
