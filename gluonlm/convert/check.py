"""What was written is run on real text, and compared with the model it came from."""

from __future__ import annotations

from collections.abc import Callable

import mxnet as mx
import numpy as np

from ..config import DataConfig
from ..corpus import load_corpus
from ..models import LanguageModel
from ..run.checkpoint import Checkpoint
from ..system.errors import InputError

STREAMS, SEGMENTS = (
    2,
    (1, 7, 42, 150),
)  # of changing length, the state carried from each to the next

# from ids (T, N) and the state to logits (T*N, V), or (N, V) of a window, and the state
Runner = Callable[[np.ndarray, list], tuple[np.ndarray, list]]


def probe_text(checkpoint: Checkpoint) -> np.ndarray:
    """Return ids `(T, N)` of the text inside Python, as far as the vocabulary knows it."""
    corpus = load_corpus(DataConfig())
    text = corpus.vocab.decode(corpus.train[:4000])
    ids = checkpoint.encode(text, "skip")
    rows = sum(SEGMENTS)
    if len(ids) < STREAMS * rows:  # a text in letters that it does not know
        ids = np.arange(STREAMS * rows, dtype=np.int32) * 7 % len(checkpoint.vocab)
    return ids[: STREAMS * rows].reshape(STREAMS, rows).T


def check_written(
    model: LanguageModel, ids: np.ndarray, state: list, run: Runner, allowed: float = 1e-5
) -> float:
    """Return the largest difference between what a file computes and the model.

    It is the difference of two logits, as a share of the largest logit, or of 1.

    Parameters
    ----------
    ids
        `(T, N)`.
    state
        What the file begins with.
    run
        Runs the file.
    allowed
        The largest difference.

    Raises
    ------
    InputError
        If they differ by more.
    """
    own, worst, start = model.begin_state(ids.shape[1]), 0.0, 0
    segments = [model.window] * 3 if model.window else SEGMENTS
    for length in segments:
        part = np.ascontiguousarray(ids[start : start + length])
        start += 1 if model.window else length
        expected, own = model(mx.nd.array(part, dtype="int32"), own)
        wanted = expected.asnumpy()
        found, state = run(part, state)
        gap = np.abs(found - wanted).max() / max(1.0, float(np.abs(wanted).max()))
        worst = max(worst, float(gap) if np.isfinite(gap) else np.inf)
    if worst > allowed:
        raise InputError(
            f"what was written differs from the model by {worst:.1e}, more than {allowed:g}: "
            "nothing is kept"
        )
    return worst
