"""Writing text with a model: priming, temperature, top-k, top-p, greedy, beam search."""

import math
from collections.abc import Iterator

import numpy as np

from ..system.errors import InputError
from ..system.numerics import log_softmax

COLDEST = 1e-10  # temperature: below it, differences of logits overflow
HARDEST = 1e6  # repetition penalty
WIDEST = 1 << 16  # beam: each text has a state and a row of logits


def probabilities(
    logits, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> np.ndarray:
    """Return the distribution to draw from, `(N, V)`, float64, each row adding up to 1.

    Of equally likely tokens the lower id stays.

    Parameters
    ----------
    logits
        `(N, V)`, divided by `temperature` first.
    top_k
        Keep only that many of the most likely tokens; 0 keeps all.
    top_p
        Then keep the fewest whose probabilities reach it (Holtzman et al. 2020).

    Raises
    ------
    InputError
        If a parameter is out of its range.
    """
    if not (COLDEST <= temperature < math.inf and 0 < top_p <= 1 and top_k >= 0):
        raise InputError(
            f"`temperature` {temperature}, `top_k` {top_k}, `top_p` {top_p}: temperature must be "
            f"at least {COLDEST:g} (greedy is its limit), top-k at least 0, "
            "top-p above 0 and at most 1"
        )
    scaled = np.asarray(logits, np.float64)  # (N, V)
    scaled = (scaled - scaled.max(axis=1, keepdims=True)) / temperature
    chances = np.exp(scaled)
    if 0 < top_k < chances.shape[1] or top_p < 1:
        order = np.argsort(-chances, axis=1, kind="stable")
        ranked = np.take_along_axis(chances, order, axis=1)
        if top_k:
            ranked[:, top_k:] = 0
        ranked /= ranked.sum(axis=1, keepdims=True)
        before = np.cumsum(ranked, axis=1) - ranked
        ranked[(before >= top_p) & (np.arange(ranked.shape[1]) > 0)] = 0
        np.put_along_axis(chances, order, ranked, axis=1)
    return chances / chances.sum(axis=1, keepdims=True)


def penalise(logits, written: np.ndarray, penalty: float) -> np.ndarray:
    """Return logits `(N, V)` in which what has been written is less likely.

    The log-probability of each token that stands in `written` is multiplied by `penalty`, and the
    rest share what that leaves (Keskar et al. 2019, on log-probabilities: raw logits may be shifted
    at will).

    Parameters
    ----------
    written
        Ids `(N, tokens)`.
    penalty
        From 1, which changes nothing.

    Raises
    ------
    InputError
        If the penalty is out of its range.
    """
    if not 1 <= penalty <= HARDEST:
        raise InputError(f"`repetition_penalty` {penalty}: must be from 1 to {HARDEST:g}")
    if penalty == 1 or not written.size:
        return logits
    logits = log_softmax(logits)
    rows = np.arange(len(logits))[:, None]
    logits[rows, written] = penalty * logits[rows, written]
    return logits


def forbid_repeats(logits, written: np.ndarray, size: int) -> np.ndarray:
    """Return logits `(N, V)` in which a token that would repeat an n-gram is impossible.

    Where that would leave none, all stay as they are.

    Parameters
    ----------
    written
        Ids `(N, tokens)`.
    size
        The n of the n-grams that may stand once only; 0 allows all.

    Raises
    ------
    InputError
        If the size is negative.
    """
    if size < 0:
        raise InputError(f"`no_repeat_ngram` {size}: must be at least 0")
    starts = written.shape[1] - size + 1  # of the n-grams so far
    if not size or starts < 1:
        return logits
    same = np.ones((len(written), starts), bool)
    for place in range(size - 1):  # of an n-gram, its last token left out
        last = written[:, starts + place, None]
        same &= written[:, place : place + starts] == last
    rows, places = np.nonzero(same)
    allowed = np.array(logits, np.float64)
    allowed[rows, written[rows, places + size - 1]] = -np.inf
    stuck = np.isinf(allowed).all(axis=1)
    allowed[stuck] = logits[stuck]
    return allowed


def prime(stepper, prompt, streams: int = 1) -> np.ndarray:
    """Read the prompt into every stream, each token once.

    Returns
    -------
    numpy.ndarray
        The logits of what follows, `(streams, V)`.

    Raises
    ------
    InputError
        If the prompt is empty, or holds what is not an id of the vocabulary.
    """
    if not len(prompt):
        raise InputError("the prompt is empty: give at least one token to begin with")
    if np.asarray(prompt).dtype.kind not in "iu":
        raise InputError(f"prompt ids must be whole numbers, not {np.asarray(prompt).dtype}")
    if not 0 <= min(prompt) <= max(prompt) < stepper.vocab_size:
        raise InputError(
            f"prompt ids {min(prompt)} to {max(prompt)}: "
            f"the vocabulary has 0 to {stepper.vocab_size - 1}"
        )
    for token in prompt:
        logits = stepper.step(np.full(streams, token, np.int32))
    return logits


def _whole_window(prompt, window):
    """Repeat a prompt backwards from its end until it fills a model's window."""
    short = 0 < len(prompt) < (window or 0)
    return np.resize(prompt[::-1], window)[::-1] if short else prompt


def sample(
    model,
    prompt,
    length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    greedy: bool = False,
    seed: int = 1,
    streams: int = 1,
    repetition_penalty: float = 1.0,
    no_repeat_ngram: int = 0,
) -> Iterator[np.ndarray]:
    """Continue a prompt, one token at a time.

    Parameters
    ----------
    prompt
        Ids `(tokens,)`, repeated if the model's window holds more.
    length
        How many tokens to write.
    temperature, top_k, top_p
        As for `probabilities`.
    greedy
        Always write the most likely token.
    seed
        Of the draws: the same seed writes the same text.
    streams
        How many texts to write side by side.
    repetition_penalty, no_repeat_ngram
        As for `penalise` and `forbid_repeats`, by what is written after the prompt.

    Yields
    ------
    numpy.ndarray
        Ids `(streams,)`, as they are drawn.

    Raises
    ------
    InputError
        If a parameter is out of its range.
    """
    random, stepper = np.random.default_rng(seed), model.stepper(streams)
    logits = prime(stepper, _whole_window(prompt, model.window), streams)  # (N, V)
    looks_back = repetition_penalty != 1 or no_repeat_ngram != 0
    written = np.empty((streams, length if looks_back else 0), np.int32)
    for place in range(length):
        logits = penalise(logits, written[:, :place], repetition_penalty)
        logits = forbid_repeats(logits, written[:, :place], no_repeat_ngram)
        if greedy:
            ids = logits.argmax(axis=1)  # (N,)
        else:
            ladder = np.cumsum(probabilities(logits, temperature, top_k, top_p), axis=1)  # (N, V)
            draws = random.random((streams, 1)) * ladder[:, -1:]
            ids = (ladder <= draws).sum(axis=1)
        yield ids
        written[:, place : place + 1] = ids[:, None]
        if place + 1 < length:
            logits = stepper.step(ids)


def beam_search(
    model, prompt, length: int, width: int, no_repeat_ngram: int = 0
) -> tuple[np.ndarray, float]:
    """Find a likely continuation of a prompt.

    Of all one-token extensions of the `width` best texts so far, the `width` best are kept.

    Parameters
    ----------
    no_repeat_ngram
        As for `forbid_repeats`.

    Returns
    -------
    ids
        `(length,)`.
    likelihood
        Its logarithm, in nats.

    Raises
    ------
    InputError
        If `width` is under 1 or above 65,536.
    """
    if not 1 <= width <= WIDEST:
        raise InputError(f"`width` {width}: must be from 1 to {WIDEST:,}")
    stepper = model.stepper()
    logits = prime(stepper, _whole_window(prompt, model.window))  # (1, V)
    texts, likelihood = np.empty((1, 0), np.int64), np.zeros((1, 1))
    for written in range(length):
        if written:
            logits = stepper.step(texts[:, -1])  # (width, V)
        total = likelihood + forbid_repeats(log_softmax(logits), texts, no_repeat_ngram)
        best = np.argsort(-total, axis=None, kind="stable")[:width]
        rows, ids = np.unravel_index(best, total.shape)
        stepper.select(rows)
        texts, likelihood = np.hstack([texts[rows], ids[:, None]]), total[rows, ids][:, None]
    return texts[0], float(likelihood[0, 0])
