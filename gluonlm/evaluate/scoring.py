"""How well a model predicts a text: nats per token, perplexity, bits per character."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mxnet as mx
import numpy as np

from ..batchify.batches import make_batches, share_of
from ..system.device import to_device
from ..system.errors import InputError
from ..system.processes import ALONE, Processes
from ..vocab import Vocab

SHORTEST = 1e-3  # characters of a token: a text of <unk> alone has some


def batch_losses(model, batches, ctx) -> Iterator[np.ndarray]:
    """Score batch by batch, the state carried and dropout off.

    Yields
    ------
    numpy.ndarray
        `(M,)`, the nats of each target of a batch.
    """
    state = None
    for index in range(len(batches)):
        inputs, targets = batches(0, index)  # (T, N), (M,)
        if not targets.size:  # of few streams, not every process has one
            continue
        if state is None:
            state = model.begin_state(inputs.shape[1], ctx=ctx)
        read, expected = (to_device(ids, model.vocab_size, ctx) for ids in (inputs, targets))
        losses, state = model.losses(read, expected, state)
        yield losses


def mean_loss(model, batches, ctx, world: Processes = ALONE) -> float:
    """Return the mean over all tokens of all batches, in nats.

    Every token weighs the same, those of a short last batch included. Each process of `world`
    scores its part of the streams, and all return the mean of the whole.
    """
    found = np.zeros(2)  # nats, tokens
    for losses in batch_losses(model, share_of(batches, world.rank, world.size), ctx):
        found += [float(losses.sum()), losses.size]
    world.sum(found)
    return float(found[0] / found[1])


def score(model, ids: np.ndarray, ctx=None, seq_len: int = 1000) -> np.ndarray:
    """Score a text as one stream, its state carried from the first token to the last.

    Parameters
    ----------
    ids
        `(tokens,)`.
    seq_len
        How many are read at a time, which changes memory and speed only.

    Returns
    -------
    numpy.ndarray
        `(tokens - skipped,)`, the nats of each predicted token. The first token is only read, or
        the first `model.window` of a model that reads windows.

    Raises
    ------
    InputError
        If no token is left to predict.
    """
    skipped = model.window or 1
    if len(ids) <= skipped:
        raise InputError(
            f"cannot score {len(ids)} tokens: the model reads {skipped} before its "
            "first prediction, give more text"
        )
    # windows are read side by side: neighbours share all tokens but one, so few tokens hold many
    streams = max(1, 4 * seq_len // skipped) if model.window else 1
    batches = make_batches(model.window, ids, streams, seq_len)
    return np.concatenate(list(batch_losses(model, batches, ctx or mx.cpu())))


def score_columns(model, ids: np.ndarray, columns: int, seq_len: int, ctx=None) -> np.ndarray:
    """Score a text as many publish it: in columns side by side, each from a cold start.

    Only whole segments count: what the columns do not share, and a shorter last segment, is
    dropped. It is for comparison with such figures; `score` is the measure.

    Parameters
    ----------
    ids
        `(tokens,)`.

    Returns
    -------
    numpy.ndarray
        `(T*N,)`, the nats of each target, segment by segment.

    Raises
    ------
    InputError
        If there is no whole segment, or the model reads windows.
    """
    rows = len(ids) // columns
    kept = (rows - 1) // seq_len * seq_len + 1
    if model.window or kept < 2:
        raise InputError(
            f"`streams` {columns}: the model reads windows of a text, not streams"
            if model.window
            else f"`streams` {columns}, `seq_len` {seq_len}: {len(ids)} tokens fill no segment"
        )
    whole = ids[: columns * rows].reshape(columns, rows)[:, :kept].ravel()
    batches = make_batches(None, whole, columns, seq_len)
    return np.concatenate(list(batch_losses(model, batches, ctx or mx.cpu())))


def perplexity(nats: float) -> float:
    """Return exp(nats); infinity beyond what a float holds."""
    return math.exp(nats) if nats < 709 else math.inf


@dataclass(frozen=True)
class Unit:
    """The unit that losses are told in: bits per character, or for words perplexity.

    Parameters
    ----------
    level
        "char", "word" or "subword".
    characters
        How many characters of the text a token stands for, on average.
    """

    level: str
    characters: float = 1.0

    @classmethod
    def of(cls, vocab: Vocab, ids: np.ndarray) -> "Unit":
        """Return the unit for a text `(tokens,)`."""
        return cls(vocab.level, vocab.count_characters(ids) / max(1, len(ids)))

    def bits(self, nats: float) -> float:
        """Return a mean loss in bits per character."""
        return nats / math.log(2) / max(self.characters, SHORTEST)

    def describe(self, nats: float, whole: bool = False) -> str:
        """Return a mean loss as text; with `whole`, bits per character stand beside perplexity."""
        bits = f"{self.bits(nats):.3f} bits per character"
        if self.level != "word":
            return bits
        return f"perplexity {perplexity(nats):.2f}" + f", {bits}" * whole
