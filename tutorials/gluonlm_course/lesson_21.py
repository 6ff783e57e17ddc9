"""Answers to the exercises of lesson 21."""

from gluonlm_course.answers import Choice, Number

TITLE = "Memory at test time"

EXERCISES = {
    1: Number(
        low=0.05,
        high=0.8,
        hint="a gain is the static loss minus the loss with the cache, in nats a word; divide the "
        "smaller gain by the larger one",
        why="the bursts of words alone give this part; the states select among recent words.",
    ),
    2: Choice(
        "this text",
        options=("this text", "more training"),
        hint="compare both losses with the static loss of the unchanged network",
        why="learning from another part of the corpus gains less, so the gain is memory.",
    ),
    3: Choice(
        "cache",
        options=("static", "cache", "learning"),
        hint="compare the perplexities of the second half only",
        why="it contains the words themselves, as long as the first half fits into it.",
    ),
}
