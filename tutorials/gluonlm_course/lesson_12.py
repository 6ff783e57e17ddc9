"""Answers to the exercises of lesson 12."""

import numpy as np

from gluonlm_course.answers import Function, Number

TITLE = "Recurrence without waiting"


def compose_many(a, b):
    """Return the pair of all steps together."""
    factor, term = 1.0, 0.0
    for a_t, b_t in zip(a, b):
        factor, term = a_t * factor, a_t * term + b_t
    return factor, term


def _reversed(a, b):
    return compose_many(a[::-1], b[::-1])


def _sum_of_terms(a, b):
    return np.prod(a), np.sum(b)


EXERCISES = {
    1: Function(
        compose_many,
        trials=[
            (np.array([0.5]), np.array([3.0])),
            (np.array([0.5, 0.9, 0.2]), np.array([1.0, -2.0, 4.0])),
            (np.linspace(0.3, 0.9, 7), np.linspace(-1, 2, 7)),
        ],
        hint="start from the pair (1, 0), which changes nothing, and combine it with each step",
        wrong={
            _reversed: "the first step must be applied first",
            _sum_of_terms: "a later step also multiplies the terms of the earlier ones",
        },
        why="any number of affine steps is one affine step.",
    ),
    2: Number(
        9217 / 1023,
        within=0.006,
        hint="in the round with distance d, the first d places have no partner; add up T - d",
        wrong={
            10: "in each round, the first places have no partner",
            10240 / 1023: "in each round, the first places have no partner",
            9217: "divide by the number of the loop",
        },
        why="doubling does nine times the work in 10 rounds instead of 1,023 steps.",
    ),
    3: Number(
        75,
        hint="use np.cumprod with dtype float32 and find the first 0; steps are counted from 1",
        wrong={
            74: "the first step has number 1, not 0",
            150: "that is the answer for gates of one half",
            63: "numbers below the smallest normal one, 2 to the power of -126, are not yet 0",
            64: "numbers below the smallest normal one, 2 to the power of -126, are not yet 0",
            538: "that is for float64",
        },
        why="the smallest positive float32 is 2 to the power of -149, and 75 gates give -150.",
    ),
    4: Number(
        low=0.9,
        high=1.0,
        hint="a factor near -1 flips the state: check that a is 1 - 2 z, and that b is z n without "
        "g, then train for 300 updates",
        wrong={
            0.5: "that is guessing: are the factors still positive?",
            100: "give a fraction from 0 to 1",
        },
        why="a factor of -1 for each one flips the sign of the state, at any length.",
    ),
}
