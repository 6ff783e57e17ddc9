"""One reading of a text for all processes of a training."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..system.errors import InputError
from ..system.processes import Processes
from ..vocab import Vocab
from .load import Corpus

PARTS = ("train", "valid", "test")


def share_corpus(world: Processes, load: Callable[[], Corpus]) -> Corpus:
    """Return in every process the corpus that `load` returns in the first.

    Ids that lie in a file are mapped there; others are sent.

    Raises
    ------
    InputError
        In every process, if `load` does; or in one that does not see the file of the ids.
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
    held = {part: getattr(corpus, part) for part in PARTS if not places[part]} if corpus else None
    ids = world.share_arrays(held)
    if corpus:
        return corpus
    ids.update({part: _mapped(*place) for part, place in places.items() if place})
    return Corpus(name, Vocab(**vocab), **ids, fingerprint=fingerprint)


def _place(ids: np.ndarray) -> tuple[str, int, int] | None:
    """Return the file that ids are mapped from, where in it, and how many; None if in memory."""
    whole = ids
    while not isinstance(whole, np.memmap) and isinstance(whole.base, np.ndarray):
        whole = whole.base
    if not isinstance(whole, np.memmap) or not len(ids):
        return None
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    return os.path.abspath(str(whole.filename)), ids.ctypes.data - whole.ctypes.data, len(ids)


def _mapped(path, offset, length):
    if not Path(path).is_file():
        raise InputError(
            f"{path}: the ids of a long text lie there, and {socket.gethostname()} does not see "
            "it: keep the text in a folder that all machines share"
        )
    return np.asarray(np.memmap(path, np.int32, "r"))[offset // 4 :][:length]
