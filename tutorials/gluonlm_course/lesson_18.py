"""Answers to the exercises of lesson 18."""

from gluonlm_course.answers import Number, Several

TITLE = "Attention"

EXERCISES = {
    1: Several(
        {
            "divided": Number(
                0.17,
                within=0.025,
                hint="softmax of 30 dot products, each divided by the square root of 64",
                wrong={1 / 30: "take the largest weight of each trial, then the mean"},
            ),
            "undivided": Number(
                0.82,
                within=0.05,
                hint="softmax of 30 dot products of 64 standard normal numbers",
                wrong={1: "these weights are enlarged already"},
            ),
        },
        why="products of D numbers have a standard deviation of √D, and softmax takes the largest.",
    ),
    2: Several(
        {
            "without": Number(
                low=0.55,
                high=0.66,
                hint="a bag of words knows both countries, but not their order; draw them "
                "independently, from four",
                wrong={
                    0.5: "the two countries may be the same: one time in four",
                    62: "use fractions from 0 to 1",
                },
            ),
            "with positions": Number(
                low=0.9,
                high=1,
                hint="train it longer: with positions it can be right nearly always",
                wrong={100: "use fractions from 0 to 1"},
            ),
        },
        why="a key can mean a country and an early place at once; a bag has no places.",
    ),
    3: Several(
        {
            "measured": Number(
                low=100,
                high=2e6,
                hint="double the number of previous words until a look takes ten times as long",
            ),
            "counted": Number(
                1280,
                within=6,
                hint="a step multiplies once for each number of the matrix, a look twice for each "
                "number of each key",
                wrong={
                    2560: "each word costs a product with its key and another with its value",
                    128: "that is as long as one step, not ten",
                },
            ),
        },
        why="a count predicts the order of magnitude; calls and memory make up the rest.",
    ),
}
