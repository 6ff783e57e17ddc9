"""Words as tokens, found by one of three rules.

`split` cuts at white space, as readers of the Penn Treebank do. `punctuation` also separates
punctuation and writes `￭` where it touched its neighbour, as OpenNMT does, so that decoding joins
them again. `moses` is the Moses tokenizer of machine translation (sacremoses). None of them keeps
the kind and the number of spaces between words.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from ..system.errors import InputError

UNKNOWN, END_OF_LINE = "<unk>", "<eos>"
LONGEST = 1 << 20  # characters of a word
JOINER = "\uffed"  # the token touches its neighbour on this side
# tokens in the style of the Penn Treebank without a space before them, or after them
_CLOSING = re.compile(r"[,.;:?!%)\]}'’”]|''|\.\.\.|n['’]t|['’](s|re|ll|ve|d|m|t)", re.IGNORECASE)
_OPENING = re.compile(r"[$#(\[{“‘]|``")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
VERSION = 2  # of the rule `punctuation`; vocabularies without a version have version 1
# a word, or else one symbol
_VERSION_1 = re.compile(r"(\w+(?:['’]\w+)*)|[^\w\s]")  # separates combining marks from letters
# Combining marks, format characters (but not the zero-width space) and skin tones belong to the
# character before them, as in Unicode's word boundaries (UAX 29). Those boundaries themselves would
# also separate the letters of Thai and Chinese. Two regional indicators are a flag, and zero-width
# joiners connect emoji. model.js contains the same pattern.
_LETTER = r"\p{L}\p{N}_"
_EXTEND = (
    r"\p{M}\p{Emoji_Modifier}\xad\u061c\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    r"\U000e0001-\U000e007f"
)
_WORD = f"[{_LETTER}][{_LETTER}{_EXTEND}]*"
_VERSION_2 = (
    rf"({_WORD}(?:['’]{_WORD})*)|\p{{Regional_Indicator}}{{2}}[{_EXTEND}]*"
    rf"|[^{_LETTER}](?:\u200d\p{{Extended_Pictographic}}|[{_EXTEND}])*"
)


def split_words(text: str) -> list[str]:
    """Split at white space and replace each line break with `<eos>`, as for the Penn Treebank."""
    return _LINE_BREAK.sub(f" {END_OF_LINE} ", text).split()


@functools.cache
def _pattern(version: int):
    if version == 1:
        return _VERSION_1
    import regex

    return regex.compile(_VERSION_2)


def split_punctuation(text: str, version: int = VERSION) -> list[str]:
    """Split into words and punctuation, with `￭` where punctuation touches its neighbour.

    >>> split_punctuation("I don't -- (really) know.")
    ['I', "don't", '-', '￭-', '(￭', 'really', '￭)', 'know', '￭.']
    """
    tokens, find = [], _pattern(version).finditer
    for word in split_words(text):
        if (word.isascii() and word.isalnum()) or word in (END_OF_LINE, UNKNOWN):
            tokens.append(word)  # most words, without the pattern
            continue
        parts = [(found[0], found.lastindex) for found in find(word)]  # lastindex 1: a word
        for place, (part, is_word) in enumerate(parts):
            before = JOINER if place and not is_word else ""
            word_after = place + 1 < len(parts) and parts[place + 1][1]
            tokens.append(before + part + (JOINER if word_after and not is_word else ""))
    return tokens


@functools.lru_cache(maxsize=1)
def _moses():
    from sacremoses import MosesTokenizer

    return functools.partial(MosesTokenizer("en").tokenize, escape=False)


def split_moses(text: str) -> list[str]:
    """Split by the English rules of Moses, line by line."""
    tokens, place = [], 0
    for found in _LINE_BREAK.finditer(text):
        tokens += [*_moses()(text[place : found.start()]), END_OF_LINE]
        place = found.end()
    return tokens + _moses()(text[place:])


TOKENIZERS: dict[str, Callable[..., list[str]]] = {
    "split": split_words,
    "punctuation": split_punctuation,
    "moses": split_moses,
}


def splitter(
    tokenizer: str, version: int = VERSION, separator: str = ""
) -> Callable[[str], list[str]]:
    """Return the function that splits a text; only `punctuation` has several versions.

    Each occurrence of the separator, also inside of a word, is one token.
    """
    split = TOKENIZERS[tokenizer]
    if tokenizer == "punctuation":
        split = functools.partial(split, version=version)

    def split_documents(text):
        first, *others = text.split(separator)
        tokens = split(first)
        for other in others:
            tokens.append(separator)
            tokens += split(other)
        return tokens

    return split_documents if separator else split


class Words:
    """Conversion of words to ids and back; unknown words become `<unk>`."""

    unit = "word"
    line_break = END_OF_LINE

    def __init__(
        self,
        tokens: list[str],
        index: dict[str, int],
        tokenizer: str = "split",
        version: int = 1,
        separator: str = "",
    ):
        if not all(tokens):
            raise InputError("vocabulary: a token is empty")
        if max(map(len, tokens)) > LONGEST:
            raise InputError(
                f"vocabulary: a word has more than {LONGEST:,} characters: the text may not "
                "consist of words; `level` char or subword accepts any text"
            )
        if tokenizer not in TOKENIZERS:
            raise InputError(
                f"vocabulary: tokenizer {tokenizer!r} is not one of {', '.join(TOKENIZERS)}"
            )
        if type(version) is not int or not 1 <= version <= VERSION:
            raise InputError(f"vocabulary: version {version!r} of its tokenizer is not supported")
        self.split = splitter(tokenizer, version, separator)
        self.tokenizer, self.version, self._index = tokenizer, version, index
        self.separator, self._breaks = separator, {END_OF_LINE, separator}

    @staticmethod
    def reserves(separator: str) -> bool:
        """Return whether a document separator needs a token of its own."""
        return separator not in ("", "\n")

    @staticmethod
    def build(
        pieces: Iterable[str],
        max_size: int,
        tokenizer: str,
        first: float,
        version: int = VERSION,
        separator: str = "",
    ) -> dict:
        """Count words and keep the most frequent; break ties alphabetically, as in GluonNLP."""
        split = splitter(tokenizer, version, separator)
        counter: Counter[str] = Counter()
        for piece in pieces:
            words = split(piece)
            counter.update(words[: int(min(len(words), first))])
            first -= min(first, len(words))
        reserved = [
            token
            for token in filter(None, (UNKNOWN, END_OF_LINE, separator))
            if counter.pop(token, 0) or token in (UNKNOWN, separator)
        ]
        words = sorted(counter, key=lambda word: (-counter[word], word))
        kept = max(1, max_size - len(reserved)) if max_size else len(words)
        return {"tokens": [*reserved, *words[:kept]], **_details(tokenizer, version, separator)}

    def lookup(self, text: str) -> tuple[np.ndarray, list[str]]:
        """Return the ids of a text's words, -1 if unknown without `<unk>`, and the words."""
        words, default = self.split(text), self._index.get(UNKNOWN, -1)
        ids = (self._index.get(word, default) for word in words)
        return np.fromiter(ids, np.int32, len(words)), words

    def decode(self, tokens: list[str]) -> str:
        """Return the text that encodes to these tokens."""
        if self.tokenizer == "punctuation":
            return "".join(map(self.speller(None), tokens))
        breaks = "|".join(re.escape(each) for each in self._breaks if each)
        shown = {END_OF_LINE: "\n", self.separator: self.separator}
        return re.sub(f" ?({breaks}) ?", lambda found: shown[found[1]], " ".join(tokens))

    def speller(self, before: str | None) -> Callable[[str], str]:
        """Return a function that converts tokens to text one by one, with spaces between words."""
        exact, last = self.tokenizer == "punctuation", END_OF_LINE if before is None else before

        def spell(token):
            nonlocal last
            if exact:
                touching = last.endswith(JOINER) or token.startswith(JOINER)
            else:
                touching = _OPENING.fullmatch(last) or _CLOSING.fullmatch(token)
            space = "" if touching or not self._breaks.isdisjoint((last, token)) else " "
            last = token
            if token in self._breaks:
                return "\n" if token == END_OF_LINE else token
            return space + (token.strip(JOINER) or token if exact else token)

        return spell

    def length(self, token: str) -> int:
        """Return the number of characters that a word represents, including its space.

        `<unk>` counts only its space, so that a model gets no credit for words it cannot write.
        Each joiner removes one space.
        """
        if token in self._breaks:
            return 1 if token == END_OF_LINE else len(token)
        word = "" if token == UNKNOWN else token.strip(JOINER)
        return len(word) + 1 - (len(token) - len(word)) * (token != UNKNOWN)

    def details(self) -> dict:
        """Return the tokenizer, its version and the separator, each only if not the default."""
        return _details(self.tokenizer, self.version, self.separator)


def _details(tokenizer, version, separator):
    details = {} if tokenizer == "split" else {"tokenizer": tokenizer}
    if tokenizer == "punctuation" and version > 1:
        details["version"] = version
    return {**details, "separator": separator} if separator else details
