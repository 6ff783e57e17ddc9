"""Run public Gluon notebooks and scripts on recurrent networks, and list the outcomes.

    python benchmarks/archive.py FOLDER --data-dir DATA
    python benchmarks/archive.py FOLDER --docs docs/compatibility.md

FOLDER contains a checkout of each repository in `GROUPS`, by its name there; d2l-en-0.6.0 is tag
v0.6.0 of d2l-ai/d2l-en, and d2l-0.9.2 the package d2l 0.9.2 (`pip install --target`). Each file is
executed in a fresh copy of its checkout, with all repairs and a time limit for each cell. The
outcomes are saved in FOLDER/outcomes.json after each file: a second call executes only the files
that are missing there. `--docs` writes them into the page, between `<!-- archive -->` and `<!-- end
-->`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from gluonlm.compat import REPAIRS
from gluonlm.compat.run import run
from gluonlm.system.errors import InputError

PLACE = re.compile(r"(<!-- archive -->\n).*?(<!-- end -->)", re.DOTALL)
NEEDED = ": not in a data folder"  # in the record of a missing download
LONGEST = 160  # characters of an error


@dataclass(frozen=True)
class Group:
    """Files of one commit of a repository, and the folders that they import from."""

    name: str
    repository: str
    commit: str
    patterns: tuple[str, ...]
    imports: tuple[str, ...] = ()  # relative to FOLDER
    arguments: tuple[tuple[str, str], ...] = ()  # file, command line with {data}: a data folder
    prepare: str = ""  # a command in the checkout, as its README says


_GBW = "{data}/1-billion-word-language-modeling-benchmark-r13output"
_D2L = ("chapter_recurrent-*/*.md",)
GROUPS = (
    Group(
        "straight-dope",
        "zackchase/mxnet-the-straight-dope",
        "249cb446",
        ("chapter05*/*.ipynb", "chapter18*/bayes-by-backprop-rnn.ipynb"),
    ),
    Group("generative-models", "sookinoby/generative-models", "96af0d9c", ("Test-rnn.ipynb",)),
    Group(
        "d2l-zh-v1",
        "d2l-ai/d2l-zh",
        "abb4113b",
        (*_D2L, "chapter_natural-language-processing/machine-translation.md"),
        ("d2l-zh-v1",),
    ),
    Group("d2l-en-head", "d2l-ai/d2l-en", "23d7a5ae", _D2L, ("d2l-en-head",)),
    Group("d2l-en-0.17.6", "d2l-ai/d2l-en", "0f920da8", _D2L, ("d2l-en-0.17.6",)),
    Group("d2l-en-0.8.0", "d2l-ai/d2l-en", "41dad430", _D2L, ("d2l-en-0.8.0",)),
    Group(
        "berkeley",
        "d2l-ai/berkeley-stat-157",
        "cfc1b921",
        ("slides/4_4/*.ipynb", "slides/4_9/*.ipynb", "slides/4_16/*rnn.ipynb"),
        ("d2l-en-0.6.0",),
    ),
    Group(
        "berkeley",
        "d2l-ai/berkeley-stat-157",
        "cfc1b921",
        ("slides/4_18/sentiment-analysis-rnn.ipynb",),
        ("d2l-0.9.2",),
    ),
    Group(
        "gluon-nlp",
        "dmlc/gluon-nlp",
        "0d5c6199",
        ("docs/examples/*/*.md", "scripts/language_model/*.py"),
        ("gluon-nlp/scripts",),
        prepare="ln -s ../scripts docs/model_zoo",
    ),
    Group(
        "mxnet",
        "apache/mxnet",
        "3f8f3be9",
        ("example/gluon/word_language_model/*.py", "example/rnn/*/*.py", "example/rnn/*/*.ipynb"),
        arguments=(
            ("example/rnn/large_word_lm/setup.py", "build_ext --inplace"),
            (
                "example/rnn/large_word_lm/train.py",
                f"--data {_GBW}/training-monolingual.tokenized.shuffled/* --test {_GBW}/"
                "heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050",
            ),
        ),
        prepare=f"cd example/rnn/large_word_lm && {sys.executable} setup.py -q build_ext --inplace",
    ),
)


def list_files(folder: Path, group: Group) -> list[str]:
    """Return the files of a group that contain code, relative to its checkout."""
    root = folder / group.name
    paths = {path for pattern in group.patterns for path in root.glob(pattern)}
    paths = {path for path in paths if path.suffix != ".md" or "python" in path.read_text()}
    names = sorted(str(path.relative_to(root)) for path in paths)
    return [name for name in names if "homework" not in name and "index" not in name]


def execute(folder: Path, group: Group, file: str, data: list[Path], limit: int) -> dict:
    """Execute one file in a copy of its checkout and return the outcome as a dictionary."""
    with tempfile.TemporaryDirectory() as place:
        checkout = Path(place, group.name)
        shutil.copytree(folder / group.name, checkout, symlinks=True)
        subprocess.run(group.prepare, shell=True, cwd=checkout, capture_output=True)
        own = {name: Path(place, name) for name in group.imports}
        imports = [own[n] if own[n].exists() else folder / n for n in group.imports]
        arguments = (
            dict(group.arguments).get(file, "").format(data=data[0] if data else ".").split()
        )
        try:
            outcome = run(checkout / file, [*REPAIRS], data, imports, arguments, limit)
        except InputError as error:
            return {"error": str(error).replace(f"{checkout}/", ""), "refused": True}
        result = {**vars(outcome), "notebook": None, "limit": limit}
        if outcome.error and outcome.notebook:
            tracebacks = [
                "\n".join(output.traceback)[-3000:]
                for cell in outcome.notebook.cells
                for output in cell.get("outputs", ())
                if output.output_type == "error"
            ]
            result["traceback"] = tracebacks[-1] if tracebacks else ""
    return json.loads(json.dumps(result).replace(place, "…"))


def describe(outcome: dict) -> str:
    """Return the outcome of a file in a phrase."""
    error, stopped = outcome["error"], outcome.get("interrupted", [])
    if outcome.get("refused"):
        return f"refused: {error}"
    alone = outcome["total"] == 1
    cells = "" if alone else f"cell {', '.join(map(str, stopped))} "
    late = f"{cells}interrupted after {outcome['limit']} s" if stopped else ""
    needs = [change for _, change in outcome.get("repairs", ()) if NEEDED in change]
    if error and needs and "ConnectionError" in error:
        error = f"needs {needs[-1].partition(NEEDED)[0]}"
    if error:
        where = "" if alone else f"cell {outcome['cells']}: "
        return f"fails: {where}{error[:LONGEST]}" + (f" ({late})" if late else "")
    return f"runs; {late}" if late else "runs"


def table(folder: Path, outcomes: dict) -> str:
    """Return the summary and a table of each commit in Markdown."""
    commits: dict[str, dict[str, dict]] = {}
    for group in GROUPS:
        found = commits.setdefault(f"{group.repository} at {group.commit}", {})
        for file in list_files(folder, group):
            if f"{group.name}/{file}" in outcomes:
                found[file] = outcomes[f"{group.name}/{file}"]
    lines = ["| repository | files | run |", "|---|--:|--:|"]
    for commit, found in commits.items():
        count = sum(not outcome["error"] for outcome in found.values())
        lines.append(f"| {commit} | {len(found)} | {count} |")
    for commit, found in commits.items():
        lines += [f"\n### {commit}\n", "| file | outcome | repairs |", "|---|---|---|"]
        lines += [row(file, outcome) for file, outcome in found.items()]
    return "\n".join(lines) + "\n"


def row(file: str, outcome: dict) -> str:
    """Return the row of a file in a table."""
    repairs = outcome.get("repairs", ())
    text = describe(outcome).replace("|", "\\|")
    if any("/stand-ins/" in change for _, change in repairs):
        text += " (generated data)"
    return f"| {file} | {text} | {', '.join(dict.fromkeys(name for name, _ in repairs))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", type=Path, action="append", default=[])
    parser.add_argument("--limit", type=int, default=30, help="seconds for each cell")
    parser.add_argument("--jobs", type=int, default=2, help="files executed at the same time")
    parser.add_argument("--only", default="*", help="pattern of GROUP/FILE, executed again")
    parser.add_argument("--docs", type=Path, help="page whose tables are replaced; no executions")
    options = parser.parse_args()
    saved = options.folder / "outcomes.json"
    outcomes = json.loads(saved.read_text()) if saved.exists() else {}
    if options.docs:
        new = table(options.folder, outcomes)
        page = PLACE.sub(lambda found: found[1] + new + found[2], options.docs.read_text())
        options.docs.write_text(page)
        return

    def work(item):
        group, file = item
        outcome = execute(options.folder, group, file, options.data_dir, options.limit)
        outcomes[f"{group.name}/{file}"] = outcome
        saved.write_text(json.dumps(outcomes, indent=1, sort_keys=True))
        print(f"{group.name}/{file}: {describe(outcome)}", file=sys.stderr, flush=True)

    chosen = [
        (group, file)
        for group in GROUPS
        for file in list_files(options.folder, group)
        if fnmatch(f"{group.name}/{file}", options.only)
        and (options.only != "*" or f"{group.name}/{file}" not in outcomes)
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, chosen))


if __name__ == "__main__":
    main()
