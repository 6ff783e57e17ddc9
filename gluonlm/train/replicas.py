"""A model's copies, one on each device of each process, with their own streams and state."""

import numpy as np
from mxnet import autograd, nd

from ..batchify.batches import shares
from ..models import LanguageModel
from ..models.packed import BufferPool
from ..system.device import check_ids
from ..system.errors import InputError
from ..system.processes import ALONE, Processes


class Replicas:
    """Divides the streams of a batch among devices, and carries the state of each.

    Of several processes, each has as many devices; those of the first have the first streams.

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
        """Set the state to that before any text."""
        pairs = zip(self.ctx, self._shares(streams))
        self.state = [self.model.begin_state(own.stop - own.start, ctx=ctx) for ctx, own in pairs]

    def forward_backward(self, inputs: np.ndarray, targets: np.ndarray) -> nd.NDArray:
        """Run a training pass over a batch, the gradients left in the parameters.

        Parameters
        ----------
        inputs, targets
            Ids `(T, N)` and `(M,)`.

        Returns
        -------
        mxnet.nd.NDArray
            `(devices,)`, the summed loss of each device's streams, in nats, of this process.
        """
        streams, vocab_size, losses = inputs.shape[1], self.model.vocab_size, []
        for ids in (inputs, targets):
            check_ids(ids, vocab_size)
        targets = targets.reshape(-1, streams)  # (T, N), or (1, N) for windows
        for device, (ctx, own) in enumerate(zip(self.ctx, self._shares(streams))):
            if own.start == own.stop:  # the last windows of an epoch may be fewer than devices
                losses.append(self._nothing(ctx))
                continue
            pool = self.pools[device]
            read = pool.put(inputs[:, own])  # (T, n)
            expected = pool.put(targets[:, own].reshape(-1))  # (m,)
            each, self.state[device] = self.model.backward(read, expected, self.state[device])
            losses.append(each.sum().as_in_context(self.ctx[0]))
        return nd.concat(*losses, dim=0) if len(losses) > 1 else losses[0]

    def _nothing(self, ctx):
        """Take a backward pass over no stream at all; return its loss, which is 0."""
        with autograd.record():
            sums = [parameter.data(ctx).sum() for parameter in self.model.parameters().values()]
            nothing = 0 * nd.add_n(*sums)
        nothing.backward()
        return nothing.as_in_context(self.ctx[0])

    def _shares(self, streams):
        """Return which streams of a batch belong to each device of this process."""
        first = self.world.rank * len(self.ctx)
        return shares(streams, self.count)[first : first + len(self.ctx)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the carried state, `state.DEVICE.NUMBER`; nothing before `begin`.

        The first process returns that of all devices; the others must ask as well.
        """
        first = self.world.rank * len(self.ctx)
        own = {
            f"state.{first + device}.{i}": array.asnumpy()
            for device, state in enumerate(self.state)
            for i, array in enumerate(state)
        }
        return {k: v for arrays in self.world.gather_arrays(own) for k, v in arrays.items()}

    def restore(self, arrays: dict[str, np.ndarray], streams: int) -> None:
        """Continue where `arrays()` was taken, on as many devices or on others.

        Raises
        ------
        InputError
            If an array is missing or has another shape.
        """
        if any(name.startswith("state.") for name in arrays):
            self.begin(streams)
            for own, state in zip(self._shares(streams), self.state):
                for i, array in enumerate(state):
                    whole = _joined(arrays, i, streams)
                    copy_array({"state": whole[:, own]}, "state", array)


def count_devices(arrays: dict[str, np.ndarray]) -> int:
    """Return on how many devices a carried state lay; 0 if none was carried."""
    return sum(name.startswith("state.") and name.endswith(".0") for name in arrays)


def _joined(arrays, i, streams):
    """Return the i-th array of the state, `(1, N, C)`, of all streams on whichever devices."""
    parts = [arrays.get(f"state.{device}.{i}") for device in range(count_devices(arrays))]
    if any(part is None or part.ndim != 3 or part.shape[0] != 1 for part in parts):
        raise InputError(f"checkpoint: array state.*.{i} is missing or of another shape")
    if len({part.shape[2] for part in parts}) != 1 or sum(p.shape[1] for p in parts) != streams:
        raise InputError(f"checkpoint: array state.*.{i} is not of {streams} streams")
    return np.concatenate(parts, axis=1)


def copy_array(arrays: dict[str, np.ndarray], name: str, target: nd.NDArray) -> None:
    """Copy an array of a checkpoint onto a device.

    Raises
    ------
    InputError
        If it is missing or has another shape.
    """
    if name not in arrays or arrays[name].shape != target.shape:
        raise InputError(f"checkpoint: array {name} is missing or of another shape")
    target[:] = arrays[name]
