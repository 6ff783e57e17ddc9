"""The token ids of a text: in memory, or for a long text in a memory-mapped file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .. import __version__
from ..system.errors import InputError
from ..system.files import new_file, open_regular, opened_folder
from ..vocab import Vocab
from .text import Text

CACHE_FROM = 1 << 26  # characters; the ids of a longer text are memory-mapped
CACHE_VARIABLE = "XDG_CACHE_HOME"
SEAL = hashlib.sha256().digest_size  # bytes at the end of a file: SHA-256 of its name and ids
BLOCK = 1 << 20  # bytes verified at a time


def ids_of(text: Text, vocab: Vocab) -> np.ndarray:
    """Encode a text, `(tokens,)`, int32.

    If it may exceed `CACHE_FROM` characters, its ids are memory-mapped from a file in the user's
    cache folder. The file is named after the SHA-256 of text and vocabulary, so that a changed
    text never reuses stale ids, and is verified before it is reused. Without a usable cache
    folder, the ids are kept in memory.

    Raises
    ------
    InputError
        If the text cannot be read, or its ids fit neither on the disk nor in memory.
    """
    if text.longest() < CACHE_FROM:
        return _in_memory(text, vocab)
    path = cache_folder() / _key(text, vocab)
    try:
        return _cached(path, text, vocab)
    except OSError as error:  # such as a read-only home or a full disk
        reason = error.strerror
    try:
        return _in_memory(text, vocab)
    except MemoryError:
        raise InputError(
            f"{path.parent}: cannot store the text's ids there ({reason}), and they do not fit in "
            f"memory: set {CACHE_VARIABLE} to a folder with more space"
        ) from None


def cache_folder() -> Path:
    """Return the user's folder for ids: `$XDG_CACHE_HOME/gluonlm`, or `~/.cache/gluonlm`."""
    chosen = os.environ.get(CACHE_VARIABLE, "")
    return Path(chosen if os.path.isabs(chosen) else os.path.expanduser("~/.cache")) / "gluonlm"


def map_ids(path: Path) -> np.ndarray:
    """Memory-map a file of ids that this user's process has verified.

    Raises
    ------
    OSError
        If it is missing or not a regular file, or if other users can write it.
    """
    with _private(path.parent) as folder, open_regular(path.name, folder) as stream:
        return _mapped(stream, path)


def _in_memory(text: Text, vocab: Vocab) -> np.ndarray:
    # a character without a subword becomes up to 4 ids, its bytes
    longest = text.longest() * (4 if vocab.level == "subword" else 1)
    ids, end = np.empty(longest, np.int32), 0  # untouched pages take no memory
    for piece in _encoded(text, vocab):
        if end + len(piece) > longest:
            raise InputError("the text changed while being read: copy it first")
        ids[end : end + len(piece)] = piece
        end += len(piece)
    return ids[:end]


def _encoded(text: Text, vocab: Vocab) -> Iterator[np.ndarray]:
    """Yield a text's ids piece by piece."""
    start = 0
    for piece in text.pieces():
        ids = vocab.encode(piece, start=start)
        start += len(ids)
        yield ids


def _key(text: Text, vocab: Vocab) -> str:
    content = [__version__, text.fingerprint(), text.keep_line_ends, vocab.to_dict()]
    content += [text.separator] if text.separator else []
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _cached(path: Path, text: Text, vocab: Vocab) -> np.ndarray:
    """Return the ids in a file of the cache, which is written if it is missing or damaged."""
    if not path.is_absolute():  # without a home folder
        raise FileNotFoundError(errno.ENOENT, "no home folder", str(path))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _private(path.parent) as folder:
        with contextlib.suppress(OSError), open_regular(path.name, folder) as stream:
            if _verified(stream, path, len(vocab)):
                return _mapped(stream, path)
        with new_file(folder, path.name, 0o600) as stream:
            _write(stream, path, text, vocab)
            return _mapped(stream, path)


@contextlib.contextmanager
def _private(path: Path) -> Iterator[int]:
    """Open the cache folder; reject it if another user could have put files into it."""
    with opened_folder(path, follow=False) as folder:
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(errno.EACCES, "other users have access to it", str(path))
        yield folder


def _verified(stream: BinaryIO, path: Path, tokens: int) -> bool:
    """Return whether a file contains ids of a vocabulary of this size, and its own SHA-256."""
    status = os.fstat(stream.fileno())
    if status.st_uid != os.geteuid() or status.st_size <= SEAL or (status.st_size - SEAL) % 4:
        return False
    digest, end = hashlib.sha256(path.name.encode()), status.st_size - SEAL
    while rest := end - stream.tell():  # reading a mapped file would keep its pages in memory
        block = stream.read(min(BLOCK, rest))
        if len(block) < min(BLOCK, rest):
            return False
        ids = np.frombuffer(block, np.int32)
        if not 0 <= ids.min() <= ids.max() < tokens:
            return False
        digest.update(block)
    return stream.read() == digest.digest()


def _mapped(stream: BinaryIO, path: Path) -> np.ndarray:
    stream.flush()
    tokens = (os.fstat(stream.fileno()).st_size - SEAL) // 4
    ids = np.memmap(stream, np.int32, "r", shape=(tokens,))
    ids.filename = str(path)  # for the other processes of a job, which map it too
    return np.asarray(ids)


def _write(stream: BinaryIO, path: Path, text: Text, vocab: Vocab) -> None:
    digest = hashlib.sha256(path.name.encode())
    for ids in _encoded(text, vocab):
        stream.write(ids.tobytes())
        digest.update(ids.tobytes())
    if _key(text, vocab) != path.name:
        raise InputError("the text changed while being read: copy it first")
    stream.write(digest.digest())
