"""Load the text that a run was trained on."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..corpus.load import Corpus, load_corpus
from ..corpus.trust import check_trusted
from .checkpoint import Checkpoint


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
