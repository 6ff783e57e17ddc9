"""Texts in files, read in pieces: decoded as they stand, refused where they are not text."""

import hashlib
import os
import stat
import sys
from pathlib import Path

from .errors import InputError

PIECE = 1 << 20  # characters read at a time


class Text:
    """One text: strings and files in order, with a line break between two; less byte-order marks, else exactly as it stands.

    Parameters: `sources`, a list of strings (the text itself), `Path`s, or "-" for standard input, which is read at once;
    `encoding` of the files; `lower`, turn it into lower case; `by_line`, let pieces end at line breaks, so that no word
    is cut.
    """

    def __init__(self, sources, encoding="utf-8", lower=False, by_line=False):
        self.encoding, self.lower, self.by_line = encoding, lower, by_line or lower
        self.sources = [
            _standard_input(encoding) if source == "-" else source for source in sources
        ]

    def pieces(self):
        """Yield the text in order, about a million characters at a time.

        Raises: InputError for a file that is missing, empty, binary or of another encoding.
        """
        for number, source in enumerate(self.sources):
            if number:
                yield "\n"
            for piece in [source] if isinstance(source, str) else self._read(source):
                yield piece.lower() if self.lower else piece

    def _read(self, path):
        position = 0
        _size(path)
        try:
            with open(path, encoding=self.encoding, newline="") as stream:
                while piece := stream.read(PIECE):
                    piece += stream.readline() if self.by_line else ""
                    piece = piece[1:] if not position and piece[0] == "\ufeff" else piece
                    _refuse_nul(path, piece, position)
                    position += len(piece)
                    yield piece
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except LookupError:
            raise InputError(
                f"--encoding {self.encoding!r}: Python knows no such encoding of text; try utf-8 or latin-1"
            ) from None
        except UnicodeError:
            _explain_undecodable(path, Path(path).read_bytes(), self.encoding)
        if not position:
            raise InputError(f"{path} is empty: give a file with text")

    def longest(self):
        """Give a number of characters that this text does not exceed, without reading it. Raises: InputError."""
        total = len(self.sources) + sum(
            len(s) if isinstance(s, str) else _size(s) for s in self.sources
        )
        return total * (3 if self.lower else 1)  # lower case may be longer, at most three for one

    def fingerprint(self):
        """Give a SHA-256 of the sources' bytes and of how they are read. Raises: InputError."""
        digest = hashlib.sha256(repr((self.encoding, self.lower)).encode())
        for source in self.sources:
            whole = isinstance(source, str)
            own = (
                hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
                if whole
                else hash_file(source)[1]
            )
            digest.update(bytes.fromhex(own))
        return digest.hexdigest()


def _size(path):
    """Give a file's size. Raises: InputError for a pipe or a device, which could not be read twice."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise InputError(
            f"{path} is not a regular file: copy it into one, or give - and pipe it in"
        )
    return status.st_size


def hash_file(path):
    """Give the number of a file's bytes and their SHA-256. Raises: InputError."""
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return size, digest.hexdigest()


def read_text(path, encoding="utf-8"):
    """Read a whole file as text; "-" is standard input. Raises: InputError as `Text.pieces` does."""
    return "".join(Text([path if path == "-" else Path(path)], encoding).pieces())


def _standard_input(encoding):
    name, content = "standard input", sys.stdin.buffer.read()
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise InputError(
            f"--encoding {encoding!r}: Python knows no such encoding of text; try utf-8"
        ) from None
    except UnicodeError:
        _explain_undecodable(name, content, encoding)
    if not text:
        raise InputError(f"{name} is empty: give a text")
    _refuse_nul(name, text, 0)
    return text


def _refuse_nul(name, piece, position):
    if "\0" in piece:
        raise InputError(
            f"{name} looks binary: character {position + piece.index(chr(0))} is NUL; if it is text, name its encoding, "
            "such as --encoding utf-16"
        )


def _explain_undecodable(name, content, encoding):
    """Raise InputError with the place of the first byte that is not of this encoding."""
    try:
        content.decode(encoding)
        place = len(content) - 1
    except UnicodeError as error:
        place = min(getattr(error, "start", 0), len(content) - 1)
    raise InputError(
        f"{name}: the byte 0x{content[place : place + 1].hex()} at offset {place} is not {encoding}: if this is text, name its encoding, "
        "such as --encoding latin-1 or utf-16"
    ) from None
