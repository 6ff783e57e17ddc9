"""The tokenizer of a run in the files of Hugging Face.

`tokenizers` can express characters, words split at white space, and subwords. It cannot express the
word tokenizers `punctuation` and `moses`, which get a vocab.json.
"""

from __future__ import annotations

import json
import math
import sys

from ..config import DataConfig
from ..corpus import load_corpus
from ..run.checkpoint import Checkpoint
from ..system.errors import InputError
from ..vocab import END_OF_LINE, UNKNOWN, Vocab
from ..vocab.subwords import RESERVED, SPACE
from ..vocab.vocab import MARK

JSON, MODEL, PLAIN = "tokenizer.json", "tokenizer.model", "vocab.json"
PROBED = 20_000  # characters encoded for the comparison
TIED = 1e-4  # relative difference of the scores of equally probable subwords
PREFIX = "\n##"  # of words that the decoder joins without a space: none contains a line break


def tokenizer_files(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return the content of each file by name.

    These are tokenizer.json, or vocab.json if `tokenizers` cannot express the tokenizer, and for
    subwords SentencePiece's tokenizer.model.
    """
    vocab = checkpoint.vocab
    more = {MODEL: vocab.kind.model_file()} if vocab.level == "subword" else {}
    if not _is_expressible(checkpoint):
        return {PLAIN: _encode(vocab.to_dict()), **more}
    kinds = {"char": _characters, "word": _words, "subword": _subwords}
    parts = kinds[vocab.level](vocab)
    parts["normalizer"] = _sequence("normalizers", _reading(checkpoint) + parts["normalizer"])
    empty = dict.fromkeys(("truncation", "padding", "pre_tokenizer", "post_processor"))
    return {JSON: _encode({"version": "1.0", **empty, "added_tokens": [], **parts}), **more}


def _encode(content):
    return (json.dumps(content, indent=1) + "\n").encode()


def _is_expressible(checkpoint):
    """Return whether `tokenizers` finds the same tokens in every text."""
    vocab = checkpoint.vocab
    letters = set("".join(vocab.tokens))
    if any("\ud800" <= letter <= "\udfff" for letter in letters):  # no Unicode text contains one
        return False
    # tokenizers converts each letter by itself, but the lower case of a sigma depends on the next
    sigma = checkpoint.config.data.lower and letters & {"σ", "ς"}
    return not sigma and (vocab.level != "word" or vocab.kind.tokenizer == "split")


def _sequence(field, parts):
    return {"type": "Sequence", field: parts} if parts else None


def _replace(kind, pattern, content):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def _reading(checkpoint):
    """Return the normalizers for line ends, case and a byte-order mark."""
    data, parts = checkpoint.config.data, []
    if not data.keep_line_ends:
        parts.append(_replace("Regex", "\r\n?", "\n"))
    if data.lower:
        parts.append({"type": "Lowercase"})
    if not any(MARK in token for token in checkpoint.vocab.tokens):
        parts.append(_replace("Regex", rf"\A{MARK}", ""))
    return parts


def _split(pattern, behavior):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


def _characters(vocab):
    return {
        "normalizer": [],
        "pre_tokenizer": _split(r"[\s\S]", "Isolated"),
        "decoder": {"type": "Fuse"},
        # an unknown character is an error, because <unk> is not a token
        "model": {"type": "WordLevel", "vocab": vocab.index, "unk_token": UNKNOWN},
    }


def _words(vocab):
    spaces = "".join(filter(str.isspace, map(chr, range(sys.maxunicode + 1))))
    joined = {"type": "WordPiece", "prefix": PREFIX, "cleanup": False}  # by spaces
    lines = _replace("Regex", f" ?{END_OF_LINE} ?", "\n")
    return {
        "normalizer": [_replace("Regex", "\r\n|\r|\n", f" {END_OF_LINE} ")],
        "pre_tokenizer": _split(f"[{spaces}]+", "Removed"),
        "decoder": _sequence("decoders", [joined, {"type": "Fuse"}, lines]),
        "model": {"type": "WordLevel", "vocab": vocab.index, "unk_token": UNKNOWN},
    }


def _subwords(vocab):
    spaces = _replace("String", SPACE, " ")
    model = _bpe(vocab) if vocab.kind.tokenizer == "bpe" else _unigram(vocab)
    return {
        "normalizer": [_replace("String", " ", SPACE)],
        "decoder": _sequence("decoders", [spaces, {"type": "ByteFallback"}, {"type": "Fuse"}]),
        "model": {**model, "byte_fallback": True},
    }


def _unigram(vocab):
    """Return the model for unigram subwords.

    A text that contains the name of a byte, such as <0x41>, must not become that byte: its score is
    lower than that of the name's letters.
    """
    scores = vocab.kind.details()["scores"]
    least = 8 * min([0.0, *scores]) - 100
    lowered = [score if k == 1 or k >= RESERVED else least for k, score in enumerate(scores)]
    return {"type": "Unigram", "unk_id": 0, "vocab": [*map(list, zip(vocab.tokens, lowered))]}


def _bpe(vocab):
    """Return the model for BPE: the pairs of pieces that form a piece, best scores first."""
    scores, first = vocab.kind.details()["scores"], {*vocab.tokens[RESERVED:]}
    order = sorted(range(RESERVED, len(vocab)), key=lambda k: -scores[k])
    merges = [
        [piece[:cut], piece[cut:]]
        for piece in (vocab.tokens[k] for k in order)
        for cut in range(1, len(piece))
        if piece[:cut] in first and piece[cut:] in first
    ]
    return {"type": "BPE", "vocab": vocab.index, "merges": merges, "unk_token": UNKNOWN}


def check_tokenizer(content: bytes, checkpoint: Checkpoint) -> str:
    """Compare a tokenizer.json with the run's tokenizer, if `tokenizers` is installed.

    Returns
    -------
    str
        A sentence with the result.

    Raises
    ------
    InputError
        If the ids of a text differ, the ids are decoded to another text, or the file is invalid.
    """
    try:
        import tokenizers
    except ImportError:
        return f"{JSON} was not compared: tokenizers is not installed"
    try:
        found = tokenizers.Tokenizer.from_str(content.decode())
    except Exception as error:  # the only class that tokenizers raises
        raise InputError(
            f"{JSON}: tokenizers {tokenizers.__version__} cannot read it ({error}): update "
            "tokenizers, or uninstall it to export without a comparison"
        ) from None
    vocab = checkpoint.vocab
    for line in probe_lines(checkpoint):
        expected, ids = checkpoint.encode(line).tolist(), found.encode(line).ids
        if not _same(expected, ids, vocab) or found.decode(expected) != vocab.decode(expected):
            raise InputError(
                f"{JSON}: encodes or decodes {line[:80]!r} differently from the model's tokenizer: "
                "no file was written"
            )
    return f"{JSON} verified with tokenizers {tokenizers.__version__}"


def probe_lines(checkpoint: Checkpoint) -> list[str]:
    """Return lines of the text included in Python, without unknown characters."""
    corpus = load_corpus(DataConfig())
    text = corpus.vocab.decode(corpus.train[:PROBED])
    vocab = checkpoint.vocab
    if vocab.level == "char":
        text = "".join(letter for letter in text if len(checkpoint.encode(letter, "skip")))
    elif vocab.level == "word" and UNKNOWN not in vocab.index:
        ids = enumerate(checkpoint.encode(token, "skip").tolist() for token in vocab.tokens)
        text = " ".join(vocab.tokens[k] for k, found in ids if found == [k])
    return text.splitlines(keepends=True)


def _same(expected, ids, vocab: Vocab):
    """Return whether ids are equal, or for unigram subwords equally probable.

    Rounding decides between them: SentencePiece adds scores in single precision.
    """
    if expected == ids or vocab.level != "subword" or vocab.kind.tokenizer != "unigram":
        return expected == ids
    scores = vocab.kind.details()["scores"]
    totals = (sum(scores[k] for k in row) for row in (expected, ids))
    return vocab.decode(expected) == vocab.decode(ids) and math.isclose(*totals, rel_tol=TIED)
