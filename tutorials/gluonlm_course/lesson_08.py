"""Answers to the exercises of lesson 8."""

import numpy as np

from gluonlm_course.answers import Function, Number

TITLE = "Validation and checkpoints"


def _perplexity(means, sizes):
    return float(np.exp(np.average(means, weights=sizes)))


EXERCISES = {
    1: Number(
        low=0.02,
        high=0.6,
        hint="a rise is the last validation loss minus the lowest one; divide the rise with "
        "dropout by the rise without",
        why="dropout does not prevent over-fitting, but makes it far less harmful.",
    ),
    2: Number(
        1,
        hint="list the absolute differences of the losses, and find the position of the largest",
        wrong={0: "count the steps after the interruption from 1"},
        why="only the first segment lacks its past; later the states agree, the weights almost.",
    ),
    3: Function(
        _perplexity,
        trials=[([1.0, 3.0], [300, 100]), ([2.0, 2.2, 4.0], [1000, 1000, 10]), ([0.5], [7])],
        wrong={
            lambda means, sizes: float(np.exp(np.mean(means))): "a long batch counts more than a "
            "short one",
            lambda means, sizes: float(np.average(np.exp(means), weights=sizes)): "average the "
            "losses first, and take the exponential last",
            lambda means, sizes: float(np.mean(np.exp(means))): "average the losses, weighted by "
            "the sizes, and take the exponential last",
            lambda means, sizes: float(
                np.average(means, weights=sizes)
            ): "this is the loss in nats",
            lambda means, sizes: float(2 ** np.average(means, weights=sizes)): "the losses are in "
            "nats, not in bits",
        },
        hint="Weight each mean by its size, then take the exponential.",
        why="each character has the same weight, so the last, short batch changes little.",
    ),
}
