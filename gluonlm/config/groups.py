"""Every setting, once: its name, default, bounds and explanation.

The command lines are generated from these fields.
"""

import math
from dataclasses import dataclass

from ..system.errors import InputError
from ..vocab.levels import RULES
from .settings import Settings, option

# of an adaptive softmax: each group of rarer words has that part of the dimensions before it
NARROWER = 4


@dataclass(frozen=True)
class DataConfig(Settings):
    """Which text, and how it becomes ids."""

    data: tuple[str, ...] = option(
        ("python-docs",),
        "a corpus by name (python -m gluonlm.corpus lists them), or files or globs",
        on_resume=True,
    )
    data_dir: str = option(
        "", "folder to look for corpora in, before $GLUONLM_DATA and ./data", on_resume=True
    )
    verify: bool = option(
        True, "check a named corpus against its published SHA-256", on_resume=True
    )
    encoding: str = option("utf-8", "encoding of the text")
    level: str = option("char", "what a token is", choices=tuple(RULES))
    tokenizer: str = option(
        "auto",
        "how words are found: split (at white space), punctuation, moses; or subwords: unigram, "
        "bpe; auto: split, or unigram",
        choices=("auto", "split", "punctuation", "moses", "unigram", "bpe"),
    )
    lower: bool = option(False, "turn the text into lower case")
    vocab_size: int = option(
        0,
        "keep this many words, the rest become <unk>; 0 keeps all. The number of subwords; 0 suits "
        "it to the text",
        low=0,
    )
    strip_gutenberg: bool = option(
        False, "leave out the header and licence that Project Gutenberg puts around a book"
    )
    document_separator: str = option(
        "",
        "the token that begins a document: before it is read the state begins anew (rnn, lstm, "
        "gru); \\n and \\f are a line break and a form feed",
    )
    split: str = option(
        "90/5/5", "percent of the text for training, validation and test, in this order"
    )
    valid: str = option("", "a file to validate on, instead of a part of the text", on_resume=True)
    test: str = option("", "a file to test on, instead of a part of the text", on_resume=True)

    def __post_init__(self):
        super().__post_init__()
        if self.tokenizer not in ("auto", *RULES[self.level]):
            raise InputError(
                f"`tokenizer` {self.tokenizer}: that of `level` {self.level} is "
                f"{' or '.join(RULES[self.level])}"
            )

    def fractions(self) -> list[float]:
        """Return `split` as three fractions that add up to 1.

        Raises
        ------
        InputError
            If it is something else.
        """
        try:
            parts = [float(part) for part in self.split.split("/")]
        except ValueError:
            parts = []
        valid = len(parts) == 3 and all(0 <= part < math.inf for part in parts)
        if not valid or parts[0] <= 0 or abs(sum(parts) - 100) > 1e-6:
            raise InputError(
                f"`split` {self.split!r}: give three percentages that add up to 100, such as 90/5/5"
            )
        return [part / 100 for part in parts]


@dataclass(frozen=True)
class ModelConfig(Settings):
    """Which network."""

    model: str = option("gru", "the network", choices=("unrolled", "rnn", "lstm", "gru", "window"))
    embed_size: int = option(64, "size of the embedding", low=1, high=1 << 20)
    hidden_size: tuple[int, ...] = option(
        (256,),
        "size of the hidden layers: one number, or one for each layer: 256,128",
        low=1,
        high=1 << 20,
    )
    num_layers: int = option(
        0, "number of hidden layers; 0: as many as --hidden-size names", low=0, high=1000
    )
    dropout: float = option(
        0.1, "dropout on embedding, between layers and before the output", low=0, below=1
    )
    embed_dropout: float = option(
        -1.0,
        "dropout on the embedding of rnn, lstm and gru, of single numbers; -1: as --dropout",
        low=-1,
        below=1,
    )
    word_dropout: float = option(
        0.0,
        "leave out whole tokens of that embedding, the same ones for a segment "
        "(Gal and Ghahramani 2016)",
        low=0,
        below=1,
    )
    variational: bool = option(
        False, "one dropout mask for all time steps of a segment (Gal and Ghahramani 2016)"
    )
    weight_drop: float = option(
        0.0,
        "drop recurrent weights of rnn, lstm and gru, the same ones for a segment "
        "(Merity et al. 2018)",
        low=0,
        below=1,
    )
    activation_reg: float = option(
        0.0,
        "add this times the mean square of the last layer's output to the loss; known as AR "
        "(Merity et al. 2017)",
        low=0,
        high=1e6,
    )
    temporal_reg: float = option(
        0.0,
        "add this times the mean square of what that output changes by at each step; known as TAR "
        "(Merity et al. 2017)",
        low=0,
        high=1e6,
    )
    members: int = option(
        1,
        "networks of rnn, lstm or gru trained side by side, their probabilities averaged",
        low=1,
        high=1000,
    )
    tie_weights: bool = option(False, "use the embedding matrix as the output matrix too")
    adaptive_softmax: tuple[int, ...] = option(
        (),
        "for large vocabularies of words: the ranks at which rarer words stand apart, such as "
        "4000,20000 (Grave et al. 2017)",
        low=1,
    )
    activation: str = option(
        "auto",
        "of rnn and unrolled; auto: tanh for rnn, relu for unrolled",
        choices=("auto", "tanh", "relu"),
    )
    window: int = option(3, "tokens that --model unrolled or window reads", low=1, high=1000)
    representation: str = option(
        "onehot",
        "how --model window sees a token: onehot, one feature a symbol; real, its id as one "
        "number; embedding",
        choices=("onehot", "real", "embedding"),
    )
    init: str = option("xavier", "initial weights: xavier, or uniform:0.1 for uniform(-0.1, 0.1)")
    output_bias: str = option(
        "frequency",
        "the output's first bias: frequency, how often each token comes, as a logarithm; or zero",
        choices=("frequency", "zero"),
    )

    def layer_sizes(self) -> tuple[int, ...]:
        """Return the size of each hidden layer.

        Raises
        ------
        InputError
            If sizes and number of layers contradict each other.
        """
        sizes = self.hidden_size
        if len(sizes) == 1:
            return sizes * max(1, self.num_layers)
        if self.num_layers not in (0, len(sizes)):
            raise InputError(
                f"`num_layers` {self.num_layers}: `hidden_size` names {len(sizes)} layers"
            )
        return sizes

    def count_parameters(self, vocab_size: int) -> int:
        """Return how many numbers the network trains, without building it."""
        sizes, embed_size = self.layer_sizes(), self.embed_size
        embedding, output = vocab_size * embed_size, self._count_output(vocab_size)
        if self.model == "unrolled":
            return embedding + sizes[0] * (embed_size + 1 + sizes[0] + 1) + output
        if self.model == "window":
            features = {"onehot": vocab_size, "real": 1}.get(self.representation, embed_size)
            own = embedding if self.representation == "embedding" else 0
            return own + 4 * sizes[0] * (features + sizes[0] + 2) + output
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[self.model]
        below = zip((embed_size, *sizes), sizes)
        layers = sum(gates * size * (inputs + size + 2) for inputs, size in below)
        shared = vocab_size * sizes[-1] if self.tie_weights else 0
        return self.members * (embedding + layers + output - shared)

    def _count_output(self, vocab_size):
        size, cutoffs = self.layer_sizes()[-1], self.adaptive_softmax
        if not cutoffs:
            return vocab_size * (size + 1)
        count, own = (cutoffs[0] + len(cutoffs)) * (size + 1), size
        for begin, end in zip(cutoffs, (*cutoffs[1:], vocab_size)):
            own = max(1, own // NARROWER)
            count += size * own + (end - begin) * (own + 1)
        return count


@dataclass(frozen=True)
class TrainConfig(Settings):
    """How to train."""

    batch_size: int = option(32, "streams of text read side by side", low=1)
    seq_len: int = option(64, "steps of truncated back-propagation through time", low=1)
    random_seq_len: bool = option(
        False,
        "draw the length of each segment, most about --seq-len, and scale the learning rate with "
        "it (Merity et al. 2018)",
    )
    window_step: int = option(
        1, "tokens from one window to the next, for models that read windows", low=1
    )
    shuffle: str = option(
        "mixed",
        "order of the windows in an epoch: mixed; line, as runs of version 0.1.0 had it",
        choices=("mixed", "line"),
    )
    epochs: int = option(
        10, "passes over the training text; the horizon of --schedule cosine", low=1, on_resume=True
    )
    max_steps: int = option(
        0,
        "stop after this many steps, also the horizon of cosine if shorter; 0: no limit",
        low=0,
        on_resume=True,
    )
    max_minutes: float = option(
        0.0, "stop after this many minutes of training; 0: no limit", low=0, on_resume=True
    )
    optimizer: str = option("adam", "an optimizer of Gluon by name; an unknown name lists them")
    optimizer_params: str = option("", "more arguments for it, such as momentum=0.9,wd=1e-6")
    lr: float = option(0.004, "learning rate", low=1e-30, high=1e6)
    weight_decay: float = option(
        0.0,
        "at each step, shrink every weight by this part times the learning rate, apart from the "
        "gradient (Loshchilov and Hutter 2019)",
        low=0,
        high=1e6,
    )
    average: str = option(
        "none",
        "use a mean of the weights over the steps in place of the last ones: ema, an exponential "
        "one (Polyak and Juditsky 1992); nt-asgd, of all steps since validation stopped improving "
        "(Merity et al. 2018)",
        choices=("none", "ema", "nt-asgd"),
    )
    average_decay: float = option(
        0.999, "of ema: what part of the mean stays at each step", above=0, below=1
    )
    average_patience: int = option(
        5, "validations without improvement before nt-asgd begins", low=1
    )
    clip: float = option(1.0, "largest global norm of the gradient; 0: no clipping", low=0)
    loss_scale: str = option(
        "mean",
        "gradient of the mean loss, or of the loss summed over time steps",
        choices=("mean", "sum-over-time"),
    )
    schedule: str = option(
        "cosine",
        "course of the learning rate: constant; step: times --decay each epoch from "
        "--decay-after on; cosine: to --lr-floor at the end; one-cycle: up for a third, then as "
        "cosine (Smith and Topin 2018); plateau: times --decay when validation has not improved "
        "--decay-patience times",
        choices=("constant", "step", "cosine", "one-cycle", "plateau"),
    )
    warmup_steps: int = option(0, "first steps, over which the learning rate rises linearly", low=0)
    lr_floor: float = option(0.01, "where cosine ends, as a part of --lr", low=0, high=1)
    decay: float = option(0.5, "factor of step and plateau", above=0, high=1)
    decay_after: int = option(5, "epochs at full learning rate before step decays", low=0)
    decay_patience: int = option(1, "validations without improvement before plateau decays", low=1)
    validate_every: int = option(0, "steps between validations; 0: once an epoch", low=0)
    checkpoint_every: int = option(
        0, "steps between checkpoints; 0: with each validation", low=0, on_resume=True
    )
    patience: int = option(
        0, "stop after this many validations without improvement; 0: never", low=0, on_resume=True
    )
    on_nan: str = option(
        "stop",
        "if loss or gradient is not finite: stop with the last good checkpoint, or skip the step",
        choices=("stop", "skip"),
        on_resume=True,
    )
    log_every: int = option(
        50, "steps between training lines in metrics.jsonl", low=1, on_resume=True
    )
    sample_temperatures: tuple[float, ...] = option(
        (),
        "after each validation, write a sample at each of these temperatures to samples.txt",
        above=0,
        on_resume=True,
    )
    sample_length: int = option(300, "tokens of a sample", low=1, on_resume=True)
    seed: int = option(1, "seed of initial weights, dropout and shuffling", low=0, below=2**31)
