"""Command line: score a text with a trained model. `python -m gluonlm.evaluate --help`."""

import dataclasses
import json
import math
from pathlib import Path

from .cli import Parser, run_command
from .errors import InputError


def parse(argv=None):
    parser = Parser(
        "evaluate",
        "Score a text with a trained model, read as one stream from its first token to its last: nats per "
        "token, bits per character, perplexity.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run, or of one of its checkpoints")
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="text to score; - reads standard input (default: a part of the run's own text)",
    )
    parser.add_argument(
        "--part",
        choices=("test", "valid", "train"),
        default="test",
        help="which part of it (default: test)",
    )
    parser.add_argument(
        "--encoding", metavar="TEXT", help="encoding of --data (default: the run's)"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder of the run's own corpus (default: the run's)"
    )
    parser.add_argument(
        "--seq-len",
        type=int,
        default=1000,
        metavar="N",
        help="tokens read at a time: speed only (default: 1000)",
    )
    parser.add_argument(
        "--per-token",
        metavar="FILE",
        help="write each token's surprise, nats, as tab-separated lines",
    )
    parser.add_argument(
        "--unknown",
        choices=("error", "skip"),
        default="error",
        help="what to do with characters that the model does not know (default: error)",
    )
    parser.add_argument(
        "--checkpoint",
        choices=("best", "last"),
        default="best",
        help="which of the run's (default: best)",
    )
    parser.add_argument(
        "--ctx", default="cpu", metavar="DEVICE", help="cpu, gpu, gpu:1 or auto (default: cpu)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(argv)
    if arguments.seq_len < 1:
        raise InputError(f"--seq-len {arguments.seq_len}: must be at least 1")
    return arguments


def read_ids(arguments, checkpoint):
    """Give the ids to score: of `--data`, or of a part of the text the run was trained on. Raises: InputError."""
    from .corpus import load_corpus
    from .text import read_text

    config = checkpoint.config.data
    changes = {
        name: getattr(arguments, name)
        for name in ("encoding", "data_dir")
        if getattr(arguments, name)
    }
    config = dataclasses.replace(config, **changes)
    if arguments.data:
        text = read_text(arguments.data, config.encoding)
        return checkpoint.encode(text, arguments.unknown)
    corpus = load_corpus(config, checkpoint.vocab)
    if corpus.fingerprint != checkpoint.progress.get("corpus"):
        raise InputError(
            f"the text of {corpus.name} is not the one this run was trained on: give the old one with --data-dir, "
            "or score a file with --data"
        )
    return getattr(corpus, arguments.part)


def write_surprise(path, vocab, ids, losses):
    """Write one line for each token: its place, the token as JSON, its surprise in nats; what was read only has none.

    Raises: InputError if the file cannot be written.
    """
    try:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write("position\ttoken\tnats\n")
            for place, token in enumerate(ids):
                known = place - (len(ids) - len(losses))
                stream.write(
                    f"{place}\t{json.dumps(vocab.tokens[token])}\t{f'{losses[known]:.6f}' if known >= 0 else ''}\n"
                )
    except OSError as error:
        raise InputError(f"--per-token {path}: cannot write it: {error.strerror}") from None


def main(argv=None):
    arguments = parse(argv)
    if arguments.per_token and Path(arguments.per_token).exists():
        raise InputError(
            f"--per-token {arguments.per_token}: already exists: remove it or give another name"
        )
    from .runtime import get_ctx

    ctx = get_ctx(arguments.ctx)
    from .checkpoint import load_model
    from .scoring import perplexity, score

    model, checkpoint = load_model(arguments.run, arguments.checkpoint, ctx)
    ids = read_ids(arguments, checkpoint)
    losses = score(model, ids, ctx[0], arguments.seq_len)
    nats = float(losses.mean())
    result = {"tokens": losses.size, "nats": nats, "perplexity": perplexity(nats)}
    if checkpoint.config.data.level == "char":
        result["bits_per_character"] = nats / math.log(2)
    if arguments.per_token:
        write_surprise(arguments.per_token, checkpoint.vocab, ids, losses)
    if arguments.json:
        print(json.dumps(result))
    else:
        print(
            "  ".join(
                f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.6f}"
                for name, value in result.items()
            )
        )


if __name__ == "__main__":
    run_command(main)
