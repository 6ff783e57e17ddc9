"""Write what runs have measured into the docs: python benchmarks/results.py [RUNS] (default: runs)

docs/results.md marks a place for each run, `<!-- run NAME of PRESET -->` to `<!-- end -->`. What
stands there is replaced by the command, the figures and the epochs of RUNS/NAME, all read from its
config.json and metrics.jsonl, and its curve is copied beside.
`<!-- run NAME of PRESET from A B -->` is the place of what `combine` made of the runs A and B: its
scores are those that `evaluate --dynamic ... --json`, with or without `--cache`, wrote to
RUNS/NAME.json. `<!-- run NAME of PRESET after A of PRESET -->` is the place of a run that began
with the weights of the run A, whose command and time are added. Between `<!-- table NAME ... -->`
and `<!-- end -->` these runs stand side by side; after `<!-- changes NAME ... -->`, a line for each
says in what it differs from the first, and its losses. A run that is not there, or has not ended,
leaves its place as it is. README.md's list of presets is then made from what stands in
docs/results.md, so that no figure is ever copied by hand.
"""

import json
import math
import re
import shutil
import statistics
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import overview
from overview import PLACE

from gluonlm.config import Config, changed_settings
from gluonlm.config.presets import PRESETS, preset_settings
from gluonlm.system.console import flag

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT, README = ROOT / "docs" / "results.md", ROOT / "README.md"
TABLE = re.compile(r"(<!-- (table|changes) ([^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MEMBERS, BEFORE = re.compile(r" from (.+) -->"), re.compile(r" after (\S+) of (\S+) -->")
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


def differences(old, new) -> list[str]:
    """Return the flags that make a config of another; where files lie is left out."""
    return [
        spoken(setting, value)
        for setting, _, value, _ in changed_settings(old, new)
        if setting not in ("data_dir", "verify")
    ]


def command(name, preset, config, threads, beginning=()) -> str:
    """Return the lines of the command that trains a run: its preset, what differs, its threads."""
    flags = [*differences(Config.from_dict(preset_settings(preset)), config), *beginning]
    own = [] if name == preset else [f"--run runs/{name}"]
    words = [f"python -m gluonlm.train --preset {preset}", *flags, f"--threads {threads}", *own]
    return typed(words)


def typed(words) -> str:
    """Return words as the indented lines of a command, each but the last ended by a backslash."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > WIDTH - 8:
            lines[-1] += " \\"
            lines.append("    " + word)
        else:
            lines[-1] += " " + word
    return "\n".join("    " + line for line in lines)


def chosen(records) -> list[dict]:
    """Return the validations shown of a long run: evenly spaced, with the best and the last."""
    every = max(1, math.ceil(len(records) / ROWS))
    best, last = min(records, key=lambda record: record["valid_loss"]), len(records) - 1
    return [r for i, r in enumerate(records) if (i + 1) % every == 0 or i == last or r is best]


def read(folder) -> tuple[Config, list[dict]] | None:
    """Return a run's (config, records of metrics.jsonl), or None if it has not ended."""
    metrics = folder / "metrics.jsonl"
    if not metrics.exists():
        return None
    lines = list(map(json.loads, metrics.read_text(encoding="utf-8").splitlines()))
    if not lines or lines[-1]["event"] != "result":
        return None
    path = folder / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    return Config.from_kept(settings, path), lines


def validated(lines) -> list[dict]:
    """Return the validations among a run's records."""
    return [r for r in lines if r["event"] == "validation" and r["valid_loss"] is not None]


def unit_of(config) -> tuple[str, Callable[[float], str]]:
    """Return the unit of a run's losses, and the function that shows nats in it."""
    if config.data.level == "char":
        return "bits per character (nats)", lambda nats: f"{nats / math.log(2):.3f} ({nats:.4f})"
    return "perplexity", lambda nats: f"{math.exp(nats):.2f}"


def figures_of(config, lines) -> dict[str, object]:
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


def beside(names, runs) -> list[str]:
    """Return figures by name, one dict for each run, as a Markdown table with a column for each."""
    rows = [["", *names], ["---"] * (len(names) + 1)]
    rows += [[key, *(str(run.get(key, "")) for run in runs)] for key in runs[0]]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], lines[1].replace(" ", ""), *lines[2:]]


def measured(name, preset, before, runs, curves) -> str | None:
    """Return the Markdown for one run, whose curve is copied, or None if it has not ended.

    `before` has the name and the preset of the run whose weights it began with, if any.
    """
    run, first = read(runs / name), read(runs / before[0]) if before else None
    if run is None or (before and first is None):
        return None
    config, lines = run
    curves.mkdir(exist_ok=True)
    shutil.copyfile(runs / name / "curve.png", curves / f"{name}.png")
    unit, show = unit_of(config)
    epochs = [f"| epoch | training, {unit} | validation |", "|---|---|---|"]
    for record in chosen(validated(lines)):
        train = "" if record["train_loss"] is None else show(record["train_loss"])
        epochs.append(f"| {record['epoch']:.2f} | {train} | {show(record['valid_loss'])} |")
    picture = f"![training and validation over epochs](curves/{name}.png)"
    figures, threads = figures_of(config, lines), lines[-1]["threads"]
    commands = [command(name, preset, config, threads)]
    if first:
        (other, its_preset), seconds = before, first[1][-1]["seconds"]
        commands = [
            command(other, its_preset, first[0], first[1][-1]["threads"]),
            command(name, preset, config, threads, [f"--init-from runs/{other}", "--extend-vocab"]),
        ]
        whole = seconds + lines[-1]["seconds"]
        figures["time"] = f"{whole:,.0f} s, of it {seconds:,.0f} s for `{other}`"
    table = beside([f"`{name}`"], [figures])
    folded = ["<details><summary>Epoch by epoch</summary>", "", *epochs, "", "</details>"]
    return "\n".join([*commands, "", *table, "", *folded, "", picture, ""])


def read_all(names, runs) -> list[tuple[Config, list[dict]]] | None:
    """Return several runs as `read` does, or None if one has not ended."""
    found = [run for run in (read(runs / name) for name in names) if run]
    return found if len(found) == len(names) else None


def joined(name, preset, members, runs) -> str | None:
    """Return the Markdown for what `combine` made of runs, or None if something is not there."""
    found, scores = read_all(members, runs), runs / f"{name}.json"
    if found is None or not scores.exists():
        return None
    static, results = json.loads(scores.read_text()), [lines[-1] for _, lines in found]
    learning, cache = static["dynamic"], static.get("dynamic_cache")
    part, (_, show) = results[0]["part"], unit_of(found[0][0])
    figures = {
        "device": results[0]["device"],
        "time": f"{sum(result['seconds'] for result in results):,.0f} s",
        "seed": ", ".join(str(config.training.seed) for config, _ in found),
        "parameters": f"{sum(result['parameters'] for result in results):,}",
        "epochs": " / ".join(f"{validated(lines)[-1]['epoch']:.2f}" for _, lines in found),
        f"{part}, each alone": ", ".join(show(result["loss"]) for result in results),
        f"{part}, as one stream": f"**{show(static['nats'])}**",
        f"{part}, learning while it reads": show(learning["nats"]),
    }
    own, folders = f"runs/{name}", [f"runs/{member}" for member in members]
    adapting = [f"--dynamic {learning['rule']}"]
    adapting += [
        f"{flag('dynamic_' + setting)} {learning[setting]:g}"
        for setting in ("lr", "decay", "seq_len")
    ]
    if cache:
        figures[f"{part}, with a cache too"] = show(cache["nats"])
        adapting.append(f"--cache {cache['size']}")
        adapting += [f"--cache-{setting} {cache[setting]:g}" for setting in ("theta", "weight")]
    commands = [
        command(member, preset, config, lines[-1]["threads"])
        for member, (config, lines) in zip(members, found)
    ]
    commands.append(typed(["python -m gluonlm.run.combine", *folders, f"--run {own}"]))
    commands.append(typed([f"python -m gluonlm.evaluate {own}", f"--part {part}", *adapting]))
    return "\n".join([*commands, "", *beside([f"`{name}`"], [figures]), ""])


def compared(names, found) -> list[str]:
    """Return the Markdown table of several runs side by side."""
    return beside([f"`{name}`" for name in names], [figures_of(*run) for run in found])


def changed(names, found) -> list[str]:
    """Return a Markdown table of runs: in what each differs from the first, and its losses."""
    (first, _), (unit, show) = found[0], unit_of(found[0][0])
    rows = [f"| changed | training, {unit} | best validation | minutes |", "|---|---|---|---|"]
    for name, (config, lines) in zip(names, found):
        best = min(validated(lines), key=lambda record: record["valid_loss"])
        flags = ", ".join(f"`{each}`" for each in differences(first, config))
        rows.append(
            f"| {flags or f'nothing: `{name}`'} | {show(best['train_loss'])} "
            f"| {show(best['valid_loss'])} | {lines[-1]['seconds'] / 60:.3g} |"
        )
    return rows


def update(document, runs) -> list[str]:
    """Fill every place of the document whose run is there; return the names of those."""
    filled = []

    def fill(match):
        opening, name, preset, _, end = match.groups()
        members, before = MEMBERS.search(opening), BEFORE.search(opening)
        text = (
            joined(name, preset, members[1].split(), runs)
            if members
            else measured(
                name, preset, before and before.groups(), runs, document.parent / "curves"
            )
        )
        if text is None:
            return match[0]
        filled.append(name)
        return f"{opening}{text}{end}"

    def fill_table(match):
        opening, kind, names, end = match.groups()
        found = read_all(names.split(), runs)
        if found is None:
            return match[0]
        rows = {"table": compared, "changes": changed}[kind](names.split(), found)
        return "\n".join([opening.rstrip(), *rows, end])

    page = PLACE.sub(fill, document.read_text(encoding="utf-8"))
    document.write_text(TABLE.sub(fill_table, page), encoding="utf-8")
    return filled


def summary(page) -> str:
    """Return README's list of presets: what the page says of each, and what was published.

    Runs that differ from their preset's name are left to the page, as are places not filled yet.
    """
    lines = []
    for opening, name, preset, text, _ in PLACE.findall(page):
        if name != preset:
            continue
        figures = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.M))
        score = next((key for key in PARTS if key in figures), None)
        if score is None:  # its run has not been made
            continue
        unit = unit_of(Config.from_dict(preset_settings(name)))[0]
        flags = re.sub(r"\s*\\\n\s*", " ", text.split("\n\n")[0]).split(f"--preset {name} ")[1]
        how = "networks trained apart" if MEMBERS.search(opening) else f"`{flags}`"
        epochs = figures["epochs"].split(",")[0]
        said = (
            f"- `{name}`: {PARTS[score]} {figures[score]} {unit}, "
            f"{figures['parameters']} parameters, {figures['time']}, {epochs} epochs ({how}, "
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
