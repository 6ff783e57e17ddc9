"""Names that IPython, NumPy, Python and other libraries have removed since 2018."""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import random
import sys
import types
from collections.abc import Callable
from typing import Any

from ..system.adaptation.names import CONSTANTS, RENAMED
from .hooks import after_import
from .record import record

_PYTHON_2 = {
    "basestring": lambda: str,
    "long": lambda: int,
    "raw_input": lambda: input,
    "reduce": lambda: functools.reduce,
    "reload": lambda: importlib.reload,
    "unichr": lambda: chr,
    "unicode": lambda: str,
    "xrange": lambda: range,
}


BUILTINS = ("bool", "float", "complex", "object", "str")  # once names of NumPy too


def _from(module: str, name: str) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module(module), name)


def _abstract_classes() -> dict[str, Callable[[], Any]]:
    names = ("Callable", "Hashable", "Iterable", "Iterator", "Mapping", "MutableMapping")
    more = ("MutableSequence", "MutableSet", "Sequence", "Set", "Sized")
    return {name: _from("collections.abc", name) for name in (*names, *more)}


def _numpy_names() -> dict[str, Callable[[], Any]]:
    names = {old: _from("numpy", new) for old, new in RENAMED.items()}
    names |= {name: functools.partial(CONSTANTS.get, name) for name in CONSTANTS}
    names |= {name: _from("builtins", name) for name in BUILTINS}
    return {**names, "long": lambda: int, "unicode": lambda: str, "asscalar": lambda: _as_scalar}


def _as_scalar(array):
    return array.item()


# module: removed name: function that returns its replacement
_FORMATS = ("matplotlib_inline.backend_inline", "set_matplotlib_formats")
REMOVED: dict[str, dict[str, Callable[[], Any]]] = {
    "IPython.display": {"set_matplotlib_formats": _from(*_FORMATS)},
    "collections": _abstract_classes(),
    "inspect": {"getargspec": _from("inspect", "getfullargspec")},
    "numpy": _numpy_names(),
    "pkg_resources": {  # a module that setuptools has removed
        "DistributionNotFound": _from("importlib.metadata", "PackageNotFoundError"),
        "get_distribution": _from("importlib.metadata", "distribution"),
        "parse_version": _from("packaging.version", "parse"),
    },
    "time": {"clock": _from("time", "perf_counter")},
}
# the libraries that test for a name to learn the version of another
CURRENT = ("IPython", "_pytest", "matplotlib", "numpy", "onnx", "pandas", "scipy", "sklearn")


def removed_names() -> None:
    """Restore names that were removed from libraries: the first use of each is recorded."""
    if importlib.util.find_spec("pkg_resources") is None:
        sys.modules["pkg_resources"] = types.ModuleType("pkg_resources")
    for module in REMOVED:
        after_import(module, _restore)
    after_import("spacy", _restore_short_names)


def _restore(module):
    missing = {k: v for k, v in REMOVED[module.__name__].items() if k not in vars(module)}
    otherwise = vars(module).get("__getattr__")

    def find(name):
        caller = sys._getframe(1).f_globals.get("__name__", "").partition(".")[0]
        if name in missing and caller not in CURRENT:
            record("names", f"{module.__name__}.{name} restored")
            return missing[name]()
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    module.__getattr__ = find


def _restore_short_names(spacy: Any) -> None:
    """Load spaCy's small English model as "en"; only its tokenizer, if it is not installed."""
    load, full = spacy.load, "en_core_web_sm"

    def load_by_short_name(name, *args, **kwargs):
        if name != "en":
            return load(name, *args, **kwargs)
        if importlib.util.find_spec(full):
            record("names", f"spacy.load('en') → spacy.load('{full}')")
            return load(full, *args, **kwargs)
        record("names", f"spacy.load('en') → the tokenizer only ({full} is not installed)")
        return spacy.blank(name)

    spacy.load = load_by_short_name


def python_2_names() -> None:
    """Define Python 2's built-in functions that Python 3 renamed, such as `xrange`."""
    for name, find in _PYTHON_2.items():
        if not hasattr(builtins, name):
            setattr(builtins, name, _recorded(name, find()))


def _recorded(name, function):
    """Return a function that records its first call; classes are returned unchanged."""
    if isinstance(function, type) and name != "xrange":
        return function

    @functools.wraps(function, updated=())
    def call(*args, **kwargs):
        record("python2", f"{name} defined")
        return function(*args, **kwargs)

    return call


def random_sets() -> None:
    """Make `random.sample` accept sets and `random.shuffle` a function, as before Python 3.11."""
    sample, shuffle = random.sample, random.shuffle

    def sample_any(population, k, **kwargs):
        if isinstance(population, (set, frozenset)):
            record("random", "random.sample of a set")
            population = sorted(population)
        return sample(population, k, **kwargs)

    def shuffle_with(x, random=None):
        if random is None:
            return shuffle(x)
        record("random", "random.shuffle with a function")
        for i in reversed(range(1, len(x))):
            j = int(random() * (i + 1))
            x[i], x[j] = x[j], x[i]

    random.sample, random.shuffle = sample_any, shuffle_with
