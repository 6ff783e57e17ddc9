"""Text highlighted by per-token surprise, as an HTML page or in a terminal."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..system.console import harmless, visible
from ..system.files import output_file
from ..vocab import Vocab

SHADES = 16  # background colours of the page; the first is transparent
# backgrounds from pale to strong, of 256 terminal colours; black text is readable on all
BACKGROUNDS = (230, 229, 223, 222, 216, 215, 209, 208, 202)
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ max-width: 46rem; margin: 2rem auto; padding: 0 1rem; background: #fff; color: #111;
  font: 1rem/1.6 system-ui, sans-serif }}
h1 {{ font-size: 1.5rem; line-height: 1.3; overflow-wrap: anywhere }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; font: 1rem/1.7 ui-monospace, monospace }}
i {{ font-style: normal }}
{light}
@media (prefers-color-scheme: dark) {{
body {{ background: #111; color: #eee }}
{dark}
}}
</style>
<h1 dir="auto">{title}</h1>
<p>{summary}</p>
<p>Surprise in bits: {legend}. Uncoloured text was not scored, or was not surprising.
Point at a token to see its surprise.</p>
<pre dir="auto">"""


class Span(NamedTuple):
    """A token as text, and its surprise in bits, or None if it was not scored."""

    text: str
    bits: float | None


def spans(vocab: Vocab, ids: np.ndarray, losses: np.ndarray) -> Iterator[Span]:
    """Yield the tokens of a text.

    Parameters
    ----------
    ids
        `(tokens,)`.
    losses
        Losses of the last tokens in nats, `(tokens - skipped,)`.
    """
    spell, skipped = vocab.speller(), len(ids) - len(losses)
    for place, token in enumerate(ids):
        known = place >= skipped
        bits = float(losses[place - skipped]) / math.log(2) if known else None
        yield Span(spell(int(token)), bits)


def shade(bits: float | None, vocab_size: int, shades: int) -> int:
    """Return the shade of a surprise; the last shade is twice the bits of a uniform guess."""
    if bits is None or not bits > 0:
        return 0
    most = 2 * math.log2(max(vocab_size, 2))
    return min(shades - 1, int(shades * min(bits / most, 1)))


def page(title: str, summary: str, vocab: Vocab, tokens: Iterator[Span]) -> Iterator[str]:
    """Yield the pieces of a self-contained page, for light and dark colour schemes."""
    most = 2 * math.log2(max(len(vocab), 2))
    marks = range(0, SHADES, 3)
    yield PAGE.format(
        title=html.escape(harmless(title)),
        summary=html.escape(harmless(summary)),
        light=_backgrounds(95, 55),
        dark=_backgrounds(12, 36),
        legend=" ".join(f"<i class=s{n}>&nbsp;{n * most / SHADES:.0f}&nbsp;</i>" for n in marks),
    )
    for text, bits in tokens:
        shown = html.escape(visible(text)).replace("\n", "↵\n")
        number = shade(bits, len(vocab), SHADES)
        hint = "" if bits is None else f" title={bits:.2f}"
        yield f"<i class=s{number}{hint}>{shown}</i>" if shown else ""
    yield "</pre>\n</html>\n"


def _backgrounds(first, last):
    """Return the CSS of the shades, from yellow at lightness `first` to red at `last`."""
    steps = range(1, SHADES)
    return "\n".join(
        f".s{n} {{ background: hsl({50 - 40 * n / SHADES:.0f} 95% "
        f"{first + (last - first) * n / SHADES:.0f}%) }}"
        for n in steps
    )


def terminal(vocab: Vocab, tokens: Iterator[Span]) -> Iterator[str]:
    """Yield the text with escape sequences for a 256-colour terminal."""
    for text, bits in tokens:
        number = shade(bits, len(vocab), len(BACKGROUNDS) + 1)
        shown = visible(text).replace("\n", "↵") if number else visible(text)
        if number and shown:
            shown = f"\x1b[38;5;16;48;5;{BACKGROUNDS[number - 1]}m{shown}\x1b[0m"
        yield shown + "\n" * (number > 0) * text.count("\n")


def write_surprise(
    path, vocab: Vocab, ids: np.ndarray, losses: np.ndarray, overwrite: bool = False
) -> None:
    """Write one line per token: position, token as JSON, surprise in nats.

    The surprise of tokens before the first prediction is empty.

    Raises
    ------
    InputError
        If the file cannot be written, or already exists.
    """
    with output_file(path, overwrite) as stream:
        stream.write(b"position\ttoken\tnats\n")
        for place, token in enumerate(ids):
            known = place - (len(ids) - len(losses))
            nats = f"{losses[known]:.6f}" if known >= 0 else ""
            stream.write(f"{place}\t{json.dumps(vocab.tokens[token])}\t{nats}\n".encode())
