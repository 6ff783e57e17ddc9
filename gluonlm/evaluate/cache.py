"""The neural cache, over a model or a dynamic one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..models import LanguageModel
from ..system.errors import InputError
from ..system.numerics import log_softmax
from .dynamic import LONGEST, Dynamic, trace

THETAS, WEIGHTS = (0.03, 0.1, 0.3, 1.0), (0.02, 0.05, 0.1, 0.2)
BLOCK = 256  # tokens compared with the past at once


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
