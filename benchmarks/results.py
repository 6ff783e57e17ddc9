"""Write what runs have measured into docs/results.md: python benchmarks/results.py [RUNS] (default: runs)

The document marks a place for each run, `<!-- run NAME of PRESET -->` to `<!-- end -->`. What stands there is replaced by the
command, the figures and the epochs of RUNS/NAME, all read from its config.json and metrics.jsonl, and its curve is copied beside.
A run that is not there, or has not ended, leaves its place as it is.
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
ROWS = 16  # epochs shown at most, besides the best and the last


def spoken(name, value):
    """Give a setting as a flag."""
    if isinstance(value, bool):
        return flag(name) if value else flag("no-" + name)
    many = isinstance(value, tuple)
    return f"{flag(name)} {(' ' if name == 'data' else ',').join(map(str, value)) if many else value}"


def command(name, preset, config):
    """Give the command that trains a run: its preset and what differs from it; where files lie is left out."""
    flags = [
        spoken(setting, new)
        for setting, _, new, _ in changed_settings(Config.from_dict(preset_settings(preset)), config)
        if setting not in ("data_dir", "verify")
    ]
    own = [] if name == preset else [f"--run runs/{name}"]
    return " ".join([f"python -m gluonlm.train --preset {preset}", *flags, *own])


def chosen(records):
    """Thin out the validations of a long run: evenly, with the best and the last."""
    every = max(1, math.ceil(len(records) / ROWS))
    best = min(records, key=lambda record: record["valid_loss"])
    return [r for i, r in enumerate(records) if (i + 1) % every == 0 or i == len(records) - 1 or r is best]


def measured(name, preset, folder):
    """Give the Markdown for one run, or None if it has not ended."""
    config = Config.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    lines = list(map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()))
    validations = [line for line in lines if line["event"] == "validation" and line["valid_loss"] is not None]
    if not validations or lines[-1]["event"] != "result":
        return None
    result, best = lines[-1], min(validations, key=lambda record: record["valid_loss"])
    speeds = [line["tokens_per_second"] for line in lines if line["event"] == "training"]
    if config.data.level == "char":
        unit, show = "bits per character (nats)", lambda nats: f"{nats / math.log(2):.3f} ({nats:.4f})"
    else:
        unit, show = "perplexity", lambda nats: f"{math.exp(nats):.2f}"
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
    table = [f"| {' | '.join(figures)} |", "|---" * len(figures) + "|", f"| {' | '.join(map(str, figures.values()))} |"]
    epochs = [f"| epoch | training, {unit} | validation |", "|---|---|---|"]
    for record in chosen(validations):
        train = "" if record["train_loss"] is None else show(record["train_loss"])
        epochs.append(f"| {record['epoch']:.2f} | {train} | {show(record['valid_loss'])} |")
    picture = f"![training and validation over epochs](curves/{name}.png)"
    return "\n".join([f"    {command(name, preset, config)}", "", *table, "", *epochs, "", picture, ""])


def update(document, runs):
    """Fill every place of the document whose run is there; gives the names of those that were filled."""
    filled = []

    def fill(match):
        opening, name, preset, end = match.groups()
        folder = runs / name
        text = measured(name, preset, folder) if (folder / "metrics.jsonl").exists() else None
        if text is None:
            return match[0]
        filled.append(name)
        curves = document.parent / "curves"
        curves.mkdir(exist_ok=True)
        shutil.copyfile(folder / "curve.png", curves / f"{name}.png")
        return f"{opening}{text}{end}"

    document.write_text(PLACE.sub(fill, document.read_text(encoding="utf-8")), encoding="utf-8")
    return filled


if __name__ == "__main__":
    print("\n".join(update(DOCUMENT, Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))))
