"""The overview of docs/results.md: a table of all runs, and a picture of loss against minutes.

`results.py` calls it after the figures of the runs have been inserted.
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
# for each text with several presets: its name, the unit, and the published points as
# (minutes, None if unpublished; loss; label)
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
    """The figures of one run on the page."""

    name: str
    preset: str
    part: str
    score: float  # nats for characters, perplexity for words
    shown: str
    parameters: str
    minutes: float


def figures(page: str) -> Iterator[Figure]:
    """Yield the figures of every run on the page."""
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
    """Return the lines of the table, in the order of the presets."""
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
    """Yield the comparable figures of the runs on a text: those of one part."""
    for each in figures(page):
        same = PRESETS[each.preset].settings["data"] == (text,)
        another_split = text == "tinyshakespeare" and each.part == "test"
        if same and not another_split:
            yield each


def _score(figure):
    return figure.score


def _covers(other, figure):
    """Return whether the label of a figure, at the right of its point, would touch another one."""
    close = abs(other.minutes / figure.minutes - 1) < 0.3
    return close and 0 < other.score / figure.score - 1 < 0.02


def draw(page: str) -> bytes:
    """Draw loss against minutes, a panel for each text with several presets, as PNG."""
    figure, first = new_axes(9, 3.8)
    first.remove()
    small = dict(xytext=(5, 3), textcoords="offset points", fontsize=8)
    for axes, (text, unit, published) in zip(figure.subplots(1, len(PANELS)), PANELS):
        axes.spines[["top", "right"]].set_visible(False)
        runs = list(of_text(page, text))
        for each in runs:
            axes.plot(each.minutes, each.score, "o", color="C0")
            name = each.name.replace(f"{text}-", "")
            aside = small
            if each is min(runs, key=_score):  # below its point
                aside = {**small, "xytext": (5, -10)}
            elif any(_covers(other, each) for other in runs):
                aside = {**small, "xytext": (-6, -3), "ha": "right"}
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
    """Write the table into the page, and the picture."""
    page = document.read_text(encoding="utf-8")
    text = "\n".join([*table(page), ""])
    page = OVERVIEW.sub(lambda match: match[1] + text + match[2], page)
    document.write_text(page, encoding="utf-8")
    (document.parent / "curves" / "overview.png").write_bytes(draw(page))
