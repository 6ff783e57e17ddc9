"""Ensembles: independently trained networks with averaged probabilities."""

import math
from collections.abc import Sequence

import mxnet as mx
import numpy as np
from mxnet.gluon import nn

from ..system.errors import InputError
from ..system.numerics import log_mean_probability
from ..system.seeds import derive_seed
from .base import LanguageModel
from .stepper import EnsembleStepper


class Ensemble(LanguageModel):
    """Networks of one architecture that differ only in initial weights and dropout masks.

    From ids `(T, N)` to logits `(M, V)`, the logarithm of the mean probability. These cannot be
    differentiated: `forward_backward` trains each member on its own loss. The state is the
    concatenation of the members' states.

    Raises
    ------
    InputError
        If there are no networks, or their architectures differ.

    Source: Hansen and Salamon 1990; for language models Zaremba et al. 2014, section 4.1.
    """

    def __init__(self, networks: Sequence[LanguageModel], **kwargs):
        super().__init__(**kwargs)
        if not isinstance(networks, Sequence) or not networks:
            raise InputError("`networks`: must be a list of at least one network")
        shapes = [
            {name: parameter.shape for name, parameter in network.parameters().items()}
            for network in networks
        ]
        if any(other != shapes[0] for other in shapes):
            raise InputError("`networks`: must have the same architecture and sizes")
        self.vocab_size, self.window = networks[0].vocab_size, networks[0].window
        self.networks = nn.HybridSequential()
        self.networks.add(*networks)

    def begin_state(self, batch_size: int, ctx=None) -> list:
        return [
            array for network in self.networks for array in network.begin_state(batch_size, ctx)
        ]

    def _members(self, state):
        """Yield each network with its part of the state."""
        each = len(state) // len(self.networks)
        for i, network in enumerate(self.networks):
            yield network, state[i * each : (i + 1) * each]

    def forward(self, inputs, state):
        """Run every member network on the batch."""
        results = [network(inputs, part) for network, part in self._members(state)]
        logits = log_mean_probability(np.stack([logits.asnumpy() for logits, _ in results]))
        states = [array for _, new in results for array in new]
        return mx.nd.array(logits, ctx=inputs.context), states  # (M, V)

    def forward_backward(self, inputs, targets, state: list) -> tuple:
        """Run a training pass of every member; `losses` are the means over members."""
        members = self._members(state)
        results = [network.forward_backward(inputs, targets, part) for network, part in members]
        losses = mx.nd.add_n(*(losses for losses, _ in results)) / len(results)  # (M,)
        return losses, [array for _, new in results for array in new]

    def use_kernels(self, choice: str = "auto", precision: str = "float32") -> None:
        """Train every member with native kernels, if they support it."""
        for network in self.networks:
            network.use_kernels(choice, precision)

    def seed_dropout(self, seed: int) -> None:
        """Set the seed of the dropout masks of every member; members draw different masks."""
        for i, network in enumerate(self.networks):
            network.seed_dropout(derive_seed(seed, i) if network.compiled else seed)

    def begin_at(self, frequencies: np.ndarray) -> None:
        """Set the output bias of every member."""
        for network in self.networks:
            network.begin_at(frequencies)

    def gradient_norm(self, squares: np.ndarray) -> float:
        """Return the root mean square of the members' norms; all are clipped by one factor."""
        return math.sqrt(squares.sum() / len(self.networks))

    def embedding_matrix(self) -> np.ndarray:
        """Return the concatenated embeddings of the members, `(V, K*C)`."""
        return np.hstack([network.embedding_matrix() for network in self.networks])

    def stepper(self, batch_size: int = 1) -> EnsembleStepper:
        return EnsembleStepper([network.stepper(batch_size) for network in self.networks])
