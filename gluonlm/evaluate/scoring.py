"""Score a text: nats per token, perplexity, bits per character."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..batchify.batches import make_batches, share_of
from ..system.arguments import as_sequence, check_sizes
from ..system.device import contexts, to_device
from ..system.errors import InputError
from ..system.processes import ALONE, Processes
from ..vocab import Vocab

PARTS = {"test": "test part", "valid": "validation part", "train": "training part"}
SHORTEST = 1e-3  # characters per token: a text of only <unk> would have none


def batch_losses(model, batches, ctx) -> Iterator[np.ndarray]:
    """Score batch by batch, with the state carried and dropout off.

    Yields
    ------
    numpy.ndarray
        `(M,)`, the loss of each target of a batch in nats.
    """
    state = None
    for index in range(len(batches)):
        inputs, targets = batches(0, index)  # (T, N), (M,)
        if not targets.size:  # fewer streams than processes
            continue
        if state is None:
            state = model.begin_state(inputs.shape[1], ctx=ctx)
        read, expected = (to_device(ids, model.vocab_size, ctx) for ids in (inputs, targets))
        losses, state = model.losses(read, expected, state)
        yield losses


def mean_loss(model, batches, ctx, world: Processes = ALONE) -> float:
    """Return the mean loss over all tokens of all batches, in nats.

    Every token has the same weight, including tokens of a short last batch. Each process of `world`
    scores its share of the streams; all return the mean over all streams.
    """
    found = np.zeros(2)  # nats, tokens
    for losses in batch_losses(model, share_of(batches, world.rank, world.size), ctx):
        found += [float(losses.sum()), losses.size]
    world.sum(found)
    return float(found[0] / found[1])


def score(model, ids: np.ndarray, ctx=None, seq_len: int = 1000) -> np.ndarray:
    """Score a text as one stream, carrying the state from the first token to the last.

    Parameters
    ----------
    ids
        `(tokens,)`.
    ctx
        Context, or its name (default: the CPU).
    seq_len
        Tokens per segment; affects only memory and speed.

    Returns
    -------
    numpy.ndarray
        `(tokens - skipped,)`, the loss of each predicted token in nats. The first token, or for
        a model that reads windows the first `model.window` tokens, are only read.

    Raises
    ------
    InputError
        If the text has no token to predict, or an argument is invalid.
    """
    return np.concatenate(list(score_segments(model, ids, ctx, seq_len)))


def score_segments(model, ids: np.ndarray, ctx=None, seq_len: int = 1000) -> Iterator[np.ndarray]:
    """Return an iterator of the losses of `score`, segment by segment.

    Raises
    ------
    InputError
        As for `score`, before the first segment is requested.
    """
    ids, skipped = as_sequence(ids), model.window or 1
    check_sizes(seq_len=seq_len)
    if len(ids) <= skipped:
        raise InputError(
            f"cannot score {len(ids)} tokens: the model reads {skipped} before its "
            "first prediction; use more text"
        )
    # windows are read in parallel streams: neighbouring windows share all tokens but one
    streams = max(1, 4 * seq_len // skipped) if model.window else 1
    batches = make_batches(model.window, ids, streams, seq_len)
    return batch_losses(model, batches, contexts(ctx)[0])


def score_columns(model, ids: np.ndarray, columns: int, seq_len: int, ctx=None) -> np.ndarray:
    """Score a text in parallel columns, each with a zero initial state, as many papers do.

    Tokens left over after division into columns, and a shorter last segment, are dropped. Use this
    only to compare with such published results, and `score` otherwise.

    Parameters
    ----------
    ids
        `(tokens,)`.

    Returns
    -------
    numpy.ndarray
        `(T*N,)`, the loss of each target in nats, segment by segment.

    Raises
    ------
    InputError
        If there is no complete segment, or the model reads windows.
    """
    ids = as_sequence(ids)
    check_sizes(columns=columns, seq_len=seq_len)
    rows = len(ids) // columns
    kept = (rows - 1) // seq_len * seq_len + 1
    if model.window or kept < 2:
        raise InputError(
            f"`streams` {columns}: this model reads windows, not streams"
            if model.window
            else f"`streams` {columns}, `seq_len` {seq_len}: {len(ids)} tokens are too few"
        )
    scored = ids[: columns * rows].reshape(columns, rows)[:, :kept].ravel()
    batches = make_batches(None, scored, columns, seq_len)
    return np.concatenate(list(batch_losses(model, batches, contexts(ctx)[0])))


def perplexity(nats: float) -> float:
    """Return exp(nats), or infinity if that overflows a float."""
    return math.exp(nats) if nats < 709 else math.inf


@dataclass(frozen=True)
class Unit:
    """The unit in which losses are reported: bits per character, or perplexity for words.

    Parameters
    ----------
    level
        "char", "word" or "subword".
    characters
        Mean number of characters per token.
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

    def describe(self, nats: float) -> str:
        """Return a mean loss as text, in this unit."""
        if self.level == "word":
            return f"perplexity {perplexity(nats):.2f}"
        return f"{self.bits(nats):.3f} bits per character"

    def report(self, nats: float, tokens: int = 0, text: str = "") -> str:
        """Return a mean loss in every unit, this unit first, and the tokens of the text."""
        bits = f"{self.bits(nats):.4f} bits per character"
        figures = [bits, f"{nats:.4f} nats", f"perplexity {perplexity(nats):.2f}"]
        if self.level == "word":
            figures.reverse()
        if text:
            noun = "characters" if self.level == "char" else f"{self.level}s"
            figures.append(f"over {tokens:,} {noun} ({text})")
        return ", ".join(figures)
