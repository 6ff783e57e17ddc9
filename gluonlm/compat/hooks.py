"""Calls after imports: repairs change a module when a program imports it, not before."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable
from typing import Any

_waiting: dict[str, list[Callable[[Any], None]]] = {}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules as the later finders do, and runs the functions that wait for them."""

    def find_spec(self, name, path, target=None):
        if name not in _waiting:
            return None
        later = sys.meta_path[sys.meta_path.index(self) + 1 :]
        specs = (finder.find_spec(name, path, target) for finder in later)
        spec = next((spec for spec in specs if spec), None)
        if spec and spec.loader and hasattr(spec.loader, "exec_module"):
            load = spec.loader.exec_module

            def load_and_call(module):
                load(module)
                for function in _waiting.pop(name, ()):
                    function(module)

            spec.loader.exec_module = load_and_call  # type: ignore[method-assign]
        return spec


def after_import(name: str, function: Callable[[Any], None]) -> None:
    """Call a function with a module as soon as it is imported; now, if it already is."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is not None and not getattr(spec, "_initializing", False):
        function(module)
        return
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    _waiting.setdefault(name, []).append(function)
