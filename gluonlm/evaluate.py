"""Command line: score a text with a trained model. `python -m gluonlm.evaluate --help`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np

from .checkpoint import Checkpoint
from .cli import Parser, encodable, run_command
from .errors import InputError
from .files import check_output, output_file
from .surprise import page, spans, terminal
from .vocab import Vocab


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "evaluate",
        "Score a text with a trained model, read as one stream from its first token to its last: "
        "nats per token, bits per character, perplexity.",
        examples=("runs/book", "runs/book --data letter.txt --html surprise.html"),
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
    parser.add_overwrite()
    parser.add_unknown("")
    add("--ctx", default="cpu", metavar="DEVICE", help="cpu, gpu, gpu:1 or auto (default: cpu)")
    add("--json", action="store_true", help="print the result as JSON")
    add_views(parser.add_argument_group("other views of the score").add_argument)
    add_dynamic(parser.add_argument_group("a model that learns while it reads").add_argument)
    return parser


def add_views(add: Callable) -> None:
    """Add the flags that show where the surprise lies, or score as others do."""
    add(
        "--streams",
        type=int,
        default=1,
        metavar="N",
        help="score as others publish: N columns from a cold start, whole segments of --seq-len "
        "only (default: 1)",
    )
    add(
        "--per-token",
        metavar="FILE",
        help="write each token's surprise, nats, as tab-separated lines",
    )
    add("--html", metavar="FILE", help="draw a page of the text, each token on its surprise")
    add("--ansi", action="store_true", help="print the text so, for a terminal of 256 colours")


def add_dynamic(add: Callable) -> None:
    """Add the flags of dynamic evaluation."""
    add(
        "--dynamic",
        choices=("sgd", "rms"),
        help="score once more, learning from each segment after it was scored (Krause et al. "
        "2018): by plain gradient descent, or with steps divided by the size of each weight's "
        "gradients in training; the views then show this score",
    )
    add("--dynamic-lr", type=float, metavar="X", help="size of its steps (default: 0.03; 0.0002)")
    add(
        "--dynamic-decay",
        type=float,
        default=0.0,
        metavar="X",
        help="part of the way back to the trained weights at each step (default: 0)",
    )
    add(
        "--dynamic-seq-len",
        type=int,
        default=32,
        metavar="N",
        help="tokens predicted before they are learnt from (default: 32)",
    )
    add(
        "--tune",
        action="store_true",
        help="choose rate and decay on the run's validation part first",
    )


def parse(argv=None) -> argparse.Namespace:
    arguments = make_parser().parse_args(argv)
    _check_dynamic(arguments)
    if arguments.seq_len < 1:
        raise InputError(f"`seq_len` {arguments.seq_len}: must be at least 1")
    if arguments.streams < 1:
        raise InputError(f"`streams` {arguments.streams}: must be at least 1")
    if arguments.streams > 1 and (arguments.per_token or arguments.html or arguments.ansi):
        raise InputError("`streams` leave gaps in a text: `per_token`, `html` and `ansi` need one")
    if arguments.ansi and arguments.json:
        raise InputError("`ansi` prints a text and `json` a record: leave out one")
    return arguments


def _check_dynamic(arguments):
    if arguments.dynamic and arguments.streams > 1:
        raise InputError("`dynamic` reads one stream: leave out `streams`")
    if arguments.tune and not arguments.dynamic:
        raise InputError("`tune` chooses settings of `dynamic`: give it, too")
    if arguments.tune and not arguments.data and arguments.part == "valid":
        raise InputError("`tune` uses the validation part: score another `part`")
    if arguments.dynamic_seq_len < 1:
        raise InputError(f"`dynamic_seq_len` {arguments.dynamic_seq_len}: must be at least 1")
    for name, most in (("dynamic_lr", 1e6), ("dynamic_decay", 1)):
        value = getattr(arguments, name)
        if value is not None and not 0 <= value <= most:
            raise InputError(f"`{name}` {value}: must be from 0 to {most:g}")


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
    for path in filter(None, (arguments.per_token, arguments.html)):
        check_output(Path(path), arguments.overwrite)
    from .device import get_ctx

    ctx = get_ctx(arguments.ctx)
    from .run import load_model
    from .scoring import score, score_columns

    model, checkpoint = load_model(arguments.run, arguments.checkpoint, ctx)
    ids = read_ids(arguments, checkpoint)
    if arguments.streams > 1:
        losses = score_columns(model, ids, arguments.streams, arguments.seq_len, ctx[0])
    else:
        losses = score(model, ids, ctx[0], arguments.seq_len)
    result, vocab = summarise(checkpoint.vocab, ids, losses), checkpoint.vocab
    if arguments.dynamic:
        settings, losses = score_dynamically(arguments, model, checkpoint, ids, ctx[0])
        result["dynamic"] = {**summarise(vocab, ids, losses), **settings._asdict()}
    if arguments.per_token:
        write_surprise(arguments.per_token, vocab, ids, losses, arguments.overwrite)
    if arguments.html:
        title, about = f"What surprises {arguments.run}", describe(result).replace("  ", " · ")
        pieces = page(title, about, vocab, spans(vocab, ids, losses))
        with output_file(arguments.html, arguments.overwrite) as stream:
            stream.writelines(piece.encode() for piece in pieces)
    for piece in terminal(vocab, spans(vocab, ids, losses)) if arguments.ansi else ():
        print(encodable(piece), end="")
    if arguments.json:
        print(json.dumps(finite(result), allow_nan=False))
    else:
        print("\n" * arguments.ansi + describe(result))


def score_dynamically(arguments, model, checkpoint: Checkpoint, ids: np.ndarray, ctx) -> tuple:
    """Return the settings, and the nats of each token with a model that learns while it reads."""
    from .adaptive import GRID, Dynamic, Settings, squared_gradients, tune

    rule, lr = arguments.dynamic, arguments.dynamic_lr
    lr = GRID[rule][2] if lr is None else lr
    settings = Settings(rule, lr, arguments.dynamic_decay, arguments.dynamic_seq_len)
    squares = squared_gradients(model, checkpoint) if rule == "rms" else None
    if arguments.tune:
        own = argparse.Namespace(**{**vars(arguments), "data": None, "part": "valid"})
        found = {}
        for tried, nats in tune(model, read_ids(own, checkpoint), settings, squares, ctx):
            found[tried] = nats
            said = f"validation: lr {tried.lr:g}, decay {tried.decay:g}: {nats:.4f} nats"
            print(said, file=sys.stderr)
        settings = min(found, key=lambda tried: found[tried])
    return settings, Dynamic(model, settings, squares).score_text(ids, ctx)


def finite(value: Any) -> Any:
    """Return figures for JSON, which has no infinity: None in its place."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summarise(vocab: Vocab, ids: np.ndarray, losses: np.ndarray) -> dict:
    """Return the figures of a text `(tokens,)` whose last tokens have these losses, in nats."""
    from .scoring import Unit, perplexity

    nats = float(losses.mean())
    result = {"tokens": losses.size, "nats": nats, "perplexity": perplexity(nats)}
    scored = ids[-losses.size :]
    result["bits_per_character"] = Unit.of(vocab, scored).bits(nats)
    if vocab.level == "word":
        result["unknown"] = vocab.share_unknown(scored)
    return result


def describe(result: dict) -> str:
    """Return the figures as one line, those of a model that learns while it reads on another."""
    dynamic = result.get("dynamic")
    figures = {name: value for name, value in result.items() if name != "dynamic"}
    shown = {name: f"{value:.6f}" for name, value in figures.items()}
    shown["tokens"] = f"{result['tokens']:,}"
    line = "  ".join(f"{name} {value}" for name, value in shown.items())
    if not dynamic:
        return line
    how = "dynamic ({rule}, lr {lr:g}, decay {decay:g}, {seq_len} tokens a step): ".format(
        **dynamic
    )
    return f"{line}\n{how}{describe({name: dynamic[name] for name in figures})}"


if __name__ == "__main__":
    run_command(main)
