"""Answers of lesson 1."""

from gluonlm_course.answers import Choice, Function, Number, Several


def _depth(line):
    state = 0
    for character in line:
        state = max(0, state + (character == "(") - (character == ")"))
    return state


def _difference(line):
    return line.count("(") - line.count(")")


def _opened(line):
    return line.count("(")


_KINDS = ("one to many", "many to one", "aligned", "delayed")

TITLE = "Why order matters"
EXERCISES = {
    1: Function(
        _depth,
        trials=[("",), ("f(a, (b + c",), ("(a)(b)",), ("a)(",), (")))((",), ("(" * 50 + ")" * 20,)],
        why="one number is enough as a state, for lines of any length.",
        hint="Read from left to right; each bracket changes the number by one.",
        wrong={
            _difference: "Counts are blind to the order: a ')' before any '(' is ignored.",
            _opened: "A closing bracket makes the number smaller.",
        },
    ),
    2: Several(
        {
            "weights": Number(
                1378,
                hint="Count inputs times units, plus units, for both dense layers; one-hot "
                "characters have five numbers.",
                wrong={
                    738: "That is the window of four.",
                    1280: "Those are the weights of the first layer without its biases.",
                    1344: "The last layer has biases, and two outputs.",
                },
            ),
            "distance": Number(
                8,
                hint="Compute the accuracy for each distance, on lines that were not trained on.",
                wrong={4: "That is the window of four.", 9: "The last character has distance 1."},
            ),
        },
        why="the drop moves with the window, and each character costs 160 weights.",
    ),
    3: Number(
        1 - 6 / 66 / 2,
        within=0.002,
        why="both brackets are outside in 6 of 66 pairs of places, and a coin is right in half.",
        hint="Of the 66 pairs of places, in how many are both brackets outside the window?",
        wrong={
            1 - 6 / 66: "Guessing is right in half of the lines.",
            1 - 28 / 66 / 2: "That is the window of four.",
            1 - 4 / 12 / 2: "One bracket inside the window is enough to know the answer.",
            1 - (4 / 12) ** 2 / 2: "The two brackets cannot be in the same place.",
        },
    ),
    4: Several(
        {
            name: Choice(right, options=_KINDS, hint=hint)
            for name, right, hint in (
                ("a", "delayed", "The summary is a sequence, and needs the complete article."),
                ("b", "many to one", "How many answers does a sentence have?"),
                ("c", "one to many", "How many inputs does the mood have?"),
                ("d", "aligned", "Each word receives a mark."),
            )
        },
        why="count inputs and outputs, and ask when each output can be known.",
    ),
}
