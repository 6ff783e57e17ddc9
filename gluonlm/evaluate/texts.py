"""Score many texts, each on its own, in batches of similar lengths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from ..system.arguments import as_sequence, check_ids, check_sizes
from ..system.device import contexts, to_device
from ..system.errors import InputError
from ..vocab import Vocab
from .scoring import Unit, perplexity

POOLED = 1 << 19  # tokens read ahead, to be sorted by length
OVERHEAD = 32  # tokens that take as much memory as an array of them
STREAMS = 32  # texts per batch, or more if they are short


class TextScore(NamedTuple):
    """The score of one text.

    Attributes
    ----------
    tokens
        Number of predicted tokens; if it is 0, the two means are NaN.
    bits
        Total loss in bits.
    bits_per_character
        As `Unit.bits`, of the predicted tokens.
    perplexity
        Per predicted token.
    """

    tokens: int
    bits: float
    bits_per_character: float
    perplexity: float

    @classmethod
    def of(cls, vocab: Vocab, ids: np.ndarray, losses: np.ndarray) -> TextScore:
        """Return the score of a text `(tokens,)`, given the losses of its last tokens in nats."""
        if not losses.size:
            return cls(0, 0.0, math.nan, math.nan)
        total = float(losses.sum())
        nats, unit = total / losses.size, Unit.of(vocab, ids[-losses.size :])
        return cls(losses.size, total / math.log(2), unit.bits(nats), perplexity(nats))


def score_texts(
    model, vocab: Vocab, texts: Iterable[str], ctx=None, unknown: str = "error"
) -> Iterator[TextScore]:
    """Score texts in order, each as `score` does: from a zero state, after its first token.

    Batches contain texts of similar lengths. Texts are read ahead, up to half a million tokens, so
    memory does not grow with their number.

    Parameters
    ----------
    texts
        Any iterable of strings, which are encoded unchanged. A line break is scored only if the
        text contains it.
    ctx
        Context, or its name (default: the CPU).
    unknown
        As for `Vocab.encode`.

    Yields
    ------
    TextScore
        One for each text. A text without a token to predict has 0 tokens.

    Raises
    ------
    InputError
        If the texts are a single string, or as for `Vocab.encode`, with the number of the text.
    """
    if isinstance(texts, (str, bytes)):
        raise InputError("`texts`: must be a list of texts, not a single one: use [text]")
    return score_sequences(model, vocab, encoded(vocab.encode, texts, "text", unknown), ctx)


def encoded(
    encode: Callable, texts: Iterable[str], name: str, unknown: str
) -> Iterator[np.ndarray]:
    """Yield the ids of each text.

    Parameters
    ----------
    encode
        `Vocab.encode` or `Checkpoint.encode`.
    name
        A text's name in messages, to which its number is added, from 1.

    Raises
    ------
    InputError
        As for `encode`.
    """
    for number, text in enumerate(texts, 1):
        try:
            yield encode(text, unknown)
        except InputError as error:
            raise InputError(f"{name} {number}: {error}") from None


def score_sequences(model, vocab: Vocab, sequences: Iterable, ctx=None, **how) -> Iterator:
    """Yield the `TextScore` of each sequence of ids; arguments as for `score_each`."""
    sequences, again = itertools.tee(sequences)
    for ids, losses in zip(again, score_each(model, sequences, ctx, **how)):
        yield TextScore.of(vocab, ids, losses)


def score_each(
    model, sequences: Iterable, ctx=None, batch_tokens: int = 1000
) -> Iterator[np.ndarray]:
    """Score sequences of ids in order, each as `score` does, in batches of similar lengths.

    Parameters
    ----------
    sequences
        Any iterable of ids `(tokens,)`.
    ctx
        Context, or its name (default: the CPU).
    batch_tokens
        Predictions computed at once; affects only memory and speed.

    Yields
    ------
    numpy.ndarray
        `(tokens - skipped,)`, the losses in nats, as `score` returns them; empty for a sequence
        without a token to predict.

    Raises
    ------
    InputError
        If an argument is invalid.
    """
    check_sizes(batch_tokens=batch_tokens)
    pool: list[np.ndarray] = []
    size = 0
    for ids in sequences:
        pool.append(check_ids(as_sequence(ids), model.vocab_size))
        size += OVERHEAD + len(pool[-1])
        if size >= POOLED:
            yield from _score_pool(model, pool, contexts(ctx)[0], batch_tokens)
            pool, size = [], 0
    yield from _score_pool(model, pool, contexts(ctx)[0], batch_tokens)


def score_windows(
    model, ids: np.ndarray, length: int, ctx=None, batch_tokens: int = 1000
) -> np.ndarray:
    """Score a text in adjacent windows, each with a zero initial state, as nanoGPT and others do.

    A window predicts `length` tokens, each from the tokens of the window before it and from the
    token before the window. The last window may be shorter.

    Parameters
    ----------
    ids
        `(tokens,)`.
    batch_tokens
        As for `score_each`.

    Returns
    -------
    numpy.ndarray
        `(tokens - 1,)`, the loss of each token but the first in nats.

    Raises
    ------
    InputError
        If the text has no token to predict, an argument is invalid, or the model reads windows.
    """
    ids = as_sequence(ids)
    check_sizes(windows=length)
    if model.window:
        raise InputError(
            f"`windows` {length}: this model already reads a window of {model.window} tokens for "
            "each prediction; leave out `windows`"
        )
    if len(ids) < 2:
        raise InputError(f"cannot score {len(ids)} tokens in windows: at least 2 are needed")
    windows = (ids[first : first + length + 1] for first in range(0, len(ids) - 1, length))
    return np.concatenate(list(score_each(model, windows, ctx, batch_tokens)))


def _score_pool(model, pool, ctx, batch_tokens):
    """Return the losses of each sequence."""
    if not pool:
        return []
    skipped = model.window or 1
    ids = np.concatenate(pool).astype(np.int32)  # (tokens,)
    ends = np.cumsum([len(each) for each in pool])
    begins = np.array([0, *ends[:-1]])
    losses = np.zeros(len(ids))
    scored = np.flatnonzero(ends - begins > skipped)
    score_batches = _score_windows if model.window else _score_streams
    if len(scored):
        score_batches(model, ids, begins[scored], ends[scored], ctx, batch_tokens, losses)
    return [losses[begin + skipped : end] for begin, end in zip(begins, ends)]


def _score_windows(model, ids, begins, ends, ctx, batch_tokens, losses):
    """Score every window of the sequences; store the loss of each token at its place."""
    streams = max(1, 4 * batch_tokens // model.window)
    lengths = ends - begins - model.window  # (S,), predictions
    windows = np.repeat(begins - np.cumsum(lengths) + lengths, lengths)
    windows += np.arange(len(windows))  # place of the first token of each window
    for first in range(0, len(windows), streams):
        places = windows[first : first + streams]  # (N,)
        batch = ids[places + np.arange(model.window)[:, None]], ids[places + model.window]
        read, expected = (to_device(array, model.vocab_size, ctx) for array in batch)
        losses[places + model.window], _ = model.losses(read, expected, [])


def _score_streams(model, ids, begins, ends, ctx, batch_tokens, losses):
    """Score the sequences side by side; store the loss of each token at its place."""
    for group in _groups(ends - begins - 1, batch_tokens):
        first, last = begins[group], ends[group] - 2  # (N,), places of inputs
        state = model.begin_state(len(group), ctx=ctx)
        rows, longest = max(1, batch_tokens // len(group)), int((last - first).max()) + 1
        for row in range(0, longest, rows):
            places = first + np.arange(row, min(row + rows, longest))[:, None]  # (T, N)
            inside = places <= last
            # padding repeats the last input, which seldom begins a document
            places = np.minimum(places, last)
            batch = ids[places], ids[places + 1].ravel()
            read, expected = (to_device(array, model.vocab_size, ctx) for array in batch)
            found, state = model.losses(read, expected, state)
            losses[places[inside] + 1] = found.reshape(places.shape)[inside]


def _groups(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Yield the indices of each batch: sequences of similar lengths, longest first.

    A sequence is at least half as long as the longest of its batch, so that less than half of a
    batch is padding.
    """
    order = np.argsort(lengths, kind="stable")
    ascending, end = lengths[order], len(order)
    while end:
        longest = int(ascending[end - 1])
        half = int(np.searchsorted(ascending, (longest + 1) // 2))
        streams = max(min(STREAMS, batch_tokens), batch_tokens // longest)
        begin = max(half, end - streams)
        yield order[begin:end]
        end = begin
