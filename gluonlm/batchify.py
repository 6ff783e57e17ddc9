"""From one long row of token ids to batches: slicing only, for NumPy and MXNet arrays alike.

The picture to keep in mind: the text is cut into `batch_size` streams that stand side by side as
columns of a matrix, so that time runs downwards and neighbouring rows of a column are neighbours
in the text. No MXNet is imported.

>>> import numpy as np
>>> text = np.array(list("abcdefghijklmnopqrstuvwxyz"))
>>> streams = rnn_batch(text, batch_size=4)      # "y" and "z" do not fill a row and are cut
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

import itertools
from typing import Any

import numpy as np

from .errors import InputError
from .shuffle import ORDERS

Array = Any  # of NumPy or MXNet
SHORTEST_DRAWN = 8  # rows of a segment whose length is drawn
SHARE_WHOLE, SPREAD = 0.95, 1 / 14  # of drawn lengths, in parts of the length asked for
SHUFFLED_AT_ONCE = 4096  # windows: a call for one costs a third of a call for all of them


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


class StreamBatches:
    """The batches of one pass over a text whose state is carried from one to the next.

    `len(batches)` is their number; `batches(epoch, index)` returns inputs `(L, N)` and targets
    `(L*N,)`, in the order of the text: a carried state needs neighbours to stay neighbours.

    Parameters
    ----------
    data, batch_size
        As for `rnn_batch`.
    seq_len
        The rows of a batch; the last may have fewer.
    seed
        Draws as many lengths for each epoch: most about `seq_len`, one in twenty about half of it
        (Merity et al. 2018).

    Raises
    ------
    InputError
        If the text is too short for one batch, or drawn segments would be.
    """

    def __init__(self, data: Array, batch_size: int, seq_len: int, seed: int | None = None):
        self.streams = rnn_batch(data, batch_size)  # (T, N)
        self.seq_len, self.seed = seq_len, seed
        if len(self.streams) < 2:
            raise InputError(
                f"{len(data)} tokens in {batch_size} streams make one row, which nothing follows: "
                "give more text or a smaller `batch_size`"
            )
        if seed is not None and seq_len < SHORTEST_DRAWN:
            raise InputError(f"`seq_len` {seq_len}: to be drawn, at least {SHORTEST_DRAWN}")

    def __len__(self) -> int:
        return -(-(len(self.streams) - 1) // self.seq_len)

    def __call__(self, epoch: int, index: int) -> tuple[Array, Array]:
        if self.seed is None:
            return get_batch(self.streams, index * self.seq_len, self.seq_len)
        begin, end = self._cuts(epoch)[index : index + 2]
        return get_batch(self.streams, begin, end - begin)

    def _cuts(self, epoch):
        """Return the rows at which the segments of an epoch begin, and the one after the last."""
        draws = np.random.default_rng([self.seed, epoch])
        middle = np.where(draws.random(len(self)) < SHARE_WHOLE, 1, 1 / 2)
        lengths = np.maximum(draws.normal(middle, SPREAD), 1 / 4)
        ends = np.cumsum(lengths) * ((len(self.streams) - 1) / lengths.sum())
        return np.rint(np.append(0, ends)).astype(np.int64)


class WindowBatches:
    """The batches of one pass over all windows of a text, in another order each epoch.

    `len(batches)` is their number; `batches(epoch, index)` returns inputs `(length, N)` and
    targets `(N,)`; the last batch may be smaller.

    Parameters
    ----------
    data, length, step
        As for `windows`; NumPy only.
    batch_size
        The number of windows N.
    seed
        Seed of the order; without one, the windows come in the order of the text.
    shuffle
        The kind of order, a name in `shuffle.ORDERS`.

    Raises
    ------
    InputError
        If the text is too short for one window, or there is no such order.
    """

    def __init__(
        self,
        data: np.ndarray,
        batch_size: int,
        length: int,
        step: int = 1,
        seed: int | None = None,
        shuffle: str = "mixed",
    ):
        self.inputs, self.targets = windows(data, length, step)  # (M, length), (M,)
        self.batch_size, self.seed = batch_size, seed
        if shuffle not in ORDERS:
            raise InputError(f"`shuffle` {shuffle!r}: not one of {', '.join(ORDERS)}")
        self.order = ORDERS[shuffle]
        self._block, self._windows = (-1, -1), np.empty(0, np.int64)

    def __len__(self) -> int:
        return -(-len(self.targets) // self.batch_size)

    def __call__(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows: Any = slice(index * self.batch_size, (index + 1) * self.batch_size)
        if self.seed is not None:
            rows = self._shuffled(epoch, index, self.seed)
        return self.inputs[rows].T, self.targets[rows]

    def _shuffled(self, epoch: int, index: int, seed: int) -> np.ndarray:
        """Return the windows of a batch `(N,)`; those of a block of batches are found at once."""
        batches = max(1, SHUFFLED_AT_ONCE // self.batch_size)
        block, place = divmod(index, batches)
        if self._block != (epoch, block):
            first = block * batches * self.batch_size
            last = min(first + batches * self.batch_size, len(self.targets))
            places = np.arange(first, last)
            self._windows = self.order(places, len(self.targets), seed, epoch)
            self._block = epoch, block
        return self._windows[place * self.batch_size : (place + 1) * self.batch_size]


def shares(streams: int, parts: int) -> list[slice]:
    """Return which of the streams belong to each part; they are as even as can be.

    >>> [(share.start, share.stop) for share in shares(5, 2)]
    [(0, 2), (2, 5)]
    """
    cuts = [round(streams * i / parts) for i in range(parts + 1)]
    return [slice(*pair) for pair in itertools.pairwise(cuts)]


class Share:
    """The streams of batches that belong to one of several parts, in the same steps."""

    def __init__(self, batches: StreamBatches | WindowBatches, part: int, parts: int):
        self.batches, self.part, self.parts = batches, part, parts

    def __len__(self) -> int:
        return len(self.batches)

    def __call__(self, epoch: int, index: int) -> tuple[Array, Array]:
        inputs, targets = self.batches(epoch, index)  # (T, N), (M,)
        streams = inputs.shape[1]
        own = shares(streams, self.parts)[self.part]
        return inputs[:, own], targets.reshape(-1, streams)[:, own].reshape(-1)


def share_of(batches: StreamBatches | WindowBatches, part: int, parts: int) -> Any:
    """Return the batches of one of several parts; of one part, all as they are."""
    return batches if parts == 1 else Share(batches, part, parts)


def make_batches(
    window: int | None,
    data: Array,
    batch_size: int,
    seq_len: int,
    step: int = 1,
    seed: int | None = None,
    shuffle: str = "mixed",
) -> StreamBatches | WindowBatches:
    """Return the batches that a model reads.

    Parameters
    ----------
    window
        The tokens that one of its predictions reads; None if it carries its state.
    data, batch_size
        As for `rnn_batch`; with a `window`, the number of windows in a batch.
    seq_len
        As for `StreamBatches`; not used with a `window`.
    seed
        As for either.
    step, shuffle
        As for `WindowBatches`; not used without a `window`.

    Raises
    ------
    InputError
        If the text is too short for one batch.
    """
    if window:
        return WindowBatches(data, batch_size, window, step, seed, shuffle)
    return StreamBatches(data, batch_size, seq_len, seed)
