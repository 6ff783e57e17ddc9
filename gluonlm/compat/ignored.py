"""Warnings where MXNet 1.9.1 ignores a setting or changes an input without an error."""

from __future__ import annotations

import functools
import inspect
import os
import warnings
from typing import Any

from ..system.errors import InputError
from .hooks import after_import
from .record import record


class IgnoredSettingWarning(UserWarning):
    """MXNet ignores a setting, or changes an input, without an error."""


class IgnoredSettingError(InputError):
    """The same in strict mode."""


_strict = False
_seen: set[str] = set()


@functools.cache
def warn_of_ignored_settings() -> None:
    """Warn once of each setting that MXNet ignores on a CPU, and of ids that it clips."""
    after_import("mxnet.gluon.rnn.rnn_layer", _check_layers)
    after_import("mxnet.gluon.nn.basic_layers", _check_embeddings)
    after_import("mxnet.gluon.loss", _check_targets)


def strict() -> None:
    """Raise `IgnoredSettingError` where `warn_of_ignored_settings` warns."""
    global _strict
    _strict = True
    warn_of_ignored_settings()


def _report(message: str) -> None:
    if _strict:
        raise IgnoredSettingError(message)
    if message not in _seen:
        _seen.add(message)
        record("warnings", message)
        warnings.warn(message, IgnoredSettingWarning, stacklevel=4)


def _check_layers(module: Any) -> None:
    layer = module._RNNLayer
    call, start = layer.__call__, module.RNN.__init__

    @functools.wraps(call)
    def checked_call(self, *args, **kwargs):
        contexts = {context for p in self._reg_params.values() for context in p.list_ctx()}
        if any(context.device_type == "cpu" for context in contexts):
            _check_dropout(self)
            if self._use_sequence_length:
                _report(
                    f"{type(self).__name__}(use_sequence_length=True): ignored on a CPU; mask the "
                    "outputs with SequenceMask"
                )
        return call(self, *args, **kwargs)

    @functools.wraps(start)
    def checked_start(self, *args, **kwargs):
        given = inspect.signature(start).bind(self, *args, **kwargs).arguments
        if "activation" not in given:
            _report("RNN(): its activation is ReLU; pass activation='tanh' for the usual network")
        start(self, *args, **kwargs)

    layer.__call__, module.RNN.__init__ = checked_call, checked_start


def _check_dropout(layer) -> None:
    if not layer._dropout or layer._num_layers == 1:
        return
    name = f"{type(layer).__name__}(dropout={layer._dropout:g})"
    remedy = "stack layers with num_layers=1 and nn.Dropout between them"
    native = os.environ.get("MXNET_USE_MKLDNN_RNN") == "0" or str(layer._dtype) == "float64"
    problem = "computes wrong gradients" if native else "has no effect"
    _report(f"{name}: {problem} on a CPU; {remedy}")


def _check_embeddings(module: Any) -> None:
    call = module.Embedding.__call__

    @functools.wraps(call)
    def checked_call(self, x, *args):
        _check_ids(x, self._kwargs["input_dim"], "Embedding")
        return call(self, x, *args)

    module.Embedding.__call__ = checked_call


def _check_targets(module: Any) -> None:
    call = module.SoftmaxCrossEntropyLoss.__call__

    @functools.wraps(call)
    def checked_call(self, pred, label, *args):
        if self._sparse_label and hasattr(pred, "shape"):
            _check_ids(label, pred.shape[self._axis], "SoftmaxCrossEntropyLoss")
        return call(self, pred, label, *args)

    module.SoftmaxCrossEntropyLoss.__call__ = checked_call


def _check_ids(ids: Any, size: int, name: str) -> None:
    """Warn of ids outside 0 .. size - 1 in an array; symbols have no values to check."""
    if not getattr(ids, "size", 0):
        return
    values = ids.asnumpy()
    low, high = values.min(), values.max()
    if low < 0 or high >= size:
        wrong = low if low < 0 else high
        _report(
            f"{name}: id {wrong:g} is clipped to the range from 0 to {size - 1}; check the "
            "vocabulary's size and the ids"
        )
