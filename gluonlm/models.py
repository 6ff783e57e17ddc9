"""The networks, behind one interface: `model(inputs, state) -> (logits, state)` and `begin_state(batch_size, ctx)`.

Inputs are ids `(T, N)`, logits `(M, V)`, and the state is a flat list of arrays. `model.context` is None for a model
that carries its state along a text, or the number of tokens that one prediction reads. `model.members` is how many predictions it makes
of each target in training: of an ensemble's logits `(K * M, V)` each member's are scored by themselves.
"""

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock, nn, rnn

from .errors import InputError
from .loss import TINY
from .stepper import (
    ACTIVATIONS,
    EnsembleStepper,
    GRUCell,
    LSTMCell,
    RecurrentStepper,
    RNNCell,
    WindowStepper,
)

PARTS = (
    "i2h_weight",
    "h2h_weight",
    "i2h_bias",
    "h2h_bias",
)  # of a layer, as the fused operator expects them


class Dropout(nn.Dropout):
    """Dropout whose masks come from MXNet's own generator on a GPU too: cuDNN's cannot be seeded, so no run could go on exactly."""

    def hybrid_forward(self, F, x):
        return F.Dropout(x, p=self._rate, axes=self._axes, cudnn_off=True)


class PackedByRows:
    """Mixed into a fused layer: its weights are joined for the operator row by row, not number by number.

    Gluon flattens them first, and MXNet then copies a vector at 7 ns a number, up to a tenth of a step. Every part is a multiple of
    the bias in length, so as rows of that length they join to the same memory. `weight_drop` of the recurrent weights are dropped
    in training, the same ones at every time step of a call.
    """

    def __init__(self, *args, weight_drop=0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.weight_drop = Dropout(weight_drop)

    def _forward_kernel(self, F, inputs, states, sequence_length, **params):
        params["l0_h2h_weight"] = self.weight_drop(params["l0_h2h_weight"])
        rows = [
            params[f"l0_{name}"].reshape((-1, self._gates * self._hidden_size)) for name in PARTS
        ]
        joined = F.concat(*rows, dim=0).reshape(-1)
        output, *states = F.RNN(
            inputs,
            joined,
            *states,
            state_size=self._hidden_size,
            num_layers=1,
            state_outputs=True,
            mode=self._mode,
        )
        return output, states


class RNN(PackedByRows, rnn.RNN):
    """`gluon.rnn.RNN`, joined by rows."""


class LSTM(PackedByRows, rnn.LSTM):
    """`gluon.rnn.LSTM`, joined by rows."""


class GRU(PackedByRows, rnn.GRU):
    """`gluon.rnn.GRU`, joined by rows."""


FUSED = {"rnn": (RNN, RNNCell), "lstm": (LSTM, LSTMCell), "gru": (GRU, GRUCell)}


class LanguageModel(HybridBlock):
    """What every model here can do besides being called."""

    context, members = None, 1

    def begin_state(self, batch_size, ctx=None):
        """Give the state before any text, on a context: a list of zeros; empty if the model carries none."""
        return []

    def parameters(self):
        """Give the parameters by name, in a fixed order; one that is shared stands once, under its first name."""
        first = {}
        for name, parameter in sorted(self._collect_params_with_prefix().items()):
            first.setdefault(id(parameter), (name.replace("._unfused.0", ""), parameter))
        return dict(first.values())

    def count_parameters(self):
        """Count the trained numbers."""
        return sum(int(np.prod(parameter.shape)) for parameter in self.parameters().values())

    def prepare(self, ctx, init="xavier", seed=1):
        """Set initial weights on these contexts, from a seed unless it is None, and compile. Raises: InputError for an unknown `init`."""
        if seed is not None:
            mx.random.seed(seed)
        self.initialize(initializer(init), ctx=ctx)
        self.hybridize(static_alloc=True, static_shape=True)
        return self

    def stepper(self, batch_size=1):
        """Give a copy of this model that reads one token of each of `batch_size` streams at a time."""

        def logits_of(window):
            return self(to_device(window, self.vocab_size, ctx), [])[0].asnumpy()

        ctx = next(iter(self.parameters().values())).list_ctx()[0]
        return WindowStepper(logits_of, self.context, self.vocab_size, batch_size)


class RNNModel(LanguageModel):
    """Embedding, a stack of fused recurrent layers, a dense output: `(T, N)` ids to `(T * N, V)` logits.

    Parameters: `kind`, rnn, lstm or gru; `hidden_sizes`, the size of each layer; `dropout`, on the embedding, between
    layers and before the output; `embed_dropout`, another rate for the embedding; `variational`, one mask for all time steps of a call;
    `weight_drop`, the part of the recurrent weights that a call leaves out (DropConnect; Merity et al. 2018);
    `tie_weights`, one matrix as embedding and output (Press and Wolf 2017), which needs the last
    hidden size to equal `embed_size`; `activation`, tanh or relu, for rnn only.
    State: for each layer h `(1, N, C)`, and c for lstm.
    Raises: InputError if tied sizes differ.
    """

    def __init__(
        self,
        kind,
        vocab_size,
        embed_size,
        hidden_sizes,
        dropout=0.0,
        tie_weights=False,
        activation="tanh",
        embed_dropout=None,
        variational=False,
        weight_drop=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if tie_weights and hidden_sizes[-1] != embed_size:
            raise InputError(
                f"--tie-weights: the last --hidden-size, {hidden_sizes[-1]}, must equal --embed-size, {embed_size}"
            )
        self.kind, self.vocab_size, self.activation = kind, vocab_size, activation
        layer, _ = FUSED[kind]
        extra = {"activation": activation} if kind == "rnn" else {}
        with self.name_scope():
            self.embedding = nn.Embedding(vocab_size, embed_size)
            axes = (0,) if variational else ()
            self.dropout = Dropout(dropout, axes)
            self.embed_dropout = (
                self.dropout if embed_dropout is None else Dropout(embed_dropout, axes)
            )
            # one layer each, dropout between them: the fused layers' own dropout does nothing on a CPU
            self.layers = nn.HybridSequential()
            for input_size, size in zip((embed_size, *hidden_sizes), hidden_sizes):
                self.layers.add(
                    layer(size, input_size=input_size, weight_drop=weight_drop, **extra)
                )
            shared = {"params": self.embedding.params} if tie_weights else {}
            self.decoder = nn.Dense(vocab_size, in_units=hidden_sizes[-1], flatten=False, **shared)

    def begin_state(self, batch_size, ctx=None):
        return [array for layer in self.layers for array in layer.begin_state(batch_size, ctx=ctx)]

    def hybrid_forward(self, F, inputs, state):
        hidden, states = self.embed_dropout(self.embedding(inputs)), []  # (T, N, C)
        for i, layer in enumerate(self.layers):
            each = len(state) // len(self.layers)
            hidden, new = layer(hidden, state[i * each : (i + 1) * each])
            hidden = self.dropout(hidden)
            states += new
        # the hidden states are reshaped, not the logits: those are V / C times as many numbers
        return self.decoder(hidden.reshape((-3, 0))), states  # (T * N, V)

    def stepper(self, batch_size=1):
        """Give a copy of this model that reads one token of each of `batch_size` streams at a time."""
        _, cell = FUSED[self.kind]
        extra = {"activation": ACTIVATIONS[self.activation]} if self.kind == "rnn" else {}
        cells = [
            cell(*(_numpy(getattr(layer, f"l0_{part}")) for part in PARTS), **extra)
            for layer in self.layers
        ]
        return RecurrentStepper(
            _numpy(self.embedding.weight),
            cells,
            _numpy(self.decoder.weight),
            _numpy(self.decoder.bias),
            batch_size,
        )


class Ensemble(LanguageModel):
    """Networks that differ by their initial weights and dropout alone, each trained for itself, their probabilities averaged.

    A trainer clips all of them by one factor, from the root mean square of their gradients' norms.
    `(T, N)` ids to logits `(M, V)`, the logarithm of the mean probability, -85 at least; in training `(K * M, V)`, network by network.
    Parameters: `networks`, K of one kind and vocabulary. State: that of the first, then of the second, and so on.
    Source: Hansen and Salamon 1990; for language models Zaremba et al. 2014, section 4.1.
    """

    def __init__(self, networks, **kwargs):
        super().__init__(**kwargs)
        self.members, self.vocab_size = len(networks), networks[0].vocab_size
        self.networks = nn.HybridSequential()
        self.networks.add(*networks)

    def begin_state(self, batch_size, ctx=None):
        return [
            array for network in self.networks for array in network.begin_state(batch_size, ctx)
        ]

    def forward(self, inputs, state):
        """Let every network read on."""
        logits, states, each = [], [], len(state) // self.members
        for i, network in enumerate(self.networks):
            own, new = network(inputs, state[i * each : (i + 1) * each])
            logits.append(own)
            states += new
        if mx.autograd.is_training():
            return mx.nd.concat(*logits, dim=0), states
        return mx.nd.log(sum(map(mx.nd.softmax, logits)) / self.members + TINY), states

    def stepper(self, batch_size=1):
        """Give a copy that reads one token of each of `batch_size` streams at a time."""
        return EnsembleStepper([network.stepper(batch_size) for network in self.networks])


class UnrolledRNN(LanguageModel):
    """A recurrent network for a fixed number of tokens, written out as shared dense layers: `(T, N)` ids to `(N, V)` logits.

    As published: h1 = f(W_i e1), then h = f(W_h h) + f(W_i e) for each further token, logits = W_o h. With `fold=True`
    the sum goes inside, h = f(W_h h + W_i e) from h = 0, which is `rnn.RNN` with the same weights.
    Parameters: `context`, the number of tokens T; `activation`, f: relu as published, or tanh. State: none.
    """

    def __init__(
        self,
        vocab_size,
        embed_size,
        hidden_size,
        context=3,
        dropout=0.0,
        activation="relu",
        fold=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.context, self.vocab_size, self.fold = context, vocab_size, fold
        with self.name_scope():
            self.embedding = nn.Embedding(vocab_size, embed_size)
            self.i2h = nn.Dense(hidden_size, in_units=embed_size, flatten=False)
            self.h2h = nn.Dense(hidden_size, in_units=hidden_size, flatten=False)
            self.activation = nn.Activation(activation)
            self.dropout = Dropout(dropout)
            self.decoder = nn.Dense(vocab_size, in_units=hidden_size, flatten=False)

    def hybrid_forward(self, F, inputs, state):
        read = self.i2h(self.dropout(self.embedding(inputs)))  # (T, N, C)
        steps = [
            F.slice_axis(read, axis=0, begin=t, end=t + 1).reshape((-3, 0))
            for t in range(self.context)
        ]
        if self.fold:
            hidden = F.zeros_like(steps[0])  # (N, C)
            for step in steps:
                hidden = self.activation(self.h2h(hidden) + step)
        else:
            hidden = self.activation(steps[0])
            for step in steps[1:]:
                hidden = self.activation(self.h2h(hidden)) + self.activation(step)
        return self.decoder(self.dropout(hidden)), state  # (N, V)


class WindowModel(LanguageModel):
    """One LSTM over a window of tokens, its last output, a dense layer: `(T, N)` ids to `(N, V)` logits.

    Parameters: `context`, the number of tokens T; `representation`, what the LSTM reads at each step: `onehot`, V
    features, made for one batch at a time; `real`, the id divided by V as one number; `embedding`, of `embed_size`.
    State: none.
    """

    def __init__(
        self,
        vocab_size,
        hidden_size,
        context,
        representation="onehot",
        embed_size=64,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.context, self.vocab_size, self.representation, self.hidden_size = (
            context,
            vocab_size,
            representation,
            hidden_size,
        )
        features = {"onehot": vocab_size, "real": 1, "embedding": embed_size}[representation]
        with self.name_scope():
            if representation == "embedding":
                self.embedding = nn.Embedding(vocab_size, embed_size)
            self.lstm = LSTM(hidden_size, input_size=features)
            self.dropout = Dropout(dropout)
            self.decoder = nn.Dense(vocab_size, in_units=hidden_size, flatten=False)

    def hybrid_forward(self, F, inputs, state):
        first = F.slice_axis(inputs, axis=0, begin=0, end=1)
        zero = (
            F.zeros_like(F.cast(first, "float32"))
            .expand_dims(2)
            .broadcast_axes(axis=2, size=self.hidden_size)
        )  # (1, N, C)
        outputs, _ = self.lstm(self._features(F, inputs), [zero, zero])  # (T, N, C)
        last = F.slice_axis(outputs, axis=0, begin=-1, end=None).reshape((-3, 0))
        return self.decoder(self.dropout(last)), state  # (N, V)

    def _features(self, F, inputs):
        if self.representation == "embedding":
            return self.embedding(inputs)
        if self.representation == "onehot":
            return F.one_hot(inputs, depth=self.vocab_size)
        return F.cast(inputs, "float32").expand_dims(2) / self.vocab_size


def to_device(ids, vocab_size, ctx):
    """Give NumPy ids as an int32 array on a context. Raises: InputError for an id that is not one of the vocabulary.

    MXNet itself would take the nearest valid id, in the embedding and in the loss, without a word.
    """
    if ids.size and not (ids.min() >= 0 and ids.max() < vocab_size):
        raise InputError(
            f"ids from {ids.min()} to {ids.max()}: this model's vocabulary has 0 to {vocab_size - 1}"
        )
    # from_numpy lends the memory: `mx.nd.array` would wait for a worker thread
    return mx.nd.from_numpy(np.array(ids, np.int32, order="C")).as_in_context(ctx)


def _numpy(parameter):
    return parameter.data(parameter.list_ctx()[0]).asnumpy()


def initializer(text):
    """Turn `xavier` or `uniform:0.1` into an initializer. Raises: InputError for anything else."""
    name, _, scale = text.partition(":")
    if name == "xavier" and not scale:
        return mx.init.Xavier()
    try:
        if name == "uniform" and 0 < float(scale) < np.inf:
            return mx.init.Uniform(float(scale))
    except ValueError:
        pass
    raise InputError(f"--init {text!r}: give xavier, or uniform:0.1")


def build_model(config, vocab_size):
    """Make the network that a ModelConfig describes, for a vocabulary of this size. Raises: InputError."""
    sizes = config.layer_sizes()
    embed_dropout = None if config.embed_dropout < 0 else config.embed_dropout
    activation = (
        config.activation
        if config.activation != "auto"
        else "relu"
        if config.model == "unrolled"
        else "tanh"
    )
    if config.model in FUSED:
        extra = (
            config.tie_weights,
            activation,
            embed_dropout,
            config.variational,
            config.weight_drop,
        )
        networks = [
            RNNModel(config.model, vocab_size, config.embed_size, sizes, config.dropout, *extra)
            for _ in range(config.members)
        ]
        return networks[0] if config.members == 1 else Ensemble(networks)
    if config.members > 1:
        raise InputError(
            f"--members {config.members}: ensembles are of rnn, lstm or gru, not of --model {config.model}"
        )
    if len(sizes) > 1 or config.tie_weights:
        raise InputError(
            f"--model {config.model} has one hidden layer and separate weights: leave out --num-layers and --tie-weights"
        )
    if config.variational or config.weight_drop or embed_dropout is not None:
        raise InputError(
            f"--model {config.model} has ordinary dropout in one place: leave out --variational, --embed-dropout and --weight-drop"
        )
    if config.model == "window":
        return WindowModel(
            vocab_size,
            sizes[0],
            config.context,
            config.representation,
            config.embed_size,
            config.dropout,
        )
    return UnrolledRNN(
        vocab_size, config.embed_size, sizes[0], config.context, config.dropout, activation
    )
