"""A Gluon optimizer whose complete state can be saved and restored without pickle.

This is the only module that accesses MXNet's private optimizer state.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from .. import native
from ..config import SMALLEST, TrainConfig
from ..models.packed import split, together
from ..system.errors import InputError
from ..system.processes import ALONE, Processes
from .factors import Factors
from .kvstore import FlatGradients, MPIStore
from .native_rules import native_rule, sums_of_squares
from .replicas import copy_array

# tested: clipping inside the update equals clipping the gradients, and resuming is exact
SUPPORTED = (
    "adadelta", "adagrad", "adam", "ftml", "ftrl", "lamb", "lars", "nadam", "nag", "rmsprop",
    "sgd", "sgld", "signum",
)  # fmt: skip
UNSUPPORTED = {
    "adamax": "a bug of MXNet 1.9.1 turns weights into NaN at the second step",
    "dcasgd": "fails with several arrays, and gradients are not delayed here",
    "groupadagrad": "fails on every array that is not an embedding",
    "lbsgd": "with batch_scale, it neither clips nor resumes as documented",
}
# updated array by array: each has its own factor or noise, or (nadam) advances the schedule
BY_ARRAY = ("lamb", "lars", "nadam", "sgld")
LARGEST_DIVISOR = 1e37  # MXNet takes the inverse, in float32
# an optimizer's numbers that change during training; all others come from the settings
COUNTERS = ("num_update", "begin_num_update", "m_schedule")
# arguments of an optimizer that the trainer sets
RESERVED = (
    "begin_num_update", "learning_rate", "lr_scheduler", "param_dict", "param_idx2name",
    "rescale_grad", "sym",
)  # fmt: skip
FRACTIONS = ("beta1", "beta2", "momentum", "gamma1", "gamma2", "rho", "schedule_decay")
LARGEST = 1e6  # of any other argument: larger numbers overflow in float32


class Optimizer:
    """Updates parameters on one or more devices; its state is saved as named arrays.

    Parameters
    ----------
    parameters
        A list whose order determines the names in the state.
    ctx
        The contexts of the parameters; gradients are summed over them.
    world
        Processes over which gradients are summed too; all begin with the first one's weights.

    Raises
    ------
    InputError
        If the optimizer is not supported, or does not take one of its arguments.
    """

    def __init__(
        self,
        parameters: list[gluon.Parameter],
        config: TrainConfig,
        ctx: list,
        world: Processes = ALONE,
    ):
        self.parameters, self.ctx = parameters, ctx
        on_cpu = all(device.device_type == "cpu" for device in ctx)
        self.kernels = native.load(config.kernels) if on_cpu else None
        self.rule, self.weight_decay = make_rule(config, self.kernels), config.weight_decay
        # elementwise rules update all parameters as one array
        apart = config.optimizer.lower() in BY_ARRAY
        updated = parameters if apart else [together(parameters)]
        self.flat = FlatGradients(updated, ctx) if world.size > 1 else None
        store: Any = "device" if len(ctx) > 1 else None
        if self.flat:
            store = MPIStore(world, self.flat)
        self.gluon_trainer = gluon.Trainer(
            updated, self.rule, kvstore=store, update_on_kvstore=False
        )
        if self.flat:  # share weights now; by default, Gluon waits for the first backward pass
            self.gluon_trainer._init_kvstore()
            self.gluon_trainer._init_params()
        self.set_factors([[(parameter.shape[0], 1.0)] for parameter in parameters])

    def set_factors(self, factors: Factors) -> None:
        """Multiply the learning rate of rows of the parameters; do this before the first step.

        Rows whose factor is 0 are not updated, and their gradient is not in the norm.
        """
        arrays = self.gluon_trainer._params
        self.slices = [
            (array, *part)
            for array in arrays
            for part in _slices(array, dict(zip(map(id, self.parameters), factors)))
        ]
        self.places = [
            (
                updater,
                [array.grad(device)[rows] for array, rows, _ in self.slices],
                [array.data(device)[rows] for array, rows, _ in self.slices],
            )
            for updater, device in zip(self.gluon_trainer._updaters, self.ctx)
        ]
        # by their numbers here; Gluon's would be numbers of parameters
        self.rule.param_dict = {}
        self.rule.lr_mult = {place: factor for place, (*_, factor) in enumerate(self.slices)}
        self.states: list[list] = [[] for _ in self.ctx]  # of each array
        self.gradients = [parameter.grad(self.ctx[0]) for parameter in self.parameters]
        if not all(factor for rows in factors for _, factor in rows):
            self.gradients = self.places[0][1]

    def reduce(
        self, losses: nd.NDArray, extra: Sequence[float]
    ) -> tuple[np.ndarray, np.ndarray, Sequence[float]]:
        """Sum gradients, losses and other numbers; read losses and norms from the device.

        This is the only wait for the device in a step.

        Parameters
        ----------
        losses
            `(devices,)`, summed here as well.
        extra
            `(EXTRA,)`, numbers to sum over processes, in float32.

        Returns
        -------
        losses
            `(devices,)`, or `(1,)` with several processes, float64; their sum is the step's loss.
        squares
            `(arrays,)`, float64, the squared norm of each gradient that is used.
        extra
            `(EXTRA,)`, the sums.
        """
        if self.flat:
            for tail, loss in zip(self.flat.tails, losses):
                tail[0:1], tail[1:] = loss, 0
            self.flat.tails[0][1:] = nd.array(extra, ctx=self.ctx[0])
        if self.flat or len(self.ctx) > 1:
            self.gluon_trainer.allreduce_grads()
        if self.flat:
            losses = self.flat.tails[0]  # (1 + EXTRA,): the summed loss, then the sums of `extra`
        if self.kernels:
            losses = losses.asnumpy().astype(np.float64)
            squares = sums_of_squares(self.kernels, self.gradients)
        else:
            squares = nd.multi_sum_sq(*self.gradients, num_arrays=len(self.gradients))
            figures = nd.concat(losses, squares, dim=0).asnumpy().astype(np.float64)
            losses, squares = np.split(figures, [losses.size])
        if self.flat:
            losses, extra = losses[:1], losses[1:]
        return losses, squares, extra

    def update(self, lr: float, divisor: float) -> None:
        """Take a step with the gradients divided by `divisor`, in one pass over them."""
        self.rule.set_learning_rate(lr)
        self.rule.rescale_grad = 1 / min(divisor, LARGEST_DIVISOR)
        for device, (updater, gradients, weights) in enumerate(self.places):
            if not updater.states:
                self._create_states(device)
            for place, weight in enumerate(weights if self.weight_decay else ()):
                weight *= max(0, 1 - lr * self.rule.lr_mult[place] * self.weight_decay)
            updater(list(range(len(weights))), gradients, weights)

    def _create_states(self, device):
        """Create the state of each array on a device; the updates get slices of it."""
        arrays, updater = self.gluon_trainer._params, self.places[device][0]
        weights = [array.data(self.ctx[device]) for array in arrays]
        create = self.rule.create_state_multi_precision
        self.states[device] = [create(index, weight) for index, weight in enumerate(weights)]
        states = dict(zip(map(id, arrays), self.states[device]))
        for place, (array, rows, _) in enumerate(self.slices):
            updater.states[place] = _sliced(states[id(array)], rows)
            updater.states_synced[place] = True

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the state, `optimizer.PARAMETER.NUMBER`."""
        return {name: array.asnumpy() for name, array in self._named(device=0)}

    def _named(self, device):
        """Yield the name and array of each parameter's state on a device."""
        numbers = {id(parameter): number for number, parameter in enumerate(self.parameters)}
        for whole, state in zip(self.gluon_trainer._params, self.states[device]):
            for i, array in enumerate(_flat(state)):
                for parameter, part in split(whole, array):
                    yield f"optimizer.{numbers[id(parameter)]}.{i}", part

    def record(self) -> dict[str, Any]:
        """Return the numbers and update counts of the state, for JSON."""
        fields = vars(self.rule).items()
        numbers = {name: value for name, value in fields if type(value) in (int, float)}
        count_of = self.rule._index_update_count
        counts = {str(i): count_of[0] for i in range(len(self.parameters)) if count_of}
        return {"numbers": numbers, "counts": counts}

    def restore(self, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Restore the state returned by `record()` and `arrays()`.

        Raises
        ------
        InputError
            If they do not fit this optimizer.
        """
        if not record:
            raise InputError(
                "`resume`: this run was made by combine or import and has no training state; "
                "start a new run with `init_from`"
            )
        try:
            fields = vars(self.rule)
            counts = _checked_counts(record["counts"], len(self.parameters))
            for name in set(record["numbers"]) & set(fields) & set(COUNTERS):
                fields[name] = _checked_number(name, record["numbers"][name], type(fields[name]))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError(f"checkpoint: progress does not fit this version: {error}") from None
        for device in range(len(self.ctx)):
            each = range(len(self.slices) if counts else 0)
            self.rule._all_index_update_counts[device] = {place: counts[0] for place in each}
            if counts:
                self._create_states(device)
            for name, array in self._named(device):
                copy_array(arrays, name, array)
        self.rule._set_current_context(0)


def make_rule(config: TrainConfig, kernels: native.Kernels | None = None) -> mx.optimizer.Optimizer:
    """Return the update rule that the settings name, with native kernels if it has some.

    Raises
    ------
    InputError
        If the optimizer is not supported, or does not take one of its arguments.
    """
    name = config.optimizer
    if name.lower() not in SUPPORTED:
        reason = UNSUPPORTED.get(name.lower(), "not supported")
        raise InputError(f"`optimizer` {name!r}: {reason}; choose one of {', '.join(SUPPORTED)}")
    params = parse_params(config.optimizer_params)
    try:
        rule = mx.optimizer.create(name, learning_rate=config.lr, **params)
    except (TypeError, ValueError, AttributeError, AssertionError) as error:
        raise InputError(
            f"`optimizer_params` {config.optimizer_params!r}: rejected by {name}: {error}"
        ) from None
    return native_rule(rule, kernels, learning_rate=config.lr, **params) if kernels else rule


def parse_params(text: str) -> dict[str, Any]:
    """Return the arguments in a text such as `momentum=0.9,wd=1e-6`.

    Raises
    ------
    InputError
        If the text is malformed, a number is out of bounds, or the trainer sets the argument.
    """
    params = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            words = {"true": True, "false": False}
            number = words[value.lower()] if value.isalpha() else float(value)
        except (KeyError, ValueError):
            number = math.nan
        if not math.isfinite(number) or name.strip() in RESERVED:
            raise InputError(
                f"`optimizer_params` {part!r}: must be name=number, such as momentum=0.9"
            )
        if name.strip() in FRACTIONS and not 0 <= number < 1:
            raise InputError(f"`optimizer_params` {part!r}: must be at least 0 and below 1")
        if number and not SMALLEST <= number <= LARGEST:
            raise InputError(
                f"`optimizer_params` {part!r}: must be 0, or from {SMALLEST:g} to {LARGEST:,.0f}"
            )
        params[name.strip()] = number
    return params


def _checked_counts(counts, parameters):
    """Return update counts by parameter number, after checking them."""
    checked = {int(index): count for index, count in counts.items()}
    if checked and (len(checked) != parameters or len(set(checked.values())) != 1):
        raise ValueError("the optimizer's counts are not the same for every parameter")
    for index, count in checked.items():
        if not 0 <= index < parameters or type(count) is not int or not 0 <= count < 2**53:
            raise ValueError(f"the optimizer's count of parameter {index} is {count!r}")
    return checked


def _checked_number(name, value, kind):
    if type(value) not in (int, float) or not 0 <= value < 2**53:
        raise ValueError(f"the optimizer's {name} is {value!r}")
    return kind(value)


def _slices(array, factors):
    """Yield the slices of an updated array with one factor each, except where it is 0."""
    runs = []
    for parameter, _ in split(array, array.list_data()[0]):
        width = 1 if parameter is array else math.prod(parameter.shape[1:])
        runs += [(rows * width, factor) for rows, factor in factors[id(parameter)] if rows]
    begin = 0
    for factor, run in itertools.groupby(runs, key=lambda part: part[1]):
        end = begin + sum(size for size, _ in run)
        if factor:
            yield slice(begin, end), factor
        begin = end


def _sliced(state, rows):
    """Return the same slice of every array of an optimizer's state."""
    if isinstance(state, (list, tuple)):
        return type(state)(_sliced(part, rows) for part in state)
    return None if state is None else state[rows]


def _flat(state):
    """Return the arrays of an optimizer's state: None, an array, or nested tuples of arrays."""
    if state is None:
        return []
    if isinstance(state, nd.NDArray):
        return [state]
    return [array for part in state for array in _flat(part)]
