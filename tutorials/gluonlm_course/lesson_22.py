"""Answers to the exercises of lesson 22."""

from gluonlm_course.answers import Number

TITLE = "Inside the network"

EXERCISES = {
    1: Number(
        low=2,
        high=12,
        hint="subtract the surprise of the right text from the surprise of the wrong one, average "
        "over 100 places, and count characters from the mistake at 0",
        wrong={1: "the next character is still expensive", 0: "the mistake itself costs most"},
        why="the network has lost the word, and recovers in the next one.",
    ),
    2: Number(
        low=1.2,
        high=12,
        hint="a distance is |area under the ROC curve - 0.5|; divide the best one of the true "
        "label by the best one of the shifted labels",
        why="a result counts only as far as it exceeds the shifted labels.",
    ),
    3: Number(
        low=2,
        high=64,
        hint="multiply each weight by the standard deviation of its cell before you sort; use 1, "
        "2, 4 and so on up to 128 cells",
        why="a few cells are enough, though one of them is not.",
    ),
    4: Number(
        low=1.1,
        high=30,
        hint="set the cell after each character to its mean inside quotations, and average the "
        "probability over the places outside",
        wrong={1: "did the changed state reach the network?"},
        why="the control excludes the effect of holding any cell at all.",
    ),
}
