"""Models that adapt to what they have just read: dynamic evaluation, and the neural cache.

A score made this way is another measure than a static one, and stands beside it, never in its
place: the model has all of the text before the token that it predicts, not only its state.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from mxnet import nd

from ..models import LanguageModel
from ..models.packed import split, together
from ..run.checkpoint import Checkpoint
from ..system.device import to_device
from ..system.errors import InputError
from ..system.numerics import log_softmax
from .scoring import score

SMALL = 1e-8  # keeps a division finite, as Adam's epsilon
LONGEST = 20_000  # tokens that settings are tuned on: more take minutes and change little
GRID = {"sgd": (0.003, 0.01, 0.03, 0.1, 0.3), "rms": (2e-5, 1e-4, 2e-4, 5e-4, 2e-3)}
DECAYS = (0.0, 0.001, 0.01)


class DynamicSettings(NamedTuple):
    """How a model learns while it reads.

    `seq_len` tokens are predicted, then learnt from by one step of size `lr`, divided for `rms` by
    the root mean square of each weight's gradient; then every weight goes `decay` of the way back
    to what it was trained to be, for `rms` more where gradients are large.
    """

    rule: str = "sgd"
    lr: float = 0.03
    decay: float = 0.0
    seq_len: int = 32

    @classmethod
    def named(cls, flags: Any) -> DynamicSettings:
        """Return the settings that the flags of a command ask for."""
        rule, lr = flags.dynamic, flags.dynamic_lr
        lr = GRID[rule][2] if lr is None else lr
        return cls(rule, lr, flags.dynamic_decay, flags.dynamic_seq_len)


class Dynamic:
    """A model that learns from each segment once it has been scored, from its loss alone.

    Dropout and penalties on the output are switched off.

    Source: Krause et al. 2018.

    Parameters
    ----------
    model
        On one context; its weights are changed until `forget`.
    squares
        For the rule "rms", the mean square of each gradient, as `squared_gradients` returns it.
    """

    def __init__(
        self, model: LanguageModel, settings: DynamicSettings, squares: nd.NDArray | None = None
    ):
        self.model, self.settings = model.without_dropout(), settings
        self.window, self.vocab_size = model.window, model.vocab_size
        self.begin_state = model.begin_state
        self.whole = together(list(model.parameters().values()))
        self.trained = self.whole.data().copy()
        self.rate, self.decay = settings.lr, settings.decay
        if squares is not None:
            size = squares.sqrt()
            self.rate = settings.lr / (size + SMALL)
            self.decay = nd.minimum(settings.decay * size / size.mean(), 1)

    def losses(self, inputs, targets, state: list) -> tuple[np.ndarray, list]:
        """Return the nats of each target, `(M,)`, and the new state; then learn from them.

        Raises
        ------
        InputError
            If the weights have become numbers that are not finite.
        """
        losses, after = self.model.losses(inputs, targets, state)
        if not np.isfinite(losses).all():
            raise InputError(f"`dynamic_lr` {self.settings.lr:g}: the model broke; try a lower one")
        self.model.backward(inputs, targets, state)
        weights = self.whole.data()
        weights -= self.rate * self.whole.grad() / targets.size
        if self.settings.decay:
            weights += self.decay * (self.trained - weights)
        return losses, after

    def forget(self) -> None:
        """Put the trained weights back."""
        self.whole.data()[:] = self.trained

    def score_text(self, ids: np.ndarray, ctx=None) -> np.ndarray:
        """Score a text as `scoring.score` does, beginning with the trained weights."""
        self.forget()
        return score(self, ids, ctx, self.settings.seq_len)

    def trace(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nats and the hidden states of a text as `trace` does, learning as it reads."""
        self.forget()
        ctx, size = self.trained.context, self.settings.seq_len
        state, parts, carried = self.begin_state(1, ctx=ctx), [], None
        for begin in range(0, len(ids) - 1, size):
            part = ids[begin : begin + size + 1]
            stepper = self.model.stepper()  # with the weights as they are by now
            stepper.state = carried or stepper.state
            parts.append(_read(stepper, part))
            carried = stepper.state
            inputs, targets = (
                to_device(own, self.vocab_size, ctx) for own in (part[:-1], part[1:])
            )
            _, state = self.losses(inputs.expand_dims(1), targets, state)
        nats, hidden = zip(*parts)
        return np.concatenate(nats), np.concatenate(hidden)


def squared_gradients(model: LanguageModel, checkpoint: Checkpoint) -> nd.NDArray:
    """Return the mean square of each weight's gradient in training, as Adam kept it.

    Raises
    ------
    InputError
        If the model was trained by another optimizer.
    """
    parameters = list(model.parameters().values())
    whole = together(parameters)
    squares, numbers = nd.zeros_like(whole.data()), {id(p): i for i, p in enumerate(parameters)}
    for parameter, place in split(whole, squares):
        array = checkpoint.training.get(f"optimizer.{numbers[id(parameter)]}.1")
        if checkpoint.config.training.optimizer != "adam" or array is None:
            raise InputError(
                "`dynamic` rms needs the squared gradients that adam keeps, "
                "and this run has none: use sgd"
            )
        place[:] = array
    return squares


def tune(
    model: LanguageModel,
    ids: np.ndarray,
    settings: DynamicSettings,
    squares: nd.NDArray | None,
    ctx=None,
) -> Iterator[tuple[DynamicSettings, float]]:
    """Yield settings of a grid, and the mean nats of the beginning of a text with each.

    Parameters
    ----------
    settings
        Whose rule and `seq_len` are kept.
    """
    for lr, decay in itertools.product(GRID[settings.rule], DECAYS):
        tried = settings._replace(lr=lr, decay=decay)
        dynamic = Dynamic(model, tried, squares)
        try:
            yield tried, float(dynamic.score_text(ids[:LONGEST], ctx).mean())
        except InputError:  # too high a rate
            yield tried, float("inf")
        finally:
            dynamic.forget()


def trace(model: LanguageModel | Dynamic, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nats of each token but the first, and the hidden state that predicted it.

    Returns
    -------
    tuple
        `(tokens - 1,)` and `(tokens - 1, C)`.
    """
    return model.trace(ids) if isinstance(model, Dynamic) else _read(model.stepper(), ids)


def _read(stepper, ids):
    """Read a text with a stepper; return the nats of each token but the first, and the states."""
    nats, hidden = [], []
    for token, target in itertools.pairwise(ids):
        logits = stepper.step(np.array([token]))  # (1, V)
        nats.append(-log_softmax(logits)[0, target])
        hidden.append(stepper.hidden[0])
    return np.array(nats), np.stack(hidden)
