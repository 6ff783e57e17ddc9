"""Recurrent layers, fused by MXNet or minimal, and models that carry their state along a text."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from mxnet import gluon, nd
from mxnet.gluon import HybridBlock, nn, rnn
from mxnet.util import is_np_array

from .. import native
from ..system.arguments import check_integer, check_rates, check_sizes
from ..system.errors import InputError
from .base import Dropout, LanguageModel, to_numpy
from .min_layers import MinGRU, MinLayer, MinLSTM
from .native_network import NativeNetwork, Noise
from .native_stepper import Stepper, make_stepper
from .packed import Packed
from .stepper import ACTIVATIONS, Affine, GRUCell, LSTMCell, RNNCell

PARTS = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")  # in the order of the fused operator


class FusedLayer:
    """Mixin for a fused layer that passes contiguous weights to the operator.

    Gluon concatenates the weights and splits their gradient at every call; `pack_weights` packs
    them once. The fraction `weight_drop` of the recurrent weights is dropped in training, with one
    mask for all time steps of a call. Layers with weight drop concatenate at every call, but by
    rows of the bias length: flat copies would take 7 ns per number.

    With several layers, two directions, another layout or another type, Gluon's own code computes
    the layer, and the weights are not packed.

    Raises
    ------
    InputError
        If an argument is invalid, or MXNet ignores it on a CPU.
    """

    _hidden_size: int
    _gates: int
    _mode: str
    prefix: str

    def __init__(self, hidden_size, num_layers=1, *args, weight_drop: float = 0.0, **kwargs):
        check_sizes(hidden_size=hidden_size, num_layers=num_layers)
        check_rates(weight_drop=weight_drop)
        if kwargs.get("projection_size"):
            raise InputError(
                "`projection_size`: MXNet supports it only for an LSTM, and cannot train it on a "
                "CPU: leave it out, or use mxnet.gluon.rnn.LSTM"
            )
        try:
            super().__init__(hidden_size, num_layers, *args, **kwargs)  # type: ignore[call-arg]
        except AssertionError as error:
            raise InputError(f"{type(self).__name__}: {error}") from None
        except KeyError as error:
            raise InputError(f"`activation`: must be relu or tanh, not {error}") from None
        self._reject_ignored()
        self.weight_drop = Dropout(weight_drop)

    def _reject_ignored(self):
        layer, settings = type(self).__name__, vars(self)
        check_integer("input_size", settings["_input_size"], 0)
        if settings["_dropout"] and settings["_num_layers"] > 1:
            raise InputError(
                f"`dropout` {settings['_dropout']}: MXNet ignores it on a CPU: stack layers with "
                f"nn.Dropout between them, or use mxnet.gluon.rnn.{layer} on a GPU"
            )
        clips = [settings[f"_lstm_state_clip_{name}"] for name in ("min", "max", "nan")]
        if any(clip not in (None, False) for clip in clips) or settings["_use_sequence_length"]:
            raise InputError(
                "`use_sequence_length` and state clipping: MXNet ignores them on a CPU: leave them "
                f"out, or use mxnet.gluon.rnn.{layer} on a GPU"
            )

    def _is_fused(self) -> bool:
        """Return whether the layer is computed here rather than by Gluon."""
        found = vars(self)
        names = ("_num_layers", "_dir", "_layout", "_dtype", "_projection_size")
        simple = [found[name] for name in names] == [1, 1, "TNC", "float32", None]
        # Gluon infers an unknown input size
        return simple and bool(found["_input_size"]) and not is_np_array()

    def pack_weights(self) -> None:
        """Pack the initialized weights contiguously in memory; their names are unchanged."""
        if not self._is_fused():
            return
        parts = [getattr(self, f"l0_{part}") for part in PARTS]
        if not self.weight_drop._rate and not hasattr(parts[0], "packed"):
            self._named = super()._collect_params_with_prefix()  # type: ignore[misc]
            packed = Packed(self.prefix + "packed", parts)
            self._params = gluon.ParameterDict(self.prefix)
            self._params._params[packed.name] = packed
            self._reg_params = {"packed": packed}

    def _forward_kernel(self, F, inputs, states, sequence_length, packed=None, **params):
        """Compute the layer; overrides the method that Gluon's `hybrid_forward` calls."""
        for name in params:
            if name.endswith("h2h_weight"):
                params[name] = self.weight_drop(params[name])
        if packed is None and not self._is_fused():
            gluons = super()._forward_kernel  # type: ignore[misc]
            return gluons(F, inputs, states, sequence_length, **params)
        joined = self._joined(F, params) if packed is None else packed
        settings = dict(state_size=self._hidden_size, num_layers=1, mode=self._mode)
        output, *states = F.RNN(inputs, joined, *states, state_outputs=True, **settings)
        return output, states

    def _joined(self, F, params):
        width = self._gates * self._hidden_size
        rows = [params[f"l0_{part}"].reshape((-1, width)) for part in PARTS]
        return F.concat(*rows, dim=0).reshape(-1)

    def _collect_params_with_prefix(self, prefix=""):
        named = getattr(self, "_named", None)
        named = named or super()._collect_params_with_prefix()  # type: ignore[misc]
        return {f"{prefix}.{name}" if prefix else name: named[name] for name in named}

    def parts(self) -> list[gluon.Parameter]:
        """Return the parameters in the order of `PARTS`.

        Raises
        ------
        InputError
            If Gluon's own code computes the layer.
        """
        if not self._is_fused():
            raise InputError(
                f"{type(self).__name__}: a stepper needs one layer with one direction, layout TNC "
                "and a given `input_size`"
            )
        return [getattr(self, f"l0_{part}") for part in PARTS]

    def _arrays(self):
        return map(to_numpy, self.parts())


class RNN(FusedLayer, rnn.RNN):
    """`gluon.rnn.RNN` with packed weights."""

    def cell(self) -> RNNCell:
        """Return a copy for a stepper."""
        activation = ACTIVATIONS[self._mode.partition("_")[2]]
        i2h_weight, h2h_weight, i2h_bias, h2h_bias = self._arrays()
        return RNNCell(i2h_weight, h2h_weight, i2h_bias, h2h_bias, activation)


class LSTM(FusedLayer, rnn.LSTM):
    """`gluon.rnn.LSTM` with packed weights."""

    def cell(self) -> LSTMCell:
        """Return a copy for a stepper."""
        return LSTMCell(*self._arrays())


class GRU(FusedLayer, rnn.GRU):
    """`gluon.rnn.GRU` with packed weights."""

    def cell(self) -> GRUCell:
        """Return a copy for a stepper."""
        return GRUCell(*self._arrays())


FUSED = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
LAYERS = {**FUSED, "mingru": MinGRU, "minlstm": MinLSTM}


class WordEmbedding(nn.Embedding):
    """Embedding with word-level dropout: one mask over tokens per forward pass.

    Source: Gal and Ghahramani 2016; `dropoute` of Merity et al. 2018.
    """

    def __init__(self, *args, word_dropout: float = 0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.word_dropout = Dropout(word_dropout, axes=(1,))

    def _alias(self):
        return "embedding"  # keeps parameter names, whose order matters to some optimizers

    def hybrid_forward(self, F, x, weight):
        if self.word_dropout._rate:
            weight = self.word_dropout(weight)
        return super().hybrid_forward(F, x, weight)


class Penalty(HybridBlock):
    """Returns hidden states `(T, N, C)` unchanged, and adds a penalty to their gradient.

    The penalty of a token is `rate` times the mean square of its C numbers (AR), or with
    `temporal`, of their change since the previous token, 0 for the first (TAR).

    Source: Merity et al. 2017.
    """

    def __init__(self, rate: float, temporal: bool = False):
        super().__init__()
        self.penalty, self.temporal = rate, temporal

    def hybrid_forward(self, F, x):
        if not self.penalty:
            return x
        penalised = x
        if self.temporal:
            first = F.slice_axis(x, axis=0, begin=0, end=1)
            penalised = x - F.slice_axis(F.concat(first, x, dim=0), axis=0, begin=0, end=-1)
        total = F.sum(F.mean(F.square(penalised), axis=2))
        # MakeLoss has gradient 1, although its value is multiplied by 0
        return F.broadcast_add(x, 0 * F.MakeLoss(self.penalty * total).reshape((1, 1, 1)))


class RecurrentBody(LanguageModel):
    """Recurrent layers without an output: from ids `(T, N)` to hidden `(T*N, C)`.

    The state is, for each layer, h `(1, N, C)`, and for an LSTM c as well.

    Parameters
    ----------
    kind
        "rnn", "lstm", "gru", "mingru" or "minlstm".
    hidden_sizes
        The size of each layer.
    dropout
        On the embedding, between layers and before the output.
    activation
        "tanh" or "relu", for an rnn.
    embed_dropout
        Dropout rate of the embedding (default: `dropout`).
    variational
        Use one dropout mask for all time steps of a call (Gal and Ghahramani 2016).
    weight_drop
        Fraction of the recurrent weights dropped in each call (Merity et al. 2018); 0 for mingru
        and minlstm, which have none.
    separator
        The id of the token that begins a document; the state is reset to zeros before it.
    word_dropout
        As for `WordEmbedding`.
    activation_reg, temporal_reg
        Rates of the `Penalty` on the last layer's output after dropout, and of the temporal one
        before dropout.
    """

    def __init__(
        self,
        kind: str,
        vocab_size: int,
        embed_size: int,
        hidden_sizes: Sequence[int],
        dropout: float = 0.0,
        activation: str = "tanh",
        embed_dropout: float | None = None,
        variational: bool = False,
        weight_drop: float = 0.0,
        word_dropout: float = 0.0,
        activation_reg: float = 0.0,
        temporal_reg: float = 0.0,
        separator: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if kind not in LAYERS or np.ndim(hidden_sizes) != 1 or not len(hidden_sizes):
            raise InputError(
                f"`kind` {kind!r}, `hidden_sizes` {hidden_sizes!r}: the kind must be "
                f"{', '.join(LAYERS)}, and the sizes a list of at least one number"
            )
        check_sizes(vocab_size=vocab_size, embed_size=embed_size)
        check_rates(dropout=dropout, embed_dropout=embed_dropout or 0, word_dropout=word_dropout)
        check_rates(math.inf, activation_reg=activation_reg, temporal_reg=temporal_reg)
        if separator is not None and not 0 <= check_integer("separator", separator) < vocab_size:
            raise InputError(f"`separator` {separator}: must be below {vocab_size}, as every id")
        self.kind, self.vocab_size, self.activation = kind, vocab_size, activation
        self.separator, self.static_shape = separator, separator is None
        if weight_drop and kind not in FUSED:
            raise InputError(
                f"`weight_drop` {weight_drop}: {kind} has no recurrent weights: leave it out, or "
                f"use `model` {', '.join(FUSED)}"
            )
        extra: dict = {"activation": activation} if kind == "rnn" else {}
        extra.update({"weight_drop": weight_drop} if kind in FUSED else {})
        with self.name_scope():
            self.embedding = WordEmbedding(vocab_size, embed_size, word_dropout=word_dropout)
            axes = (0,) if variational else ()
            self.dropout = Dropout(dropout, axes)
            separate = embed_dropout is not None
            self.embed_dropout = Dropout(embed_dropout, axes) if separate else self.dropout
            # single layers with `Dropout` between them: the fused operator ignores dropout on a CPU
            self.layers = nn.HybridSequential()
            for input_size, size in zip((embed_size, *hidden_sizes), hidden_sizes):
                self.layers.add(LAYERS[kind](size, input_size=input_size, **extra))
            self.temporal_reg = Penalty(temporal_reg, temporal=True)
            self.activation_reg = Penalty(activation_reg)

    def begin_state(self, batch_size: int, ctx=None) -> list:
        return [array for layer in self.layers for array in layer.begin_state(batch_size, ctx=ctx)]

    def forward(self, inputs, state):
        """Read a batch with MXNet, split where a document begins in any stream."""
        if isinstance(inputs, nd.NDArray):
            self._cover(len(inputs))
        if self.separator is None:
            return super().forward(inputs, state)
        begins = inputs.asnumpy() == self.separator  # (T, N)
        cuts = [0, *(1 + np.flatnonzero(begins[1:].any(axis=1))), len(begins)]
        pieces = []
        for first, end in itertools.pairwise(cuts):
            if begins[first].any():
                kept = nd.array(~begins[first][:, None], inputs.context)  # (N, 1)
                state = [nd.broadcast_mul(array, kept) for array in state]
            output, state = super().forward(inputs[first:end], state)
            pieces.append(output)
        return nd.concat(*pieces, dim=0), state

    def _cover(self, steps):
        layers = [layer for layer in self.layers if isinstance(layer, MinLayer)]
        if any([layer.cover(steps) for layer in layers]):
            self._clear_cached_op()

    def hybrid_forward(self, F, inputs, state):
        hidden = self.embed_dropout(self.embedding(inputs))  # (T, N, C)
        each, states = len(state) // len(self.layers), []
        for i, layer in enumerate(self.layers):
            hidden, new = layer(hidden, state[i * each : (i + 1) * each])  # (T, N, C)
            if i == len(self.layers) - 1:
                hidden = self.temporal_reg(hidden)
            hidden = self.dropout(hidden)
            states += new
        hidden = self.activation_reg(hidden)
        # reshape the hidden states, not the logits, which are V / C times as large
        return hidden.reshape((-3, 0)), states  # (T*N, C)

    def stepper_with(self, output: Callable, batch_size: int) -> Stepper:
        """Return a stepper with this output function, hidden `(N, C)` to logits `(N, V)`."""
        cells = (layer.cell() for layer in self.layers)  # one copy at a time
        embedding = to_numpy(self.embedding.weight)
        return make_stepper(embedding, cells, output, batch_size, self.separator)


class RNNModel(RecurrentBody):
    """A `RecurrentBody` with a dense output: from ids `(T, N)` to logits `(T*N, V)`.

    Parameters
    ----------
    kind, embed_size, hidden_sizes, **settings
        As for `RecurrentBody`.
    tie_weights
        Share one matrix between embedding and output (Press and Wolf 2017).

    Raises
    ------
    InputError
        If an argument is invalid, or weights are tied and the last hidden size differs from the
        embedding size.
    """

    def __init__(
        self,
        kind: str,
        vocab_size: int,
        embed_size: int,
        hidden_sizes: Sequence[int],
        dropout: float = 0.0,
        tie_weights: bool = False,
        **settings,
    ):
        super().__init__(kind, vocab_size, embed_size, hidden_sizes, dropout, **settings)
        if tie_weights and hidden_sizes[-1] != embed_size:
            raise InputError(
                f"`tie_weights`: the last `hidden_size`, {hidden_sizes[-1]}, "
                f"must equal `embed_size`, {embed_size}"
            )
        with self.name_scope():
            shared = {"params": self.embedding.params} if tie_weights else {}
            self.decoder = nn.Dense(vocab_size, in_units=hidden_sizes[-1], flatten=False, **shared)

    def hybrid_forward(self, F, inputs, state):
        hidden, states = super().hybrid_forward(F, inputs, state)
        return self.decoder(hidden), states  # (T*N, V)

    def native_network(self, kernels: native.Kernels) -> NativeNetwork:
        """Return this network for native kernels."""
        layers = [(native.KINDS[layer._mode], layer.parts()) for layer in self.layers]
        variational = bool(self.dropout._axes)
        return NativeNetwork(
            *(kernels, self.embedding, layers, self.decoder, self._noise),
            variational=variational,
            separator=self.separator,
        )

    def _noise(self):
        return Noise(
            embed_dropout=self.embed_dropout._rate,
            dropout=self.dropout._rate,
            weight_drop=self.layers[0].weight_drop._rate if self.kind in FUSED else 0.0,
            word_dropout=self.embedding.word_dropout._rate,
            activation_reg=self.activation_reg.penalty,
            temporal_reg=self.temporal_reg.penalty,
        )

    def stepper(self, batch_size: int = 1) -> Stepper:
        output = Affine(to_numpy(self.decoder.weight), to_numpy(self.decoder.bias))
        return self.stepper_with(output, batch_size)
