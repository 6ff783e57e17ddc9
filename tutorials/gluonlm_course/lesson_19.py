"""Answers to the exercises of lesson 19."""

from collections import Counter

import numpy as np

from gluonlm_course.answers import Function, Number, Several

TITLE = "Sequence to sequence"


def _softmax(scores):
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    return weights / weights.sum(axis=2, keepdims=True)


def _real(scores, lengths):
    return np.arange(scores.shape[2]) < np.asarray(lengths)[:, None, None]


def _attend(scores, lengths):
    return _softmax(np.where(_real(scores, lengths), scores, -1e9))


def _grams(words, n):
    return Counter(tuple(words[k : k + n]) for k in range(len(words) - n + 1))


def _precision(candidate, reference, n):
    made = _grams(candidate, n)
    return (made & _grams(reference, n)).total() / made.total() if made else 0.0


def _unclipped(candidate, reference, n):
    made, known = _grams(candidate, n), _grams(reference, n)
    return sum(made[each] for each in made if each in known) / made.total() if made else 0.0


def _scores():
    random = np.random.default_rng(19)
    return [
        (np.zeros((2, 1, 4)), np.array([4, 2])),
        (random.normal(size=(3, 2, 5)), np.array([5, 1, 3])),
        (1000 + random.normal(size=(1, 2, 3)), np.array([2])),
        (random.normal(size=(2, 2, 3)) - 1000, np.array([1, 3])),
    ]


_MAT = ["the", "cat", "is", "on", "the", "mat"]

EXERCISES = {
    1: Function(
        _attend,
        trials=_scores,
        wrong={
            lambda scores, lengths: _softmax(scores): "the padding must get no weight",
            lambda scores, lengths: (
                _softmax(scores) * _real(scores, lengths)
            ): "these weights no longer sum to one: mask the scores before the softmax",
        },
        hint="Set the scores of the padding to a very negative number; subtract the largest "
        "remaining score before `exp`.",
        why="padding has no weight, and each row still sums to one.",
    ),
    2: Function(
        _precision,
        trials=[
            (["the", "the", "the", "cat"], _MAT, 1),
            (["on", "the", "mat", "the", "cat"], _MAT, 2),
            (["the", "cat", "the", "cat"], _MAT, 2),
            (_MAT, _MAT, 4),
            (["dogs", "bark"], _MAT, 1),
            (["cat"], _MAT, 2),
        ],
        wrong={_unclipped: "an n-gram may count at most as often as it occurs in the reference"},
        hint="Count the n-grams of both, and take the smaller count of each.",
        why="clipping prevents a candidate from gaining by repetition.",
    ),
    3: Several(
        {
            "unsorted": Number(
                0.432,
                within=0.01,
                hint="each batch is as wide as its longest source; divide the padding by all "
                "positions of the 100 batches",
                wrong={
                    43.2: "use fractions from 0 to 1",
                    0.568: "this is the fraction of real characters",
                    0.761: "divide by all positions, not by the real characters",
                },
            ),
            "by length": Number(
                0.007,
                within=0.004,
                hint="sort all 3,200 pairs by len(source), then cut them into batches",
                wrong={0.7: "use fractions from 0 to 1"},
            ),
        },
        why="batches of similar lengths need hardly any padding.",
    ),
    4: Number(
        low=0,
        high=0.2,
        hint="the scores of all real characters must be equal when decoding, for instance "
        "multiplied by 0; the mask remains",
        why="the decoder needs the right characters at the right time, not their mean.",
    ),
}
