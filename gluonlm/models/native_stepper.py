"""The stepper of `stepper.py`, compiled: passes its weights and state to `native/stepper.h`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import native
from ..native import GRU, LSTM, RNN_RELU, RNN_TANH, NativeLayer, NativePass, aligned
from .stepper import (
    KEPT,
    Affine,
    Cell,
    GRUCell,
    LSTMCell,
    MinGRUCell,
    MinLSTMCell,
    RecurrentStepper,
    relu,
    tanh,
)

PARALLEL = 2**20  # weights read in a step above which threads are faster
KINDS = {GRUCell: GRU, LSTMCell: LSTM}
KINDS.update({MinGRUCell: native.MINGRU, MinLSTMCell: native.MINLSTM})


class _Stepper(ctypes.Structure):
    _fields_ = [
        ("arguments", NativePass),
        *((name, ctypes.c_void_p) for name in ("weights", "memory")),
        *((name, ctypes.c_int64) for name in ("rows", "used")),
        *((name, ctypes.c_void_p) for name in ("table", "slots", "now")),
    ]


class NativeStepper:
    """A `RecurrentStepper` in C++, with the same parameters; logits are equal to about 1e-6.

    Results do not depend on the number of threads: OMP_NUM_THREADS, at most one for each processor
    that the process may use.

    Raises
    ------
    ValueError
        If the shapes of the weights do not fit together.
    """

    def __init__(
        self,
        kernels: native.Kernels,
        embedding: np.ndarray,
        cells: Iterable[Cell],
        output: Callable,
        batch_size: int = 1,
        separator: int | None = None,
    ):
        self.kernels, self.separator = kernels, separator
        self.embedding, self.vocab_size = _rows(embedding), len(embedding)
        affine = output if isinstance(output, Affine) else None
        self.output: Any = None if affine else output  # computed in Python
        layers = [_mxnet_weights(cell) for cell in cells]
        self.layers = (NativeLayer * len(layers))()
        gates = native.GATES
        self.sizes = [len(i2h) // gates.get(kind, 1) for kind, i2h, *_ in layers]
        self._check_sizes(layers, affine)
        self._stepper = _Stepper()
        self._place, self.arguments = ctypes.addressof(self._stepper), self._stepper.arguments
        self._pack(layers, affine)
        self.slots = np.full(self.vocab_size, -1, np.int64)
        zeros = [np.zeros((batch_size, size), np.float32) for size in self.sizes]
        states = [2 if layer.kind == LSTM else 1 for layer in self.layers]
        self._hold([[array] * count for array, count in zip(zeros, states)])

    def _check_sizes(self, layers, affine):
        inputs = [self.embedding.shape[1], *self.sizes]
        for (kind, *arrays), below, size in zip(layers, inputs, self.sizes):
            rows = native.GATES.get(kind, 1) * size
            expected = [(rows, below), (rows, size), (rows,), (rows,)]
            _check([array.shape for array in arrays], expected[:: 4 // len(arrays)])
        if affine:
            output = self.sizes[-1], self.vocab_size
            _check([affine.weight.shape, affine.bias.shape], [output, output[1:]])

    def _pack(self, layers, affine):
        """Pack the weights into memory of their own; they are not needed any more."""
        for layer, (kind, *arrays), size in zip(self.layers, layers, self.sizes):
            layer.kind, layer.inputs, layer.size = kind, arrays[0].shape[1], size
            for name, array in zip(native.weights_of(kind), arrays):
                setattr(layer, name, array.ctypes.data)
        given = self.arguments
        given.steps, given.depth, given.layers = 1, len(layers), ctypes.addressof(self.layers)
        given.vocab_size, given.embed_size = self.embedding.shape
        given.embedding, given.threads = self.embedding.ctypes.data, native.threads()
        output = [_rows(affine.weight.T), _rows(affine.bias)] if affine else []
        for name, array in zip(("weight", "bias"), output):
            setattr(given, name, array.ctypes.data)
        self._weights = aligned(self.kernels.pack(self._place))
        self._stepper.weights = self._weights.ctypes.data
        self.kernels.pack(self._place)

    def _hold(self, state):
        """Allocate the arrays of this state's streams, and fill them."""
        streams, stepper = len(state[0][0]), self._stepper
        self.arguments.streams = streams
        gates = native.GATES.get(self.layers[0].kind, 1) * self.sizes[0]
        stepper.rows, stepper.used = min(self.vocab_size, max(streams, KEPT // gates)), 0
        self.slots.fill(-1)
        self.now, self.ids = np.empty((3, streams), np.int64), np.empty(streams, np.int64)
        stepper.slots, stepper.now = self.slots.ctypes.data, self.now.ctypes.data
        stepper.memory = None
        self._memory = aligned(self.kernels.arrange(self._place))
        self._memory.fill(0)
        stepper.memory = self._memory.ctypes.data
        self.kernels.arrange(self._place)
        large = self._weights.size * (8 + streams) // 8 > PARALLEL
        self.arguments.threads = native.threads() if large else 1
        self.state = state

    def _arrays(self):
        """Return for each layer the panels of h, and for an LSTM c, `(panels, N, PANEL)`."""
        panel, streams = 2 * self.kernels.lanes, len(self.ids)
        for layer in self.layers:
            shape = -(-layer.size // panel), 2, streams, panel  # before and after a step
            addresses = [layer.h, layer.c] if layer.kind == LSTM else [layer.h]
            begins = [(address - self._memory.ctypes.data) // 4 for address in addresses]
            size = int(np.prod(shape))
            yield [self._memory[at : at + size].reshape(shape)[:, 0] for at in begins]

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one token of each stream, ids `(N,)`; return the logits of the next, `(N, V)`.

        Raises
        ------
        ValueError
            If there are more or fewer ids than streams.
        IndexError
            If an id is not in the vocabulary.
        """
        if np.shape(ids) != self.ids.shape:
            raise ValueError(f"ids {np.shape(ids)}: expected {self.ids.shape}")
        np.copyto(self.ids, ids, casting="same_kind")
        if self.separator is not None:
            kept = np.not_equal(self.ids, self.separator)[:, None]
            for array in (array for arrays in self._arrays() for array in arrays):
                array *= kept
        if self.output:
            self._step(None)
            return self.output(self.hidden)
        logits = np.empty((len(self.ids), self.vocab_size), np.float32)
        self._step(logits.ctypes.data)
        return logits

    def _step(self, logits):
        if self.kernels.step(self._place, self.ids.ctypes.data, logits):
            raise IndexError(f"ids {self.ids}: the vocabulary has 0 to {self.vocab_size - 1}")

    @property
    def state(self) -> list[list[np.ndarray]]:
        """A read-only copy of the state: for each layer, h `(N, C)`, and for an LSTM c as well."""
        copies = [
            [np.hstack(array)[:, :size].copy() for array in arrays]
            for arrays, size in zip(self._arrays(), self.sizes)
        ]
        for array in (array for arrays in copies for array in arrays):
            array.flags.writeable = False  # a change would have no effect: set the state instead
        return copies

    @state.setter
    def state(self, state: list[list[np.ndarray]]) -> None:
        """Set the state of every layer; the number of streams may change."""
        if len(state[0][0]) != len(self.ids):
            return self._hold(state)
        for arrays, new, size in zip(self._arrays(), state, self.sizes):
            for array, numbers in zip(arrays, new, strict=True):
                panels, streams, panel = array.shape
                padded = np.zeros((streams, panels * panel), np.float32)
                padded[:, :size] = np.reshape(numbers, (streams, size))
                array[:] = padded.reshape(streams, panels, panel).swapaxes(0, 1)

    @property
    def hidden(self) -> np.ndarray:
        """A copy of the hidden state of the last layer, `(N, C)`."""
        *_, (h, *_) = self._arrays()
        return np.hstack(h)[:, : self.sizes[-1]]

    def select(self, rows: Sequence[int]) -> None:
        """Keep these streams in this order; beam search drops some and duplicates others."""
        self.state = [[array[rows] for array in arrays] for arrays in self.state]

    def reset(self, rows: Sequence[int]) -> None:
        """Set the state of these streams to zeros, as before their first token."""
        for array in (array for arrays in self._arrays() for array in arrays):
            array[:, rows] = 0


def _mxnet_weights(cell):
    """Return the kind of a cell, and its weights and biases as MXNet stores them."""
    if isinstance(cell, MinGRUCell):
        return KINDS[type(cell)], _rows(cell.i2h.T), _rows(cell.i2h_bias)
    kind = KINDS.get(type(cell)) or {tanh: RNN_TANH, relu: RNN_RELU}[cell.activation]
    arrays = cell.i2h.T, cell.h2h.T, cell.i2h_bias, cell.h2h_bias
    return kind, *map(_rows, arrays)


def _check(shapes, expected):
    if shapes != expected:
        raise ValueError(f"arrays of shapes {shapes}: expected {expected}")


def _rows(array):
    return np.ascontiguousarray(array, np.float32)


Stepper = RecurrentStepper | NativeStepper


def make_stepper(
    embedding: np.ndarray,
    cells: Iterable[Cell],
    output: Callable,
    batch_size: int = 1,
    separator: int | None = None,
) -> Stepper:
    """Return a compiled stepper, or the NumPy stepper if there are no native kernels."""
    kernels = native.load()
    if kernels is None or embedding.dtype != np.float32:
        return RecurrentStepper(embedding, list(cells), output, batch_size, separator)
    return NativeStepper(kernels, embedding, cells, output, batch_size, separator)
