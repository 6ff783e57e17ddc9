"""Checks of the arguments of public functions."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .errors import InputError


def check_integer(name: str, value: Any, low: int | None = None) -> int:
    """Return an argument as an int.

    Raises
    ------
    InputError
        If it is not an integer, or is less than `low`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise InputError(f"`{name}` {value!r}: must be an integer")
    if low is not None and number < low:
        raise InputError(f"`{name}` {number}: must be at least {low}")
    return number


def check_sizes(**sizes: Any) -> None:
    """Check sizes by name.

    Raises
    ------
    InputError
        If one is not an integer of at least 1.
    """
    for name, size in sizes.items():
        check_integer(name, size, 1)


def check_rates(below: float = 1, **rates: Any) -> None:
    """Check dropout rates, or other rates below a limit, by name.

    Raises
    ------
    InputError
        If one is not a number from 0 to below `below`.
    """
    for name, rate in rates.items():
        if not isinstance(rate, (int, float, np.number)) or not 0 <= rate < below:
            limit = f"below {below}" if below < math.inf else "finite"
            raise InputError(f"`{name}` {rate!r}: must be a number, at least 0 and {limit}")


def check_text(text: Any) -> str:
    """Return a text unchanged after checking its type.

    Raises
    ------
    InputError
        If it is not a string.
    """
    if not isinstance(text, str):
        raise InputError(f"the text must be of type str, not {type(text).__name__}: decode it")
    return text


def as_sequence(ids: Any, axes: int = 1) -> np.ndarray:
    """Return ids of any kind of sequence, such as a list or an MXNet array, as a NumPy array.

    Raises
    ------
    InputError
        If they do not have this number of axes.
    """
    try:
        array = ids.asnumpy() if hasattr(ids, "asnumpy") else np.asarray(ids)
    except ValueError:  # lists of different lengths
        array = np.empty(())
    if isinstance(ids, str):
        raise InputError(f"{ids[:20]!r} is text, not ids: convert it with `vocab.encode`")
    if array.ndim != axes:
        shape = "one sequence" if axes == 1 else f"an array of {axes} axes"
        raise InputError(f"ids must be {shape}, not {type(ids).__name__} {array.shape}")
    return array


def check_ids(ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """Return ids unchanged after checking that they are in a vocabulary.

    Raises
    ------
    InputError
        If an id is not an integer, or not in the vocabulary.
    """
    if ids.size and ids.dtype.kind not in "iu":
        raise InputError(f"ids must be integers, not {ids.dtype}")
    if ids.size and not (ids.min() >= 0 and ids.max() < vocab_size):
        raise InputError(
            f"ids from {ids.min()} to {ids.max()}: "
            f"this model's vocabulary has ids 0 to {vocab_size - 1}"
        )
    return ids
