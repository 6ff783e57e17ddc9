"""Texts in files, read in pieces: decoded as they stand, rejected where they are not text."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from ..system.errors import InputError
from ..system.files import hash_file
from .gutenberg import stripped

PIECE = 1 << 20  # characters read at a time
LONGEST_WORD = 1 << 24  # characters that are kept to find a word's end
Source = str | Path  # a text itself, or the file that holds it


def _before_space(text: str) -> int:
    """Return the place before the last run of spaces, or after the last line break."""
    words = text.rstrip(" ")
    return max(1 + text.rfind("\n"), len(words[: max(0, words.rfind(" "))].rstrip(" ")))


# where a text may be cut; not after \r, which may belong to a \n that follows
CUTS = {
    "word": lambda text: 1 + max(map(text.rfind, " \n\t")),
    "space": _before_space,
    "line": lambda text: 1 + text.rfind("\n"),
}


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
    cut
        Where a piece may end: "anywhere", after white space so that no "word" is cut, before a
        "space" as subwords begin with theirs, or after a whole "line".
    strip_gutenberg
        Whether to leave out what Project Gutenberg puts before and after a book.

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
        cut: str = "anywhere",
        strip_gutenberg: bool = False,
    ):
        self.encoding, self.lower, self.cut = encoding, lower, cut
        self.strip_gutenberg = strip_gutenberg
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
            blocks: Iterable[str] = [source] if isinstance(source, str) else self._read(source)
            if self.strip_gutenberg:
                blocks = stripped(blocks)
            for piece in self._cut(source, blocks):
                yield piece.lower() if self.lower else piece

    def _read(self, path: Path) -> Iterator[str]:
        position = 0
        _size(path)
        try:
            with _HashedFile(path) as file:
                stream = io.TextIOWrapper(io.BufferedReader(file), self.encoding, newline="")
                while block := stream.read(PIECE):
                    block = block[1:] if not position and block[0] == "\ufeff" else block
                    _reject_nul(path, block, position)
                    position += len(block)
                    yield block
                self._digests[path] = file.digest.hexdigest()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except LookupError:
            _reject_encoding(self.encoding)
        except UnicodeError:
            _explain_undecodable(path, path.read_bytes(), self.encoding)
        if not position:
            raise InputError(f"{path} is empty: give a file with text")

    def _cut(self, source: Source, blocks: Iterable[str]) -> Iterator[str]:
        """Yield the text of one source in pieces that end where `cut` lets them."""
        # lower case too: that of a sigma depends on whether it ends a word
        cut = "word" if self.lower and self.cut == "anywhere" else self.cut
        rest = ""
        for block in blocks:
            rest += block
            place = len(rest) if cut == "anywhere" else CUTS[cut](rest)
            if not place and len(rest) > LONGEST_WORD:
                if self.cut != "anywhere":
                    what = "line" if cut == "line" else "word"
                    raise InputError(
                        f"{source}: a {what} of more than {LONGEST_WORD:,} characters: "
                        "is this text? `level` char reads it as it is"
                    )
                place = len(rest)
            if place:
                yield rest[:place]
                rest = rest[place:]
        if rest:
            yield rest

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
        how = (self.encoding, self.lower) + ("stripped",) * self.strip_gutenberg
        digest = hashlib.sha256(repr(how).encode())
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
