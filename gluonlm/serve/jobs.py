"""Jobs: the requests that a server computes, and their results as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np

from ..generate.sampling import Sampler, probabilities


class Job:
    """A request that a `Scheduler` computes.

    Attributes
    ----------
    deadline
        The time of the event loop at which the job fails.
    """

    deadline: float

    def __init__(self) -> None:
        self.results: list = []
        self.error: Exception | None = None
        self.ended = False
        self._changed = asyncio.Event()

    def put(self, result: Any) -> None:
        """Pass a result to the client."""
        self.results.append(result)
        self._changed.set()

    def end(self, error: Exception | None = None) -> None:
        """End the job; further calls have no effect."""
        if not self.ended:
            self.ended, self.error = True, error
            self._changed.set()

    async def arriving(self) -> AsyncIterator[list]:
        """Yield lists of all new results until the job ends.

        Raises
        ------
        Exception
            The error with which it ended, after its results.
        """
        while True:
            await self._changed.wait()
            self._changed.clear()
            found, self.results = self.results, []
            if found:
                yield found
            if self.ended and self.error:
                raise self.error
            if self.ended:
                return


class Reader(Job):
    """A job that reads a prompt, one token at a time; subclasses implement `predict`.

    Parameters
    ----------
    prompt
        Ids `(tokens,)`, at least one.

    Attributes
    ----------
    token
        The next id to read.
    """

    def __init__(self, prompt: np.ndarray):
        super().__init__()
        self.prompt, self.place, self.token = prompt, 0, int(prompt[0])

    def read(self, logits: np.ndarray) -> None:
        """Choose the next token, given the logits `(1, V)` after the current one."""
        self.place += 1
        if self.place < len(self.prompt):
            self.token = int(self.prompt[self.place])
        else:
            self.predict(logits)

    def predict(self, logits: np.ndarray) -> None:
        """Use the logits `(1, V)` after the prompt, or after a generated token."""
        raise NotImplementedError


class Continuation(Reader):
    """Continue a prompt; results are pieces of text.

    Parameters
    ----------
    length
        Number of tokens to generate.
    spell
        From an id to text.
    """

    def __init__(
        self, prompt: np.ndarray, length: int, sampler: Sampler, spell: Callable[[int], str]
    ):
        super().__init__(prompt)
        self.length, self.sampler, self.spell = length, sampler, spell

    def predict(self, logits: np.ndarray) -> None:
        self.token = int(self.sampler(logits)[0])
        self.put(self.spell(self.token))
        if self.place + 1 == len(self.prompt) + self.length:
            self.end()


class Prediction(Reader):
    """Read a prompt; the result is the distribution of the next token, `(V,)`."""

    def predict(self, logits: np.ndarray) -> None:
        self.put(probabilities(logits)[0])
        self.end()


class Scoring(Job):
    """Score a text; results are the losses of its segments."""

    def __init__(self, segments: Iterator[np.ndarray]):
        super().__init__()
        self.segments = segments

    def advance(self) -> None:
        """Score the next segment."""
        found = next(self.segments, None)
        if found is None:
            self.end()
        else:
            self.put(found)
