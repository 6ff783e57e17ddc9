"""Begin training: a new run, a new run with another run's weights, or a resumed run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .. import native
from ..config import BEFORE, Config, DataConfig, TrainConfig, changed_settings
from ..corpus import Corpus, check_trusted, load_corpus, share_corpus
from ..corpus.load import has_own_parts
from ..run.checkpoint import Checkpoint, with_new_rows
from ..run.folder import Run, new_folder
from ..system.errors import InputError
from ..system.processes import ALONE, Processes
from ..system.runtime import free_memory
from ..system.seeds import derive_seed
from ..vocab import Vocab
from ..vocab.levels import rule_of
from .saving import Saver, save_checkpoint

NO_RUN: Any = None  # placeholder for the Run in every process but the first
SPLITS = ("90/10/0", "80/20/0", "50/50/0", "100/0/0")  # advised for short texts, best first
COPIES = {"adam": 4}  # of each parameter in training: weight, gradient, two moments; others: 2

if TYPE_CHECKING:
    from ..evaluate.scoring import Unit
    from ..models import LanguageModel
    from .trainer import Trainer


@dataclass(frozen=True)
class Training:
    """The objects that training needs; `run` is None in every process but the first."""

    run: Run
    config: Config
    corpus: Corpus
    trainer: Trainer

    @property
    def unit(self) -> Unit:
        """The unit in which losses are reported, from the part used for validation."""
        from ..evaluate.scoring import Unit

        corpus = self.corpus
        return Unit.of(corpus.vocab, corpus.valid if len(corpus.valid) else corpus.train)


class Start(Protocol):
    """The interface that `begin` requires of every way to start training.

    Attributes
    ----------
    config
        The run's settings.
    data
        The settings used to find the text.
    vocab
        An existing vocabulary; None to build one from the text.
    extend_vocab
        Whether to add the text's new tokens to `vocab`.
    fingerprint
        The expected fingerprint of the text; None to accept any text.
    notes
        Lines for the user about the settings and weights in use.
    """

    config: Config
    data: DataConfig
    vocab: Vocab | None
    extend_vocab: bool
    fingerprint: str | None
    notes: list[str]

    def set_weights(self, model: LanguageModel, ctx: list, corpus: Corpus) -> None:
        """Set the model's weights on `ctx` before training on `corpus`."""

    def attach(self, corpus: Corpus, trainer: Trainer) -> Run:
        """Create the run and its first checkpoint, or restore an existing run's state."""

    def close(self) -> None:
        """Release the run for other processes."""


class FreshStart:
    """A new run that begins with initial weights."""

    vocab: Vocab | None = None
    extend_vocab = False
    fingerprint: str | None = None
    inherited = 0

    def __init__(
        self, settings: dict[str, Any], folder=None, overwrite: bool = False, source="configuration"
    ):
        self.config = with_kernels(Config.from_dict(settings, source))
        for name in ("freeze", "init_lr_scale"):
            if getattr(self.config.training, name) != getattr(TrainConfig, name):
                raise InputError(f"`{name}`: only for weights of another run: use `init_from`")
        self.data = self.config.data
        self.folder, self.overwrite = folder, overwrite
        self.notes: list[str] = []
        self.run: Run | None = None

    def set_weights(self, model: LanguageModel, ctx: list, corpus: Corpus) -> None:
        """Set the initial weights."""
        set_initial_weights(model, self.config, ctx, corpus)

    def attach(self, corpus: Corpus, trainer: Trainer) -> Run:
        """Create the run; see `open_new_run`."""
        return open_new_run(self, corpus, trainer)

    def close(self) -> None:
        """Release the run for other processes."""
        if self.run:
            self.run.unlock()


class WarmStart:
    """A new run that takes only its weights and vocabulary from another run."""

    fingerprint: str | None = None

    def __init__(
        self, path, settings: dict[str, Any], folder=None, overwrite=False, extend_vocab=False
    ):
        self.checkpoint = Run(path).load("best")
        config = self.checkpoint.config
        names = ("level", "tokenizer", "lower", "keep_line_ends")
        kept = {name: getattr(config.data, name) for name in names}
        kept.update(vars(config.model))
        self.config = with_kernels(Config.from_dict({**kept, **settings}, "`init_from`"))
        self.data = self.config.data
        for name in ("level", "tokenizer"):
            old, new = getattr(config.data, name), getattr(self.data, name)
            if old != new and _rule(config.data) != _rule(self.data):
                raise InputError(
                    f"`{name}` {new}: the vocabulary of `init_from` {path} has {name} {old}, which "
                    "cannot change; leave it out, or start without `init_from`"
                )
        self.vocab: Vocab | None = self.checkpoint.vocab
        self.inherited = len(self.checkpoint.vocab)
        self.extend_vocab = extend_vocab
        self.folder, self.overwrite = folder, overwrite
        self.notes = [
            f"weights and vocabulary of {path}, step {self.checkpoint.progress['step']}; "
            "optimizer and progress are reset"
        ]
        self.run: Run | None = None

    def set_weights(self, model: LanguageModel, ctx: list, corpus: Corpus) -> None:
        """Set the other run's weights; see `set_checkpoint_weights`."""
        kept = self.checkpoint
        set_checkpoint_weights(model, self.config, ctx, corpus, kept, self.extend_vocab)

    def attach(self, corpus: Corpus, trainer: Trainer) -> Run:
        """Create the run; see `open_new_run`."""
        return open_new_run(self, corpus, trainer)

    def close(self) -> None:
        """Release the run for other processes."""
        if self.run:
            self.run.unlock()


class ResumedRun:
    """A run that continues exactly where it stopped.

    Parameters
    ----------
    preset
        The preset that resumes the run, named in errors; None for `resume`.

    Raises
    ------
    InputError
        If a setting that must not change differs: parameters, text or past progress depend on it.
        If the run names a text that does not belong to the user.
    """

    extend_vocab = False

    def __init__(self, path, settings: dict[str, Any], preset: str | None = None):
        self.run = Run(path)
        if self.run.is_checkpoint():
            raise InputError(f"`resume` {path}: a single checkpoint; pass the folder of its run")
        self.run.lock()
        try:
            self._read(settings, preset)
        except BaseException:
            self.run.unlock()
            raise

    def _read(self, settings, preset):
        self.checkpoint, path = self.run.load("last"), self.run.path
        kept = self.checkpoint.config
        self.config = Config.from_dict({**kept.to_dict(), **settings}, "`resume`")
        self.notes: list[str] = []
        try:
            self.config = with_kernels(self.config)
        except InputError as error:
            if "kernels" in settings:
                raise
            self.config = with_kernels(self.config, "mxnet")
            reason = str(error).partition(": ")[2]
            self.notes.append(
                f"no native kernels ({reason}): resuming with MXNet and other dropout masks"
            )
        self.data = check_trusted(self.config.data, settings)
        self.fingerprint: str | None = str(self.checkpoint.progress.get("corpus"))
        self.vocab: Vocab | None = self.checkpoint.vocab
        for name, old, new, allowed in changed_settings(kept, self.config):
            if not allowed and preset:
                raise InputError(
                    f"`preset` {preset}: {path} has {name} {old}, not {new}; "
                    "choose another `run`, or use `overwrite`"
                )
            if not allowed:
                raise InputError(
                    f"`resume` {path}: {name} was {old} and is now {new}: a resumed run cannot "
                    f"change it; start a new run (with `init_from` {path} to keep its weights)"
                )
            self.notes.append(f"resuming with {name} {new} instead of {old}")

    def set_weights(self, model: LanguageModel, ctx: list, corpus: Corpus) -> None:
        """Set the run's weights; see `set_checkpoint_weights`."""
        set_checkpoint_weights(model, self.config, ctx, corpus, self.checkpoint)

    def attach(self, corpus: Corpus, trainer: Trainer) -> Run:
        """Restore the training state of this run."""
        record = dict(self.checkpoint.progress)
        record.pop("corpus", None)
        restore(trainer, record, self.checkpoint.training)
        return self.run

    def close(self) -> None:
        """Release the run for other processes."""
        self.run.unlock()


class JoinedStart:
    """The start of every process but the first, which sends the settings and the training state."""

    vocab: Vocab | None = None
    extend_vocab = False
    fingerprint: str | None = None

    def __init__(self, settings: dict[str, Any], resumed: bool):
        self.config = Config.from_dict(settings, "configuration")
        self.data, self.resumed = self.config.data, resumed
        self.notes: list[str] = []

    def set_weights(self, model: LanguageModel, ctx: list, corpus: Corpus) -> None:
        """Set initial weights; the optimizer replaces them with the first process's weights."""
        set_initial_weights(model, self.config, ctx, corpus)

    def attach(self, corpus: Corpus, trainer: Trainer) -> Run:
        """Receive the training state, or take part in the first checkpoint."""
        if self.resumed:
            restore(trainer)
        else:
            trainer.inherit(trainer.world.from_first(None))
            save_checkpoint(NO_RUN, self.config, corpus, trainer, ("last",))
        return NO_RUN

    def close(self) -> None:
        """Do nothing: this process has no run."""


def with_kernels(config: Config, choice: str = "") -> Config:
    """Return the settings with the kernels that are used here, with which a run goes on.

    Raises
    ------
    InputError
        As for `native.load`.
    """
    kernels = native.used(choice or config.training.kernels)
    return Config.from_dict({**config.to_dict(), "kernels": kernels})


def _rule(data: DataConfig) -> tuple[str, str]:
    return data.level, rule_of(data.level, data.tokenizer)


def set_initial_weights(model: LanguageModel, config: Config, ctx: list, corpus: Corpus) -> None:
    """Initialise a model's weights on `ctx`, and the output bias from token frequencies."""
    model.prepare(ctx, config.model.init, derive_seed(config.training.seed, "init"))
    if config.model.output_bias == "frequency":
        model.begin_at(corpus.frequencies())


def set_checkpoint_weights(
    model: LanguageModel,
    config: Config,
    ctx: list,
    corpus: Corpus,
    checkpoint: Checkpoint,
    extend_vocab: bool = False,
) -> None:
    """Load a checkpoint's weights on `ctx`; rows of tokens that it lacks keep initial weights.

    Raises
    ------
    InputError
        If they do not fit the model; raised before memory is allocated unless `extend_vocab`.
    """
    parameters = checkpoint.parameters
    if not extend_vocab:
        model.check_arrays(parameters)
    set_initial_weights(model, config, ctx, corpus)
    if extend_vocab:
        parameters = with_new_rows(parameters, model.arrays(), len(checkpoint.vocab))
    model.load_arrays(parameters)


def open_new_run(start: FreshStart | WarmStart, corpus: Corpus, trainer: Trainer) -> Run:
    """Create the run's folder and write the first checkpoint into it.

    Raises
    ------
    InputError
        If the folder exists and must not be overwritten.
    """

    def create():
        start.run = Run.create(start.folder or new_folder(start.config), start.overwrite)
        return start.inherited

    trainer.inherit(trainer.world.from_first(create))
    assert start.run
    save_checkpoint(start.run, start.config, corpus, trainer, ("last",))
    return start.run


def restore(trainer: Trainer, record: dict | None = None, arrays: dict | None = None) -> None:
    """Restore the training state in every process; only the first passes record and arrays."""
    record = trainer.world.from_first(lambda: record)
    trainer.restore(trainer.world.share_arrays(arrays), record)


def share_start(world: Processes, choose: Callable[[], Start]) -> Start:
    """Call `choose` in the first process; return its result there, a JoinedStart elsewhere.

    Raises
    ------
    InputError
        In every process, if `choose` raises it.
    """
    start: Start | None = None  # in the first process only

    def describe():
        nonlocal start
        start = choose()
        return [start.config.to_dict(), isinstance(start, ResumedRun)]

    settings, resumed = world.from_first(describe)
    return start or JoinedStart(settings, resumed)


def settings_on_resume(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with all defaults, so that the omitted ones are reset.

    Settings that earlier versions did not have are left out, so the run's own values apply.
    """
    everything = Config.from_dict(settings).to_dict()
    return {name: everything[name] for name in everything if name in settings or name not in BEFORE}


def _check_memory(config, vocab_size):
    """Reject a model too large for this machine, before the system kills the process."""
    parameters = config.model.count_parameters(vocab_size)
    copies = COPIES.get(config.training.optimizer.lower(), 2)
    needed, free = 4 * copies * parameters, free_memory()
    if needed > free:
        raise InputError(
            f"`hidden_size` {', '.join(map(str, config.model.layer_sizes()[:4]))}: "
            f"{parameters:,} parameters take about {needed / 1e9:,.1f} GB to train, "
            f"and {free / 1e9:,.1f} GB of memory are free; use a smaller model"
        )


def _check_length(config: Config, corpus: Corpus, window: int | None) -> None:
    """Reject a text that is too short; the error names settings with which it is long enough."""
    train, valid, test = len(corpus.train), len(corpus.valid), len(corpus.test)
    total, streams = train + valid + test, config.training.batch_size
    if _long_enough(train, valid, window, streams):
        return
    remedy: dict[str, Any] = {}
    if has_own_parts(config.data):
        if valid and not _long_enough(valid, 0, window, 1):
            raise InputError(
                f"`valid`: {valid} tokens are too few; use at least {(window or 1) + 1}"
            )
    elif not _long_enough(train, valid, window, 1):
        sizes = ((split, *_sizes(total, split)) for split in SPLITS)
        good = (each for each in sizes if _long_enough(*each[1:], window, 1))
        remedy["split"], train, valid = next(good, (SPLITS[-1], total, 0))
    if window and train <= window:
        remedy["window"] = train - 1
    elif not window and train < 2 * streams:
        remedy["batch_size"] = 1 if config.data.level == "subword" else train // 2
    words = " ".join(f"`{name}` {value}" for name, value in remedy.items())
    raise InputError(
        f"{corpus.name}: {total:,} tokens are too few for "
        + (f"`window` {window}" if window else f"`batch_size` {streams}")
        + f" and `split` {config.data.split}" * (not has_own_parts(config.data))
        + ": use more text"
        + f", or {words}" * (train >= 2)
    )


def _long_enough(train: int, valid: int, window: int | None, streams: int) -> bool:
    """Return whether parts of these sizes have inputs and targets."""
    least = 1 + window if window else 2
    return train >= (least if window else 2 * streams) and (not valid or valid >= least)


def _sizes(total: int, split: str) -> tuple[int, int]:
    """Return the sizes of the training and validation parts of a text."""
    train, valid, _ = DataConfig(split=split).fractions()
    return round(total * train), round(total * (train + valid)) - round(total * train)


def begin(start: Start, ctx: list, world: Processes = ALONE) -> Training:
    """Build all that training needs, without training: `Trainer.fit` does that.

    `world` is the set of processes that train together, usually one. The run is created last, so
    invalid input leaves no files.

    Raises
    ------
    InputError
        If text, model and settings do not fit each other.
    """
    from ..models import model_for
    from .trainer import Trainer

    config = start.config

    def load():
        return load_corpus(start.data, start.vocab, start.fingerprint, start.extend_vocab)

    corpus = share_corpus(world, load)
    _check_memory(config, len(corpus.vocab))
    model = model_for(config, corpus.vocab)
    _check_length(config, corpus, model.window)
    start.set_weights(model, ctx, corpus)
    # The Trainer needs its saver, and the run's first checkpoint needs the Trainer: the saver
    # receives the run last.
    saver = Saver(config, corpus)
    parts = corpus.train, corpus.valid
    trainer = Trainer(model, config.training, *parts, ctx, save=saver, world=world)
    saver.run = run = start.attach(corpus, trainer)
    if run:
        run.write_config(config)
    return Training(run, config, corpus, trainer)
