"""Answers to the exercises of lesson 23."""

from gluonlm_course.answers import Number

TITLE = "Devices and speed"

EXERCISES = {
    1: Number(
        0,
        within=1e-3,
        hint="use the same seed, corpus and first steps in both processes",
        why="threads share an operation, and each part is summed in the same order.",
    ),
    2: Number(
        low=0.75,
        high=5,
        hint="take medians of twenty passes that wait for their result; the first pass compiles",
        why="one large fused call and a few small ones leave little to save.",
    ),
    3: Number(
        low=2,
        high=64,
        hint="characters per second are texts divided by seconds per step; use the median step",
        wrong={1: "multiply by the number of texts: each step writes one character of each"},
        why="several texts use each weight several times per fetch from memory.",
    ),
}
