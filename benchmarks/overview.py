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
STREAM = "one stream, state carried"
PARTS = ("test", "valid")


class Anchor(NamedTuple):
    """A published figure."""

    name: str
    parameters: str
    score: float


class Row(NamedTuple):
    """A row of the table: a task, our run, and the hardest figure published for it."""

    task: str
    run: str  # for several seeds, the name of the first run
    part: str
    protocol: str
    anchor: Anchor
    readme: bool = True


INAN = Anchor("Inan et al. 2016, tied", "2.65 M", 82.7)
MELIS = Anchor("Melis et al. 2018", "10 M", 59.6)
MOGRIFIER = Anchor("Mogrifier LSTM, one network", "24 M", 50.1)
ADAPTED = Anchor("Mogrifier LSTM, dynamic evaluation", "24 M", 44.9)
WORD_LSTM = Anchor("word LSTM, 15 epochs", "same shapes", 117.999)
GRU = Anchor("GRU, 2026, 286 s on an unnamed device", "822,849", 1.4693)
NANOGPT = Anchor("nanoGPT, A100", "10.65 M", 1.4697)
NANOGPT_CPU = Anchor("nanoGPT, CPU, run here in 95 s", "0.80 M", 1.886)
STANDARD = Anchor("GluonNLP standard_lstm_lm_200", "7.33 M", 101.64)
AWD_600 = Anchor("GluonNLP awd_lstm_lm_600", "12.14 M", 80.67)
PTB, PLAYS, SHORT = "Penn Treebank words", "tiny Shakespeare 80/10/10", "tiny Shakespeare 90/10"
ROWS = (
    Row(f"{PTB}, 2.7 M", "ptb-small-200-again", "test", STREAM, INAN),
    Row(f"{PTB}, 4.65 M", "ptb-small", "test", STREAM, INAN),
    Row(f"{PTB}, 10 M", "ptb-medium", "test", STREAM, MELIS),
    Row(f"{PTB}, 10 M", "ptb-medium", "test", f"{STREAM}, adapted", ADAPTED, False),
    Row(f"{PTB}, ensemble of 4", "ptb-ensemble", "test", STREAM, MOGRIFIER),
    Row(f"{PTB}, ensemble of 4", "ptb-ensemble", "test", f"{STREAM}, adapted", ADAPTED, False),
    Row(f"{PTB}, plain LSTM", "ptb-lstm", "test", "60 columns in segments of 20", WORD_LSTM, False),
    Row("WikiText-2 words, 7.33 M", "wikitext-2-small", "test", STREAM, STANDARD, False),
    Row("WikiText-2 words, 12.14 M", "wikitext-2", "test", STREAM, AWD_600, False),
    Row(f"{PLAYS}, 95 s", "tinyshakespeare-gru-test", "valid", "cold windows of 128", GRU),
    Row(f"{PLAYS}, LSTM 384", "tinyshakespeare-lstm-test", "valid", "cold windows of 128", GRU),
    Row(
        f"{PLAYS}, 12 min, ensemble of 2",
        *("tinyshakespeare-lstm-12min-test", "valid", "cold windows of 128", GRU),
    ),
    Row(f"{SHORT}, 95 s", "tinyshakespeare-gru", "valid", "cold windows of 64", NANOGPT_CPU),
    Row(
        f"{SHORT}, 12 min, ensemble of 2",
        *("tinyshakespeare-lstm-12min", "valid", "cold windows of 256", NANOGPT),
    ),
    Row(
        f"{SHORT}, 1 h, ensemble of 4",
        *("tinyshakespeare-lstm-long", "valid", "cold windows of 256", NANOGPT, False),
    ),
)
# panels of the picture: title, unit, corpus, split, part, protocol, and published figures
PANELS = (
    (
        *("Penn Treebank, test, one stream", "perplexity", "ptb", "", "test", STREAM),
        (INAN, MELIS, MOGRIFIER, Anchor("AWD-LSTM", "24 M", 57.3),
         Anchor("Zaremba 2014", "4.65 M", 114.5), Anchor("Zaremba 2014", "66 M", 78.4)),
    ),
    (
        *("tiny Shakespeare 80/10/10, windows of 128", "nats per character"),
        *("tinyshakespeare", "80/10/10", "valid", "cold windows of 128"),
        (GRU, Anchor("LSTM", "1,086,017", 1.5091), Anchor("Transformer", "1,347,969", 1.5652)),
    ),
    (
        *("tiny Shakespeare 90/10, windows of 256", "nats per character"),
        *("tinyshakespeare", "90/10/0", "valid", "cold windows of 256", (NANOGPT,)),
    ),
)  # fmt: skip
TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 50)  # millions


class Figure(NamedTuple):
    """The figures of one run, or of one run with several seeds, on a page."""

    name: str
    preset: str
    page: str
    networks: int
    split: str
    rows: dict[str, list[str]]  # cells: value, or mean and standard deviation

    def score(self, part: str, protocol: str) -> float | None:
        """Return a score: nats for characters, perplexity for words; None if it is missing."""
        cells = self.rows.get(label(part, protocol))
        return cells and number(cells[0])

    @property
    def minutes(self) -> float:
        """The time of the run in minutes."""
        return float(self.rows["time"][0].split()[0].replace(",", "")) / 60


def label(part: str, protocol: str) -> str:
    """Return the name of a row of a run's table."""
    short = {STREAM: "as one stream", f"{STREAM}, adapted": "with dynamic evaluation"}
    return f"{part}, {short.get(protocol, protocol)}"


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
                split = last(text, "split", preset, "")
                found.append(Figure(names.split()[0], preset, page, networks, split, rows))
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


def compared(pages: dict[str, str]) -> Iterator[tuple[Row, Figure, str]]:
    """Yield each row whose run is on the pages, with its figures and our score as text."""
    found = {figure.name: figure for figure in figures(pages)}
    for row in ROWS:
        figure = found.get(row.run)
        score = figure and figure.score(row.part, row.protocol)
        if figure and score:
            cells = figure.rows[label(row.part, row.protocol)]
            yield row, figure, shown(score, f" ± {cells[1]}" if len(cells) > 1 else "")


def conditions(figure: Figure) -> str:
    """Return time, device, threads and seeds of a run."""
    rows = {name: cells[0] for name, cells in figure.rows.items()}
    threads = rows.get("threads", "1")
    plural = "" if threads == "1" else "s"
    device = rows["device"].replace("(0)", "")
    seeds = f"seed{'' if rows['seed'].isdigit() else 's'} {rows['seed']}"
    return f"{duration(figure.minutes)}, {device}, {threads} thread{plural}, {seeds}"


def anchored(row: Row) -> str:
    """Return the published figure of a row, with its parameters."""
    return f"{row.anchor.score:g} ({row.anchor.name}, {row.anchor.parameters})"


def best(pages: dict[str, str]) -> str:
    """Return the table of docs/results.md."""
    lines = [
        "| task | part, protocol | ours | parameters | made in | hardest figure, same protocol | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, figure, score in compared(pages):
        lines.append(
            f"| {row.task}: [`{figure.name}`](results/{figure.page}#{figure.name}) "
            f"| {row.part}, {row.protocol} | **{score}** | {figure.rows['parameters'][0]} "
            f"| {conditions(figure)} | {anchored(row)} | {verdict(row, figure)} |"
        )
    return "\n".join([*lines, ""])


def verdict(row: Row, figure: Figure) -> str:
    """Return whether a run is better than the published figure, and with how many parameters."""
    cells = figure.rows[label(row.part, row.protocol)]
    lead = row.anchor.score - number(cells[0])
    if lead <= 0:
        return "not passed"
    if len(cells) > 1 and lead < float(cells[1]):
        return "within the spread of the seeds"
    if row.anchor.parameters[0].isdigit():
        ratio = millions(figure.rows["parameters"][0]) / millions(row.anchor.parameters)
        if ratio > 1.05:
            return f"passed with {ratio:.1f} times the parameters"
    return "passed"


def readme_table(pages: dict[str, str]) -> str:
    """Return README's table."""
    lines = [
        "| task | read as | parameters | time | ours | hardest published figure, parameters |",
        "|---|---|---|---|---|---|",
    ]
    for row, figure, score in compared(pages):
        if row.readme:
            lines.append(
                f"| {row.task} | {row.protocol.split(',')[0]} | {figure.rows['parameters'][0]} "
                f"| {duration(figure.minutes)} | **{score}** | {anchored(row)} |"
            )
    return "\n".join([*lines, ""])


def all_runs(pages: dict[str, str]) -> str:
    """Return the table of all runs."""
    unit = "bits per character (nats), or perplexity"
    lines = [
        f"| run | networks | part | {unit} | parameters | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for each in figures(pages):
        for part in PARTS:
            cells = each.rows.get(label(part, STREAM))
            if cells:
                lines.append(
                    f"| [`{each.name}`]({each.page}#{each.name}) | {each.networks} | {part} "
                    f"| {cells[0].strip('*')} | {each.rows['parameters'][0]} "
                    f"| {each.minutes:.3g} |"
                )
    return "\n".join([*lines, ""])


def millions(parameters: str) -> float:
    """Return a number of parameters such as `10 M` or `822,849` in millions."""
    if parameters.endswith(" M"):
        return float(parameters[:-2])
    return float(parameters.replace(",", "")) / 1e6


def draw(pages: dict[str, str]) -> bytes:
    """Draw loss against parameters as PNG: a panel for each protocol of which we have figures."""
    panels = []
    for panel in PANELS:
        _, _, corpus, split, part, protocol, _ = panel
        ours = [
            (each, score)
            for each in figures(pages)
            if PRESETS[each.preset].settings["data"] == (corpus,)
            and each.split == split
            and (score := each.score(part, protocol))
        ]
        best_of = {}  # of several runs of the same networks
        for each, score in ours:
            key = (each.preset, each.rows["parameters"][0], each.networks)
            best_of[key] = min(best_of.get(key, (each, score)), (each, score), key=lambda p: p[1])
        panels += [(panel, list(best_of.values()))] if ours else []
    figure, axes = new_axes(4.6 * len(panels), 5.0, len(panels))
    for each, (panel, ours) in zip(axes if len(panels) > 1 else [axes], panels):
        draw_panel(each, panel, ours)
    return to_png(figure)


def draw_panel(axes, panel, ours) -> None:
    """Draw our runs as dots, filled for one network, and published figures as squares."""
    title, unit, corpus, *_, published = panel
    small = dict(textcoords="offset points", fontsize=8, ha="center")
    for each, score in ours:
        size = millions(each.rows["parameters"][0])
        fill = {} if each.networks == 1 else {"markerfacecolor": "none"}
        axes.plot(size, score, "o", color="C0", **fill)
        name = each.name.removeprefix(f"{corpus}-")
        axes.annotate(name, (size, score), xytext=(0, 8), color="C0", **small)
    for anchor in published:
        size = millions(anchor.parameters)
        axes.plot(size, anchor.score, "s", color="C1")
        name = anchor.name.split(",")[0].replace(" et al.", "")
        axes.annotate(name, (size, anchor.score), xytext=(0, -14), color="C1", **small)
    axes.set(xscale="log", xlabel="parameters", ylabel=unit, title=title)
    low, high = axes.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g} M" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(low / 1.6, high * 1.6)  # room for centred labels at both edges
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
