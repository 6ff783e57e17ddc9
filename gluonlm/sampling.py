"""Writing text with a model: priming, temperature, top-k, top-p, greedy, beam search."""

import math

import numpy as np

from .errors import InputError


def probabilities(logits, temperature=1.0, top_k=0, top_p=1.0):
    """Turn logits `(N, V)` into the distribution to draw from, `(N, V)`, float64, each row adding up to 1.

    The logits are divided by `temperature`; then only the `top_k` most likely tokens are kept (0: all), then the fewest
    whose probabilities reach `top_p` (Holtzman et al. 2020). Of equally likely tokens the lower id stays.
    Raises: InputError if a parameter is out of its range.
    """
    if not (0 < temperature < math.inf and 0 < top_p <= 1 and top_k >= 0):
        raise InputError(
            f"temperature {temperature}, top-k {top_k}, top-p {top_p}: temperature must be above 0 (greedy is its "
            "limit), top-k at least 0, top-p above 0 and at most 1"
        )
    scaled = np.asarray(logits, np.float64)
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


def prime(stepper, prompt, streams=1):
    """Let every stream read the prompt, each token once, and give the logits of what follows, `(streams, V)`.

    Raises: InputError if the prompt is empty, or holds an id outside the vocabulary.
    """
    if not len(prompt):
        raise InputError("the prompt is empty: give at least one token to begin with")
    if not 0 <= min(prompt) <= max(prompt) < stepper.vocab_size:
        raise InputError(
            f"prompt ids {min(prompt)} to {max(prompt)}: the vocabulary has 0 to {stepper.vocab_size - 1}"
        )
    for token in prompt:
        logits = stepper.step(np.full(streams, token, np.int32))
    return logits


def _whole_window(prompt, context):
    """Repeat a prompt backwards from its end until a model that reads `context` tokens has a window of it."""
    return np.resize(prompt[::-1], context)[::-1] if 0 < len(prompt) < (context or 0) else prompt


def sample(
    model, prompt, length, temperature=1.0, top_k=0, top_p=1.0, greedy=False, seed=1, streams=1
):
    """Write on from a prompt, one token at a time.

    Parameters: `prompt`, ids `(tokens,)`, repeated if the model's window holds more; `length`, how many tokens to write;
    `greedy`, always the most likely one; `seed`, of the draws: the same seed writes the same text; `streams`, how many
    texts to write side by side.
    Yields: ids `(streams,)`, as they are drawn.
    Raises: InputError if a parameter is out of its range.
    """
    random, stepper = np.random.default_rng(seed), model.stepper(streams)
    logits = prime(stepper, _whole_window(prompt, model.context), streams)
    for left in reversed(range(length)):
        if greedy:
            ids = logits.argmax(axis=1)
        else:
            ladder = np.cumsum(probabilities(logits, temperature, top_k, top_p), axis=1)
            draws = random.random((streams, 1)) * ladder[:, -1:]
            ids = (ladder <= draws).sum(axis=1)
        yield ids
        if left:
            logits = stepper.step(ids)


def beam_search(model, prompt, length, width):
    """Find a likely continuation: of all one-token extensions of the `width` best texts so far, keep the `width` best.

    Returns: ids `(length,)` and their log likelihood in nats. Raises: InputError if `width` is under 1.
    """
    if width < 1:
        raise InputError(f"--beam {width}: must be at least 1")
    stepper = model.stepper()
    logits = prime(stepper, _whole_window(prompt, model.context))
    texts, likelihood = np.empty((1, 0), np.int64), np.zeros((1, 1))
    for written in range(length):
        if written:
            logits = stepper.step(texts[:, -1])
        shifted = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
        total = likelihood + shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        best = np.argsort(-total, axis=None, kind="stable")[:width]
        rows, ids = np.unravel_index(best, total.shape)
        stepper.select(rows)
        texts, likelihood = np.hstack([texts[rows], ids[:, None]]), total[rows, ids][:, None]
    return texts[0], float(likelihood[0, 0])
