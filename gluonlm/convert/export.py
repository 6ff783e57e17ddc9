"""Command line: export a trained model. `python -m gluonlm export --help`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..config.flags import Parser
from ..system.console import run_command, show
from ..system.errors import InputError
from ..system.files import check_output, check_outputs, output_file

ALLOWED, ROUNDED = 1e-5, 0.05  # largest difference, and with weights rounded to 16 bits

if TYPE_CHECKING:
    from ..run.checkpoint import Checkpoint
    from .check import Runner


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "export",
        "Export a trained model to ONNX, to PyTorch, or as an HTML page that completes text as you "
        "type. The exported model is run and compared with the original before the output file is "
        "written.",
        examples=(
            "runs/book --format onnx --out book.onnx",
            "runs/book --format torch --out book.safetensors",
            "runs/book --format html --out book.html",
        ),
    )
    parser.add_run()
    add = parser.add_argument
    add("--format", choices=[*WRITERS], required=True, help="output format")
    add("--out", metavar="FILE", required=True, help="output file")
    add(
        "--half",
        action="store_true",
        help="store 16-bit weights, which halves the size of the page (html only)",
    )
    parser.add_overwrite()
    return parser


def parse(argv=None) -> argparse.Namespace:
    arguments = make_parser().parse_args(argv)
    if not arguments.out:
        raise InputError("`out` is empty; is a shell variable unset?")
    if arguments.half and arguments.format != "html":
        raise InputError("`half` is only for `format` html")
    return arguments


def write(path: Path, content: bytes, overwrite: bool, check) -> None:
    """Write a file, read it back and `check` it; rename it to `path` if the check passes."""
    with output_file(path, overwrite) as stream:
        stream.write(content)
        stream.flush()
        stream.seek(0)
        check(stream.read())


def main(argv=None) -> None:
    arguments = parse(argv)
    out, overwrite = Path(arguments.out), arguments.overwrite
    check_output(out, overwrite)
    files = [out, out.with_suffix(".py")] if arguments.format == "torch" else [out]
    if len(set(files)) < len(files):
        raise InputError(
            f"`out` {out}: .py is the module file: use another suffix, as in {out.stem}.safetensors"
        )
    check_outputs(files, overwrite)
    from ..run.load import load_model

    model, checkpoint = load_model(arguments.run, arguments.checkpoint)
    report = WRITERS[arguments.format](out, model, checkpoint, arguments)
    for path in files:
        show(f"{path}: {path.stat().st_size / 1e6:.3f} MB\n")
    show(f"{report}\n")


def write_onnx(out: Path, model, checkpoint: Checkpoint, arguments) -> str:
    """Write an ONNX model; return the result of the comparison."""
    from .onnx import build, runner

    report = ""

    def check(content):
        nonlocal report
        run, name = runner(content)
        report = compare(model, checkpoint, run, name)

    write(out, build(checkpoint), arguments.overwrite, check)
    return report


def write_page(out: Path, model, checkpoint: Checkpoint, arguments) -> str:
    """Write a page; return the result of the comparison, run with NumPy."""
    from .network import networks_of
    from .page import build, runner

    report, allowed = "", ROUNDED if arguments.half else ALLOWED

    def check(content):
        nonlocal report
        run = runner(content, networks_of(checkpoint))
        report = compare(model, checkpoint, run, "NumPy", allowed)

    title = f"{os.path.basename(os.path.realpath(arguments.run))} completes text as you type"
    write(out, build(checkpoint, title, arguments.half), arguments.overwrite, check)
    return report


def write_torch(out: Path, model, checkpoint: Checkpoint, arguments) -> str:
    """Write a state_dict and its module; return the result of the comparison, run with NumPy."""
    from .network import networks_of
    from .torch import module, runner, state_dict

    report = ""

    def check(content):
        nonlocal report
        run = runner(content, networks_of(checkpoint))
        report = compare(model, checkpoint, run, "NumPy (without PyTorch)")

    def parses(content):
        compile(content, out.with_suffix(".py").name, "exec")

    with output_file(out.with_suffix(".py"), arguments.overwrite) as stream:
        content = module(checkpoint, out.name).encode()
        stream.write(content)
        parses(content)
        write(out, state_dict(checkpoint), arguments.overwrite, check)
    return report


def compare(model, checkpoint: Checkpoint, run: Runner, name: str, allowed=ALLOWED) -> str:
    """Run the exported model and the original; return a sentence with the difference."""
    from .check import STREAMS, check_written, probe_text
    from .network import networks_of

    sizes = [size for network in networks_of(checkpoint) for size in network.sizes()]
    zeros = [np.zeros((1, STREAMS, size), np.float32) for size in sizes]
    worst = check_written(model, probe_text(checkpoint), zeros, run, allowed)
    return f"verified with {name} on real text: largest difference from the model {worst:.1e}"


WRITERS = {"onnx": write_onnx, "torch": write_torch, "html": write_page}


if __name__ == "__main__":
    run_command(main)
