"""Answers of lesson 11."""

import math

from gluonlm_course.answers import Function, Number, Several

TITLE = "Depth and initialisation"


def _weights(
    units: int, layers: int, inputs: int, from_states: bool = True, biases: int = 2
) -> int:
    """Return the number of weights of a fused LSTM."""
    later = units if from_states else inputs
    sizes = [inputs, *[later] * (layers - 1)]
    return sum(4 * units * (size + units + biases) for size in sizes)


EXERCISES = {
    1: Function(
        _weights,
        trials=[(5, 1, 3), (5, 2, 3), (64, 3, 32), (10, 4, 10)],
        wrong={
            lambda n, k, c: _weights(n, k, c, False): (
                "The layers above the first read states: how many numbers is a state?"
            ),
            lambda units, layers, inputs: _weights(
                units, layers, inputs, True, 1
            ): "MXNet has two biases in each layer.",
            lambda units, layers, inputs: _weights(
                units, layers, inputs, True, 0
            ): "The biases are missing.",
            lambda units, layers, inputs: (
                _weights(units, layers, inputs) // 4
            ): "An LSTM has four blocks in each weight.",
        },
        why="only the first layer's input matrix depends on the embedding.",
        hint="Add 4H (inputs + H + 2) for each layer; think about the inputs of each.",
    ),
    2: Number(
        0.1,
        within=0.006,
        why="300 a² / 3 = 1.",
        hint="The variance of a uniform distribution on (-a, a) is a² / 3; 300 of them add to 1.",
        wrong={
            math.sqrt(1 / 300): "This is the standard deviation; the uniform range is wider.",
            3 / 300: "This is the square of the answer.",
        },
    ),
    3: Number(
        math.log(0.5 ** (1 / 20) / (1 - 0.5 ** (1 / 20))),
        within=0.03,
        why="the gate is 0.966 at the start, and 0.966 to the power of 20 is one half.",
        hint="Find the gate whose 20th power is one half, then the sum whose sigmoid is this gate.",
        wrong={0.5 ** (1 / 20): "This is the gate; the bias is the number whose sigmoid it is."},
    ),
    4: Several(
        {
            "zeros": Number(2.0, within=0.005, hint="All four tokens have equal probabilities."),
            "right": Number(1.75, within=0.005, hint="This is the entropy of the tokens, in bits."),
            "reverse": Number(
                2.625,
                within=0.005,
                hint="Average the surprise under the wrong probabilities over the true ones.",
                wrong={
                    1.75: "The tokens keep their true probabilities; only the bias is reversed."
                },
            ),
        },
        why="a bias from another text can be worse than zeros.",
        hint="Use base 2.",
    ),
}
