"""Answers to the exercises of lesson 24."""

import numpy as np

from gluonlm_course.answers import Choice, Function, Number, Several

TITLE = "Exporting the model"


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _cell(gates, c, order=(0, 1, 2, 3), squash=np.tanh):
    i, f, new, o = (np.split(gates, 4)[place] for place in order)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(new)
    return _sigmoid(o) * squash(c), c


_random = np.random.default_rng(1)

EXERCISES = {
    1: Function(
        _cell,
        trials=[(_random.normal(size=4 * n), _random.normal(size=n)) for n in (1, 3)],
        wrong={
            lambda gates, c: _cell(gates, c, (0, 1, 3, 2)): "the output gate is not third",
            lambda gates, c: _cell(gates, c, (1, 0, 2, 3)): "the forget gate is not first",
            lambda gates, c: _cell(gates, c, squash=lambda c: c): "the output gate multiplies a "
            "function of the new c",
            lambda gates, c: _cell(gates, c)[::-1]: "return h first, then c",
        },
        hint="Split the sums into four blocks of C, and check which function belongs to each.",
        why="the state is two arrays; a program that does not carry c is wrong without an error.",
    ),
    2: Number(
        low=3,
        high=5,
        hint="score the same 2,000 characters with both kinds of scales for 10, 8, 6, 5, 4 and 3 "
        "bits, and compare the two figures of each number of bits",
        why="one large number makes the steps coarse for the entire matrix.",
    ),
    3: Several(
        {
            "exit code": Number(
                2,
                hint="print the return code of the command",
                wrong={
                    0: "was the changed copy evaluated, and is the changed file the one it loads?"
                },
            ),
            "file": Choice(
                "manifest.json",
                options=("manifest.json", "config.json", "metrics.jsonl"),
                hint="which file of the checkpoint contains hashes?",
            ),
        },
        why="the SHA-256 of every file is checked before any number is used.",
    ),
}
