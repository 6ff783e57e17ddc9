"""Command line: generate text with a trained model. `python -m gluonlm.generate --help`."""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..config.flags import Parser
from ..evaluate.dynamic_flags import add_cache, add_dynamic, check_adaptive
from ..system.console import complain, run_command, show
from ..system.errors import InputError
from ..system.files import check_output, output_file
from ..vocab import UNKNOWN, Vocab, unescape
from .completions import Completion, Ends, Prompt, in_batches
from .output import DASHES, as_json, as_text, counted
from .sampling import WIDEST, Sampling, beam_search


def parse(argv=None) -> argparse.Namespace:
    parser = make_parser()
    arguments = parser.parse_args(argv)
    length, samples, seed = arguments.length, arguments.samples, arguments.seed
    if length < 1 or samples < 1 or seed < 0:
        raise InputError(
            f"`length` {length}, `samples` {samples}, `seed` {seed}: "
            "length and samples must be at least 1, seed at least 0"
        )
    check_adaptive(parser, arguments)
    _check_prompts(parser, arguments)
    parser.reject_unused(arguments, ("data_dir",), without="novelty")
    parser.reject_unused(arguments, ("overwrite",), without="out")
    if arguments.temperature == 0:
        arguments.greedy, arguments.temperature = True, 1.0
    drawing = ("samples", "temperature", "top_k", "top_p", "seed")
    parser.reject_unused(arguments, drawing, together_with="greedy")
    parser.reject_unused(
        arguments, (*drawing, "greedy", "repetition_penalty"), together_with="beam"
    )
    if arguments.beam is not None and not 1 <= arguments.beam <= WIDEST:
        raise InputError(f"`beam` {arguments.beam}: must be from 1 to {WIDEST:,}")
    return arguments


def _check_prompts(parser, arguments):
    """Reject flags that have no effect on the given prompts or on their output."""
    if arguments.prompts is None:
        parser.reject_unused(arguments, ("unknown", "dynamic"), without="prompt")
    elif arguments.dynamic:
        raise InputError("`dynamic` adapts the model to one prompt: use `prompt`, not `prompts`")
    parser.reject_unused(arguments, ("prompt",), together_with="prompts")
    if arguments.prompt != "-":
        parser.reject_unused(arguments, ("encoding",), without="prompts")
    parser.reject_unused(arguments, ("separator",), together_with="jsonl")
    if arguments.separator and arguments.samples == 1 and arguments.prompts is None:
        raise InputError("`separator`: has no effect on one text; set `samples` or `prompts`")


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "generate",
        "Continue a prompt with a trained model.",
        examples=(
            "--demo --temperature 0.5",
            "runs/book --prompt 'In the beginning' --temperature 0.7",
            "runs/book --prompt 'In the' --beam 8 --length 100",
            "runs/book --prompts lines.txt --stop '\\n' --jsonl --out texts.jsonl",
        ),
    )
    parser.add_run(demo=True)
    add = parser.add_argument
    add(
        "--prompt",
        metavar="TEXT",
        help="text to continue; \\n, \\t and \\f mean line break, tab and form feed, unless the "
        "vocabulary contains a backslash; - reads standard input (default: a line break, or a "
        "document separator of several characters)",
    )
    add(
        "--prompts",
        metavar="FILE",
        help="file with one prompt per line, instead of --prompt; - reads standard input",
    )
    add(
        "--encoding",
        default="utf-8",
        metavar="TEXT",
        help="encoding of --prompts and standard input (default: utf-8)",
    )
    add("--length", type=int, default=300, metavar="N", help="tokens to generate (default: 300)")
    add(
        "--samples",
        type=int,
        default=1,
        metavar="N",
        help="texts to generate for each prompt (default: 1)",
    )
    add(
        "--seed",
        type=int,
        default=1,
        metavar="S",
        help="random seed of the first text; the others have the following seeds (default: 1)",
    )
    parser.add_unknown(" of the prompt")
    add(
        "--novelty",
        action="store_true",
        help="report how much of the output occurs in the training text",
    )
    add("--data-dir", metavar="DIR", help="folder of the training text (default: as in training)")
    parser.add_overwrite()
    add_ends(parser.add_argument_group("end of a text").add_argument)
    add_output(parser)
    add_sampling(parser.add_argument_group("sampling").add_argument)
    adapting = parser.add_argument_group("adapting the model to the prompt")
    add_cache(adapting, "mix in")
    add_dynamic(adapting, "first update the weights on each segment of the prompt")
    return parser


def add_ends(add: Callable) -> None:
    """Add the flags that end a text before `--length`."""
    add(
        "--stop",
        action="append",
        metavar="TEXT",
        help="end before this text, if generated; \\n, \\t and \\f mean line break, tab and form "
        "feed; may be repeated",
    )
    add(
        "--document",
        action="store_true",
        help="for models trained with --document-separator: begin a document with the prompt, and "
        "end before the next separator",
    )


def add_output(parser: Parser) -> None:
    """Add the flags of the output's form and place."""
    add = parser.add_argument_group("output").add_argument
    add(
        "--separator",
        metavar="TEXT",
        help="text to print between texts, such as '\\n' for one text per line, with \\n, \\t and "
        "\\f as in --stop (default: a line of dashes)",
    )
    add(
        "--jsonl",
        action="store_true",
        help="print each text as one line of JSON, with its prompt, length, seed and end",
    )
    add("--out", metavar="FILE", help="write the texts to a file in UTF-8 instead of printing them")


def add_sampling(add: Callable) -> None:
    """Add the flags of sampling and beam search."""
    add(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="below 1: more conservative; above 1: more random; 0: as --greedy (default: 1.0)",
    )
    add(
        "--top-k",
        type=int,
        default=0,
        metavar="K",
        help="sample from the K most likely tokens; 0: from all (default: 0)",
    )
    add(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="sample from the fewest tokens whose probabilities reach P (default: 1.0)",
    )
    add("--greedy", action="store_true", help="always choose the most likely token")
    add("--beam", type=int, metavar="W", help="use beam search of this width instead of sampling")
    add(
        "--repetition-penalty",
        type=float,
        default=1.0,
        metavar="X",
        help="multiply the log-probability of tokens already generated by X (default: 1.0)",
    )
    add(
        "--no-repeat-ngram",
        type=int,
        default=0,
        metavar="N",
        help="generate no sequence of N tokens twice; 0: allow repetition (default: 0)",
    )
    add("--no-unk", action="store_true", help="never generate <unk>")


def completions(model, vocab, prompts, ends: Ends, how: Sampling, arguments) -> Iterator:
    """Yield the `Completion` of each requested text, in order."""
    numbers = itertools.count(arguments.seed)
    requested = (
        Completion(prompt, next(numbers), vocab, ends)
        for prompt in prompts
        for _ in range(arguments.samples)
    )
    if arguments.beam is None:
        yield from in_batches(model, requested, how, len(vocab))
        return
    settings = arguments.beam, how.no_repeat_ngram, how.exclude
    for completion in requested:
        ids, _ = beam_search(model, completion.prompt.ids, ends.length, *settings)
        for token in ids.tolist():
            if not completion.end:
                completion.add(token)
        yield completion


def sampling(arguments, vocab: Vocab | None = None) -> Sampling:
    """Return the parameters of sampling; with a vocabulary, `--no-unk` is among them.

    Raises
    ------
    InputError
        If one is out of range, or the vocabulary has no `<unk>`.
    """
    values = {name: getattr(arguments, name) for name in Sampling._fields if name != "exclude"}
    if vocab and arguments.no_unk and UNKNOWN not in vocab.index:
        raise InputError(f"`no_unk`: this vocabulary has no {UNKNOWN}; leave it out")
    exclude = (vocab.index[UNKNOWN],) if vocab and arguments.no_unk else ()
    how = Sampling(**values, exclude=exclude)
    how.check()
    return how


def find_ends(arguments, checkpoint) -> Ends:
    """Return the ends of a text.

    Raises
    ------
    InputError
        If the model cannot generate one of them.
    """
    data, vocab = checkpoint.config.data, checkpoint.vocab
    stops = [unescape(text) for text in arguments.stop or ()]
    stops = [text.lower() if data.lower else text for text in stops]
    for given, stop in zip(arguments.stop or (), stops):
        try:
            vocab.encode(stop, start=0)
        except InputError:
            raise InputError(
                f"`stop` {given!r}: has no effect, as the vocabulary does not contain all of its "
                f"{vocab.kind.unit}s; leave it out"
            ) from None
    separator = vocab.separator(data.separator()) if arguments.document else None
    if arguments.document and separator is None:
        raise InputError("`document`: the model was trained without `document_separator`")
    return Ends(arguments.length, tuple(stops), separator)


def adapt(model, checkpoint, prompts: Iterable[Prompt], arguments) -> Any:
    """Apply dynamic evaluation and the neural cache, if requested; return the model."""
    from ..evaluate.cache import Cached, CacheSettings
    from ..evaluate.dynamic import Dynamic, DynamicSettings, squared_gradients

    if arguments.dynamic:
        settings = DynamicSettings.named(arguments)
        squares = squared_gradients(model, checkpoint) if settings.rule == "rms" else None
        for prompt in prompts:  # only one
            Dynamic(model, settings, squares).score_text(prompt.ids)
    if not arguments.cache:
        return model
    return Cached(model, CacheSettings.named(arguments))


def main(argv=None) -> None:
    arguments = parse(argv)
    from ..run.load import load_model

    sampling(arguments)  # rejects invalid parameters before the model is loaded
    if arguments.out:
        check_output(arguments.out, arguments.overwrite)
    model: Any
    model, checkpoint = load_model(arguments.run, arguments.checkpoint)
    vocab = checkpoint.vocab
    how, ends = sampling(arguments, vocab), find_ends(arguments, checkpoint)
    prompts = read_prompts(arguments, checkpoint, ends.separator)
    known = training_ids(checkpoint, arguments.data_dir) if arguments.novelty else None
    if arguments.dynamic or arguments.cache:
        model = adapt(model, checkpoint, prompts, arguments)
    found: Counter[str] = Counter()
    written: list[list[int]] = []
    texts = completions(model, vocab, prompts, ends, how, arguments)
    write(counted(texts, found, None if known is None else written), vocab, arguments)
    if found["length"] and (ends.stop or ends.separator is not None):
        complain(f"{found['length']:,} of {found.total():,} texts have no end within --length")
    if known is not None:
        compare(vocab, written, known)


def read_prompts(arguments, checkpoint, start: int | None) -> Iterable[Prompt]:
    """Return the prompts of the flags, after checking all of them.

    Raises
    ------
    InputError
        As for `read_prompt` and `PromptFile`.
    """
    from .prompts import PromptFile, read_prompt

    if arguments.prompts is None:
        return [read_prompt(arguments, checkpoint, start)]
    prompts = PromptFile(arguments, checkpoint, start)
    prompts.check()
    return prompts


def write(texts: Iterable[Completion], vocab: Vocab, arguments) -> None:
    """Print the texts, or write them to `--out`."""
    if arguments.jsonl:
        pieces = as_json(texts, drawn=not arguments.greedy and arguments.beam is None)
    else:
        pieces = as_text(texts, vocab, unescape(arguments.separator or DASHES))
    if arguments.out is None:
        for piece in pieces:
            show(piece, content=True)
        return
    with output_file(arguments.out, arguments.overwrite) as stream:
        stream.writelines(piece.encode("utf-8", "backslashreplace") for piece in pieces)
    show(f"wrote {arguments.out}", "\n")


def training_ids(checkpoint, data_dir: str | None) -> np.ndarray:
    """Return the ids of the training text, `(tokens,)`.

    Raises
    ------
    InputError
        If the training text is not found.
    """
    from ..run.text import load_own

    return load_own(checkpoint, {"data_dir": data_dir} if data_dir else {}).train


def compare(vocab, texts: list[list[int]], known: np.ndarray) -> None:
    """Print on stderr how much of each text occurs in the training text, ids `(tokens,)`."""
    from .novelty import GRAM, novelty

    for ids in texts:
        found = novelty(np.array(ids), known)
        piece = vocab.typeset(ids[found.longest])
        complain(
            f"novelty: {found.grams:.1%} of all {GRAM}-grams of tokens occur in the training text; "
            f"the longest copy has {found.longest.stop - found.longest.start} tokens: {piece!r}"
        )


if __name__ == "__main__":
    run_command(main)
