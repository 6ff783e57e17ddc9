"""The text that a run was trained on."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..corpus.load import Corpus, load_corpus
from ..corpus.trust import follow
from .checkpoint import Checkpoint


def load_own(checkpoint: Checkpoint, given: dict[str, Any]) -> Corpus:
    """Load the text that a run was trained on.

    Parameters
    ----------
    given
        Settings of the text in place of the run's own: where it lies, how it is encoded.

    Raises
    ------
    InputError
        If it is not here, is another one, or the run may not lead there.
    """
    config = follow(dataclasses.replace(checkpoint.config.data, **given), given)
    return load_corpus(config, checkpoint.vocab, str(checkpoint.progress.get("corpus")))
