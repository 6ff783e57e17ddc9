"""Parameters packed contiguously in memory, with their gradients in one buffer."""

import ctypes
from collections.abc import Iterator, Sequence

import numpy as np
from mxnet import autograd, gluon, nd
from mxnet.base import _LIB, check_call


class Packed(gluon.Parameter):
    """One parameter that replaces several, which become views of it.

    Parameters
    ----------
    parts
        Initialized parameters in memory order; some may be packed themselves.
    """

    def __init__(self, name: str, parts: Sequence[gluon.Parameter]):
        self.parts = parts
        size = sum(part.list_data()[0].size for part in parts)
        super().__init__(name, shape=(size,), init="zeros")
        self.initialize(ctx=parts[0].list_ctx())
        for part, views in zip(parts, self.views(self.list_data())):
            for old, view in zip(part.list_data(), views):
                view[:] = old
            part.packed = self
        _put_values(self, self.list_data())
        put_gradients(self, self.list_grad())

    def views(self, arrays: Sequence[nd.NDArray]) -> list:
        """Return for each part its view of each of these arrays `(size,)`."""
        found, begin = [], 0
        for part in self.parts:
            end = begin + part.list_data()[0].size
            found.append([array[begin:end].reshape(part.shape) for array in arrays])
            begin = end
        return found


def outermost(parameters: Sequence[gluon.Parameter]) -> list:
    """Return the outermost packed parameter of each parameter (itself if unpacked), once each."""
    return list(dict.fromkeys(_around(parameter) for parameter in parameters))


def together(parameters: Sequence[gluon.Parameter]) -> gluon.Parameter:
    """Return one parameter that contains all of these, packing them if necessary."""
    outer = outermost(parameters)
    return outer[0] if len(outer) == 1 else Packed("together", outer)


def _around(parameter):
    return _around(parameter.packed) if hasattr(parameter, "packed") else parameter


def _put_values(parameter, arrays):
    parameter._data = list(arrays)
    if isinstance(parameter, Packed):
        for part, views in zip(parameter.parts, parameter.views(arrays)):
            _put_values(part, views)


def put_gradients(parameter: gluon.Parameter, arrays: Sequence[nd.NDArray]) -> None:
    """Set the gradient arrays of a parameter, and views of them as gradients of its parts."""
    parameter._grad = list(arrays)
    autograd.mark_variables(parameter.list_data(), parameter._grad, parameter.grad_req)
    if isinstance(parameter, Packed):
        for part, views in zip(parameter.parts, parameter.views(arrays)):
            put_gradients(part, views)


def split(parameter: gluon.Parameter, array: nd.NDArray) -> Iterator[tuple]:
    """Yield each innermost part, and its view of an array shaped like the parameter."""
    if not isinstance(parameter, Packed):
        yield parameter, array
        return
    for part, (view,) in zip(parameter.parts, parameter.views([array])):
        yield from split(part, view)


def memory_of(array: nd.NDArray) -> np.ndarray:
    """Return a writable NumPy view of a CPU array, after its pending writes."""
    size = array.size * np.dtype(array.dtype).itemsize
    numbers = (ctypes.c_char * size).from_address(address_of(array))
    return np.frombuffer(numbers, array.dtype).reshape(array.shape)


def address_of(array: nd.NDArray, to_write: bool = False) -> int:
    """Return the address of a CPU array's numbers, after its pending writes.

    Parameters
    ----------
    to_write
        Whether to wait for its pending reads, too.
    """
    wait = _LIB.MXNDArrayWaitToWrite if to_write else _LIB.MXNDArrayWaitToRead
    check_call(wait(array.handle))
    address = ctypes.c_void_p()
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(address)))
    return address.value or 0


class BufferPool:
    """Copies numbers to a context, always reusing the same array for each shape.

    A new buffer is released through a Python callback on an MXNet thread, which takes a tenth of a
    small model's step. All reads of an array must finish before its next reuse.
    """

    def __init__(self, ctx):
        self.ctx = ctx
        self.places: dict = {}

    def put(self, numbers: np.ndarray) -> nd.NDArray:
        """Return the numbers as an int32 array."""
        if numbers.shape not in self.places:
            array = nd.zeros(numbers.shape, self.ctx, "int32")
            on_cpu = self.ctx.device_type == "cpu"
            self.places[numbers.shape] = array, memory_of(array) if on_cpu else array
        array, memory = self.places[numbers.shape]
        memory[:] = numbers
        return array
