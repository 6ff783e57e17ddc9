"""The networks of a checkpoint as plain arrays, for exporters that do not use MXNet."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..config import GATES
from ..run.checkpoint import Checkpoint
from ..system.errors import InputError

PARTS = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
MINIMAL = ("mingru", "minlstm")  # without products with h


@dataclass(frozen=True)
class Network:
    """One network: its kind, settings and arrays by name.

    Parameters
    ----------
    kind
        "rnn", "lstm", "gru", "mingru", "minlstm", "unrolled" or "window".
    activation
        "tanh" or "relu", of an rnn or an unrolled network.
    window
        Number of tokens read per prediction; 0 if the network carries a state.
    representation
        Input of a window model: "onehot", "real" or "embedding".
    arrays
        Weights `(out, in)` and biases `(out,)`, as Gluon names them.
    separator
        The id of the token before which the state is reset to zeros, or None.
    """

    kind: str
    activation: str
    vocab_size: int
    window: int
    representation: str
    arrays: dict[str, np.ndarray]
    separator: int | None = None

    @property
    def cell(self) -> str:
        """The kind of the recurrent layers."""
        return "lstm" if self.kind == "window" else self.kind

    @property
    def tied(self) -> bool:
        """Whether embedding and output share one matrix."""
        return self.kind in GATES and "embedding.weight" not in self.arrays

    @property
    def embedding_name(self) -> str:
        """The name of the embedding array."""
        return "decoder.weight" if self.tied else "embedding.weight"

    @property
    def embedding(self) -> np.ndarray:
        """The embedding, `(V, C)`."""
        return self.arrays[self.embedding_name]

    def layer_names(self) -> list[str]:
        """Return the names of the recurrent layers, lowest first."""
        names = {name.rpartition(".")[0] for name in self.arrays if name.endswith("i2h_weight")}
        return sorted(names, key=lambda name: int(re.sub(r"\D", "", name) or 0))

    def layers(self) -> list[list[np.ndarray]]:
        """Return for each recurrent layer the arrays in the order of `PARTS`.

        The layers of minimal networks have only `i2h_weight` and `i2h_bias`.
        """
        parts = [part for part in PARTS if self.cell not in MINIMAL or part.startswith("i2h")]
        return [[self.arrays[f"{name}.{part}"] for part in parts] for name in self.layer_names()]

    def hidden_sizes(self) -> list[int]:
        """Return the size of each recurrent layer."""
        return [len(layer[0]) // GATES[self.cell] for layer in self.layers()]

    def sizes(self) -> list[int]:
        """Return the sizes of the state arrays: for each layer h, and for an LSTM c."""
        sizes = [] if self.window else self.hidden_sizes()
        return [size for size in sizes for _ in range(1 + (self.cell == "lstm"))]


def networks_of(checkpoint: Checkpoint) -> list[Network]:
    """Return a checkpoint's network, or the members of its ensemble.

    Raises
    ------
    InputError
        If the model has an adaptive softmax.
    """
    config = checkpoint.config.model
    if config.adaptive_softmax:
        raise InputError("models with an adaptive softmax cannot be exported")
    separator = checkpoint.vocab.separator(checkpoint.config.data.separator())
    fused = config.model in GATES
    default = "tanh" if fused else "relu"
    return [
        Network(
            config.model,
            default if config.activation == "auto" else config.activation,
            len(checkpoint.vocab),
            0 if fused else config.window,
            config.representation,
            arrays,
            separator,
        )
        for arrays in checkpoint.networks()
    ]
