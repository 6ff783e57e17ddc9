"""Write what runs have measured into the docs: python benchmarks/results.py [RUNS] (default: runs)

docs/results.md marks a place for each run, `<!-- run NAME of PRESET -->` to `<!-- end -->`. What
stands there is replaced by the command, the figures and the epochs of RUNS/NAME, all read from its
config.json and metrics.jsonl, and its curve is copied beside. Between `<!-- table NAME ... -->` and
`<!-- end -->` these runs stand side by side. A run that is not there, or has not ended, leaves its
place as it is. README.md's list of presets is then made from what stands in docs/results.md, so
that no figure is ever copied by hand.
"""

import json
import math
import re
import shutil
import statistics
import sys
import textwrap
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import overview
from overview import PLACE

from gluonlm.config import Config, changed_settings, flag
from gluonlm.presets import PRESETS, preset_settings

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT, README = ROOT / "docs" / "results.md", ROOT / "README.md"
TABLE = re.compile(r"(<!-- table ([^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)
LIST = re.compile(r"(<!-- presets -->\n).*?(<!-- end -->)", re.DOTALL)
PARTS = {
    "test, as one stream": "test",
    "valid, as one stream": "validation (no test part: settings were chosen on it)",
}
ROWS = 16  # epochs shown at most, besides the best and the last
WIDTH = 100


def spoken(name, value) -> str:
    """Return a setting as a flag."""
    if isinstance(value, bool):
        return flag(name) if value else flag("no-" + name)
    if isinstance(value, tuple):
        value = (" " if name == "data" else ",").join(map(str, value))
    return f"{flag(name)} {value}"


def command(name, preset, config, threads) -> str:
    """Return the lines of the command that trains a run.

    That is its preset, what differs from it, and its threads; where files lie is left out.
    """
    published = Config.from_dict(preset_settings(preset))
    flags = [
        spoken(setting, new)
        for setting, _, new, _ in changed_settings(published, config)
        if setting not in ("data_dir", "verify")
    ]
    own = [] if name == preset else [f"--run runs/{name}"]
    words = [f"python -m gluonlm.train --preset {preset}", *flags, f"--threads {threads}", *own]
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > WIDTH - 8:
            lines[-1] += " \\"
            lines.append("    " + word)
        else:
            lines[-1] += " " + word
    return "\n".join("    " + line for line in lines)


def chosen(records) -> List[dict]:
    """Return the validations shown of a long run: evenly spaced, with the best and the last."""
    every = max(1, math.ceil(len(records) / ROWS))
    best, last = min(records, key=lambda record: record["valid_loss"]), len(records) - 1
    return [r for i, r in enumerate(records) if (i + 1) % every == 0 or i == last or r is best]


def read(folder) -> Optional[Tuple[Config, List[dict]]]:
    """Return a run's (config, records of metrics.jsonl), or None if it has not ended."""
    metrics = folder / "metrics.jsonl"
    if not metrics.exists():
        return None
    lines = list(map(json.loads, metrics.read_text(encoding="utf-8").splitlines()))
    if not lines or lines[-1]["event"] != "result":
        return None
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Config.from_dict(settings), lines


def validated(lines) -> List[dict]:
    """Return the validations among a run's records."""
    return [r for r in lines if r["event"] == "validation" and r["valid_loss"] is not None]


def unit_of(config) -> Tuple[str, Callable[[float], str]]:
    """Return the unit of a run's losses, and the function that shows nats in it."""
    if config.data.level == "char":
        return "bits per character (nats)", lambda nats: f"{nats / math.log(2):.3f} ({nats:.4f})"
    return "perplexity", lambda nats: f"{math.exp(nats):.2f}"


def figures_of(config, lines) -> Dict[str, object]:
    """Return what a run measured, by what it is called."""
    validations, result, (_, show) = validated(lines), lines[-1], unit_of(config)
    best = min(validations, key=lambda record: record["valid_loss"])
    speeds = [r["tokens_per_second"] for r in lines if r["event"] == "training"]
    figures = {
        "device": result["device"],
        "threads": result["threads"],
        "time": f"{result['seconds']:,.0f} s",
        "tokens/s": f"{statistics.median(speeds):,.0f}" if speeds else "",
        "seed": config.training.seed,
        "parameters": f"{result['parameters']:,}",
        "epochs": f"{validations[-1]['epoch']:.2f}, ended by {result['reason']}",
        "best validation": show(best["valid_loss"]),
        "at epoch": f"{best['epoch']:.2f}",
    }
    if result.get("part") == "valid":
        figures["test"] = "no such part: checkpoint and settings were chosen on validation"
    if "part" in result:
        figures[f"{result['part']}, as one stream"] = f"**{show(result['loss'])}**"
    return figures


def beside(names, runs) -> List[str]:
    """Return figures by name, one dict for each run, as a Markdown table with a column for each."""
    rows = [["", *names], ["---"] * (len(names) + 1)]
    rows += [[key, *(str(run.get(key, "")) for run in runs)] for key in runs[0]]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], lines[1].replace(" ", ""), *lines[2:]]


def measured(name, preset, config, lines) -> str:
    """Return the Markdown for one run."""
    unit, show = unit_of(config)
    epochs = [f"| epoch | training, {unit} | validation |", "|---|---|---|"]
    for record in chosen(validated(lines)):
        train = "" if record["train_loss"] is None else show(record["train_loss"])
        epochs.append(f"| {record['epoch']:.2f} | {train} | {show(record['valid_loss'])} |")
    picture = f"![training and validation over epochs](curves/{name}.png)"
    typed = command(name, preset, config, lines[-1]["threads"])
    figures = beside([f"`{name}`"], [figures_of(config, lines)])
    folded = ["<details><summary>Epoch by epoch</summary>", "", *epochs, "", "</details>"]
    return "\n".join([typed, "", *figures, "", *folded, "", picture, ""])


def compared(names, runs) -> Optional[str]:
    """Return the Markdown table of several runs side by side, or None if one has not ended."""
    found = [read(runs / name) for name in names]
    if None in found:
        return None
    titles, figures = [f"`{name}`" for name in names], [figures_of(*run) for run in found]
    return "\n".join([*beside(titles, figures), ""])


def update(document, runs) -> List[str]:
    """Fill every place of the document whose run is there; return the names of those."""
    filled = []

    def fill(match):
        opening, name, preset, _, end = match.groups()
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


def summary(page) -> str:
    """Return README's list of presets: what the page says of each, and what was published.

    Runs that differ from their preset's name are left to the page, as are places not filled yet.
    """
    lines = []
    for _, name, preset, text, _ in PLACE.findall(page):
        if name != preset:
            continue
        figures = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.M))
        score = next((key for key in PARTS if key in figures), None)
        if score is None:  # its run has not been made
            continue
        unit = re.search(r"^\| epoch \| training, (.+) \| validation \|$", text, re.M)[1]
        flags = re.sub(r"\s*\\\n\s*", " ", text.split("\n\n")[0]).split(f"--preset {name} ")[1]
        epochs = figures["epochs"].split(",")[0]
        said = (
            f"- `{name}`: {PARTS[score]} {figures[score]} {unit}, "
            f"{figures['parameters']} parameters, {figures['time']}, {epochs} epochs (`{flags}`, "
            f"{figures['device']}, seed {figures['seed']}). Published: {PRESETS[name].published}."
        )
        wrap = dict(subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
        lines += textwrap.wrap(said, WIDTH, **wrap)
    return "\n".join([*lines, ""])


def update_readme(readme, page) -> None:
    """Make README's list of presets from the page."""
    text = readme.read_text(encoding="utf-8")
    filled = LIST.sub(lambda match: match[1] + summary(page) + match[2], text)
    readme.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    print("\n".join(update(DOCUMENT, Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))))
    overview.update(DOCUMENT)
    update_readme(README, DOCUMENT.read_text(encoding="utf-8"))
