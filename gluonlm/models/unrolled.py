"""A recurrent network unrolled by hand into dense layers with shared weights."""

from mxnet.gluon import nn

from .. import native
from ..system.arguments import check_rates, check_sizes
from ..system.errors import InputError
from .base import Dropout, LanguageModel
from .native_network import NativeNetwork, Noise
from .stepper import ACTIVATIONS


class UnrolledRNN(LanguageModel):
    """A recurrent network for a fixed number of tokens: ids `(T, N)` to logits `(N, V)`.

    As published (Gluon RNN tutorial, 2018): h1 = f(W_i e1), then h = f(W_h h) + f(W_i e) for each
    further token, logits = W_o h. It carries no state.

    Parameters
    ----------
    window
        The number of tokens T.
    activation
        f: "relu" as published, or "tanh".
    fold
        Whether to sum inside f: h = f(W_h h + W_i e) from h = 0, which equals `gluon.rnn.RNN`
        with the same weights.

    Raises
    ------
    InputError
        If an argument is invalid.
    """

    window: int

    def __init__(
        self,
        vocab_size: int,
        embed_size: int,
        hidden_size: int,
        window: int = 3,
        dropout: float = 0.0,
        activation: str = "relu",
        fold: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        sizes = dict(vocab_size=vocab_size, embed_size=embed_size, hidden_size=hidden_size)
        check_sizes(**sizes, window=window)
        check_rates(dropout=dropout)
        if activation not in ACTIVATIONS:
            raise InputError(f"`activation` {activation!r}: must be {' or '.join(ACTIVATIONS)}")
        self.window, self.vocab_size, self.fold = window, vocab_size, fold
        with self.name_scope():
            self.embedding = nn.Embedding(vocab_size, embed_size)
            self.i2h = nn.Dense(hidden_size, in_units=embed_size, flatten=False)
            self.h2h = nn.Dense(hidden_size, in_units=hidden_size, flatten=False)
            self.activation = nn.Activation(activation)
            self.dropout = Dropout(dropout)
            self.decoder = nn.Dense(vocab_size, in_units=hidden_size, flatten=False)

    def hybrid_forward(self, F, inputs, state):
        read = self.i2h(self.dropout(self.embedding(inputs)))  # (T, N, C)
        if not self.fold:
            read = self.activation(read)
        steps = F.split(read, num_outputs=self.window, axis=0, squeeze_axis=True)  # each (N, C)
        steps = steps if self.window > 1 else [steps]
        if self.fold:
            hidden = F.zeros_like(steps[0])  # (N, C)
            for step in steps:
                hidden = self.activation(self.h2h(hidden) + step)  # (N, C)
        else:
            hidden = steps[0]  # (N, C)
            for step in steps[1:]:
                hidden = self.activation(self.h2h(hidden)) + step  # (N, C)
        return self.decoder(self.dropout(hidden)), state  # (N, V)

    def native_network(self, kernels: native.Kernels) -> NativeNetwork:
        """Return this network for native kernels."""
        relu = self.activation._act_type == "relu"
        kind = (native.RNN_TANH if self.fold else native.UNROLLED_TANH) + relu
        parameters = [self.i2h.weight, self.h2h.weight, self.i2h.bias, self.h2h.bias]
        layers, noise = [(kind, parameters)], lambda: Noise(*[self.dropout._rate] * 2)
        return NativeNetwork(kernels, self.embedding, layers, self.decoder, noise, window=True)
