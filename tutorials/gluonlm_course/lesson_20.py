"""Answers of lesson 20."""

from gluonlm_course.answers import Function, Number

TITLE = "A small GPT and a GRU"


def _weights(V, T, C, blocks):
    block = 12 * C * C + 10 * C
    return V * C + T * C + blocks * block + 2 * C + C * V + V


def _block_without_biases(V, T, C, blocks):
    return V * C + T * C + blocks * (12 * C * C + 4 * C) + 2 * C + C * V + V


def _without_last_norm(V, T, C, blocks):
    return _weights(V, T, C, blocks) - 2 * C


def _tied(V, T, C, blocks):
    return _weights(V, T, C, blocks) - C * V


EXERCISES = {
    1: Number(
        37.75,
        within=0.06,
        why="a key and a value of 768 numbers in each of 12 blocks, 2 bytes each.",
        hint="Count one key and one value per block and token, all heads together.",
        wrong={
            18.87: "Keys only? Values are kept too.",
            75.5: "How many bytes does a 16-bit number have?",
            453.0: "The heads share the 768 units: do not count each head with all of them.",
            36.0: "Use a megabyte of 10^6 bytes.",
            3.15: "Each of the 12 blocks has a cache.",
            0.0369: "That is the size for one token.",
        },
    ),
    2: Function(
        _weights,
        trials=[(103, 32, 44, 1), (103, 32, 32, 2), (50257, 1024, 768, 12), (10, 4, 8, 0)],
        why="twelve C x C matrices in each block hold most of the weights.",
        hint="Compare your parts with those that the lesson prints for V = 103, T = 32, C = 44.",
        wrong={
            _block_without_biases: "The biases of the block are missing.",
            _without_last_norm: "The normalisation before the output is missing.",
            _tied: "Here the output layer has a matrix of its own.",
        },
    ),
    3: Number(
        0,
        within=0.1,
        why="all its scores are equally negative, so its weights are uniform over all places.",
        hint="Look for the row of weights in which every place is masked.",
        wrong={4: "The last output may change. Which earlier one does?"},
    ),
}
