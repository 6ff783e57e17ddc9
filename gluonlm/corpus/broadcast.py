"""Read a text once for all processes of a training job."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..system.errors import InputError
from ..system.processes import Processes
from ..vocab import Vocab
from .ids import CACHE_VARIABLE, map_ids
from .load import Corpus

PARTS = ("train", "valid", "test")


def share_corpus(world: Processes, load: Callable[[], Corpus]) -> Corpus:
    """Load a corpus in the first process and return it in every process.

    Ids in a memory-mapped file are mapped in each process; other ids are sent.

    Raises
    ------
    InputError
        In every process if `load` raises it, or in a process that cannot find the mapped file.
    """
    if world.size == 1:
        return load()
    corpus: Corpus | None = None  # in the first process only

    def describe():
        nonlocal corpus
        corpus = load()
        places = {part: _place(getattr(corpus, part)) for part in PARTS}
        return [corpus.name, corpus.vocab.to_dict(), corpus.fingerprint, places]

    name, vocab, fingerprint, places = world.from_first(describe)
    sent = {part: getattr(corpus, part) for part in PARTS if not places[part]} if corpus else None
    ids = world.share_arrays(sent)
    if corpus:
        return corpus
    ids.update({part: _mapped(*place) for part, place in places.items() if place})
    train, valid, test = (ids[part] for part in PARTS)
    return Corpus(name, Vocab(**vocab), train, valid, test, fingerprint)


def _place(ids: np.ndarray) -> tuple[str, int, int] | None:
    """Return the file, offset and number of memory-mapped ids; None for ids in memory."""
    base = ids
    while not isinstance(base, np.memmap) and isinstance(base.base, np.ndarray):
        base = base.base
    if not isinstance(base, np.memmap) or not len(ids):
        return None
    while isinstance(base.base, np.memmap):
        base = base.base
    return os.path.abspath(str(base.filename)), ids.ctypes.data - base.ctypes.data, len(ids)


def _mapped(path, offset, length):
    try:
        return map_ids(Path(path))[offset // 4 :][:length]
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the token ids on {socket.gethostname()}: {error.strerror}: "
            f"set {CACHE_VARIABLE} to a folder of yours that all machines share"
        ) from None
