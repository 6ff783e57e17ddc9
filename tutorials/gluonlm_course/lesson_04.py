"""Answers to the exercises of lesson 4."""

import numpy as np

from gluonlm_course.answers import Array, Choice, Function, Number, Several

TITLE = "Batches through time"


def _segments(tokens, batch_size, seq_len):
    """Return the results of `get_batch` for each segment of the columns of `tokens`."""
    rows = len(tokens) // batch_size
    columns = np.asarray(tokens[: rows * batch_size]).reshape(batch_size, rows).T
    starts = range(0, rows - 1, seq_len)
    ends = [min(start + seq_len, rows - 1) for start in starts]
    return [
        (columns[start:end], columns[start + 1 : end + 1].reshape(-1))
        for start, end in zip(starts, ends)
    ]


def _trials():
    return [
        (_segments(np.arange(26), 4, 4),),
        (_segments(100 + np.arange(31), 3, 2),),
        (_segments(np.arange(7)[::-1], 1, 3),),
    ]


def _reassemble(segments):
    inputs, targets = segments[-1]
    rows = [*(inputs for inputs, _ in segments), targets[-inputs.shape[1] :][None]]
    return np.concatenate(rows).T.reshape(-1)


EXERCISES = {
    1: Several(
        {
            "sizes": Array([1, 2, 13, 26]),
            "most": Number(
                14,
                hint="how many letters are left over when 26 is divided by each size?",
                wrong={12: "this is the number of cut letters; give the batch size"},
            ),
        },
        why="the number of cut letters is the remainder of 26 divided by N.",
    ),
    2: Function(
        _reassemble,
        trials=_trials,
        why="the inputs are all rows except the last, which only the last targets contain.",
        hint="join the rows of all inputs, add the last row, and read column after column",
        wrong={
            lambda segments: np.concatenate([inputs for inputs, _ in segments]).T.reshape(-1): (
                "the last row is missing: it is only a target"
            ),
            lambda segments: _reassemble(segments).reshape(segments[0][0].shape[1], -1).T.ravel(): (
                "read the columns one after the other, not the rows"
            ),
        },
    ),
    3: Choice(
        "the first",
        options=("the first", "the last", "all alike"),
        why="they depend most on the carried state, which comes from another place.",
        hint="plot the largest difference of a logit for each row of the segments",
    ),
    4: Several(
        {
            "saved with 4": Number(
                low=0.25,
                high=0.9,
                hint="subtract the loss carried from the loss not carried, in bits per character",
            ),
            "saved with 64": Number(
                low=-0.08,
                high=0.2,
                hint="subtract the loss carried from the loss not carried, in bits per character",
            ),
        },
        why="with short segments every character is close to a cut.",
    ),
}
