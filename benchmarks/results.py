"""Write what runs have measured into docs/results.md: python benchmarks/results.py [RUNS] (default: runs)

The document marks a place for each run, `<!-- run NAME of PRESET -->` to `<!-- end -->`. What stands there is replaced by the
command, the figures and the epochs of RUNS/NAME, all read from its config.json and metrics.jsonl, and its curve is copied beside.
Between `<!-- table NAME NAME ... -->` and `<!-- end -->` stands a row for each of these runs. A run that is not there, or has not ended,
leaves its place as it is.
"""

import json
import math
import re
import shutil
import statistics
import sys
from pathlib import Path

from gluonlm.config import Config, changed_settings, flag
from gluonlm.presets import preset_settings

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "results.md"
PLACE = re.compile(r"(<!-- run (\S+) of (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
TABLE = re.compile(r"(<!-- table ([^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)
ROWS = 16  # epochs shown at most, besides the best and the last


def spoken(name, value):
    """Give a setting as a flag."""
    if isinstance(value, bool):
        return flag(name) if value else flag("no-" + name)
    many = isinstance(value, tuple)
    return (
        f"{flag(name)} {(' ' if name == 'data' else ',').join(map(str, value)) if many else value}"
    )


def command(name, preset, config, threads):
    """Give the command that trains a run: its preset, what differs from it, and its threads; where files lie is left out."""
    flags = [
        spoken(setting, new)
        for setting, _, new, _ in changed_settings(
            Config.from_dict(preset_settings(preset)), config
        )
        if setting not in ("data_dir", "verify")
    ]
    own = [] if name == preset else [f"--run runs/{name}"]
    return " ".join(
        [f"python -m gluonlm.train --preset {preset}", *flags, f"--threads {threads}", *own]
    )


def chosen(records):
    """Thin out the validations of a long run: evenly, with the best and the last."""
    every = max(1, math.ceil(len(records) / ROWS))
    best = min(records, key=lambda record: record["valid_loss"])
    return [
        r
        for i, r in enumerate(records)
        if (i + 1) % every == 0 or i == len(records) - 1 or r is best
    ]


def read(folder):
    """Give a run's (config, records of metrics.jsonl), or None if it has not ended."""
    if not (folder / "metrics.jsonl").exists():
        return None
    lines = list(
        map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    )
    if not lines or lines[-1]["event"] != "result":
        return None
    return Config.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8"))), lines


def validated(lines):
    """Give the validations among a run's records."""
    return [
        line for line in lines if line["event"] == "validation" and line["valid_loss"] is not None
    ]


def unit_of(config):
    """Give the unit of a run's losses, and the function that shows nats in it."""
    if config.data.level == "char":
        return "bits per character (nats)", lambda nats: f"{nats / math.log(2):.3f} ({nats:.4f})"
    return "perplexity", lambda nats: f"{math.exp(nats):.2f}"


def figures_of(config, lines):
    """Give what a run measured, by what it is called."""
    validations, result, (_, show) = validated(lines), lines[-1], unit_of(config)
    best = min(validations, key=lambda record: record["valid_loss"])
    speeds = [line["tokens_per_second"] for line in lines if line["event"] == "training"]
    figures = {
        "device": result["device"],
        "threads": result["threads"],
        "time": f"{result['seconds']:,.0f} s",
        "tokens/s": f"{statistics.median(speeds):,.0f}" if speeds else "",
        "seed": config.training.seed,
        "parameters": f"{result['parameters']:,}",
        "epochs": f"{validations[-1]['epoch']:.2f}, ended by {result['reason']}",
        "best validation": f"{show(best['valid_loss'])} at epoch {best['epoch']:.2f}",
    }
    if "part" in result:
        figures[f"{result['part']}, as one stream"] = f"**{show(result['loss'])}**"
    return figures


def table(rows):
    """Give rows of figures, each by name, as a Markdown table."""
    return [
        f"| {' | '.join(rows[0])} |",
        "|---" * len(rows[0]) + "|",
        *(f"| {' | '.join(map(str, row.values()))} |" for row in rows),
    ]


def measured(name, preset, config, lines):
    """Give the Markdown for one run."""
    unit, show = unit_of(config)
    epochs = [f"| epoch | training, {unit} | validation |", "|---|---|---|"]
    for record in chosen(validated(lines)):
        train = "" if record["train_loss"] is None else show(record["train_loss"])
        epochs.append(f"| {record['epoch']:.2f} | {train} | {show(record['valid_loss'])} |")
    picture = f"![training and validation over epochs](curves/{name}.png)"
    typed = command(name, preset, config, lines[-1]["threads"])
    return "\n".join(
        [f"    {typed}", "", *table([figures_of(config, lines)]), "", *epochs, "", picture, ""]
    )


def compared(names, runs):
    """Give the Markdown table of several runs side by side, or None if one of them has not ended."""
    found = [read(runs / name) for name in names]
    return (
        None
        if None in found
        else "\n".join(
            [*table([{"run": name, **figures_of(*run)} for name, run in zip(names, found)]), ""]
        )
    )


def update(document, runs):
    """Fill every place of the document whose run is there; gives the names of those that were filled."""
    filled = []

    def fill(match):
        opening, name, preset, end = match.groups()
        run = read(runs / name)
        if run is None:
            return match[0]
        filled.append(name)
        curves = document.parent / "curves"
        curves.mkdir(exist_ok=True)
        shutil.copyfile(runs / name / "curve.png", curves / f"{name}.png")
        return f"{opening}{measured(name, preset, *run)}{end}"

    def fill_table(match):
        opening, names, end = match.groups()
        text = compared(names.split(), runs)
        return match[0] if text is None else f"{opening}{text}{end}"

    page = PLACE.sub(fill, document.read_text(encoding="utf-8"))
    document.write_text(TABLE.sub(fill_table, page), encoding="utf-8")
    return filled


if __name__ == "__main__":
    print("\n".join(update(DOCUMENT, Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))))
