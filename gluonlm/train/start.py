"""How a training begins: fresh, warm from another run's weights, or resumed where one stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import BEFORE, Config, changed_settings
from ..corpus import Corpus, follow, load_corpus, share_corpus
from ..run.checkpoint import Checkpoint, with_new_rows
from ..run.folder import Run, new_folder
from ..system.errors import InputError
from ..system.processes import ALONE, Processes
from ..system.runtime import free_memory
from ..system.seeds import derive_seed
from ..vocab import Vocab

NO_RUN: Any = None  # what the other processes of a training have
COPIES = 4  # of each parameter in training: weight, gradient, and what Adam keeps

if TYPE_CHECKING:
    from ..evaluate.scoring import Unit
    from ..models import LanguageModel
    from .trainer import Trainer


@dataclass(frozen=True)
class Training:
    """All that takes part in a training; only the first of several processes has a `run`."""

    run: Run
    config: Config
    corpus: Corpus
    trainer: Trainer

    @property
    def unit(self) -> Unit:
        """The unit of its losses, by the part that it is validated on."""
        from ..evaluate.scoring import Unit

        corpus = self.corpus
        return Unit.of(corpus.vocab, corpus.valid if len(corpus.valid) else corpus.train)

    def save(self, trainer: Trainer, pointers: Sequence[str]) -> None:
        """Write a checkpoint into the run, and let `pointers` name it.

        The first process writes, and all take part: each holds the state of its own streams.

        Raises
        ------
        Diverged
            If the weights are not finite: the checkpoint before is the last one worth keeping.
        """
        from .progress import Diverged

        _unify(trainer)
        parameters = trainer.weights()
        for name, array in parameters.items():
            if not np.isfinite(array).all():
                raise Diverged(
                    f"{name} is not finite after step {trainer.progress.step}: "
                    "try a lower `lr` or a `clip`"
                )
        progress = {**trainer.progress_record(), "corpus": self.corpus.fingerprint}
        arrays = trainer.arrays()
        contents = Checkpoint(self.config, self.corpus.vocab, parameters, arrays, progress)
        trainer.world.from_first(
            lambda: str(self.run.save(contents, pointers)) if self.run else None
        )


def _unify(trainer):
    """Make all processes' weights the first one's: processors of two kinds may round otherwise."""
    world = trainer.world
    if world.size > 1:
        weights, state = trainer.model.arrays(), trainer.optimizer.arrays()
        if not world.alike({**weights, **state}):
            trainer.model.load_arrays(world.share_arrays(weights))
            trainer.optimizer.restore(trainer.optimizer.record(), world.share_arrays(state))


class FreshStart:
    """A new run that begins with initial weights.

    Attributes
    ----------
    config
        The run's settings.
    vocab
        A vocabulary to keep; None to build one from the text.
    extend_vocab
        Whether the text may hold tokens that `vocab` does not, which are added to it.
    fingerprint
        That of the text it must be; None for any.
    data
        The settings its text is found by.
    notes
        Lines that say what was taken over, for the user.
    """

    vocab: Vocab | None = None
    extend_vocab = False
    fingerprint: str | None = None

    def __init__(
        self, settings: dict[str, Any], folder=None, overwrite: bool = False, source="configuration"
    ):
        self.config = Config.from_dict(settings, source)
        self.data = self.config.data
        self.folder, self.overwrite = folder, overwrite
        self.notes: list[str] = []
        self.run: Run | None = None

    def set_weights(self, model: LanguageModel, ctx: list, corpus: Corpus) -> None:
        """Set a model's weights on these contexts, before it learns from this text."""
        seed = derive_seed(self.config.training.seed, "init")
        model.prepare(ctx, self.config.model.init, seed)
        if self.config.model.output_bias == "frequency":
            model.begin_at(corpus.frequencies())

    def open_run(self, corpus: Corpus, trainer: Trainer) -> Run:
        """Make the run's folder and write the first checkpoint into it.

        Raises
        ------
        InputError
            If something else stands there.
        """
        trainer.world.from_first(self._create)
        assert self.run
        Training(self.run, self.config, corpus, trainer).save(trainer, ("last",))
        return self.run

    def _create(self):
        self.run = Run.create(self.folder or new_folder(self.config), self.overwrite)

    def close(self) -> None:
        """Release the run for other processes."""
        if self.run:
            self.run.unlock()


class WarmStart(FreshStart):
    """A new run that begins with another run's weights and vocabulary, and nothing else of it."""

    def __init__(
        self, path, settings: dict[str, Any], folder=None, overwrite=False, extend_vocab=False
    ):
        self.checkpoint = Run(path).load("best")
        config = self.checkpoint.config
        kept = {name: getattr(config.data, name) for name in ("level", "tokenizer", "lower")}
        kept.update(vars(config.model))
        super().__init__({**kept, **settings}, folder, overwrite, "`init_from`")
        self.vocab, self.extend_vocab = self.checkpoint.vocab, extend_vocab
        self.notes = [
            f"weights and vocabulary of {path}, step {self.checkpoint.progress['step']}; "
            "optimizer and progress start again"
        ]

    def set_weights(self, model: LanguageModel, ctx: list, corpus: Corpus) -> None:
        """Set the other run's weights on these contexts.

        Raises
        ------
        InputError
            If they do not fit the model; unless its vocabulary grows, nothing is allocated then.
        """
        parameters = self.checkpoint.parameters
        if not self.extend_vocab:
            model.check_arrays(parameters)
        super().set_weights(model, ctx, corpus)
        if self.extend_vocab:
            parameters = with_new_rows(parameters, model.arrays(), len(self.checkpoint.vocab))
        model.load_arrays(parameters)


class ResumedRun(WarmStart):
    """A run that continues exactly where it stopped.

    Parameters
    ----------
    preset
        The name of the preset that asks for it, for the error.

    Raises
    ------
    InputError
        If a setting differs that may not: those on which parameters, text or course so far depend.
        If the run names a text that is not the user's.
    """

    def __init__(self, path, settings: dict[str, Any], preset: str | None = None):
        run = Run(path)
        if run.is_checkpoint():
            raise InputError(f"`resume` {path}: is one checkpoint; give the folder of its run")
        run.lock()
        try:
            self._read(run, settings, preset)
        except BaseException:
            run.unlock()
            raise

    def _read(self, run, settings, preset):
        self.run, self.checkpoint, path = run, run.load("last"), run.path
        kept = self.checkpoint.config
        self.config = Config.from_dict({**kept.to_dict(), **settings}, "`resume`")
        self.data = follow(self.config.data, settings)
        self.fingerprint = str(self.checkpoint.progress.get("corpus"))
        self.vocab, self.notes = self.checkpoint.vocab, []
        for name, old, new, allowed in changed_settings(kept, self.config):
            if not allowed and preset:
                raise InputError(
                    f"`preset` {preset}: {path} has {name} {old}, not {new}: "
                    "give another `run`, or `overwrite`"
                )
            if not allowed:
                raise InputError(
                    f"`resume` {path}: {name} was {old} and is now {new}: a resumed run keeps it; "
                    f"for another, start a new run (with `init_from` {path}, "
                    "if its weights are wanted)"
                )
            self.notes.append(f"resuming with {name} {new} instead of {old}")

    def open_run(self, corpus: Corpus, trainer: Trainer) -> Run:
        """Restore the training of this run."""
        record = dict(self.checkpoint.progress)
        record.pop("corpus", None)
        restore(trainer, record, self.checkpoint.training)
        assert self.run
        return self.run


class JoinedStart(FreshStart):
    """The start of a process that is not the first: all it knows comes from that one."""

    def __init__(self, settings: dict[str, Any], resumed: bool):
        super().__init__(settings)
        self.resumed = resumed

    def open_run(self, corpus: Corpus, trainer: Trainer) -> Run:
        """Take over what the first process has opened."""
        if self.resumed:
            restore(trainer)
        else:
            trainer.world.from_first(None)
            Training(NO_RUN, self.config, corpus, trainer).save(trainer, ("last",))
        return NO_RUN


def restore(trainer: Trainer, record: dict | None = None, arrays: dict | None = None) -> None:
    """Continue a training, in every process, from what the first process read."""
    record = trainer.world.from_first(lambda: record)
    trainer.restore(trainer.world.share_arrays(arrays), record)


def share_start(world: Processes, choose: Callable[[], FreshStart]) -> FreshStart:
    """Return in every process the start that `choose` returns in the first.

    Raises
    ------
    InputError
        In every process, if `choose` does.
    """
    start: FreshStart | None = None  # in the first process only

    def describe():
        nonlocal start
        start = choose()
        return [start.config.to_dict(), isinstance(start, ResumedRun)]

    settings, resumed = world.from_first(describe)
    return start or JoinedStart(settings, resumed)


def preset_settings_on_resume(settings: dict[str, Any]) -> dict[str, Any]:
    """Return all settings that a preset's command stands for, so that one left out is reset.

    Those that earlier versions did not have stay as the run has them.
    """
    everything = Config.from_dict(settings).to_dict()
    return {name: everything[name] for name in everything if name in settings or name not in BEFORE}


def begin(start: FreshStart, ctx: list, world: Processes = ALONE) -> Training:
    """Make everything that a training needs, the run's folder last: bad input leaves no trace.

    Raises
    ------
    InputError
        If text, model and settings do not fit each other.
    """
    from ..models import model_for
    from .trainer import Trainer

    config = start.config
    text = start.data, start.vocab, start.fingerprint, start.extend_vocab
    corpus = share_corpus(world, lambda: load_corpus(*text))
    _check_memory(config, len(corpus.vocab))
    model = model_for(config, corpus.vocab)
    start.set_weights(model, ctx, corpus)
    trainer = Trainer(model, config.training, corpus.train, corpus.valid, ctx, world=world)
    training = Training(start.open_run(corpus, trainer), config, corpus, trainer)
    trainer.save = training.save
    if training.run:
        training.run.write_config(config)
    return training


def _check_memory(config, vocab_size):
    """Reject a model that cannot be trained here, before the system ends the process for it."""
    parameters = config.model.count_parameters(vocab_size)
    needed, free = 4 * COPIES * parameters, free_memory()
    if needed > free:
        raise InputError(
            f"`hidden_size` {', '.join(map(str, config.model.layer_sizes()[:4]))}: "
            f"{parameters:,} parameters take about {needed / 1e9:,.1f} GB to train, "
            f"and {free / 1e9:,.1f} GB are free: give a smaller one"
        )
