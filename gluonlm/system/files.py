"""Atomic file writes and bounded reads."""

import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import InputError

BLOCK = 1 << 20  # bytes read at a time


def write_file(path: Path, content: bytes) -> None:
    """Write and sync a new file without following links.

    Raises
    ------
    OSError
        If writing fails.
    """
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o666), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_file(path: Path) -> None:
    """Wait until a file's content is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until a folder's entries are on disk; otherwise a rename can be lost."""
    sync_file(path)


def lock_folder(path: Path) -> int | None:
    """Lock a folder for this process; return its descriptor, or None if another one has locked it.

    Closing the descriptor releases the folder.

    Raises
    ------
    OSError
        If the folder cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically: readers see either the old or the new content.

    Raises
    ------
    OSError
        If writing fails; the old content then remains.
    """
    new = path.with_name(f".{path.name}.new")
    write_file(new, content)
    os.replace(new, path)
    sync_folder(path.parent)


def check_output(path: Path, overwrite: bool = False) -> None:
    """Reject an output path that must not be written.

    Raises
    ------
    InputError
        If the path is a link, a folder or a device, if the file exists and `overwrite` is False,
        or if the folder is missing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: its folder does not exist: create it or choose another path")
    if os.path.lexists(path):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise InputError(f"{path}: not a regular file: choose another path")
        if not overwrite:
            raise InputError(f"{path}: already exists: choose another path or use `overwrite`")


@contextlib.contextmanager
def output_file(path: Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing and reading that appears at its path once it is complete.

    Raises
    ------
    InputError
        As in `check_output`, or if writing fails.
    """
    path = Path(path)
    check_output(path, overwrite)
    part = path.with_name(f".{path.name}.{os.getpid()}.new")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(os.open(part, flags, 0o666), "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        check_output(path, overwrite)  # the path may exist by now
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: cannot write the file: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def read_file(path: Path, size: int | None = None, limit: int | None = None) -> bytes:
    """Read a regular file without following links.

    Parameters
    ----------
    size
        The expected number of bytes, or None.
    limit
        The maximum number of bytes, or None; sparse files of any size are cheap to create.

    Raises
    ------
    InputError
        If the file cannot be read, is not a regular file, or has another size.
    """
    try:
        # without O_NONBLOCK, opening a pipe would wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: not a regular file")
            if size is not None and status.st_size != size:
                raise InputError(
                    f"{path}: {status.st_size} bytes instead of {size}: "
                    "the checkpoint is damaged, so use another one"
                )
            if limit is not None and status.st_size > limit:
                raise InputError(f"{path}: {status.st_size} bytes, but at most {limit} are allowed")
            return stream.read()
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from None


def hash_file(path: Path) -> tuple[int, str]:
    """Return the size of a file in bytes and its SHA-256.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from None
    return size, digest.hexdigest()
