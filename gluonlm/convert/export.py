"""Command line: write a trained model for other programs. `python -m gluonlm export --help`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..config.flags import Parser
from ..system.console import run_command, show
from ..system.errors import InputError
from ..system.files import check_output, output_file

ALLOWED, ROUNDED = 1e-5, 0.05  # largest difference, and where weights were rounded to 16 bits

if TYPE_CHECKING:
    from ..run.checkpoint import Checkpoint
    from .check import Runner


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "export",
        "Write a trained model for ONNX Runtime, for PyTorch, or as a page that types with you. "
        "What was written is run and compared with the model before it gets its name.",
        examples=(
            "runs/book --format onnx --out book.onnx",
            "runs/book --format torch --out book.safetensors",
            "runs/book --format html --out book.html",
        ),
    )
    parser.add_run()
    add = parser.add_argument
    add("--format", choices=[*WRITERS], required=True, help="what to write")
    add("--out", metavar="FILE", required=True, help="file to write")
    add("--half", action="store_true", help="weights of 16 bits, in a page of half the size")
    parser.add_overwrite()
    return parser


def parse(argv=None) -> argparse.Namespace:
    arguments = make_parser().parse_args(argv)
    if not arguments.out:
        raise InputError("`out`: is empty; was a variable of the shell not set?")
    if arguments.half and arguments.format != "html":
        raise InputError("`half` is for `format` html")
    return arguments


def write(path: Path, content: bytes, overwrite: bool, check) -> None:
    """Write a file and read it back; it gets its name once `check` has passed what was read."""
    with output_file(path, overwrite) as stream:
        stream.write(content)
        stream.flush()
        stream.seek(0)
        check(stream.read())


def main(argv=None) -> None:
    arguments = parse(argv)
    out, overwrite = Path(arguments.out), arguments.overwrite
    files = [out, out.with_suffix(".py")] if arguments.format == "torch" else [out]
    if len(set(files)) < len(files):
        raise InputError(f"`out` {out}: the weights need another ending: {out.stem}.safetensors")
    for path in files:
        check_output(path, overwrite)
    from ..run.load import load_model

    model, checkpoint = load_model(arguments.run, arguments.checkpoint)
    said = WRITERS[arguments.format](out, model, checkpoint, arguments)
    for path in files:
        show(f"{path}: {path.stat().st_size / 1e6:.3f} MB\n")
    show(f"{said} from the model\n")


def write_onnx(out: Path, model, checkpoint: Checkpoint, arguments) -> str:
    """Write an ONNX model; return what was found when it ran."""
    from .onnx import build, runner

    said = ""

    def check(content):
        nonlocal said
        run, name = runner(content)
        said = compare(model, checkpoint, run, name)

    write(out, build(checkpoint), arguments.overwrite, check)
    return said


def write_page(out: Path, model, checkpoint: Checkpoint, arguments) -> str:
    """Write a page; return what was found when NumPy ran its weights."""
    from .network import networks_of
    from .page import build, runner

    said, allowed = "", ROUNDED if arguments.half else ALLOWED

    def check(content):
        nonlocal said
        run = runner(content, networks_of(checkpoint))
        said = compare(model, checkpoint, run, "NumPy", allowed)

    title = f"{Path(arguments.run).resolve().name} types with you"
    write(out, build(checkpoint, title, arguments.half), arguments.overwrite, check)
    return said


def write_torch(out: Path, model, checkpoint: Checkpoint, arguments) -> str:
    """Write a state_dict and its module; return what was found when NumPy ran it."""
    from .network import networks_of
    from .torch import module, runner, state_dict

    said = ""

    def check(content):
        nonlocal said
        run = runner(content, networks_of(checkpoint))
        said = compare(model, checkpoint, run, "NumPy (PyTorch is not asked for)")

    def parses(content):
        compile(content, out.with_suffix(".py").name, "exec")

    with output_file(out.with_suffix(".py"), arguments.overwrite) as stream:
        content = module(checkpoint, out.name).encode()
        stream.write(content)
        parses(content)
        write(out, state_dict(checkpoint), arguments.overwrite, check)
    return said


def compare(model, checkpoint: Checkpoint, run: Runner, name: str, allowed=ALLOWED) -> str:
    """Run what was written beside the model; return a sentence on how far apart they are."""
    from .check import STREAMS, check_written, probe_text
    from .network import networks_of

    sizes = [size for network in networks_of(checkpoint) for size in network.sizes()]
    zeros = [np.zeros((1, STREAMS, size), np.float32) for size in sizes]
    worst = check_written(model, probe_text(checkpoint), zeros, run, allowed)
    return f"run by {name} on real text: largest difference {worst:.1e}"


WRITERS = {"onnx": write_onnx, "torch": write_torch, "html": write_page}


if __name__ == "__main__":
    run_command(main)
