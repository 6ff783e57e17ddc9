"""A model's copies, one on each device, every one with its own streams and carried state."""

from typing import Dict, List

import numpy as np
from mxnet import nd

from ..device import to_device
from ..errors import InputError
from ..models import LanguageModel


class Replicas:
    """Divides the streams of a batch among devices, and carries the state of each.

    Attributes
    ----------
    state
        A list of states, one for each device; empty before `begin`.
    """

    def __init__(self, model: LanguageModel, ctx: list):
        self.model, self.ctx = model, ctx
        self.state: List[list] = []

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
            `(devices,)`, the summed loss of each device's streams, in nats.
        """
        streams, vocab_size, losses = inputs.shape[1], self.model.vocab_size, []
        targets = targets.reshape(-1, streams)  # (T, N), or (1, N) for windows
        for device, (ctx, own) in enumerate(zip(self.ctx, self._shares(streams))):
            read = to_device(inputs[:, own], vocab_size, ctx)  # (T, n)
            expected = to_device(targets[:, own].reshape(-1), vocab_size, ctx)  # (m,)
            each, self.state[device] = self.model.backward(read, expected, self.state[device])
            losses.append(each.sum().as_in_context(self.ctx[0]))
        return nd.concat(*losses, dim=0)

    def _shares(self, streams):
        """Return which streams of a batch belong to each device."""
        cuts = [round(streams * i / len(self.ctx)) for i in range(len(self.ctx) + 1)]
        return [slice(*pair) for pair in zip(cuts, cuts[1:])]

    def arrays(self) -> Dict[str, np.ndarray]:
        """Return the carried state, `state.DEVICE.NUMBER`; nothing before `begin`."""
        return {
            f"state.{device}.{i}": array.asnumpy()
            for device, state in enumerate(self.state)
            for i, array in enumerate(state)
        }

    def restore(self, arrays: Dict[str, np.ndarray], streams: int) -> None:
        """Continue where `arrays()` was taken.

        Raises
        ------
        InputError
            If an array is missing or has another shape.
        """
        if any(name.startswith("state.") for name in arrays):
            self.begin(streams)
            for device, state in enumerate(self.state):
                for i, array in enumerate(state):
                    copy_array(arrays, f"state.{device}.{i}", array)


def copy_array(arrays: Dict[str, np.ndarray], name: str, target: nd.NDArray) -> None:
    """Copy an array of a checkpoint onto a device.

    Raises
    ------
    InputError
        If it is missing or has another shape.
    """
    if name not in arrays or arrays[name].shape != target.shape:
        raise InputError(
            f"checkpoint: array {name} is missing or of another shape; "
            "`ctx` must name as many devices as before"
        )
    target[:] = arrays[name]
