"""Score each line of a file, and write a table."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..corpus.lines import Lines
from ..run.checkpoint import Checkpoint
from ..run.text import report_line_ends
from ..system.console import show
from ..system.files import output_file
from ..system.strict_json import finite
from .texts import TextScore, encoded, score_sequences


class ScoredLine(NamedTuple):
    """The number of a line, its score, and its text without the line end."""

    number: int
    score: TextScore
    text: str


def score_lines(
    model, checkpoint: Checkpoint, lines: Lines, unknown: str = "error", **how
) -> Iterator[ScoredLine]:
    """Score each line in order as `score` does, including its line end.

    A line end that is not in the vocabulary is left out.

    Parameters
    ----------
    unknown
        As for `Vocab.encode`.
    **how
        More arguments of `score_each`.

    Raises
    ------
    InputError
        As for `Lines` and `Vocab.encode`; it names the line.
    """
    read, again = itertools.tee(lines)
    contains = functools.cache(checkpoint.vocab.contains)  # of at most three line ends
    texts = (text + end * contains(end) for text, end in read)
    ids = encoded(checkpoint.encode, texts, f"{lines.name}: line", unknown)
    scores = score_sequences(model, checkpoint.vocab, ids, **how)
    for number, ((text, _), score) in enumerate(zip(again, scores), 1):
        yield ScoredLine(number, score, text)
    report_line_ends(checkpoint, lines.ends, lines.name)


def ranked(scored: Iterable[ScoredLine]) -> list[ScoredLine]:
    """Sort lines by bits per character, lowest first; lines without a score are last."""

    def mean(line):
        found = line.score.bits_per_character
        return math.inf if math.isnan(found) else found

    return sorted(scored, key=mean)  # stable


def as_json(line: ScoredLine) -> str:
    """Return a line as a JSON object."""
    values = {"line": line.number, **line.score._asdict(), "text": line.text}
    return json.dumps(finite(values), allow_nan=False)


def as_tsv(line: ScoredLine) -> str:
    """Return a line as tab-separated values; a mean over no tokens is empty."""
    tokens, bits, mean_bits, perplexity = line.score
    means = [f"{mean_bits:.4f}", f"{perplexity:.6g}"] if tokens else ["", ""]
    return _tsv([line.number, tokens, f"{bits:.4f}", *means, line.text])


def _tsv(values):
    row = io.StringIO()
    csv.writer(row, "excel-tab", lineterminator="").writerow(values)  # quotes tabs and quotes
    return row.getvalue()


def write_lines(
    scored: Iterable[ScoredLine], jsonl: bool, path: str | None, overwrite: bool = False
) -> None:
    """Write scored lines as JSON lines or as a table with a header.

    Parameters
    ----------
    path
        File, or None for standard output.

    Raises
    ------
    InputError
        If the file cannot be written, or already exists.
    """
    scored = iter(scored)
    first = [*itertools.islice(scored, 1)]  # before the header: invalid input prints nothing
    header = [] if jsonl else [_tsv(["line", *TextScore._fields, "text"])]
    rows = map(as_json if jsonl else as_tsv, itertools.chain(first, scored))
    with _output(path, overwrite) as write:
        for row in itertools.chain(header, rows):
            write(row + "\n")


@contextlib.contextmanager
def _output(path, overwrite) -> Iterator[Callable]:
    """Yield a function that writes text to a file, or to standard output."""
    if not path:
        yield lambda text: show(text, content=True)
        return
    with output_file(path, overwrite) as stream:
        yield lambda text: stream.write(text.encode())
