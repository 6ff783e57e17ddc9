"""Read the texts in the rows of CSV and JSONL files."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..system.errors import InputError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl")
LONGEST = 1 << 30  # characters of a text in a CSV file; the default of the module csv is 131,072


def has_rows(path: str | Path) -> bool:
    """Return whether a file contains rows, by its suffix."""
    return Path(path).suffix.lower() in SUFFIXES


def read_rows(path: Path, lines: Iterable[str], name: str) -> Iterator[tuple[int, str]]:
    """Yield each text that is not empty, with the number of its last line.

    Parameters
    ----------
    lines
        The lines of the file, with their ends.
    name
        The column of a CSV file, or the key of the objects in a JSONL file.

    Raises
    ------
    InputError
        If a row is invalid or lacks the field, or the file has another suffix. It names the line.
    """
    lines = _without_mark(lines)
    if not has_rows(path):
        raise InputError(f"{path}: `field` supports only the suffixes {', '.join(SUFFIXES)}")
    delimiter = DELIMITERS.get(path.suffix.lower())
    found = _csv_rows(path, lines, name, delimiter) if delimiter else _json_rows(path, lines, name)
    for line, text in found:
        if not isinstance(text, str):
            raise _error(path, line, f"no text in the field {name!r}")
        if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in {*text}):
            raise _error(path, line, f"the field {name!r} is not text: NUL or half a character")
        if text:
            yield line, text


def _without_mark(lines):
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix("\ufeff")


def _csv_rows(path, lines, name, delimiter):
    reader, before = csv.reader(lines, delimiter=delimiter, strict=True), csv.field_size_limit()
    csv.field_size_limit(LONGEST)
    try:
        columns = next(reader, [])
        if columns.count(name) != 1:
            fault = "no" if name not in columns else "more than one"
            raise _error(path, 1, f"{fault} column {name!r}; the columns are {', '.join(columns)}")
        place = columns.index(name)
        for row in filter(None, reader):
            yield reader.line_num, row[place] if place < len(row) else None
    except csv.Error as error:
        raise _error(path, reader.line_num, str(error)) from None
    finally:
        csv.field_size_limit(before)


def _json_rows(path, lines, name):
    for line, content in zip(itertools.count(1), lines):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _error(path, line, f"not JSON: {error}") from None
        yield line, row.get(name) if isinstance(row, dict) else None


def _error(path: Path, line: int, fault: str) -> InputError:
    return InputError(f"{path}: line {line}: {fault}")
