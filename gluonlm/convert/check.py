"""Run an exported model on real text and compare it with the original."""

from __future__ import annotations

from collections.abc import Callable

import mxnet as mx
import numpy as np

from ..config import DataConfig
from ..corpus import load_corpus
from ..models import LanguageModel
from ..run.checkpoint import Checkpoint
from ..system.errors import InputError

STREAMS, SEGMENTS = 2, (1, 7, 42, 150)  # the state is carried from segment to segment

# from ids (T, N) and state to logits, (T*N, V) or for a window model (N, V), and new state
Runner = Callable[[np.ndarray, list], tuple[np.ndarray, list]]


def probe_text(checkpoint: Checkpoint) -> np.ndarray:
    """Return ids `(T, N)` of the text included in Python, without unknown tokens.

    For a model of documents, a document begins after every 16 tokens.
    """
    corpus = load_corpus(DataConfig())
    text = corpus.vocab.decode(corpus.train[:4000])
    ids = checkpoint.encode(text, "skip")
    rows = sum(SEGMENTS)
    if len(ids) < STREAMS * rows:  # few of its characters are known
        ids = np.arange(STREAMS * rows, dtype=np.int32) * 7 % len(checkpoint.vocab)
    separator = checkpoint.vocab.separator(checkpoint.config.data.separator())
    if separator is not None:
        ids[::17] = separator
    return ids[: STREAMS * rows].reshape(STREAMS, rows).T


def check_written(
    model: LanguageModel, ids: np.ndarray, state: list, run: Runner, allowed: float = 1e-5
) -> float:
    """Return the largest difference between the logits of an exported file and of the model.

    The difference is relative to the largest logit, or to 1 if that is smaller.

    Parameters
    ----------
    ids
        `(T, N)`.
    state
        Initial state of the exported model.
    run
        Runs the exported model.
    allowed
        Largest difference allowed.

    Raises
    ------
    InputError
        If the difference is larger than `allowed`.
    """
    carried, worst, start = model.begin_state(ids.shape[1]), 0.0, 0
    segments = [model.window] * 3 if model.window else SEGMENTS
    for length in segments:
        part = np.ascontiguousarray(ids[start : start + length])
        start += 1 if model.window else length
        expected, carried = model(mx.nd.array(part, dtype="int32"), carried)
        wanted = expected.asnumpy()
        found, state = run(part, state)
        gap = np.abs(found - wanted).max() / max(1.0, float(np.abs(wanted).max()))
        worst = max(worst, float(gap) if np.isfinite(gap) else np.inf)
    if worst > allowed:
        raise InputError(
            f"the exported model differs from the original by {worst:.1e}, more than {allowed:g}: "
            "no file was written"
        )
    return worst
