"""One token at a time, in NumPy: a copy of a model for generating.

MXNet's fused layers pack all their weights again at each call, which takes longer than the step
itself; a stepper keeps the matrices as they are. Its equations are cuDNN's, as in
`mxnet.gluon.rnn`, and the tests hold both to each other.

A stepper holds what scoring sees, and nothing else. What acts in training only (dropout, weight
drop, averaging of weights) lives in the Gluon layers and ends there. What changes weights while
it reads changes the model's own, and asks it for a new stepper. What mixes predictions wraps the
logits of any stepper. So nothing but these few equations is ever written twice.
"""

from typing import Callable, List, Sequence

import numpy as np

from ..loss import log_mean_probability

TABLE = 2**24  # numbers up to which the first layer's products are kept for every token


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)); where exp overflows to infinity, 0 is right."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def tanh(x: np.ndarray) -> np.ndarray:
    """Return tanh(x) to 1e-7 by NumPy's vectorised exp.

    NumPy's own tanh takes three times as long on processors without AVX-512.
    """
    return 2 * sigmoid(2 * x) - 1


def relu(x: np.ndarray) -> np.ndarray:
    """Return max(x, 0)."""
    return np.maximum(x, 0)


ACTIVATIONS = {"tanh": tanh, "relu": relu}


class Cell:
    """The matrices of one recurrent layer: `cell(x, state)` returns the new state, output first.

    A subclass has `advance(read, state)`: the new state from what `read` returned and the old one.
    """

    states = 1

    def __init__(self, i2h_weight, h2h_weight, i2h_bias, h2h_bias, activation=tanh):
        self.i2h = np.ascontiguousarray(i2h_weight.T)  # (C_in, gates * C)
        self.h2h = np.ascontiguousarray(h2h_weight.T)  # (C, gates * C)
        self.i2h_bias, self.h2h_bias, self.activation = i2h_bias, h2h_bias, activation
        self.size = h2h_weight.shape[1]

    def read(self, x: np.ndarray) -> np.ndarray:
        """Return the input's part of every gate: `(N, C_in)` to `(N, gates * C)`."""
        return x @ self.i2h + self.i2h_bias

    def __call__(self, x: np.ndarray, state: List[np.ndarray]) -> List[np.ndarray]:
        return self.advance(self.read(x), state)

    def advance(self, read: np.ndarray, state: List[np.ndarray]) -> List[np.ndarray]:
        raise TypeError("a Cell is one of RNNCell, LSTMCell and GRUCell")


class RNNCell(Cell):
    """Elman 1990: h' = f(W_i x + b_i + W_h h + b_h)."""

    def advance(self, read, state):
        return [self.activation(read + state[0] @ self.h2h + self.h2h_bias)]


class LSTMCell(Cell):
    """Gers, Schmidhuber and Cummins 2000: c' = f c + i g, h' = o tanh(c')."""

    states = 2

    def advance(self, read, state):
        h, c = state  # (N, C)
        i, f, g, o = np.split(read + h @ self.h2h + self.h2h_bias, 4, axis=1)  # (N, C)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return [sigmoid(o) * tanh(c), c]


class GRUCell(Cell):
    """Cho et al. 2014, reset after the product as in cuDNN.

    n = tanh(W x + b + r (W h + b)), h' = (1 - z) n + z h.
    """

    def advance(self, read, state):
        h, gates = state[0], 2 * self.size  # (N, C)
        carried = h @ self.h2h + self.h2h_bias  # (N, 3 * C)
        r, z = np.split(sigmoid(read[:, :gates] + carried[:, :gates]), 2, axis=1)  # (N, C)
        new = tanh(read[:, gates:] + r * carried[:, gates:])
        return [new + z * (h - new)]


class RecurrentStepper:
    """A stack of cells between an embedding `(V, C)` and an output matrix; carries its state."""

    def __init__(self, embedding, cells: Sequence[Cell], weight, bias, batch_size: int = 1):
        first = cells[0]
        self.embedding, self.cells = embedding, cells
        if len(embedding) * first.i2h.shape[1] <= TABLE:
            self.first = first.read(embedding).__getitem__
        else:
            self.first = lambda ids: first.read(embedding[ids])
        self.weight, self.bias = np.ascontiguousarray(weight.T), bias
        self.vocab_size = len(bias)
        self.state = [
            [np.zeros((batch_size, cell.size), np.float32)] * cell.states for cell in cells
        ]

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one token of each stream, ids `(N,)`; return the logits of the next, `(N, V)`."""
        read = self.first(ids)  # (N, gates * C)
        for layer, cell in enumerate(self.cells):
            if layer:
                read = cell.read(self.state[layer - 1][0])
            self.state[layer] = cell.advance(read, self.state[layer])
        return self.state[-1][0] @ self.weight + self.bias

    def select(self, rows: Sequence[int]) -> None:
        """Keep these streams, in this order: a beam search drops some and doubles others."""
        self.state = [[array[rows] for array in arrays] for arrays in self.state]


class EnsembleStepper:
    """Several steppers that read the same tokens; their probabilities are averaged."""

    def __init__(self, steppers: Sequence[RecurrentStepper]):
        self.steppers, self.vocab_size = steppers, steppers[0].vocab_size

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one token of each stream, ids `(N,)`; return the log mean probability, `(N, V)`."""
        return log_mean_probability(np.stack([stepper.step(ids) for stepper in self.steppers]))

    def select(self, rows: Sequence[int]) -> None:
        """Keep these streams, in this order."""
        for stepper in self.steppers:
            stepper.select(rows)


class WindowStepper:
    """The last tokens, read again for each step by a model that reads a fixed number of them.

    Before `window` tokens are known there is nothing to read, and `step` returns equal logits.

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
        """Keep these streams, in this order."""
        self.read = self.read[:, rows]
