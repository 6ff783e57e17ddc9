"""Every setting: its name, default, bounds and help text.

The command lines are generated from these fields.
"""

import math
from dataclasses import dataclass

from ..system.errors import InputError
from ..vocab import unescape
from ..vocab.levels import RULES
from .settings import Settings, option

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "mingru": 2, "minlstm": 3}  # of models with a state
STATEFUL = ", ".join(GATES)
NARROWER = 4  # adaptive softmax: each tail cluster has 1/4 of the previous one's dimensions


@dataclass(frozen=True)
class DataConfig(Settings):
    """Settings of the text and its conversion to ids."""

    data: tuple[str, ...] = option(
        ("python-docs",),
        "corpus name (python -m gluonlm.corpus lists them), or files or globs",
        on_resume=True,
    )
    data_dir: str = option(
        "", "folder searched for corpora before $GLUONLM_DATA and ./data", on_resume=True
    )
    verify: bool = option(True, "compare a named corpus with its published SHA-256", on_resume=True)
    encoding: str = option("utf-8", "text encoding")
    level: str = option("char", "kind of token", choices=tuple(RULES))
    tokenizer: str = option(
        "auto",
        "word tokenizer: split (at white space), punctuation or moses; or subword algorithm: "
        "unigram or bpe; auto: split or unigram",
        choices=("auto", "split", "punctuation", "moses", "unigram", "bpe"),
    )
    lower: bool = option(False, "convert the text to lower case")
    vocab_size: int = option(
        0,
        "words: keep the most frequent and replace the rest with <unk> (0: keep all); "
        "subwords: vocabulary size (0: depends on the length of the text)",
        low=0,
    )
    strip_gutenberg: bool = option(
        False, "remove the header and licence of Project Gutenberg books"
    )
    keep_line_ends: bool = option(
        False, "keep the line ends \\r\\n and \\r instead of reading them as \\n (char, subword)"
    )
    document_separator: str = option(
        "",
        "text that begins each document, such as \\n\\n or <|endoftext|>; the state is reset "
        f"before it ({STATEFUL}); \\n, \\t and \\f mean line break, tab and form feed",
    )
    field: str = option(
        "",
        "column of CSV files or key of JSONL files that contains the text; each row is a document "
        "(.csv, .tsv, .jsonl)",
    )
    split: str = option("90/5/5", "percentages of the text for training, validation and test")
    valid: str = option("", "validation file, instead of a part of the text", on_resume=True)
    test: str = option("", "test file, instead of a part of the text", on_resume=True)

    def __post_init__(self):
        super().__post_init__()
        if self.tokenizer not in ("auto", *RULES[self.level]):
            raise InputError(
                f"`tokenizer` {self.tokenizer}: `level` {self.level} supports only "
                f"{' or '.join(RULES[self.level])}"
            )
        if self.field and self.strip_gutenberg:
            raise InputError("`strip_gutenberg`: not for rows of a `field`; leave out one of them")

    def separator(self) -> str:
        """Return the document separator as it occurs in the text that is read."""
        text = unescape(self.document_separator)
        return text.lower() if self.lower else text

    def fractions(self) -> list[float]:
        """Return `split` as three fractions that add up to 1.

        Raises
        ------
        InputError
            If `split` is not three percentages that add up to 100.
        """
        try:
            parts = [float(part) for part in self.split.split("/")]
        except ValueError:
            parts = []
        valid = len(parts) == 3 and all(0 <= part < math.inf for part in parts)
        if not valid or parts[0] <= 0 or abs(sum(parts) - 100) > 1e-6:
            raise InputError(
                f"`split` {self.split!r}: must be three percentages that add up to 100, "
                "such as 90/5/5"
            )
        return [part / 100 for part in parts]


@dataclass(frozen=True)
class ModelConfig(Settings):
    """Settings of the network."""

    model: str = option("gru", "network type", choices=("unrolled", *GATES, "window"))
    embed_size: int = option(64, "embedding size", low=1, high=1 << 20)
    hidden_size: tuple[int, ...] = option(
        (256,),
        "size of the hidden layers: one number, or one per layer, such as 256,128",
        low=1,
        high=1 << 20,
    )
    num_layers: int = option(
        0, "number of hidden layers; 0: one per size in --hidden-size", low=0, high=1000
    )
    dropout: float = option(
        0.1, "dropout on the embedding, between layers and before the output", low=0, below=1
    )
    embed_dropout: float = option(
        -1.0,
        f"dropout on elements of the embedding ({STATEFUL}); -1: same as --dropout",
        low=-1,
        below=1,
    )
    word_dropout: float = option(
        0.0,
        f"dropout on entire tokens of the embedding ({STATEFUL}), with one mask per segment "
        "(Gal and Ghahramani 2016)",
        low=0,
        below=1,
    )
    variational: bool = option(
        False, "use one dropout mask for all time steps of a segment (Gal and Ghahramani 2016)"
    )
    weight_drop: float = option(
        0.0,
        "dropout on recurrent weights (rnn, lstm, gru), with one mask per segment "
        "(Merity et al. 2018)",
        low=0,
        below=1,
    )
    activation_reg: float = option(
        0.0,
        "activation regularisation (AR): coefficient of the last layer's mean squared output "
        "in the loss (Merity et al. 2017)",
        low=0,
        high=1e6,
    )
    temporal_reg: float = option(
        0.0,
        "temporal activation regularisation (TAR): coefficient of the mean squared change of "
        "the last layer's output between time steps in the loss (Merity et al. 2017)",
        low=0,
        high=1e6,
    )
    members: int = option(
        1,
        f"ensemble size: networks trained together, with averaged probabilities ({STATEFUL})",
        low=1,
        high=1000,
    )
    tie_weights: bool = option(False, "share the weights of the embedding and the output layer")
    adaptive_softmax: tuple[int, ...] = option(
        (),
        "adaptive softmax for large word vocabularies: frequency ranks at which tail clusters "
        "begin, such as 4000,20000 (Grave et al. 2017)",
        low=1,
    )
    activation: str = option(
        "auto",
        "activation of rnn and unrolled models; auto: tanh for rnn, relu for unrolled",
        choices=("auto", "tanh", "relu"),
    )
    window: int = option(3, "tokens read per prediction (unrolled, window)", low=1, high=1000)
    representation: str = option(
        "onehot",
        "input of --model window: onehot, one feature per token of the vocabulary; real, the "
        "scaled id as one number; embedding",
        choices=("onehot", "real", "embedding"),
    )
    init: str = option(
        "xavier", "weight initialisation: xavier, or uniform:0.1 for uniform(-0.1, 0.1)"
    )
    output_bias: str = option(
        "frequency",
        "initial output bias: frequency (the log unigram frequency) or zero",
        choices=("frequency", "zero"),
    )

    def layer_sizes(self) -> tuple[int, ...]:
        """Return the size of each hidden layer.

        Raises
        ------
        InputError
            If `hidden_size` lists several sizes and `num_layers` is another number.
        """
        sizes = self.hidden_size
        if len(sizes) == 1:
            return sizes * max(1, self.num_layers)
        if self.num_layers not in (0, len(sizes)):
            raise InputError(
                f"`num_layers` {self.num_layers}: must be 0 or {len(sizes)}, "
                f"because `hidden_size` lists {len(sizes)} sizes"
            )
        return sizes

    def count_parameters(self, vocab_size: int) -> int:
        """Return the number of trainable parameters without building the network."""
        sizes, embed_size = self.layer_sizes(), self.embed_size
        embedding, output = vocab_size * embed_size, self._count_output(vocab_size)
        if self.model == "unrolled":
            return embedding + sizes[0] * (embed_size + 1 + sizes[0] + 1) + output
        if self.model == "window":
            features = {"onehot": vocab_size, "real": 1}.get(self.representation, embed_size)
            table = embedding if self.representation == "embedding" else 0
            return table + 4 * sizes[0] * (features + sizes[0] + 2) + output
        gates, minimal = GATES[self.model], self.model in ("mingru", "minlstm")
        below = zip((embed_size, *sizes), sizes)
        layers = sum(
            gates * size * (inputs + (1 if minimal else size + 2)) for inputs, size in below
        )
        shared = vocab_size * sizes[-1] if self.tie_weights else 0
        return self.members * (embedding + layers + output - shared)

    def _count_output(self, vocab_size):
        size, cutoffs = self.layer_sizes()[-1], self.adaptive_softmax
        if not cutoffs:
            return vocab_size * (size + 1)
        count, width = (cutoffs[0] + len(cutoffs)) * (size + 1), size
        for begin, end in zip(cutoffs, (*cutoffs[1:], vocab_size)):
            width = max(1, width // NARROWER)
            count += size * width + (end - begin) * (width + 1)
        return count


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Settings of training."""

    batch_size: int = option(32, "streams of text (or windows) per minibatch", low=1)
    seq_len: int = option(64, "time steps of truncated backpropagation", low=1)
    random_seq_len: bool = option(
        False,
        "draw the length of each segment, usually near --seq-len, and scale the learning rate "
        "with it (Merity et al. 2018)",
    )
    window_step: int = option(1, "distance in tokens between windows (unrolled, window)", low=1)
    shuffle: str = option(
        "mixed",
        "order of the windows in an epoch: mixed (random), or line (the order of version 0.1.0)",
        choices=("mixed", "line"),
    )
    kernels: str = option(
        "auto",
        "on a CPU: native (compiled code), mxnet (the same on every processor), or auto, native "
        "where it is available",
        choices=("auto", "native", "mxnet"),
        on_resume=True,
    )
    precision: str = option(
        "float32",
        "of the numbers that native kernels multiply in training: float32, or bfloat16 (8 "
        "significant bits, faster; processors with Intel AMX); all else is float32",
        choices=("float32", "bfloat16"),
        on_resume=True,
    )
    epochs: int = option(
        10,
        "passes over the training text; also the length of --schedule cosine",
        low=1,
        on_resume=True,
    )
    max_steps: int = option(
        0,
        "stop after this many steps (this also shortens the cosine schedule); 0: no limit",
        low=0,
        on_resume=True,
    )
    max_minutes: float = option(
        0.0,
        "stop after this many minutes of training (this also shortens the cosine schedule, see "
        "--horizon); 0: no limit",
        low=0,
        on_resume=True,
    )
    horizon: str = option(
        "time",
        "end of the cosine and one-cycle schedules: steps, the last step by --epochs and "
        "--max-steps; time, earlier if --max-minutes ends training at the measured speed",
        choices=("time", "steps"),
        on_resume=True,
    )
    optimizer: str = option("adam", "Gluon optimizer (an invalid name prints the list)")
    optimizer_params: str = option(
        "", "additional optimizer arguments, such as momentum=0.9,wd=1e-6"
    )
    lr: float = option(0.004, "learning rate", low=1e-30, high=1e6)
    freeze: tuple[str, ...] = option(
        (),
        "with --init-from, layers whose weights do not change: embedding, numbers of hidden layers "
        "(from 1), decoder; rows of new tokens are trained",
    )
    init_lr_scale: float = option(
        1.0,
        "with --init-from, learning rate of the other run's weights as a fraction of --lr; rows of "
        "new tokens have the full rate",
        above=0,
        high=1,
    )
    weight_decay: float = option(
        0.0,
        "decoupled weight decay: at each step, shrink every weight by this fraction times the "
        "learning rate (Loshchilov and Hutter 2019)",
        low=0,
        high=1e6,
    )
    average: str = option(
        "none",
        "weight averaging: ema, exponential moving average (Polyak and Juditsky 1992); nt-asgd, "
        "mean of all steps since validation stopped improving (Merity et al. 2018)",
        choices=("none", "ema", "nt-asgd"),
    )
    average_decay: float = option(0.999, "EMA decay", above=0, below=1)
    average_patience: int = option(
        5, "validations without improvement before nt-asgd begins", low=1
    )
    clip: float = option(1.0, "maximum global norm of the gradient; 0: no clipping", low=0)
    loss_scale: str = option(
        "mean",
        "loss to differentiate: its mean, or its sum over time steps",
        choices=("mean", "sum-over-time"),
    )
    schedule: str = option(
        "cosine",
        "learning-rate schedule: constant; step: multiply by --decay each epoch after "
        "--decay-after; cosine: decay to --lr-floor; one-cycle: rise for a third of training, "
        "then cosine (Smith and Topin 2018); plateau: multiply by --decay after --decay-patience "
        "validations without improvement",
        choices=("constant", "step", "cosine", "one-cycle", "plateau"),
    )
    warmup_steps: int = option(0, "steps of linear learning-rate warmup", low=0)
    lr_floor: float = option(
        0.01, "final learning rate of cosine, as a fraction of --lr", low=0, high=1
    )
    decay: float = option(0.5, "decay factor of the step and plateau schedules", above=0, high=1)
    decay_after: int = option(5, "epochs before the step schedule decays", low=0)
    decay_patience: int = option(
        1, "validations without improvement before the plateau schedule decays", low=1
    )
    validate_every: int = option(0, "steps between validations; 0: once per epoch", low=0)
    checkpoint_every: int = option(
        0, "steps between checkpoints; 0: at each validation", low=0, on_resume=True
    )
    patience: int = option(
        0, "stop after this many validations without improvement; 0: never", low=0, on_resume=True
    )
    on_nan: str = option(
        "stop",
        "on a non-finite loss or gradient: stop at the last good checkpoint, or skip the step",
        choices=("stop", "skip"),
        on_resume=True,
    )
    log_every: int = option(
        50, "steps between training records in metrics.jsonl", low=1, on_resume=True
    )
    sample_temperatures: tuple[float, ...] = option(
        (),
        "temperatures at which samples are written to samples.txt after each validation",
        above=0,
        on_resume=True,
    )
    sample_length: int = option(300, "tokens per sample", low=1, high=1 << 20, on_resume=True)
    seed: int = option(
        1, "seed of weight initialisation, dropout and shuffling", low=0, below=2**31
    )
