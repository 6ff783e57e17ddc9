"""The journal of a search: one JSON record per line, each synced before the search continues.

    {"search": {...}}                                              settings of the search
    {"trial": 0, "params": {"lr": 0.0123}}                         the trial has begun
    {"trial": 0, "losses": [2.1, null, 1.9], "complete": true}     the trial has ended

A loss that is not finite is null. The folder's lock protects the journal, so the file needs none.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

from ..system.console import complain
from ..system.errors import InputError, WriteError
from ..system.files import sync_folder
from ..system.strict_json import parse_json

LONGEST = 1 << 24  # bytes of a journal


class Journal:
    """The records of a search, in a file that grows with each of them.

    A last line without its end, left by a killed process or a full disk, is removed.

    Raises
    ------
    InputError
        If the file cannot be read or contains anything but JSON objects.
    """

    def __init__(self, path: Path):
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            raise InputError(f"{path}: cannot be opened: {error.strerror}") from None
        try:
            self.records = self._read()
            sync_folder(path.parent)
        except BaseException:
            self.close()
            raise

    def _read(self) -> list[dict[str, Any]]:
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_size > LONGEST:
            raise InputError(
                f"{self.path}: must be a regular file of at most {LONGEST:,} bytes with one link"
            )
        content = os.pread(self._descriptor, status.st_size, 0)
        *lines, rest = content.split(b"\n")
        if rest:
            self._size = len(content) - len(rest)
            self._restore()
            complain(f"{self.path}: removed its last line, which is incomplete")
        self._size = len(content) - len(rest)
        return [self._record(number, line) for number, line in enumerate(lines, 1)]

    def _record(self, number, line):
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            self.reject(number, "is not a JSON object")
        return record

    def reject(self, number: int, problem: str) -> NoReturn:
        """Raise an error about a record, given the number of its line.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            f"{self.path}: line {number} {problem}: the journal is damaged; remove this line and "
            "all later lines to repeat their trials, or choose another folder"
        )

    def append(self, record: dict[str, Any]) -> None:
        """Write and sync a record.

        Raises
        ------
        WriteError
            If writing fails; the file is then unchanged.
        """
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        try:
            if self._size + len(line) > LONGEST:
                raise OSError(0, f"more than {LONGEST:,} bytes")
            if os.write(self._descriptor, line) < len(line):
                raise OSError(0, "the disk is full")
            os.fsync(self._descriptor)
        except OSError as error:
            self._restore()
            raise WriteError(
                f"{self.path}: cannot be written: {error.strerror}; "
                "free some space and repeat the command"
            ) from None
        self._size += len(line)
        self.records.append(record)

    def _restore(self):
        """Truncate the file after its last complete record."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            raise WriteError(f"{self.path}: cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
