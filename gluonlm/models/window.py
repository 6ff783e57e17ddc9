"""One LSTM that reads a window of tokens for each prediction."""

from mxnet.gluon import nn

from .base import Dropout, LanguageModel
from .recurrent import LSTM


class WindowModel(LanguageModel):
    """An LSTM over a window, its last output, and a dense layer: ids `(T, N)` to logits `(N, V)`.

    It carries no state.

    Parameters
    ----------
    window
        The number of tokens T.
    representation
        What the LSTM reads at each step: "onehot", V features, made for one batch at a time;
        "real", the id divided by V as one number; "embedding", of `embed_size`.
    """

    # A window by itself, as at the end of a text, is scored with a last bit that depends on where
    # its buffers lie; planned once, they lie anywhere, and no validation could be repeated exactly.
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
        self.window, self.vocab_size = window, vocab_size
        self.representation, self.hidden_size = representation, hidden_size
        features = {"onehot": vocab_size, "real": 1, "embedding": embed_size}[representation]
        with self.name_scope():
            if representation == "embedding":
                self.embedding = nn.Embedding(vocab_size, embed_size)
            self.lstm = LSTM(hidden_size, input_size=features)
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
        """Return what the LSTM reads, `(T, N, features)`."""
        if self.representation == "embedding":
            return self.embedding(inputs)
        if self.representation == "onehot":
            return F.one_hot(inputs, depth=self.vocab_size)
        return F.cast(inputs, "float32").expand_dims(2) / self.vocab_size
