"""Answers to the exercises of lesson 16."""

from gluonlm_course.answers import Choice, Number, Several

TITLE = "Subwords, and fair comparisons"

EXERCISES = {
    1: Several(
        {
            "four words": Number(
                11,
                hint="merge until each word is one piece, and count all merges from the first",
                wrong={
                    4: "include the seven merges of the lesson",
                    20: "a merge applies to all words that contain the pair",
                },
            ),
            "_aaaa": Number(
                3,
                hint="the first merge turns two pairs into pieces at once",
                wrong={4: "the first merge applies twice in this word"},
            ),
        },
        why="a merge applies to every word and place that contains the pair.",
    ),
    2: Number(
        14 / 12,
        within=0.005,
        hint="two of the letters take two bytes in UTF-8; divide bytes by characters",
        wrong={
            12 / 14: "divide bytes by characters, not the other way round",
            1: "count the bytes of the encoded text, not its characters",
        },
        why="the same bits are spread over more bytes; for Russian nearly twice as many.",
    ),
    3: Choice(
        "with",
        options=("with", "without"),
        hint="find the vocabulary size at the minimum of each curve",
        why="without spelling, the fewer words a model knows, the better it seems.",
    ),
    4: Number(
        low=0.16,
        high=0.4,
        hint="subtract the bits per character of 350 units from the bits of 128 units, on the "
        "validation part, after 300 steps each",
        why="that closes most of the gap, in steps that take several times as long.",
    ),
}
