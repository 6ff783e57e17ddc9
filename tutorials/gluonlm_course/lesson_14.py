"""Answers to the exercises of lesson 14."""

import numpy as np

from gluonlm_course.answers import Choice, Function

TITLE = "Beam search and drift"


def _best(likelihoods, lengths, alpha):
    return int(np.argmax(np.array(likelihoods) / ((5 + np.array(lengths)) / 6) ** alpha))


def _likeliest(first, table, length):
    total, texts = np.array(first), [[i] for i in range(len(first))]
    for _ in range(length - 1):
        scores = total[:, None] + np.array(table)
        before = scores.argmax(axis=0)
        texts = [texts[i] + [j] for j, i in enumerate(before)]
        total = scores.max(axis=0)
    return texts[int(total.argmax())]


def _greedy(first, table, length):
    text = [int(np.argmax(first))]
    while len(text) < length:
        text.append(int(np.argmax(table[text[-1]])))
    return text


def _tables():
    likely = np.log([0.6, 0.4])  # greedy decoding begins with 0, the likeliest text with 1
    return [
        (likely, np.log([[0.5, 0.5 - 1e-9], [0.05, 0.95]]), 3),
        (likely, np.log([[0.5, 0.5 - 1e-9], [0.05, 0.95]]), 1),
        *(
            (np.log(random.dirichlet(np.ones(5))), np.log(random.dirichlet(np.ones(5), 5)), 8)
            for random in map(np.random.default_rng, range(5))
        ),
    ]


EXERCISES = {
    1: Choice(
        "each once",
        options=("empty state", "each once"),
        hint="which of the two depends on the entire text, as `sample` does?",
        why="its state contains the entire text, and no character is read twice.",
    ),
    2: Function(
        _best,
        trials=[
            ([-9.0, -8.0, -8.5, -13.0], [30, 12, 4, 1], 1.0),
            ([-4.0, -6.0, -11.0], [2, 8, 20], 0),
            ([-4.0, -6.0, -11.0], [2, 8, 20], 0.7),
            ([-4.0, -6.0, -11.0], [2, 8, 20], 1.0),
            ([-9.0, -8.0, -8.5], [30, 10, 12], 1.0),
        ],
        wrong={
            lambda likelihoods, lengths, alpha: int(np.argmax(likelihoods)): "divide by the term, "
            "which grows with the length, before you choose",
            lambda likelihoods, lengths, alpha: int(
                np.argmin(np.array(likelihoods) / ((5 + np.array(lengths)) / 6) ** alpha)
            ): "the likelihoods are negative: the best text has the highest quotient",
            lambda likelihoods, lengths, alpha: int(
                np.argmax(np.array(likelihoods) * ((5 + np.array(lengths)) / 6) ** alpha)
            ): "divide, rather than multiply",
        },
        hint="Divide each log likelihood by ((5 + length) / 6) ** alpha; return the index of the "
        "highest.",
        why="the logarithms are negative, so a larger divisor helps a long text.",
    ),
    3: Function(
        _likeliest,
        trials=_tables,
        wrong={
            _greedy: "this is greedy decoding: a likely first id may have only unlikely successors",
            lambda first, table, length: _likeliest(first, np.transpose(table), length): "the row "
            "of the table is the first id of a pair, the column the second",
        },
        hint="For each id, keep the best text so far that ends in it, with its log probability.",
        why="the past of a bigram model is one id, so one text for each id is enough.",
    ),
}
