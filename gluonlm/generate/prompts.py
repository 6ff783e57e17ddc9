"""The prompts of the generate command: one from a flag, or many from a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..corpus.text import Text, read_text
from ..run.checkpoint import Checkpoint
from ..run.text import encode_text
from ..system.console import complain
from ..system.errors import InputError
from .completions import Prompt

NO_TOKEN = "contains no known token; at least one is required"
NAMED = 20  # unknown words of prompts to print, and characters of each


class PromptFile:
    """The file `--prompts`, with one prompt per line; "-" is standard input.

    Iterating over it reads the file, checks every prompt, and yields them.

    Parameters
    ----------
    arguments
        The flags `prompts`, `encoding` and `unknown`.
    start
        The id of a token to read before each prompt, or None.

    Raises
    ------
    InputError
        As for `corpus.text.Text`.
    """

    def __init__(self, arguments: Any, checkpoint: Checkpoint, start: int | None = None):
        path = arguments.prompts
        self.name = "standard input" if path == "-" else path
        self.checkpoint, self.unknown, self.start = checkpoint, arguments.unknown, start
        source = path if path == "-" else Path(path)
        self.text = Text([source], arguments.encoding, cut="line")

    def __iter__(self) -> Iterator[Prompt]:
        for number, line in enumerate(self._lines(), 1):
            try:
                if not line:
                    raise InputError("is empty: remove it")
                prompt = encode_prompt(self.checkpoint, line, self.unknown, self.start)
                if not len(prompt.shown):
                    raise InputError(NO_TOKEN)
                yield prompt
            except InputError as error:
                raise InputError(f"{self.name}, line {number}: {error}") from None

    def _lines(self):
        for piece in self.text.pieces():
            yield from piece.removesuffix("\n").split("\n")

    def check(self) -> None:
        """Read all prompts once; print the words that the vocabulary does not contain.

        Raises
        ------
        InputError
            For a line that is empty, or has unknown tokens or no token.
        """
        words: dict[str, None] = {}
        for prompt in self:
            if len(words) <= NAMED:
                words.update(dict.fromkeys(self.checkpoint.unknown_words(prompt.text)))
        report_unknown([*words], "--prompts")


def encode_prompt(
    checkpoint: Checkpoint,
    text: str,
    unknown: str = "error",
    start: int | None = None,
    name: str = "the prompt",
) -> Prompt:
    """Return a prompt; the model reads the token `start` before it, if this is not None.

    Raises
    ------
    InputError
        If the text has unknown tokens.
    """
    ids = encode_text(checkpoint, text, name, unknown)
    begun = start is None or (len(ids) > 0 and ids[0] == start)
    return Prompt(ids if begun else np.concatenate([[start], ids]), ids, text)


def read_prompt(arguments: Any, checkpoint: Checkpoint, start: int | None) -> Prompt:
    """Return the prompt of the flags, by default a line break or the beginning of a document.

    Prints the unknown words of the prompt on stderr.

    Raises
    ------
    InputError
        If standard input is not text, or the prompt has unknown tokens or no token.
    """
    if arguments.prompt is None:
        ids = checkpoint.vocab.default_prompt() if start is None else [start]
        return Prompt(np.array(ids, np.int32), np.empty(0, np.int32))
    if arguments.prompt == "-":
        text, name = read_text("-", arguments.encoding, keep_line_ends=True), "standard input"
    else:
        text, name = checkpoint.vocab.unescape(arguments.prompt), "the prompt"
    prompt = encode_prompt(checkpoint, text, arguments.unknown, start, name)
    if not len(prompt.shown):
        raise InputError(f"`prompt`: {NO_TOKEN}")
    report_unknown(checkpoint.unknown_words(text), "--prompt")
    return prompt


def report_unknown(words: list[str], flag: str) -> None:
    """Print on stderr which words of the prompts are not in the vocabulary."""
    if words:
        named = ", ".join(repr(word[:NAMED]) for word in words[:NAMED])
        named += ", ..." * (len(words) > NAMED)
        complain(f"{flag}: not in the vocabulary, read as <unk>: {named}")
