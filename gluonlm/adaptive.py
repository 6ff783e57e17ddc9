"""Models that adapt to what they have just read: dynamic evaluation, and the neural cache.

A score made this way is another measure than a static one, and stands beside it, never in its
place: the model has all of the text before the token that it predicts, not only its state.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from mxnet import nd

from .checkpoint import Checkpoint
from .device import to_device
from .errors import InputError
from .memory import split, together
from .models import LanguageModel
from .sampling import log_softmax
from .scoring import score

SMALL = 1e-8  # keeps a division finite, as Adam's epsilon
LONGEST = 20_000  # tokens that settings are tuned on: more take minutes and change little
GRID = {"sgd": (0.003, 0.01, 0.03, 0.1, 0.3), "rms": (2e-5, 1e-4, 2e-4, 5e-4, 2e-3)}
DECAYS = (0.0, 0.001, 0.01)
THETAS, WEIGHTS = (0.03, 0.1, 0.3, 1.0), (0.02, 0.05, 0.1, 0.2)
BLOCK = 256  # tokens compared with the past at once


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

    @classmethod
    def named(cls, flags: Any) -> Settings:
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


class CacheSettings(NamedTuple):
    """How much the recent past counts.

    `size` places are remembered; a place counts by exp(`theta` h h') for the hidden states of the
    two, and all of them together `weight`, beside the model.
    """

    size: int = 500
    theta: float = 0.3
    weight: float = 0.1

    @classmethod
    def named(cls, flags: Any) -> CacheSettings:
        """Return the settings that the flags of a command ask for."""
        return cls(flags.cache, flags.cache_theta, flags.cache_weight)

    def mix(self, chances: np.ndarray, remembered: np.ndarray) -> np.ndarray:
        """Return the probabilities of model and cache together."""
        return (1 - self.weight) * chances + self.weight * remembered


class Cached:
    """A model that leans towards what followed the places of the recent past that were like this.

    Source: Grave, Joulin and Usunier 2017. With a `Dynamic` in place of the model, the text is
    scored by both together.

    Raises
    ------
    InputError
        If the model reads windows: it carries no hidden state to compare.
    """

    def __init__(self, model: LanguageModel | Dynamic, settings: CacheSettings):
        if model.window:
            raise InputError("`cache` compares hidden states, and this model carries none")
        self.model, self.settings = model, settings
        self.window, self.vocab_size = None, model.vocab_size

    def stepper(self, batch_size: int = 1) -> CacheStepper:
        """Return a stepper whose logits are the logarithms of the mixed probabilities."""
        model = self.model.model if isinstance(self.model, Dynamic) else self.model
        return CacheStepper(model.stepper(batch_size), self.settings)

    def score_text(self, ids: np.ndarray) -> np.ndarray:
        """Return the nats of each token but the first, `(tokens - 1,)`, read as one stream."""
        return self.score_both(ids)[1]

    def score_both(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return these nats by the model alone, and by both; the text is read once."""
        nats, hidden = trace(self.model, ids)
        return nats, with_cache(nats, recalled(hidden, ids, self.settings), self.settings)


class CacheStepper:
    """A stepper, and what followed each of the last places that it read."""

    def __init__(self, stepper, settings: CacheSettings):
        self.stepper, self.settings, self.vocab_size = stepper, settings, stepper.vocab_size
        self.places: list = []  # hidden (N, C) and the ids that followed (N,), the oldest first
        self.last: Any = None  # the hidden state after what was read last, (N, C)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one token of each stream, ids `(N,)`; return log-probabilities, `(N, V)`."""
        if self.last is not None:
            self.places = [*self.places, (self.last, np.array(ids))][-self.settings.size :]
        logits = log_softmax(self.stepper.step(ids))
        self.last = self.stepper.hidden
        if not self.places:
            return logits
        hidden, after = (np.stack(arrays, axis=1) for arrays in zip(*self.places))  # (N, n, C)
        likeness = self.settings.theta * np.einsum("nkc,nc->nk", hidden, self.last)
        chances = np.zeros(logits.shape)
        np.add.at(chances, (np.arange(len(after))[:, None], after), np.exp(log_softmax(likeness)))
        with np.errstate(divide="ignore"):  # a cache alone may leave a token no chance
            return np.log(self.settings.mix(np.exp(logits), chances))

    def select(self, rows: Sequence[int]) -> None:
        """Keep these streams, in this order."""
        self.stepper.select(rows)
        self.last = self.last[rows]
        self.places = [(hidden[rows], ids[rows]) for hidden, ids in self.places]


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


def recalled(hidden: np.ndarray, ids: np.ndarray, settings: CacheSettings) -> np.ndarray:
    """Return the probability that the cache alone gives to each token but the first.

    Of the second it is NaN: nothing is remembered yet.

    Parameters
    ----------
    hidden
        `(tokens - 1, C)`, of which the t-th predicts token t + 1.
    """
    found, after = np.full(len(hidden), np.nan), ids[1:]
    for begin in range(1, len(hidden), BLOCK):
        rows = np.arange(begin, min(begin + BLOCK, len(hidden)))
        places = np.arange(max(0, begin - settings.size), rows[-1])
        age = rows[:, None] - places
        likeness = settings.theta * (hidden[rows] @ hidden[places].T)
        likeness[(age < 1) | (age > settings.size)] = -np.inf
        shares = np.exp(log_softmax(likeness))
        found[rows] = (shares * (after[places] == after[rows][:, None])).sum(axis=1)
    return found


def with_cache(nats: np.ndarray, remembered: np.ndarray, settings: CacheSettings) -> np.ndarray:
    """Return the nats of tokens by model and cache together; where that is NaN, the model's own."""
    with np.errstate(divide="ignore"):
        mixed = -np.log(settings.mix(np.exp(-nats), remembered))
    return np.where(np.isnan(remembered), nats, mixed)


def tune_cache(
    model: LanguageModel | Dynamic, ids: np.ndarray, settings: CacheSettings
) -> Iterator[tuple[CacheSettings, float]]:
    """Yield settings of a grid, and the mean nats of the beginning of a text with each.

    Parameters
    ----------
    settings
        Whose `size` is kept.
    """
    ids = ids[:LONGEST]
    nats, hidden = trace(model, ids)
    for theta in THETAS:
        remembered = recalled(hidden, ids, settings._replace(theta=theta))
        for weight in WEIGHTS:
            tried = settings._replace(theta=theta, weight=weight)
            yield tried, float(with_cache(nats, remembered, tried).mean())
