"""Conversion of text to ids and back, for characters, words and subwords.

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

from ..system.adaptation import load_gluonnlp
from ..system.arguments import check_integer, check_text
from ..system.errors import InputError
from .characters import Characters
from .levels import RULES, rule_of
from .subwords import Subwords
from .words import END_OF_LINE, UNKNOWN, VERSION, Words, splitter

if TYPE_CHECKING:
    import gluonnlp

DETAILS = {"tokenizer", "version", "scores", "separator"}  # more arguments of a kind
# The three have the methods and attributes of Characters.
KINDS: dict[str, Any] = {"char": Characters, "word": Words, "subword": Subwords}


MARK = "\ufeff"  # byte-order mark, which open(..., encoding="utf-8") keeps


def measure(
    pieces: Iterable[str],
    level: str,
    tokenizer: str = "auto",
    version: int = VERSION,
    separator: str = "",
) -> int:
    """Return the length of a text: words for level "word", characters for other levels."""
    rule = rule_of(level, tokenizer)
    if level == "word":
        separator = separator if Words.reserves(separator) else ""
        return sum(map(len, map(splitter(rule, version, separator), pieces)))
    return sum(map(len, pieces))


def unescape(text: str) -> str:
    r"""Return a text with `\n`, `\t` and `\f` as the characters they mean."""
    for letter, meaning in ("n", "\n"), ("t", "\t"), ("f", "\f"):
        text = text.replace("\\" + letter, meaning)
    return text


def escaped(text: str) -> str:
    r"""Return a text in quotes, with `\n`, `\t` and `\f` as on the command line."""
    return repr(text).replace("\\x0c", "\\f")


class Vocab:
    """An ordered list of distinct tokens; a token's id is its index.

    A word vocabulary encodes unknown words as `<unk>`. A character vocabulary rejects unknown
    characters. Subwords can encode any text.

    Parameters
    ----------
    level
        "char", "word" or "subword".
    tokens
        The tokens in order of their ids.
    details
        More arguments of the level: `tokenizer` and its `version` for words; `tokenizer` and
        `scores` for subwords; `separator`, a token between documents that may be part of no other.

    Raises
    ------
    InputError
        If tokens repeat, are empty, or (for "char") are not single characters.
    """

    def __init__(self, level: str, tokens: Iterable[str], **details):
        self.level, self.tokens = level, list(tokens)
        if not all(isinstance(token, str) for token in self.tokens):
            raise InputError("vocabulary: every token must be text")
        self.index = {token: i for i, token in enumerate(self.tokens)}
        if level not in [*KINDS]:  # a list, as a forged level may be unhashable
            raise InputError(f"vocabulary: level {level!r} is not one of {', '.join(KINDS)}")
        if not self.tokens or len(self.index) != len(self.tokens):
            raise InputError(
                f"vocabulary: {len(self.tokens)} tokens, {len(self.index)} distinct: "
                "tokens must be non-empty and unique"
            )
        if unknown := set(details) - DETAILS:
            raise InputError(f"vocabulary: unknown field {min(unknown)!r}")
        separator = details.get("separator", "")
        if not isinstance(separator, str) or (separator and separator not in self.index):
            raise InputError("vocabulary: the separator must be one of the tokens")
        try:
            self.kind = KINDS[level](self.tokens, self.index, **details)
        except TypeError:
            raise InputError(
                f"vocabulary: missing or unexpected fields for level {level}"
            ) from None

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
        version: int = VERSION,
        separator: str = "",
    ) -> Vocab:
        """Build the vocabulary of a text deterministically.

        Characters are in code-point order. Words are in the order of `gluonnlp.Vocab`: `<unk>`,
        `<eos>`, then by descending frequency and alphabetically. SentencePiece finds subwords.

        Parameters
        ----------
        pieces
            The text: a string, whose byte-order mark is removed, or pieces that do not split words.
        max_size
            For words, the number to keep; the rarest become `<unk>`, and 0 keeps all. For subwords,
            their number; 0 chooses it by the length of the text.
        tokenizer
            The rule for words (split, punctuation, moses) or subwords (unigram, bpe).
        first
            The length of text to use, in the unit of `measure`; characters use the entire text.
        version
            The version of the tokenizer `punctuation`; 1 separates combining marks from letters.
        separator
            The text between documents. It gets a token of its own unless it is a line break, or,
            for characters, one character. No piece may end inside of it.

        Raises
        ------
        InputError
            If the text has no tokens, or the level does not support the rule or the separator.
        """
        if level not in RULES:
            raise InputError(f"`level` {level!r}: not one of {', '.join(RULES)}")
        check_integer("max_size", max_size, 0)
        rule = rule_of(level, tokenizer)
        if rule not in RULES[level]:
            raise InputError(f"`tokenizer` {rule}: not one of {', '.join(RULES[level])}")
        if isinstance(pieces, (str, bytes)):
            pieces = [check_text(pieces).removeprefix(MARK)]
        pieces, more = map(check_text, pieces), dict[str, Any]()
        if level == "word":
            more["version"] = version
        if KINDS[level].reserves(separator):
            more["separator"] = separator
        made = KINDS[level].build(pieces, max_size, rule, first, **more)
        if made["tokens"].count(separator) > 1:
            raise InputError(
                f"`document_separator` {escaped(separator)}: is another token of every vocabulary"
            )
        return cls(level, **made)

    def extended(self, other: Vocab) -> Vocab:
        """Return a vocabulary of these tokens, followed by the new tokens of another vocabulary.

        Raises
        ------
        InputError
            If these are subwords, which can already encode any text, or the other vocabulary has
            another separator.
        """
        if self.level == "subword":
            raise InputError("`extend_vocab`: not needed for subwords, which can encode any text")
        details, separator = self.kind.details(), other.kind.separator
        if separator and details.setdefault("separator", separator) != separator:
            raise InputError(
                f"`document_separator` {escaped(separator)}: the vocabulary has another one, "
                f"{escaped(self.kind.separator)}, which cannot change"
            )
        new = [token for token in other.tokens if token not in self.index]
        return Vocab(self.level, [*self.tokens, *new], **details)

    def to_gluonnlp(self) -> gluonnlp.Vocab:
        """Return a `gluonnlp.Vocab` with the same ids, for embeddings or other programs.

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

    def encode(self, text: str, unknown: str = "error", start: int | None = None) -> np.ndarray:
        """Convert a text to ids; an unknown word becomes `<unk>`.

        A byte-order mark at the beginning of a complete text is removed, unless it occurs in a
        token.

        Parameters
        ----------
        unknown
            "error", or "skip" to omit unknown characters.
        start
            The position of the text's first token in a longer text, for error messages. None: the
            text is complete.

        Returns
        -------
        Ids `(tokens,)`, int32.

        Raises
        ------
        InputError
            For the first unknown character (or word, if there is no `<unk>`), with its position.
        """
        if unknown not in ("error", "skip"):
            raise InputError(f"`unknown` {unknown!r}: must be error or skip")
        if start is None:
            text = self._without_mark(text)
        ids, tokens = self.kind.lookup(text)
        missing = ids < 0
        if not missing.any():
            return ids
        if unknown == "skip":
            return ids[~missing]
        place, unit = int(missing.argmax()), self.kind.unit
        raise InputError(
            f"{unit} {tokens[place]!r} at position {(start or 0) + place} is not among the "
            f"{len(self)} {unit}s of this vocabulary: remove unknown {unit}s from the text, add "
            "them (train: `extend_vocab`), or skip them (generate, evaluate: `unknown` skip)"
        )

    @functools.cached_property
    def encodes_carriage_return(self) -> bool:
        """Whether `\\r` can be encoded: by subwords, or if a text with kept line ends had it."""
        return self.level == "subword" or "\r" in self.index

    def contains(self, text: str) -> bool:
        """Return whether every token of a text is in the vocabulary."""
        ids, _ = self.kind.lookup(text)
        return not np.isin(ids, (-1, self.index.get(UNKNOWN, -1))).any()

    def unescape(self, text: str) -> str:
        r"""Return a text of the command line with `\n`, `\t` and `\f` as the characters they mean.

        If a token of this vocabulary contains a backslash, the text is returned unchanged.
        """
        return text if any("\\" in token for token in self.tokens) else unescape(text)

    def unknown_words(self, text: str) -> list[str]:
        """Return the distinct words of a text that `encode` replaces with `<unk>`, in order."""
        if self.level != "word" or UNKNOWN not in self.index:
            return []
        _, words = self.kind.lookup(self._without_mark(text))
        missing = [word for word in words if word not in self.index]
        return list(dict.fromkeys(self.kind.decode([word]) for word in missing))

    def separator(self, text: str) -> int | None:
        r"""Return the id of the token that begins a document, or None for an empty string.

        Parameters
        ----------
        text
            The separator; `\n`, `\t` and `\f` written as two characters mean line break, tab and
            form feed.

        Raises
        ------
        InputError
            If the text is neither this vocabulary's separator nor exactly one of its tokens.
        """
        if not text:
            return None
        ids, _ = self.kind.lookup(unescape(text))
        if len(ids) != 1 or ids[0] in (-1, self.index.get(UNKNOWN)):
            raise InputError(
                f"`document_separator` {escaped(unescape(text))}: does not occur as a "
                f"{self.kind.unit} in the text of this vocabulary"
            )
        return int(ids[0])

    def decode(self, ids: Iterable[int]) -> str:
        """Convert ids to text; words are joined by spaces, and each `<eos>` ends a line.

        Raises
        ------
        InputError
            If an id is invalid; negative ids do not count from the end.
        """
        return self.kind.decode([self._token(i) for i in ids])

    def _token(self, i):
        try:
            if 0 <= operator.index(i) < len(self.tokens):
                return self.tokens[i]
        except TypeError:
            pass
        shown = " ".join(repr(i).split())  # MXNet's arrays have several lines
        raise InputError(f"{shown} is not an id of this vocabulary: ids are 0 to {len(self) - 1}")

    def speller(self, before: int | None = None) -> Callable[[int], str]:
        """Return a function that converts ids to typeset text one by one, as in `typeset`.

        Parameters
        ----------
        before
            The id before the first one; None at the start of a line.
        """
        spell = self.kind.speller(None if before is None else self.tokens[before])
        return lambda i: spell(self._token(i))

    def typeset(self, ids: Iterable[int], before: int | None = None) -> str:
        """Convert ids to text for readers, without spaces before commas or after `$`.

        Only the result of `decode` encodes to the same ids again.

        Parameters
        ----------
        before
            The id before the first one, so that pieces can be typeset separately and joined; None
            at the start of a line.
        """
        return "".join(map(self.speller(before), ids))

    def _without_mark(self, text):
        kept = not check_text(text).startswith(MARK) or self._contains_mark
        return text if kept else text[1:]

    @functools.cached_property
    def _contains_mark(self) -> bool:
        return any(MARK in token for token in self.tokens)

    @functools.cached_property
    def _lengths(self) -> np.ndarray:
        return np.array([self.kind.length(token) for token in self.tokens], np.int32)

    def count_characters(self, ids: np.ndarray) -> int:
        """Return the number of characters that ids `(tokens,)` represent.

        Each word counts its trailing space; the last word of a line counts the line break, and the
        last word of a document its separator. `<unk>` counts only these, so that a model gets no
        credit for the letters it cannot write.
        """
        counts = np.bincount(
            ids, minlength=len(self)
        )  # (V,); the lengths of 10⁹ ids would take 4 GB
        instead_of_spaces: Any = 0
        if self.level == "word":
            ends = ids == self.index.get(END_OF_LINE, -1)
            ends |= ids == self.index.get(self.kind.separator, -1)
            instead_of_spaces = np.count_nonzero(ends[1:] & ~ends[:-1])
        return int(counts @ self._lengths - instead_of_spaces)

    def place_of(self, ids: np.ndarray, characters: int) -> int:
        """Return how many of the ids `(tokens,)` begin within the first `characters` characters."""
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
        """Return the fraction of ids `(tokens,)` that are `<unk>`."""
        return float(np.mean(ids == self.index.get(UNKNOWN, -1))) if len(ids) else 0.0

    def default_prompt(self) -> list[int]:
        """Return the ids that begin a text: a separator, a line break, or else id 0."""
        return [self.index.get(self.kind.separator or self.kind.line_break, 0)]

    def to_dict(self) -> dict:
        """Return the vocabulary as plain data for JSON; `from_dict` reads it back."""
        return {"level": self.level, "tokens": self.tokens, **self.kind.details()}

    @classmethod
    def from_dict(cls, values: dict) -> Vocab:
        """Return the vocabulary of plain data from a file, which may be untrusted.

        Raises
        ------
        InputError
            If a name is unknown or missing, or the vocabulary is invalid.
        """
        if unknown := set(values) - {"level", "tokens", *DETAILS}:
            raise InputError(f"vocabulary: unknown field {min(unknown)[:50]!r}")
        if "level" not in values or not isinstance(values.get("tokens"), list):
            raise InputError("vocabulary: must have a level and a list of tokens")
        return cls(**values)
