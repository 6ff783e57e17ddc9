"""From one long row of token ids to batches: slicing only, for NumPy and MXNet arrays alike. Imports no MXNet.

The picture to keep in mind: the text is cut into `batch_size` equal strips, and each strip becomes one column, so that
time runs downwards and neighbouring rows of a column are neighbours in the text.

>>> import numpy as np
>>> text = np.array(list("abcdefghijklmnopqrstuvwxyz"))
>>> columns = rnn_batch(text, batch_size=4)      # "y" and "z" do not fill a row and are cut
>>> for row in columns:
...     print(*row)
a g m s
b h n t
c i o u
d j p v
e k q w
f l r x
>>> inputs, targets = get_batch(columns, 0, seq_len=2)
>>> for row in inputs:
...     print(*row)
a g m s
b h n t
>>> print(*targets)                              # each input's successor, row by row
b h n t c i o u
"""

import math

import numpy as np

from .errors import InputError


def rnn_batch(data, batch_size):
    """Cut a sequence into `batch_size` strips that stand side by side.

    Parameters: `data`, ids `(tokens,)`, NumPy or MXNet; `batch_size`, the number of columns N.
    Returns: `(T, N)` with `T = tokens // N`; the last `tokens - T * N` ids are cut. A view for NumPy.
    Raises: InputError if there is not one whole row.
    """
    rows = len(data) // batch_size if batch_size > 0 else 0
    if rows < 1:
        raise InputError(
            f"cannot cut {len(data)} tokens into {batch_size} columns: give more text or a batch size from 1 to {len(data)}"
        )
    return data[: rows * batch_size].reshape((batch_size, rows)).T


def get_batch(source, i, seq_len):
    """Take rows `i .. i + seq_len` as inputs, and the rows one later as targets.

    Parameters: `source`, `(T, N)` from `rnn_batch`; `i`, the first row; `seq_len`, the most rows wanted.
    Returns: inputs `(L, N)` and flattened targets `(L * N,)`; `L = min(seq_len, T - 1 - i)`, so the last batch of a
    text may be shorter.
    Raises: InputError if no row with a successor is left at `i`.
    """
    length = min(seq_len, len(source) - 1 - i)
    if i < 0 or length < 1:
        raise InputError(
            f"no batch at row {i} with seq_len {seq_len}: {len(source)} rows hold inputs for rows 0 to {len(source) - 2}"
        )
    return source[i : i + length], source[i + 1 : i + 1 + length].reshape((-1,))


def windows(data, length, step=1):
    """List every window of `length` ids, `step` apart, with the id that follows each.

    Parameters: `data`, ids `(tokens,)`, NumPy or MXNet.
    Returns: inputs `(M, length)` and targets `(M,)`, `M = (tokens - length - 1) // step + 1`. Views for NumPy: the
    memory of `data`, whatever the overlap; MXNet has no strided views, so there the windows are gathered.
    Raises: InputError if not one window has a successor.
    """
    if length < 1 or step < 1 or len(data) <= length:
        raise InputError(
            f"cannot take windows of {length} with step {step} and a successor from {len(data)} tokens: "
            "length and step start at 1, and there must be more tokens than a window holds"
        )
    targets = data[length::step]
    if isinstance(data, np.ndarray):
        return np.lib.stride_tricks.sliding_window_view(data, length)[:-1:step], targets
    starts = np.arange(len(targets))[:, None] * step
    return data[starts + np.arange(length)], targets


class StreamBatches:
    """The batches of one pass over a text whose state is carried: `rnn_batch` once, `get_batch` for each.

    `len(batches)` is the number of batches; `batches(epoch, index)` gives inputs `(L, N)` and targets `(L * N,)`, the
    same in every epoch, because a carried state needs neighbours in the text to stay neighbours.
    """

    def __init__(self, data, batch_size, seq_len):
        self.columns = rnn_batch(data, batch_size)
        self.seq_len = seq_len
        if len(self.columns) < 2:
            raise InputError(
                f"{len(data)} tokens in {batch_size} columns give one row, which nothing follows: give more text or a smaller batch size"
            )

    def __len__(self):
        return -(-(len(self.columns) - 1) // self.seq_len)

    def __call__(self, epoch, index):
        return get_batch(self.columns, index * self.seq_len, self.seq_len)


class WindowBatches:
    """The batches of one pass over all windows of a text, shuffled anew each epoch by a seed.

    `batches(epoch, index)` gives inputs `(length, N)` and targets `(N,)`; the last batch may be shorter. With
    `seed=None` the windows come in the order of the text.
    """

    def __init__(self, data, batch_size, length, step=1, seed=None):
        self.inputs, self.targets = windows(data, length, step)
        self.batch_size, self.seed = batch_size, seed

    def __len__(self):
        return -(-len(self.targets) // self.batch_size)

    def __call__(self, epoch, index):
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        if self.seed is not None:
            rows = self._shuffled(epoch, np.arange(*rows.indices(len(self.targets))))
        return self.inputs[rows].T, self.targets[rows]

    def _shuffled(self, epoch, rows):
        """Map places in the epoch to windows one to one: a line modulo their number, with the epoch's slope and start.

        A list of all windows in random order would take eight times the memory of the text.
        """
        count, random = len(self.targets), np.random.default_rng([self.seed, epoch])
        slope = int(random.integers(count // 4, count)) | 1
        while math.gcd(slope, count) != 1:
            slope += 1
        return (rows * slope + int(random.integers(count))) % count


def make_batches(context, data, batch_size, seq_len, step=1, seed=None):
    """Give the batches that a model reads: windows if it has a fixed `context`, else strips of a text whose state is carried."""
    if context:
        return WindowBatches(data, batch_size, context, step, seed)
    return StreamBatches(data, batch_size, seq_len)
