"""Atomic file writes and bounded reads."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import InputError

BLOCK = 1 << 20  # bytes read at a time
PART = ".gluonlm-new"  # end of the name of a file that is being written


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
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)  # of a pipe, it would wait
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


def check_outputs(paths: Iterable[Path], overwrite: bool = False) -> None:
    """Reject output paths as `check_output` does, and paths of the same file.

    Raises
    ------
    InputError
        As in `check_output`, or for two paths of one file.
    """
    seen: dict[Path, Path] = {}
    for path in map(Path, paths):
        check_output(path, overwrite)
        place = Path(os.path.realpath(path.parent), path.name)
        if place in seen:
            raise InputError(f"{path}: the same file as {seen[place]}: choose another path")
        seen[place] = path


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
    try:
        with opened_folder(path.parent) as folder, new_file(folder, path.name) as stream:
            yield stream
            check_output(path, overwrite)  # the path may exist by now
    except OSError as error:
        raise InputError(f"{path}: cannot write the file: {error.strerror}") from None


def check_output_folder(path: Path, names: Collection[str], overwrite: bool = False) -> None:
    """Reject an output folder that must not be written.

    Parameters
    ----------
    names
        Names of the files that an existing folder may contain.

    Raises
    ------
    InputError
        If the path is a link or not a folder, if the folder exists and `overwrite` is False or it
        contains anything but files of these names, or if its own folder is missing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: its folder does not exist: create it or choose another path")
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise InputError(f"{path}: not a folder: choose another path")
    if not overwrite:
        raise InputError(f"{path}: already exists: choose another path or use `overwrite`")
    for entry in sorted(path.iterdir()):
        if entry.name not in names or entry.is_symlink() or not entry.is_file():
            raise InputError(f"{entry}: not a file that `overwrite` replaces: choose another path")


@contextlib.contextmanager
def output_folder(path: Path, names: Collection[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a new folder for files, which appears at `path` once it is complete.

    Parameters
    ----------
    names
        As for `check_output_folder`.

    Raises
    ------
    InputError
        As in `check_output_folder`, or if writing fails.
    """
    path = Path(path)
    check_output_folder(path, names, overwrite)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as parts:
            new, old = Path(parts, "new"), Path(parts, "old")
            new.mkdir()
            yield new
            sync_folder(new)
            check_output_folder(path, names, overwrite)  # the path may exist by now
            if path.exists():
                os.rename(path, old)
            try:
                os.rename(new, path)
            except OSError:
                if old.exists():
                    os.rename(old, path)
                raise
            sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot write the folder: {error.strerror}") from None


@contextlib.contextmanager
def new_file(folder: int, name: str, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open a file for writing and reading that replaces `name` in an open folder at the end.

    Unfinished files that a killed process has left in the folder are removed.

    Raises
    ------
    OSError
        If writing fails; an existing file then remains.
    """
    _remove_unfinished(folder)
    part, descriptor = _locked_part(folder, mode)
    with open(descriptor, "w+b") as stream:
        try:
            yield stream
            stream.flush()
            os.fsync(descriptor)
            os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=folder)
            raise


def _locked_part(folder, mode):
    """Create a file under a temporary name, locked as long as it is open."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    while True:
        part = f".{secrets.token_hex(4)}{PART}"
        descriptor = os.open(part, flags, mode, dir_fd=folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # by a process that removes unfinished files
            os.close(descriptor)
            continue
        except OSError:  # a file system without locks, on which nothing is removed
            return part, descriptor
        if os.fstat(descriptor).st_nlink:
            return part, descriptor
        os.close(descriptor)


def _remove_unfinished(folder):
    """Remove this user's unfinished files, except those that a running process has locked."""
    for name in os.listdir(folder):
        if re.fullmatch(rf"\.[0-9a-f]{{8}}{re.escape(PART)}", name):
            # another process may have removed it, or be writing it
            with contextlib.suppress(OSError), open_regular(name, folder) as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=folder)


@contextlib.contextmanager
def opened_folder(
    path: Path | str, parent: int | None = None, follow: bool = True
) -> Iterator[int]:
    """Open a folder; yield its descriptor, with which its files are opened.

    Parameters
    ----------
    parent
        The descriptor of the folder that contains it, or None.
    follow
        Whether the folder may be a link.

    Raises
    ------
    OSError
        If the folder cannot be opened.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_regular(path: Path | str, folder: int | None = None) -> BinaryIO:
    """Open a regular file for reading without following links.

    Parameters
    ----------
    folder
        The descriptor of the folder that contains it, or None.

    Raises
    ------
    OSError
        If the file cannot be opened, or is not a regular file.
    """
    # without O_NONBLOCK, opening a pipe would wait for a writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(descriptor, "rb")


def read_file(
    path: Path, size: int | None = None, limit: int | None = None, folder: int | None = None
) -> bytes:
    """Read a regular file without following links.

    Parameters
    ----------
    size
        The expected number of bytes, or None.
    limit
        The maximum number of bytes, or None; sparse files of any size are cheap to create.
    folder
        The descriptor of the folder that contains the file, or None to open it by its path.

    Raises
    ------
    InputError
        If the file cannot be read, is not a regular file, or has another size.
    """
    try:
        with open_regular(path if folder is None else path.name, folder) as stream:
            found = os.fstat(stream.fileno()).st_size
            if size is not None and found != size:
                raise InputError(
                    f"{path}: {found} bytes instead of {size}: "
                    "the checkpoint is damaged, so use another one"
                )
            if limit is not None and found > limit:
                raise InputError(f"{path}: {found} bytes, but at most {limit} are allowed")
            return stream.read()
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from None


def hash_file(path: Path, algorithm: str = "sha256") -> tuple[int, str]:
    """Return the size of a file in bytes and its hash as hexadecimal digits.

    Parameters
    ----------
    algorithm
        A name that `hashlib` knows.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    digest, size = hashlib.new(algorithm), 0
    try:
        with open(path, "rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from None
    return size, digest.hexdigest()
