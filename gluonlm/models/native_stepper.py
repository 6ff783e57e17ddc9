"""The stepper of `stepper.py`, compiled: packs the weights for `native/stepper.h` and calls it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import native
from ..native import AFFINE, GRU, LSTM, RNN_RELU, RNN_TANH, aligned
from .stepper import KEPT, Affine, Cell, GRUCell, LSTMCell, RecurrentStepper, relu, tanh

PARALLEL = 2**20  # weights read in a step above which threads are faster
GATES = {RNN_TANH: 1, RNN_RELU: 1, LSTM: 4, GRU: 3, AFFINE: 1}

_integers, _pointers = ctypes.c_int64, ctypes.c_void_p


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, _integers) for name in ("kind", "inputs", "size", "panels")),
        *((name, _pointers) for name in ("i2h", "h2h", "bias", "new_bias", "h", "c", "next")),
    ]


class _Stepper(ctypes.Structure):
    _fields_ = [
        *((n, _integers) for n in ("streams", "vocab_size", "depth", "threads", "rows", "used")),
        *((name, _pointers) for name in ("embedding", "table", "slots", "now", "layers")),
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
        self.kernels, self.separator, self.vocab_size = kernels, separator, len(embedding)
        self.embedding = np.ascontiguousarray(embedding, np.float32)
        self.layers = [_Packed.cell(kernels, cell) for cell in cells]
        dense = isinstance(output, Affine)
        self.logits = _Packed.affine(kernels, output) if dense else None
        self.output: Any = None if dense else output
        self._all = self.layers + ([self.logits] if self.logits else [])
        sizes = [self.embedding.shape[1], *(layer.size for layer in self.layers)]
        for layer, inputs in zip(self._all, sizes):
            if layer.inputs != inputs:
                raise ValueError(f"a layer of {layer.inputs} inputs after {inputs}")
        self.slots = np.full(self.vocab_size, -1, np.int64)
        self._hold([[np.zeros((batch_size, layer.size))] * layer.states for layer in self.layers])

    def _hold(self, state):
        """Allocate the arrays of this state's streams, and fill them."""
        streams = len(state[0][0])
        first = self.layers[0]
        rows = min(self.vocab_size, max(streams, KEPT // first.bias.size))
        self.slots.fill(-1)
        self.table = aligned(rows, first.bias.size)
        self.now, self.ids = np.empty((3, streams), np.int64), np.empty(streams, np.int64)
        for layer in self.layers:
            layer.allocate(streams)
        self._layers = (_Layer * len(self._all))(*(layer.fields() for layer in self._all))
        weights = sum(layer.weights for layer in self._all)
        large = weights * (8 + streams) // 8 > PARALLEL
        threads = native.threads() if large else 1
        self._stepper = _Stepper(
            *(streams, self.vocab_size, len(self.layers), threads),
            *(rows, 0, _address(self.embedding), _address(self.table), _address(self.slots)),
            *(_address(self.now), ctypes.addressof(self._layers)),
        )
        self._arguments = ctypes.addressof(self._stepper), _address(self.ids)
        self.state = state

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
            for array in (array for layer in self.layers for array in layer.state):
                array *= kept
        if self.logits is None:
            self._step(None)
            return self.output(self.hidden)
        logits = np.empty((len(self.ids), self.logits.columns), np.float32)
        self._step(logits.ctypes.data)
        return logits[:, : self.logits.size]

    def _step(self, logits):
        if self.kernels.step(*self._arguments, logits):
            raise IndexError(f"ids {self.ids}: the vocabulary has 0 to {self.vocab_size - 1}")

    @property
    def state(self) -> list[list[np.ndarray]]:
        """A read-only copy of the state: for each layer, h `(N, C)`, and for an LSTM c as well."""
        copies = [[h[:, : layer.size].copy() for h in layer.state] for layer in self.layers]
        for array in (array for arrays in copies for array in arrays):
            array.flags.writeable = False  # a change would have no effect: set the state instead
        return copies

    @state.setter
    def state(self, state: list[list[np.ndarray]]) -> None:
        """Set the state of every layer; the number of streams may change."""
        if len(state[0][0]) != len(self.ids):
            return self._hold(state)
        for layer, arrays in zip(self.layers, state):
            for array, new in zip(layer.state, arrays):
                array[:, : layer.size] = new

    @property
    def hidden(self) -> np.ndarray:
        """A copy of the hidden state of the last layer, `(N, C)`."""
        return self.layers[-1].state[0][:, : self.layers[-1].size].copy()

    def select(self, rows: Sequence[int]) -> None:
        """Keep these streams in this order; beam search drops some and duplicates others."""
        self.state = [[array[rows] for array in arrays] for arrays in self.state]


class _Packed:
    """A layer's weights in panels (see stepper.h), and its state for N streams."""

    def __init__(self, kernels, kind, size, states, i2h, h2h, bias, new_bias=None):
        self.kind, self.size, self.states, self.inputs = kind, size, states, len(i2h)
        self.gates, self.units = GATES[kind], kernels.units(kind)
        self.panels = -(-size // self.units)
        self.columns = self.panels * self.units
        self.i2h = self._pack(i2h, self.inputs)  # (panels, C_in, gates * units)
        self.h2h = self._pack(h2h, size) if states else None  # (panels, C, gates * units)
        self.bias = self._pack(bias[None], 1)
        self.new_bias = None if new_bias is None else self._pack(new_bias[None], 1)
        self.weights = (self.inputs + size * (states > 0)) * self.bias.size
        self.next = None

    @classmethod
    def cell(cls, kernels, cell):
        """Pack a recurrent layer."""
        weights = cell.size, cell.states, cell.i2h, cell.h2h, cell.bias
        if isinstance(cell, GRUCell):
            new_bias = np.concatenate([np.zeros(2 * cell.size, np.float32), cell.new_bias])
            return cls(kernels, GRU, *weights, new_bias)
        if isinstance(cell, LSTMCell):
            return cls(kernels, LSTM, *weights)
        return cls(kernels, {tanh: RNN_TANH, relu: RNN_RELU}[cell.activation], *weights)

    @classmethod
    def affine(cls, kernels, output):
        """Pack an output layer."""
        return cls(kernels, AFFINE, len(output.bias), 0, output.weight, None, output.bias)

    def _pack(self, matrix, rows):
        """Return a matrix `(K, gates * C)` as `(panels, K, gates, units)`, with zeros after C."""
        if matrix.shape != (rows, self.gates * self.size):
            raise ValueError(f"weights {matrix.shape}: expected {rows, self.gates * self.size}")
        matrix = matrix.reshape(rows, self.gates, self.size)
        packed = aligned(self.panels, rows, self.gates, self.units)
        full = self.size // self.units
        whole = matrix[:, :, : full * self.units].reshape(rows, self.gates, full, self.units)
        packed[:full] = whole.transpose(2, 0, 1, 3)
        if full < self.panels:
            packed[full] = 0
            packed[full, :, :, : self.size - full * self.units] = matrix[:, :, full * self.units :]
        return packed

    def allocate(self, streams):
        """Allocate the state and the buffer of the new hidden state."""
        self.state = [aligned(streams, self.columns) for _ in range(self.states)]
        for array in self.state:
            array.fill(0)
        self.next = aligned(streams, self.columns)

    def fields(self):
        """Return the C structure."""
        numbers = self.kind, self.inputs, self.size, self.panels
        h, c = (*self.state, None, None)[:2] if self.states else (None, None)
        arrays = self.i2h, self.h2h, self.bias, self.new_bias, h, c, self.next
        return _Layer(*numbers, *(None if array is None else _address(array) for array in arrays))


def _address(array):
    return array.ctypes.data


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
