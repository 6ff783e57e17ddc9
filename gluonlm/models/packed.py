"""Arrays that share memory: parameters behind each other, and their gradients in one buffer."""

import ctypes
from collections.abc import Iterator, Sequence

import numpy as np
from mxnet import autograd, gluon, nd
from mxnet.base import _LIB, check_call


class Packed(gluon.Parameter):
    """One parameter in place of several, which stay as the names of its parts.

    Parameters
    ----------
    parts
        Initialized parameters, in the order in which they are to lie; some may be packed, too.
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
        """Return for each part its place in each of these arrays `(size,)`."""
        found, begin = [], 0
        for part in self.parts:
            end = begin + part.list_data()[0].size
            found.append([array[begin:end].reshape(part.shape) for array in arrays])
            begin = end
        return found


def outermost(parameters: Sequence[gluon.Parameter]) -> list:
    """Return what parameters are packed in, once each; those that are in nothing are themselves."""
    return list(dict.fromkeys(_around(parameter) for parameter in parameters))


def together(parameters: Sequence[gluon.Parameter]) -> gluon.Parameter:
    """Return one parameter that holds all of these, which are packed if they are not yet."""
    wholes = outermost(parameters)
    return wholes[0] if len(wholes) == 1 else Packed("together", wholes)


def _around(parameter):
    return _around(parameter.packed) if hasattr(parameter, "packed") else parameter


def _put_values(parameter, arrays):
    parameter._data = list(arrays)
    if isinstance(parameter, Packed):
        for part, views in zip(parameter.parts, parameter.views(arrays)):
            _put_values(part, views)


def put_gradients(parameter: gluon.Parameter, arrays: Sequence[nd.NDArray]) -> None:
    """Make these arrays the gradients of a parameter, and views of them those of its parts."""
    parameter._grad = list(arrays)
    autograd.mark_variables(parameter.list_data(), parameter._grad, parameter.grad_req)
    if isinstance(parameter, Packed):
        for part, views in zip(parameter.parts, parameter.views(arrays)):
            put_gradients(part, views)


def split(parameter: gluon.Parameter, array: nd.NDArray) -> Iterator[tuple]:
    """Yield each part that is not packed itself, and its place in an array like the parameter."""
    if not isinstance(parameter, Packed):
        yield parameter, array
        return
    for part, (view,) in zip(parameter.parts, parameter.views([array])):
        yield from split(part, view)


def memory_of(array: nd.NDArray) -> np.ndarray:
    """Return the memory of an array on the CPU, its pending writes done, to be read and written."""
    array.wait_to_read()
    address = ctypes.c_void_p()
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(address)))
    size = array.size * np.dtype(array.dtype).itemsize
    numbers = (ctypes.c_char * size).from_address(address.value or 0)
    return np.frombuffer(numbers, array.dtype).reshape(array.shape)


class BufferPool:
    """Puts numbers on a context, those of one shape always into the same array.

    Memory that is lent anew comes back through Python, on a thread of MXNet's: a tenth of a small
    model's step. Whatever reads an array must be done before the next numbers are put there.
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
