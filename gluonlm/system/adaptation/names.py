"""Copies of the modules that MXNet imports, with the names that later releases removed."""

from __future__ import annotations

import functools
import importlib
import re
import sys
import types
from collections.abc import Callable
from typing import Any

# removed in NumPy 2.0 (`bool` in 1.24, but NumPy 2.0 restored it): old name, new name
RENAMED = {
    "alltrue": "all",
    "bool": "bool_",
    "cfloat": "complex128",
    "complex_": "complex128",
    "cumproduct": "cumprod",
    "float_": "float64",
    "longfloat": "longdouble",
    "product": "prod",
    "round_": "round",
    "row_stack": "vstack",
    "singlecomplex": "complex64",
    "sometrue": "any",
    "string_": "bytes_",
    "trapz": "trapezoid",
    "unicode_": "str_",
}
CONSTANTS = {
    **{"NAN": float("nan"), "NaN": float("nan"), "PZERO": 0.0, "NZERO": -0.0},
    **dict.fromkeys(("Inf", "Infinity", "PINF", "infty"), float("inf")),
    "NINF": float("-inf"),
    "int": int,  # removed in NumPy 1.24
}
# removed in NumPy 1.20; MXNet copies them at import but never calls them
FINANCIAL = ("mirr", "npv", "pmt", "ppmt", "pv", "rate")


class Overlay(types.ModuleType):
    """A copy of a module with more names; the module is imported on first use."""

    def __init__(self, name: str, extend: Callable[[Any], dict[str, Any]] = lambda module: {}):
        super().__init__(name)
        self.__extend__ = extend

    def __getattr__(self, name: str) -> Any:
        module = importlib.import_module(self.__name__)
        if "__extend__" in vars(self):
            extend = vars(self).pop("__extend__")
            vars(self).update({**vars(module), **extend(module)})
        return vars(self)[name] if name in vars(self) else getattr(module, name)


class SciPySparse(Overlay):
    """scipy.sparse, whose matrices MXNet checks for whenever it creates an array."""

    def __init__(self):
        super().__init__("scipy.sparse")

    @property
    def csr(self) -> types.SimpleNamespace:
        """The class to check for; an empty tuple before SciPy is imported."""
        loaded = sys.modules.get("scipy.sparse")
        return types.SimpleNamespace(csr_matrix=loaded.csr_matrix if loaded else ())


def _numpy_names(np) -> dict[str, Any]:
    """Return the names that MXNet uses and NumPy lacks or has changed."""
    names: dict[str, Any] = {name: _removed(name) for name in FINANCIAL}
    names.update(CONSTANTS, in1d=_in1d, msort=functools.partial(np.sort, axis=0))
    names.update({old: getattr(np, new) for old, new in RENAMED.items() if hasattr(np, new)})
    names["compat"] = types.SimpleNamespace(basestring=str)
    names = {name: found for name, found in names.items() if name not in vars(np)}
    for name in ("array", "asarray"):
        names[name] = _wrap_integers(getattr(np, name))
    for name in ("nanpercentile", "nanquantile"):
        names[name] = _rename_interpolation(getattr(np, name))
    if hasattr(np.lib, "array_utils"):  # NumPy 2 warns at each use of numpy.core
        names["core"] = types.SimpleNamespace(numeric=np.lib.array_utils)
    return names


def _in1d(ar1, ar2, assume_unique=False, invert=False):
    import numpy as np

    return np.isin(np.ravel(ar1), ar2, assume_unique=assume_unique, invert=invert)


def _rename_interpolation(function) -> Callable:
    """Make a function accept `interpolation`, which NumPy 2.4 replaced with `method`."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        if "interpolation" in kwargs:
            kwargs["method"] = kwargs.pop("interpolation")
        return function(*args, **kwargs)

    return wrapped


def _wrap_integers(function) -> Callable:
    """Make an array constructor wrap integers (256 becomes 0 in uint8), as in NumPy 1."""

    @functools.wraps(function)
    def wrapped(object, dtype=None, **kwargs):
        try:
            return function(object, dtype, **kwargs)
        except OverflowError:
            return function(object, **kwargs).astype(dtype)

    return wrapped


def _removed(name) -> Callable:
    def function(*args, **kwargs):
        raise NotImplementedError(
            f"numpy.{name} was removed in NumPy 1.20: use numpy_financial.{name}"
        )

    function.__name__ = name
    function.__doc__ = "Removed in NumPy 1.20."
    return function


def _onnx_names(onnx) -> dict[str, Any]:
    """Return `onnx.mapping`, which MXNet's exporter reads."""
    kinds = [kind for kind in onnx.TensorProto.DataType.values() if kind]
    dtypes = {kind: onnx.helper.tensor_dtype_to_np_dtype(kind) for kind in kinds}
    tables = {"TENSOR_TYPE_TO_NP_TYPE": dtypes}
    tables["NP_TYPE_TO_TENSOR_TYPE"] = {dtype: kind for kind, dtype in dtypes.items()}
    return {"mapping": types.SimpleNamespace(**tables)}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


OVERLAYS: dict[str, Any] = {
    "numpy": Overlay("numpy", _numpy_names),
    "onnx": Overlay("onnx", _onnx_names),
    "requests": Overlay("requests"),
    "scipy.sparse": SciPySparse(),
    "scipy.stats": Overlay("scipy.stats"),
}
REPLACEMENTS: dict[str, Callable[[], Any]] = {  # modules that no longer exist
    "distutils.version": lambda: types.SimpleNamespace(
        LooseVersion=_version, StrictVersion=_version
    ),
    "onnx.mapping": lambda: OVERLAYS["onnx"].mapping,
}
