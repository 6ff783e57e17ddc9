"""The networks of a checkpoint as plain arrays, so that a writer needs no MXNet."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..run.checkpoint import Checkpoint
from ..system.errors import InputError

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
PARTS = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")


@dataclass(frozen=True)
class Network:
    """One network: what kind it is, and its arrays by name.

    Parameters
    ----------
    kind
        "rnn", "lstm", "gru", "unrolled" or "window".
    activation
        "tanh" or "relu", of an rnn or the unrolled network.
    window
        How many tokens it reads for a prediction; 0 if it carries its state.
    representation
        "onehot", "real" or "embedding": what a window model reads.
    arrays
        Weights `(out, in)` and biases `(out,)`, as Gluon names them.
    """

    kind: str
    activation: str
    vocab_size: int
    window: int
    representation: str
    arrays: dict[str, np.ndarray]

    @property
    def cell(self) -> str:
        """The kind of its recurrent layers."""
        return "lstm" if self.kind == "window" else self.kind

    @property
    def tied(self) -> bool:
        """Whether one matrix is embedding and output."""
        return self.kind in GATES and "embedding.weight" not in self.arrays

    @property
    def embedding_name(self) -> str:
        """The name of the embedding's array."""
        return "decoder.weight" if self.tied else "embedding.weight"

    @property
    def embedding(self) -> np.ndarray:
        """The embedding, `(V, C)`."""
        return self.arrays[self.embedding_name]

    def layer_names(self) -> list[str]:
        """Return the names of the recurrent layers, the lowest first."""
        names = {name.rpartition(".")[0] for name in self.arrays if name.endswith("h2h_weight")}
        return sorted(names, key=lambda name: int(re.sub(r"\D", "", name) or 0))

    def layers(self) -> list[list[np.ndarray]]:
        """Return the recurrent layers: weights of input and state, biases of input and state."""
        return [[self.arrays[f"{name}.{part}"] for part in PARTS] for name in self.layer_names()]

    def sizes(self) -> list[int]:
        """Return the size of each array of the carried state: h, and for an LSTM c, of a layer."""
        sizes = [] if self.window else [layer[1].shape[1] for layer in self.layers()]
        return [size for size in sizes for _ in range(1 + (self.cell == "lstm"))]


def networks_of(checkpoint: Checkpoint) -> list[Network]:
    """Return a checkpoint's network, or the members of its ensemble.

    Raises
    ------
    InputError
        If it has an output, or begins documents in a way, that no exported form has.
    """
    config = checkpoint.config.model
    if config.adaptive_softmax:
        raise InputError("this model has an adaptive softmax, which is not exported")
    if checkpoint.config.data.document_separator:
        raise InputError("this model begins anew with each document, which is not exported")
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
        )
        for arrays in checkpoint.networks()
    ]
