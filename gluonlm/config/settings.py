"""Groups of settings: named fields with help texts and bounds, checked on creation."""

import dataclasses
import math
import os
from typing import Any, get_type_hints

from ..system.errors import InputError

MOST = 10_000  # values of one setting
LONGEST = 4096  # characters of a text, as of a path in Linux
SMALLEST = 1e-30  # smaller numbers underflow in MXNet's float32
TUPLES = (tuple[int, ...], tuple[float, ...], tuple[str, ...])
# `_check` tests "not (a <= b)" instead of "a > b", because NaN must fail every bound
BOUNDS = (
    ("low", "at least", lambda value, bound: value >= bound),
    ("above", "above", lambda value, bound: value > bound),
    ("high", "at most", lambda value, bound: value <= bound),
    ("below", "below", lambda value, bound: value < bound),
)


def option(
    default,
    help: str,
    choices: tuple[str, ...] | None = None,
    low=None,
    above=None,
    high=None,
    below=None,
    on_resume: bool = False,
) -> Any:
    """Return a field with its help text and bounds.

    Parameters
    ----------
    low, above
        Lower bounds, inclusive and exclusive.
    high, below
        Upper bounds, inclusive and exclusive.
    on_resume
        Whether resuming a run may change it.
    """
    bounds = dict(low=low, above=above, high=high, below=below)
    metadata = dict(help=help, choices=choices, on_resume=on_resume, **bounds)
    return dataclasses.field(default=default, metadata=metadata)


class Settings:
    """Base class of the groups of settings.

    Raises
    ------
    InputError
        If a value has the wrong type, is out of bounds, or is not one of the choices.
    """

    def __post_init__(self):
        hints = get_type_hints(type(self))
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _typed(item.name, getattr(self, item.name), hints[item.name])
            object.__setattr__(self, item.name, value)
            if isinstance(value, tuple) and not value and item.default:
                raise InputError(f"`{item.name}`: must not be empty")
            for single in value if isinstance(value, tuple) else (value,):
                _check(item.name, single, item.metadata)


def _typed(name, value, kind):
    """Return the value converted to its field's type; reject other types."""
    if kind in TUPLES:
        items = value if isinstance(value, (list, tuple)) else [value]
        if len(items) > MOST:
            raise InputError(
                f"`{name}`: {len(items):,} values, but at most {MOST:,} are allowed; "
                "a quoted pattern such as 'texts/*.txt' names many files"
            )
        return tuple(_typed(name, item, kind.__args__[0]) for item in items)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**31 else math.inf
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"`{name}` {_shown(value)}: must be of type {kind.__name__}")
    if kind is str and not _is_text(value):
        raise InputError(
            f"`{name}` {_shown(value)}: must be text of at most {LONGEST:,} characters without NUL "
            "that the locale's encoding supports"
        )
    return value


def _shown(value):
    """Return the beginning of a value of any type for an error."""
    try:
        return repr(value)[:100]
    except (ValueError, RecursionError):  # an integer of thousands of digits, or a deep list
        return f"of type {type(value).__name__}"


def _is_text(value):
    """Return whether a string can be a file name, which excludes JSON's lone surrogates."""
    try:
        return len(value) <= LONGEST and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _check(name, value, metadata):
    if isinstance(value, int) and not -(2**31) < value < 2**31:
        raise InputError(f"`{name}`: must be under 2,147,483,648")
    for key, words, holds in BOUNDS:
        bound = metadata[key]
        if bound is not None and not holds(value, bound):
            raise InputError(f"`{name}` {value}: must be {words} {bound}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"`{name}` {value}: must be a finite number")
    if isinstance(value, float) and 0 < abs(value) < SMALLEST:
        raise InputError(f"`{name}` {value}: must be 0 or at least {SMALLEST:g} in absolute value")
    if metadata["choices"] and value not in metadata["choices"]:
        choices = ", ".join(metadata["choices"])
        raise InputError(f"`{name}` {_shown(value)}: not one of {choices}")
