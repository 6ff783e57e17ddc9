"""Parameters of Gluon, whose arrays were once a dictionary of contexts."""

from __future__ import annotations

from typing import Any

from .hooks import after_import
from .record import record


class ArraysByContext(list):
    """The arrays of a parameter, by number or by context."""

    def _number(self, key: Any) -> Any:
        if not hasattr(key, "device_id"):
            return key
        record("parameters", "Parameter._data indexed by a context")
        return [array.context for array in self].index(key)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._number(key))

    def __setitem__(self, key: Any, array: Any) -> None:
        super().__setitem__(self._number(key), array)


def arrays_by_context() -> None:
    """Index the arrays of a parameter, `Parameter._data`, by contexts too, as in Gluon 0.11."""
    after_import("mxnet.gluon.parameter", _wrap)


def _wrap(module: Any) -> None:
    def get(self):
        return vars(self).get("_data")

    def set_arrays(self, arrays):
        vars(self)["_data"] = ArraysByContext(arrays) if isinstance(arrays, list) else arrays

    module.Parameter._data = property(get, set_arrays)
