"""Models that go on learning from what they have just read: dynamic evaluation.

A score made this way is another measure than a static one, and stands beside it, never in its
place: the model has seen all of the text before the token that it predicts, not only its state.
"""

from __future__ import annotations

import itertools
from typing import Iterator, NamedTuple

import numpy as np
from mxnet import nd

from .checkpoint import Checkpoint
from .errors import InputError
from .memory import split, together
from .models import LanguageModel
from .scoring import score

SMALL = 1e-8  # keeps a division finite, as Adam's epsilon
LONGEST = 20_000  # tokens that settings are tuned on: more take minutes and change little
GRID = {"sgd": (0.003, 0.01, 0.03, 0.1, 0.3), "rms": (2e-5, 1e-4, 2e-4, 5e-4, 2e-3)}
DECAYS = (0.0, 0.001, 0.01)


class Settings(NamedTuple):
    """How a model learns while it reads.

    `seq_len` tokens are predicted, then learnt from by one step of size `lr`, divided for `rms` by
    the root mean square of each weight's gradient; then every weight goes `decay` of the way back
    to what it was trained to be, for `rms` more where gradients are large.
    """

    rule: str = "sgd"
    lr: float = 0.03
    decay: float = 0.0
    seq_len: int = 32


class Dynamic:
    """A model that learns from each segment once it has been scored. Its dropout is switched off.

    Source: Krause et al. 2018.

    Parameters
    ----------
    model
        On one context; its weights are changed until `forget`.
    squares
        For the rule "rms", the mean square of each gradient, as `squared_gradients` returns it.
    """

    def __init__(self, model: LanguageModel, settings: Settings, squares: nd.NDArray | None = None):
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
                f"and this run was trained by {checkpoint.config.training.optimizer}: use sgd"
            )
        place[:] = array
    return squares


def tune(
    model: LanguageModel, ids: np.ndarray, settings: Settings, squares: nd.NDArray | None, ctx=None
) -> Iterator[tuple[Settings, float]]:
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
