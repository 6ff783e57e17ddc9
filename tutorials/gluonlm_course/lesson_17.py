"""Answers to the exercises of lesson 17."""

import numpy as np

from gluonlm_course.answers import Array, Function, Number, Shape

TITLE = "Tags and series"


def _pass(x, w):
    states, state = [], 0.0
    for value in x:
        state = w * state + value
        states.append(state)
    return states


def _both(x, w):
    """Return both recurrences (T, 2)."""
    return np.array([_pass(x, w), _pass(x[::-1], w)[::-1]]).T


def _not_reversed_back(x, w):
    return np.array([_pass(x, w), _pass(x[::-1], w)]).T


def _rows(x, w):
    return _both(x, w).T


EXERCISES = {
    1: Shape(
        (144, 96),
        why="three matrices of 48 rows, and 96 columns: the states of both directions.",
        hint="a GRU has three matrices for its input; which input does the second layer read?",
        wrong={
            (144, 48): "the second layer does not read one direction only.",
            (144, 32): "this is the first layer; the second one reads states.",
            (48, 96): "a GRU has more than one matrix for its input.",
            (96, 144): "Gluon stores a row for each output.",
        },
    ),
    2: Function(
        _both,
        trials=[
            (np.array([1.0, 0.0, 0.0]), 0.5),
            (np.array([0.0, 2.0, -1.0, 3.0]), 0.9),
            (np.array([1.0, 1.0, 1.0, 1.0, 1.0]), 1.0),
        ],
        why="the second recurrence reads the reversed input, and its states are reversed again.",
        hint="reverse the input for the second recurrence, and reverse its states afterwards",
        wrong={
            _not_reversed_back: "the states of the second recurrence are in reading order.",
            _rows: "the shape is (2, T); transpose it.",
        },
    ),
    3: Number(
        low=2.0,
        why="unscaled inputs saturate the gates, and the outputs cannot grow so far in 300 steps.",
        hint="scale neither inputs nor targets; divide the new RMSE by 1,000, then by the old one",
    ),
    4: Array(
        [2 * np.cos(2 * np.pi / 24), -1.0],
        within=1e-3,
        why="a sine obeys a linear recurrence of two steps, so a linear model needs no more.",
        hint="the columns are the values one and two steps back, in this order",
    ),
}
