"""Parts of words as tokens, found and cut by SentencePiece.

Nothing is changed in the text, and a character without a piece of its own is spelled in bytes: no
character is ever unknown, and what is decoded is what was encoded (but for U+2581, which is
SentencePiece's sign for a space).

A vocabulary keeps pieces and scores as plain JSON. SentencePiece reads its model from bytes made
here from these, so that no foreign file ever reaches its parser.
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
LARGEST = 1 << 17  # pieces
LONGEST = 1 << 8  # bytes of a piece
TRAINED_ON = 50_000_000  # characters: SentencePiece keeps them in memory
_LINE = 4000  # characters given to its training as one sentence, at most
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_HALF = re.compile("[\ud800-\udfff]")  # of a character beyond 16 bits; no byte spells it
_UNKNOWN = "<unk>"
_BYTES = [f"<0x{value:02X}>" for value in range(256)]
_NORMAL, _UNKNOWN_KIND, _USER_DEFINED, _BYTE_KIND = 1, 2, 4, 6  # SentencePiece.Type


def suggest_size(characters: int) -> int:
    """Return a number of pieces that suits a text: the longer it is, the more pieces it teaches."""
    return min(32_000, max(400, 100 * round(0.03 * math.sqrt(characters))))


class Subwords:
    """How subwords become ids and text again.

    Parameters
    ----------
    scores
        What SentencePiece learnt of each piece.
    tokenizer
        "unigram" (Kudo 2018) or "bpe" (Sennrich et al. 2016).
    """

    unit = "subword"
    line_break = "\n"

    def __init__(
        self,
        tokens: list[str],
        index: dict[str, int],
        tokenizer: str = "unigram",
        scores: list[float] | None = None,
    ):
        self.tokenizer, self._tokens = tokenizer, tokens
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
                f"vocabulary: more than {LARGEST:,} subwords, or one of more than {LONGEST} bytes"
            )
        if tokens[:258] != [_UNKNOWN, "\n", *_BYTES] or not all(map(_is_piece, tokens)):
            raise InputError("vocabulary: not the pieces of a SentencePiece model made here")
        if not isinstance(self._scores, list) or len(self._scores) != len(tokens):
            raise InputError("vocabulary: there must be one score for each subword")
        if not all(isinstance(s, (int, float)) and abs(s) <= 1e30 for s in self._scores):
            raise InputError("vocabulary: a score is not a number")

    @staticmethod
    def build(pieces: Iterable[str], max_size: int, tokenizer: str, first: float) -> dict:
        """Train SentencePiece on a text; `max_size` 0 suits the number of pieces to its length.

        Raises
        ------
        InputError
            If the text does not hold that many.
        """
        import sentencepiece

        text = "".join(_first(pieces, int(min(first, TRAINED_ON))))
        size = max(max_size, 300) if max_size else suggest_size(len(text))
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
            raise InputError(
                f"`vocab_size` {size}: SentencePiece cannot make that many pieces of this text "
                f"({str(error).splitlines()[0][-120:]}): give a smaller one or more text"
            ) from None
        found = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        order = range(len(found))
        return {
            "tokens": [found.id_to_piece(i) for i in order],
            "scores": [found.get_score(i) for i in order],
            "tokenizer": tokenizer,
        }

    @functools.cached_property
    def processor(self) -> sentencepiece.SentencePieceProcessor:
        """The SentencePiece processor of these pieces."""
        import sentencepiece

        return sentencepiece.SentencePieceProcessor(model_proto=self.model_file())

    def model_file(self) -> bytes:
        """Return the bytes of a SentencePiece `.model` file, for other programs too."""
        kinds = [_UNKNOWN_KIND, _USER_DEFINED, *[_BYTE_KIND] * 256]
        kinds += [_NORMAL] * (len(self._tokens) - len(kinds))
        content = b"".join(
            _message(1, _message(1, piece.encode()) + _real(2, score) + _whole(3, kind))
            for piece, score, kind in zip(self._tokens, self._scores, kinds)
        )
        # ids of beginning, end and padding are -1: there are none
        none = b"".join(_whole(field, 2**64 - 1) for field in (41, 42, 43))
        how = _whole(3, KINDS[self.tokenizer]) + _whole(35, 1) + _whole(40, 0) + none
        as_it_stands = _message(1, b"identity") + _whole(3, 0) + _whole(4, 0) + _whole(5, 1)
        return content + _message(2, how) + _message(3, as_it_stands)

    def lookup(self, text: str) -> tuple[np.ndarray, list[str]]:
        """Return the ids of a text's subwords, -1 for half a character, and the subwords."""
        halves = _HALF.findall(text)
        ids = self.processor.encode(_HALF.sub("", text) if halves else text)
        return np.array([-1] * bool(halves) + ids, np.int32), halves

    def decode(self, tokens: list[str]) -> str:
        """Return the text of tokens, which encodes to the same again."""
        return b"".join(map(_raw, tokens)).decode("utf-8", "replace")

    def speller(self, before: str | None) -> Callable[[str], str]:
        """Return the function that spells one token after another.

        The bytes of a character become text with the last of them.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda token: decoder.decode(_raw(token))

    def length(self, token: str) -> int:
        """Return how many characters begin in a token: a later byte of one begins none."""
        return sum(byte & 0xC0 != 0x80 for byte in _raw(token))

    def details(self) -> dict:
        """Return what SentencePiece needs beside the pieces."""
        return {"tokenizer": self.tokenizer, "scores": self._scores}


def _is_piece(token):
    try:
        return bool(token.encode())
    except UnicodeEncodeError:  # half a character
        return False


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
    for line in text.split("\n"):
        for start in range(0, len(line), _LINE):
            yield line[start : start + _LINE]


# Protocol buffers, as far as a SentencePiece model needs them: a field is its number and kind, then
# a whole number of seven bits a byte, four bytes of a real one, or so many bytes of something else


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def _whole(field: int, value: int) -> bytes:
    return _number(field << 3) + _number(value)


def _real(field: int, value: float) -> bytes:
    return _number(field << 3 | 5) + struct.pack("<f", value)


def _message(field: int, content: bytes) -> bytes:
    return _number(field << 3 | 2) + _number(len(content)) + content
