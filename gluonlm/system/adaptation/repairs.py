"""Repairs of functions and classes of MXNet and GluonNLP that fail or differ with NumPy 2."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from .names import Overlay

METHODS = {"tostring": "tobytes"}  # array methods removed in NumPy 2.3
KINDS = "biufc"  # dtype kinds in order of promotion; `_kind` treats unsigned integers as signed


class _DoubleSum:
    """An attribute that stores a sum in double precision.

    In NumPy 2, 0.0 + np.float32(1) has single precision, so MXNet's metrics lost digits.
    """

    def __init__(self, name):
        self.name = name

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        if self.name in vars(instance):
            return vars(instance)[self.name]
        raise AttributeError(self.name)

    def __set__(self, instance, value):
        import numpy as np

        vars(instance)[self.name] = np.float64(value) if isinstance(value, float) else value


def _promote_by_value(operator) -> Callable:
    """Make a NumPy operator promote an array and a scalar to the same dtype as NumPy 1."""
    import numpy as np

    def as_numbers(values):
        kinds = [_kind(value) for value in values if np.ndim(value)]
        for value in values:
            scalar = isinstance(value, (np.generic, np.ndarray)) and not value.ndim
            yield value.item() if scalar and kinds and _kind(value) <= max(kinds) else value

    def promoted(*inputs, **kwargs):
        try:
            return operator(*as_numbers(inputs), **kwargs)
        except OverflowError:  # an integer that the array's dtype cannot hold
            return operator(*inputs, **kwargs)

    return promoted


def _kind(value) -> int:
    return KINDS.find(value.dtype.kind.replace("u", "i")) if hasattr(value, "dtype") else -1


def _repair_metric(metric) -> None:
    for name in ("sum_metric", "global_sum_metric"):
        setattr(metric.EvalMetric, name, _DoubleSum(name))


def _repair_recordio(recordio) -> None:
    for function in vars(recordio).values():
        if isinstance(function, types.FunctionType):
            code = function.__code__
            names = tuple(METHODS.get(name, name) for name in code.co_names)
            function.__code__ = code.replace(co_names=names)


def _repair_utils(utils) -> None:
    find = utils._get_np_op
    utils._get_np_op = lambda name: _promote_by_value(find(name))


def _repair_multiarray(multiarray) -> None:
    """Accept named tuples, which linalg.qr and linalg.svd have returned since NumPy 1.25."""
    convert = multiarray._as_mx_np_array

    def convert_result(object, ctx=None):
        if hasattr(object, "_make"):
            return object._make(convert(tuple(object), ctx))
        return convert(object, ctx)

    multiarray._as_mx_np_array = convert_result


def _repair_subwords(subwords) -> None:
    """Wrap the bytes of a word to -128 .. 127, as NumPy 1 did: the hashes of fastText."""
    subwords.np = Overlay(
        "numpy", lambda np: {"int8": lambda value: np.array(value).astype("int8")}
    )


def _repair_batchify(batchify) -> None:
    """Wrap a padding value that the dtype cannot hold, as NumPy 1 did: -1 becomes 255 in uint8."""

    def full(np, shape, fill_value, dtype=None, **kwargs):
        return np.full(shape, np.array(fill_value).astype(dtype), dtype, **kwargs)

    batchify.np = Overlay("numpy", lambda np: {"full": functools.partial(full, np)})


REPAIRS: dict[str, Callable[[Any], None]] = {
    "gluonnlp.data.batchify.batchify": _repair_batchify,
    "gluonnlp.vocab.subwords": _repair_subwords,
    "mxnet.metric": _repair_metric,
    "mxnet.recordio": _repair_recordio,
    "mxnet.numpy.multiarray": _repair_multiarray,
    "mxnet.numpy.utils": _repair_utils,
}


def repair(module: types.ModuleType) -> None:
    """Repair a loaded module so that its results are the same with later releases."""
    REPAIRS.get(module.__name__, lambda module: None)(module)
