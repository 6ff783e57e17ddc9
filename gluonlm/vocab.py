"""Text to ids and back, for characters and for words.

Only `Vocab.build`, for words, and `Vocab.to_gluonnlp` import MXNet.

>>> vocab = Vocab("char", ["a", "b", "l"])
>>> vocab.encode("ball").tolist(), vocab.decode([1, 0, 2, 2])
([1, 0, 2, 2], 'ball')
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    import gluonnlp

UNKNOWN, END_OF_LINE = "<unk>", "<eos>"
# tokens of the Penn Treebank style that stand without a space before them, or after them
_CLOSING = re.compile(r"[,.;:?!%)\]}'’”]|''|\.\.\.|n['’]t|['’](s|re|ll|ve|d|m)", re.IGNORECASE)
_OPENING = re.compile(r"[$#(\[{“‘]|``")
_CHUNK = 1 << 16  # characters encoded at a time: the temporary copies stay in the processor's cache


def split_words(text: str) -> list[str]:
    """Split at white space, each line break becoming `<eos>`, as the Penn Treebank reader does."""
    return re.sub(r"\r\n|\r|\n", f" {END_OF_LINE} ", text).split()


def _codes(text: str) -> np.ndarray:
    """Return a text's code points, `(characters,)`; lone surrogates are characters as well."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.intp)


class Vocab:
    """An ordered list of distinct tokens; a token's id is its place.

    A word vocabulary has `<unk>` for the words it does not know; a character vocabulary has no
    such token, so every character it meets must be known.

    Parameters
    ----------
    level
        "char" or "word".
    tokens
        The tokens in the order of their ids.

    Raises
    ------
    InputError
        If tokens repeat, are empty, or (for "char") are not single characters.
    """

    def __init__(self, level: str, tokens: Iterable[str]):
        self.level, self.tokens = level, list(tokens)
        if not all(isinstance(token, str) for token in self.tokens):
            raise InputError("vocabulary: a token is not text")
        self.index = {token: i for i, token in enumerate(self.tokens)}
        if level not in ("char", "word"):
            raise InputError(f"vocabulary: level {level!r} is not one of char, word")
        if not self.tokens or len(self.index) != len(self.tokens):
            raise InputError(
                f"vocabulary: {len(self.tokens)} tokens, {len(self.index)} distinct: "
                "there must be some, and each only once"
            )
        if not all(len(token) == 1 if level == "char" else token for token in self.tokens):
            kind = "single character" if level == "char" else "word"
            raise InputError(f"vocabulary: a token is not a {kind}")
        if level == "char":
            codes = _codes("".join(self.tokens))
            # the last place stands for every code beyond
            self._table = np.full(codes.max() + 2, -1, np.int32)
            self._table[codes] = np.arange(len(codes), dtype=np.int32)

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and (self.level, self.tokens) == (other.level, other.tokens)

    @classmethod
    def build(cls, pieces: Iterable[str], level: str = "char", max_size: int = 0) -> Vocab:
        """Collect the tokens of a text, the same in every process.

        Characters stand in code-point order. Words are counted and ordered by `gluonnlp.Vocab`:
        by falling frequency, then alphabetically, after `<unk>` and `<eos>`.

        Parameters
        ----------
        pieces
            The text in pieces that cut no word.
        max_size
            The most tokens to keep; rarer words become `<unk>`. 0 keeps all.

        Raises
        ------
        InputError
            If there is no token at all.
        """
        if level == "char":
            seen = np.zeros(0x110000, bool)
            for piece in pieces:
                for start in range(0, len(piece), _CHUNK):
                    seen[_codes(piece[start : start + _CHUNK])] = True
            return cls(level, map(chr, np.flatnonzero(seen)))
        import gluonnlp

        counter: Counter[str] = Counter()
        for piece in pieces:
            counter.update(split_words(piece))
        reserved = [
            token for token in (UNKNOWN, END_OF_LINE) if counter.pop(token, 0) or token == UNKNOWN
        ]
        vocab = gluonnlp.Vocab(
            counter,
            max_size=max(1, max_size - len(reserved)) if max_size else None,
            unknown_token=UNKNOWN,
            padding_token=None,
            bos_token=None,
            eos_token=None,
            reserved_tokens=reserved[1:] or None,
        )
        return cls(level, vocab.idx_to_token)

    def to_gluonnlp(self) -> gluonnlp.Vocab:
        """Return a `gluonnlp.Vocab` with the same ids, to attach embeddings or use elsewhere."""
        import gluonnlp

        return gluonnlp.Vocab(
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
        ids, tokens = self._lookup(text)
        missing = ids < 0
        if not missing.any():
            return ids
        if unknown == "skip":
            return ids[~missing]
        place = int(missing.argmax())
        what = "character" if self.level == "char" else "word"
        raise InputError(
            f"{what} {tokens[place]!r} at position {start + place} is not among the {len(self)} "
            f"{what}s this vocabulary knows: remove all such, or leave them out "
            "(generate, evaluate: `unknown` skip)"
        )

    def _lookup(self, text: str) -> tuple[np.ndarray, str | list[str]]:
        """Return the ids of a text's tokens, -1 for an unknown one, and the tokens themselves."""
        if self.level == "word":
            words, default = split_words(text), self.index.get(UNKNOWN, -1)
            ids = (self.index.get(word, default) for word in words)
            return np.fromiter(ids, np.int32, len(words)), words
        out = np.empty(len(text), np.int32)
        for i in range(0, len(text), _CHUNK):
            codes = _codes(text[i : i + _CHUNK])
            np.take(self._table, codes, mode="clip", out=out[i : i + len(codes)])
        return out, text

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids back into text; words are joined by spaces, and each `<eos>` ends a line.

        Raises
        ------
        InputError
            For what is not the id of a token: Python's lists would count -1 from their end.
        """
        tokens = [self._token(i) for i in ids]
        if self.level == "char":
            return "".join(tokens)
        return re.sub(f" ?{END_OF_LINE} ?", "\n", " ".join(tokens))

    def _token(self, i):
        try:
            if 0 <= operator.index(i) < len(self.tokens):
                return self.tokens[i]
        except TypeError:
            pass
        raise InputError(f"{i!r} is not an id of this vocabulary: they are 0 to {len(self) - 1}")

    def typeset(self, ids: Iterable[int], before: int | None = None) -> str:
        """Turn ids into text as a reader would write it: no space before a comma, none after `$`.

        This is for people; the text that encodes to the same ids again is that of `decode`.

        Parameters
        ----------
        before
            The id that stands before them, so that pieces typeset one after another make up the
            whole. Without one, they begin a line.
        """
        if self.level == "char":
            return self.decode(ids)
        text, last = [], END_OF_LINE if before is None else self.tokens[before]
        for token in map(self._token, ids):
            joined = (
                END_OF_LINE in (last, token)
                or _OPENING.fullmatch(last)
                or _CLOSING.fullmatch(token)
            )
            text.append(("" if joined else " ") + ("\n" if token == END_OF_LINE else token))
            last = token
        return "".join(text)

    def default_prompt(self) -> list[int]:
        """Return the ids to begin a text with: a line break if there is one, else id 0."""
        return [self.index.get("\n" if self.level == "char" else END_OF_LINE, 0)]

    def to_dict(self) -> dict:
        """Return the vocabulary as plain data for JSON; `Vocab(**data)` reads it back."""
        return {"level": self.level, "tokens": self.tokens}
