"""Texts in files, read in pieces: decoded as they stand, rejected where they are not text."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, Union

from .errors import InputError
from .files import hash_file

PIECE = 1 << 20  # characters read at a time
LONGEST_WORD = 1 << 24  # characters that are kept to find a word's end
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
    whole_words
        Whether pieces end at white space, so that no word is cut.

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
        whole_words: bool = False,
    ):
        self.encoding, self.lower, self.whole_words = encoding, lower, whole_words
        self._digests: dict[Path, str] = {}  # of the bytes of each file as they were last read
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
        position, rest = 0, ""
        _size(path)
        try:
            with _HashedFile(path) as file:
                stream = io.TextIOWrapper(io.BufferedReader(file), self.encoding, newline="")
                while block := stream.read(PIECE):
                    block = block[1:] if not position and block[0] == "\ufeff" else block
                    _reject_nul(path, block, position)
                    position += len(block)
                    piece, rest = self._cut(path, rest + block)
                    if piece:
                        yield piece
                if rest:
                    yield rest
                self._digests[path] = file.digest.hexdigest()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except LookupError:
            _reject_encoding(self.encoding)
        except UnicodeError:
            _explain_undecodable(path, path.read_bytes(), self.encoding)
        if not position:
            raise InputError(f"{path} is empty: give a file with text")

    def _cut(self, path: Path, text: str) -> tuple[str, str]:
        """Return what can be passed on of a text, and what must wait for its next piece."""
        # lower case too: that of a sigma depends on whether it ends a word
        if not self.whole_words and not self.lower:
            return text, ""
        # not after \r, which may belong to a \n that follows
        place = 1 + max(map(text.rfind, " \n\t"))
        if place or len(text) <= LONGEST_WORD:
            return text[:place], text[place:]
        if self.whole_words:
            raise InputError(
                f"{path}: a word of more than {LONGEST_WORD:,} characters: is this text? "
                "`level` char reads it as it is"
            )
        return text, ""

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

        A file that was read to its end is not read again: what counts is what was read, and a log
        may have grown since.

        Raises
        ------
        InputError
            For a file that cannot be read, or is not a regular one.
        """
        digest = hashlib.sha256(repr((self.encoding, self.lower)).encode())
        for source in self.sources:
            if isinstance(source, str):
                own = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
            else:
                _size(source)  # opening a pipe would wait for a writer
                own = self._digests.get(source) or hash_file(source)[1]
            digest.update(bytes.fromhex(own))
        return digest.hexdigest()


class _HashedFile(io.FileIO):
    """A file that hashes its bytes as they are read."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.digest = hashlib.sha256()

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self.digest.update(memoryview(buffer)[:count])
        return count


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
    if not status.st_size:  # so are the files of /proc, which may wait for ever
        raise InputError(f"{path} is empty: give a file with text")
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
