"""minGRU and minLSTM layers: their gates depend on the input only, so a scan computes all steps.

Source: Feng et al. 2024, "Were RNNs All We Needed?", arXiv 2410.01201.
"""

from mxnet import gluon, nd
from mxnet.gluon import HybridBlock

from ..system.arguments import check_sizes
from .base import to_numpy
from .stepper import MinGRUCell, MinLSTMCell

LOWEST = -1e30  # the logarithm of 0: exp returns 0, and unlike infinity it has differences


class MinLayer(HybridBlock):
    """A layer with h' = (1 - z) h + z g(n), where z and n are functions of the input.

    Here g(x) is x + 0.5 if x is at least 0, else sigmoid(x). From inputs `(T, N, C_in)` and states
    `[h]`, `(1, N, C)`, to outputs `(T, N, C)` and new states; without states, from zeros to outputs
    only.

    The sum of all terms that the steps add to h is a scan in log space (appendix B of the paper).
    It combines each step with the one 1, 2, 4, ... steps before it, in log2(T) levels (Hillis and
    Steele 1986). The initial state is multiplied by the fraction that remains, and added after the
    scan, so that it may be 0.

    Raises
    ------
    InputError
        If an argument is invalid.
    """

    _gates: int
    _mode: str

    def __init__(self, hidden_size: int, input_size: int, **kwargs):
        check_sizes(hidden_size=hidden_size, input_size=input_size)
        super().__init__(**kwargs)
        self._hidden_size, self.levels = hidden_size, 0
        rows = self._gates * hidden_size
        with self.name_scope():
            self.i2h_weight = self.params.get("i2h_weight", shape=(rows, input_size))
            self.i2h_bias = self.params.get("i2h_bias", shape=(rows,), init="zeros")

    def begin_state(self, batch_size: int, ctx=None) -> list:
        """Return zeros, `[(1, N, C)]`."""
        return [nd.zeros((1, batch_size, self._hidden_size), ctx=ctx)]

    def parts(self) -> list[gluon.Parameter]:
        """Return the parameters in the order of the cell's arguments."""
        return [self.i2h_weight, self.i2h_bias]

    def cover(self, steps: int) -> bool:
        """Add levels to the scan for this many steps, if it needs any; return whether it did.

        More levels than necessary change no result. A compiled graph contains their number.
        """
        before, self.levels = self.levels, max(self.levels, (steps - 1).bit_length())
        if self.levels > before:
            self._clear_cached_op()
        return self.levels > before

    def forward(self, inputs, states=None):
        """Compute the outputs and, if states are given, the new states."""
        if isinstance(inputs, nd.NDArray):
            self.cover(len(inputs))
        if states is None:
            states = self.begin_state(inputs.shape[1], inputs.context)
            return super().forward(inputs, states)[0]
        return super().forward(inputs, states)

    def hybrid_forward(self, F, inputs, states, i2h_weight, i2h_bias):
        size = self._gates * self._hidden_size
        read = F.FullyConnected(inputs, i2h_weight, i2h_bias, num_hidden=size, flatten=False)
        *gates, new = F.split(read, num_outputs=self._gates, axis=2)  # (T, N, C)
        z = self._update(F, *gates)
        added = _log_sigmoid(F, z) + _log_g(F, new)
        kept, added = self._scan(F, _log_sigmoid(F, -z), added)
        h = F.broadcast_add(F.broadcast_mul(kept, states[0]), added)  # (T, N, C)
        return h, [F.slice_axis(h, axis=0, begin=-1, end=None)]

    def _update(self, F, *gates):
        """Return the logit of z, `(T, N, C)`."""
        raise TypeError("MinLayer is abstract: use MinGRU or MinLSTM")

    def _scan(self, F, kept, added):
        """Return for each step the fraction of the first state that remains, and the sum added.

        Both arguments, of single steps, are logarithms `(T, N, C)`; the results are not.
        """
        one = F.ones_like(F.slice_axis(kept, axis=0, begin=0, end=1))  # (1, N, C)
        for distance in (2**level for level in range(self.levels)):
            both = kept + _delayed(F, added, LOWEST * one, distance)
            top = F.BlockGrad(F.maximum(both, added))
            added = top + F.log(F.exp(both - top) + F.exp(added - top))
            kept = kept + _delayed(F, kept, 0 * one, distance)
        return F.exp(kept), F.exp(added)


class MinGRU(MinLayer):
    """minGRU: z is a sigmoid. The rows of its weights are z, then n."""

    _gates, _mode = 2, "mingru"

    def _update(self, F, z):
        return z

    def cell(self) -> MinGRUCell:
        """Return a copy for a stepper."""
        return MinGRUCell(*map(to_numpy, self.parts()))


class MinLSTM(MinLayer):
    """minLSTM: z is i / (i + f), with sigmoids i and f. The rows of its weights are i, f, n."""

    _gates, _mode = 3, "minlstm"

    def _update(self, F, i, f):
        return _log_sigmoid(F, i) - _log_sigmoid(F, f)  # log(i / f)

    def cell(self) -> MinLSTMCell:
        """Return a copy for a stepper."""
        return MinLSTMCell(*map(to_numpy, self.parts()))


def _log_sigmoid(F, x):
    return -F.Activation(-x, act_type="softrelu")


def _log_g(F, x):
    return F.where(x >= 0, F.log(F.maximum(x, 0) + 0.5), _log_sigmoid(F, x))


def _delayed(F, x, first, steps):
    """Return x `(T, N, C)` later by some steps, which may be more than T; `first` precedes it."""
    before = F.broadcast_axis(first, axis=0, size=steps)
    return F.slice_axis(F.concat(before, x, dim=0), axis=0, begin=0, end=-steps)
