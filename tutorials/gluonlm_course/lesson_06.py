"""Answers to the exercises of lesson 6."""

import math

from gluonlm_course.answers import Choice, Number, Several

TITLE = "RNN, LSTM, GRU"
EXERCISES = {
    1: Several(
        {
            "bound": Number(
                34 * math.log(2) / 20,
                within=0.002,
                hint="add the surprises at the country and at ten fillers; count the words that "
                "are certain as well",
                wrong={
                    1.7: "this is in bits; convert it to nats",
                    34 * math.log(2): "this is for each sentence; divide it by the words",
                    34 * math.log(2) / 11: "a sentence has more words than the country and the "
                    "fillers",
                },
            ),
            "cost": Number(
                math.log(16) / 20,
                within=0.001,
                hint="a network that forgets the country pays for its choice once more",
                wrong={
                    0.2: "this is in bits; convert it to nats",
                    math.log(16): "this is for each sentence; divide it by the words",
                },
            ),
        },
        why="a fixed number of fillers costs nothing, so 34 bits for a sentence of 20 words.",
    ),
    2: Number(
        1 / (1 + math.exp(-3)),
        within=0.012,
        why="with W_h = 0 the memory is the only path, and each step multiplies it by sigmoid(3).",
        hint="take the 20th root of the ratio of the gradients at distances 30 and 10",
        wrong={
            1.094: "W_h is still another path for the gradient: set it to zero",
            0.724: "this is the gate as initialised; set its bias to 3",
        },
    ),
    3: Number(
        low=0.2,
        high=2.0,
        why="where the ReLU is on, each factor is exactly 1; some units are off.",
        hint="use activation='relu', set l0_h2h_weight to the identity, and divide the gradient at "
        "distance 30 by the nearest one",
        wrong={0.037: "this is the tanh network with a random matrix"},
    ),
    4: Choice(
        "all three",
        options=("none", "gru", "lstm and gru", "all three"),
        why="over nine fillers even the plain RNN learns it at a rate of 0.01.",
        hint="try both rates for each cell, and all 1,600 steps",
        wrong={"lstm and gru": "try the RNN at the lower rate as well"},
    ),
}
