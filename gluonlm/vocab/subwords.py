"""Subwords as tokens, found by SentencePiece.

The text is not normalised, and characters without a piece are encoded as bytes. Every character can
be encoded, and decoding is exact (except for U+2581, which SentencePiece uses for a space).

A vocabulary stores pieces and scores as plain JSON. This module builds SentencePiece's model file
from them, so that its parser never reads untrusted files.
"""

from __future__ import annotations

import codecs
import functools
import io
import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..system.errors import InputError

if TYPE_CHECKING:
    import sentencepiece

SPACE = "\u2581"
KINDS = {"unigram": 1, "bpe": 2}  # TrainerSpec.ModelType
LARGEST = 1 << 17  # maximum number of pieces
LONGEST = 1 << 8  # maximum bytes of a piece
TRAINED_ON = 50_000_000  # characters: SentencePiece keeps them in memory
_LINE = 4000  # maximum characters of a training sentence
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_HALF = re.compile("[\ud800-\udfff]")  # lone surrogates, which UTF-8 cannot encode
_UNKNOWN = "<unk>"
_BYTES = [f"<0x{value:02X}>" for value in range(256)]
RESERVED = 2 + len(_BYTES)  # pieces of every vocabulary: unknown, line break, bytes
_REJECTED = "\u2585"  # SentencePiece ignores sentences that contain its own unknown sign
_TOO_SMALL = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")
_NORMAL, _UNKNOWN_KIND, _USER_DEFINED, _BYTE_KIND = 1, 2, 4, 6  # SentencePiece.Type


def suggest_size(characters: int) -> int:
    """Return the number of pieces for a text, which grows with its length."""
    return min(32_000, max(400, 100 * round(0.03 * math.sqrt(characters))))


class Subwords:
    """Conversion of subwords to ids and back.

    Parameters
    ----------
    scores
        The score of each piece in SentencePiece.
    tokenizer
        "unigram" (Kudo 2018) or "bpe" (Sennrich et al. 2016).
    separator
        The last token: each of its occurrences in a text is one token.
    """

    unit = "subword"
    line_break = "\n"

    def __init__(
        self,
        tokens: list[str],
        index: dict[str, int],
        tokenizer: str = "unigram",
        scores: list[float] | None = None,
        separator: str = "",
    ):
        self.tokenizer, self._tokens, self.separator = tokenizer, tokens, separator
        self._scores = [0.0] * len(tokens) if scores is None else scores
        if tokenizer not in KINDS:
            raise InputError(
                f"vocabulary: tokenizer {tokenizer!r} is not one of {', '.join(KINDS)}"
            )
        if (
            len(tokens) > LARGEST
            or max(len(t.encode("utf-8", "replace")) for t in tokens) > LONGEST
        ):
            raise InputError(
                f"vocabulary: must have at most {LARGEST:,} subwords of at most {LONGEST} bytes"
            )
        if tokens[:RESERVED] != [_UNKNOWN, "\n", *_BYTES] or not all(map(_is_piece, tokens)):
            raise InputError(
                "vocabulary: the subwords are not from a SentencePiece model of gluonlm"
            )
        if separator and tokens[-1] != separator:
            raise InputError("vocabulary: the separator must be the last subword")
        if not isinstance(self._scores, list) or len(self._scores) != len(tokens):
            raise InputError("vocabulary: every subword must have one score")
        if not all(isinstance(s, (int, float)) and abs(s) <= 1e30 for s in self._scores):
            raise InputError("vocabulary: every score must be a number from -1e30 to 1e30")

    @staticmethod
    def reserves(separator: str) -> bool:
        """Return whether a document separator needs a token of its own."""
        return separator not in ("", "\n")

    @staticmethod
    def build(
        pieces: Iterable[str], max_size: int, tokenizer: str, first: float, separator: str = ""
    ) -> dict:
        """Train SentencePiece on a text; the separator is not part of any other piece.

        Parameters
        ----------
        max_size
            The number of pieces; 0 chooses it by the text. A text that has fewer gets fewer.

        Raises
        ------
        InputError
            If the pieces do not suffice for the text's characters, or the text has none.
        """
        import sentencepiece

        text = "".join(_first(pieces, int(min(first, TRAINED_ON))))
        if separator:
            text = text.replace(separator, "\n")
        size = max(max_size, 300) if max_size else suggest_size(len(text))
        size -= bool(separator)
        model = _train(text, size, tokenizer)
        if isinstance(model, int) and not max_size:  # every character, and as many pieces again
            model = _train(text, model + size - RESERVED, tokenizer)
        if isinstance(model, int):
            most = f", more than {LARGEST:,}: use `level` char" if model > LARGEST else ""
            raise InputError(
                f"`vocab_size` {max_size}: this text requires at least {model}: {RESERVED} bytes "
                f"and control pieces, and {model - RESERVED} characters{most}"
            )
        found = sentencepiece.SentencePieceProcessor(model_proto=model)
        order = range(len(found))
        more = {"separator": separator} if separator else {}
        return {
            "tokens": [*(found.id_to_piece(i) for i in order), *more.values()],
            "scores": [*(found.get_score(i) for i in order), *[0.0] * len(more)],
            "tokenizer": tokenizer,
            **more,
        }

    @functools.cached_property
    def processor(self) -> sentencepiece.SentencePieceProcessor:
        """The SentencePiece processor of these pieces."""
        import sentencepiece

        return sentencepiece.SentencePieceProcessor(model_proto=self.model_file())

    def model_file(self) -> bytes:
        """Return the bytes of a SentencePiece `.model` file, which other programs can read."""
        kinds = [_UNKNOWN_KIND, _USER_DEFINED, *[_BYTE_KIND] * 256]
        kinds += [_NORMAL] * (len(self._tokens) - len(kinds))
        if self.separator:
            kinds[-1] = _USER_DEFINED
        content = b"".join(
            _message(1, _message(1, piece.encode()) + _float(2, score) + _integer(3, kind))
            for piece, score, kind in zip(self._tokens, self._scores, kinds)
        )
        # -1 disables the beginning, end and padding ids
        no_ids = b"".join(_integer(field, 2**64 - 1) for field in (41, 42, 43))
        trainer = _integer(3, KINDS[self.tokenizer]) + _integer(35, 1) + _integer(40, 0) + no_ids
        normalizer = _message(1, b"identity") + _integer(3, 0) + _integer(4, 0) + _integer(5, 1)
        return content + _message(2, trainer) + _message(3, normalizer)

    def lookup(self, text: str) -> tuple[np.ndarray, list[str]]:
        """Return a text's ids, -1 first if it has lone surrogates, and these surrogates."""
        halves = _HALF.findall(text)
        text = _HALF.sub("", text) if halves else text
        first, *others = text.split(self.separator) if self.separator else [text]
        ids = [-1] * bool(halves) + self.processor.encode(first)
        for other in self.processor.encode(others, num_threads=1) if others else ():
            ids += [len(self._tokens) - 1, *other]
        return np.array(ids, np.int32), halves

    def decode(self, tokens: list[str]) -> str:
        """Return the text that encodes to these tokens."""
        return b"".join(map(_raw, tokens)).decode("utf-8", "replace")

    def speller(self, before: str | None) -> Callable[[str], str]:
        """Return a function that converts tokens to text one by one.

        The last byte of a character returns the character; its earlier bytes return "".
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda token: decoder.decode(_raw(token))

    def length(self, token: str) -> int:
        """Return how many characters begin in a token; continuation bytes count 0."""
        return sum(byte & 0xC0 != 0x80 for byte in _raw(token))

    def details(self) -> dict:
        """Return the data of SentencePiece apart from the pieces."""
        more = {"separator": self.separator} if self.separator else {}
        return {"tokenizer": self.tokenizer, "scores": self._scores, **more}


def _is_piece(token):
    """Return whether SentencePiece can store a token: not empty, without NUL and surrogates."""
    return bool(token) and "\0" not in token and not _HALF.search(token)


def _raw(token: str) -> bytes:
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(SPACE, " ").encode()


def _first(pieces: Iterable[str], characters: int) -> Iterator[str]:
    for piece in pieces:
        yield piece[:characters]
        characters -= len(piece)
        if characters <= 0:
            return


def _sentences(text: str) -> Iterator[str]:
    for line in re.split(f"[\n{_REJECTED}]", text):
        for start in range(0, len(line), _LINE):
            yield line[start : start + _LINE]


def _train(text: str, size: int, tokenizer: str) -> bytes | int:
    """Return a SentencePiece model, or the least size that this text requires."""
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(text),
            model_writer=model,
            model_type=tokenizer,
            vocab_size=min(size, LARGEST),
            hard_vocab_limit=False,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            user_defined_symbols=["\n"],
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            max_sentence_length=4 * _LINE,
            max_sentencepiece_length=16,
            num_threads=1,
            minloglevel=3,
        )
    except (RuntimeError, ValueError) as error:
        if least := _TOO_SMALL.search(str(error)):
            return int(least[1])
        raise InputError(
            "`level` subword: SentencePiece finds no subwords in this text "
            f"({str(error).splitlines()[0][-120:]}): use more text or `level` char"
        ) from None
    return model.getvalue()


# The parts of Protocol Buffers that a SentencePiece model uses: a field is its number and type,
# followed by a varint, a 32-bit float, or a length and its bytes.


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content
