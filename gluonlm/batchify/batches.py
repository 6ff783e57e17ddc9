"""The batches of one pass over a text: streams of a long text, or windows in random order."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..system.errors import InputError
from .shuffle import ORDERS
from .slicing import Array, get_batch, rnn_batch, windows

SHORTEST_DRAWN = 8  # minimum `seq_len` for segments of random length
# of random lengths: fraction with mean `seq_len`, standard deviation as a fraction of `seq_len`
SHARE_WHOLE, SPREAD = 0.95, 1 / 14
SHUFFLED_AT_ONCE = 4096  # windows; a call for one takes a third of the time of a call for all


class StreamBatches:
    """The batches of one pass over a text, for models that carry their state between batches.

    `len(batches)` is their number; `batches(epoch, index)` returns inputs `(L, N)` and targets
    `(L*N,)`, in the order of the text.

    Parameters
    ----------
    data, batch_size
        As for `rnn_batch`.
    seq_len
        The number of rows of a batch; the last batch may have fewer.
    seed
        Seed of random lengths (the same number in each epoch), usually near `seq_len`, and near
        half of it for one in twenty (Merity et al. 2018). If None, all lengths are `seq_len`.

    Raises
    ------
    InputError
        If the text is too short for one batch, or `seq_len` for random lengths.
    """

    def __init__(self, data: Array, batch_size: int, seq_len: int, seed: int | None = None):
        if len(data) < 2 * batch_size:
            most = len(data) // 2
            smaller = f" or a `batch_size` of at most {most}" if most else ""
            raise InputError(
                f"{len(data)} tokens do not fill two rows of {batch_size} streams, inputs and "
                f"targets: use more text{smaller}"
            )
        self.streams = rnn_batch(data, batch_size)  # (T, N)
        self.seq_len, self.seed = seq_len, seed
        if seed is not None and seq_len < SHORTEST_DRAWN:
            raise InputError(
                f"`seq_len` {seq_len}: must be at least {SHORTEST_DRAWN} for `random_seq_len`"
            )

    def __len__(self) -> int:
        return -(-(len(self.streams) - 1) // self.seq_len)

    def __call__(self, epoch: int, index: int) -> tuple[Array, Array]:
        if self.seed is None:
            return get_batch(self.streams, index * self.seq_len, self.seq_len)
        begin, end = self._cuts(epoch)[index : index + 2]
        return get_batch(self.streams, begin, end - begin)

    def _cuts(self, epoch):
        """Return the first row of each segment of an epoch, and the end of the last segment."""
        draws = np.random.default_rng([self.seed, epoch])
        middle = np.where(draws.random(len(self)) < SHARE_WHOLE, 1, 1 / 2)
        lengths = np.maximum(draws.normal(middle, SPREAD), 1 / 4)
        ends = np.cumsum(lengths) * ((len(self.streams) - 1) / lengths.sum())
        return np.rint(np.append(0, ends)).astype(np.int64)


class WindowBatches:
    """The batches of one pass over all windows of a text, in a new order each epoch.

    `len(batches)` is their number; `batches(epoch, index)` returns inputs `(length, N)` and
    targets `(N,)`; the last batch may be smaller.

    Parameters
    ----------
    data, length, step
        As for `windows`; NumPy only.
    batch_size
        The number of windows N.
    seed
        Seed of the order; if None, windows are in the order of the text.
    shuffle
        The name of an order in `shuffle.ORDERS`.

    Raises
    ------
    InputError
        If the text is too short for one window, or the order is unknown.
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
        """Return the windows of a batch `(N,)`, computed for a block of batches at once."""
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
    """Return a slice of the streams for each part, with sizes as equal as possible.

    >>> [(share.start, share.stop) for share in shares(5, 2)]
    [(0, 2), (2, 5)]
    """
    cuts = [round(streams * i / parts) for i in range(parts + 1)]
    return [slice(*pair) for pair in itertools.pairwise(cuts)]


class Share:
    """Batches with only the streams of one of several parts."""

    def __init__(self, batches: StreamBatches | WindowBatches, part: int, parts: int):
        self.batches, self.part, self.parts = batches, part, parts

    def __len__(self) -> int:
        return len(self.batches)

    def __call__(self, epoch: int, index: int) -> tuple[Array, Array]:
        inputs, targets = self.batches(epoch, index)  # (T, N), (M,)
        streams = inputs.shape[1]
        share = shares(streams, self.parts)[self.part]
        return inputs[:, share], targets.reshape(-1, streams)[:, share].reshape(-1)


def share_of(batches: StreamBatches | WindowBatches, part: int, parts: int) -> Any:
    """Return the batches of one of several parts; a single part has all batches unchanged."""
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
    """Return the batches for a model.

    Parameters
    ----------
    window
        The number of tokens that the model reads per prediction; None if it carries its state.
    data, batch_size
        As for `rnn_batch`; with a `window`, the number of windows in a batch.
    seq_len
        As for `StreamBatches`; not used with a `window`.
    seed
        As for `StreamBatches` and `WindowBatches`.
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
