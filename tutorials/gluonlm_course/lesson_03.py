"""Answers to the exercises of lesson 3."""

import numpy as np

from gluonlm_course.answers import Function, Number, Several

TITLE = "The unrolled network"


def _relu(x):
    return np.maximum(x, 0)


def _difference(a, b):
    return _relu(a) + _relu(b) - _relu(a + b)


def _pairs():
    random = np.random.default_rng(3)
    return [
        (np.array([1.0, -1.0, 2.0, -3.0]), np.array([2.0, -2.0, -1.0, 1.0])),
        tuple(random.normal(size=(2, 50))),
        (np.array([1.0, 0.0, -2.0]), np.array([-1.0, 5.0, 0.0])),
    ]


EXERCISES = {
    1: Several(
        {
            "windows with step 3": Number(
                200_300,
                hint="the last window needs a character after it",
                wrong={200_299: "the first window counts as well"},
            ),
            "windows with step 1": Number(
                600_898, hint="every character except the first three is a target"
            ),
            "characters that are never a target": Number(
                400_601, hint="each window has one target, and no two have the same"
            ),
        },
        why="with step 3 two of three characters are read but never predicted.",
    ),
    2: Number(
        low=0.7,
        high=2.6,
        why="the same weights read all places, but each place passes W_h a different number of "
        "times.",
        hint="subtract the loss in the right order from the loss after the exchange, in bits per "
        "character; exchange the columns, not the windows",
    ),
    3: Number(
        low=1e-6,
        high=0.08,
        why="after so few steps a longer window gains almost nothing.",
        hint="train all three with the same settings, for 800 steps each, and compare losses in "
        "bits per character",
    ),
    4: Function(
        _difference,
        trials=_pairs,
        why="the smaller absolute value is lost where the signs differ.",
        hint="where are both sides equal? Try a = 2 and b = -1",
        wrong={
            lambda a, b: np.minimum(abs(a), abs(b)): "it is zero where the signs are equal",
            lambda a, b: -_difference(a, b): "the sign is wrong: the sum outside is larger",
        },
    ),
}
