"""An MXNet key-value store that sums gradients over MPI.

Usage: `gluon.Trainer(parameters, rule, kvstore=MPIStore(world), update_on_kvstore=False)`.
"""

from typing import Any

import mxnet as mx
from mxnet import gluon, nd

from ..models.packed import memory_of, outermost, put_gradients
from ..system.processes import Processes

EXTRA = 2  # numbers of the trainer: whether a process wants to stop, and a speed
TAIL = 1 + EXTRA  # numbers after the gradients; the first is a loss


class FlatGradients:
    """One buffer per device with all gradients as views, so that one message sums them.

    Attributes
    ----------
    tails
        `(TAIL,)` for each device: the numbers after its gradients, summed with them.
    """

    def __init__(self, parameters: list[gluon.Parameter], ctx: list):
        packed = outermost(parameters)
        size = sum(parameter.list_grad()[0].size for parameter in packed)
        self.buffers = [nd.zeros(size + TAIL, ctx=device) for device in ctx]
        self.tails, begin = [buffer[size:] for buffer in self.buffers], 0
        for parameter in packed:
            end = begin + parameter.list_grad()[0].size
            views = [buffer[begin:end].reshape(parameter.shape) for buffer in self.buffers]
            put_gradients(parameter, views)
            begin = end


@mx.kvstore.KVStoreBase.register
class MPIStore(mx.kvstore.KVStoreBase):
    """A store that sums over all devices of all processes.

    Parameters
    ----------
    flat
        The gradients in one buffer, which is sent as one message once every gradient of a step has
        been pushed. If None, each array is sent separately.
    """

    def __init__(self, world: Processes, flat: FlatGradients | None = None):
        self.world, self.flat = world, flat
        self.keys: set = set()
        self.pushed = 0

    @property
    def type(self) -> str:
        return "mpi"

    @property
    def rank(self) -> int:
        return self.world.rank

    @property
    def num_workers(self) -> int:
        return self.world.size

    @staticmethod
    def is_capable(capability: str) -> bool:
        """Return False: only summation is supported."""
        return False

    def broadcast(self, key, value, out, priority=0) -> None:
        """Copy the first process's value to `out` on every device of every process."""
        first = self.world.share_arrays({"value": _listed(value)[0].asnumpy()})["value"]
        for array in _listed(out):
            array[:] = first
        self.keys.add(key)

    def pushpull(self, key, value, out=None, priority=0) -> None:
        """Sum a value over devices and processes, in place and into `out`."""
        arrays = _listed(value)
        if self.flat is None:
            _sum_on_first(arrays)
            self._sum_over_processes(arrays[0])
            for array in [*arrays[1:], *_listed(out)]:
                arrays[0].copyto(array)
            return
        self.pushed += 1
        if self.pushed == len(self.keys):
            self.pushed, buffers = 0, self.flat.buffers
            _sum_on_first(buffers)
            self._sum_over_processes(buffers[0])
            for buffer in buffers[1:]:
                buffers[0].copyto(buffer)

    def _sum_over_processes(self, array):
        if array.context.device_type == "cpu":
            self.world.sum(memory_of(array))
        else:
            numbers = array.asnumpy()
            self.world.sum(numbers)
            array[:] = numbers


def _listed(value: Any) -> list:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _sum_on_first(arrays):
    for array in arrays[1:]:
        arrays[0] += array.as_in_context(arrays[0].context)
