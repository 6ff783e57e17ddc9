"""The neural cache, on top of a model or of dynamic evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..models import LanguageModel
from ..system.errors import InputError
from ..system.numerics import log_softmax
from .dynamic import LONGEST, Dynamic, trace

THETAS, WEIGHTS = (0.03, 0.1, 0.3, 1.0), (0.02, 0.05, 0.1, 0.2)
BLOCK = 256  # tokens compared with the cache at once


class CacheSettings(NamedTuple):
    """Settings of the neural cache.

    The cache stores the last `size` hidden states h', each weighted by exp(`theta` h h') for the
    current hidden state h; its probabilities are mixed with the model's by `weight`.
    """

    size: int = 500
    theta: float = 0.3
    weight: float = 0.1

    @classmethod
    def named(cls, flags: Any) -> CacheSettings:
        """Return the settings given by command-line flags."""
        return cls(flags.cache, flags.cache_theta, flags.cache_weight)

    def mix(self, probabilities: np.ndarray, cached: np.ndarray) -> np.ndarray:
        """Return the mixed probabilities of model and cache."""
        return (1 - self.weight) * probabilities + self.weight * cached


class Cached:
    """A model with a neural cache: tokens that followed similar hidden states are more likely.

    Source: Grave, Joulin and Usunier 2017. A `Dynamic` model combines the cache with dynamic
    evaluation.

    Raises
    ------
    InputError
        If the model reads windows, and so carries no hidden state to compare.
    """

    def __init__(self, model: LanguageModel | Dynamic, settings: CacheSettings):
        if model.window:
            raise InputError("`cache` compares hidden states, but this model carries none")
        self.model, self.settings = model, settings
        self.window, self.vocab_size = None, model.vocab_size

    def stepper(self, batch_size: int = 1) -> CacheStepper:
        """Return a stepper whose logits are the mixed log-probabilities."""
        model = self.model.model if isinstance(self.model, Dynamic) else self.model
        return CacheStepper(model.stepper(batch_size), self.settings)

    def score_text(self, ids: np.ndarray) -> np.ndarray:
        """Return the loss of each token but the first in nats, `(tokens - 1,)`, as one stream."""
        return self.score_both(ids)[1]

    def score_both(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return these losses without and with the cache; the text is read once."""
        nats, hidden = trace(self.model, ids)
        return nats, with_cache(nats, recalled(hidden, ids, self.settings), self.settings)


class CacheStepper:
    """A stepper with a cache of its last hidden states and the tokens that followed them."""

    def __init__(self, stepper, settings: CacheSettings):
        self.stepper, self.settings, self.vocab_size = stepper, settings, stepper.vocab_size
        self.places: list = []  # hidden (N, C) and the next ids (N,), oldest first
        self.last: Any = None  # the current hidden state, (N, C)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one token of each stream, ids `(N,)`; return log-probabilities, `(N, V)`."""
        if self.last is not None:
            self.places = [*self.places, (self.last, np.array(ids))][-self.settings.size :]
        logits = log_softmax(self.stepper.step(ids))
        self.last = self.stepper.hidden
        if not self.places:
            return logits
        hidden, after = (np.stack(arrays, axis=1) for arrays in zip(*self.places))  # (N, n, C)
        similarity = self.settings.theta * np.einsum("nkc,nc->nk", hidden, self.last)
        cached = np.zeros(logits.shape)
        np.add.at(cached, (np.arange(len(after))[:, None], after), np.exp(log_softmax(similarity)))
        with np.errstate(divide="ignore"):  # with weight 1, a probability may be 0
            return np.log(self.settings.mix(np.exp(logits), cached))

    def select(self, rows: Sequence[int]) -> None:
        """Keep these streams, in this order."""
        self.stepper.select(rows)
        self.last = self.last[rows]
        self.places = [(hidden[rows], ids[rows]) for hidden, ids in self.places]


def recalled(hidden: np.ndarray, ids: np.ndarray, settings: CacheSettings) -> np.ndarray:
    """Return the cache's probability of each token but the first.

    It is NaN for the second token, when the cache is still empty.

    Parameters
    ----------
    hidden
        `(tokens - 1, C)`; the t-th hidden state predicts token t + 1.
    """
    found, after = np.full(len(hidden), np.nan), ids[1:]
    for begin in range(1, len(hidden), BLOCK):
        rows = np.arange(begin, min(begin + BLOCK, len(hidden)))
        places = np.arange(max(0, begin - settings.size), rows[-1])
        age = rows[:, None] - places
        similarity = settings.theta * (hidden[rows] @ hidden[places].T)
        similarity[(age < 1) | (age > settings.size)] = -np.inf
        weights = np.exp(log_softmax(similarity))
        found[rows] = (weights * (after[places] == after[rows][:, None])).sum(axis=1)
    return found


def with_cache(nats: np.ndarray, cached: np.ndarray, settings: CacheSettings) -> np.ndarray:
    """Mix the cache's probabilities into losses in nats; NaN leaves a loss unchanged."""
    with np.errstate(divide="ignore"):
        mixed = -np.log(settings.mix(np.exp(-nats), cached))
    return np.where(np.isnan(cached), nats, mixed)


def tune_cache(
    model: LanguageModel | Dynamic, ids: np.ndarray, settings: CacheSettings
) -> Iterator[tuple[CacheSettings, float]]:
    """Yield the settings of a grid, each with its mean loss in nats on the first `LONGEST` tokens.

    Parameters
    ----------
    settings
        Only their `size` is used.
    """
    ids = ids[:LONGEST]
    nats, hidden = trace(model, ids)
    for theta in THETAS:
        cached = recalled(hidden, ids, settings._replace(theta=theta))
        for weight in WEIGHTS:
            tried = settings._replace(theta=theta, weight=weight)
            yield tried, float(with_cache(nats, cached, tried).mean())
