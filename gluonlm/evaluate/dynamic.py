"""Dynamic evaluation: the weights are updated on each segment after it has been scored.

Report a dynamic score next to the static one, never instead of it: the model uses all of the text
before a token, not only its state.
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

SMALL = 1e-8  # keeps the division finite, like Adam's epsilon
LONGEST = 20_000  # tokens used for tuning: more take minutes and change little
GRID = {"sgd": (0.003, 0.01, 0.03, 0.1, 0.3), "rms": (2e-5, 1e-4, 2e-4, 5e-4, 2e-3)}
DECAYS = (0.0, 0.001, 0.01)


class DynamicSettings(NamedTuple):
    """Settings of dynamic evaluation.

    After each `seq_len` scored tokens, the weights take one step of size `lr`, divided for `rms` by
    the root mean square of each weight's gradient. Then each weight moves by the fraction `decay`
    back to its trained value; for `rms`, by more where gradients are large.
    """

    rule: str = "sgd"
    lr: float = 0.03
    decay: float = 0.0
    seq_len: int = 32

    @classmethod
    def named(cls, flags: Any) -> DynamicSettings:
        """Return the settings given by command-line flags."""
        rule, lr = flags.dynamic, flags.dynamic_lr
        lr = GRID[rule][2] if lr is None else lr
        return cls(rule, lr, flags.dynamic_decay, flags.dynamic_seq_len)


class Dynamic:
    """A model that is updated on the loss of each segment after scoring it.

    Dropout and activation penalties are off.

    Source: Krause et al. 2018.

    Parameters
    ----------
    model
        On one context; its weights change until `forget` is called.
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
        """Return the loss of each target in nats, `(M,)`, and the new state; update the weights.

        Raises
        ------
        InputError
            If the losses are no longer finite.
        """
        losses, after = self.model.losses(inputs, targets, state)
        if not np.isfinite(losses).all():
            raise InputError(
                f"`dynamic_lr` {self.settings.lr:g}: the model diverged; try a lower one"
            )
        self.model.forward_backward(inputs, targets, state)
        weights = self.whole.data()
        weights -= self.rate * self.whole.grad() / targets.size
        if self.settings.decay:
            weights += self.decay * (self.trained - weights)
        return losses, after

    def forget(self) -> None:
        """Restore the trained weights."""
        self.whole.data()[:] = self.trained

    def score_text(self, ids: np.ndarray, ctx=None) -> np.ndarray:
        """Score a text like `scoring.score`, starting from the trained weights."""
        self.forget()
        return score(self, ids, ctx, self.settings.seq_len)

    def trace(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return losses and hidden states like `trace`, updating the weights while reading."""
        self.forget()
        ctx, size = self.trained.context, self.settings.seq_len
        state, parts, carried = self.begin_state(1, ctx=ctx), [], None
        for begin in range(0, len(ids) - 1, size):
            part = ids[begin : begin + size + 1]
            stepper = self.model.stepper()  # copies the current weights
            stepper.state = carried or stepper.state
            parts.append(_read(stepper, part))
            carried = stepper.state
            inputs, targets = (
                to_device(tokens, self.vocab_size, ctx) for tokens in (part[:-1], part[1:])
            )
            _, state = self.losses(inputs.expand_dims(1), targets, state)
        nats, hidden = zip(*parts)
        return np.concatenate(nats), np.concatenate(hidden)


def squared_gradients(model: LanguageModel, checkpoint: Checkpoint) -> nd.NDArray:
    """Return the mean square of each weight's gradient in training, as stored by Adam.

    Raises
    ------
    InputError
        If the model was trained with another optimizer, or in part.
    """
    if checkpoint.config.training.freeze:
        raise InputError(
            "`dynamic` rms needs the squared gradients of all weights, but this run has frozen "
            "layers: use sgd"
        )
    parameters = list(model.parameters().values())
    whole = together(parameters)
    squares, numbers = nd.zeros_like(whole.data()), {id(p): i for i, p in enumerate(parameters)}
    for parameter, place in split(whole, squares):
        array = checkpoint.training.get(f"optimizer.{numbers[id(parameter)]}.1")
        if checkpoint.config.training.optimizer != "adam" or array is None:
            raise InputError(
                "`dynamic` rms needs the squared gradients stored by adam, "
                "but this run has none: use sgd"
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
    """Yield the settings of a grid, each with its mean loss in nats on the first `LONGEST` tokens.

    Parameters
    ----------
    settings
        Only their `rule` and `seq_len` are used.
    """
    for lr, decay in itertools.product(GRID[settings.rule], DECAYS):
        tried = settings._replace(lr=lr, decay=decay)
        dynamic = Dynamic(model, tried, squares)
        try:
            yield tried, float(dynamic.score_text(ids[:LONGEST], ctx).mean())
        except InputError:  # diverged
            yield tried, float("inf")
        finally:
            dynamic.forget()


def trace(model: LanguageModel | Dynamic, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each token but the first in nats, and the state that predicted it.

    Returns
    -------
    tuple
        `(tokens - 1,)` and `(tokens - 1, C)`.
    """
    return model.trace(ids) if isinstance(model, Dynamic) else _read(model.stepper(), ids)


def _read(stepper, ids):
    """Read a text with a stepper; return the losses in nats and the hidden states."""
    nats, hidden = [], []
    for token, target in itertools.pairwise(ids):
        logits = stepper.step(np.array([token]))  # (1, V)
        nats.append(-log_softmax(logits)[0, target])
        hidden.append(stepper.hidden[0])
    return np.array(nats), np.stack(hidden)
