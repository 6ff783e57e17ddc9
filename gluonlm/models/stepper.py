"""Steppers: read one token at a time, for generation, with NumPy copies of the weights.

MXNet's fused layers repack their weights at each call, which takes longer than the step itself; a
stepper keeps the matrices. Its equations are cuDNN's, as in `mxnet.gluon.rnn`; tests compare both.

A stepper implements only inference. Training-only features (dropout, weight drop, weight
averaging) are implemented in the Gluon layers. Dynamic evaluation changes the weights of the model
and requests a new stepper. The cache and other mixtures wrap the logits of any stepper. Thus only
these few equations are implemented twice.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ..system.numerics import log_mean_probability

# numbers of input products of the first layer: precomputed up to AHEAD, else cached up to KEPT
AHEAD, KEPT = 2**21, 2**24


@np.errstate(over="ignore")
def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), which is 0 where exp overflows to infinity."""
    return _sigmoid(np.array(x, copy=True))


def _sigmoid(x):
    """Compute the sigmoid in place: allocating takes longer than computing."""
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


def tanh(x: np.ndarray) -> np.ndarray:
    """Compute tanh in place, accurate to 1e-7, with NumPy's vectorised exp.

    NumPy's own tanh takes three times as long on processors without AVX-512.
    """
    x *= 2
    _sigmoid(x)
    x *= 2
    x -= 1
    return x


def relu(x: np.ndarray) -> np.ndarray:
    """Compute max(x, 0) in place."""
    return np.maximum(x, 0, out=x)


ACTIVATIONS = {"tanh": tanh, "relu": relu}


class Cell:
    """The matrices of one recurrent layer: `cell(x, state)` returns the new state, output first.

    Subclasses implement `advance(read, state)`: the new state from input products and old state.
    """

    states = 1

    def __init__(self, i2h_weight, h2h_weight, i2h_bias, h2h_bias, activation=tanh):
        self.i2h = np.ascontiguousarray(i2h_weight.T)  # (C_in, gates * C)
        self.h2h = np.ascontiguousarray(h2h_weight.T)  # (C, gates * C)
        self.i2h_bias, self.h2h_bias, self.activation = i2h_bias, h2h_bias, activation
        self.bias = i2h_bias + h2h_bias  # (gates * C)
        self.size = h2h_weight.shape[1]

    def read(self, x: np.ndarray) -> np.ndarray:
        """Return the input products of all gates plus biases: `(N, C_in)` to `(N, gates * C)`."""
        return x @ self.i2h + self.bias

    @np.errstate(over="ignore")
    def __call__(self, x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
        return self.advance(self.read(x), state)

    def advance(self, read: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
        raise TypeError("Cell is abstract: use a subclass, such as GRUCell")


class RNNCell(Cell):
    """Elman 1990: h' = f(W_i x + b_i + W_h h + b_h)."""

    def advance(self, read, state):
        sums = state[0] @ self.h2h  # (N, C)
        sums += read
        return [self.activation(sums)]


class LSTMCell(Cell):
    """Gers, Schmidhuber and Cummins 2000: c' = f c + i g, h' = o tanh(c')."""

    states = 2

    def __init__(self, *arrays):
        super().__init__(*arrays)
        # one exp for all four gates, as tanh(x) = 2 sigmoid(2 x) - 1
        self.scale = np.repeat(np.array([1, 1, 2, 1], self.h2h.dtype), self.size)

    def advance(self, read, state):
        h, c = state  # (N, C)
        gates = h @ self.h2h  # (N, 4 * C)
        gates += read
        gates *= self.scale
        i, f, g, o = _parts(_sigmoid(gates), self.size)  # (N, C)
        g *= 2
        g -= 1
        g *= i
        c = c * f
        c += g
        h = tanh(c.copy())
        h *= o
        return [h, c]


class GRUCell(Cell):
    """Cho et al. 2014, with the reset gate applied after the product as in cuDNN.

    n = tanh(W x + b + r (W h + b)), h' = (1 - z) n + z h.
    """

    def __init__(self, *arrays):
        super().__init__(*arrays)
        both = 2 * self.size
        # separate, so that each product is contiguous
        self.to_gates, self.to_new = self.h2h[:, :both].copy(), self.h2h[:, both:].copy()
        self.new_bias = self.h2h_bias[both:]  # added before the reset gate is applied
        self.bias[both:] = self.i2h_bias[both:]

    def advance(self, read, state):
        h, both = state[0], 2 * self.size  # (N, C)
        gates = h @ self.to_gates  # (N, 2 * C)
        gates += read[:, :both]
        r, z = _parts(_sigmoid(gates), self.size)  # (N, C)
        new = h @ self.to_new  # (N, C)
        new += self.new_bias
        new *= r
        new += read[:, both:]
        tanh(new)  # in place
        h = h - new
        h *= z
        h += new
        return [h]


class MinGRUCell(Cell):
    """Feng et al. 2024: h' = (1 - z) h + z g(n), with z and n computed from the input only.

    g(x) is x + 0.5 if x is at least 0, else sigmoid(x).
    """

    gates = 2

    def __init__(self, i2h_weight, i2h_bias):
        self.i2h = np.ascontiguousarray(i2h_weight.T)  # (C_in, gates * C)
        self.bias = self.i2h_bias = i2h_bias
        self.size = len(i2h_bias) // self.gates

    def advance(self, read, state):
        h, new = state[0], read[:, -self.size :]  # (N, C)
        new = np.where(new < 0, _sigmoid(new.copy()), new + 0.5)
        new -= h
        new *= self.update(read)
        new += h
        return [new]

    def update(self, read: np.ndarray) -> np.ndarray:
        """Return z, `(N, C)`."""
        return _sigmoid(read[:, : self.size].copy())


class MinLSTMCell(MinGRUCell):
    """Feng et al. 2024: as `MinGRUCell`, with z = i / (i + f)."""

    gates = 3

    def update(self, read: np.ndarray) -> np.ndarray:
        """Return z = i / (i + f), `(N, C)`."""
        i, f, _ = _parts(read, self.size)
        least = np.minimum(0, np.minimum(i, f))  # added to all exponents, so that none is above 0
        one, of_i, of_f = np.exp(least), np.exp(least - i), np.exp(least - f)
        return (one + of_f) / (2 * one + of_i + of_f)


def _parts(gates, size):
    """Yield each gate's columns, `(N, C)`; `np.split` takes ten times as long."""
    for begin in range(0, gates.shape[1], size):
        yield gates[:, begin : begin + size]


class Affine:
    """A dense layer's matrix and bias: `(N, C)` to `(N, V)`."""

    def __init__(self, weight, bias):
        self.weight, self.bias = np.ascontiguousarray(weight.T), bias

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x @ self.weight + self.bias


class Products:
    """Cached input products of the first layer: ids `(N,)` to `(N, gates * C)`."""

    def __init__(self, embedding, cell: Cell):
        self.embedding, self.cell = embedding, cell
        self.rows: dict[int, np.ndarray] = {}

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        return np.stack([self._row(token) for token in ids.tolist()])

    def _row(self, token):
        row = self.rows.get(token)
        if row is None:
            row = self.cell.read(self.embedding[token])
            if (len(self.rows) + 1) * len(row) <= KEPT:
                self.rows[token] = row
        return row


class RecurrentStepper:
    """A stack of cells between an embedding `(V, C)` and an output; it carries its state.

    Parameters
    ----------
    output
        From hidden `(N, C)` to logits `(N, V)`.
    separator
        The id of the token before which the state is reset to zeros, or None.
    """

    def __init__(
        self,
        embedding,
        cells: Sequence[Cell],
        output: Callable,
        batch_size: int = 1,
        separator: int | None = None,
    ):
        first, self.separator = cells[0], separator
        self.embedding, self.cells = embedding, cells
        ahead = len(embedding) * first.i2h.shape[1] <= AHEAD
        self.first: Callable[[np.ndarray], np.ndarray] = (
            first.read(embedding).__getitem__ if ahead else Products(embedding, first)
        )
        self.output, self.vocab_size = output, len(embedding)
        self.state = [
            [np.zeros((batch_size, cell.size), np.float32)] * cell.states for cell in cells
        ]

    @np.errstate(over="ignore")
    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one token of each stream, ids `(N,)`; return the logits of the next, `(N, V)`."""
        read = self.first(ids)  # (N, gates * C)
        if self.separator is not None:
            kept = np.not_equal(ids, self.separator)[:, None]
            self.state = [[array * kept for array in arrays] for arrays in self.state]
        for layer, cell in enumerate(self.cells):
            if layer:
                read = cell.read(self.state[layer - 1][0])
            self.state[layer] = cell.advance(read, self.state[layer])
        return self.output(self.hidden)

    @property
    def hidden(self) -> np.ndarray:
        """The hidden state of the last layer, `(N, C)`."""
        return self.state[-1][0]

    def select(self, rows: Sequence[int]) -> None:
        """Keep these streams in this order; beam search drops some and duplicates others."""
        self.state = [[array[rows] for array in arrays] for arrays in self.state]

    def reset(self, rows: Sequence[int]) -> None:
        """Set the state of these streams to zeros, as before their first token."""
        self.state = [[array.copy() for array in arrays] for arrays in self.state]
        for array in (array for arrays in self.state for array in arrays):
            array[rows] = 0


class EnsembleStepper:
    """Several steppers that read the same tokens, with averaged probabilities."""

    def __init__(self, steppers: Sequence[RecurrentStepper]):
        self.steppers, self.vocab_size = steppers, steppers[0].vocab_size

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one token of each stream, ids `(N,)`; return the log mean probability, `(N, V)`."""
        return log_mean_probability(np.stack([stepper.step(ids) for stepper in self.steppers]))

    @property
    def state(self) -> list:
        """The state of each member."""
        return [stepper.state for stepper in self.steppers]

    @state.setter
    def state(self, states: list) -> None:
        """Set the state of each member."""
        for stepper, state in zip(self.steppers, states):
            stepper.state = state

    @property
    def hidden(self) -> np.ndarray:
        """The concatenated hidden states of the members, `(N, K*C)`."""
        return np.hstack([stepper.hidden for stepper in self.steppers])

    def select(self, rows: Sequence[int]) -> None:
        """Keep these streams in this order."""
        for stepper in self.steppers:
            stepper.select(rows)

    def reset(self, rows: Sequence[int]) -> None:
        """Set the state of these streams to zeros."""
        for stepper in self.steppers:
            stepper.reset(rows)


class WindowStepper:
    """A stepper for models that read a fixed window of tokens for each step.

    Before the window is full, `step` returns equal logits.

    Parameters
    ----------
    logits_of
        From ids `(T, N)` to logits `(N, V)`.
    """

    def __init__(self, logits_of: Callable, window: int, vocab_size: int, batch_size: int = 1):
        self.logits_of, self.window, self.vocab_size = logits_of, window, vocab_size
        self.read = np.empty((0, batch_size), np.int32)  # (T, N)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one token of each stream, ids `(N,)`; return the logits of the next, `(N, V)`."""
        self.read = np.concatenate([self.read, np.asarray(ids, np.int32)[None]])[-self.window :]
        if len(self.read) < self.window:
            return np.zeros((len(ids), self.vocab_size), np.float32)
        return self.logits_of(self.read)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these streams in this order."""
        self.read = self.read[:, rows]

    def reset(self, rows: Sequence[int]) -> None:
        """Begin these streams again; their logits are valid once they have read a full window."""
        self.read[:, rows] = 0
