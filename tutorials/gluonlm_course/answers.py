"""The kinds of answers, and the hints that each kind gives.

Every kind takes `why`, the sentence printed for a right answer, and `hint`, the sentence printed
for a wrong one; most take `wrong`, which maps typical wrong answers to hints of their own. Hints
must not contain the solution.
"""

import contextlib
import copy
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np


class _Unreadable(Exception):
    """An answer does not have the expected type; the message names the type of the answer."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An expected answer."""

    why: str = ""
    hint: str = ""

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        raise NotImplementedError

    def judge(self, given: Any) -> str | None:
        """Return None if an answer is right, else a hint; raise _Unreadable for other types."""
        raise NotImplementedError

    def problem(self, given: Any) -> str | None:
        """Return None if an answer is right, else a hint, for answers of any type."""
        if given is ...:
            return f"no answer so far; expected {self.expected}."
        try:
            return self.judge(given)
        except _Unreadable as error:
            return f"expected {self.expected}, got {error}."
        except Exception as error:
            return f"expected {self.expected}, got an unreadable answer ({type(error).__name__})."


@dataclass(frozen=True)
class Number(Answer):
    """A number: a value with a tolerance, or without a value a range.

    The tolerance is the larger one of `within` and `relative` times the value. `low` and `high`
    are in the range. `wrong` maps typical wrong numbers (within 1 %, or `within`) to hints.
    """

    value: float | None = None
    within: float = field(kw_only=True, default=0.0)
    relative: float = field(kw_only=True, default=1e-6)
    low: float = field(kw_only=True, default=-math.inf)
    high: float = field(kw_only=True, default=math.inf)
    wrong: Mapping[float, str] = field(kw_only=True, default_factory=dict)

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        return "a number"

    def judge(self, given: Any) -> str | None:
        """Compare a number, NumPy scalar or array of one element."""
        number, low, high = _scalar(given), self.low, self.high
        if self.value is not None:
            slack = max(self.within, abs(self.value) * self.relative)
            low, high = self.value - slack, self.value + slack
        if low <= number <= high:
            return None
        for value, hint in self.wrong.items():
            if abs(number - value) <= max(abs(value) * 0.01, self.within):
                return hint
        return self.hint


@dataclass(frozen=True)
class Choice(Answer):
    """One of some strings; case and blanks are ignored."""

    value: str
    options: Sequence[str] = field(kw_only=True)
    wrong: Mapping[str, str] = field(kw_only=True, default_factory=dict)

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        return "one of " + ", ".join(repr(option) for option in self.options)

    def judge(self, given: Any) -> str | None:
        """Compare a string with the right option."""
        answer = _folded(_string(given))
        if answer not in map(_folded, self.options):
            raise _Unreadable(_described(given))
        if answer == _folded(self.value):
            return None
        return {_folded(key): hint for key, hint in self.wrong.items()}.get(answer, self.hint)


@dataclass(frozen=True)
class Text(Answer):
    """A string; case and blanks are ignored unless it must be `exact`."""

    value: str
    exact: bool = field(kw_only=True, default=False)
    wrong: Mapping[str, str] = field(kw_only=True, default_factory=dict)

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        return "a string"

    def judge(self, given: Any) -> str | None:
        """Compare a string."""
        form = str if self.exact else _folded
        answer = form(_string(given))
        if answer == form(self.value):
            return None
        return {form(key): hint for key, hint in self.wrong.items()}.get(answer, self.hint)


@dataclass(frozen=True)
class Shape(Answer):
    """A shape: a tuple of whole numbers."""

    value: tuple[int, ...]
    wrong: Mapping[tuple[int, ...], str] = field(kw_only=True, default_factory=dict)

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        return "a shape: a tuple of whole numbers"

    def judge(self, given: Any) -> str | None:
        """Compare a shape: number of axes, then sizes."""
        if not isinstance(given, (tuple, list)) or not given:
            raise _Unreadable(_described(given))
        numbers = [_scalar(size) for size in given]
        if any(number != int(number) for number in numbers):
            raise _Unreadable(_described(given))
        shape = tuple(map(int, numbers))
        if shape == self.value:
            return None
        if shape in self.wrong:
            return self.wrong[shape]
        if len(shape) != len(self.value):
            return f"the number of axes is not {len(shape)}. {self.hint}"
        if sorted(shape) == sorted(self.value):
            return f"the axes have another order. {self.hint}"
        return self.hint


@dataclass(frozen=True)
class Array(Answer):
    """An array, NDArray or list of numbers."""

    value: Any
    within: float = field(kw_only=True, default=1e-6)
    relative: float = field(kw_only=True, default=1e-4)

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        return f"an array of numbers of shape {np.shape(self.value)}"

    def judge(self, given: Any) -> str | None:
        """Compare an array: shape, then values."""
        values, right = _array(given), _array(self.value)
        if values.shape != right.shape:
            raise _Unreadable(f"shape {values.shape}")
        differ = ~np.isclose(values, right, rtol=self.relative, atol=self.within)
        if not differ.any():
            return None
        first = [int(index) for index in np.argwhere(differ)[0]]
        return f"{differ.sum()} of {right.size} values differ, the first at {first}. {self.hint}"


@dataclass(frozen=True)
class Function(Answer):
    """A function, compared with a reference on small inputs.

    `trials` are tuples of arguments, or a function that returns them. `wrong` maps functions with
    typical mistakes to hints.
    """

    reference: Callable
    trials: Sequence[tuple] | Callable[[], Sequence[tuple]] = field(kw_only=True)
    within: float = field(kw_only=True, default=1e-6)
    relative: float = field(kw_only=True, default=1e-4)
    wrong: Mapping[Callable, str] = field(kw_only=True, default_factory=dict)

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        return "a function"

    def judge(self, given: Any) -> str | None:
        """Call a function on the trials; its exceptions become hints."""
        if not callable(given):
            raise _Unreadable(_described(given))
        for arguments in self.trials() if callable(self.trials) else self.trials:
            try:
                result = _called(given, arguments)
            except (Exception, SystemExit) as error:
                message = _cut(str(error))
                return f"{type(error).__name__} for {_listed(arguments)}: {message or 'no message'}"
            if not self._same(result, _called(self.reference, arguments)):
                for mistake, hint in self.wrong.items():
                    if self._same(result, _called(mistake, arguments)):
                        return hint
                return f"{_cut(repr(result))} for {_listed(arguments)} is wrong. {self.hint}"
        return None

    def _same(self, result: Any, right: Any) -> bool:
        if isinstance(right, str) or right is None:
            return result == right
        if isinstance(right, dict):
            return (
                isinstance(result, dict)
                and result.keys() == right.keys()
                and all(self._same(result[key], right[key]) for key in right)
            )
        if isinstance(right, tuple):
            return (
                isinstance(result, (tuple, list))
                and len(result) == len(right)
                and all(map(self._same, result, right))
            )
        if isinstance(right, list) and not _is_numeric(right):
            return result == right
        try:
            values, expected = _array(result), _array(right)
        except _Unreadable:
            return False
        if values.shape != expected.shape and not (values.size == 1 and expected.shape == ()):
            return False
        return bool(np.allclose(values, expected, self.relative, self.within, equal_nan=True))


@dataclass(frozen=True)
class Several(Answer):
    """Several named answers: a tuple in this order, or a dict."""

    parts: Mapping[str, Answer]

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        parts = "; ".join(f"{name}, {part.expected}" for name, part in self.parts.items())
        return f"a tuple of {len(self.parts)} answers ({parts})"

    def judge(self, given: Any) -> str | None:
        """Return the hint of the first part that is wrong."""
        if isinstance(given, Mapping):
            missing = [name for name in self.parts if name not in given]
            if missing:
                raise _Unreadable(f"a dict without {missing[0]!r}")
            answers = [given[name] for name in self.parts]
        elif isinstance(given, (tuple, list)) or np.ndim(_maybe_array(given)) == 1:
            answers = list(given)
        else:
            raise _Unreadable(_described(given))
        if len(answers) != len(self.parts):
            raise _Unreadable(f"{len(answers)} of them")
        for (name, part), answer in zip(self.parts.items(), answers):
            hint = part.problem(answer)
            if hint is not None:
                return f"{name}: {hint or self.hint}"
        return None


def _scalar(given: Any) -> float:
    """Return a number or an array of one element as a float."""
    if isinstance(given, (str, bytes, bool, np.bool_, complex)):
        raise _Unreadable(_described(given))
    values = np.array(float(given)) if isinstance(given, Real) else _array(given)
    if values.size != 1 or isinstance(given, (list, tuple)) or values.dtype == bool:
        raise _Unreadable(_described(given))
    number = float(values.item())
    if not math.isfinite(number):
        raise _Unreadable(repr(number))
    return number


def _array(given: Any) -> np.ndarray:
    """Return numbers as an array; complex numbers, strings and objects are not numbers."""
    if isinstance(given, (list, tuple)):
        given = [_maybe_array(each) for each in given]
    try:
        values = np.asarray(_maybe_array(given))
    except ValueError:
        raise _Unreadable("lists of different lengths") from None
    if values.dtype.kind not in "biuf":
        raise _Unreadable(_described(given))
    return values


def _maybe_array(given: Any) -> Any:
    """Return an MXNet array (or a similar object) as a NumPy array, others unchanged."""
    convert = getattr(given, "asnumpy", None)
    return convert() if callable(convert) and not isinstance(given, type) else given


def _is_numeric(values: Any) -> bool:
    try:
        _array(values)
    except _Unreadable:
        return False
    return True


def _called(function: Callable, arguments: tuple) -> Any:
    """Call a function on copies of its arguments, without its output and its warnings."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        return function(*copy.deepcopy(arguments))


def _string(given: Any) -> str:
    if not isinstance(given, str):
        raise _Unreadable(_described(given))
    return str(given)


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _described(given: Any) -> str:
    """Return the type of an answer in words, with its value if that is short."""
    if given is None:
        return "None"
    shape = getattr(given, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"{type(given).__name__} of shape {shape}"
    if isinstance(given, str):
        return f"the string {_cut(repr(given))}"
    if isinstance(given, (bool, int, float, complex, tuple, list)):
        return f"{type(given).__name__} {_cut(repr(given))}"
    return type(given).__name__


def _listed(arguments: tuple) -> str:
    return f"the input {_cut(', '.join(map(repr, arguments)))}"


def _cut(text: str) -> str:
    """Return a text in one line of at most 60 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."
