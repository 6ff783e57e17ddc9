"""Answers to the exercises of lesson 15."""

import math

from gluonlm_course.answers import Choice, Function, Number

TITLE = "Words"

EXERCISES = {
    1: Function(
        lambda perplexity, words, characters: math.log2(perplexity) * words / characters,
        trials=[(2.0, 100, 400), (200.0, 4999, 18662), (1.0, 7, 30)],
        wrong={
            lambda perplexity, words, characters: (
                math.log(perplexity) * words / characters
            ): "these are nats; bits need the logarithm to base 2",
            lambda perplexity, words, characters: math.log2(perplexity) / words * characters: "all "
            "words together cost the text; spread that cost over its characters",
            lambda perplexity, words, characters: math.log2(perplexity): "these are bits per word",
            lambda perplexity, words, characters: perplexity * words / characters: "perplexity is "
            "e to the mean loss: take a logarithm first",
        },
        hint="The logarithm of the perplexity is the cost of one word.",
        why="the total cost of a text does not depend on its tokens, if none is unknown.",
    ),
    2: Choice(
        "long",
        options=("long", "short"),
        hint="compare the mean length of the neighbours' rows for both measures",
        why="a dot product grows with the length of a row, whatever its word means.",
    ),
    3: Number(
        1,
        within=0.01,
        hint="the output layer multiplies by the same table as the embedding, and keeps its bias",
        wrong={2: "one table remains: tying shares it", 0: "count with `count_parameters()`"},
        why="one of two tables is gone; only the bias of the output layer is separate.",
    ),
    4: Number(
        low=2.5,
        high=100,
        hint="keep a copy of the matrix before training, and take the length of each row's change; "
        "the vocabulary is sorted by frequency",
        why="a row gets a gradient only when its word is read.",
    ),
}
