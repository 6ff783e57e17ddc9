"""Truncated back-propagation through time for any LanguageModel: step, validate, save, stop.

The complete training state consists of the parameters, the optimizer's arrays, the carried state
and a Progress: training can stop after any step and resume with identical results.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import mxnet as mx
import numpy as np

from ..batchify.batches import make_batches
from ..config import TrainConfig
from ..evaluate.scoring import mean_loss
from ..models import LanguageModel
from ..system.device import contexts
from ..system.errors import InputError
from ..system.processes import ALONE, Processes
from ..system.seeds import derive_seed
from .average import Average
from .factors import rate_factors
from .optimizer import Optimizer
from .progress import Diverged, Progress
from .replicas import Replicas, count_devices
from .schedule import learning_rate


class Trainer:
    """Trains a model on batches of a text.

    Parameters
    ----------
    model
        A model whose weights are set on `ctx`.
    train, valid
        Ids `(tokens,)`; `valid` may be empty.
    ctx
        Contexts among which the streams of each batch are divided; the CPU if None.
    callbacks
        Called with (event, record) for "step", "training", "validation" and "checkpoint".
    save
        Writes a checkpoint: a `saving.Saver`, or any function of the trainer and the pointers to
        set, ("last",), ("best", "last") or ("best",). Called in every process of `world`.
        If None, no checkpoints are written.
    world
        Processes that share the streams of each batch. Each draws its own dropout masks.

    Raises
    ------
    InputError
        If the text is too short for one batch, or a batch has fewer streams than devices.
    """

    def __init__(
        self,
        model: LanguageModel,
        config: TrainConfig,
        train: np.ndarray,
        valid=(),
        ctx: list | None = None,
        callbacks: Iterable[Callable] = (),
        save: Callable | None = None,
        world: Processes = ALONE,
    ):
        if not isinstance(config, TrainConfig):
            raise InputError(
                f"`config` {type(config).__name__}: must be a TrainConfig, such as "
                "Config().training"
            )
        self.model, self.config, self.ctx = model, config, contexts(ctx)
        self.callbacks, self.save, self.world = callbacks, save, world
        self.progress = Progress(devices=world.size * len(self.ctx))
        shuffling = derive_seed(config.seed, "shuffle")
        self.batches = _batches(model, config, train, config.batch_size, shuffling)
        self.streams = self.batches(0, 0)[0].shape[1]
        self._check_devices()
        self.valid_batches = _validation_batches(model, config, valid) if len(valid) else None
        self.total_steps = min(config.epochs * len(self.batches), config.max_steps or math.inf)
        self.validate_every = config.validate_every or len(self.batches)
        model.pack()  # replaces parameters: before gradients and optimizer state are created
        model.use_kernels(config.kernels, config.precision)
        self.replicas = Replicas(model, self.ctx, world)
        self.optimizer = Optimizer(list(model.parameters().values()), config, self.ctx, world)
        self.inherit(0)
        self.average = Average(model, config, self.ctx[0])
        self.random_steps = config.optimizer.lower() == "sgld" or model.uses_dropout()
        self.saved_step: int | None = None
        self.devices_before = 0  # before resuming; 0 in a new run
        self.stop_request: str | None = None
        self._agreed_reason: str | None = None  # why to stop, the same in every process

    def _check_devices(self):
        devices = self.world.size * len(self.ctx)
        if self.streams < devices:
            raise InputError(
                f"`batch_size` {self.config.batch_size}: results in batches of {self.streams} "
                f"streams, too few for the {devices} devices of `ctx`"
            )

    def inherit(self, tokens: int) -> None:
        """Apply `freeze` and `init_lr_scale` to the first tokens of the vocabulary only; 0: to all.

        Raises
        ------
        InputError
            If `freeze` names a layer that the model does not have, or every layer.
        """
        self.progress.inherited = tokens
        self.optimizer.set_factors(rate_factors(self.model, self.config, tokens))

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        step, drops = self.progress.step, self.progress.drops
        horizon = self.expected_steps if self.config.horizon == "time" else self.total_steps
        return learning_rate(self.config, step, len(self.batches), horizon, drops)

    @property
    def expected_steps(self) -> float:
        """The number of steps until an epoch, step or time limit, by the measured speed."""
        by_time = self.progress.steps_per_second * 60 * self.config.max_minutes
        return min(self.total_steps, by_time or math.inf)

    def fit(self) -> str:
        """Train until a limit is reached or `stop` is called.

        Returns
        -------
        str
            The reason: "epochs", "steps", "minutes", "patience", or the argument of `stop`.

        Raises
        ------
        Diverged
            If training diverges; the model keeps the weights of the last good step.
        """
        self._agree_on_stopping()
        while not (reason := self._why_stop()):
            began = time.monotonic()
            self._step()
            validated = self.progress.step % self.validate_every == 0
            best = validated and self._validate()
            minutes = 0 if self.world.rank else self.config.max_minutes
            self.progress.spend(time.monotonic() - began, minutes)
            if self.progress.step % self.config.log_every == 0:
                self._log()
            if best or self._checkpoint_due(validated):
                self._save(("best", "last") if best else ("last",))
        if self.saved_step != self.progress.step:
            self._save(("last",))
        if not self._stopped_from_outside(reason) and self.progress.validated != self.progress.step:
            self._validate_at_the_end()
        return reason

    def stop(self, reason: str) -> None:
        """Request a stop after the current step; safe to call from a signal handler."""
        self.stop_request = reason

    def _why_stop(self):
        config, progress = self.config, self.progress
        if self.world.size == 1:
            self._agreed_reason = self._local_stop_reason()
        if self._agreed_reason:
            return self._agreed_reason
        if progress.step >= self.total_steps:
            return "epochs" if progress.step >= config.epochs * len(self.batches) else "steps"
        if config.patience and progress.stale >= config.patience:
            return "patience"
        return None

    @staticmethod
    def _stopped_from_outside(reason):
        return reason not in ("epochs", "steps", "minutes", "patience")

    def _local_stop_reason(self):
        """Return why this process wants to stop, or None; only the first one checks the time."""
        minutes = 0 if self.world.rank else self.config.max_minutes
        over = minutes and self.progress.seconds >= 60 * minutes
        return self.stop_request or ("minutes" if over else None)

    def _agree_on_stopping(self):
        """Agree on a reason to stop: all processes must end after the same step."""
        reasons = self.world.all_gather(self._local_stop_reason())
        self._agreed_reason = next(filter(None, reasons), None)

    def _checkpoint_due(self, validated):
        every = self.config.checkpoint_every
        return self.progress.step % every == 0 if every else validated

    def _step(self):
        """Take one step: forward, backward, clip, update. Synchronises with the device once."""
        config, progress = self.config, self.progress
        epoch, index = divmod(progress.step, len(self.batches))
        if index == 0 or not self.replicas.state:
            self.replicas.begin(self.streams)
        if self.random_steps:
            mine = ("process", self.world.rank) if self.world.rank else ()
            self._seed(derive_seed(config.seed, "step", progress.step, *mine))
        inputs, targets = self.batches(epoch, index)  # (T, N), (M,)
        losses = self.replicas.forward_backward(inputs, targets)  # (devices,)
        losses, squares = self._reduce(losses)
        # Gradients are of the summed loss. The update divides and clips them: a separate pass over
        # all gradients would take as long again.
        divisor = targets.size if config.loss_scale == "mean" else inputs.shape[1]
        loss = float(losses.sum()) / targets.size
        norm = self.model.gradient_norm(squares) / divisor
        if math.isfinite(loss) and math.isfinite(norm):
            progress.watch_loss(loss, self.model.vocab_size)
            excess = max(1.0, norm / config.clip) if config.clip else 1.0
            self.optimizer.update(self._lr_of(len(inputs)), divisor * excess)
            progress.count(loss, targets.size)
            self.average.update(progress)
        else:
            self._skip(loss, norm)
        progress.step += 1
        self._notify("step", step=progress.step, loss=loss, tokens=targets.size, grad_norm=norm)

    def _seed(self, seed):
        """Seed the dropout masks, and the noise of the optimizer."""
        self.model.seed_dropout(seed)
        if self.config.optimizer.lower() == "sgld":
            mx.random.seed(seed)

    def _reduce(self, losses):
        """Sum the gradients and losses over devices and processes; see `Optimizer.reduce`.

        It also tells every process whether one wants to stop, and the speed that the first one has
        measured: all must end after the same step, and use the same learning rate.
        """
        mine = bool(self._local_stop_reason())
        speed = 0.0 if self.world.rank else self.progress.steps_per_second
        losses, squares, (stopping, speed) = self.optimizer.reduce(losses, (mine, speed))
        self.progress.steps_per_second = float(speed)
        if stopping:
            self._agree_on_stopping()
        return losses, squares

    def _lr_of(self, length):
        """Return the learning rate of the next step, for a segment of `length` rows."""
        drawn = self.config.random_seq_len and self.config.loss_scale == "mean"
        return self.lr * length / self.config.seq_len if drawn else self.lr

    def _skip(self, loss, norm):
        """Count a step that is not finite and leave the weights alone, or raise Diverged."""
        if self.config.on_nan == "stop":
            raise Diverged(
                f"loss {loss} and gradient norm {norm} at step {self.progress.step + 1}: "
                "try a lower `lr` or a `clip`"
            )
        self.progress.skip()
        self.replicas.begin(self.streams)  # the carried state may not be finite

    def _validate(self):
        """Measure the validation loss; return whether it is the best so far.

        The training state stays the same, except for its Progress.
        """
        progress, batches = self.progress, self.valid_batches
        train = progress.take_training_loss()
        with self.average.in_place(progress):
            valid = mean_loss(self.model, batches, self.ctx[0], self.world) if batches else None
            best = progress.judge(valid, self.config.decay_patience)
            record = dict(train_loss=train, valid_loss=valid, lr=self.lr, best=best)
            self._notify("validation", **self._place(), **record, seconds=self._seconds())
        return best

    def _validate_at_the_end(self):
        """Validate once more and perhaps save `best`; resuming from `last` ignores the result."""
        kept = dataclasses.replace(self.progress)
        if self._validate():
            self._save(("best",))
        self.progress = kept

    def _save(self, pointers):
        """Let callbacks flush their files, then write a checkpoint; see saving.py."""
        self._notify("checkpoint", step=self.progress.step)
        if self.save:
            self.save(self, pointers)
        self.saved_step = self.progress.step

    def _log(self):
        progress = self.progress
        if progress.log_tokens:
            loss = progress.log_loss_sum / progress.log_tokens
            taken = max(1e-9, progress.seconds - progress.log_seconds)
            record = dict(train_loss=loss, lr=self.lr, seconds=self._seconds())
            record["tokens_per_second"] = round(progress.log_tokens / taken)
            self._notify("training", **self._place(), **record)
        progress.log_loss_sum, progress.log_tokens = 0.0, 0
        progress.log_seconds = progress.seconds

    def _place(self):
        return dict(step=self.progress.step, epoch=self.progress.step / len(self.batches))

    def _seconds(self):
        return round(self.progress.seconds, 3)

    def _notify(self, event, **record):
        for callback in self.callbacks:
            callback(event, record)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the optimizer's arrays and the carried state by name, to resume exactly.

        Includes the raw weights once the average of the weights has begun.
        """
        raw = self.average.arrays(self.progress)
        return {**self.replicas.arrays(), **self.optimizer.arrays(), **raw}

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights for prediction, by name: the average, if one has begun."""
        with self.average.in_place(self.progress):
            return self.model.arrays()

    def progress_record(self) -> dict[str, Any]:
        """Return the progress, including the optimizer's counters, as plain data."""
        self.progress.optimizer = self.optimizer.record()
        return dataclasses.asdict(self.progress)

    def restore(self, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
        """Restore the state returned by `arrays()` and `progress_record()`.

        Raises
        ------
        InputError
            If they do not fit the model and the settings.
        """
        self.progress = Progress.from_record(record)
        self.inherit(self.progress.inherited)
        self.optimizer.restore(self.progress.optimizer, arrays)
        self.replicas.restore(arrays, self.streams)
        self.average.restore(self.progress, arrays)
        self.devices_before = self.progress.devices or count_devices(arrays)
        self.progress.devices = self.replicas.count
        self.saved_step = self.progress.step


def _batches(model, config, ids, streams, seed=None):
    if model.window and config.random_seq_len:
        raise InputError(
            "`random_seq_len`: not supported by models that read windows; leave it out"
        )
    drawn = seed if model.window or config.random_seq_len else None
    step, order = config.window_step, config.shuffle
    return make_batches(model.window, ids, streams, config.seq_len, step, drawn, order)


def _validation_batches(model, config, valid):
    streams = max(1, min(config.batch_size, len(valid) // (config.seq_len + 1)))
    try:
        return _batches(model, config, valid, streams)
    except InputError as error:
        raise InputError(
            f"the validation part is too short ({error}); "
            "use more text, another `split`, or `valid`"
        ) from None
