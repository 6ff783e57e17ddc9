"""Training progress: all of the training state except arrays."""

import math
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import numpy as np

from ..system.errors import InputError

PARTS = 100  # of `max_minutes`; the speed is measured after each
SKIPS = 100  # consecutive skipped steps; then give up


class Diverged(Exception):
    """The loss or gradient is not finite, or the loss exceeds three times log(vocab_size)."""


@dataclass
class Progress:
    """Counters, losses and the best result, as plain numbers for JSON."""

    step: int = 0
    seconds: float = 0.0  # of training, validating and sampling, over all sessions
    steps_per_second: float = 0.0  # mean at the last measurement; 0: not measured yet
    loss_sum: float = 0.0  # nats since the last validation
    tokens: int = 0  # number of tokens in loss_sum
    log_loss_sum: float = 0.0  # nats since the last training record
    log_tokens: int = 0
    log_seconds: float = 0.0  # value of `seconds` at that record
    smoothed: float | None = None  # moving average of the loss, to detect divergence
    best: float | None = None  # best validation loss so far, nats
    best_step: int = 0
    stale: int = 0  # validations since the best one
    validated: int = 0  # step of the last validation
    drops: int = 0  # times that the plateau schedule lowered the learning rate
    drop_stale: int = 0  # validations without improvement since the last drop
    averaged: int = 0  # steps whose weights are in the average
    skipped: int = 0  # steps skipped because the loss or gradient was not finite
    skipped_in_row: int = 0  # of these, the latest consecutive ones
    metrics_bytes: int = 0  # length of metrics.jsonl
    samples_bytes: int = 0  # length of samples.txt
    devices: int = 0  # number of devices, in all processes, that share the streams
    inherited: int = 0  # tokens whose weights come from another run; 0: all, or no other run
    optimizer: dict = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Progress":
        """Return the progress saved in a checkpoint.

        Raises
        ------
        InputError
            If a name, type or number is not valid in this version.
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
            reason = str(error)[:200]
            raise InputError(f"checkpoint: progress does not fit this version: {reason}") from None
        return progress

    def spend(self, seconds: float, minutes: float) -> None:
        """Add the time of a step, and measure the speed after each hundredth of `minutes`.

        The speed is rounded to float32, in which processes share it.
        """
        before, self.seconds = self.seconds, self.seconds + seconds
        part = 60 * minutes / PARTS
        if part and before // part < self.seconds // part:
            self.steps_per_second = float(np.float32(self.step / self.seconds))

    def count(self, loss: float, tokens: int) -> None:
        """Add a step's mean loss, in nats, to the sums for the next records."""
        self.loss_sum += loss * tokens
        self.log_loss_sum += loss * tokens
        self.tokens += tokens
        self.log_tokens += tokens

    def take_training_loss(self) -> float | None:
        """Return the mean loss since the last validation, and reset the sum."""
        mean = self.loss_sum / self.tokens if self.tokens else None
        self.loss_sum, self.tokens = 0.0, 0
        return mean

    def skip(self) -> None:
        """Count a skipped step.

        Raises
        ------
        Diverged
            If too many consecutive steps were skipped.
        """
        self.skipped += 1
        self.skipped_in_row += 1
        if self.skipped_in_row >= SKIPS:
            raise Diverged(
                f"{SKIPS} consecutive losses or gradients were not finite, up to step "
                f"{self.step + 1}: "
                "try a lower `lr` or a `clip`"
            )

    def watch_loss(self, loss: float, vocab_size: int) -> None:
        """Update the smoothed loss after a step that was not skipped.

        Raises
        ------
        Diverged
            If it exceeds three times the loss of uniform guessing.
        """
        self.skipped_in_row = 0
        before = loss if self.smoothed is None else self.smoothed
        self.smoothed = 0.98 * before + 0.02 * loss
        if self.smoothed > 3 * math.log(max(3, vocab_size)):
            raise Diverged(
                f"the loss rose to {self.smoothed:.2f} nats at step {self.step + 1} (uniform "
                f"guessing: {math.log(vocab_size):.2f}): try a lower `lr` or a `clip`"
            )

    def judge(self, valid: float | None, decay_patience: int) -> bool:
        """Record a validation loss, or None; return whether it is the best so far.

        The learning rate drops after `decay_patience` validations without improvement.
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
