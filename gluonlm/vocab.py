"""Text to ids and back, for characters and for words. Only words, in `Vocab.build`, and `Vocab.to_gluonnlp` import MXNet.

>>> vocab = Vocab("char", ["a", "b", "l"])
>>> vocab.encode("ball").tolist(), vocab.decode([1, 0, 2, 2])
([1, 0, 2, 2], 'ball')
"""

import re
from collections import Counter

import numpy as np

from .errors import InputError

UNKNOWN, END_OF_LINE = "<unk>", "<eos>"
# tokens of the Penn Treebank style that stand without a blank before them, or after them
_CLOSING = re.compile(r"[,.;:?!%)\]}'’”]|''|\.\.\.|n['’]t|['’](s|re|ll|ve|d|m)", re.IGNORECASE)
_OPENING = re.compile(r"[$#(\[{“‘]|``")
_CHUNK = 1 << 16  # characters encoded at a time: the temporary copies stay in the processor's cache


def split_words(text):
    """Split a text at white space, each line break becoming `<eos>`, as the published Penn Treebank reader does."""
    return re.sub(r"\r\n|\r|\n", f" {END_OF_LINE} ", text).split()


def _codes(text):
    """Give the code points of a text, `(characters,)`; lone surrogates are characters like any other."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.intp)


class Vocab:
    """An ordered list of distinct tokens; a token's id is its place.

    `level` is "char" or "word". A word vocabulary has `<unk>` for the words it does not know; a character vocabulary has no
    such token, so every character it meets must be known.
    Raises: InputError if tokens repeat, are empty, or (for "char") are not single characters.
    """

    def __init__(self, level, tokens):
        self.level, self.tokens = level, list(tokens)
        if not all(isinstance(token, str) for token in self.tokens):
            raise InputError("vocabulary: a token is not text")
        self.index = {token: i for i, token in enumerate(self.tokens)}
        if level not in ("char", "word"):
            raise InputError(f"vocabulary: level {level!r} is not one of char, word")
        if not self.tokens or len(self.index) != len(self.tokens):
            raise InputError(
                f"vocabulary: {len(self.tokens)} tokens, {len(self.index)} distinct; each must stand once"
            )
        if not all(len(token) == 1 if level == "char" else token for token in self.tokens):
            raise InputError(
                f"vocabulary: a token is not a {'single character' if level == 'char' else 'word'}"
            )
        if level == "char":
            codes = _codes("".join(self.tokens))
            self._table = np.full(
                codes.max() + 2, -1, np.int32
            )  # the last place stands for every code beyond
            self._table[codes] = np.arange(len(codes), dtype=np.int32)

    def __len__(self):
        return len(self.tokens)

    def __eq__(self, other):
        return isinstance(other, Vocab) and (self.level, self.tokens) == (other.level, other.tokens)

    @classmethod
    def build(cls, pieces, level="char", max_size=0):
        """Collect the tokens of a text, given in pieces that cut no word, the same in every process.

        Characters stand in code-point order. Words are counted and ordered by `gluonnlp.Vocab`: by falling frequency,
        then alphabetically, after `<unk>` and `<eos>`; with `max_size > 0` the rarest beyond that many tokens are left
        out and become `<unk>`. Raises: InputError if there is no token at all.
        """
        if level == "char":
            seen = np.zeros(0x110000, bool)
            for piece in pieces:
                for start in range(0, len(piece), _CHUNK):
                    seen[_codes(piece[start : start + _CHUNK])] = True
            return cls(level, map(chr, np.flatnonzero(seen)))
        import gluonnlp

        counter = Counter()
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

    def to_gluonnlp(self):
        """Give the same tokens with the same ids as a `gluonnlp.Vocab`, to attach embeddings or to use elsewhere."""
        import gluonnlp

        unknown = UNKNOWN if UNKNOWN in self.index else None
        return gluonnlp.Vocab(
            Counter(self.tokens),
            unknown_token=unknown,
            padding_token=None,
            bos_token=None,
            eos_token=None,
            token_to_idx=self.index,
        )

    def encode(self, text, unknown="error", start=0):
        """Turn a text into ids `(tokens,)`, int32.

        An unknown word becomes `<unk>`. An unknown character is left out with `unknown="skip"`. `start` is the place of
        the text's first token in a longer one, for the error.
        Raises: InputError naming the first unknown character and its place (or word, if there is no `<unk>`).
        """
        if self.level == "word":
            words, default = split_words(text), self.index.get(UNKNOWN, -1)
            ids = np.fromiter(
                (self.index.get(word, default) for word in words), np.int32, len(words)
            )
        else:
            words, ids = text, np.empty(len(text), np.int32)
            for i in range(0, len(text), _CHUNK):
                codes = _codes(text[i : i + _CHUNK])
                np.take(self._table, codes, mode="clip", out=ids[i : i + len(codes)])
        missing = ids < 0
        if missing.any():
            if unknown == "skip":
                return ids[~missing]
            place = int(missing.argmax())
            what = "character" if self.level == "char" else "word"
            raise InputError(
                f"{what} {words[place]!r} at position {start + place} is not among the {len(self)} "
                f"{what}s this vocabulary knows: remove such, or have them left out (generate, evaluate: --unknown skip)"
            )
        return ids

    def decode(self, ids):
        """Turn ids back into text; words are joined by blanks, and each `<eos>` ends a line."""
        tokens = [self.tokens[i] for i in ids]
        if self.level == "char":
            return "".join(tokens)
        return re.sub(f" ?{END_OF_LINE} ?", "\n", " ".join(tokens))

    def typeset(self, ids, before=None):
        """Turn ids into text as a reader would write it: no blank before a comma or `n't`, none after `$`.

        `before` is the id that stands before them: pieces that are typeset one after another make up the whole. It is
        for people; `decode` is what encodes to the same ids again.
        """
        if self.level == "char":
            return self.decode(ids)
        text, last = [], END_OF_LINE if before is None else self.tokens[before]
        for token in (self.tokens[i] for i in ids):
            joined = (
                END_OF_LINE in (last, token)
                or _OPENING.fullmatch(last)
                or _CLOSING.fullmatch(token)
            )
            text.append(("" if joined else " ") + ("\n" if token == END_OF_LINE else token))
            last = token
        return "".join(text)

    def default_prompt(self):
        """Give ids to begin a text with when the user gives none: a line break if there is one, else the first token."""
        return [self.index.get("\n" if self.level == "char" else END_OF_LINE, 0)]

    def to_dict(self):
        """Give the vocabulary as plain data for JSON; `Vocab(**data)` reads it back."""
        return {"level": self.level, "tokens": self.tokens}
