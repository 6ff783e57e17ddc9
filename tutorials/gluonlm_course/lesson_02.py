"""Answers of lesson 2."""

import numpy as np

from gluonlm_course.answers import Choice, Function, Number


def _draw(p, u):
    return min(int(np.searchsorted(np.cumsum(p), u, side="right")), len(p) - 1)


def _most_probable(p, u):
    return int(np.argmax(p))


def _one_late(p, u):
    return _draw(p, u) + 1


def _nats(logits, targets):
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(targets)), targets].sum()


def _total_bits(logits, targets):
    return _nats(logits, targets) / np.log(2)


def _mean_bits(logits, targets):
    return _total_bits(logits, targets) / len(targets)


_P, _RANDOM = np.array([0.1, 0.0, 0.6, 0.3]), np.random.default_rng(2)

TITLE = "From text to numbers"
EXERCISES = {
    1: Number(
        0.5310,
        within=0.002,
        why="a wrong belief always costs more than the entropy, here 0.531 bits per throw.",
        hint="Subtract the entropy of the coin from the mean surprise of the predictor.",
        wrong={
            0.469: "That is the entropy; how far is the predictor above it?",
            1.0: "That is the predictor's mean surprise; subtract the entropy.",
            0.368: "That is in nats; use logarithms to base 2.",
            0.737: "Average the predictor's surprise over the coin's throws, 9 heads in 10.",
        },
    ),
    2: Choice(
        "trigram",
        options=("bigram", "trigram"),
        why="its rows have fewer counts, so it depends more on the simpler predictor.",
        hint="Compare the loss at k = 0.1 with the best loss of the same predictor.",
    ),
    3: Function(
        _draw,
        trials=[(_P, u) for u in (0.05, 0.2, 0.65, 0.75, 0.99)] + [(np.array([1.0]), 0.5)],
        why="each id is selected as often as its probability is large.",
        hint="Add up the probabilities, and return the first id whose sum is above u.",
        wrong={
            _most_probable: "That is the most probable id; u has to select it.",
            _one_late: "The first id is 0.",
        },
    ),
    4: Function(
        _total_bits,
        trials=[
            (np.zeros((3, 4)), np.array([0, 1, 3])),
            (_RANDOM.normal(size=(5, 6)), np.array([0, 5, 2, 2, 1])),
            (np.array([[1000.0, 999.0], [-1000.0, 0.0]]), np.array([1, 1])),
        ],
        why="equal logits of four characters give 2 bits each.",
        hint="Take the logarithm of the softmax at the targets, to base 2, and sum with a minus.",
        wrong={
            _nats: "That is in nats; divide by ln 2.",
            _mean_bits: "That is the mean; the total is the sum over all targets.",
        },
    ),
}
