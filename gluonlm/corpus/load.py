"""Load a text as ids: sources, texts, vocabulary, ids, parts."""

from __future__ import annotations

import glob
import hashlib
import itertools
import math
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..config import DataConfig
from ..system.errors import InputError
from ..vocab import Vocab, escaped, measure
from ..vocab.levels import cut_of
from .catalogue import CATALOGUE, PARTS, named_sources
from .ids import ids_of
from .text import Source, Text

_BLOCK = 1 << 24  # tokens counted at once: NumPy converts them to int64
_ENOUGH = 1 << 27  # tokens counted: enough for precise frequencies without reading a long text


@dataclass(frozen=True)
class Corpus:
    """A text as ids: `train`, `valid` and `test` are int32 `(tokens,)`, encoded by `vocab`.

    `fingerprint` is a SHA-256 of the text, with which a run detects a changed text. `converted`
    is whether line ends were changed by reading the text.
    """

    name: str
    vocab: Vocab
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    fingerprint: str = field(repr=False)
    converted: bool = False

    def frequencies(self) -> np.ndarray:
        """Return add-one-smoothed unigram frequencies of the training part, `(V,)`.

        At most the first 134 million tokens are counted.
        """
        counts, part = np.ones(len(self.vocab)), self.train[:_ENOUGH]
        for start in range(0, len(part), _BLOCK):
            counts += np.bincount(part[start : start + _BLOCK], minlength=len(counts))
        return counts / counts.sum()


def load_corpus(
    config: DataConfig | None = None,
    vocab: Vocab | None = None,
    fingerprint: str | None = None,
    extend_vocab: bool = False,
) -> Corpus:
    """Find, read, split and encode a text.

    A corpus with its own parts keeps them; otherwise `config.valid` and `config.test` name files,
    or the text is split contiguously by `config.split`. The ids of a long text are memory-mapped
    (`ids.ids_of`).

    Parameters
    ----------
    config
        The text, and how to encode it (default: the embedded corpus).
    vocab
        The vocabulary to encode with. By default it is built: characters from all parts, words
        and subwords from the training part.
    fingerprint
        Expected SHA-256 of the text, or None. A mismatch raises before the text is decoded.
    extend_vocab
        Append tokens of the text that are missing from `vocab`.

    Raises
    ------
    InputError
        If the text is unavailable, has another fingerprint, or contains unknown tokens.
    """
    config = config or DataConfig()
    if not isinstance(config, DataConfig) or not isinstance(vocab, (Vocab, type(None))):
        raise InputError(
            "load_corpus needs a DataConfig, such as DataConfig(data='book.txt') of gluonlm.config "
            "or Config().data, and a Vocab or None"
        )
    fractions = config.fractions()
    named = len(config.data) == 1 and config.data[0] in CATALOGUE
    cut = cut_of(config.level, config.tokenizer)
    separator = vocab.kind.separator if vocab else ""  # of a run, in which it cannot change
    reading = config.encoding, config.lower, cut, config.strip_gutenberg, config.keep_line_ends
    texts = [
        Text(sources, *reading, separator or config.separator(), config.field)
        for sources in _sources(config, named)
    ]
    name = config.data[0] if named else Path(config.data[0]).stem
    if fingerprint is not None:
        _check_same(name, texts, fingerprint)
    if vocab is None or extend_vocab:
        built = _build_vocab(texts, config, fractions[0], vocab)
        vocab = vocab.extended(built) if vocab else built
    ids = [ids_of(text, vocab) for text in texts]
    train, valid, test = ids if len(ids) > 1 else _split(ids[0], fractions, vocab)
    if vocab.kind.separator and not separator:
        _check_occurs(vocab, train)
    if fingerprint is not None:
        _check_same(name, texts, fingerprint)  # the encoded bytes; the file may have grown
    converted = any(text.converted for text in texts)
    return Corpus(name, vocab, train, valid, test, _fingerprint(texts), converted)


def _check_occurs(vocab: Vocab, train: np.ndarray) -> None:
    """Reject a separator that does not occur in the training part."""
    token = vocab.index[vocab.kind.separator]
    blocks = range(0, len(train), _BLOCK)
    if not any((train[start : start + _BLOCK] == token).any() for start in blocks):
        raise InputError(
            f"`document_separator` {escaped(vocab.kind.separator)}: does not occur in the "
            "training text"
        )


def _fingerprint(texts: list[Text]) -> str:
    return hashlib.sha256("".join(text.fingerprint() for text in texts).encode()).hexdigest()


def _check_same(name: str, texts: list[Text], fingerprint: str) -> None:
    if _fingerprint(texts) != fingerprint:
        raise InputError(
            f"{name}: not the text that this run was trained on: pass the original as `data`, "
            "or its folder as `data_dir`"
        )


def _sources(config: DataConfig, named: bool) -> list[list[Source]]:
    """Return the sources of one text to be split, or of three parts."""
    if named:
        sources = named_sources(config.data[0], config.data_dir, config.verify)
    else:
        sources = [expand(config.data)]
    if config.valid or config.test:
        if len(sources) > 1:
            raise InputError(
                f"`valid`, `test`: {config.data[0]} has its own parts: leave these out"
            )
        sources += [[Path(path)] if path else [] for path in (config.valid, config.test)]
    return sources


def has_own_parts(config: DataConfig) -> bool:
    """Return whether a text has validation and test files, so that `split` does not apply."""
    named = CATALOGUE.get(config.data[0]) if len(config.data) == 1 else None
    return bool(config.valid or config.test or (named and len(named.files) > 1))


def expand(patterns: tuple[str, ...]) -> list[Source]:
    """Return the files that match names and patterns, in order; "-" is standard input.

    A folder means its files `*.txt`, in order of their names.

    Raises
    ------
    InputError
        For a pattern without a match, or a folder without such files.
    """
    sources: list[Source] = []
    for pattern in patterns:
        if pattern == "-":
            sources.append(pattern)
            continue
        if os.path.isdir(pattern):
            sources += _texts_in(Path(pattern))
            continue
        exists = os.path.exists(pattern)  # a file may have a name like a[1].txt
        matches = [pattern] if exists else sorted(glob.glob(pattern, recursive=True))
        found = [match for match in matches if not os.path.isdir(match)]
        if not found:
            raise InputError(
                f"`data` {pattern}: neither a file nor a corpus; "
                f"the corpora are {', '.join(CATALOGUE)}"
            )
        sources += map(Path, found)
    return sources


def texts_pattern(folder: str | Path) -> str:
    """Return the pattern of the files that a folder means."""
    return os.path.join(glob.escape(str(folder)), "*.txt")


def _texts_in(folder: Path) -> list[Path]:
    """Return the files that a folder means; reject parts of a text, and a folder without texts."""
    found = [
        Path(path) for path in sorted(glob.glob(texts_pattern(folder))) if os.path.isfile(path)
    ]
    parts = {part for path in found for part in path.stem.split(".") if part in PARTS}
    if not found or parts > {"train"}:
        raise InputError(f"`data` {folder}: is a folder: {_files_to_pass(folder)}")
    return found


def _files_to_pass(folder: Path) -> str:
    """Return advice on the files in a folder to pass instead of it."""
    try:
        entries = [*itertools.islice(folder.rglob("*"), 10_000)]  # it may be the root folder
    except OSError as error:
        return f"cannot read it: {error.strerror}"
    files = [path for path in sorted(entries) if os.path.isfile(path) and path.name[0] != "."]
    direct = [path for path in files if path.parent == folder]
    if not files:
        return "it contains no files"
    parts = [(part, path) for part in PARTS for path in direct if part in path.stem.split(".")]
    if dict(parts).keys() > {"train"}:
        words = (
            f"`{part.replace('train', 'data')}` {shlex.quote(str(path))}" for part, path in parts
        )
        return f"pass {' '.join(words)}"
    suffixes = [path.suffix for path in direct or files]
    suffix = ".txt" if ".txt" in suffixes else max(suffixes, key=suffixes.count)
    pattern = folder / ("" if direct else "**") / f"*{suffix}"
    return f"pass {shlex.quote(str(pattern))} to read its files in order"


def list_files(patterns: tuple[str, ...]) -> list[Path]:
    """Return the user's files that `data` names, without named corpora and standard input."""
    named = len(patterns) == 1 and patterns[0] in CATALOGUE
    return [] if named else [source for source in expand(patterns) if isinstance(source, Path)]


def _build_vocab(
    texts: list[Text], config: DataConfig, train_fraction: float, extended: Vocab | None
) -> Vocab:
    """Build a vocabulary, in the same version of its tokenizer as the one that it extends."""
    separator = (extended.kind.separator if extended else "") or config.separator()
    if config.level == "char":
        return Vocab.build((piece for t in texts for piece in t.pieces()), separator=separator)
    how: dict[str, Any] = dict(level=config.level, tokenizer=config.tokenizer, separator=separator)
    if extended:
        how["version"] = extended.kind.details().get("version", 1)
    first: float = math.inf
    if len(texts) == 1 and train_fraction < 1:
        first = round(train_fraction * measure(texts[0].pieces(), **how))
    return Vocab.build(texts[0].pieces(), max_size=config.vocab_size, first=first, **how)


def _split(ids: np.ndarray, fractions: list[float], vocab: Vocab) -> list[np.ndarray]:
    """Split ids into contiguous parts, in the unit used to build the vocabulary."""
    train, valid, _ = fractions
    if vocab.level != "subword":
        return np.split(ids, [round(len(ids) * train), round(len(ids) * (train + valid))])
    total = vocab.count_characters(ids)
    ends = [round(total * train), round(total * (train + valid))]
    return np.split(ids, [vocab.place_of(ids, end) for end in ends])
