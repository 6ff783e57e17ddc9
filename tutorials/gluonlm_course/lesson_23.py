"""Answers to the exercises of lesson 23."""

from gluonlm_course.answers import Number

TITLE = "Devices and speed"

EXERCISES = {
    1: Number(
        0,
        within=1e-3,
        hint="use the same seed, corpus and first steps in both processes",
        why="threads share an operation, but not the order of a sum.",
    ),
    2: Number(
        low=0.75,
        high=5,
        hint="take medians of twenty passes that wait for their result; the first pass compiles",
        why="one large fused call leaves little to save; many small layers gain more.",
    ),
    3: Number(
        low=2,
        high=64,
        hint="characters per second are texts divided by seconds per step; use the median step",
        wrong={1: "multiply by the number of texts: each step writes one character of each"},
        why="several texts use each weight several times per fetch from memory.",
    ),
}
