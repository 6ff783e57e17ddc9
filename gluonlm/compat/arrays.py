"""Operations on arrays that NumPy and MXNet once allowed."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .hooks import after_import
from .record import record


class OneElement(np.ndarray):
    """An array such as one of shape `(1,)` with the conversions of NumPy 1."""

    def __float__(self) -> float:
        record("numbers", "float of an array of one element")
        return float(self.item())

    def __int__(self) -> int:
        record("numbers", "int of an array of one element")
        return int(self.item())


def one_element_numbers() -> None:
    """Convert arrays of one element that `asnumpy` returns to numbers, as NumPy 1 did."""
    after_import("mxnet.ndarray.ndarray", _wrap)


def _wrap(module: Any) -> None:
    convert = module.NDArray.asnumpy

    def asnumpy(self):
        values = convert(self)
        return values.view(OneElement) if values.ndim and values.size == 1 else values

    module.NDArray.asnumpy = asnumpy


def smaller_shapes() -> None:
    """Reshape an array to a smaller size: its first elements, as old releases of MXNet did."""
    after_import("mxnet.ndarray.ndarray", _allow_smaller)


def _allow_smaller(module: Any) -> None:
    reshape = module.NDArray.reshape

    @functools.wraps(reshape)
    def reshape_or_cut(self, *shape, **kwargs):
        try:
            return reshape(self, *shape, **kwargs)
        except ValueError:
            wanted = shape[0] if shape and isinstance(shape[0], (list, tuple)) else shape
            size = math.prod(wanted or kwargs["shape"])
            if min(wanted or kwargs["shape"]) < 1 or size > self.size:
                raise
            record("shapes", f"reshape of {self.size} elements to {size}")
            return reshape(reshape(self, -1)[:size], *shape, **kwargs)

    module.NDArray.reshape = reshape_or_cut
