"""Strict JSON: reading files of untrusted origin, and writing numbers."""

import json
import math
from typing import Any


def parse_json(content: bytes) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises
    ------
    ValueError
        If it is invalid or nested too deeply, or a number is infinite or NaN; JSON has neither, but
        Python's parser accepts `NaN` and reads `1e999` as infinity.
    """
    try:
        return json.loads(
            content.decode("utf-8"), parse_constant=_reject_constant, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def finite(value: Any) -> Any:
    """Replace infinite and NaN numbers by None, for JSON."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reject_constant(name):
    raise ValueError(f"{name} is not JSON")


def _finite(text):
    number = float(text)
    return number if math.isfinite(number) else _reject_constant(text)
