"""Read the metrics of a run."""

from pathlib import Path
from typing import Any

from ..system.errors import InputError
from ..system.files import read_file
from ..system.strict_json import parse_json

LONGEST = 1 << 28  # bytes of a metrics.jsonl


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of a metrics.jsonl.

    Raises
    ------
    InputError
        If the file cannot be read, or a line is damaged; the message gives its number.
    """
    records = []
    for number, line in enumerate(read_file(path, limit=LONGEST).splitlines(), 1):
        try:
            records.append(_checked(parse_json(line)))
        except (ValueError, TypeError, KeyError):
            raise InputError(f"{path}: line {number} is damaged: remove it") from None
    return records


def _checked(record):
    """Return a record after checking the types of the values that are used."""
    loss = {"training": "train_loss", "validation": "valid_loss"}.get(record["event"])
    if loss:
        numbers = [record["epoch"], 0.0 if record[loss] is None else record[loss]]
        if not all(type(number) in (int, float) and 0 <= number < 2**53 for number in numbers):
            raise ValueError("not numbers")
    return record
