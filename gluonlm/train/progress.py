"""How far a training is, apart from its arrays."""

import math
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from ..system.errors import InputError

SKIPS = 100  # steps in a row that may be skipped: after that nothing will come of it


class Diverged(Exception):
    """Loss or gradient are no longer finite, or the loss has risen far above that of guessing."""


@dataclass
class Progress:
    """Plain numbers, for JSON: what a training has done, seen and found best."""

    step: int = 0
    seconds: float = 0.0  # of training, validating and sampling, over all sessions
    loss_sum: float = 0.0  # nats since the last validation, and over how many tokens
    tokens: int = 0
    log_loss_sum: float = 0.0  # the same since the last training line
    log_tokens: int = 0
    log_seconds: float = 0.0  # when that line was written
    smoothed: float | None = None  # recent loss, to see divergence
    best: float | None = None  # best validation loss so far, nats
    best_step: int = 0
    stale: int = 0  # validations since then
    validated: int = 0  # step of the last validation
    drops: int = 0  # times that plateau lowered the learning rate
    drop_stale: int = 0  # validations without improvement since it last did
    averaged: int = 0  # steps whose weights are in the average
    skipped: int = 0  # steps skipped because something was not finite
    skipped_in_row: int = 0  # the latest of them
    metrics_bytes: int = 0  # length of metrics.jsonl
    samples_bytes: int = 0  # length of samples.txt
    devices: int = 0  # over how many, of all processes, the streams were divided
    optimizer: dict = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Progress":
        """Return the progress that a checkpoint kept.

        Raises
        ------
        InputError
            If a name or a type is not one of this version.
        """
        try:
            progress = cls(**record)
            for name, kind in get_type_hints(cls).items():
                value = getattr(progress, name)
                kinds = {int: (int,), float: (int, float), dict: (dict,)}
                if type(value) not in kinds.get(kind, (int, float, type(None))):
                    raise TypeError(f"{name} is {value!r}")
                if type(value) in (int, float) and not 0 <= value < 2**53:
                    raise ValueError(f"{name} is {str(value)[:30]}")
        except (TypeError, ValueError) as error:
            raise InputError(f"checkpoint: progress is not one of this version: {error}") from None
        return progress

    def count(self, loss: float, tokens: int) -> None:
        """Add a step's mean loss, in nats, to what the next lines report."""
        self.loss_sum += loss * tokens
        self.log_loss_sum += loss * tokens
        self.tokens += tokens
        self.log_tokens += tokens

    def take_training_loss(self) -> float | None:
        """Return the mean loss since the last validation, and begin a new sum."""
        mean = self.loss_sum / self.tokens if self.tokens else None
        self.loss_sum, self.tokens = 0.0, 0
        return mean

    def skip(self) -> None:
        """Count a step that was left out.

        Raises
        ------
        Diverged
            If there were too many in a row.
        """
        self.skipped += 1
        self.skipped_in_row += 1
        if self.skipped_in_row >= SKIPS:
            raise Diverged(
                f"{SKIPS} steps in a row were not finite, to step {self.step + 1}: "
                "try a lower `lr` or a `clip`"
            )

    def follow(self, loss: float, vocab_size: int) -> None:
        """Follow the loss of a step that was not skipped.

        Raises
        ------
        Diverged
            If it has risen to three times that of guessing.
        """
        self.skipped_in_row = 0
        before = loss if self.smoothed is None else self.smoothed
        self.smoothed = 0.98 * before + 0.02 * loss
        if self.smoothed > 3 * math.log(max(3, vocab_size)):
            raise Diverged(
                f"the loss has risen to {self.smoothed:.2f} nats at step {self.step + 1}, "
                f"guessing costs {math.log(vocab_size):.2f}: try a lower `lr` or a `clip`"
            )

    def judge(self, valid: float | None, decay_patience: int) -> bool:
        """Take note of a validation loss, None without one; return whether it is the best so far.

        Without improvement, every `decay_patience` validations call for a lower learning rate.
        """
        self.validated = self.step
        reached = math.inf if valid is None or math.isnan(valid) else valid
        best = reached < (math.inf if self.best is None else self.best)
        if best:
            self.best, self.best_step = valid, self.step
        stale = int(valid is not None)
        self.stale = 0 if best else self.stale + stale
        self.drop_stale = 0 if best else self.drop_stale + stale
        if self.drop_stale >= decay_patience:
            self.drops, self.drop_stale = self.drops + 1, 0
        return best
