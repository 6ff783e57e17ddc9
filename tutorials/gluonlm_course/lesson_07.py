"""Answers to the exercises of lesson 7."""

from gluonlm_course.answers import Function, Number, Several

TITLE = "Training"


def _plateau(losses, rate, decay, decay_patience, *, reset=True, to_best=True):
    """Return the rate after each validation; the keywords are typical mistakes."""
    compared, stale, rates = float("inf"), 0, []
    for loss in losses:
        improved = loss < compared
        stale = 0 if improved else stale + 1
        if improved or not to_best:
            compared = loss
        if stale == decay_patience or (not reset and stale > decay_patience):
            rate *= decay
            stale = 0 if reset else stale
        rates.append(rate)
    return rates


EXERCISES = {
    1: Several(
        {
            "together": Number(
                1,
                within=0.001,
                hint="multiply the entire gradient by one factor and measure the cosine again",
            ),
            "separately": Number(
                low=0.05,
                high=0.95,
                hint="clip each number to ±0.001; a mean loss needs the division by its targets",
            ),
        },
        why="one common factor keeps the direction, and clipping each number turns the gradient.",
    ),
    2: Function(
        _plateau,
        trials=[
            ([3.0, 2.0, 1.0], 0.1, 0.5, 2),
            ([3.0, 2.0, 2.5, 2.4, 1.9, 2.0, 1.9, 2.2, 2.1, 2.3], 0.1, 0.5, 2),
            ([3.0, 4.0, 3.5, 3.2, 3.1, 3.3, 3.4], 0.2, 0.1, 3),
        ],
        wrong={
            lambda *a: _plateau(*a, reset=False): "restart the count after each drop of the rate",
            lambda *a: _plateau(*a, to_best=False): "compare with the lowest loss so far",
        },
        hint="Count the validations in a row that are not below the lowest loss so far.",
        why="early stopping counts in the same way, but ends the training instead.",
    ),
    3: Number(
        low=0.05,
        high=5,
        hint="clip as in the lesson; divide the rate of the lowest mean of five losses by ten",
        why="gradient descent needs far higher rates than Adam, which rescales gradients.",
    ),
}
