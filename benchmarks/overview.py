"""The tables and the picture of docs/results.md, README's table, and the list of all runs.

All are made from the figures on the pages in docs/results/, by `results.py`, after it has filled
these pages from the runs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gluonlm.config.presets import PRESETS
from gluonlm.system.plots import new_axes, to_png

# opening, kind, names, preset, members, first run and its preset, text, end
PLACE = re.compile(
    r"(<!-- (run|seeds) ([^>]+?)\s+of (\S+)(?: from ([^>]+?)| after (\S+) of (\S+))? -->\n)"
    r"(.*?)(<!-- end -->)",
    re.DOTALL,
)
BEST = re.compile(r"(<!-- best -->\n).*?(<!-- end -->)", re.DOTALL)
RUNS = re.compile(r"(<!-- runs -->\n).*?(<!-- end -->)", re.DOTALL)


class Anchor(NamedTuple):
    """A published figure."""

    name: str
    parameters: str
    score: float

    @property
    def millions(self) -> float:
        """The parameters, such as `10 M`, in millions."""
        return float(self.parameters.removesuffix(" M"))


class Row(NamedTuple):
    """A row of the table: our networks and their run, and the best figure of others."""

    text: str
    networks: str
    run: str  # for several seeds, the name of the first run
    reading: str  # part and protocol: a row of the table of the run
    anchor: Anchor
    readme: bool = True


class Panel(NamedTuple):
    """A panel of the picture: the runs of the table with one protocol, and published figures."""

    title: str
    unit: str
    text: str
    reading: str
    published: tuple[Anchor, ...]


PTB, WIKITEXT = "Penn Treebank", "WikiText-2"
PLAYS_80, PLAYS_90 = "tiny Shakespeare 80/10/10", "tiny Shakespeare 90/10"
TEST, TEST_ADAPTED = "test, as one stream", "test, with dynamic evaluation"
WINDOWS_64, WINDOWS_128, WINDOWS_256 = (f"valid, cold windows of {n}" for n in (64, 128, 256))
INAN = Anchor("Inan et al. 2016, tied", "2.65 M", 82.7)
MELIS = Anchor("Melis et al. 2018", "10 M", 59.6)
MOGRIFIER = Anchor("Mogrifier LSTM", "24 M", 50.1)
DYNAMIC = Anchor("Mogrifier LSTM", "24 M", 44.9)
WORD_LSTM = Anchor("word LSTM, 15 epochs", "same shapes", 117.999)
GRU = Anchor("GRU, 2026", "0.82 M", 1.4693)
NANOGPT = Anchor("nanoGPT", "10.65 M", 1.4697)
NANOGPT_CPU = Anchor("nanoGPT, run here", "0.80 M", 1.886)
STANDARD = Anchor("GluonNLP standard_lstm_lm_200", "7.33 M", 101.64)
AWD_600 = Anchor("GluonNLP awd_lstm_lm_600", "12.14 M", 80.67)
ROWS = (
    Row(PTB, "LSTM 2 x 200", "ptb-small-200-again", TEST, INAN),
    Row(PTB, "LSTM 2 x 300", "ptb-small", TEST, INAN),
    Row(PTB, "LSTM 800, 400", "ptb-medium", TEST, MELIS),
    Row(PTB, "LSTM 800, 400", "ptb-medium", TEST_ADAPTED, DYNAMIC, False),
    Row(PTB, "4 LSTMs 2 x 300", "ptb-ensemble", TEST, MOGRIFIER),
    Row(PTB, "4 LSTMs 2 x 300", "ptb-ensemble", TEST_ADAPTED, DYNAMIC, False),
    Row(PTB, "LSTM 256, 128", "ptb-lstm", "test, 60 columns in segments of 20", WORD_LSTM, False),
    Row(WIKITEXT, "LSTM 2 x 200", "wikitext-2-small", TEST, STANDARD, False),
    Row(WIKITEXT, "LSTM 600, 600, 200", "wikitext-2", TEST, AWD_600, False),
    Row(PLAYS_80, "GRU 384", "tinyshakespeare-gru-test", WINDOWS_128, GRU),
    Row(PLAYS_80, "LSTM 384", "tinyshakespeare-lstm-test", WINDOWS_128, GRU),
    Row(PLAYS_80, "2 LSTMs 2 x 384", "tinyshakespeare-lstm-12min-test", WINDOWS_128, GRU),
    Row(PLAYS_80, "4 LSTMs 2 x 384", "tinyshakespeare-lstm-long-test", WINDOWS_128, GRU),
    Row(PLAYS_90, "GRU 384", "tinyshakespeare-gru", WINDOWS_64, NANOGPT_CPU),
    Row(PLAYS_90, "GRU 384", "tinyshakespeare-gru", WINDOWS_256, NANOGPT),
    Row(PLAYS_90, "GRU 384", "tinyshakespeare-gru-avx2", WINDOWS_64, NANOGPT_CPU, False),
    Row(PLAYS_90, "2 LSTMs 2 x 384", "tinyshakespeare-lstm-12min", WINDOWS_256, NANOGPT),
    Row(
        PLAYS_90, "2 LSTMs 2 x 384", "tinyshakespeare-lstm-12min-avx2", WINDOWS_256, NANOGPT, False
    ),
    Row(PLAYS_90, "4 LSTMs 2 x 384", "tinyshakespeare-lstm-long", WINDOWS_256, NANOGPT),
)
PANELS = (
    Panel(
        f"{PTB}, test, one stream", "perplexity", PTB, TEST,
        (INAN, MELIS, MOGRIFIER, Anchor("AWD-LSTM", "24 M", 57.3),
         Anchor("Zaremba 2014", "4.65 M", 114.5), Anchor("Zaremba 2014", "66 M", 78.4)),
    ),
    Panel(
        f"{PLAYS_80}, windows of 128", "nats per character", PLAYS_80, WINDOWS_128,
        (GRU, Anchor("LSTM", "1.09 M", 1.5091), Anchor("Transformer", "1.35 M", 1.5652)),
    ),
    Panel(
        f"{PLAYS_90}, windows of 256", "nats per character", PLAYS_90, WINDOWS_256,
        (NANOGPT,),
    ),
)  # fmt: skip
TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 50)  # millions


class Figure(NamedTuple):
    """The figures of one run, or of one run with several seeds, on a page."""

    name: str
    preset: str
    page: str
    networks: int
    rows: dict[str, list[str]]  # cells: value, or mean and standard deviation

    def score(self, reading: str) -> float | None:
        """Return a score: nats for characters, perplexity for words; None if it is missing."""
        cells = self.rows.get(reading)
        return number(cells[0]) if cells and cells[0] else None

    @property
    def millions(self) -> float:
        """The parameters of the run, in millions."""
        return float(self.rows["parameters"][0].replace(",", "")) / 1e6

    @property
    def minutes(self) -> float:
        """The time of the run in minutes."""
        return float(self.rows["time"][0].split()[0].replace(",", "")) / 60


def number(cell: str) -> float:
    """Return the score in a cell such as `**2.116 (1.4669)**` or `82.91`."""
    shown = cell.strip("*")
    return float((re.search(r"\((.*)\)", shown) or re.search(r"(.*)", shown))[1])


def figures(pages: dict[str, str]) -> Iterator[Figure]:
    """Yield the figures of every finished run on the pages, in the order of the presets."""
    found = []
    for page, content in pages.items():
        for _, _, names, preset, members, _, _, text, _ in PLACE.findall(content):
            rows = {}
            for line in text.splitlines():
                cells = [cell.strip() for cell in line.strip("|").split("|")]
                if line.startswith("|") and len(cells) > 1:
                    rows[cells[0]] = cells[1:]
            if "parameters" in rows:
                networks = int(last(text, "members", preset, 1)) * max(1, len(members.split()))
                found.append(Figure(names.split()[0], preset, page, networks, rows))
    yield from sorted(found, key=lambda figure: list(PRESETS).index(figure.preset))


def last(text: str, setting: str, preset: str, default) -> str:
    """Return a setting of a run: from its last command, or from its preset."""
    given = re.findall(rf"--{setting} (\S+)", text)
    return given[-1] if given else PRESETS[preset].settings.get(setting, default)


def duration(minutes: float) -> str:
    """Return a time in seconds, minutes or hours."""
    if minutes < 100 / 60:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 180 else f"{minutes / 60:.1f} h"


def shown(score: float, spread: str = "") -> str:
    """Return a score with the digits of its unit: nats per character, or perplexity."""
    return f"{score:.4f}{spread}" if score < 10 else f"{score:.2f}{spread}"


def compared(pages: dict[str, str], rows: tuple[Row, ...]) -> Iterator[tuple[Row, Figure, str]]:
    """Yield each row whose run is on the pages, with its figures and our score as text."""
    found = {figure.name: figure for figure in figures(pages)}
    for row in rows:
        figure = found.get(row.run)
        score = figure and figure.score(row.reading)
        if figure and score:
            cells = figure.rows[row.reading]
            yield row, figure, shown(score, f" ± {cells[1]}" if len(cells) > 1 else "")


def conditions(figure: Figure) -> str:
    """Return time and precision of a run, and its threads if there are several."""
    threads = figure.rows["threads"][0]
    precision = "bfloat16" if "bfloat16" in figure.rows["device"][0] else "float32"
    several = "" if threads == "1" else f", {threads} threads"
    return f"{duration(figure.minutes)}, {precision}{several}"


def table(pages: dict[str, str], rows: tuple[Row, ...], folder: str) -> str:
    """Return the table of these rows, with links to the pages in a folder."""
    lines = [
        "| text: networks | part, protocol | ours | parameters | training | others | better |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, figure, score in compared(pages, rows):
        lines.append(
            f"| [{row.text}: {row.networks}]({folder}{figure.page}#{figure.name}) "
            f"| {row.reading} | **{score}** | {figure.millions:.2f} M "
            f"| {conditions(figure)} | {row.anchor.score:g} ({row.anchor.name}, "
            f"{row.anchor.parameters}) | {verdict(row, figure)} |"
        )
    return "\n".join([*lines, ""])


def best(pages: dict[str, str]) -> str:
    """Return the table of docs/results.md."""
    return table(pages, ROWS, "results/")


def verdict(row: Row, figure: Figure) -> str:
    """Return whether a run is better than the published figure, and with how many parameters."""
    cells = figure.rows[row.reading]
    lead = row.anchor.score - number(cells[0])
    if lead <= 0:
        return "no"
    if len(cells) > 1 and lead < float(cells[1]):
        return "within one deviation"
    if row.anchor.parameters[0].isdigit():
        ratio = figure.millions / row.anchor.millions
        if ratio > 1.05:
            return f"yes, with {ratio:.1f} times the parameters"
    return "yes"


def readme_table(pages: dict[str, str]) -> str:
    """Return README's table."""
    return table(pages, tuple(row for row in ROWS if row.readme), "docs/results/")


def all_runs(pages: dict[str, str]) -> str:
    """Return the table of all runs."""
    unit = "bits per character (nats), or perplexity"
    lines = [
        f"| run | networks | part | {unit} | parameters | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for each in figures(pages):
        for part in ("test", "valid"):
            cells = each.rows.get(f"{part}, as one stream")
            if cells:
                lines.append(
                    f"| [`{each.name}`]({each.page}#{each.name}) | {each.networks} | {part} "
                    f"| {cells[0].strip('*')} | {each.rows['parameters'][0]} "
                    f"| {each.minutes:.3g} |"
                )
    return "\n".join([*lines, ""])


def draw(pages: dict[str, str]) -> bytes:
    """Draw loss against parameters as PNG: a panel for each of PANELS of which we have figures."""
    panels = []
    for panel in PANELS:
        ours = [
            (figure, figure.score(row.reading))
            for row, figure, _ in compared(pages, ROWS)
            if (row.text, row.reading) == (panel.text, panel.reading)
        ]
        panels += [(panel, ours)] if ours else []
    picture, axes = new_axes(4.6 * len(panels), 5.0, len(panels))
    for each, (panel, ours) in zip(axes if len(panels) > 1 else [axes], panels):
        draw_panel(each, panel, ours)
    return to_png(picture)


def draw_panel(axes, panel, ours) -> None:
    """Draw our runs as dots, filled for one network, and published figures as squares."""
    small = dict(textcoords="offset points", fontsize=8, ha="center")
    for each, score in ours:
        size = each.millions
        fill = {} if each.networks == 1 else {"markerfacecolor": "none"}
        axes.plot(size, score, "o", color="C0", **fill)
        name = each.name.removeprefix("tinyshakespeare-")
        axes.annotate(name, (size, score), xytext=(0, 8), color="C0", **small)
    for anchor in panel.published:
        size = anchor.millions
        axes.plot(size, anchor.score, "s", color="C1")
        name = anchor.name.split(",")[0].replace(" et al.", "")
        axes.annotate(name, (size, anchor.score), xytext=(0, -14), color="C1", **small)
    axes.set(xscale="log", xlabel="parameters", ylabel=panel.unit, title=panel.title)
    low, high = axes.get_xlim()
    low, high = low / 1.6, high * 1.6  # space for centred labels at both edges
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g} M" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(low, high)
    axes.margins(y=0.12)
    axes.title.set_size(10)


def read_pages(folder: Path) -> dict[str, str]:
    """Return the text of each page in a folder by name."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))}


def replace(path: Path, place: re.Pattern, text: str) -> None:
    """Replace the text between two markers of a page."""
    page = path.read_text(encoding="utf-8")
    page = place.sub(lambda match: match[1] + text + match[2], page)
    path.write_text(page, encoding="utf-8")


def update(root: Path) -> None:
    """Write the tables and the picture, for the pages in docs/results/."""
    docs = root / "docs"
    pages = read_pages(docs / "results")
    replace(docs / "results.md", BEST, best(pages))
    replace(docs / "results" / "README.md", RUNS, all_runs(pages))
    replace(root / "README.md", BEST, readme_table(pages))
    (docs / "curves" / "overview.png").write_bytes(draw(pages))
