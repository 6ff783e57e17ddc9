"""NumPy arrays of one element, which NumPy 2.4 no longer converts to Python numbers."""

from __future__ import annotations

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
