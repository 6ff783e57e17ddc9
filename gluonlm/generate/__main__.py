"""Command line: write text with a trained model. `python -m gluonlm.generate --help`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..config.flags import Parser
from ..evaluate.dynamic_flags import add_cache, add_dynamic, check_adaptive
from ..system.console import complain, run_command, show
from ..system.errors import InputError
from .sampling import WIDEST, beam_search, forbid_repeats, penalise, probabilities, sample


def parse(argv=None) -> argparse.Namespace:
    arguments = make_parser().parse_args(argv)
    length, samples, seed = arguments.length, arguments.samples, arguments.seed
    if length < 1 or samples < 1 or seed < 0:
        raise InputError(
            f"`length` {length}, `samples` {samples}, `seed` {seed}: "
            "length and samples start at 1, seed at 0"
        )
    check_adaptive(arguments)
    if arguments.beam is not None and not 1 <= arguments.beam <= WIDEST:
        raise InputError(f"`beam` {arguments.beam}: must be from 1 to {WIDEST:,}")
    if arguments.beam is not None and (
        samples > 1 or arguments.greedy or arguments.repetition_penalty != 1
    ):
        raise InputError(
            "`beam` finds one text: leave out `samples`, `greedy` and `repetition_penalty`"
        )
    return arguments


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "generate",
        "Continue a prompt with a trained model.",
        examples=(
            "runs/book --prompt 'In the beginning' --temperature 0.7",
            "runs/book --prompt 'In the' --beam 8 --length 100",
        ),
    )
    parser.add_run()
    add = parser.add_argument
    add(
        "--prompt",
        metavar="TEXT",
        help="text to begin with; - reads standard input (default: a line break)",
    )
    add("--length", type=int, default=300, metavar="N", help="tokens to write (default: 300)")
    add("--samples", type=int, default=1, metavar="N", help="texts to write (default: 1)")
    add("--seed", type=int, default=1, metavar="S", help="seed of the draws (default: 1)")
    parser.add_unknown(" of the prompt")
    add(
        "--novelty",
        action="store_true",
        help="say at the end how much of what was written stands in the training text",
    )
    add("--data-dir", metavar="DIR", help="folder of that text (default: the run's)")
    drawing = parser.add_argument_group("how to choose a token")
    add_drawing(drawing.add_argument)
    adapting = parser.add_argument_group("a model that adapts to its prompt")
    add_cache(adapting, "lean towards")
    add_dynamic(adapting, "learn from each segment of the prompt before writing")
    return parser


def add_drawing(add: Callable) -> None:
    """Add the flags that say how a token is chosen."""
    add(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="under 1 likelier, over 1 bolder (default: 1.0)",
    )
    add(
        "--top-k",
        type=int,
        default=0,
        metavar="K",
        help="draw from the K likeliest tokens; 0: all (default: 0)",
    )
    add(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="draw from the fewest tokens that reach probability P (default: 1.0)",
    )
    add("--greedy", action="store_true", help="always the likeliest token")
    add("--beam", type=int, metavar="W", help="search with a beam of this width instead of drawing")
    add(
        "--repetition-penalty",
        type=float,
        default=1.0,
        metavar="X",
        help="make what has been written X times less likely, as a logarithm (default: 1.0)",
    )
    add(
        "--no-repeat-ngram",
        type=int,
        default=0,
        metavar="N",
        help="write no N tokens twice, with a beam too; 0: write what comes (default: 0)",
    )


def continuations(model, prompt, arguments) -> Iterator[Iterable[int]]:
    """Yield each text that is asked for, itself to be read token by token."""
    if arguments.beam is not None:
        ngram = arguments.no_repeat_ngram
        yield beam_search(model, prompt, arguments.length, arguments.beam, ngram)[0]
        return
    names = ("temperature", "top_k", "top_p", "greedy", "repetition_penalty", "no_repeat_ngram")
    how = {name: getattr(arguments, name) for name in names}
    for number in range(arguments.samples):
        drawn = sample(model, prompt, arguments.length, seed=arguments.seed + number, **how)
        yield (ids[0] for ids in drawn)


def adapt(model, checkpoint, prompt: np.ndarray, arguments) -> Any:
    """Return the model, once it has learnt from the prompt and with its cache, as asked for."""
    from ..evaluate.cache import Cached, CacheSettings
    from ..evaluate.dynamic import Dynamic, DynamicSettings, squared_gradients

    if arguments.dynamic:
        settings = DynamicSettings.named(arguments)
        squares = squared_gradients(model, checkpoint) if settings.rule == "rms" else None
        Dynamic(model, settings, squares).score_text(prompt)
    if not arguments.cache:
        return model
    return Cached(model, CacheSettings.named(arguments))


def main(argv=None) -> None:
    arguments = parse(argv)
    from ..corpus.text import read_text
    from ..run.load import load_model

    # rejects bad parameters before the prompt appears
    probabilities([[0.0]], arguments.temperature, arguments.top_k, arguments.top_p)
    nothing = np.empty((1, 0), int)
    penalise([[0.0]], nothing, arguments.repetition_penalty)
    forbid_repeats([[0.0]], nothing, arguments.no_repeat_ngram)
    model: Any
    model, checkpoint = load_model(arguments.run, arguments.checkpoint)
    vocab = checkpoint.vocab
    text = read_text("-") if arguments.prompt == "-" else arguments.prompt
    prompt: Any = vocab.default_prompt()
    if text is not None:
        prompt = checkpoint.encode(text, arguments.unknown)
    if not len(prompt):
        raise InputError("`prompt`: holds nothing that the model knows: give at least one token")
    if arguments.dynamic or arguments.cache:
        model = adapt(model, checkpoint, prompt, arguments)
    shown = [] if text is None else prompt
    written: list[list[int]] = []
    for number, tokens in enumerate(continuations(model, prompt, arguments)):
        if number:
            print("\n" + "-" * 20)
        show(vocab.typeset(shown))
        spell = vocab.speller(shown[-1] if len(shown) else None)
        written.append([])
        for token in tokens:
            written[-1].append(int(token))
            show(spell(written[-1][-1]))
    print()
    if arguments.novelty:
        compare(checkpoint, written, arguments.data_dir)


def compare(checkpoint, texts: list[list[int]], data_dir: str | None) -> None:
    """Print on stderr how much of each text stands in the one that the run was trained on.

    Raises
    ------
    InputError
        If that text is not here.
    """
    from ..run.text import load_own
    from .novelty import GRAM, novelty

    vocab = checkpoint.vocab
    known = load_own(checkpoint, {"data_dir": data_dir} if data_dir else {}).train
    for ids in texts:
        found = novelty(np.array(ids), known)
        piece = vocab.typeset(ids[found.longest])
        complain(
            f"novelty: {found.grams:.1%} of {GRAM} tokens in a row stand in the training text; "
            f"the longest piece that does has {found.longest.stop - found.longest.start}: {piece!r}"
        )


if __name__ == "__main__":
    run_command(main)
