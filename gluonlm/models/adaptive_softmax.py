"""Adaptive softmax for large vocabularies: rare tokens in low-dimensional tail clusters."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from mxnet import autograd, nd
from mxnet.gluon import HybridBlock, nn

from ..config import NARROWER
from ..system.errors import InputError
from ..system.numerics import log_softmax
from .base import LanguageModel, to_numpy
from .loss import losses_and_gradient, negative_log_likelihood
from .native_stepper import Stepper
from .recurrent import RecurrentBody
from .stepper import Affine


class AdaptiveOutput(HybridBlock):
    """Adaptive softmax: a head of frequent tokens and tail clusters, and one tail per cluster.

    The log-probability of a rare token is the log-probability of its cluster in the head plus its
    own within the tail. A training step computes the head for every target, and each tail only for
    the targets in it.

    Source: Grave et al. 2017.

    Parameters
    ----------
    cutoffs
        The first id of each tail; token ids must be ordered by frequency.
    """

    def __init__(self, vocab_size: int, hidden_size: int, cutoffs: Sequence[int], **kwargs):
        super().__init__(**kwargs)
        self.begins, sizes = np.array(cutoffs), np.diff([*cutoffs, vocab_size])
        with self.name_scope():
            self.head = nn.Dense(cutoffs[0] + len(cutoffs), in_units=hidden_size)
            self.tails = nn.HybridSequential()
            for size in sizes:
                hidden_size = max(1, hidden_size // NARROWER)
                tail = nn.HybridSequential()
                below = self.head._in_units
                tail.add(nn.Dense(hidden_size, in_units=below, use_bias=False))
                tail.add(nn.Dense(int(size), in_units=hidden_size))
                self.tails.add(tail)

    def begin_at(self, frequencies: np.ndarray) -> None:
        """Set biases to log frequencies, `(V,)`; clusters use the sum over their tokens."""
        first, *tails = np.split(frequencies, self.begins)
        clusters = [tail.sum() for tail in tails]
        self.head.bias.set_data(nd.array(np.log([*first, *clusters])))
        for block, tail in zip(self.tails, tails):
            block[1].bias.set_data(nd.array(np.log(tail)))

    def forward(self, hidden):
        """Return the log-probability of every token: `(M, C)` to `(M, V)`."""
        head, first = nd.log_softmax(self.head(hidden)), int(self.begins[0])
        parts = [head[:, :first]]
        for cluster, tail in enumerate(self.tails, first):
            inside = nd.log_softmax(tail(hidden))
            parts.append(nd.broadcast_add(head[:, cluster : cluster + 1], inside))
        return nd.concat(*parts, dim=1)

    def needed(self, hidden: nd.NDArray, targets: nd.NDArray) -> Iterator[tuple]:
        """Yield the logits needed for these targets, of the head and of each tail with a target.

        Yields
        ------
        rows
            `(m,)`, indices of the M targets (for the head, all).
        logits
            `(m, tokens)`.
        targets
            `(m,)`, int32, ids within the head or tail.
        """
        ids, ctx = targets.asnumpy(), hidden.context
        group = np.searchsorted(self.begins, ids, side="right")  # (M,); 0: in the head
        in_head = np.where(group, self.begins[0] + group - 1, ids)
        yield np.arange(len(ids)), self.head(hidden), nd.array(in_head, ctx, "int32")
        for number, tail in enumerate(self.tails, 1):
            rows = np.flatnonzero(group == number)
            if len(rows):
                in_tail = nd.array(ids[rows] - self.begins[number - 1], ctx, "int32")
                yield rows, tail(nd.take(hidden, nd.array(rows, ctx, "int32"))), in_tail

    def stepped(self) -> Callable:
        """Return a NumPy copy of the output for a stepper: `(N, C)` to `(N, V)`."""
        head, first = affine(self.head), int(self.begins[0])
        tails = [[affine(layer) for layer in tail] for tail in self.tails]

        def log_probabilities(hidden):
            found = log_softmax(head(hidden), np.float32)
            clusters = found[:, first:]
            inside = [log_softmax(out(narrow(hidden)), np.float32) for narrow, out in tails]
            rare = [clusters[:, k : k + 1] + each for k, each in enumerate(inside)]
            return np.concatenate([found[:, :first], *rare], axis=1)

        return log_probabilities


def affine(layer) -> Affine:
    """Return the NumPy copy of a dense layer."""
    return Affine(to_numpy(layer.weight), to_numpy(layer.bias) if layer.bias else 0)


class AdaptiveRNN(LanguageModel):
    """`RNNModel` with an adaptive softmax: from ids `(T, N)` to log-probabilities `(T*N, V)`.

    Training and scoring compute only the logits that the targets need; both are exact.

    Parameters
    ----------
    kind, embed_size, hidden_sizes, **settings
        As for `RNNModel`, except `tie_weights`.
    cutoffs
        As for `AdaptiveOutput`.

    Raises
    ------
    InputError
        If the cutoffs are not ascending and below the vocabulary size.
    """

    def __init__(
        self,
        kind: str,
        vocab_size: int,
        embed_size: int,
        hidden_sizes: Sequence[int],
        cutoffs: Sequence[int],
        **settings,
    ):
        super().__init__()
        if not all(low < high for low, high in zip(cutoffs, [*cutoffs[1:], vocab_size])):
            raise InputError(
                f"`adaptive_softmax` {','.join(map(str, cutoffs))}: must be ascending and below "
                f"the vocabulary size of {vocab_size:,}"
            )
        self.vocab_size = vocab_size
        with self.name_scope():
            self.body = RecurrentBody(kind, vocab_size, embed_size, hidden_sizes, **settings)
            self.decoder = AdaptiveOutput(vocab_size, hidden_sizes[-1], cutoffs)

    @property
    def embedding(self) -> nn.Embedding:
        """The embedding of the recurrent part."""
        return self.body.embedding

    def prepare(self, *args, **kwargs):
        """Initialize and compile, except the output: the rows of a tail vary from step to step."""
        super().prepare(*args, **kwargs)
        self.decoder.hybridize(False)
        return self

    def begin_at(self, frequencies: np.ndarray) -> None:
        """Set the biases of head and tails to log frequencies."""
        self.decoder.begin_at(frequencies)

    def begin_state(self, batch_size: int, ctx=None) -> list:
        return self.body.begin_state(batch_size, ctx)

    def forward(self, inputs, state):
        """Return the log-probability of every token, and the new state."""
        hidden, state = self.body(inputs, state)
        return self.decoder(hidden), state

    def forward_backward(self, inputs, targets, state: list) -> tuple[nd.NDArray, list]:
        with autograd.record():
            hidden, state = self.body(inputs, state)  # (M, C)
            needed = list(self.decoder.needed(hidden, targets))
        losses, gradients = nd.zeros(targets.shape, targets.context), []
        for rows, logits, inside in needed:
            each, gradient = losses_and_gradient(logits, inside)
            gradients.append(gradient)
            places = nd.array(rows[None], targets.context, "int32")
            losses = losses + nd.scatter_nd(each, places, losses.shape)
        for parameter in self.decoder.tails.collect_params().values():
            parameter.grad(targets.context)[:] = 0  # for tails without a target
        autograd.backward([logits for _, logits, _ in needed], gradients)
        return losses, [array.detach() for array in state]

    def losses(self, inputs, targets, state: list) -> tuple[np.ndarray, list]:
        hidden, state = self.body(inputs, state)
        losses = np.zeros(targets.shape)
        for rows, logits, inside in self.decoder.needed(hidden, targets):
            losses[rows] += negative_log_likelihood(logits, inside)
        return losses, state

    def stepper(self, batch_size: int = 1) -> Stepper:
        return self.body.stepper_with(self.decoder.stepped(), batch_size)
