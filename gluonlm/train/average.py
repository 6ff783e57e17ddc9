"""Averaged weights, which predict better than the weights after the last step."""

import contextlib
from collections.abc import Iterator

import numpy as np

from ..config import TrainConfig
from ..models import LanguageModel
from ..models.base import to_numpy
from ..models.packed import outermost
from .progress import Progress
from .replicas import copy_array


class Average:
    """The mean of a model's weights over the training steps.

    Parameters
    ----------
    config
        Settings whose `average` is "none"; "ema", over about the last 1 / (1 - `average_decay`)
        steps, or the last tenth of all steps while that is fewer (Polyak and Juditsky 1992); or
        "nt-asgd", over all steps since validation failed to improve `average_patience` times
        (Merity et al. 2018).
    ctx
        The context whose weights are averaged; all contexts have the same weights.
    """

    def __init__(self, model: LanguageModel, config: TrainConfig, ctx):
        self.config = config
        self.parameters = list(model.parameters().values())
        self.weights = [parameter.data(ctx) for parameter in outermost(self.parameters)]
        self.means = [weight.copy() for weight in self.weights if config.average != "none"]

    def update(self, progress: Progress) -> None:
        """Update the average with the weights after a step, if averaging has begun."""
        if self.means and (self.config.average == "ema" or self._late(progress)):
            progress.averaged += 1
            share = 1 / progress.averaged
            if self.config.average == "ema":
                share = max(1 - self.config.average_decay, 9 / (9 + progress.averaged))
            for mean, weight in zip(self.means, self.weights):
                mean += share * (weight - mean)

    def _late(self, progress):
        return progress.averaged or progress.stale >= self.config.average_patience

    @contextlib.contextmanager
    def in_place(self, progress: Progress) -> Iterator[None]:
        """Replace the weights with the average, if it has begun, until the block ends."""
        begun = bool(progress.averaged)
        if begun:
            self._exchange()
        try:
            yield
        finally:
            if begun:
                self._exchange()

    def _exchange(self):
        for mean, weight in zip(self.means, self.weights):
            kept = weight.copy()
            weight[:] = mean
            mean[:] = kept

    def arrays(self, progress: Progress) -> dict[str, np.ndarray]:
        """Return the raw weights, `raw.PARAMETER`, if averaging has begun."""
        named = enumerate(self.parameters) if progress.averaged else ()
        return {f"raw.{number}": to_numpy(parameter) for number, parameter in named}

    def restore(self, progress: Progress, arrays: dict[str, np.ndarray]) -> None:
        """Restore the arrays returned by `arrays()`; the model's weights are the average.

        Raises
        ------
        InputError
            If an array is missing or has another shape.
        """
        if not progress.averaged:
            return
        for mean, weight in zip(self.means, self.weights):
            mean[:] = weight
        for number, parameter in enumerate(self.parameters):
            for weight in parameter.list_data():
                copy_array(arrays, f"raw.{number}", weight)
