"""Write the figures of finished runs into the docs: python benchmarks/results.py [RUNS]

RUNS defaults to runs/. The markers in docs/results.md, each ended by `<!-- end -->`:

`<!-- run NAME of PRESET -->`
    Command, figures and epochs of RUNS/NAME, from its config.json and metrics.jsonl. Its curve.png
    is copied to docs/curves/.
`<!-- run NAME of PRESET from A B -->`
    A run that `combine` made from the runs A and B. Its scores are read from RUNS/NAME.json, the
    output of `evaluate --dynamic ... --json`, with or without `--cache`.
`<!-- run NAME of PRESET after A of PRESET -->`
    A run initialised with the weights of the run A, whose command and time are included.
`<!-- table NAME ... -->`
    These runs in columns.
`<!-- changes NAME ... -->`
    A row for each run: the settings that differ from the first run, and its losses.
`<!-- presets -->`
    A list of all presets, made from the runs above.

A run that is missing or unfinished leaves its part unchanged. The description of each preset is
copied from `gluonlm.config.presets`. README.md's table between `<!-- presets -->` and
`<!-- end -->` is made from docs/results.md, so no figure is copied by hand.
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
# README's presets, and the published figure that each is compared with
ANCHORS = {
    "ptb-lstm": "117.999 (word LSTM, 15 epochs)",
    "ptb-small": "82.7 (Inan et al. 2016, tied)",
    "ptb-medium": "57.3 (AWD-LSTM, 24 M parameters)",
    "tinyshakespeare-gru": "1.886 (nanoGPT, CPU, 95 s)",
    "tinyshakespeare-gru-12min": "1.4697 (nanoGPT, A100)",
    "nietzsche-lstm": "no loss published",
}
NOTE = (
    "Perplexity or nats per character of the test part; of the validation part for "
    "tinyshakespeare, because nanoGPT's split has no test part."
)
ROWS = 16  # epochs shown at most, besides the best and the last
WIDTH = 100


def as_flag(name, value) -> str:
    """Return a setting as a flag."""
    if isinstance(value, bool):
        return flag(name) if value else flag("no-" + name)
    if isinstance(value, tuple):
        value = (" " if name == "data" else ",").join(map(str, value))
    return f"{flag(name)} {value}"


def differences(old, new) -> list[str]:
    """Return the flags that turn one config into another, except the locations of files."""
    return [
        as_flag(setting, value)
        for setting, _, value, _ in changed_settings(old, new)
        if setting not in ("data_dir", "verify")
    ]


def command(name, preset, config, threads, beginning=()) -> str:
    """Return the lines of the command that trains a run: preset, changed flags, threads."""
    flags = [*differences(Config.from_dict(preset_settings(preset)), config), *beginning]
    folder = [] if name == preset else [f"--run runs/{name}"]
    words = [f"python -m gluonlm.train --preset {preset}", *flags, f"--threads {threads}", *folder]
    return command_lines(words)


def command_lines(words) -> str:
    """Return words as the indented lines of a command, joined by backslashes."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > WIDTH - 8:
            lines[-1] += " \\"
            lines.append("    " + word)
        else:
            lines[-1] += " " + word
    return "\n".join("    " + line for line in lines)


def chosen(records) -> list[dict]:
    """Return the validations to show: evenly spaced, with the best and the last."""
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
    """Return the measurements of a run by name."""
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


def columns(names, runs) -> list[str]:
    """Return a Markdown table with a column of figures for each run."""
    rows = [["", *names], ["---"] * (len(names) + 1)]
    rows += [[key, *(str(run.get(key, "")) for run in runs)] for key in runs[0]]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], lines[1].replace(" ", ""), *lines[2:]]


def measured(name, preset, before, runs, curves) -> str | None:
    """Return the Markdown for one run and copy its curve; None if the run has not ended.

    `before` is the (name, preset) of the run that supplied its initial weights, if any.
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
        total = seconds + lines[-1]["seconds"]
        figures["time"] = f"{total:,.0f} s, of it {seconds:,.0f} s for `{other}`"
    table = columns([f"`{name}`"], [figures])
    folded = ["<details><summary>Epoch by epoch</summary>", "", *epochs, "", "</details>"]
    return "\n".join([*commands, "", *table, "", *folded, "", picture, ""])


def read_all(names, runs) -> list[tuple[Config, list[dict]]] | None:
    """Return several runs as `read` does, or None if one has not ended."""
    found = [run for run in (read(runs / name) for name in names) if run]
    return found if len(found) == len(names) else None


def joined(name, preset, members, runs) -> str | None:
    """Return the Markdown for a combined run, or None if a run or the scores are missing."""
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
        f"{part}, with dynamic evaluation": show(learning["nats"]),
    }
    combined, folders = f"runs/{name}", [f"runs/{member}" for member in members]
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
    commands.append(command_lines(["python -m gluonlm.run.combine", *folders, f"--run {combined}"]))
    evaluation = [f"python -m gluonlm.evaluate {combined}", f"--part {part}", *adapting]
    commands.append(command_lines(evaluation))
    return "\n".join([*commands, "", *columns([f"`{name}`"], [figures]), ""])


def compared(names, found) -> list[str]:
    """Return the Markdown table of several runs, a column each."""
    return columns([f"`{name}`" for name in names], [figures_of(*run) for run in found])


def changed(names, found) -> list[str]:
    """Return a Markdown table of runs: the settings that differ from the first run, and losses."""
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
    """Fill the markers of the document whose runs have ended; return the names of these runs."""
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


def placed(page) -> dict[str, tuple[str, str, dict[str, str]]]:
    """Return (opening marker, text, figures) of each finished run named after its preset."""
    found = {}
    for opening, name, preset, text, _ in PLACE.findall(page):
        figures = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.M))
        if name == preset and any(key in figures for key in PARTS):
            found[name] = opening, text, figures
    return found


def summary(page) -> str:
    """Return the list of presets, with the figures on the page and the published ones."""
    lines = []
    for name, (opening, text, figures) in placed(page).items():
        score = next(key for key in PARTS if key in figures)
        unit = unit_of(Config.from_dict(preset_settings(name)))[0]
        flags = re.sub(r"\s*\\\n\s*", " ", text.split("\n\n")[0]).split(f"--preset {name} ")[1]
        how = "networks trained separately" if MEMBERS.search(opening) else f"`{flags}`"
        epochs = figures["epochs"].split(",")[0]
        bullet = (
            f"- `{name}`: {PARTS[score]} {figures[score]} {unit}, "
            f"{figures['parameters']} parameters, {figures['time']}, {epochs} epochs ({how}, "
            f"{figures['device']}, seed {figures['seed']}). Published: {PRESETS[name].published}."
        )
        lines += wrapped(bullet, subsequent_indent="  ")
    return "\n".join([*lines, ""])


def wrapped(text, **indent) -> list[str]:
    """Return the lines of a paragraph."""
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False, break_long_words=False, **indent)


def duration(seconds) -> str:
    """Return a time in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.1f} h"


def readme_table(page) -> str:
    """Return README's table of the presets in `ANCHORS`."""
    rows = ["| preset | parameters | time, one core | ours | published |", "|---|---|---|---|---|"]
    found = placed(page)
    for name, published in ANCHORS.items():
        if name not in found:
            continue
        figures = found[name][2]
        score = next(key for key in PARTS if key in figures)
        shown, unit = figures[score].strip("*"), "perplexity"
        if nats := re.search(r"\((.+)\)", shown):
            shown, unit = nats[1], "nats"
        seconds = float(figures["time"].split()[0].replace(",", ""))
        rows.append(
            f"| `{name}` | {figures['parameters']} | {duration(seconds)} "
            f"| **{shown}** {unit} | {published} |"
        )
    return "\n".join([*rows, "", *wrapped(NOTE), ""])


def describe(page) -> str:
    """Return the page with the description and the published figures of each preset replaced."""
    for name, preset in PRESETS.items():
        paragraphs = [preset.about, f"Published: {preset.published}."]
        text = "".join("\n".join(wrapped(each)) + "\n\n" for each in paragraphs)
        place = re.compile(rf"(^## {name}\n\n).*?^Published: .*?\n\n", re.DOTALL | re.MULTILINE)
        page = place.sub(lambda match, text=text: match[1] + text, page)
    return page


def update_presets(path, text) -> None:
    """Replace the part of a file between the markers of the presets."""
    page = path.read_text(encoding="utf-8")
    path.write_text(LIST.sub(lambda match: match[1] + text + match[2], page), encoding="utf-8")


if __name__ == "__main__":
    print("\n".join(update(DOCUMENT, Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))))
    overview.update(DOCUMENT)
    document = describe(DOCUMENT.read_text(encoding="utf-8"))
    DOCUMENT.write_text(document, encoding="utf-8")
    update_presets(DOCUMENT, summary(document))
    update_presets(README, readme_table(document))
