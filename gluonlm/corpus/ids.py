"""The token ids of a text: in memory, or for a long text in a memory-mapped file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..system.errors import InputError
from ..system.files import hash_file
from ..vocab import Vocab
from .text import Text

CACHE_FROM = 1 << 26  # characters; the ids of a longer text are memory-mapped
CACHE_FOLDER = ".gluonlm-ids"


def ids_of(text: Text, vocab: Vocab) -> np.ndarray:
    """Encode a text, `(tokens,)`, int32.

    If it may exceed `CACHE_FROM` characters, its ids are written to a file in the same folder (or
    in the temporary folder, if that is not writable) and memory-mapped. The file is named after the
    SHA-256 of text and vocabulary, so that a changed text never reuses stale ids; its own SHA-256
    is verified before it is reused.

    Raises
    ------
    InputError
        If the text cannot be read, or its ids cannot be written.
    """
    if text.longest() < CACHE_FROM:
        return _in_memory(text, vocab)
    key = _key(text, vocab)
    for folder in _folders(text):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                raise PermissionError(errno.EACCES, "owned by another user", str(folder))
            kept = _mapped(folder / key)
            return _write_mapped(folder / key, text, vocab) if kept is None else kept
        except OSError as error:
            failure = error
    raise InputError(
        f"{_folder_of(text)}: cannot write the text's ids there: {failure.strerror}; "
        "free some space or set TMPDIR"
    )


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
    content = text.fingerprint() + json.dumps(vocab.to_dict())
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _folder_of(text: Text) -> Path:
    """Return the folder of a text's first file, or the temporary folder if it has no files."""
    parents = (source.parent for source in text.sources if isinstance(source, Path))
    return next(parents, Path(tempfile.gettempdir()))


def _folders(text: Text) -> tuple[Path, Path]:
    private = f"{CACHE_FOLDER}-{os.getuid()}"  # the temporary folder is shared by all users
    return _folder_of(text) / CACHE_FOLDER, Path(tempfile.gettempdir()) / private


def _mapped(path: Path) -> np.ndarray | None:
    """Return the verified ids at a path, or None if they are missing or damaged."""
    try:
        seal = json.loads(path.with_suffix(".json").read_text())
        size, digest = hash_file(path)
    except (OSError, ValueError):
        return None
    if not size or seal != {"tokens": size // 4, "sha256": digest}:
        return None
    return np.asarray(np.memmap(path, np.int32, "r"))


def _write_mapped(path: Path, text: Text, vocab: Vocab) -> np.ndarray:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        part, seal, digest = Path(folder) / "ids", Path(folder) / "seal", hashlib.sha256()
        with open(part, "wb") as stream:
            for ids in _encoded(text, vocab):
                stream.write(ids.tobytes())
                digest.update(ids.tobytes())
        if _key(text, vocab) != path.name:
            raise InputError("the text changed while being read: copy it first")
        tokens = part.stat().st_size // 4
        seal.write_text(json.dumps({"tokens": tokens, "sha256": digest.hexdigest()}))
        os.replace(part, path)
        os.replace(seal, path.with_suffix(".json"))
    return np.asarray(np.memmap(path, np.int32, "r"))
