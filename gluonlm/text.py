"""Texts in files, read in pieces: decoded as they stand, rejected where they are not text."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, Union

from .errors import InputError
from .files import hash_file

PIECE = 1 << 20  # characters read at a time
Source = Union[str, Path]  # a text itself, or the file that holds it


class Text:
    """One text: strings and files in order, with a line break between two of them.

    Nothing is changed but byte-order marks, which are left out.

    Parameters
    ----------
    sources
        Strings (the text itself), `Path`s, or "-" for standard input, which is read at once.
    encoding
        That of the files.
    lower
        Whether to turn the text into lower case.
    by_line
        Whether pieces end at line breaks, so that no word is cut.

    Raises
    ------
    InputError
        If standard input is not text.
    """

    def __init__(
        self,
        sources: list[Source],
        encoding: str = "utf-8",
        lower: bool = False,
        by_line: bool = False,
    ):
        # lower case is made line by line too: that of a sigma depends on whether it ends a word
        self.encoding, self.lower, self.by_line = encoding, lower, by_line or lower
        self.sources: list[Source] = [
            _standard_input(encoding) if source == "-" else source for source in sources
        ]

    def pieces(self) -> Iterator[str]:
        """Yield the text in order, about a million characters at a time.

        Raises
        ------
        InputError
            For a file that is missing, empty, binary or of another encoding.
        """
        for number, source in enumerate(self.sources):
            if number:
                yield "\n"
            for piece in [source] if isinstance(source, str) else self._read(source):
                yield piece.lower() if self.lower else piece

    def _read(self, path: Path) -> Iterator[str]:
        position = 0
        _size(path)
        try:
            with open(path, encoding=self.encoding, newline="") as stream:
                while piece := stream.read(PIECE):
                    piece += stream.readline() if self.by_line else ""
                    piece = piece[1:] if not position and piece[0] == "\ufeff" else piece
                    _reject_nul(path, piece, position)
                    position += len(piece)
                    yield piece
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except LookupError:
            _reject_encoding(self.encoding)
        except UnicodeError:
            _explain_undecodable(path, path.read_bytes(), self.encoding)
        if not position:
            raise InputError(f"{path} is empty: give a file with text")

    def longest(self) -> int:
        """Return a number of characters that this text does not exceed, without reading it.

        Raises
        ------
        InputError
            For a file that is missing or not a regular one.
        """
        sizes = (len(s) if isinstance(s, str) else _size(s) for s in self.sources)
        total = len(self.sources) + sum(sizes)  # a line break between two
        return total * (3 if self.lower else 1)  # lower case may be longer, at most three for one

    def fingerprint(self) -> str:
        """Return a SHA-256 of the sources' bytes and of how they are read.

        Raises
        ------
        InputError
            For a file that cannot be read.
        """
        digest = hashlib.sha256(repr((self.encoding, self.lower)).encode())
        for source in self.sources:
            if isinstance(source, str):
                own = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
            else:
                own = hash_file(source)[1]
            digest.update(bytes.fromhex(own))
        return digest.hexdigest()


def read_text(path: Source, encoding: str = "utf-8") -> str:
    """Read a whole file as text; "-" is standard input.

    Raises
    ------
    InputError
        As `Text.pieces` does.
    """
    return "".join(Text([path if path == "-" else Path(path)], encoding).pieces())


def _size(path: Path) -> int:
    """Return a file's size; reject a pipe or a device, which could not be read twice."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise InputError(
            f"{path} is not a regular file: copy it into one, or give - and pipe it in"
        )
    return status.st_size


def _standard_input(encoding: str) -> str:
    name, content = "standard input", sys.stdin.buffer.read()
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        _reject_encoding(encoding)
    except UnicodeError:
        _explain_undecodable(name, content, encoding)
    if not text:
        raise InputError(f"{name} is empty: give a text")
    _reject_nul(name, text, 0)
    return text


def _reject_encoding(encoding: str) -> NoReturn:
    raise InputError(
        f"`encoding` {encoding!r}: Python knows no such encoding of text; try utf-8 or latin-1"
    ) from None


def _reject_nul(name: Source, piece: str, position: int) -> None:
    if "\0" in piece:
        raise InputError(
            f"{name} looks binary: character {position + piece.index(chr(0))} is NUL; "
            "if it is text, name its `encoding`, such as utf-16"
        )


def _explain_undecodable(name: Source, content: bytes, encoding: str) -> NoReturn:
    """Raise InputError with the place of the first byte that is not of this encoding."""
    try:
        content.decode(encoding)
        place = len(content) - 1
    except UnicodeError as error:
        place = min(getattr(error, "start", 0), len(content) - 1)
    raise InputError(
        f"{name}: the byte 0x{content[place : place + 1].hex()} at offset {place} is not "
        f"{encoding}: if this is text, name its `encoding`, such as latin-1 or utf-16"
    ) from None
