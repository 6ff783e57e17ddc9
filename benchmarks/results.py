"""Write the figures of finished runs into the docs: python benchmarks/results.py [RUNS]

RUNS defaults to runs/. The markers on the pages in docs/results/, each ended by `<!-- end -->`:

`<!-- run NAME of PRESET -->`
    Command, figures and epochs of RUNS/NAME, from its config.json and metrics.jsonl. Its curve.png
    is copied to docs/curves/.
`<!-- run NAME of PRESET from A B -->`
    A run that `combine` made from the runs A and B. Its scores are read from RUNS/NAME.json, the
    output of `evaluate --json`, with or without `--dynamic` and `--cache`.
`<!-- run NAME of PRESET after A of PRESET -->`
    A run initialised with the weights of the run A, whose command and time are included.
`<!-- seeds NAME NAME2 NAME3 of PRESET -->`
    Runs that differ only in their seeds: commands and curve of the first, the flags that differ in
    the others, and mean and standard deviation of the losses. A figure that is the same for all is
    shown once.
`<!-- table NAME ... -->`
    These runs in columns.
`<!-- changes NAME ... -->`
    A row for each run: the settings that differ from the first run, and its losses.

Next to a run, RUNS/NAME.json and RUNS/NAME.*.json are outputs of `evaluate RUNS/NAME --json`, for
example RUNS/NAME.windows-128.json of `--windows 128`. Their scores and commands are added.

A run that is missing or unfinished leaves its part unchanged. The description of each preset is
copied from `gluonlm.config.presets`. `overview.py` then makes the tables of docs/results.md, of
docs/results/README.md and of README.md from these pages, so no figure is copied by hand.
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
TABLE = re.compile(r"(<!-- (table|changes) ([^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)
STREAM = "one stream, state carried"
# names of the adapted scores in the output of `evaluate --json`
ADAPTED = {
    "dynamic": "with dynamic evaluation",
    "dynamic_cache": "with a cache too",
    "cache": "with a cache",
}
ROWS = 16  # epochs shown at most, besides the best and the last
WIDTH = 100


def as_flag(name, value) -> str:
    """Return a setting as a flag."""
    if isinstance(value, bool):
        return flag(name) if value else flag("no-" + name)
    if isinstance(value, tuple):
        value = (" " if name == "data" else ",").join(map(str, value))
    if isinstance(value, float):
        value = repr(value).removesuffix(".0")
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


def evaluations(name, runs) -> list[dict]:
    """Return the outputs of `evaluate --json` next to a run."""
    paths = [*runs.glob(f"{name}.json"), *runs.glob(f"{name}.*.json")]
    paths.sort(key=lambda path: (len(path.name), path.name))  # windows-64 before windows-128
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def label(part, protocol=STREAM) -> str:
    """Return the name of a row of a run's table."""
    return f"{part}, {'as one stream' if protocol == STREAM else protocol}"


def scores_of(found, part) -> dict[str, float]:
    """Return the losses in nats in outputs of `evaluate --json`, by the name of their row."""
    scores = {}
    for each in found:
        scored = each.get("part", part)
        scores[label(scored, each.get("protocol", STREAM))] = each["nats"]
        for key, how in ADAPTED.items():
            if key in each:
                scores[f"{scored}, {how}"] = each[key]["nats"]
    return scores


def evaluation(name, part, found) -> str:
    """Return the lines of the command whose output is given."""
    words = [f"python -m gluonlm.evaluate runs/{name}", f"--part {found.get('part', part)}"]
    protocol = found.get("protocol", STREAM)
    if windows := re.match(r"cold windows of (\d+)", protocol):
        words.append(f"--windows {windows[1]}")
    if columns := re.match(r"(\d+) columns in segments of (\d+)", protocol):
        words.append(f"--streams {columns[1]} --seq-len {columns[2]}")
    if learning := found.get("dynamic"):
        words.append(f"--dynamic {learning['rule']}")
        words += [f"{flag('dynamic_' + s)} {learning[s]:g}" for s in ("lr", "decay", "seq_len")]
    if cache := found.get("dynamic_cache", found.get("cache")):
        words.append(f"--cache {cache['size']}")
        words += [f"--cache-{setting} {cache[setting]:g}" for setting in ("theta", "weight")]
    return command_lines(words)


def losses_of(lines, found) -> dict[str, float]:
    """Return the losses of a run in nats by the name of their row, the best validation first."""
    result, losses = lines[-1], {}
    losses["best validation"] = min(record["valid_loss"] for record in validated(lines))
    if "part" in result:
        losses[label(result["part"])] = result["loss"]
    return {**losses, **scores_of(found, result.get("part"))}


def device_of(config, result) -> str:
    """Return the device of a run, and its precision unless that is float32."""
    precision = config.training.precision
    return result["device"] + ("" if precision == "float32" else f", {precision}")


def figures_of(config, lines, found=()) -> dict[str, object]:
    """Return the measurements of a run by name."""
    validations, result, (_, show) = validated(lines), lines[-1], unit_of(config)
    best = min(validations, key=lambda record: record["valid_loss"])
    speeds = [r["tokens_per_second"] for r in lines if r["event"] == "training"]
    losses = losses_of(lines, found)
    figures = {
        "device": device_of(config, result),
        "threads": result["threads"],
        "time": f"{result['seconds']:,.0f} s",
        "tokens/s": f"{statistics.median(speeds):,.0f}" if speeds else "",
        "seed": config.training.seed,
        "parameters": f"{result['parameters']:,}",
        "epochs": f"{validations[-1]['epoch']:.2f}, ended by {result['reason']}",
        "best validation": show(losses.pop("best validation")),
        "at epoch": f"{best['epoch']:.2f}",
    }
    if result.get("part") == "valid":
        figures["test"] = "no such part: checkpoint and settings were chosen on validation"
    for name, nats in losses.items():
        figures[name] = f"**{show(nats)}**" if name.endswith("as one stream") else show(nats)
    return figures


def markdown(header, rows) -> list[str]:
    """Return a Markdown table whose first column has no header."""
    lines = [f"| {' | '.join(row)} |" for row in (["", *header], *rows)]
    return [lines[0], "|" + "---|" * (len(header) + 1), *lines[1:]]


def columns(names, runs) -> list[str]:
    """Return a Markdown table with a column of figures for each run."""
    return markdown(names, [[key, *(str(run.get(key, "")) for run in runs)] for key in runs[0]])


def epochs_of(name, run, runs, curves) -> list[str]:
    """Return the Markdown of a run's epochs and curve, and copy the curve."""
    curves.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(runs / name / "curve.png", curves / f"{name}.png")
    config, lines = run
    unit, show = unit_of(config)
    epochs = [f"| epoch | training, {unit} | validation |", "|---|---|---|"]
    for record in chosen(validated(lines)):
        train = "" if record["train_loss"] is None else show(record["train_loss"])
        epochs.append(f"| {record['epoch']:.2f} | {train} | {show(record['valid_loss'])} |")
    folded = ["<details><summary>Epoch by epoch</summary>", "", *epochs, "", "</details>"]
    return [*folded, "", f"![training and validation over epochs](../curves/{name}.png)", ""]


def measured(name, preset, before, runs, curves) -> str | None:
    """Return the Markdown for one run and copy its curve; None if the run has not ended.

    `before` is the (name, preset) of the run that supplied its initial weights, if any.
    """
    run, first = read(runs / name), read(runs / before[0]) if before else None
    if run is None or (before and first is None):
        return None
    config, lines = run
    found = evaluations(name, runs)
    figures, threads = figures_of(config, lines, found), lines[-1]["threads"]
    commands = [command(name, preset, config, threads)]
    if first:
        (other, its_preset), seconds = before, first[1][-1]["seconds"]
        beginning = [f"--init-from runs/{other}"]
        beginning += ["--extend-vocab"] if config.data.data != first[0].data.data else []
        commands = [
            command(other, its_preset, first[0], first[1][-1]["threads"]),
            command(name, preset, config, threads, beginning),
        ]
        total = seconds + lines[-1]["seconds"]
        figures["time"] = f"{total:,.0f} s, of it {seconds:,.0f} s for `{other}`"
    commands += [evaluation(name, lines[-1].get("part"), each) for each in found]
    table = columns([f"`{name}`"], [figures])
    return "\n".join([*commands, "", *table, "", *epochs_of(name, run, runs, curves)])


def read_all(names, runs) -> list[tuple[Config, list[dict]]] | None:
    """Return several runs as `read` does, or None if one has not ended."""
    found = [run for run in (read(runs / name) for name in names) if run]
    return found if len(found) == len(names) else None


def repeated(names, preset, runs, curves) -> str | None:
    """Return the Markdown for runs that differ in their seeds, or None if one has not ended."""
    found = read_all(names, runs)
    if found is None:
        return None
    scores = [evaluations(name, runs) for name in names]
    (config, lines), *others = found
    commands = [command(names[0], preset, config, lines[-1]["threads"])]
    commands += [evaluation(names[0], lines[-1].get("part"), one) for one in scores[0]]
    for name, (other, _) in zip(names[1:], others):
        flags = " ".join(differences(config, other))
        commands.append(f"    # likewise with {flags} --run runs/{name}")
    alone = [figures_of(*run, each) for run, each in zip(found, scores)]
    losses = [losses_of(lines, each) for (_, lines), each in zip(found, scores)]
    seconds = [lines[-1]["seconds"] for _, lines in found]
    rows = []
    for key in alone[0]:
        cells = [str(figures.get(key, "")) for figures in alone]
        if key == "time":
            summary = [f"{statistics.mean(seconds):,.0f} s", ""]
        elif all(key in each for each in losses):
            summary = spread(config, [each[key] for each in losses])
        elif len(set(cells)) == 1:
            summary, cells = [cells[0], ""], [""] * len(cells)
        else:
            summary = ["", ""]
        rows.append([key, *summary, *cells])
    header = ["mean", "standard deviation", *(f"`{name}`" for name in names)]
    curve = epochs_of(names[0], found[0], runs, curves)
    return "\n".join([*commands, "", *markdown(header, rows), "", *curve])


def spread(config, nats) -> list[str]:
    """Return mean and standard deviation of several losses: of nats, or of perplexities."""
    _, show = unit_of(config)
    if config.data.level == "char":
        return [f"**{show(statistics.mean(nats))}**", f"{deviation(nats):.4f}"]
    found = list(map(math.exp, nats))
    return [f"**{statistics.mean(found):.2f}**", f"{deviation(found):.2f}"]


def deviation(values) -> float:
    """Return the standard deviation of a sample, 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def joined(name, preset, members, runs) -> str | None:
    """Return the Markdown for a combined run, or None if a run or the scores are missing."""
    found, scores = read_all(members, runs), evaluations(name, runs)
    if found is None or not scores:
        return None
    results = [lines[-1] for _, lines in found]
    part, (_, show) = results[0]["part"], unit_of(found[0][0])
    figures = {
        "device": device_of(found[0][0], results[0]),
        "threads": results[0]["threads"],
        "time": f"{sum(result['seconds'] for result in results):,.0f} s",
        "seed": ", ".join(str(config.training.seed) for config, _ in found),
        "parameters": f"{sum(result['parameters'] for result in results):,}",
        "epochs": " / ".join(f"{validated(lines)[-1]['epoch']:.2f}" for _, lines in found),
        f"{part}, each alone": ", ".join(show(result["loss"]) for result in results),
    }
    for row, nats in scores_of(scores, part).items():
        figures[row] = f"**{show(nats)}**" if row == label(part) else show(nats)
    commands = [
        command(member, preset, config, lines[-1]["threads"])
        for member, (config, lines) in zip(members, found)
    ]
    folders = [f"runs/{member}" for member in members]
    words = ["python -m gluonlm.run.combine", *folders, f"--run runs/{name}"]
    commands.append(command_lines(words))
    commands += [evaluation(name, part, each) for each in scores]
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
    """Fill the markers of a page whose runs have ended; return the names of these runs."""
    filled, curves = [], document.parent.parent / "curves"

    def fill(match):
        opening, kind, names, preset, members, before, its_preset, _, end = match.groups()
        name, *others = names.split()
        if kind == "seeds":
            text = repeated([name, *others], preset, runs, curves)
        elif members:
            text = joined(name, preset, members.split(), runs)
        else:
            text = measured(name, preset, before and (before, its_preset), runs, curves)
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


def wrapped(text) -> list[str]:
    """Return the lines of a paragraph."""
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def describe(page) -> str:
    """Return a page with the description and the published figures of its preset replaced."""
    for name, preset in PRESETS.items():
        paragraphs = [preset.about, f"Published: {preset.published}."]
        text = "".join("\n".join(wrapped(each)) + "\n\n" for each in paragraphs)
        place = re.compile(rf"(^# {name}\n\n).*?^Published: .*?\n\n", re.DOTALL | re.MULTILINE)
        page = place.sub(lambda match, text=text: match[1] + text, page)
    return page


def main(runs: Path) -> None:
    """Fill all pages, then the tables made from them."""
    for document in sorted((ROOT / "docs" / "results").glob("*.md")):
        for name in update(document, runs):
            print(name)
        document.write_text(describe(document.read_text(encoding="utf-8")), encoding="utf-8")
    overview.update(ROOT)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
