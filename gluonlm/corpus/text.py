"""Decode text files in pieces; reject binary input."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
import itertools
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from ..system.errors import InputError
from ..system.files import hash_file
from .gutenberg import stripped
from .rows import read_rows

PIECE = 1 << 20  # characters read at a time
LONGEST_WORD = 1 << 24  # characters buffered to find the end of a word
HEAD = 1 << 12  # bytes that show a wide encoding
MARKS = (
    ("utf-32", codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    ("utf-16", codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
)
WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
SPACES = 0.01  # least fraction of spaces and line breaks in a text
C1, HIGH = bytes(range(0x80, 0xA0)), bytes(range(0x80, 0x100))
MANY_HIGH = 0.3  # fraction of bytes above 0x7f, more than in any Western European text
Source = str | Path  # the text itself, or its file


def _before_space(text: str) -> int:
    """Return the position before the last run of spaces, or after the last line break."""
    words = text.rstrip(" ")
    return max(1 + text.rfind("\n"), len(words[: max(0, words.rfind(" "))].rstrip(" ")))


# end of the last piece that may be cut off; not after a kept \r, which may be followed by \n
CUTS = {
    "word": lambda text: 1 + max(map(text.rfind, " \n\t")),
    "space": _before_space,
    "line": lambda text: 1 + text.rfind("\n"),
}


class Text:
    """One text: strings and files in order, separated by line breaks or document separators.

    Byte-order marks are removed, and the line ends `\\r\\n` and `\\r` become `\\n`, as in Python's
    text mode; everything else is unchanged.

    Parameters
    ----------
    sources
        Strings (the text itself), `Path`s, or "-" for standard input, which is read immediately.
    encoding
        Encoding of the files.
    lower
        Whether to convert the text to lower case.
    cut
        Where a piece may end: "anywhere"; "word": after white space; "space": before a space, with
        which a subword begins; "line": after a line break.
    strip_gutenberg
        Whether to remove Project Gutenberg headers and licences.
    keep_line_ends
        Whether to leave `\\r\\n` and `\\r` unchanged.
    separator
        A text between documents, inside of which no piece ends. Each source begins a document.
    field
        The column or key of the files' rows (see `rows.read_rows`), each of which is a document:
        the separator precedes it, or a line break separates it from the next one.

    Attributes
    ----------
    converted
        Whether line ends were changed by reading the text.

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
        keep_line_ends: bool = False,
        separator: str = "",
        field: str = "",
    ):
        self.encoding, self.lower, self.cut = encoding, lower, cut
        self.separator, self.field = separator, field
        self.strip_gutenberg, self.keep_line_ends = strip_gutenberg, keep_line_ends
        self.converted = False
        self._digests: dict[Path, str] = {}  # of the bytes of each file as last read
        self.sources: list[Source] = [
            _standard_input(encoding) if source == "-" else source for source in sources
        ]

    def pieces(self) -> Iterator[str]:
        """Yield the text in order, about a million characters at a time.

        Raises
        ------
        InputError
            For a file that is missing, empty, binary or in another encoding.
        """
        pieces = self._pieces()
        return _keep_together(pieces, self.separator) if len(self.separator) > 1 else pieces

    def _pieces(self) -> Iterator[str]:
        for number, source in enumerate(self.sources):
            if number and not (self.field and self.separator):
                yield self.separator or "\n"
            if self.field:
                blocks: Iterable[str] = self._rows(source)
            else:
                blocks = [source] if isinstance(source, str) else self._read(source)
            if not self.keep_line_ends:
                blocks = self._with_line_feeds(blocks)
            if self.strip_gutenberg:
                blocks = stripped(blocks)
            for piece in self._cut(source, blocks):
                yield piece.lower() if self.lower else piece

    def _read(self, path: Path) -> Iterator[str]:
        position = 0
        with self._opened(path) as stream:
            while block := stream.read(PIECE):
                block = block[1:] if not position and block[0] == "\ufeff" else block
                if "\0" in block:
                    reject_nul(path, block, position, path.read_bytes()[:HEAD])
                position += len(block)
                yield block
        if not position:
            raise InputError(f"{path} is empty: choose a file that contains text")

    def _rows(self, path: Source) -> Iterator[str]:
        """Yield the texts of a file's rows, about a million characters at a time."""
        if isinstance(path, str):
            raise InputError("`field`: only for files, not for named corpora and standard input")
        texts: list[str] = []
        size = rows = 0
        with self._opened(path) as stream:
            for line, text in read_rows(path, stream, self.field):
                text = text if self.keep_line_ends else with_line_feeds(text)
                if self.separator and self.separator in (text.lower() if self.lower else text):
                    raise InputError(
                        f"{path}: line {line}: the text contains the `document_separator`: choose "
                        "another one"
                    )
                texts += [self.separator or "\n" * (rows > 0), text]
                size, rows = size + len(text), rows + 1
                if size > PIECE:
                    yield "".join(texts)
                    texts, size = [], 0
        if not rows:
            raise InputError(f"{path}: no row has a text in the field {self.field!r}")
        if texts:
            yield "".join(texts)

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[io.TextIOWrapper]:
        """Open a file; remember the SHA-256 of its bytes if it is read to its end."""
        check_size(path)
        try:
            with _HashedFile(path) as file:
                yield io.TextIOWrapper(io.BufferedReader(file), self.encoding, newline="")
                self._digests[path] = file.digest.hexdigest()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except LookupError:
            reject_encoding(self.encoding)
        except UnicodeError:
            _explain_undecodable(path, path.read_bytes(), self.encoding)

    def _with_line_feeds(self, blocks: Iterable[str]) -> Iterator[str]:
        """Yield the blocks of one source, none of them empty, with `\\n` for each line end."""
        decoder = io.IncrementalNewlineDecoder(None, translate=True)  # keeps a block's final \r
        for block in itertools.chain(blocks, [None]):
            text = decoder.decode(block or "", final=block is None)
            self.converted |= any("\r" in end for end in decoder.newlines or ())
            if text:
                yield text

    def _cut(self, source: Source, blocks: Iterable[str]) -> Iterator[str]:
        """Yield the text of one source in pieces that end as `cut` allows."""
        # lower-casing needs complete words: the form of sigma depends on its position
        cut = "word" if self.lower and self.cut == "anywhere" else self.cut
        rest = ""
        for block in blocks:
            rest += block
            place = len(rest) if cut == "anywhere" else CUTS[cut](rest)
            if not place and len(rest) > LONGEST_WORD:
                if self.cut != "anywhere":
                    unit = "line" if cut == "line" else "word"
                    raise InputError(
                        f"{source}: a {unit} of more than {LONGEST_WORD:,} characters: "
                        "the input may not be text; `level` char accepts lines of any length"
                    )
                place = len(rest)
            if place:
                yield rest[:place]
                rest = rest[place:]
        if rest:
            yield rest

    def longest(self) -> int:
        """Return an upper bound of the number of tokens, except bytes, without reading the text.

        A row takes at least a byte more than its text, so that there is room for its separator.

        Raises
        ------
        InputError
            For a missing file, or one that is not a regular file.
        """
        sizes = (len(s) if isinstance(s, str) else check_size(s) for s in self.sources)
        total = len(self.sources) + sum(sizes)  # separators between sources
        return total * (3 if self.lower else 1)  # one character has at most three in lower case

    def fingerprint(self) -> str:
        """Return a SHA-256 of the sources' bytes, encoding, field, `lower` and `strip_gutenberg`.

        `keep_line_ends` is not covered: old runs, which have the same fingerprint, keep line ends.
        A file that was read to its end is not read again: it may have grown in the meantime.

        Raises
        ------
        InputError
            For a file that cannot be read, or is not a regular file.
        """
        how = (self.encoding, self.lower) + ("stripped 2",) * self.strip_gutenberg
        how += ("field", self.field) if self.field else ()
        digest = hashlib.sha256(repr(how).encode())
        for source in self.sources:
            if isinstance(source, str):
                hashed = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
            else:
                check_size(source)  # opening a pipe would wait for a writer
                hashed = self._digests.get(source) or hash_file(source)[1]
            digest.update(bytes.fromhex(hashed))
        return digest.hexdigest()


def _keep_together(pieces: Iterable[str], separator: str) -> Iterator[str]:
    """Join pieces that end inside of a separator, or may do so, with the next piece."""
    beginnings = tuple(separator[:size] for size in range(1, len(separator)))
    text = ""
    for piece in pieces:
        text += piece
        if not text.split(separator)[-1].endswith(beginnings):
            yield text
            text = ""
    if text:
        yield text


class _HashedFile(io.FileIO):
    """A file that hashes its bytes as they are read."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.digest = hashlib.sha256()

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self.digest.update(memoryview(buffer)[:count])
        return count


def read_text(
    path: Source,
    encoding: str = "utf-8",
    keep_line_ends: bool = False,
    separator: str = "",
    field: str = "",
) -> str:
    """Read a file as text; "-" is standard input.

    Parameters
    ----------
    encoding, keep_line_ends, separator, field
        As for `Text`.

    Raises
    ------
    InputError
        As for `Text.pieces`.
    """
    source = path if path == "-" else Path(path)
    text = Text([source], encoding, False, "anywhere", False, keep_line_ends, separator, field)
    return "".join(text.pieces())


def with_line_feeds(text: str) -> str:
    """Return a text with `\\n` for each line end `\\r\\n` or `\\r`."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_size(path: Path) -> int:
    """Return a file's size.

    Raises
    ------
    InputError
        For an empty or missing file, and for pipes and devices, which cannot be read twice.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise InputError(
            f"{path} is not a regular file: copy it to one, or pipe it to standard input and pass -"
        )
    if not status.st_size:  # also for files in /proc, which may block
        raise InputError(f"{path} is empty: choose a file that contains text")
    return status.st_size


def _standard_input(encoding: str) -> str:
    name, content = "standard input", sys.stdin.buffer.read()
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        reject_encoding(encoding)
    except UnicodeError:
        _explain_undecodable(name, content, encoding)
    if not text:
        raise InputError(f"{name} is empty: a text is required")
    reject_nul(name, text, 0, content)
    return text


def reject_encoding(encoding: str) -> NoReturn:
    """Reject an encoding that Python does not have.

    Raises
    ------
    InputError
        Always.
    """
    raise InputError(f"`encoding` {encoding!r}: unknown to Python; try utf-8 or cp1252") from None


def reject_nul(name: Source, piece: str, position: int, content: bytes) -> None:
    """Reject a piece that contains NUL; `content` is the beginning of the source's bytes.

    Raises
    ------
    InputError
        If it contains NUL.
    """
    if "\0" in piece:
        raise InputError(
            f"{name} looks binary: character {position + piece.index(chr(0))} is NUL; "
            f"if it is text, set its `encoding`, such as {_wide_encoding(content) or 'utf-16'}"
        )


def _explain_undecodable(name: Source, content: bytes, encoding: str) -> NoReturn:
    """Raise an InputError with the offset of the first byte that is invalid in this encoding."""
    try:
        content.decode(encoding)
        place = len(content) - 1
    except UnicodeError as error:
        place = min(getattr(error, "start", 0), len(content) - 1)
    raise InputError(
        f"{name}: byte 0x{content[place : place + 1].hex()} at offset {place} is not valid "
        f"{encoding}: {remedy(content)}"
    ) from None


def remedy(content: bytes) -> str:
    """Return advice on bytes that are invalid in the encoding in use."""
    if wide := _wide_encoding(content):
        return f"set `encoding` {wide}"
    if decodable(content, "utf-8"):
        return "set `encoding` utf-8"
    text = content.decode("utf-8", "replace")
    damaged, high = text.count("\ufffd"), len(content) - len(content.translate(None, HIGH))
    if sum(char > "\x7f" for char in text) > 2 * damaged:
        return f"the rest is UTF-8, except for {damaged:,} such places: correct the file"
    if high > MANY_HIGH * len(content):
        return "if this is text, set its `encoding`, such as cp1251, gb18030 or shift_jis"
    # latin-1 decodes 0x80 to 0x9f to control characters, cp1252 to quotes and dashes
    windows = len(content.translate(None, C1)) < len(content) and decodable(content, "cp1252")
    return f"if this is text, set its `encoding`, such as {'cp1252' if windows else 'latin-1'}"


def decodable(content: bytes, encoding: str) -> bool:
    """Return whether all of these bytes are valid in an encoding."""
    try:
        content.decode(encoding)
    except UnicodeError:
        return False
    return True


def _wide_encoding(content: bytes) -> str | None:
    """Return the UTF-16 or UTF-32 encoding that the first bytes of a text show, or None.

    They show it by a byte-order mark, or by NULs only where that encoding of a text has them.
    """
    head = content[:HEAD]
    for name, *marks in MARKS:
        if head.startswith(tuple(marks)):
            return name
    for name in WIDE:
        text = codecs.getincrementaldecoder(name)("replace").decode(head)
        spaces = text.count(" ") + text.count("\n")
        if 0 in head and spaces > SPACES * len(text) and not set(text) & {"\0", "\ufffd"}:
            return name
    return None
