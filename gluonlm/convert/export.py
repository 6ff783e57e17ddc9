"""Command line: export a trained model. `python -m gluonlm export --help`."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..config.flags import Parser
from ..run.folder import Run
from ..run.metrics import read_metrics
from ..system.console import run_command, show
from ..system.errors import InputError
from ..system.files import (
    check_output,
    check_output_folder,
    check_outputs,
    output_file,
    output_folder,
    read_file,
    write_file,
)

ALLOWED, ROUNDED = 1e-5, 0.05  # largest difference, and with weights rounded to 16 bits

if TYPE_CHECKING:
    from ..run.checkpoint import Checkpoint
    from .check import Runner


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "export",
        "Export a trained model to ONNX, to PyTorch, to a folder in the layout of Hugging Face's "
        "hub, or as an HTML page that completes text as you type. The exported model is run and "
        "compared with the original before the output is written.",
        examples=(
            "runs/book --format onnx --out book.onnx",
            "runs/book --format torch --out book.safetensors",
            "runs/book --format html --out book.html",
            "runs/book --format hub --out book-model --licence cc-by-4.0",
        ),
    )
    parser.add_run()
    add = parser.add_argument
    add("--format", choices=[*WRITERS], required=True, help="output format")
    add("--out", metavar="FILE", required=True, help="output file, or for hub a new folder")
    add(
        "--half",
        action="store_true",
        help="store 16-bit weights, which halves the size of the page (html only)",
    )
    add(
        "--licence",
        metavar="ID",
        help="licence in the model card, such as cc-by-4.0 (hub only; default: unknown)",
    )
    parser.add_overwrite("file or hub folder")
    return parser


def parse(argv=None) -> argparse.Namespace:
    arguments = make_parser().parse_args(argv)
    if arguments.half and arguments.format != "html":
        raise InputError("`half` is only for `format` html")
    if arguments.licence is not None and arguments.format != "hub":
        raise InputError("`licence` is only for `format` hub")
    if not re.fullmatch(r"[\w.+-]+", arguments.licence or "unknown", re.ASCII):
        raise InputError(
            f"`licence` {arguments.licence}: must be an identifier such as cc-by-4.0 or other"
        )
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
    files = check_out(out, arguments.format, overwrite)
    from ..run.load import load_model

    model, checkpoint = load_model(arguments.run, arguments.checkpoint)
    report = WRITERS[arguments.format](out, model, checkpoint, arguments)
    for path in files or sorted(out.iterdir()):
        show(f"{path}: {path.stat().st_size / 1e6:.3f} MB\n")
    show(f"{report}\n")


def check_out(out: Path, form: str, overwrite: bool) -> list[Path]:
    """Return the files that an export will write; [] for a folder.

    Raises
    ------
    InputError
        If one of them must not be written.
    """
    if form == "hub":
        from .hub import NAMES

        check_output_folder(out, NAMES, overwrite)
        return []
    check_output(out, overwrite)
    files = [out, out.with_suffix(".py")] if form == "torch" else [out]
    if len(set(files)) < len(files):
        raise InputError(
            f"`out` {out}: .py is the module file: use another suffix, as in {out.stem}.safetensors"
        )
    check_outputs(files, overwrite)
    return files


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


def write_hub(out: Path, model, checkpoint: Checkpoint, arguments) -> str:
    """Write a folder by the conventions of Hugging Face; return the result of the comparisons."""
    from . import hub, torch
    from .card import write_card
    from .network import networks_of
    from .tokenizer import JSON, check_tokenizer

    run = Run(arguments.run)
    records = read_metrics(run.metrics) if run.metrics.is_file() else []
    files = hub.model_files(checkpoint)
    with output_folder(out, hub.NAMES, arguments.overwrite) as folder:
        for name, content in files.items():
            write_file(folder / name, content)
        written = {name: read_file(folder / name) for name in files}
        compile(written[hub.MODULE], hub.MODULE, "exec")
        networks = torch.runner(written[hub.WEIGHTS], networks_of(checkpoint))
        report = compare(model, checkpoint, networks, "NumPy (without PyTorch)")
        if JSON in written:
            report += "; " + check_tokenizer(written[JSON], checkpoint)
        name = os.path.basename(os.path.realpath(out))
        card = write_card(name, checkpoint, records, files, report, arguments.licence or "unknown")
        write_file(folder / hub.CARD, card.encode())
    return report


def compare(model, checkpoint: Checkpoint, run: Runner, name: str, allowed=ALLOWED) -> str:
    """Run the exported model and the original; return a sentence with the difference."""
    from .check import STREAMS, check_written, probe_text
    from .network import networks_of

    sizes = [size for network in networks_of(checkpoint) for size in network.sizes()]
    zeros = [np.zeros((1, STREAMS, size), np.float32) for size in sizes]
    worst = check_written(model, probe_text(checkpoint), zeros, run, allowed)
    return f"verified with {name} on real text: largest difference from the model {worst:.1e}"


WRITERS = {"onnx": write_onnx, "torch": write_torch, "html": write_page, "hub": write_hub}


if __name__ == "__main__":
    run_command(main)
