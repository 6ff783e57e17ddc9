"""Command line: score a text with a trained model. `python -m gluonlm.evaluate --help`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from .checkpoint import Checkpoint
from .cli import Parser, run_command
from .errors import InputError
from .files import check_output, output_file
from .vocab import Vocab


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "evaluate",
        "Score a text with a trained model, read as one stream from its first token to its last: "
        "nats per token, bits per character, perplexity.",
        examples=("runs/book", "runs/book --data letter.txt --per-token surprise.tsv"),
    )
    parser.add_run()
    add = parser.add_argument
    add(
        "--data",
        metavar="FILE",
        help="text to score; - reads standard input (default: a part of the run's own text)",
    )
    add(
        "--part",
        choices=("test", "valid", "train"),
        default="test",
        help="which part of it (default: test)",
    )
    add("--encoding", metavar="TEXT", help="encoding of --data (default: the run's)")
    add("--data-dir", metavar="DIR", help="folder of the run's own corpus (default: the run's)")
    add(
        "--seq-len",
        type=int,
        default=1000,
        metavar="N",
        help="tokens read at a time: speed only (default: 1000)",
    )
    add(
        "--per-token",
        metavar="FILE",
        help="write each token's surprise, nats, as tab-separated lines",
    )
    parser.add_overwrite()
    parser.add_unknown("")
    add("--ctx", default="cpu", metavar="DEVICE", help="cpu, gpu, gpu:1 or auto (default: cpu)")
    add("--json", action="store_true", help="print the result as JSON")
    return parser


def parse(argv=None) -> argparse.Namespace:
    arguments = make_parser().parse_args(argv)
    if arguments.seq_len < 1:
        raise InputError(f"`seq_len` {arguments.seq_len}: must be at least 1")
    return arguments


def read_ids(arguments, checkpoint: Checkpoint) -> np.ndarray:
    """Return the ids to score: of `--data`, or of a part of the text the run was trained on.

    Raises
    ------
    InputError
        If the text cannot be read, or is not the run's own.
    """
    from .corpus import follow, load_corpus
    from .text import read_text

    names = ("encoding", "data_dir")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name)}
    config = dataclasses.replace(checkpoint.config.data, **given)
    if arguments.data:
        text = read_text(arguments.data, config.encoding)
        return checkpoint.encode(text, arguments.unknown)
    config = follow(config, given)
    corpus = load_corpus(config, checkpoint.vocab, str(checkpoint.progress.get("corpus")))
    return getattr(corpus, arguments.part)


def write_surprise(
    path, vocab: Vocab, ids: np.ndarray, losses: np.ndarray, overwrite: bool = False
) -> None:
    """Write one line for each token: its place, the token as JSON, its surprise in nats.

    Tokens that were only read, before the first prediction, have no surprise.

    Raises
    ------
    InputError
        If the file cannot be written, or another is there.
    """
    with output_file(path, overwrite) as stream:
        stream.write(b"position\ttoken\tnats\n")
        for place, token in enumerate(ids):
            known = place - (len(ids) - len(losses))
            nats = f"{losses[known]:.6f}" if known >= 0 else ""
            stream.write(f"{place}\t{json.dumps(vocab.tokens[token])}\t{nats}\n".encode())


def main(argv=None) -> None:
    arguments = parse(argv)
    if arguments.per_token:
        check_output(Path(arguments.per_token), arguments.overwrite)
    from .device import get_ctx

    ctx = get_ctx(arguments.ctx)
    from .run import load_model
    from .scoring import Unit, perplexity, score

    model, checkpoint = load_model(arguments.run, arguments.checkpoint, ctx)
    ids = read_ids(arguments, checkpoint)
    losses = score(model, ids, ctx[0], arguments.seq_len)
    nats = float(losses.mean())
    result = {"tokens": losses.size, "nats": nats, "perplexity": perplexity(nats)}
    scored, vocab = ids[-losses.size :], checkpoint.vocab
    result["bits_per_character"] = Unit.of(vocab, scored).bits(nats)
    if vocab.level == "word":
        result["unknown"] = vocab.share_unknown(scored)
    if arguments.per_token:
        write_surprise(arguments.per_token, vocab, ids, losses, arguments.overwrite)
    if arguments.json:
        finite = {name: value if math.isfinite(value) else None for name, value in result.items()}
        print(json.dumps(finite, allow_nan=False))
    else:
        shown = {name: f"{value:.6f}" for name, value in result.items()}
        shown["tokens"] = f"{losses.size:,}"
        print("  ".join(f"{name} {value}" for name, value in shown.items()))


if __name__ == "__main__":
    run_command(main)
