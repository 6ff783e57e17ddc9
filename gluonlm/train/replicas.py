"""Data parallelism: a copy of the model per device, with its own streams and carried state."""

import numpy as np
from mxnet import autograd, nd

from ..batchify.batches import shares
from ..models import LanguageModel
from ..models.packed import BufferPool, memory_of
from ..system.arguments import check_ids
from ..system.errors import InputError
from ..system.processes import ALONE, Processes


class Replicas:
    """Divides the streams of a batch among devices, and carries each device's state.

    Each process has the same number of devices; streams are assigned in the order of ranks.

    Attributes
    ----------
    state
        A list of states, one for each device; empty before `begin`.
    """

    def __init__(self, model: LanguageModel, ctx: list, world: Processes = ALONE):
        self.model, self.ctx, self.world = model, ctx, world
        self.count = world.size * len(ctx)
        self.state: list[list] = []
        self.pools = [BufferPool(device) for device in ctx]

    def begin(self, streams: int) -> None:
        """Reset the state to its initial value."""
        pairs = zip(self.ctx, self._shares(streams))
        self.state = [self.model.begin_state(part.stop - part.start, ctx=c) for c, part in pairs]

    def forward_backward(self, inputs: np.ndarray, targets: np.ndarray) -> nd.NDArray:
        """Run a forward and backward pass over a batch; parameters hold the gradients.

        Parameters
        ----------
        inputs, targets
            Ids `(T, N)` and `(M,)`.

        Returns
        -------
        mxnet.nd.NDArray
            `(devices,)`, the summed loss on each device of this process, in nats.
        """
        streams, vocab_size, losses = inputs.shape[1], self.model.vocab_size, []
        for ids in (inputs, targets):
            check_ids(ids, vocab_size)
        targets = targets.reshape(-1, streams)  # (T, N), or (1, N) for windows
        for device, (ctx, part) in enumerate(zip(self.ctx, self._shares(streams))):
            if part.start == part.stop:  # an epoch's last windows may be fewer than devices
                losses.append(self._empty_pass(ctx))
                continue
            pool = self.pools[device]
            read = pool.put(inputs[:, part])  # (T, n)
            expected = pool.put(targets[:, part].reshape(-1))  # (m,)
            each, self.state[device] = self.model.forward_backward(
                read, expected, self.state[device]
            )
            losses.append(self._sum(each).as_in_context(self.ctx[0]))
        return nd.concat(*losses, dim=0) if len(losses) > 1 else losses[0]

    def _sum(self, losses):
        """Return the sum of the losses; MXNet's own would wake its threads for a step in C++."""
        return nd.array([memory_of(losses).sum()]) if self.model.compiled else losses.sum()

    def _empty_pass(self, ctx):
        """Set zero gradients on a device without streams; return the loss, which is 0."""
        with autograd.record():
            sums = [parameter.data(ctx).sum() for parameter in self.model.parameters().values()]
            loss = 0 * nd.add_n(*sums)
        loss.backward()
        return loss.as_in_context(self.ctx[0])

    def _shares(self, streams):
        """Return the range of streams of each device of this process."""
        first = self.world.rank * len(self.ctx)
        return shares(streams, self.count)[first : first + len(self.ctx)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the carried state, `state.DEVICE.NUMBER`; empty before `begin`.

        Every process must call this; the first one returns the state of all devices.
        """
        first = self.world.rank * len(self.ctx)
        arrays = {
            f"state.{first + device}.{i}": array.asnumpy()
            for device, state in enumerate(self.state)
            for i, array in enumerate(state)
        }
        return {k: v for part in self.world.gather_arrays(arrays) for k, v in part.items()}

    def restore(self, arrays: dict[str, np.ndarray], streams: int) -> None:
        """Restore the arrays returned by `arrays()`, on any number of devices.

        Raises
        ------
        InputError
            If an array is missing or has another shape.
        """
        if any(name.startswith("state.") for name in arrays):
            self.begin(streams)
            for part, state in zip(self._shares(streams), self.state):
                for i, array in enumerate(state):
                    joined = _joined(arrays, i, streams)
                    copy_array({"state": joined[:, part]}, "state", array)


def count_devices(arrays: dict[str, np.ndarray]) -> int:
    """Return the number of devices in a saved state; 0 if it has no carried state."""
    return sum(name.startswith("state.") and name.endswith(".0") for name in arrays)


def _joined(arrays, i, streams):
    """Return the i-th array of the state, `(1, N, C)`, joined over devices."""
    parts = [arrays.get(f"state.{device}.{i}") for device in range(count_devices(arrays))]
    if any(part is None or part.ndim != 3 or part.shape[0] != 1 for part in parts):
        raise InputError(f"checkpoint: array state.*.{i} is missing or has the wrong shape")
    if len({part.shape[2] for part in parts}) != 1 or sum(p.shape[1] for p in parts) != streams:
        raise InputError(f"checkpoint: array state.*.{i} does not have {streams} streams")
    return np.concatenate(parts, axis=1)


def copy_array(arrays: dict[str, np.ndarray], name: str, target: nd.NDArray) -> None:
    """Copy an array of a checkpoint onto a device.

    Raises
    ------
    InputError
        If it is missing or has another shape.
    """
    if name not in arrays or arrays[name].shape != target.shape:
        raise InputError(f"checkpoint: array {name} is missing or has the wrong shape")
    target[:] = arrays[name]
