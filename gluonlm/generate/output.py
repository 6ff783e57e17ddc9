"""Form generated texts as text or as JSON Lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from ..vocab import Vocab
from .completions import Completion

DASHES = "\n" + "-" * 20 + "\n"


def as_text(
    completions: Iterable[Completion], vocab: Vocab, separator: str = DASHES
) -> Iterator[str]:
    """Yield the pieces of all texts: prompts and completions, and the separator between texts."""
    for number, completion in enumerate(completions):
        if number:
            yield separator
        yield vocab.typeset(completion.prompt.shown)
        yield from completion
    yield "\n"


def as_json(completions: Iterable[Completion], drawn: bool) -> Iterator[str]:
    """Yield one line of JSON for each text; with a seed if the texts are drawn at random."""
    for completion in completions:
        record = {
            "prompt": completion.prompt.text,
            "text": completion.text,
            "tokens": len(completion.ids),
            "end": completion.end,
        }
        if drawn:
            record["seed"] = completion.seed
        yield json.dumps(record) + "\n"


def counted(
    completions: Iterable[Completion], ends: Counter[str], written: list[list[int]] | None
) -> Iterator[Completion]:
    """Yield completions; count the kinds of ends, and append the ids to a list, if not None."""
    for completion in completions:
        yield completion
        ends[completion.end] += 1
        if written is not None:
            written.append(completion.ids)
