"""From the name of a text to ids: sources, texts, vocabulary, ids, parts."""

from __future__ import annotations

import glob
import hashlib
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..config import DataConfig
from ..system.errors import InputError
from ..vocab import Vocab, measure
from ..vocab.levels import cut_of
from .catalogue import CATALOGUE, named_sources
from .ids import ids_of
from .text import Source, Text

_BLOCK = 1 << 24  # tokens counted at once: NumPy makes them twice as wide
_ENOUGH = 1 << 27  # tokens to count: more would say the same, and a long text lies on the disk


@dataclass(frozen=True)
class Corpus:
    """A text as ids: `train`, `valid` and `test` are int32 `(tokens,)`, `vocab` their meaning.

    `fingerprint` is a SHA-256 of the text, so that a run notices when it reads another one.
    """

    name: str
    vocab: Vocab
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    fingerprint: str = field(repr=False)

    def frequencies(self) -> np.ndarray:
        """Return how often each token comes in the training part, `(V,)`, as if once more.

        Of a long text the first 134 million tokens are counted.
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

    A corpus with its own parts keeps them; else `config.valid` and `config.test` name files, or
    the text is split contiguously by `config.split`. The ids of a long text lie in a file that is
    mapped into memory (`ids.ids_of`).

    Parameters
    ----------
    config
        Which text, and how it becomes ids; without one, the embedded corpus.
    vocab
        The vocabulary to encode with. Without one it is built: characters from all parts, words
        and subwords from the training part.
    fingerprint
        That of the text it must be, if it must be one. Another is not read beyond its bytes.
    extend_vocab
        Put the text's tokens that `vocab` does not have behind those that it has.

    Raises
    ------
    InputError
        If the text is unavailable, is another one, or holds what `vocab` does not know.
    """
    config = config or DataConfig()
    fractions = config.fractions()
    named = len(config.data) == 1 and config.data[0] in CATALOGUE
    cut = cut_of(config.level, config.tokenizer)
    reading = config.encoding, config.lower, cut, config.strip_gutenberg
    texts = [Text(sources, *reading) for sources in _sources(config, named)]
    name = config.data[0] if named else Path(config.data[0]).stem
    if fingerprint is not None:
        _check_same(name, texts, fingerprint)
    if vocab is None or extend_vocab:
        built = _build_vocab(texts, config, fractions[0])
        vocab = vocab.extended(built) if vocab else built
    ids = [ids_of(text, vocab) for text in texts]
    train, valid, test = ids if len(ids) > 1 else _split(ids[0], fractions, vocab)
    if fingerprint is not None:
        _check_same(name, texts, fingerprint)  # what was encoded; it may have grown meanwhile
    return Corpus(name, vocab, train, valid, test, _fingerprint(texts))


def _fingerprint(texts: list[Text]) -> str:
    return hashlib.sha256("".join(text.fingerprint() for text in texts).encode()).hexdigest()


def _check_same(name: str, texts: list[Text], fingerprint: str) -> None:
    if _fingerprint(texts) != fingerprint:
        raise InputError(
            f"{name}: is not the text that this run was trained on: give that one with `data`, "
            "or its folder with `data_dir`"
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
                f"`valid`, `test`: {config.data[0]} has its own validation and test parts"
            )
        sources += [[Path(path)] if path else [] for path in (config.valid, config.test)]
    return sources


def expand(patterns: tuple[str, ...]) -> list[Source]:
    """Return the files that names and patterns stand for, in order; "-" is standard input.

    Raises
    ------
    InputError
        For one that stands for nothing.
    """
    sources: list[Source] = []
    for pattern in patterns:
        if pattern == "-":
            sources.append(pattern)
            continue
        exists = os.path.exists(pattern)  # a file may have a name like a[1].txt
        found = [pattern] if exists else sorted(glob.glob(pattern, recursive=True))
        if not found:
            raise InputError(
                f"`data` {pattern}: neither a file nor a corpus; "
                f"the corpora are {', '.join(CATALOGUE)}"
            )
        sources += map(Path, found)
    return sources


def _build_vocab(texts: list[Text], config: DataConfig, train_fraction: float) -> Vocab:
    if config.level == "char":
        return Vocab.build(piece for text in texts for piece in text.pieces())
    how = dict(level=config.level, tokenizer=config.tokenizer)
    first: float = math.inf
    if len(texts) == 1 and train_fraction < 1:
        first = round(train_fraction * measure(texts[0].pieces(), **how))
    return Vocab.build(texts[0].pieces(), max_size=config.vocab_size, first=first, **how)


def _split(ids: np.ndarray, fractions: list[float], vocab: Vocab) -> list[np.ndarray]:
    """Cut a text's ids into contiguous parts, measured as its vocabulary was."""
    train, valid, _ = fractions
    if vocab.level != "subword":
        return np.split(ids, [round(len(ids) * train), round(len(ids) * (train + valid))])
    whole = vocab.count_characters(ids)
    ends = [round(whole * train), round(whole * (train + valid))]
    return np.split(ids, [vocab.place_of(ids, end) for end in ends])
