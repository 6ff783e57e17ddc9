"""Command line: write text with a trained model. `python -m gluonlm.generate --help`."""

from .cli import Parser, run_command, show
from .errors import InputError


def parse(argv=None):
    parser = Parser("generate", "Write on from a prompt with a trained model.")
    parser.add_argument("run", metavar="RUN", help="folder of a run, or of one of its checkpoints")
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        help="text to begin with; - reads standard input (default: a line break)",
    )
    parser.add_argument(
        "--length", type=int, default=300, metavar="N", help="tokens to write (default: 300)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="under 1 likelier, over 1 bolder (default: 1.0)",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        default=0,
        metavar="K",
        help="draw from the K likeliest tokens; 0: all (default: 0)",
    )
    parser.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="draw from the fewest tokens that reach probability P (default: 1.0)",
    )
    parser.add_argument("--greedy", action="store_true", help="always the likeliest token")
    parser.add_argument(
        "--beam", type=int, metavar="W", help="search with a beam of this width instead of drawing"
    )
    parser.add_argument(
        "--samples", type=int, default=1, metavar="N", help="texts to write (default: 1)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="seed of the draws (default: 1)"
    )
    parser.add_argument(
        "--unknown",
        choices=("error", "skip"),
        default="error",
        help="what to do with a prompt's characters that the model does not know (default: error)",
    )
    parser.add_argument(
        "--checkpoint",
        choices=("best", "last"),
        default="best",
        help="which of the run's (default: best)",
    )
    arguments = parser.parse_args(argv)
    if arguments.length < 1 or arguments.samples < 1 or arguments.seed < 0:
        raise InputError(
            f"--length {arguments.length}, --samples {arguments.samples}, --seed {arguments.seed}: length and samples start at 1, seed at 0"
        )
    if arguments.beam is not None and (arguments.samples > 1 or arguments.greedy):
        raise InputError("--beam finds one text: leave out --samples and --greedy")
    return arguments


class Writer:
    """Prints tokens as they come: characters as they are, words with the blanks between them."""

    def __init__(self, vocab, prompt):
        self.vocab, self.last = vocab, prompt[-1] if len(prompt) else None
        show(vocab.typeset(prompt))

    def __call__(self, token):
        show(self.vocab.typeset([token], self.last))
        self.last = token


def continuations(model, prompt, arguments):
    """Yield each text that is asked for, itself to be read token by token."""
    from .sampling import beam_search, sample

    if arguments.beam is not None:
        yield beam_search(model, prompt, arguments.length, arguments.beam)[0]
        return
    how = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "greedy")}
    for number in range(arguments.samples):
        yield (
            ids[0]
            for ids in sample(model, prompt, arguments.length, seed=arguments.seed + number, **how)
        )


def main(argv=None):
    arguments = parse(argv)
    from .checkpoint import load_model
    from .runtime import load_mxnet

    load_mxnet()
    from .sampling import probabilities
    from .text import read_text

    probabilities(
        [[0.0]], arguments.temperature, arguments.top_k, arguments.top_p
    )  # refuses bad parameters before the prompt appears
    model, checkpoint = load_model(arguments.run, arguments.checkpoint)
    vocab = checkpoint.vocab
    text = read_text("-") if arguments.prompt == "-" else arguments.prompt
    prompt = vocab.default_prompt() if text is None else checkpoint.encode(text, arguments.unknown)
    if not len(prompt):
        raise InputError("--prompt: holds nothing that the model knows: give at least one token")
    shown = [] if text is None else prompt
    for number, tokens in enumerate(continuations(model, prompt, arguments)):
        if number:
            print("\n" + "-" * 20)
        write = Writer(vocab, shown)
        for token in tokens:
            write(int(token))
    print()


if __name__ == "__main__":
    run_command(main)
