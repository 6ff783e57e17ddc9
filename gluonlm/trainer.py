"""Truncated back-propagation through time: step, clip, schedule, validate, stop. Knows nothing of any model.

A training's whole state is the parameters, the optimizer's arrays, the carried state and a Progress, so that it can be
put down after any step and taken up again as if nothing had happened.
"""

import dataclasses
import hashlib
import math
import time
from dataclasses import dataclass, field
from typing import Optional, get_type_hints

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd

from .batchify import make_batches
from .errors import InputError
from .loss import cross_entropy
from .models import to_device
from .scoring import mean_loss

RESERVED = (
    "learning_rate",
    "lr_scheduler",
    "param_dict",
    "param_idx2name",
    "rescale_grad",
    "sym",
)  # the trainer's own
SKIPS = 100  # steps in a row that may be skipped: after that nothing will come of it


class Diverged(Exception):
    """Loss or gradient are no longer finite, or the loss has risen far above that of guessing."""


@dataclass
class Progress:
    """How far a training is, apart from its arrays: plain numbers, for JSON."""

    step: int = 0
    seconds: float = 0.0  # of training, validating and sampling, over all sessions
    loss_sum: float = 0.0  # nats since the last validation, and over how many tokens
    tokens: int = 0
    log_loss_sum: float = 0.0  # the same since the last training line
    log_tokens: int = 0
    log_seconds: float = 0.0  # when that line was written
    smoothed: Optional[float] = None  # recent loss, to see divergence
    best: Optional[float] = None  # best validation loss so far, nats
    best_step: int = 0
    stale: int = 0  # validations since then
    validated: int = 0  # step of the last validation
    drops: int = 0  # times that plateau lowered the learning rate
    drop_stale: int = 0  # validations without improvement since it last did
    skipped: int = 0  # steps skipped because something was not finite
    skipped_in_row: int = 0  # the latest of them
    metrics_bytes: int = 0  # length of metrics.jsonl
    samples_bytes: int = 0  # length of samples.txt
    optimizer: dict = field(default_factory=dict)


def derive_seed(*parts):
    """Give a seed for one purpose: a hash, because MXNet's streams of nearby seeds overlap."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little") & 0x7FFFFFFF


def learning_rate(config, step, steps_per_epoch, total_steps, drops=0):
    """Give the learning rate of a step (counted from 0) by a TrainConfig's schedule; `drops` is how often plateau has lowered it."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return config.lr * config.decay ** max(0, step // steps_per_epoch + 1 - config.decay_after)
    if config.schedule == "plateau":
        return config.lr * config.decay**drops
    if config.schedule == "cosine":
        part = min(1.0, (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps))
        return config.lr * (
            config.lr_floor + (1 - config.lr_floor) * (1 + math.cos(math.pi * part)) / 2
        )
    return config.lr


def parse_params(text):
    """Turn `momentum=0.9,wd=1e-6` into arguments of an optimizer. Raises: InputError."""
    params = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            number = (
                {"true": True, "false": False}[value.lower()] if value.isalpha() else float(value)
            )
        except (KeyError, ValueError):
            number = math.nan
        if not math.isfinite(number) or name.strip() in RESERVED:
            raise InputError(f"--optimizer-params {part!r}: give name=number, such as momentum=0.9")
        params[name.strip()] = number
    return params


def make_optimizer(config):
    """Make the Gluon optimizer that a TrainConfig names.

    Raises: InputError if there is none, or it takes no such argument.
    """
    known = mx.optimizer.Optimizer.opt_registry
    if config.optimizer.lower() not in known:
        raise InputError(
            f"--optimizer {config.optimizer!r}: Gluon knows {', '.join(sorted(known))}"
        )
    try:
        return mx.optimizer.create(
            config.optimizer, learning_rate=config.lr, **parse_params(config.optimizer_params)
        )
    except (TypeError, ValueError, AttributeError, AssertionError) as error:
        raise InputError(
            f"--optimizer-params {config.optimizer_params!r}: {config.optimizer} says: {error}"
        ) from None


class Trainer:
    """Trains a model on batches of a text.

    Parameters: `model`, as in `models.py`, its weights set; `config`, a TrainConfig; `train` and `valid`, ids
    `(tokens,)`, `valid` may be empty; `ctx`, contexts, over which the columns of each batch are divided; `callbacks`, called
    with (event, record) for the events "step", "training", "validation", "checkpoint"; `save`, called with the trainer
    and what the checkpoint is to be named, ("last",), ("best", "last") or ("best",).
    Raises: InputError if the text is too short for one batch.
    """

    def __init__(self, model, config, train, valid=(), ctx=None, callbacks=(), save=None):
        self.model, self.config, self.ctx = model, config, ctx or [mx.cpu()]
        self.callbacks, self.save, self.progress = callbacks, save, Progress()
        if config.batch_size < len(self.ctx):
            raise InputError(
                f"--batch-size {config.batch_size}: must be at least the {len(self.ctx)} devices of --ctx"
            )
        self.batches = make_batches(
            model.context,
            train,
            config.batch_size,
            config.seq_len,
            config.window_step,
            derive_seed(config.seed, "shuffle"),
        )
        if self.batches(0, len(self.batches) - 1)[0].shape[1] < len(self.ctx):
            raise InputError(
                f"--batch-size {config.batch_size}: leaves a last batch too small for {len(self.ctx)} devices, choose another"
            )
        self.valid_batches = self._validation_batches(valid) if len(valid) else None
        self.total_steps = min(config.epochs * len(self.batches), config.max_steps or math.inf)
        self.validate_every = config.validate_every or len(self.batches)
        self.parameters = list(model.parameters().values())
        self.optimizer = make_optimizer(config)
        self.gluon = gluon.Trainer(
            self.parameters,
            self.optimizer,
            kvstore="device" if len(self.ctx) > 1 else None,
            update_on_kvstore=False,
        )
        self.random = (
            any(getattr(block, "_rate", 0) for block in _blocks(model))
            or config.optimizer.lower() == "sgld"
        )
        self.state, self.saved_step, self.stop_request = None, None, None

    def _validation_batches(self, valid):
        streams = max(1, min(self.config.batch_size, len(valid) // (self.config.seq_len + 1)))
        try:
            return make_batches(
                self.model.context, valid, streams, self.config.seq_len, self.config.window_step
            )
        except InputError as error:
            raise InputError(
                f"the validation part is too short ({error}); give more text, another --split, or --valid"
            ) from None

    @property
    def lr(self):
        """The learning rate of the next step."""
        return learning_rate(
            self.config,
            self.progress.step,
            len(self.batches),
            self.total_steps,
            self.progress.drops,
        )

    def fit(self):
        """Train until something ends it, and say what: epochs, steps, minutes, patience, or what was given to `stop`.

        Raises: Diverged, with the weights of the last good step.
        """
        while not (reason := self._why_stop()):
            began = time.monotonic()
            self._step()
            validated = self.progress.step % self.validate_every == 0
            best = validated and self._validate()
            self.progress.seconds += time.monotonic() - began
            if self.progress.step % self.config.log_every == 0:
                self._log()
            every = self.config.checkpoint_every
            if best or (self.progress.step % every == 0 if every else validated):
                self._save(("best", "last") if best else ("last",))
        if self.saved_step != self.progress.step:
            self._save(("last",))
        if (
            reason not in ("interrupted", "terminated")
            and self.progress.validated != self.progress.step
        ):
            self._close()
        return reason

    def stop(self, reason):
        """Ask for an end after the step at hand; safe to call from a signal handler."""
        self.stop_request = reason

    def _why_stop(self):
        config, progress = self.config, self.progress
        if self.stop_request:
            return self.stop_request
        if progress.step >= self.total_steps:
            return "epochs" if progress.step >= config.epochs * len(self.batches) else "steps"
        if config.max_minutes and progress.seconds >= 60 * config.max_minutes:
            return "minutes"
        if config.patience and progress.stale >= config.patience:
            return "patience"
        return None

    def _step(self):
        """Take one step: forward, backward, clip, update. The host waits for the device once."""
        progress = self.progress
        epoch, index = divmod(progress.step, len(self.batches))
        if index == 0 or self.state is None:
            self.state = self._begin_state()
        if self.random:
            mx.random.seed(derive_seed(self.config.seed, "step", progress.step))
        inputs, targets = self.batches(epoch, index)
        losses = [
            self._forward_backward(device, *part)
            for device, part in enumerate(self._divide(inputs, targets))
        ]
        if len(self.ctx) > 1:
            self.gluon.allreduce_grads()
        squares = nd.multi_sum_sq(
            *(p.grad(self.ctx[0]) for p in self.parameters), num_arrays=len(self.parameters)
        )
        found = (
            nd.concat(*(loss.as_in_context(self.ctx[0]) for loss in losses), squares, dim=0)
            .asnumpy()
            .astype(np.float64)
        )
        loss = float(found[: len(losses)].sum()) / (targets.size * self.model.members)
        # gradients are of the summed loss; what they must be divided by goes into the update instead of over them
        divisor = targets.size if self.config.loss_scale == "mean" else inputs.shape[1]
        norm = math.sqrt(found[len(losses) :].sum() / self.model.members) / divisor
        if self._usable(loss, norm):
            self.gluon.set_learning_rate(self.lr)
            self.gluon.update(
                divisor * max(1.0, norm / self.config.clip if self.config.clip else 1.0)
            )
            progress.loss_sum += loss * targets.size
            progress.log_loss_sum += loss * targets.size
            progress.tokens += targets.size
            progress.log_tokens += targets.size
        progress.step += 1
        self._tell("step", step=progress.step, loss=loss, tokens=targets.size, grad_norm=norm)

    def _begin_state(self):
        columns = self.batches(0, 0)[0].shape[1]
        return [
            self.model.begin_state(part.stop - part.start, ctx=ctx)
            for ctx, part in zip(self.ctx, self._columns(columns))
        ]

    def _columns(self, count):
        cuts = [round(count * i / len(self.ctx)) for i in range(len(self.ctx) + 1)]
        return [slice(*pair) for pair in zip(cuts, cuts[1:])]

    def _divide(self, inputs, targets):
        """Give each device its columns of a batch, as arrays on it."""
        targets = targets.reshape(-1, inputs.shape[1])
        for ctx, part in zip(self.ctx, self._columns(inputs.shape[1])):
            columns = np.tile(targets[:, part].reshape(-1), self.model.members)
            yield (
                to_device(inputs[:, part], self.model.vocab_size, ctx),
                to_device(columns, self.model.vocab_size, ctx),
            )

    def _forward_backward(self, device, inputs, targets):
        with autograd.record():
            logits, state = self.model(inputs, self.state[device])
        losses, gradient = cross_entropy(logits, targets)
        logits.backward(gradient)
        self.state[device] = [array.detach() for array in state]
        return losses.sum()

    def _usable(self, loss, norm):
        """Tell whether a step may reach the weights. Raises: Diverged."""
        progress = self.progress
        if not (math.isfinite(loss) and math.isfinite(norm)):
            if self.config.on_nan == "stop":
                raise Diverged(
                    f"loss {loss} and gradient norm {norm} at step {progress.step + 1}: try a lower --lr or a --clip"
                )
            progress.skipped += 1
            progress.skipped_in_row += 1
            if progress.skipped_in_row >= SKIPS:
                raise Diverged(
                    f"{SKIPS} steps in a row were not finite, to step {progress.step + 1}: try a lower --lr or a --clip"
                )
            self.state = self._begin_state()
            return False
        progress.skipped_in_row = 0
        progress.smoothed = (
            loss if progress.smoothed is None else 0.98 * progress.smoothed + 0.02 * loss
        )
        if progress.smoothed > 3 * math.log(max(3, self.model.vocab_size)):
            raise Diverged(
                f"the loss has risen to {progress.smoothed:.2f} nats at step {progress.step + 1}, "
                f"guessing costs {math.log(self.model.vocab_size):.2f}: try a lower --lr or a --clip"
            )
        return True

    def _validate(self):
        """Measure the validation loss; the training's own state is not touched. Tells whether it is the best so far."""
        progress, config = self.progress, self.config
        progress.validated = progress.step
        train = progress.loss_sum / progress.tokens if progress.tokens else None
        progress.loss_sum, progress.tokens = 0.0, 0
        valid = (
            mean_loss(self.model, self.valid_batches, self.ctx[0]) if self.valid_batches else None
        )
        best = (
            valid is not None
            and math.isfinite(valid)
            and (progress.best is None or valid < progress.best)
        )
        if best:
            progress.best, progress.best_step = valid, progress.step
        progress.stale = 0 if best else progress.stale + (valid is not None)
        progress.drop_stale = 0 if best else progress.drop_stale + (valid is not None)
        if progress.drop_stale >= config.decay_patience:
            progress.drops, progress.drop_stale = progress.drops + 1, 0
        self._tell(
            "validation",
            step=progress.step,
            epoch=progress.step / len(self.batches),
            train_loss=train,
            valid_loss=valid,
            lr=self.lr,
            best=best,
            seconds=round(progress.seconds, 3),
        )
        return best

    def _close(self):
        """Validate once more at the end. This may find the best, but whoever goes on from `last` does not count it."""
        kept = dataclasses.replace(self.progress)
        if self._validate():
            self._save(("best",))
        self.progress = kept

    def _save(self, pointers):
        self._tell("checkpoint", step=self.progress.step)
        if self.save:
            self.save(self, pointers)
        self.saved_step = self.progress.step

    def _log(self):
        progress = self.progress
        if progress.log_tokens:
            self._tell(
                "training",
                step=progress.step,
                epoch=progress.step / len(self.batches),
                train_loss=progress.log_loss_sum / progress.log_tokens,
                lr=self.lr,
                seconds=round(progress.seconds, 3),
                tokens_per_second=round(
                    progress.log_tokens / max(1e-9, progress.seconds - progress.log_seconds)
                ),
            )
        progress.log_loss_sum, progress.log_tokens, progress.log_seconds = 0.0, 0, progress.seconds

    def _tell(self, event, **record):
        for callback in self.callbacks:
            callback(event, record)

    def arrays(self):
        """Give what must be kept to go on exactly: optimizer arrays and carried state, by name."""
        arrays = {
            f"state.{device}.{i}": array.asnumpy()
            for device, state in enumerate(self.state or ())
            for i, array in enumerate(state)
        }
        for index, state in self.gluon._updaters[0].states.items():
            arrays.update(
                {f"optimizer.{index}.{i}": array.asnumpy() for i, array in enumerate(_flat(state))}
            )
        return arrays

    def progress_record(self):
        """Give the progress as plain data, the optimizer's own counters included."""
        numbers = {
            name: value
            for name, value in vars(self.optimizer).items()
            if type(value) in (int, float)
        }
        counts = {str(index): count for index, count in self.optimizer._index_update_count.items()}
        self.progress.optimizer = {"numbers": numbers, "counts": counts}
        return dataclasses.asdict(self.progress)

    def restore(self, arrays, record):
        """Take up a training where `arrays()` and `progress_record()` were taken.

        Raises: InputError if they are not this one's.
        """
        try:
            self.progress = Progress(**record)
            for name, kind in get_type_hints(Progress).items():
                value = getattr(self.progress, name)
                if type(value) not in {int: (int,), float: (int, float), dict: (dict,)}.get(
                    kind, (int, float, type(None))
                ):
                    raise TypeError(f"{name} is {value!r}")
            numbers, counts = self.progress.optimizer["numbers"], self.progress.optimizer["counts"]
            if not all(
                type(value) in (int, float) for value in (*numbers.values(), *counts.values())
            ):
                raise TypeError("a number of the optimizer is none")
            vars(self.optimizer).update(
                {name: value for name, value in numbers.items() if name in vars(self.optimizer)}
            )
            for device in range(len(self.ctx)):
                self.optimizer._all_index_update_counts[device] = {
                    int(index): count for index, count in counts.items()
                }
            self.optimizer._set_current_context(0)
            self.saved_step = self.progress.step
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError(f"checkpoint: progress is not one of this version: {error}") from None
        self._restore_optimizer(arrays)
        if any(name.startswith("state.") for name in arrays):
            self.state = self._begin_state()
            for device, state in enumerate(self.state):
                for i, array in enumerate(state):
                    _copy(arrays, f"state.{device}.{i}", array)

    def _restore_optimizer(self, arrays):
        for updater, ctx in zip(self.gluon._updaters, self.ctx):
            for index, parameter in enumerate(self.parameters):
                if str(index) in self.progress.optimizer["counts"]:
                    state = self.optimizer.create_state_multi_precision(index, parameter.data(ctx))
                    for i, array in enumerate(_flat(state)):
                        _copy(arrays, f"optimizer.{index}.{i}", array)
                    updater.states[index], updater.states_synced[index] = state, True


def _blocks(block):
    yield block
    for child in block._children.values():
        yield from _blocks(child)


def _flat(state):
    """List the arrays of an optimizer's state, which may be None, one array, or tuples of them."""
    if state is None:
        return []
    return (
        [state]
        if isinstance(state, nd.NDArray)
        else [array for part in state for array in _flat(part)]
    )


def _copy(arrays, name, target):
    if name not in arrays or arrays[name].shape != target.shape:
        raise InputError(
            f"checkpoint: array {name} is missing or of another shape; --ctx must name as many devices as before"
        )
    target[:] = arrays[name]
