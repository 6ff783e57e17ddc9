"""Hints printed before and after training on a user's own text."""

from __future__ import annotations

import codecs
import shlex
from pathlib import Path

import numpy as np

from ..config import Config, DataConfig
from ..corpus import CATALOGUE, Corpus, check_trusted
from ..corpus.gutenberg import has_header
from ..corpus.load import has_own_parts, list_files
from ..corpus.text import decodable
from ..system.console import program
from ..system.errors import InputError
from ..vocab.levels import rule_of
from ..vocab.words import END_OF_LINE, JOINER, UNKNOWN, split_punctuation

# thresholds above which a hint is printed
MANY = 0.1  # fraction of words with punctuation attached
RARE = 1 / 3  # fraction of words that occur only once
APART = 1.15  # ratio of test and validation loss, either way
UNSPACED = 1 / 3  # fraction of letters in phrases without spaces between words

SPECIAL = UNKNOWN, END_OF_LINE

# scripts without spaces between words, and a length in letters that the average phrase exceeds, but
# not the average word of a text that was segmented
SCRIPTS = {
    r"[\p{Han}\p{Hiragana}\p{Katakana}]": 3,
    r"(?!\p{M})[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]": 5,
}


def on_text(config: DataConfig, corpus: Corpus) -> list[str]:
    """Return hints on unusual properties of a text, each with the flag to change."""
    lines = []
    files = list_files(config.data)
    books = [path for path in files if has_header(path)]
    if books and not config.strip_gutenberg:
        lines.append(
            f"{books[0]}: includes the header and licence of Project Gutenberg; "
            "`strip_gutenberg` removes them"
        )
    if corpus.converted and config.level != "word":
        lines.append(
            f"{corpus.name}: the line ends \\r\\n and \\r are read as \\n; "
            "`keep_line_ends` keeps them"
        )
    if files and config.strip_gutenberg and not books:
        lines.append(f"`strip_gutenberg`: no header of Project Gutenberg found in {files[0]}")
    if len(files) > 1 and (parts := _on_several_files(config, corpus, files)):
        lines.append(parts)
    if any("\x80" <= char <= "\x9f" for token in corpus.vocab.tokens for char in token):
        lines.append(_on_control_characters(config, files))
    if config.level == "word":
        lines += _on_words(config, corpus)
    if config.level == "subword" and config.vocab_size > len(corpus.vocab):
        lines.append(
            f"`vocab_size` {config.vocab_size}: {len(corpus.vocab)} is the largest that this text "
            "supports, and is used"
        )
    return lines


def _on_several_files(config, corpus, files):
    """Return a hint on the files from which the validation and test parts are taken."""
    held_out = [part for part in ("valid", "test") if len(getattr(corpus, part))]
    if not held_out or has_own_parts(config):
        return ""
    sizes = np.cumsum([path.stat().st_size for path in files])
    first = int(np.searchsorted(sizes, sizes[-1] * config.fractions()[0], side="right"))
    begin = f"begin in {files[first].name}, file {first + 1:,} of {len(files):,}"
    if first == len(files) - 1:
        begin = f"are the end of {files[first].name}, the last of {len(files):,} files"
    names, flags = " and ".join(held_out), " or ".join(f"`{part}`" for part in held_out)
    return f"the files are read as one text: {names} {begin}; {flags} FILE reads another file"


def _on_control_characters(config, files):
    """Return a hint on C1 control characters, which occur only in wrongly decoded texts."""
    line = "the text contains control characters such as U+0092, read from quotation marks: "
    if codecs.lookup(config.encoding).name == "utf-8":
        return f"{line}an earlier conversion read cp1252 as latin-1; convert the original again"
    utf8 = files and all(decodable(path.read_bytes(), "utf-8") for path in files)
    return f"{line}set `encoding` {'utf-8' if utf8 else 'cp1252'}"


def _on_words(config, corpus):
    vocab, ids = corpus.vocab, {"training": corpus.train, "validation": corpus.valid}
    shares = (f"{vocab.share_unknown(part):.1%} of {name}" for name, part in ids.items())
    yield "<unk> replaces " + ", ".join(shares)
    counts = np.bincount(corpus.train, minlength=len(vocab))
    if _has_phrases(vocab.tokens, counts):
        yield (
            "`level` word: this text has no spaces between words, so that entire phrases are "
            "words: `level` subword or `level` char fits it"
        )
        return
    once = int(np.count_nonzero(counts == 1))
    if once > RARE * len(vocab) and not config.vocab_size:
        yield (
            f"{once:,} of {len(vocab):,} words occur only once: `vocab_size` {len(vocab) - once} "
            "replaces them with <unk>, so that the model learns <unk>"
        )
    if rule_of("word", config.tokenizer) != "split":
        return
    stuck = [word for word in vocab.tokens if _has_punctuation(word)]
    if len(stuck) > MANY * len(vocab):
        yield (
            f"{len(stuck):,} of {len(vocab):,} words have punctuation attached, such as "
            f"{stuck[0]!r}: `tokenizer` punctuation splits it off"
        )


def _has_phrases(words, counts):
    """Return whether many words are phrases of a script without spaces between words."""
    import regex

    def letters_of(script):  # (V,)
        return counts * [len(regex.findall(script, word)) * (word not in SPECIAL) for word in words]

    phrases = 0
    for script, longest in SCRIPTS.items():
        letters = letters_of(script)
        if letters.sum() > longest * counts[letters > 0].sum():
            phrases += letters.sum()
    return phrases > UNSPACED * letters_of(r"\p{L}").sum()


def _has_punctuation(word):
    """Return whether punctuation is attached to the beginning or the end of a word."""
    symbols = [not part.strip(JOINER)[:1].isalnum() for part in split_punctuation(word)]
    # a forged vocabulary may have words of white space only, which have no parts
    return any(symbols[:1] + symbols[-1:]) and not all(symbols)


def on_parts(valid: float | None, test: float) -> list[str]:
    """Return a hint if validation and test loss differ considerably."""
    if not valid or 1 / APART <= test / valid <= APART:
        return []
    more = f"{abs(test / valid - 1):.0%} {'above' if test > valid else 'below'}"
    return [
        f"the test loss is {more} the validation loss: these parts of the text differ (perhaps "
        "another chapter, a list, or a licence at the end)"
    ]


def how_to_resume(path: Path, config: DataConfig) -> str:
    """Return the flags that resume a run, including its text unless the run may name it."""
    words = ["--resume", str(path)]
    try:
        check_trusted(config, ())
    except InputError:
        if config.data[0] in CATALOGUE:
            words += ["--data-dir", config.data_dir] * bool(config.data_dir)
        else:
            words += ["--data", *config.data]
            for part in ("valid", "test"):
                words += [f"--{part}", getattr(config, part)] * bool(getattr(config, part))
    return shlex.join(words)


def what_next(path: Path, config: Config, reason: str, steps: int) -> str:
    """Return commands that use a run, and one that continues its training.

    Parameters
    ----------
    reason
        Why training ended.
    steps
        The number of training steps.
    """
    training = config.training
    more = {
        "epochs": f"--epochs {2 * training.epochs}",
        "steps": f"--max-steps {2 * steps}",
        "minutes": f"--max-minutes {2 * training.max_minutes:g}",
        "patience": "--patience 0",
    }[reason]
    run = shlex.quote(str(path))
    return "\n".join(
        f"  {program()} {words}"
        for words in (
            f"generate {run} --temperature 0.7",
            f"evaluate {run} --data FILE",
            f"train {how_to_resume(path, config.data)} {more}    # stopped by {more.split()[0]}",
        )
    )
