"""One LSTM that reads a window of tokens for each prediction."""

from mxnet.gluon import nn

from ..system.arguments import check_rates, check_sizes
from ..system.errors import InputError
from .base import Dropout, LanguageModel
from .recurrent import LSTM


class WindowModel(LanguageModel):
    """An LSTM over a window and a dense layer on its last output: ids `(T, N)` to logits `(N, V)`.

    It carries no state.

    Parameters
    ----------
    window
        The number of tokens T.
    representation
        Input of the LSTM at each step: "onehot" (V features, computed per batch), "real" (the id
        divided by V) or "embedding" (of size `embed_size`).

    Raises
    ------
    InputError
        If an argument is invalid.
    """

    # With static buffers, the last bit of the score of a single window (as at the end of a text)
    # depends on buffer addresses, so that validation would not be reproducible.
    static_shape = False

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        window: int,
        representation: str = "onehot",
        embed_size: int = 64,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        sizes = dict(vocab_size=vocab_size, embed_size=embed_size, hidden_size=hidden_size)
        check_sizes(**sizes, window=window)
        check_rates(dropout=dropout)
        features = {"onehot": vocab_size, "real": 1, "embedding": embed_size}
        if representation not in features:
            raise InputError(
                f"`representation` {representation!r}: not one of {', '.join(features)}"
            )
        self.window, self.vocab_size = window, vocab_size
        self.representation, self.hidden_size = representation, hidden_size
        with self.name_scope():
            if representation == "embedding":
                self.embedding = nn.Embedding(vocab_size, embed_size)
            self.lstm = LSTM(hidden_size, input_size=features[representation])
            self.dropout = Dropout(dropout)
            self.decoder = nn.Dense(vocab_size, in_units=hidden_size, flatten=False)

    def hybrid_forward(self, F, inputs, state):
        first = F.slice_axis(inputs, axis=0, begin=0, end=1)  # (1, N)
        zero = F.zeros_like(F.cast(first, "float32")).expand_dims(2)  # (1, N, 1)
        zero = zero.broadcast_axes(axis=2, size=self.hidden_size)  # (1, N, C)
        outputs, _ = self.lstm(self._features(F, inputs), [zero, zero])  # (T, N, C)
        last = F.slice_axis(outputs, axis=0, begin=-1, end=None).reshape((-3, 0))  # (N, C)
        return self.decoder(self.dropout(last)), state  # (N, V)

    def _features(self, F, inputs):
        """Return the input of the LSTM, `(T, N, features)`."""
        if self.representation == "embedding":
            return self.embedding(inputs)
        if self.representation == "onehot":
            return F.one_hot(inputs, depth=self.vocab_size)
        return F.cast(inputs, "float32").expand_dims(2) / self.vocab_size
