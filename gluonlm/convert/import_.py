"""Command line: import weights as a run. `python -m gluonlm import --help`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..config import Config
from ..config.flags import Parser
from ..run.checkpoint import Checkpoint
from ..system.console import run_command, show
from ..system.errors import InputError
from ..system.files import read_file
from ..vocab import UNKNOWN, Vocab
from ..vocab.levels import RULES, cut_of
from .params import read_arrays
from .recognise import recognise

LARGEST = 1 << 28  # bytes of a vocabulary file


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "import",
        "Create a run from weights saved by Gluon, GluonNLP or PyTorch's word_language_model. "
        "The run can be evaluated, exported, used to generate, and trained further (train "
        "--init-from).",
        examples=(
            "model.params --vocab vocab.json --run runs/old",
            "model.safetensors --vocab-text train.txt --level word --run runs/old",
        ),
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="MXNet .params file, or state_dict in safetensors format")
    add(
        "--vocab",
        metavar="FILE",
        help="JSON file: list of tokens, GluonNLP vocabulary, or vocab.json",
    )
    add("--vocab-text", metavar="FILE", help="text to build the vocabulary from")
    add("--level", choices=[*RULES], help="kind of token (default: inferred from the vocabulary)")
    add("--tokenizer", default="auto", metavar="RULE", help="as for train (default: auto)")
    add("--vocab-size", type=int, default=0, metavar="N", help="as for train (default: 0)")
    add("--lower", action="store_true", help="convert texts to lower case first")
    add(
        "--keep-line-ends",
        action="store_true",
        help="as for train (default: only if --vocab contains \\r)",
    )
    add(
        "--activation",
        choices=("tanh", "relu"),
        default="tanh",
        help="activation of an rnn, which weight files do not contain (default: tanh)",
    )
    add("--run", metavar="DIR", required=True, help="folder of the new run")
    parser.add_overwrite("run")
    return parser


def parse(argv=None) -> argparse.Namespace:
    arguments = make_parser().parse_args(argv)
    if bool(arguments.vocab) == bool(arguments.vocab_text):
        raise InputError("weight files contain no vocabulary: pass either `vocab` or `vocab_text`")
    if arguments.vocab_text and not arguments.level:
        raise InputError("`vocab_text` needs `level`: char, word or subword")
    if arguments.vocab_size < 0 or not arguments.run:
        raise InputError("`vocab_size` must be at least 0, and `run` must not be empty")
    return arguments


def read_vocab(path: str, level: str | None) -> Vocab:
    """Read a vocabulary: a list of tokens, `gluonnlp.Vocab.to_json`, or a run's vocab.json.

    Raises
    ------
    InputError
        If the file has none of these formats.
    """
    try:
        content = json.loads(read_file(Path(path), limit=LARGEST))
    except (ValueError, RecursionError):
        raise InputError(f"`vocab` {path}: not a JSON file") from None
    if isinstance(content, dict) and "idx_to_token" in content:
        content = content["idx_to_token"]
    if isinstance(content, dict) and {"level", "tokens"} <= set(content):
        return Vocab(**content)
    if not isinstance(content, list) or not all(isinstance(token, str) for token in content):
        raise InputError(f"`vocab` {path}: neither a list of tokens nor a GluonNLP vocabulary")
    return Vocab(level or ("char" if all(len(t) == 1 for t in content) else "word"), content)


def build_vocab(arguments) -> Vocab:
    """Build the vocabulary that training on this text would build.

    Raises
    ------
    InputError
        If the text cannot be read.
    """
    from ..corpus.text import Text

    level, rule = arguments.level, arguments.tokenizer
    Config.from_dict({"level": level, "tokenizer": rule})  # rejects a tokenizer of another level
    cut = cut_of(level, rule)
    keep = arguments.keep_line_ends
    text = Text([Path(arguments.vocab_text)], lower=arguments.lower, cut=cut, keep_line_ends=keep)
    return Vocab.build(text.pieces(), level, arguments.vocab_size, rule)


def main(argv=None) -> None:
    arguments = parse(argv)
    found = recognise(read_arrays(arguments.file), arguments.file)
    vocab = build_vocab(arguments) if arguments.vocab_text else (
        read_vocab(arguments.vocab, arguments.level)
    )  # fmt: skip
    if len(vocab) != found.vocab_size:
        raise InputError(
            f"{arguments.file}: has {found.vocab_size:,} tokens, but the vocabulary has "
            f"{len(vocab):,}: use the original vocabulary, built with the same `tokenizer`, "
            "`lower` and `keep_line_ends`"
        )
    activation = arguments.activation if found.settings["model"] == "rnn" else "auto"
    given = dict(level=vocab.level, tokenizer=vocab.to_dict().get("tokenizer", "auto"))
    keep = arguments.keep_line_ends or "\r" in vocab.index
    given.update(lower=arguments.lower, keep_line_ends=keep, activation=activation)
    config = Config.from_dict({**found.settings, **given}, str(arguments.file))
    from ..models import build_model
    from ..run.folder import Run

    build_model(config.model, len(vocab)).check_arrays(found.arrays)
    contents = Checkpoint(config, vocab, found.arrays, {}, {"step": 0})
    run = Run.with_checkpoint(arguments.run, contents, arguments.overwrite)
    layers = " + ".join(map(str, config.model.layer_sizes()))
    show(
        f"{run.path}: {config.model.model} {layers}, {len(vocab):,} {vocab.kind.unit}s"
        + (f" including {UNKNOWN}" if UNKNOWN in vocab.index else "")
        + f"\ncontinue with its weights: train --init-from {run.path} --data FILE\n"
    )


if __name__ == "__main__":
    run_command(main)
