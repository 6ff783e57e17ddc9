"""Command line: bring old weights in as a run. `python -m gluonlm import --help`."""

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

LARGEST = 1 << 28  # bytes of a vocabulary


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "import",
        "Make a run of weights that Gluon, GluonNLP or PyTorch's word_language_model have saved. "
        "It can generate, be evaluated, exported, and trained on (train --init-from).",
        examples=(
            "model.params --vocab vocab.json --run runs/old",
            "model.safetensors --vocab-text train.txt --level word --run runs/old",
        ),
    )
    add = parser.add_argument
    add("file", metavar="FILE", help=".params of MXNet, or safetensors of a state_dict")
    add("--vocab", metavar="FILE", help="JSON: a list of tokens, GluonNLP's vocabulary, or ours")
    add("--vocab-text", metavar="FILE", help="the text that the vocabulary is to be built from")
    add("--level", choices=[*RULES], help="what a token is (default: by the vocabulary)")
    add("--tokenizer", default="auto", metavar="RULE", help="as for train (default: auto)")
    add("--vocab-size", type=int, default=0, metavar="N", help="as for train (default: 0)")
    add("--lower", action="store_true", help="texts are to be lowered first")
    add(
        "--activation",
        choices=("tanh", "relu"),
        default="tanh",
        help="of an rnn; no file tells it (default: tanh)",
    )
    add("--run", metavar="DIR", required=True, help="folder of the new run")
    parser.add_overwrite()
    return parser


def parse(argv=None) -> argparse.Namespace:
    arguments = make_parser().parse_args(argv)
    if bool(arguments.vocab) == bool(arguments.vocab_text):
        raise InputError(
            "the vocabulary is not in such a file: give it with `vocab`, or the text it was built "
            "from with `vocab_text`"
        )
    if arguments.vocab_text and not arguments.level:
        raise InputError("`vocab_text` needs `level`: char, word or subword")
    if arguments.vocab_size < 0 or not arguments.run:
        raise InputError("`vocab_size` must be at least 0, and `run` a folder")
    return arguments


def read_vocab(path: str, level: str | None) -> Vocab:
    """Read a vocabulary: a list of tokens, `gluonnlp.Vocab.to_json`, or a vocab.json of ours.

    Raises
    ------
    InputError
        If it is none of these.
    """
    try:
        content = json.loads(read_file(Path(path), limit=LARGEST))
    except (ValueError, RecursionError):
        raise InputError(f"`vocab` {path}: is not JSON") from None
    if isinstance(content, dict) and "idx_to_token" in content:
        content = content["idx_to_token"]
    if isinstance(content, dict) and {"level", "tokens"} <= set(content):
        return Vocab(**content)
    if not isinstance(content, list) or not all(isinstance(token, str) for token in content):
        raise InputError(f"`vocab` {path}: neither a list of tokens nor a vocabulary of GluonNLP")
    return Vocab(level or ("char" if all(len(t) == 1 for t in content) else "word"), content)


def build_vocab(arguments) -> Vocab:
    """Build the vocabulary as a training on this text would.

    Raises
    ------
    InputError
        If the text cannot be read.
    """
    from ..corpus.text import Text

    level, rule = arguments.level, arguments.tokenizer
    Config.from_dict({"level": level, "tokenizer": rule})  # rejects a rule of another level
    cut = cut_of(level, rule)
    text = Text([Path(arguments.vocab_text)], lower=arguments.lower, cut=cut)
    return Vocab.build(text.pieces(), level, arguments.vocab_size, rule)


def main(argv=None) -> None:
    arguments = parse(argv)
    found = recognise(read_arrays(arguments.file), arguments.file)
    vocab = build_vocab(arguments) if arguments.vocab_text else (
        read_vocab(arguments.vocab, arguments.level)
    )  # fmt: skip
    if len(vocab) != found.vocab_size:
        raise InputError(
            f"{arguments.file}: knows {found.vocab_size:,} tokens, and the vocabulary has "
            f"{len(vocab):,}: it is another one, or built by another rule"
        )
    activation = arguments.activation if found.settings["model"] == "rnn" else "auto"
    own = dict(level=vocab.level, tokenizer=vocab.to_dict().get("tokenizer", "auto"))
    own.update(lower=arguments.lower, activation=activation)
    config = Config.from_dict({**found.settings, **own}, str(arguments.file))
    from ..models import build_model
    from ..run.folder import Run

    build_model(config.model, len(vocab)).check_arrays(found.arrays)
    run = Run.create(arguments.run, arguments.overwrite)
    try:
        run.save(Checkpoint(config, vocab, found.arrays, {}, {"step": 0}), ("best", "last"))
        run.write_config(config)
    finally:
        run.unlock()
    layers = " + ".join(map(str, config.model.layer_sizes()))
    show(
        f"{run.path}: {config.model.model} {layers}, {len(vocab):,} {vocab.kind.unit}s"
        + (f", {UNKNOWN} among them" if UNKNOWN in vocab.index else "")
        + f"\ngo on with its weights: train --init-from {run.path} --data FILE\n"
    )


if __name__ == "__main__":
    run_command(main)
