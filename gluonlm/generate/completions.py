"""Complete many prompts side by side, each text until its own end.

Every text has random numbers of its own, so it does not depend on the texts generated with it. The
compiled kernels sum the terms of one stream in another order than those of several; with at least
two streams, all of their results are equal bit for bit, so a text on its own gets a second stream.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import native
from ..system.arguments import as_sequence, check_ids, check_integer
from ..system.errors import InputError
from ..vocab import Vocab
from .sampling import Sampling, check_excluded, fill_window

# streams of a batch: most; fewest; numbers in their logits
MOST, FEWEST, NUMBERS = 64, 2, 1 << 22
DRAWN = 256  # random numbers drawn at a time


class Prompt(NamedTuple):
    """The beginning of a text.

    Attributes
    ----------
    ids
        The ids that the model reads, `(tokens,)`.
    shown
        Those of them that belong to the text.
    text
        The prompt as it was given.
    """

    ids: np.ndarray
    shown: np.ndarray
    text: str = ""


class Ends(NamedTuple):
    """The ends of a text.

    Attributes
    ----------
    length
        The maximum number of tokens.
    stop
        The text ends before the first of these, and before `separator`, the id of a token, or None.
    """

    length: int
    stop: tuple[str, ...] = ()
    separator: int | None = None

    def check(self) -> None:
        """Check the types and ranges.

        Raises
        ------
        InputError
            If the length is not at least 0, or a stop text is empty or not text.
        """
        check_integer("length", self.length, 0)
        if not all(isinstance(text, str) and text for text in self.stop):
            raise InputError(f"`stop` {self.stop!r}: must be texts that are not empty")


class Completion:
    """The continuation of a prompt; iterating over it generates it, and yields it in pieces.

    Attributes
    ----------
    prompt
        The prompt.
    seed
        The random seed.
    ids
        The ids generated so far, including those of the stop text.
    end
        The reason for which the text has ended: "length", "stop" or "document"; "" before.
    """

    def __init__(self, prompt: Prompt, seed: int, vocab: Vocab, ends: Ends):
        self.prompt, self.seed, self.ends = prompt, seed, ends
        self.ids: list[int] = []
        self.end = "" if ends.length else "length"
        self.advance: Callable[[], None] | None = None  # generates more tokens
        shown = prompt.shown
        self._spell = vocab.speller(int(shown[-1]) if len(shown) else None)
        self._pieces: list[str] = []
        self._held = ""  # perhaps the beginning of a stop text

    def __iter__(self) -> Iterator[str]:
        place = 0
        while True:
            piece = "".join(self._pieces[place:])
            place = len(self._pieces)
            if piece:
                yield piece
            if self.end or self.advance is None:
                return
            self.advance()

    @property
    def text(self) -> str:
        """The complete text without the prompt."""
        return "".join(self)

    def add(self, token: int) -> None:
        """Append a generated token, unless it is the separator."""
        if token == self.ends.separator:
            self.end = "document"
        else:
            self.ids.append(token)
            self._held += self._spell(token)
            self._cut()
            if not self.end and len(self.ids) == self.ends.length:
                self.end = "length"
        kept = 0 if self.end else self._possible()
        self._pieces.append(self._held[: len(self._held) - kept])
        self._held = self._held[len(self._held) - kept :]
        if self.end:
            self.advance = None  # the batch is no longer needed

    def _cut(self):
        """Cut the text before the stop text that is complete first, or else begins first."""
        places = ((self._held.find(stop), stop) for stop in self.ends.stop)
        found = [(place + len(stop), place) for place, stop in places if place >= 0]
        if found:
            self._held, self.end = self._held[: min(found)[1]], "stop"

    def _possible(self):
        """Return the length of the longest beginning of a stop text at the end of the text."""
        lengths = (
            size
            for stop in self.ends.stop
            for size in range(min(len(stop) - 1, len(self._held)), 0, -1)
            if self._held.endswith(stop[:size])
        )
        return max(lengths, default=0)


class _Stream:
    """A completion with the ids of its prompt and its random numbers."""

    def __init__(self, completion: Completion, ids: np.ndarray):
        self.completion, self.ids = completion, ids
        self.random = np.random.default_rng(completion.seed)
        self.uniform = self._drawn()

    def _drawn(self):
        while True:
            yield from self.random.random(DRAWN).tolist()

    def following(self, place: int) -> int:
        """Return the token to read at a place, of the prompt or of the completion."""
        return int(self.ids[place]) if place < len(self.ids) else self.completion.ids[-1]


class Batch:
    """Completions that are generated together.

    Raises
    ------
    InputError
        If a prompt is empty, or an excluded id is invalid.
    """

    def __init__(self, model: Any, completions: list[Completion], how: Sampling):
        self.how, self.kernels = how, native.load()
        self.stepper = model.stepper(max(FEWEST, len(completions)))
        check_excluded(how.exclude, self.stepper.vocab_size)
        self.streams, self.place = [], 0
        for completion in completions:
            ids = fill_window(completion.prompt.ids, model.window)
            if not len(ids):
                raise InputError("the prompt is empty: it must have at least one token")
            self.streams.append(_Stream(completion, ids))
            completion.advance = self.step

    def step(self) -> None:
        """Read a token of each stream, and add a token to each completion that has not ended.

        Streams that still read their prompt add none.
        """
        self._drop_ended()
        reading = [
            0 if stream.completion.end else stream.following(self.place) for stream in self.streams
        ]
        reading += [0] * (FEWEST - len(reading))
        logits = self.stepper.step(np.array(reading, np.int32))  # (N, V)
        self.place += 1
        rows = [
            row
            for row, stream in enumerate(self.streams)
            if self.place >= len(stream.ids) and not stream.completion.end
        ]
        if rows:
            for row, token in zip(rows, self._choose(logits, rows).tolist()):
                self.streams[row].completion.add(token)

    def _choose(self, logits, rows):
        """Return the next ids of the streams in these rows of logits `(N, V)`."""
        uniform = np.array([next(self.streams[row].uniform) for row in rows])
        if not self.how.looks_back:
            logits = logits if len(rows) == len(logits) else logits[rows]
            return self.how.choose(logits, np.empty((len(rows), 0), int), uniform, self.kernels)
        chosen = []  # one by one: the texts have different lengths
        for place, row in enumerate(rows):
            written = np.array([self.streams[row].completion.ids], int)
            one = slice(place, place + 1)
            chosen.append(self.how.choose(logits[[row]], written, uniform[one], self.kernels))
        return np.concatenate(chosen)

    def _drop_ended(self):
        """Drop the streams of ended completions when they are half of all."""
        rows = [row for row, stream in enumerate(self.streams) if not stream.completion.end]
        if len(self.streams) > FEWEST and 2 * len(rows) <= len(self.streams):
            self.stepper.select([*rows, *rows[:1] * (FEWEST - len(rows))])
            self.streams = [self.streams[row] for row in rows]


def in_batches(
    model: Any, completions: Iterable[Completion], how: Sampling, vocab_size: int
) -> Iterator[Completion]:
    """Yield completions in order; each is generated completely before the next one is yielded.

    They are taken from the iterable in batches, so that any number takes bounded memory.
    """
    waiting, size = iter(completions), max(1, min(MOST, NUMBERS // vocab_size))
    while batch := list(itertools.islice(waiting, size)):
        Batch(model, batch, how)
        for completion in batch:
            yield completion
            _ = completion.text


def complete(
    model: Any,
    vocab: Vocab,
    prompts: Iterable,
    length: int,
    stop: str | Iterable[str] = (),
    separator: int | None = None,
    seed: int = 1,
    **sampling: Any,
) -> Iterator[Completion]:
    """Yield the completion of each prompt, in order; prompts are read in batches.

    A text is the same whatever the other prompts are: the n-th one is drawn with seed `seed` + n,
    counted from 0.

    Parameters
    ----------
    prompts
        Ids `(tokens,)` of each prompt; prompts may differ in length.
    length
        The maximum number of tokens of a text.
    stop
        A text ends before this text, or the first of these texts; they may span several tokens.
    separator
        The id of a token before which a text ends, or None.
    sampling
        As for `sample`: `temperature` and the others.

    Raises
    ------
    InputError
        If a parameter is out of range; for an invalid prompt, when its batch begins.
    """
    ends = Ends(length, (stop,) if isinstance(stop, str) else tuple(stop), separator)
    how = Sampling(**sampling)
    ends.check()
    how.check()
    check_integer("seed", seed, 0)
    given = (check_ids(as_sequence(prompt), len(vocab)) for prompt in prompts)
    completions = (
        Completion(Prompt(ids, ids), seed + number, vocab, ends) for number, ids in enumerate(given)
    )
    return in_batches(model, completions, how, len(vocab))
