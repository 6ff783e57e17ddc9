"""Command line: execute an old notebook or script. `python -m gluonlm.compat --help`."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..config.flags import Parser
from ..corpus.catalogue import data_folders
from ..system.console import complain, run_command, show
from ..system.errors import InputError
from ..system.files import check_output, output_file
from . import REPAIRS
from .d2l import needed_release
from .notebook import read_notebook
from .run import INTERRUPTED, Outcome, run

ENDINGS = (".ipynb", ".md", ".py")
QUICK = 60  # seconds


def make_parser() -> Parser:
    """Return the parser of all flags."""
    repairs = [f"  {name:10} {inspect.getdoc(repair)}" for name, repair in REPAIRS.items()]
    parser = Parser(
        "run",
        "Execute an old Gluon notebook or script in a new process, with repairs of what MXNet, "
        "IPython, NumPy, Python and d2l have removed since 2018. The file is foreign code and may "
        "do whatever you may do: read it first.",
        examples=(
            "rnns-gluon.ipynb --ctx cpu --data-dir data",
            "lstm.ipynb --ctx cpu --quick --path d2l-en",
            "train.py -- --epochs 1",
        ),
    )
    parser.epilog = "\n".join(["repairs:", *repairs, "", parser.epilog or ""])
    add = parser.add_argument
    add("file", metavar="FILE", help="notebook (.ipynb), Markdown of d2l.ai (.md) or script (.py)")
    add("--ctx", choices=("cpu",), help="make every GPU context a CPU context")
    add(
        "--quick",
        nargs="?",
        type=int,
        const=QUICK,
        default=0,
        metavar="SECONDS",
        help="interrupt each cell, or the script, after this time, and execute the next "
        f"(default: no limit; {QUICK} without a number)",
    )
    add(
        "--data-dir",
        action="append",
        metavar="DIR",
        help="folder with data files, which replace missing files and downloads of the same name "
        "(default: $GLUONLM_DATA, then ./data); may be repeated",
    )
    add(
        "--path",
        action="append",
        metavar="DIR",
        help="folder to import from, such as a checkout with an old d2l; may be repeated",
    )
    add("--without", nargs="+", metavar="NAME", help="repairs not to apply")
    add("--out", metavar="FILE", help="executed notebook (default: NAME-executed.ipynb here)")
    parser.add_overwrite()
    return parser


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = make_parser()
    words = sys.argv[1:] if argv is None else [*argv]
    end = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:end])
    arguments.arguments = words[end + 1 :]
    for name in ("data_dir", "path", "without"):
        setattr(arguments, name, getattr(arguments, name) or [])
    path = Path(arguments.file)
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: must end in {', '.join(ENDINGS)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if arguments.quick < 0:
        raise InputError(f"`quick` {arguments.quick}: must be at least 0")
    for name in arguments.without:
        if name not in REPAIRS:
            raise InputError(f"`without` {name}: expected {', '.join(REPAIRS)}")
    for name in ("data_dir", "path"):
        for folder in getattr(arguments, name):
            if not Path(folder).is_dir():
                raise InputError(f"`{name}` {folder}: no such folder")
    if path.suffix == ".py":
        if arguments.out or arguments.overwrite:
            raise InputError(f"`out`: {path.name} is a script, which becomes no notebook")
    elif arguments.arguments:
        raise InputError(f"{arguments.arguments[0]}: a notebook takes no arguments")
    else:
        arguments.out = Path(arguments.out or f"{path.stem}-executed.ipynb")
        check_output(arguments.out, arguments.overwrite)
        read_notebook(path)  # before the line on foreign code
    return arguments


def report(path: Path, outcome: Outcome, limit: int) -> str:
    """Return the lines of a report on the execution of a file."""
    lines = [describe(path, outcome, limit)]
    if outcome.repairs:
        lines.append("repairs:")
        lines += [f"  {name:10} {change}" for name, change in outcome.repairs]
    return "\n".join(lines) + "\n"


def describe(path: Path, outcome: Outcome, limit: int) -> str:
    """Return how the execution ended, in one line."""
    script = outcome.notebook is None
    stopped = ", ".join(map(str, outcome.interrupted))
    late = f"cell {stopped} still running after {limit} s" if stopped else ""
    if script and stopped:
        return f"{path.name}: still running after {limit} s, stopped"
    if script:
        return f"{path.name}: " + (outcome.error or f"ran to the end in {outcome.seconds:.1f} s")
    if outcome.error:
        line = f"{path.name}: cell {outcome.cells} of {outcome.total}: {outcome.error}"
        return f"{line} (before it, {late}, interrupted)" if late else line
    cells = f"all {outcome.total} cells" if outcome.total > 1 else "the cell"
    line = f"{path.name}: {cells} executed in {outcome.seconds:.1f} s"
    return f"{line}; {late}, interrupted: later cells had what it had computed" if late else line


def advise(path: Path, outcome: Outcome) -> list[str]:
    """Return what to do about an error: flags to add, or packages to install."""
    if not outcome.error:
        return []
    lines = []
    release = needed_release(path.read_text(encoding="utf-8", errors="replace"))
    missing = re.search(r"No module named '([\w.]+)'", outcome.error)
    if "GPU is not enabled" in outcome.error:
        lines.append("this computer has no GPU: add --ctx cpu")
    if release and ("d2l" in outcome.error or not missing):
        lines.append(f"the file needs {release}: pip install --no-deps {release}")
    elif missing:
        lines.append(f"install the package of {missing[1]}, or add its folder: --path DIR")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    path = Path(arguments.file)
    complain(f"{path} is foreign code: it runs with your rights and may do what you may do")
    without = {*arguments.without, *([] if arguments.ctx else ["gpu"])}
    folders = [Path(folder) for folder in arguments.data_dir] or data_folders()
    outcome = run(
        path,
        [name for name in REPAIRS if name not in without],
        folders,
        [Path(folder) for folder in arguments.path],
        arguments.arguments,
        arguments.quick,
    )
    if outcome.notebook is not None:
        import nbformat

        with output_file(arguments.out, arguments.overwrite) as stream:
            stream.write(nbformat.writes(outcome.notebook).encode())
        show(f"wrote {arguments.out}\n")
    show(report(path, outcome, arguments.quick))
    for line in advise(path, outcome):
        complain(line)
    if outcome.error == INTERRUPTED:
        raise KeyboardInterrupt
    return 1 if outcome.error else 0


if __name__ == "__main__":
    run_command(main)
