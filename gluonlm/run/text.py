"""Encode a text for a run, or load the text that it was trained on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..corpus.load import Corpus, load_corpus
from ..corpus.trust import check_trusted
from ..system.console import complain
from .checkpoint import Checkpoint


def encode_text(checkpoint: Checkpoint, text: str, name: str, unknown: str = "error") -> np.ndarray:
    """Return the ids `(tokens,)` of a text for a run's model.

    Prints a line to standard error if the text's line ends are converted, or if the run keeps line
    ends and was trained on others.

    Parameters
    ----------
    text
        The text with its line ends unchanged.
    name
        The name of the text in messages.

    Raises
    ------
    InputError
        As for `Vocab.encode`.
    """
    ids = checkpoint.encode(text, unknown)
    report_line_ends(checkpoint, text, name)
    return ids


def report_line_ends(checkpoint: Checkpoint, text: str, name: str) -> None:
    """Print a line to standard error if a text's line ends are converted, or unlike the run's.

    Parameters
    ----------
    text, name
        As for `encode_text`; of the text, only the line ends are needed.
    """
    vocab, kept = checkpoint.vocab, checkpoint.config.data.keep_line_ends
    if "\r" in text and not kept and vocab.level != "word":  # words ignore the kind of line end
        complain(f"{name}: the line ends \\r\\n and \\r are read as \\n, as in training")
    if kept and "\r" in vocab.index and "\n" in text and "\r" not in text:
        complain(f"{name}: has line ends \\n, but the run was trained on \\r and keeps line ends")


def load_own(checkpoint: Checkpoint, given: dict[str, Any]) -> Corpus:
    """Load the text that a run was trained on.

    Parameters
    ----------
    given
        Settings that replace the run's own, such as `data_dir` and `encoding`.

    Raises
    ------
    InputError
        If the text is missing, has changed, or may not be read (see `check_trusted`).
    """
    config = check_trusted(dataclasses.replace(checkpoint.config.data, **given), given)
    return load_corpus(config, checkpoint.vocab, str(checkpoint.progress.get("corpus")))
