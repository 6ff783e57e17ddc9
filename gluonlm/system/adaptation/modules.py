"""Replacements for the built-ins `__import__`, `str` and `exec` in MXNet's modules."""

from __future__ import annotations

import builtins
import functools
import importlib.util
import inspect
import re
import sys
import types
from typing import Any

from .names import OVERLAYS, REPLACEMENTS

HIDDEN = "sklearn"  # slow to import, and used only by the deprecated mx.model.FeedForward
# modules that pass parameters to the C++ library as str(value)
SERIALIZERS = (
    *("mxnet._ctypes.ndarray", "mxnet._ctypes.symbol", "mxnet.symbol.symbol"),
    *("mxnet.io.io", "mxnet.kvstore.base"),
)
_HEADER = re.compile(r"\s*def (\w+)(\(.*\)):\n")
_functions: list[tuple[str, Any]] = []  # source and stub of each operator


@functools.cache
def _installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # imported without a specification
        return name in sys.modules


def _import(name, globals=None, locals=None, fromlist=(), level=0):
    """Import a module like the statement, but return its overlay if it has one."""
    top, _, rest = name.partition(".")
    if level:
        return builtins.__import__(name, globals, locals, fromlist, level)
    if name in REPLACEMENTS:
        return REPLACEMENTS[name]()
    if top == HIDDEN and top not in sys.modules:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    words = list(fromlist or ())
    parts = {word: OVERLAYS[f"{name}.{word}"] for word in words if f"{name}.{word}" in OVERLAYS}
    if name in OVERLAYS and _installed(top):
        overlay = OVERLAYS[name]
        missing = [word for word in words if not hasattr(overlay, word)]
        if missing:  # submodules
            builtins.__import__(name, globals, locals, missing)
        return types.SimpleNamespace(**{rest: overlay}) if rest and not words else overlay
    if parts and len(parts) == len(words) and _installed(top):
        return types.SimpleNamespace(**parts)
    module = builtins.__import__(name, globals, locals, fromlist)
    return OVERLAYS.get(module.__name__, module)


class _Serializer(type):
    """The metaclass of `Text`, which formats NumPy scalars in a tuple as plain numbers.

    NumPy 2 formats (3,) as (np.int64(3),), which the C++ library cannot parse.
    """

    def __call__(cls, value=""):
        text = str(value)
        if "np." not in text:
            return text
        import numpy as np

        with np.printoptions(legacy="1.21"):
            return str(value)

    def __instancecheck__(cls, value):
        return isinstance(value, str)


class Text(metaclass=_Serializer):
    """Replaces `str` in the modules of `SERIALIZERS`."""


def _exec(source, globals=None, locals=None):
    """Execute a source, but delay compiling the function of an operator until its first call.

    MXNet generates a function for each of its 2,500 operators at import; compiling them took nearly
    half of the import time.
    """
    names = sys._getframe(1).f_globals if globals is None else globals
    header = _HEADER.match(source) if isinstance(source, str) else None
    if header is None or locals is None:
        exec(source, names, locals)
        return
    name, parameters = header.groups()
    names["_call_compiled"] = _call_compiled
    call = f"_call_compiled({len(_functions)}, locals())"
    exec(f"def {name}{parameters}: return {call}", names, locals)
    _functions.append((source, locals[name]))


def _call_compiled(number, arguments):
    """Compile the function of a stub, move its code into the stub, and call it."""
    source, function = _functions[number]
    defined: dict[str, Any] = {}
    exec(source, function.__globals__, defined)
    function.__code__ = defined.popitem()[1].__code__
    *values, keywords = arguments.values()
    if function.__code__.co_flags & inspect.CO_VARARGS:
        values[-1:] = values[-1]
    return function(*values, **keywords)


_BUILTINS = {**vars(builtins), "__import__": _import, "exec": _exec}
_SERIALIZING_BUILTINS = {**_BUILTINS, "str": Text}


def adapt(module: types.ModuleType) -> None:
    """Set built-ins in a module, before its code runs, that restore the removed names."""
    serializes = module.__name__ in SERIALIZERS
    vars(module)["__builtins__"] = _SERIALIZING_BUILTINS if serializes else _BUILTINS
