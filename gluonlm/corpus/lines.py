"""Read a text file line by line, in bounded memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ..system.errors import InputError
from .text import check_size, reject_encoding, reject_nul, remedy

_UNDECODABLE = re.compile("[\udc80-\udcff]")  # bytes that `surrogateescape` has kept


class Lines:
    """The lines of a file or of standard input, read as they are needed.

    A byte-order mark is removed. `\\n`, `\\r\\n` and `\\r` end a line, as in Python's text mode.

    Parameters
    ----------
    path
        File, or "-" for standard input.
    encoding
        Encoding of the text.
    keep_line_ends
        Whether to leave `\\r\\n` and `\\r` unchanged; otherwise they become `\\n`.

    Attributes
    ----------
    name
        The name of the source in messages.
    ends
        The kinds of line ends read so far, as one string.
    """

    def __init__(self, path: str, encoding: str = "utf-8", keep_line_ends: bool = False):
        self.path, self.encoding, self.keep_line_ends = path, encoding, keep_line_ends
        self.name = "standard input" if path == "-" else path
        self.ends = ""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield the text and the end of each line; a missing last end is that of the line before.

        Raises
        ------
        InputError
            For a source that is missing, empty, binary or in another encoding, with the line.
        """
        number, end = 0, "\n"
        try:
            with self._opened() as stream:
                for number, line in enumerate(stream, 1):
                    line = line.removeprefix("\ufeff") if number == 1 else line
                    self._check(line, f"{self.name}: line {number}")
                    self.ends = "".join(stream.newlines or ())
                    text = line.rstrip("\r\n")
                    end = line[len(text) :] or end
                    yield text, end
        except LookupError:
            reject_encoding(self.encoding)
        except UnicodeError:
            raise InputError(
                f"{self.name}: line {number + 1} or a later one is not valid {self.encoding}: "
                "set its `encoding`"
            ) from None
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror}") from None
        if not number:
            raise InputError(f"{self.name} is empty: a text is required")

    def _opened(self):
        if self.path != "-":
            check_size(Path(self.path))
        # strict decoding would fail for a block of lines, without their numbers
        return open(
            sys.stdin.fileno() if self.path == "-" else self.path,
            encoding=self.encoding,
            errors="surrogateescape",
            newline="" if self.keep_line_ends else None,
            closefd=self.path != "-",
        )

    def _check(self, line, name):
        found = _UNDECODABLE.search(line)
        if not found and "\0" not in line:
            return
        content = line.encode(self.encoding, "surrogateescape")
        if found:
            raise InputError(
                f"{name}: byte 0x{ord(found[0]) - 0xDC00:02x} is not valid {self.encoding}: "
                f"{remedy(content)}"
            )
        reject_nul(name, line, 0, content)
