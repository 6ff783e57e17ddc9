"""Training and scoring in C++: passes the arrays of a network to `native/training.h`."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from mxnet import gluon, nd

from .. import native
from ..native import NativeLayer, NativePass
from ..system.errors import InputError
from .packed import address_of, memory_of


@dataclasses.dataclass(frozen=True)
class Noise:
    """The dropout rates and penalties of a training pass; see `RecurrentBody`."""

    embed_dropout: float = 0.0
    dropout: float = 0.0  # after each layer
    weight_drop: float = 0.0
    word_dropout: float = 0.0
    activation_reg: float = 0.0
    temporal_reg: float = 0.0


class NativeNetwork:
    """Trains and scores a network in C++; outputs and gradients equal MXNet's to about 1e-6.

    MXNet keeps the parameters and their gradients. A mask of dropout or weight drop is a hash of
    the seed and of each number's place, so it is the same on every processor. Results do not depend
    on the number of threads: OMP_NUM_THREADS, at most one for each processor that the process may
    use.

    Parameters
    ----------
    layers
        For each layer its kind, as in `native.KINDS`, and its parameters in the order of
        `native.weights_of`.
    noise
        Returns the noise of the next training pass.
    window
        Whether only the last time step predicts a token.
    variational
        Whether all time steps have the same dropout mask.
    separator
        The id of the token before which the state is reset to zeros, or None.
    """

    def __init__(
        self,
        kernels: native.Kernels,
        embedding: gluon.nn.Embedding,
        layers: Sequence[tuple[int, list]],
        decoder: gluon.nn.Dense,
        noise: Callable[[], Noise],
        window: bool = False,
        variational: bool = False,
        separator: int | None = None,
    ):
        self.kernels, self.noise, self.window = kernels, noise, window
        self.separator = separator
        self.parameters = [embedding.weight, decoder.weight, decoder.bias]
        self.parameters += [parameter for _, several in layers for parameter in several]
        self.layers = (NativeLayer * len(layers))()
        for layer, (kind, (i2h, *_)) in zip(self.layers, layers):
            rows, layer.inputs = i2h.shape
            layer.kind, layer.size = kind, rows // native.GATES.get(kind, 1)
        vocab_size, embed_size = embedding.weight.shape
        self.arguments = NativePass(
            vocab_size=vocab_size,
            embed_size=embed_size,
            depth=len(layers),
            tied=embedding.weight is decoder.weight,
            variational=variational,
            layers=ctypes.addressof(self.layers),
        )
        self.seed, self.passes, self.precision = 0, 0, "float32"

    def set_precision(self, precision: str) -> None:
        """Set what a training pass multiplies; scores are always float32.

        Parameters
        ----------
        precision
            "float32", or "bfloat16": the factors are rounded to eight significant bits and their
            products summed as float32; weights and gradients remain float32.

        Raises
        ------
        InputError
            If the processor does not multiply bfloat16 numbers in tiles.
        """
        if precision not in self.kernels.passes:
            raise InputError(
                f"`precision` {precision}: this processor has no AMX: use float32 instead"
            )
        self.precision = precision

    def seed_dropout(self, seed: int) -> None:
        """Set the seed of the dropout masks of the next passes, which all differ."""
        self.seed, self.passes = seed, 0

    def forward_backward(
        self, inputs: nd.NDArray, targets: nd.NDArray, state: list
    ) -> tuple[nd.NDArray, list]:
        """Run a training pass; see `LanguageModel.forward_backward`."""
        losses = nd.empty(targets.shape, inputs.context)
        self.passes += 1
        self.arguments.seed = self.seed * 0x9E3779B1 + self.passes * 0xC2B2AE35 & 0xFFFFFFFF
        # no MXNet operator reads old gradients any more: each such operator writes weights, for
        # which `_run` waits
        gradients = [address_of(p.grad(inputs.context)) for p in self.parameters]
        state = self._run(
            *(inputs, targets, state, address_of(losses), self.noise(), gradients, self.precision)
        )
        return losses, state

    def losses(
        self, inputs: nd.NDArray, targets: nd.NDArray, state: list
    ) -> tuple[np.ndarray, list]:
        """Score a batch; see `LanguageModel.losses`."""
        losses = np.empty(targets.shape, np.float32)
        gradients = [None] * len(self.parameters)
        state = self._run(inputs, targets, state, losses.ctypes.data, Noise(), gradients)
        return losses.astype(np.float64), state

    def _run(self, inputs, targets, state, losses, noise, gradients, precision="float32"):
        """Run a pass; return the new state."""
        arguments, ctx = self.arguments, inputs.context
        arguments.steps, arguments.streams = inputs.shape
        arguments.begin = arguments.steps - 1 if self.window else 0
        if targets.size != (arguments.steps - arguments.begin) * arguments.streams:
            raise ValueError(f"targets {targets.shape} do not fit inputs {inputs.shape}")
        arguments.inputs, arguments.targets = address_of(inputs), address_of(targets)
        arguments.losses, arguments.threads = losses, native.threads()
        resets = None if self.separator is None else memory_of(inputs) == self.separator  # (T, N)
        arguments.resets = None if resets is None else resets.ctypes.data
        arguments.dropout, arguments.word_dropout = noise.embed_dropout, noise.word_dropout
        arguments.activation_reg = noise.activation_reg
        arguments.temporal_reg = noise.temporal_reg
        weights = [address_of(parameter.data(ctx)) for parameter in self.parameters]
        _set(arguments, ("embedding", "weight", "bias"), weights, gradients)
        new = [nd.empty(array.shape, ctx) for array in state]
        each, place = len(state) // len(self.layers), 3
        for i, layer in enumerate(self.layers):
            names = native.weights_of(layer.kind)
            _set(layer, names, weights[place:], gradients[place:])
            place += len(names)
            layer.dropout, layer.weight_drop = noise.dropout, noise.weight_drop
            part = slice(i * each, (i + 1) * each)
            for before, later, old, array in zip(
                ("h0", "c0"), ("h1", "c1"), state[part], new[part]
            ):
                setattr(layer, before, address_of(old))
                setattr(layer, later, address_of(array))
        self._call(*self.kernels.passes[precision])
        return new

    def _call(self, plan, run):
        place = ctypes.addressof(self.arguments)
        self.arguments.memory = None
        memory = workspace(plan(place))
        self.arguments.memory = memory.ctypes.data
        plan(place)
        if run(place):
            vocab_size = self.arguments.vocab_size
            raise IndexError(f"an id is not in the vocabulary of 0 to {vocab_size - 1}")


def _set(structure, names, weights, gradients):
    for name, weight, gradient in zip(names, weights, gradients):
        setattr(structure, name, weight)
        setattr(structure, name + "_gradient", gradient)


_memory = np.empty(0, np.float32)


def workspace(size: int) -> np.ndarray:
    """Return uninitialized memory of at least `size` numbers for one pass; the next reuses it."""
    global _memory
    if _memory.size < size:
        _memory = np.empty(0, np.float32)  # release it first
        _memory = native.aligned(size)
    return _memory
