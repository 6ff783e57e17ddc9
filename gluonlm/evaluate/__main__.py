"""Command line: score a text with a trained model. `python -m gluonlm.evaluate --help`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config.flags import Parser
from ..run.checkpoint import Checkpoint
from ..system.console import run_command, show
from ..system.errors import InputError
from ..system.files import check_outputs, output_file
from ..system.strict_json import finite
from ..vocab import Vocab
from .dynamic_flags import add_cache, add_dynamic, check_adaptive
from .surprise import page, spans, terminal, write_surprise

if TYPE_CHECKING:
    from .scoring import Unit


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "evaluate",
        "Score a text with a trained model as one continuous stream, in windows, or each line of a "
        "file on its own; print bits per character, nats and perplexity.",
        examples=(
            "runs/book",
            "runs/book --data letter.txt --html surprise.html",
            "runs/book --lines sentences.txt --rank",
        ),
    )
    parser.add_run(demo=True)
    add = parser.add_argument
    add(
        "--data",
        metavar="FILE",
        help="text to score; - reads standard input (default: --part of the run's own text)",
    )
    add(
        "--part",
        choices=("test", "valid", "train"),
        help="part of the run's own text to score (default: test)",
    )
    add(
        "--encoding", metavar="TEXT", help="encoding of --data or --lines (default: as in training)"
    )
    add(
        "--field",
        metavar="NAME",
        help="column or key of --data that contains the text of each row, for .csv, .tsv and "
        ".jsonl (default: as in training)",
    )
    add("--data-dir", metavar="DIR", help="folder of the run's corpus (default: as in training)")
    add(
        "--seq-len",
        type=int,
        default=1000,
        metavar="N",
        help="tokens per segment, or per batch of lines or windows; affects only speed and memory, "
        "except with --streams (default: 1000)",
    )
    parser.add_overwrite()
    parser.add_unknown("")
    add("--ctx", default="cpu", metavar="DEVICE", help="cpu, gpu, gpu:1 or auto (default: cpu)")
    add("--json", action="store_true", help="print the result as JSON")
    add_lines(parser.add_argument_group("scoring each line of a file").add_argument)
    add_views(parser.add_argument_group("other output, of the last score computed").add_argument)
    adapting = parser.add_argument_group("adapting the model to the text")
    add_cache(adapting, "score again with")
    add_dynamic(adapting, "score again, updating the weights after each segment")
    adapting.add_argument(
        "--tune",
        action="store_true",
        help="first choose lr and decay of --dynamic, and theta and weight of --cache, on the "
        "run's validation part",
    )
    return parser


def add_lines(add: Callable) -> None:
    """Add the flags of scoring line by line."""
    add(
        "--lines",
        metavar="FILE",
        help="score each line with a zero initial state, including its line end; print line "
        "number, predicted tokens, bits, bits per character, perplexity and text, separated by "
        "tabs; - reads standard input",
    )
    add("--rank", action="store_true", help="sort the lines by bits per character, lowest first")
    add("--jsonl", action="store_true", help="print a JSON object for each line instead")
    add("--out", metavar="FILE", help="file for the scores of the lines (default: print them)")


def add_views(add: Callable) -> None:
    """Add the flags of per-token output, `--windows` and `--streams`."""
    add(
        "--windows",
        type=int,
        metavar="N",
        help="score adjacent windows of N tokens, each with a zero initial state, as nanoGPT and "
        "others do",
    )
    add(
        "--streams",
        type=int,
        default=1,
        metavar="N",
        help="score N parallel columns, each with a zero initial state, in complete segments of "
        "--seq-len, as many papers do (default: 1)",
    )
    add(
        "--per-token",
        metavar="FILE",
        help="write each token's surprise in nats to a tab-separated file",
    )
    add("--html", metavar="FILE", help="write the text, coloured by surprise, as an HTML page")
    add("--ansi", action="store_true", help="print the text coloured by surprise (256 colours)")


def parse(argv=None) -> argparse.Namespace:
    parser = make_parser()
    arguments = parser.parse_args(argv)
    _check_lines(parser, arguments)
    _check_adapting(parser, arguments)
    own = ("part",) if arguments.tune else ("part", "data_dir")
    parser.reject_unused(arguments, own, together_with="data")
    parser.reject_unused(arguments, ("field",), without="data")
    if not arguments.lines:
        parser.reject_unused(arguments, ("encoding", "unknown"), without="data")
    arguments.part = arguments.part or "test"
    if arguments.seq_len < 1:
        raise InputError(f"`seq_len` {arguments.seq_len}: must be at least 1")
    if arguments.windows is not None and arguments.windows < 1:
        raise InputError(f"`windows` {arguments.windows}: must be at least 1")
    if arguments.streams < 1:
        raise InputError(f"`streams` {arguments.streams}: must be at least 1")
    if arguments.streams > 1 and (arguments.per_token or arguments.html or arguments.ansi):
        raise InputError("`per_token`, `html` and `ansi` need one stream: leave out `streams`")
    if arguments.ansi and arguments.json:
        raise InputError("`ansi` and `json` cannot be combined: leave out one")
    return arguments


def _check_lines(parser, arguments):
    parser.reject_unused(arguments, ("rank", "jsonl", "out"), without="lines")
    adapting = ("dynamic", "cache", "tune")
    parser.reject_unused(arguments, ("streams", *adapting), together_with="windows")
    views = ("json", "per_token", "html", "ansi")
    whole = ("data", "part", "data_dir", "windows", "streams", *views, *adapting)
    parser.reject_unused(arguments, whole, together_with="lines")


def _check_adapting(parser, arguments):
    adapting = arguments.dynamic or arguments.cache
    if adapting and arguments.streams > 1:
        raise InputError("`dynamic` and `cache` need one stream: leave out `streams`")
    if arguments.tune and not adapting:
        raise InputError("`tune` requires `dynamic` or `cache`: set at least one of them")
    if arguments.tune and not arguments.data and arguments.part == "valid":
        raise InputError("`tune` uses the validation part: score another `part`")
    check_adaptive(parser, arguments)
    found = ("dynamic_lr", "dynamic_decay", "cache_theta", "cache_weight")
    parser.reject_unused(arguments, found, together_with="tune")


def read_ids(arguments, checkpoint: Checkpoint) -> np.ndarray:
    """Return the ids to score: `--data`, or a part of the run's own text.

    Raises
    ------
    InputError
        If the text cannot be read, or differs from the text of the run.
    """
    from ..corpus.rows import has_rows
    from ..corpus.text import read_text
    from ..run.text import encode_text, load_own

    if arguments.data:
        config = checkpoint.config.data
        encoding, separator = arguments.encoding or config.encoding, config.separator()
        field = arguments.field or (config.field if has_rows(arguments.data) else "")
        text = read_text(arguments.data, encoding, True, separator, field)
        name = "standard input" if arguments.data == "-" else arguments.data
        return encode_text(checkpoint, text, name, arguments.unknown)
    given = {"data_dir": arguments.data_dir} if arguments.data_dir else {}
    return getattr(load_own(checkpoint, given), arguments.part)


def main(argv=None) -> None:
    arguments = parse(argv)
    outputs = filter(None, (arguments.per_token, arguments.html, arguments.out))
    check_outputs(map(Path, outputs), arguments.overwrite)
    from ..system.device import get_ctx

    ctx = get_ctx(arguments.ctx)
    from ..run.load import load_model
    from .scoring import Unit, score, score_columns
    from .texts import score_windows

    model, checkpoint = load_model(arguments.run, arguments.checkpoint, ctx)
    if arguments.lines:
        print_lines(arguments, model, checkpoint, ctx)
        return
    ids = read_ids(arguments, checkpoint)
    if arguments.windows:
        losses = score_windows(model, ids, arguments.windows, ctx[0], arguments.seq_len)
    elif arguments.streams > 1:
        losses = score_columns(model, ids, arguments.streams, arguments.seq_len, ctx[0])
    else:
        losses = score(model, ids, ctx[0], arguments.seq_len)
    result, vocab = summarise(checkpoint.vocab, ids, losses), checkpoint.vocab
    result["protocol"] = protocol(arguments, model.window)
    if not arguments.data:
        result["part"] = arguments.part
    unit = Unit.of(vocab, ids[-losses.size :])
    for name, settings, losses in adapted(arguments, model, checkpoint, ids, ctx[0]):
        result[name] = {**summarise(vocab, ids, losses), **settings}
        result[name]["protocol"] = result["protocol"] + ", adapted"
    if arguments.per_token:
        write_surprise(arguments.per_token, vocab, ids, losses, arguments.overwrite)
    if arguments.html:
        title, about = f"Surprise per token: {arguments.run}", describe(result, unit, arguments)
        pieces = page(title, about, vocab, spans(vocab, ids, losses))
        with output_file(arguments.html, arguments.overwrite) as stream:
            stream.writelines(piece.encode("utf-8", "backslashreplace") for piece in pieces)
    for piece in terminal(vocab, spans(vocab, ids, losses)) if arguments.ansi else ():
        print(piece, end="")
    if arguments.json:
        print(json.dumps(finite(result), allow_nan=False))
    else:
        print("\n" * arguments.ansi + describe(result, unit, arguments))
        for path in filter(None, (arguments.per_token, arguments.html)):
            show(f"wrote {path}", "\n")


def protocol(arguments: argparse.Namespace, window: int | None) -> str:
    """Return how a text is read: the tokens on which each prediction depends.

    Parameters
    ----------
    window
        The number of tokens that the model reads per prediction; None if it carries its state.
    """
    if arguments.windows:
        return f"cold windows of {arguments.windows}"
    if arguments.streams > 1:
        return f"{arguments.streams} columns in segments of {arguments.seq_len}"
    return f"every window of {window}" if window else "one stream, state carried"


def print_lines(arguments, model, checkpoint: Checkpoint, ctx: list) -> None:
    """Score each line of `--lines`, and print or write the scores."""
    from ..corpus.lines import Lines
    from .lines import ranked, score_lines, write_lines

    data, how = checkpoint.config.data, dict(ctx=ctx, batch_tokens=arguments.seq_len)
    lines = Lines(arguments.lines, arguments.encoding or data.encoding, data.keep_line_ends)
    scored: Iterable = score_lines(model, checkpoint, lines, arguments.unknown, **how)
    scored = ranked(scored) if arguments.rank else scored
    write_lines(scored, arguments.jsonl, arguments.out, arguments.overwrite)
    if arguments.out:
        show(f"wrote {arguments.out}", "\n")


def adapted(arguments, model, checkpoint: Checkpoint, ids: np.ndarray, ctx) -> Iterator[tuple]:
    """Yield name, settings and losses (nats per token) for each requested kind of adaptation.

    With both, the cache uses the hidden states of the dynamic model, which reads the text once.
    """
    from .cache import Cached, CacheSettings, tune_cache

    learning = None
    if arguments.dynamic:
        learning, model = dynamic_model(arguments, model, checkpoint, ctx)
    if not arguments.cache:
        if learning:
            yield "dynamic", learning._asdict(), model.score_text(ids, ctx)
        return
    cached = Cached(model, CacheSettings.named(arguments))
    if arguments.tune:
        valid = validation_ids(arguments, checkpoint)
        cached = Cached(model, best_of(tune_cache(model, valid, cached.settings)))
    alone, together = cached.score_both(ids)
    if learning:
        yield "dynamic", learning._asdict(), alone
    name = "dynamic_cache" if learning else "cache"
    yield name, cached.settings._asdict(), together


def dynamic_model(arguments, model, checkpoint: Checkpoint, ctx) -> tuple:
    """Return the settings of dynamic evaluation and the dynamic model."""
    from .dynamic import Dynamic, DynamicSettings, squared_gradients, tune

    settings = DynamicSettings.named(arguments)
    squares = squared_gradients(model, checkpoint) if settings.rule == "rms" else None
    if arguments.tune:
        valid = validation_ids(arguments, checkpoint)
        settings = best_of(tune(model, valid, settings, squares, ctx))
    return settings, Dynamic(model, settings, squares)


def validation_ids(arguments, checkpoint: Checkpoint) -> np.ndarray:
    """Return the ids of the run's validation part.

    Raises
    ------
    InputError
        As for `read_ids`, or if the part is empty.
    """
    valid = argparse.Namespace(**{**vars(arguments), "data": None, "part": "valid"})
    ids = read_ids(valid, checkpoint)
    if len(ids) < 2:
        raise InputError("`tune` needs a validation part, but this run has none")
    return ids


def best_of(trials: Iterable) -> Any:
    """Print the validation loss of each trial in nats; return the best settings."""
    found = {}
    for settings, nats in trials:
        found[settings] = nats
        print(f"validation: {_shown(settings._asdict())}: {nats:.4f} nats", file=sys.stderr)
    return min(found, key=lambda settings: found[settings])


def summarise(vocab: Vocab, ids: np.ndarray, losses: np.ndarray) -> dict:
    """Return the metrics of a text `(tokens,)`, given the losses of its last tokens in nats."""
    from .scoring import Unit, perplexity

    nats = float(losses.mean())
    result = {"tokens": losses.size, "nats": nats, "perplexity": perplexity(nats)}
    scored = ids[-losses.size :]
    result["bits_per_character"] = Unit.of(vocab, scored).bits(nats)
    if vocab.level == "word":
        result["unknown"] = vocab.share_unknown(scored)
    return result


def describe(result: dict, unit: Unit, arguments: argparse.Namespace) -> str:
    """Return the metrics as one line, followed by one line for each kind of adaptation."""
    from .scoring import PARTS

    text = "standard input" if arguments.data == "-" else arguments.data or PARTS[arguments.part]
    if arguments.windows or arguments.streams > 1:
        text += f", {result['protocol']}"
    lines = [unit.report(result["nats"], result["tokens"], text)]
    if "unknown" in result:
        lines[0] += f", {100 * result['unknown']:.2f} % unknown"
    for name, found in result.items():
        if isinstance(found, dict):
            settings = {key: value for key, value in found.items() if key not in result}
            lines.append(f"{name} ({_shown(settings)}): {unit.report(found['nats'])}")
    return "\n".join(lines)


def _shown(settings):
    pairs = ((k, v if isinstance(v, str) else f"{v:g}") for k, v in settings.items())
    return ", ".join(f"{name} {value}" for name, value in pairs)


if __name__ == "__main__":
    run_command(main)
