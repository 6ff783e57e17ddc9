"""One token at a time, in NumPy: a model's arithmetic for generating, without the fused layers' cost of a call.

MXNet's fused layers repack all their weights at each call, which takes longer than the step itself. A stepper keeps the
matrices as they are. Its equations are those of cuDNN, as in `mxnet.gluon.rnn`.
"""

import numpy as np

TABLE = (
    2**24
)  # numbers up to which the first layer's products are computed once for each token of the vocabulary


def sigmoid(x):
    """Give 1 / (1 + exp(-x)); where exp overflows to infinity, 0 is right."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def tanh(x):
    """Give tanh(x) to 1e-7, by NumPy's vectorised exp: its own tanh takes three times as long on processors without AVX-512."""
    return 2 * sigmoid(2 * x) - 1


def relu(x):
    """Give max(x, 0)."""
    return np.maximum(x, 0)


ACTIVATIONS = {"tanh": tanh, "relu": relu}


class Cell:
    """Matrices of one recurrent layer; `cell(x, state)` takes `(N, C_in)` and gives the new state, the output first.

    A subclass has `advance(read, state)`: the new state from what `read` gave and the old state.
    """

    states = 1

    def __init__(self, i2h_weight, h2h_weight, i2h_bias, h2h_bias, activation=tanh):
        self.i2h, self.h2h = np.ascontiguousarray(i2h_weight.T), np.ascontiguousarray(h2h_weight.T)
        self.i2h_bias, self.h2h_bias, self.activation = i2h_bias, h2h_bias, activation
        self.size = h2h_weight.shape[1]

    def read(self, x):
        """Give the input's part of every gate, `(N, C_in)` to `(N, gates * C)`."""
        return x @ self.i2h + self.i2h_bias

    def __call__(self, x, state):
        return self.advance(self.read(x), state)


class RNNCell(Cell):
    """Elman's cell: h' = tanh(W_i x + b_i + W_h h + b_h)."""

    def advance(self, read, state):
        return [self.activation(read + state[0] @ self.h2h + self.h2h_bias)]


class LSTMCell(Cell):
    """Hochreiter and Schmidhuber's cell with forget gate: c' = f c + i g, h' = o tanh(c')."""

    states = 2

    def advance(self, read, state):
        h, c = state
        i, f, g, o = np.split(read + h @ self.h2h + self.h2h_bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return [sigmoid(o) * tanh(c), c]


class GRUCell(Cell):
    """Cho et al.'s cell, reset after the product: n = tanh(W x + b + r (W h + b)), h' = (1 - z) n + z h."""

    def advance(self, read, state):
        h = state[0]
        carried = h @ self.h2h + self.h2h_bias
        r, z = np.split(sigmoid(read[:, : 2 * self.size] + carried[:, : 2 * self.size]), 2, axis=1)
        new = tanh(read[:, 2 * self.size :] + r * carried[:, 2 * self.size :])
        return [new + z * (h - new)]


class RecurrentStepper:
    """A stack of cells between an embedding `(V, C)` and an output matrix; the state is carried from step to step."""

    def __init__(self, embedding, cells, weight, bias, batch_size=1):
        self.embedding, self.cells = embedding, cells
        small = len(embedding) * cells[0].i2h.shape[1] <= TABLE
        self.first = (
            cells[0].read(embedding).__getitem__
            if small
            else lambda ids: cells[0].read(embedding[ids])
        )
        self.weight, self.bias = np.ascontiguousarray(weight.T), bias
        self.vocab_size = len(bias)
        self.state = [
            [np.zeros((batch_size, cell.size), np.float32)] * cell.states for cell in cells
        ]

    def step(self, ids):
        """Read one token of each stream, ids `(N,)`, and give the logits of the next, `(N, V)`."""
        for layer, cell in enumerate(self.cells):
            self.state[layer] = cell.advance(
                cell.read(self.state[layer - 1][0]) if layer else self.first(ids), self.state[layer]
            )
        return self.state[-1][0] @ self.weight + self.bias

    def select(self, rows):
        """Keep these streams, in this order: a beam search drops some and doubles others."""
        self.state = [[array[rows] for array in arrays] for arrays in self.state]


class EnsembleStepper:
    """Several steppers that read the same tokens; their probabilities are averaged."""

    def __init__(self, steppers):
        self.steppers, self.vocab_size = steppers, steppers[0].vocab_size

    def step(self, ids):
        """Read one token of each stream, ids `(N,)`, and give the logarithm of the mean probability of the next, `(N, V)`."""
        logits = np.stack([stepper.step(ids) for stepper in self.steppers])
        logits -= np.logaddexp.reduce(logits, axis=2, keepdims=True)
        return np.logaddexp.reduce(logits, axis=0) - np.log(len(self.steppers))

    def select(self, rows):
        """Keep these streams, in this order."""
        for stepper in self.steppers:
            stepper.select(rows)


class WindowStepper:
    """A model that reads a fixed number of tokens: the last ones are kept, and read anew for each step.

    `logits_of` gives the logits `(N, V)` of windows `(T, N)`. Before `context` tokens are known there is nothing to
    read, and `step` gives equal logits.
    """

    def __init__(self, logits_of, context, vocab_size, batch_size=1):
        self.logits_of, self.context, self.vocab_size = logits_of, context, vocab_size
        self.window = np.empty((0, batch_size), np.int32)

    def step(self, ids):
        """Read one token of each stream, ids `(N,)`, and give the logits of the next, `(N, V)`."""
        self.window = np.concatenate([self.window, np.asarray(ids, np.int32)[None]])[
            -self.context :
        ]
        if len(self.window) < self.context:
            return np.zeros((len(ids), self.vocab_size), np.float32)
        return self.logits_of(self.window)

    def select(self, rows):
        """Keep these streams, in this order."""
        self.window = self.window[:, rows]
