"""The first screen of docs/results.md: every preset in one table, and loss against minutes.

`results.py` calls it with the page whose places are filled, so that no figure is copied by hand.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gluonlm.config.presets import PRESETS
from gluonlm.system.plots import new_axes, to_png

PLACE = re.compile(
    r"(<!-- run (\S+) of (\S+)(?: (?:from|after) [^>]+)? -->\n)(.*?)(<!-- end -->)", re.DOTALL
)
OVERVIEW = re.compile(r"(<!-- overview -->\n).*?(<!-- end -->)", re.DOTALL)
TICKS = (1, 3, 10, 30, 100, 300)
PARTS = ("test, as one stream", "valid, as one stream")
# of the texts that several presets share: how it is named, the unit, the published points
# (minutes, None if it was not said how long it took) and what they are
PANELS: tuple[tuple, ...] = (
    (
        "tinyshakespeare",
        "validation, nats per character",
        ((1.58, 1.886, "nanoGPT, CPU"), (None, 1.4697, "nanoGPT, A100")),
    ),
    (
        "ptb",
        "test perplexity",
        (
            (None, 117.999, "word LSTM, published"),
            (None, 114.5, "Zaremba small, published"),
            (None, 78.4, "Zaremba large, published"),
        ),
    ),
)


class Figure(NamedTuple):
    """What one place of the page says of its run."""

    name: str
    preset: str
    part: str
    score: float  # nats for characters, perplexity for words
    shown: str
    parameters: str
    minutes: float


def figures(page: str) -> Iterator[Figure]:
    """Yield the figures of every run whose place in the page is filled."""
    for _, name, preset, text, _ in PLACE.findall(page):
        rows: dict[str, str] = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.M))
        for part in PARTS:
            if part in rows:
                shown = rows[part].strip("*")
                score = float((re.search(r"\((.*)\)", shown) or re.search(r"(.*)", shown))[1])
                seconds = float(rows["time"].split()[0].replace(",", ""))
                kind = part.split(",")[0]
                yield Figure(name, preset, kind, score, shown, rows["parameters"], seconds / 60)


def table(page: str) -> list[str]:
    """Return the lines of the table: the runs of every preset, the presets in their order."""
    lines = [
        "| run | part | bits per character (nats), or perplexity | parameters | minutes |",
        "|---|---|---|---|---|",
    ]
    found = list(figures(page))
    for preset in PRESETS:
        for each in filter(lambda figure: figure.preset == preset, found):
            lines.append(
                f"| `{each.name}` | {each.part} | {each.shown} "
                f"| {each.parameters} | {each.minutes:.3g} |"
            )
    return lines


def of_text(page: str, text: str) -> Iterator[Figure]:
    """Yield the figures of the presets of a text, all of one part of it."""
    for each in figures(page):
        same = PRESETS[each.preset].settings["data"] == (text,)
        another_split = text == "tinyshakespeare" and each.part == "test"
        if same and not another_split:
            yield each


def _score(figure):
    return figure.score


def draw(page: str) -> bytes:
    """Draw the runs of the texts that several presets share, loss against minutes, as PNG."""
    figure, first = new_axes(9, 3.8)
    first.remove()
    small = dict(xytext=(5, 3), textcoords="offset points", fontsize=8)
    for axes, (text, unit, published) in zip(figure.subplots(1, len(PANELS)), PANELS):
        axes.spines[["top", "right"]].set_visible(False)
        runs = list(of_text(page, text))
        for each in runs:
            axes.plot(each.minutes, each.score, "o", color="C0")
            name = each.name.replace(f"{text}-", "")
            # the best lies under all others, and so does its name
            aside = {**small, "xytext": (5, -10)} if each is min(runs, key=_score) else small
            axes.annotate(name, (each.minutes, each.score), **aside)
        for minutes, score, name in published:
            if minutes:
                axes.plot(minutes, score, "s", color="C1")
            else:
                axes.axhline(score, color="C1", linestyle=":")
            below = {**small, "xytext": (5, 3 if minutes else -10)}
            axes.annotate(name, (minutes or TICKS[0], score), color="C1", **below)
        axes.set(xscale="log", xlabel="minutes of training", ylabel=unit, xlim=(0.9, 1500))
        axes.set_xticks(TICKS, TICKS)
        axes.minorticks_off()
        axes.margins(y=0.1)
    return to_png(figure)


def update(document: Path) -> None:
    """Put the table into the page, and the picture beside it."""
    page = document.read_text(encoding="utf-8")
    text = "\n".join([*table(page), ""])
    page = OVERVIEW.sub(lambda match: match[1] + text + match[2], page)
    document.write_text(page, encoding="utf-8")
    (document.parent / "curves" / "overview.png").write_bytes(draw(page))
