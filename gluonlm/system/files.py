"""Files that are there whole or not at all, and are read without surprises."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import InputError

BLOCK = 1 << 20  # bytes hashed at a time


def write_file(path: Path, content: bytes) -> None:
    """Write a new file, never through a link, and wait until the disk has it.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o666), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_file(path: Path) -> None:
    """Wait until the disk has a file's content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the disk has a folder's list of names: without this, a rename can be lost."""
    sync_file(path)


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in place at once: readers see the old content or the new, never a part.

    Raises
    ------
    OSError
        If the disk does not take it; the old content is still there then.
    """
    new = path.with_name(f".{path.name}.new")
    write_file(new, content)
    os.replace(new, path)
    sync_folder(path.parent)


def check_output(path: Path, overwrite: bool = False) -> None:
    """Reject a path that an output must not be written to.

    Raises
    ------
    InputError
        If what stands there is a link, a folder or a device, or a file that is to be kept, or if
        its folder is missing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: its folder is missing: create it, or give another name")
    if os.path.lexists(path):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise InputError(f"{path}: is not a regular file: give another name")
        if not overwrite:
            raise InputError(f"{path}: already exists: give another name, or `overwrite`")


@contextlib.contextmanager
def output_file(path: Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a file to write, and to read back, that appears at its path once it is whole.

    Raises
    ------
    InputError
        As `check_output` does, or if the disk does not take it.
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
        check_output(path, overwrite)  # something may stand there by now
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: cannot write it: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def read_file(path: Path, size: int | None = None, limit: int | None = None) -> bytes:
    """Read a regular file, never through a link.

    Parameters
    ----------
    size
        How many bytes it must have, if that is known.
    limit
        How many bytes it may have; a sparse file of any size costs nothing to make.

    Raises
    ------
    InputError
        Naming the file, if it cannot be read, is no regular file, or has another size.
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
                    "the checkpoint is damaged, use another"
                )
            if limit is not None and status.st_size > limit:
                raise InputError(
                    f"{path}: {status.st_size} bytes, but at most {limit} belong there"
                )
            return stream.read()
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None


def hash_file(path: Path) -> tuple[int, str]:
    """Return a file's number of bytes and their SHA-256.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return size, digest.hexdigest()
