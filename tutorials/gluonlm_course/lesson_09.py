"""Answers to the exercises of lesson 9."""

from gluonlm_course.answers import Choice, Number, Several

TITLE = "Regularising"

EXERCISES = {
    1: Several(
        {
            "fresh masks": Number(
                0.9**20,
                within=0.006,
                hint="the number must survive every one of the masks",
                wrong={0.1**20: "0.1 is the probability of being dropped"},
            ),
            "one mask": Number(
                0.9,
                within=0.01,
                hint="one mask is drawn once, whatever the number of steps",
                wrong={0.1: "0.1 is the probability of being dropped"},
            ),
        },
        why="fresh masks erase a memory of 20 steps in seven cases of eight.",
    ),
    2: Number(
        low=2,
        high=11,
        hint="subtract the best epoch without dropout from the best epoch with 0.5, each with the "
        "lowest validation loss; train both for twelve epochs",
        why="a network with dropout learns more slowly and memorises later still.",
    ),
    3: Choice(
        "twice the text",
        options=("dropout", "twice the text"),
        hint="compare the gains on 30,000 characters, one change at a time",
        why="it gains more than any tested dropout, and dropout still helps on top of it.",
    ),
}
