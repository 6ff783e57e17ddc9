"""Answers to the exercises of lesson 10."""

from math import exp

from gluonlm_course.answers import Number, Several

TITLE = "Variants"

EXERCISES = {
    1: Number(
        0.9**10,
        within=0.006,
        hint="each character multiplies the memory by the constant once more",
        wrong={
            0.1: "the memory loses a tenth of the rest, not of its first value",
            0.9: "that is the fraction after one character",
        },
        why="a constant forgets at the same rate everywhere; a gate decides at each character.",
    ),
    2: Several(
        {
            "bias 0": Number(
                0.5**10,
                within=0.0002,
                hint="the gate is a sigmoid, and each character multiplies by it once more",
                wrong={0.5: "that is the fraction after one character"},
            ),
            "bias 1": Number(
                (1 / (1 + exp(-1))) ** 10,
                within=0.002,
                hint="the gate is the sigmoid of the bias, and each character multiplies by it",
                wrong={1: "the bias is inside the sigmoid", 0.731: "that is after one character"},
            ),
        },
        why="a bias of 1 keeps 45 times as much; whether this helps depends on the task.",
    ),
    3: Number(
        low=2.0,
        high=4.4,
        hint="a cell that learns is below 4.4 bits and no cell of this size is below 2 after so "
        "few steps: divide nats by log 2, and try a smaller learning rate",
        why="compare it with the cells of the lesson only on the same budget and seeds.",
    ),
}
