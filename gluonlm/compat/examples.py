"""Corrections of old examples, and of the parts of MXNet and GluonNLP that only they use."""

from __future__ import annotations

import functools
import inspect
import textwrap
from typing import Any

from .hooks import after_import
from .record import record

# module, class or "", function, the published code, the code that its author meant
CORRECTIONS = (
    (
        "bucket_io",  # MXNet's example/rnn/old: the number of batches in a bucket
        "BucketSentenceIter",
        "make_data_iter_plan",
        "np.floor((self.data[i]) / self.batch_size)",
        "len(self.data[i]) // self.batch_size",
    ),
    (
        "mxnet.executor_manager",  # used by mx.model.FeedForward: a smaller bucket shares an array
        "",
        "_bind_exec",
        "arg_arr.reshape(arg_shape[i])",
        "arg_arr.reshape((-1,))[: int(np.prod(arg_shape[i]))].reshape(arg_shape[i])",
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
    """Correct lines of MXNet's examples, FeedForward and GluonNLP that never worked in 1.9.1."""
    for module, *correction in CORRECTIONS:
        after_import(module, functools.partial(_correct, *correction))


def _correct(owner: str, name: str, published: str, meant: str, module: Any) -> None:
    place = getattr(module, owner, None) if owner else module
    function = getattr(place, name, None)
    source = inspect.getsource(function) if inspect.isfunction(function) else ""
    if published in source:
        defined: dict[str, Any] = {}
        exec(textwrap.dedent(source).replace(published, meant), vars(module), defined)
        corrected = defined[name]

        @functools.wraps(corrected)
        def call(*args, **kwargs):
            record("examples", f"{module.__name__}: {published} → {meant}")
            return corrected(*args, **kwargs)

        setattr(place, name, call)
