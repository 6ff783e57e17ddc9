"""Write checkpoints during training: `Trainer.fit` calls a `Saver` as its `save`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..config import Config
from ..corpus import Corpus
from ..run.checkpoint import Checkpoint
from ..run.folder import Run
from .progress import Diverged

if TYPE_CHECKING:
    from .trainer import Trainer


class Saver:
    """Writes a trainer's checkpoints into a run; pass it to the Trainer as `save`.

    Attributes
    ----------
    run
        The run, set once it is open; None in every process but the first.
    """

    def __init__(self, config: Config, corpus: Corpus):
        self.config, self.corpus = config, corpus
        self.run: Run | None = None

    def __call__(self, trainer: Trainer, pointers: Sequence[str]) -> None:
        save_checkpoint(self.run, self.config, self.corpus, trainer, pointers)


def save_checkpoint(
    run: Run | None, config: Config, corpus: Corpus, trainer: Trainer, pointers: Sequence[str]
) -> None:
    """Write a checkpoint into a run and update `pointers`, such as ("best", "last").

    Every process must call this, because each holds the state of its own streams; only the first
    one, which has the `run`, writes.

    Raises
    ------
    Diverged
        If the weights are not finite; the previous checkpoint is kept.
    """
    _share_first_weights(trainer)
    parameters = trainer.weights()
    for name, array in parameters.items():
        if not np.isfinite(array).all():
            raise Diverged(
                f"{name} is not finite after step {trainer.progress.step}: "
                "try a lower `lr` or a `clip`"
            )
    progress = {**trainer.progress_record(), "corpus": corpus.fingerprint}
    contents = Checkpoint(config, corpus.vocab, parameters, trainer.arrays(), progress)

    def write():
        if run:
            run.save(contents, pointers)

    trainer.world.from_first(write)  # raises an error of the first process in all of them


def _share_first_weights(trainer):
    """Copy the first process's weights to all; rounding can differ between types of processor."""
    world = trainer.world
    if world.size > 1:
        weights, state = trainer.model.arrays(), trainer.optimizer.arrays()
        if not world.alike({**weights, **state}):
            trainer.model.load_arrays(world.share_arrays(weights))
            trainer.optimizer.restore(trainer.optimizer.record(), world.share_arrays(state))
