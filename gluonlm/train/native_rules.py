"""Update rules that compute in C++ where Gluon's take several passes or start other threads."""

import ctypes
import math

import mxnet as mx
import numpy as np
from mxnet import nd

from .. import native
from ..models.packed import address_of


class _AdamNumbers(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_double) for name in ("lr", "beta1", "beta2", "epsilon", "scale", "decay")
    ]


class NativeAdam(mx.optimizer.Adam):
    """`mxnet.optimizer.Adam` for arrays on a CPU, in one pass."""

    def __init__(self, kernels: native.Kernels, **kwargs):
        super().__init__(**kwargs)
        self.kernels = kernels

    def update(self, index, weight, grad, state) -> None:
        """Update a weight and its moments; Kingma and Ba 2015, algorithm 1."""
        self._update_count(index)
        t = self._index_update_count[index]
        lr = self._get_lr(index) * math.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)
        numbers = self.beta1, self.beta2, self.epsilon, self.rescale_grad, self._get_wd(index)
        moments = map(address_of, state)
        arrays = address_of(weight, to_write=True), address_of(grad), *moments
        rule = _AdamNumbers(lr, *numbers)
        self.kernels.adam(native.threads(), weight.size, *arrays, ctypes.addressof(rule))


class NativeSGD(mx.optimizer.SGD):
    """`mxnet.optimizer.SGD` without momentum, for arrays on a CPU."""

    def __init__(self, kernels: native.Kernels, **kwargs):
        super().__init__(**kwargs)
        self.kernels = kernels

    def _update_impl(self, indices, weights, grads, states, multi_precision=False):
        self._update_count(indices)
        for index, weight, grad in zip(indices, weights, grads):
            numbers = self._get_lr(index), self.rescale_grad, self._get_wd(index)
            arrays = address_of(weight, to_write=True), address_of(grad)
            self.kernels.sgd(native.threads(), weight.size, *arrays, *numbers)


def native_rule(
    rule: mx.optimizer.Optimizer, kernels: native.Kernels, **kwargs
) -> mx.optimizer.Optimizer:
    """Return the same rule in C++, or the rule itself if there is none.

    Parameters
    ----------
    kwargs
        The arguments with which the rule was created.
    """
    plain = not rule.clip_gradient
    if plain and type(rule) is mx.optimizer.Adam:
        return NativeAdam(kernels, **kwargs)
    if plain and type(rule) is mx.optimizer.SGD and not rule.momentum:
        return NativeSGD(kernels, **kwargs)
    return rule


def sums_of_squares(kernels: native.Kernels, arrays: list[nd.NDArray]) -> np.ndarray:
    """Return the squared norm of each CPU array, float64."""
    threads = native.threads()
    return np.array([kernels.squares(threads, a.size, address_of(a)) for a in arrays])
