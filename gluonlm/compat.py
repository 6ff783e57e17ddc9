"""MXNet 1.9.1 on later releases of Python, NumPy and ONNX.

MXNet's modules find names that these libraries have removed since 2022. All other modules see the
libraries unchanged, so a library that tests `hasattr(numpy, "float_")` is not misled. `adapt`
gives a module its own `__import__`: there, `import numpy` binds a copy of the module `numpy` that
has the missing names as well, including imports inside functions. `repair` then changes the few
functions and classes of MXNet that give other results with NumPy 2.
"""

from __future__ import annotations

import builtins
import functools
import re
import types
from collections.abc import Callable
from typing import Any

# removed in NumPy 2.0 (`bool` in 1.24, and NumPy 2.0 has it again): old name, name today
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
# removed in NumPy 1.20, but MXNet copies them at import; nothing in MXNet calls them
FINANCIAL = ("mirr", "npv", "pmt", "ppmt", "pv", "rate")
METHODS = {"tostring": "tobytes"}  # of arrays; removed in NumPy 2.3
KINDS = "biufc"  # of dtypes, for `_promote_by_value`; signed and unsigned integers are one kind
# modules that pass parameters to the C++ library as str(value)
SERIALIZERS = (
    *("mxnet._ctypes.ndarray", "mxnet._ctypes.symbol", "mxnet.symbol.symbol"),
    *("mxnet.io.io", "mxnet.kvstore.base"),
)


class Overlay(types.ModuleType):
    """A copy of a module with more names; what the module loads later is found, too."""

    def __init__(self, module: types.ModuleType, names: dict[str, Any]):
        super().__init__(module.__name__)
        vars(self).update({**names, **vars(module)})
        self.__getattr__ = functools.partial(getattr, module)


@functools.cache
def numpy_overlay() -> types.ModuleType:
    """Return NumPy with the names that MXNet 1.9.1 uses and later releases lack."""
    import numpy as np

    names: dict[str, Any] = {name: _removed(name) for name in FINANCIAL}
    names.update(CONSTANTS, in1d=_in1d, msort=functools.partial(np.sort, axis=0))
    names.update({old: getattr(np, new) for old, new in RENAMED.items() if hasattr(np, new)})
    names["compat"] = types.SimpleNamespace(basestring=str)
    overlay = Overlay(np, names)
    replaced = {name: _wrap_integers(getattr(np, name)) for name in ("array", "asarray")}
    for name in ("nanpercentile", "nanquantile"):
        replaced[name] = _rename_interpolation(getattr(np, name))
    vars(overlay).update(replaced)
    if hasattr(np.lib, "array_utils"):  # NumPy 2 warns at each use of numpy.core
        overlay.core = types.SimpleNamespace(numeric=np.lib.array_utils)
    return overlay


def _in1d(ar1, ar2, assume_unique=False, invert=False):
    import numpy as np

    return np.isin(np.ravel(ar1), ar2, assume_unique=assume_unique, invert=invert)


def _rename_interpolation(function) -> Callable:
    """Make a function accept `interpolation`, which NumPy 2.4 has replaced by `method`."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        if "interpolation" in kwargs:
            kwargs["method"] = kwargs.pop("interpolation")
        return function(*args, **kwargs)

    return wrapped


def _wrap_integers(function) -> Callable:
    """Make a constructor of arrays wrap integers (256 is 0 in uint8), as NumPy 1 does."""

    @functools.wraps(function)
    def wrapped(object, dtype=None, **kwargs):
        try:
            return function(object, dtype, **kwargs)
        except OverflowError:
            return function(object, **kwargs).astype(dtype)

    return wrapped


def _removed(name) -> Callable:
    def function(*args, **kwargs):
        raise NotImplementedError(f"numpy.{name} no longer exists: see numpy_financial.{name}")

    function.__name__ = name
    function.__doc__ = "Removed in NumPy 1.20."
    return function


@functools.cache
def onnx_overlay() -> types.ModuleType:
    """Return ONNX with `onnx.mapping`, which MXNet's exporter reads and later releases lack."""
    import onnx

    kinds = [kind for kind in onnx.TensorProto.DataType.values() if kind]
    dtypes = {kind: onnx.helper.tensor_dtype_to_np_dtype(kind) for kind in kinds}
    tables = {"TENSOR_TYPE_TO_NP_TYPE": dtypes}
    tables["NP_TYPE_TO_TENSOR_TYPE"] = {dtype: kind for kind, dtype in dtypes.items()}
    return Overlay(onnx, {"mapping": types.SimpleNamespace(**tables)})


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


OVERLAYS = {"numpy": numpy_overlay, "onnx": onnx_overlay}
REPLACEMENTS: dict[str, Callable[[], Any]] = {  # modules that no longer exist
    "distutils.version": lambda: types.SimpleNamespace(
        LooseVersion=_version, StrictVersion=_version
    ),
    "onnx.mapping": lambda: onnx_overlay().mapping,
}


def _import(name, globals=None, locals=None, fromlist=(), level=0):
    if name in REPLACEMENTS and level == 0:
        return REPLACEMENTS[name]()
    if name in OVERLAYS and level == 0:  # NumPy 1.26 warns where `bool` is looked up in it
        fromlist = [word for word in fromlist or () if word not in vars(OVERLAYS[name]())]
    module = builtins.__import__(name, globals, locals, fromlist, level)
    return OVERLAYS[module.__name__]() if module.__name__ in OVERLAYS else module


class _Serializer(type):
    """The type of `Text`: the type `str`, except that it shows the scalars in a tuple as numbers.

    NumPy 2 shows (np.int64(3),) for NumPy 1's (3,), which the C++ library cannot parse.
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


_BUILTINS = {**vars(builtins), "__import__": _import}
_SERIALIZING_BUILTINS = {**_BUILTINS, "str": Text}


def adapt(module: types.ModuleType) -> None:
    """Provide a module, before its code runs, with the names of the releases it was written for."""
    serializes = module.__name__ in SERIALIZERS
    vars(module)["__builtins__"] = _SERIALIZING_BUILTINS if serializes else _BUILTINS


class _DoubleSum:
    """An attribute that keeps a sum in double precision.

    In NumPy 2, 0.0 + np.float32(1) has single precision, so MXNet's metrics lost digits.
    """

    def __init__(self, name):
        self.name = name

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        if self.name in vars(instance):
            return vars(instance)[self.name]
        raise AttributeError(self.name)

    def __set__(self, instance, value):
        import numpy as np

        vars(instance)[self.name] = np.float64(value) if isinstance(value, float) else value


def _promote_by_value(operator) -> Callable:
    """Make an operator of NumPy return the dtype that NumPy 1 did for an array and a scalar."""
    import numpy as np

    def as_numbers(values):
        kinds = [_kind(value) for value in values if np.ndim(value)]
        for value in values:
            scalar = isinstance(value, (np.generic, np.ndarray)) and not value.ndim
            yield value.item() if scalar and kinds and _kind(value) <= max(kinds) else value

    def promoted(*inputs, **kwargs):
        try:
            return operator(*as_numbers(inputs), **kwargs)
        except OverflowError:  # an integer that the array's dtype cannot hold
            return operator(*inputs, **kwargs)

    return promoted


def _kind(value) -> int:
    return KINDS.find(value.dtype.kind.replace("u", "i")) if hasattr(value, "dtype") else -1


def _repair_metric(metric) -> None:
    for name in ("sum_metric", "global_sum_metric"):
        setattr(metric.EvalMetric, name, _DoubleSum(name))


def _repair_recordio(recordio) -> None:
    for function in vars(recordio).values():
        if isinstance(function, types.FunctionType):
            code = function.__code__
            names = tuple(METHODS.get(name, name) for name in code.co_names)
            function.__code__ = code.replace(co_names=names)


def _repair_utils(utils) -> None:
    find = utils._get_np_op
    utils._get_np_op = lambda name: _promote_by_value(find(name))


def _repair_multiarray(multiarray) -> None:
    """Accept named tuples, which NumPy's linalg.qr and linalg.svd return since NumPy 1.25."""
    convert = multiarray._as_mx_np_array

    def convert_result(object, ctx=None):
        if hasattr(object, "_make"):
            return object._make(convert(tuple(object), ctx))
        return convert(object, ctx)

    multiarray._as_mx_np_array = convert_result


REPAIRS: dict[str, Callable[[Any], None]] = {
    "mxnet.metric": _repair_metric,
    "mxnet.recordio": _repair_recordio,
    "mxnet.numpy.multiarray": _repair_multiarray,
    "mxnet.numpy.utils": _repair_utils,
}


def repair(module: types.ModuleType) -> None:
    """Change what gives other results with later releases in a module of MXNet that has loaded."""
    REPAIRS.get(module.__name__, lambda module: None)(module)
