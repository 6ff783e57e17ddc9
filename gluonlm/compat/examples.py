"""Corrections of old examples, and of a part of GluonNLP that they use."""

from __future__ import annotations

import functools
import inspect
import textwrap
from typing import Any

from .hooks import after_import
from .record import record

# module, class, method, the published code, the code that its author meant
CORRECTIONS = (
    (
        "bucket_io",  # MXNet's example/rnn/old: the number of batches in a bucket
        "BucketSentenceIter",
        "make_data_iter_plan",
        "np.floor((self.data[i]) / self.batch_size)",
        "len(self.data[i]) // self.batch_size",
    ),
    (
        "gluonnlp.model.sampled_block",  # log_softmax of the array that concat returns crashes
        "_SampledDenseHelper",
        "hybrid_forward",
        "F.concat(pred_true, pred_sampled, dim=1)",
        "F.concat(pred_true, pred_sampled, dim=1) * 1",
    ),
)


def corrected_examples() -> None:
    """Correct lines of MXNet's examples and of GluonNLP that never worked in their releases."""
    for module, *correction in CORRECTIONS:
        after_import(module, functools.partial(_correct, *correction))


def _correct(owner: str, name: str, published: str, meant: str, module: Any) -> None:
    function = getattr(getattr(module, owner, None), name, None)
    source = inspect.getsource(function) if inspect.isfunction(function) else ""
    if published in source:
        defined: dict[str, Any] = {}
        exec(textwrap.dedent(source).replace(published, meant), vars(module), defined)
        corrected = defined[name]

        @functools.wraps(corrected)
        def call(*args, **kwargs):
            record("examples", f"{module.__name__}: {published} → {meant}")
            return corrected(*args, **kwargs)

        setattr(getattr(module, owner), name, call)
