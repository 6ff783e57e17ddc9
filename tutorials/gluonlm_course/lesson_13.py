"""Answers to the exercises of lesson 13."""

import numpy as np

from gluonlm_course.answers import Function, Number

TITLE = "Generating"


def _min_p(chances):
    return np.flatnonzero(chances >= chances.max() / 10)


def _allowed(text, order):
    seen = {tuple(text[i : i + 8]) for i in range(len(text) - 7)}
    return next(token for token in order if (*text[-7:], token) not in seen)


EXERCISES = {
    1: Number(
        low=0.75,
        high=1.1,
        hint="let the model score its own samples, prompt first, and find where their mean "
        "surprise crosses the validation loss; both in the same unit",
        why="a perfect model would be as surprised at 1, the temperature of its training.",
    ),
    2: Function(
        _min_p,
        trials=[
            (np.array([0.03, 0.5, 0.2, 0.06, 0.15, 0.06]),),
            (np.array([0.96, 0.02, 0.02]),),
            (np.array([0.02, 0.05, 0.08] + [0.085] * 10),),
        ],
        wrong={
            lambda chances: np.flatnonzero(chances >= 0.1): "a tenth of the largest probability, "
            "not a probability of a tenth",
            lambda chances: chances >= chances.max() / 10: "return the ids rather than a mask",
            lambda chances: np.argsort(-chances)[: (chances >= chances.max() / 10).sum()]: "return "
            "the ids in ascending order",
        },
        hint="Compare each probability with a tenth of the largest one, and return the ids.",
        why="it tests each character separately, so it needs no sorting.",
    ),
    3: Function(
        _allowed,
        trials=[
            ([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7], [8, 5, 0]),
            ([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7], [9, 8, 3]),
            ([1] * 8, [1, 2]),
            ([1] * 7, [1, 2]),
            ([1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6, 7, 9, 1, 2, 3, 4, 5, 6, 7], [9, 8, 0]),
        ],
        wrong={
            lambda text, order: order[0]: "the likeliest id may complete a sequence that is "
            "already in the text",
            lambda text, order: next(t for t in order if t not in text): "an id may occur again, "
            "only its sequence of eight may not",
        },
        hint="The last seven ids and a candidate form the sequence of eight to look for.",
        why="seven characters have fewer successors so far than there are ids, so one is left.",
    ),
}
