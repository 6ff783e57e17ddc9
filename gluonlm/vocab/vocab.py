"""Text to ids and back, for characters, words and subwords.

Only `Vocab.to_gluonnlp` imports MXNet.

>>> vocab = Vocab("char", ["a", "b", "l"])
>>> vocab.encode("ball").tolist(), vocab.decode([1, 0, 2, 2])
([1, 0, 2, 2], 'ball')
"""

from __future__ import annotations

import functools
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..system.compat import load_gluonnlp
from ..system.errors import InputError
from .characters import Characters
from .levels import RULES, rule_of
from .subwords import Subwords
from .words import END_OF_LINE, TOKENIZERS, UNKNOWN, Words

if TYPE_CHECKING:
    import gluonnlp

KINDS: dict[str, Any] = {"char": Characters, "word": Words, "subword": Subwords}


def measure(pieces: Iterable[str], level: str, tokenizer: str = "auto") -> int:
    """Return the length of a text in words, or for another level in characters."""
    rule = rule_of(level, tokenizer)
    if level == "word":
        return sum(len(TOKENIZERS[rule](piece)) for piece in pieces)
    return sum(map(len, pieces))


class Vocab:
    """An ordered list of distinct tokens; a token's id is its place.

    A word vocabulary has `<unk>` for the words it does not know; a character vocabulary has no
    such token, so every character it meets must be known; to subwords nothing is unknown.

    Parameters
    ----------
    level
        "char", "word" or "subword".
    tokens
        The tokens in the order of their ids.
    details
        What else its level needs: `tokenizer`, and for subwords `scores`.

    Raises
    ------
    InputError
        If tokens repeat, are empty, or (for "char") are not single characters.
    """

    def __init__(self, level: str, tokens: Iterable[str], **details):
        self.level, self.tokens = level, list(tokens)
        if not all(isinstance(token, str) for token in self.tokens):
            raise InputError("vocabulary: a token is not text")
        self.index = {token: i for i, token in enumerate(self.tokens)}
        if level not in [*KINDS]:  # forged, it may be anything
            raise InputError(f"vocabulary: level {level!r} is not one of {', '.join(KINDS)}")
        if not self.tokens or len(self.index) != len(self.tokens):
            raise InputError(
                f"vocabulary: {len(self.tokens)} tokens, {len(self.index)} distinct: "
                "there must be some, and each only once"
            )
        if unknown := set(details) - {"tokenizer", "scores"}:
            raise InputError(f"vocabulary: {min(unknown)!r} is not part of one")
        try:
            self.kind = KINDS[level](self.tokens, self.index, **details)
        except TypeError:
            raise InputError(f"vocabulary: not one of level {level}") from None

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.to_dict() == other.to_dict()

    @classmethod
    def build(
        cls,
        pieces: Iterable[str],
        level: str = "char",
        max_size: int = 0,
        tokenizer: str = "auto",
        first: float = math.inf,
    ) -> Vocab:
        """Collect the tokens of a text, the same in every process.

        Characters are in code-point order. Words are in the order of `gluonnlp.Vocab`: by falling
        frequency, then alphabetically, after `<unk>` and `<eos>`. Subwords are found by
        SentencePiece.

        Parameters
        ----------
        pieces
            The text in pieces that cut no word.
        max_size
            The most words to keep, the rarer become `<unk>`, 0 keeps all; or the number of
            subwords, which 0 suits to the length of the text.
        tokenizer
            The rule that finds words (split, punctuation, moses) or subwords (unigram, bpe).
        first
            How much of the text to look at, as `measure` counts it; characters look at all of it.

        Raises
        ------
        InputError
            If there is no token at all, or the rule is another level's.
        """
        rule = rule_of(level, tokenizer)
        if rule not in RULES[level]:
            raise InputError(f"`tokenizer` {rule}: not one of {', '.join(RULES[level])}")
        return cls(level, **KINDS[level].build(pieces, max_size, rule, first))

    def extended(self, other: Vocab) -> Vocab:
        """Return a vocabulary of these tokens and, behind them, those that only another has.

        Raises
        ------
        InputError
            If these are subwords, which can spell anything already.
        """
        if self.level == "subword":
            raise InputError("`extend_vocab`: subwords spell every text as they are")
        new = [token for token in other.tokens if token not in self.index]
        return Vocab(self.level, [*self.tokens, *new], **self.kind.details())

    def to_gluonnlp(self) -> gluonnlp.Vocab:
        """Return a `gluonnlp.Vocab` with the same ids, to attach embeddings or use elsewhere.

        Raises
        ------
        InputError
            If GluonNLP is not installed.
        """
        return load_gluonnlp().Vocab(
            Counter(self.tokens),
            unknown_token=UNKNOWN if UNKNOWN in self.index else None,
            padding_token=None,
            bos_token=None,
            eos_token=None,
            token_to_idx=self.index,
        )

    def encode(self, text: str, unknown: str = "error", start: int = 0) -> np.ndarray:
        """Turn a text into ids; an unknown word becomes `<unk>`.

        Parameters
        ----------
        unknown
            "error", or "skip" to leave unknown characters out.
        start
            The place of the text's first token in a longer text, for the error.

        Returns
        -------
        Ids `(tokens,)`, int32.

        Raises
        ------
        InputError
            Naming the first unknown character (or word, if there is no `<unk>`) and its place.
        """
        ids, tokens = self.kind.lookup(text)
        missing = ids < 0
        if not missing.any():
            return ids
        if unknown == "skip":
            return ids[~missing]
        place, what = int(missing.argmax()), self.kind.unit
        raise InputError(
            f"{what} {tokens[place]!r} at position {start + place} is not among the {len(self)} "
            f"{what}s this vocabulary knows: remove all such, or leave them out "
            "(generate, evaluate: `unknown` skip)"
        )

    def separator(self, text: str) -> int | None:
        r"""Return the id of the token that begins a document, None if none is named.

        Parameters
        ----------
        text
            The token; `\n` and `\f` as two characters are a line break and a form feed.

        Raises
        ------
        InputError
            If it is not one token of this vocabulary.
        """
        if not text:
            return None
        ids, _ = self.kind.lookup(text.replace("\\n", "\n").replace("\\f", "\f"))
        if len(ids) != 1 or ids[0] in (-1, self.index.get(UNKNOWN)):
            raise InputError(
                f"`document_separator` {text!r}: must be one {self.kind.unit} of the text"
            )
        return int(ids[0])

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids back into text; words are joined by spaces, and each `<eos>` ends a line.

        Raises
        ------
        InputError
            For what is not the id of a token: Python's lists would count -1 from their end.
        """
        return self.kind.decode([self._token(i) for i in ids])

    def _token(self, i):
        try:
            if 0 <= operator.index(i) < len(self.tokens):
                return self.tokens[i]
        except TypeError:
            pass
        raise InputError(f"{i!r} is not an id of this vocabulary: they are 0 to {len(self) - 1}")

    def speller(self, before: int | None = None) -> Callable[[int], str]:
        """Return a function that turns ids into text, one after another, as a reader would write.

        Parameters
        ----------
        before
            The id that stands before the first one. Without one, it begins a line.
        """
        spell = self.kind.speller(None if before is None else self.tokens[before])
        return lambda i: spell(self._token(i))

    def typeset(self, ids: Iterable[int], before: int | None = None) -> str:
        """Turn ids into text as a reader would write it: no space before a comma, none after `$`.

        This is for people; the text that encodes to the same ids again is that of `decode`.

        Parameters
        ----------
        before
            The id that stands before them, so that pieces typeset one after another make up the
            whole. Without one, they begin a line.
        """
        return "".join(map(self.speller(before), ids))

    @functools.cached_property
    def _lengths(self) -> np.ndarray:
        return np.array([self.kind.length(token) for token in self.tokens], np.int32)

    def count_characters(self, ids: np.ndarray) -> int:
        """Return how many characters of the text ids `(tokens,)` stand for.

        A word brings its space, the last one of a line its line break. `<unk>` stands for that
        alone, so that a model gets no credit for the letters it cannot write.
        """
        counts = np.bincount(ids, minlength=len(self))  # (V,); lengths of 10⁹ ids would be 4 GB
        ends = np.flatnonzero(ids == self.index.get(END_OF_LINE, -1))
        instead_of_spaces = np.count_nonzero(ids[ends[ends > 0] - 1] != ids[ends[:1]])
        return int(counts @ self._lengths - instead_of_spaces)

    def place_of(self, ids: np.ndarray, characters: int) -> int:
        """Return how many of these ids `(tokens,)` begin within so many characters."""
        low, high = 0, len(ids)
        while low < high:
            middle = (low + high + 1) // 2
            between = self.count_characters(ids[low:middle])
            if between <= characters:
                low, characters = middle, characters - between
            else:
                high = middle - 1
        return low

    def share_unknown(self, ids: np.ndarray) -> float:
        """Return which part of these ids `(tokens,)` is `<unk>`."""
        return float(np.mean(ids == self.index.get(UNKNOWN, -1))) if len(ids) else 0.0

    def default_prompt(self) -> list[int]:
        """Return the ids to begin a text with: a line break if there is one, else id 0."""
        return [self.index.get(self.kind.line_break, 0)]

    def to_dict(self) -> dict:
        """Return the vocabulary as plain data for JSON; `Vocab(**data)` reads it back."""
        return {"level": self.level, "tokens": self.tokens, **self.kind.details()}
