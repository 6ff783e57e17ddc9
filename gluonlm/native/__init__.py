"""Compiled kernels, chosen in one place: `load()`.

They need g++ or clang when gluonlm is installed, and a processor with AVX2 and FMA; there is also
code for AVX-512. Without them, NumPy and MXNet compute the same up to the last bits, except that
they draw other dropout masks.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
from pathlib import Path

import numpy as np

from ..system.errors import InputError

VARIABLE, CHOICES = "GLUONLM_KERNELS", ("auto", "native", "mxnet")
LIBRARY = Path(__file__).with_name("kernels.so")
VERSION = 6  # of the interface, as in kernels.cc
SETS = {16: "avx512", 8: "avx2"}  # the instruction sets by their floats per vector
RNN_TANH, RNN_RELU, LSTM, GRU, AFFINE, UNROLLED_TANH, UNROLLED_RELU, MINGRU, MINLSTM = range(9)
KINDS = {"rnn_tanh": RNN_TANH, "rnn_relu": RNN_RELU, "lstm": LSTM, "gru": GRU}  # by MXNet's modes
KINDS.update(mingru=MINGRU, minlstm=MINLSTM)
GATES = {LSTM: 4, GRU: 3, MINGRU: 2, MINLSTM: 3}  # 1 of all other kinds
WEIGHTS = ("i2h", "h2h", "i2h_bias", "h2h_bias")  # of a layer, in MXNet's order


def weights_of(kind: int) -> tuple[str, ...]:
    """Return which of `WEIGHTS` a kind of layer has."""
    return WEIGHTS[::2] if kind in (MINGRU, MINLSTM) else WEIGHTS


ALIGNMENT = 64  # bytes of a cache line
_integer, _pointer, _number = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double


def _fields(kind, names):
    return [(name, kind) for name in names.split()]


class NativeLayer(ctypes.Structure):
    """`Trained` of training.h."""

    _fields_ = [
        *_fields(_integer, "kind inputs size"),
        *_fields(_pointer, "i2h h2h i2h_bias h2h_bias"),
        *_fields(_pointer, "i2h_gradient h2h_gradient i2h_bias_gradient h2h_bias_gradient"),
        *_fields(_pointer, "h0 c0 h1 c1"),
        *_fields(_number, "dropout weight_drop"),
        *_fields(_pointer, "to_read to_h biases dropped h c out read of_h"),
    ]


class NativePass(ctypes.Structure):
    """`Pass` of training.h."""

    _fields_ = [
        *_fields(_integer, "steps streams vocab_size embed_size depth threads"),
        *_fields(_integer, "begin tied variational seed"),
        *_fields(_pointer, "inputs targets resets embedding weight bias"),
        *_fields(_pointer, "embedding_gradient weight_gradient bias_gradient losses"),
        *_fields(_number, "dropout word_dropout activation_reg temporal_reg"),
        *_fields(_pointer, "layers memory x gradient replaced h_gradient c_gradient"),
        *_fields(_pointer, "to_logits from_logits biases logits"),
        *_fields(_integer, "rows"),
        *_fields(_pointer, "factors more_factors"),
    ]


def _function(library, instruction_set, name, result, *arguments):
    found = library[f"{name}_{instruction_set}"]
    found.restype, found.argtypes = result, arguments
    return found


def _passes(library, instruction_set):
    plan = _function(library, instruction_set, "plan", _integer, _pointer)
    return plan, _function(library, instruction_set, "pass", ctypes.c_int, _pointer)


class Kernels:
    """The functions of the library for one instruction set.

    All but `draw` have pointers as arguments: only `NativeStepper` and `NativeNetwork` call them.

    Attributes
    ----------
    passes
        The functions that plan and run a training pass, by the precision of their products:
        "float32", and "bfloat16" on a processor with AMX.
    """

    def __init__(self, library: ctypes.PyDLL, lanes: int):
        self.lanes, self.instruction_set = lanes, SETS[lanes]
        function = functools.partial(_function, library, self.instruction_set)
        pointer, integer = _pointer, _integer
        self.pack = function("pack", integer, pointer)
        self.arrange = function("arrange", integer, pointer)
        self.step = function("step", ctypes.c_int, pointer, pointer, pointer)
        self.passes = {"float32": _passes(library, self.instruction_set)}
        if lanes == max(SETS) and library.tiles():
            self.passes["bfloat16"] = _passes(library, "amx")
        self.squares = function("squares", ctypes.c_double, integer, integer, pointer)
        self.adam = function("adam", None, integer, integer, *[pointer] * 5)
        self.sgd = function("sgd", None, integer, integer, *[pointer] * 2, *[ctypes.c_double] * 3)
        numbers = (integer, integer, integer, pointer, ctypes.c_double, pointer, pointer)
        self._draw = function("draw", None, *numbers)

    def draw(self, logits: np.ndarray, temperature: float, uniform: np.ndarray) -> np.ndarray:
        """Return an id for each row of logits, `(N,)`, drawn from softmax(logits / temperature).

        Parameters
        ----------
        logits
            `(N, V)`, float32, contiguous rows.
        uniform
            `(N,)`, uniformly distributed from 0 to 1.

        Raises
        ------
        ValueError
            If an array has another shape, or logits have another type or layout.
        """
        rows, columns = logits.shape
        stride, step = logits.strides
        if logits.dtype != np.float32 or step != 4 or stride % 4 or not columns:
            raise ValueError(f"logits {logits.shape} {logits.dtype}: expected float32 rows")
        uniform = np.ascontiguousarray(uniform, np.float64)
        if uniform.shape != (rows,):
            raise ValueError(f"uniform {uniform.shape}: expected {rows} numbers")
        ids = np.empty(rows, np.int64)
        addresses = logits.ctypes.data, uniform.ctypes.data, ids.ctypes.data
        self._draw(rows, columns, stride // 4, addresses[0], temperature, *addresses[1:])
        return ids


@functools.cache
def open_library() -> ctypes.PyDLL:
    """Load the library; calls keep Python's lock, which serialises them.

    Raises
    ------
    OSError
        If it cannot be loaded, or was compiled from another version.
    """
    library = ctypes.PyDLL(str(LIBRARY))
    if library["version"]() != VERSION:
        raise OSError("compiled from another version: install gluonlm again")
    return library


@functools.cache
def _found() -> Kernels | str:
    """Return the kernels for this processor, or why there are none."""
    if not LIBRARY.exists():
        return "not compiled: there was no C++ compiler"
    try:
        lanes = open_library().lanes()
    except (OSError, AttributeError) as error:
        return f"cannot be loaded: {error}"
    return Kernels(open_library(), lanes) if lanes else "this processor has no AVX2"


def load(choice: str = "auto") -> Kernels | None:
    """Return the native kernels, or None if NumPy and MXNet compute everything.

    Parameters
    ----------
    choice
        `auto` (use native kernels if possible, unless the environment variable GLUONLM_KERNELS
        is another choice), `native` (require them) or `mxnet` (do not use them).

    Raises
    ------
    InputError
        If native kernels are required but unavailable, or there is no such choice.
    """
    name = "`kernels`"
    if choice == "auto":
        name, choice = VARIABLE, os.environ.get(VARIABLE, "auto")
    if choice not in CHOICES:
        raise InputError(f"{name} {choice!r}: must be one of {', '.join(CHOICES)}")
    found = _found() if choice != "mxnet" else "disabled"
    if isinstance(found, Kernels):
        return found
    if choice == "native":
        raise InputError(f"{name} native: {found}")
    return None


def used(choice: str = "auto") -> str:
    """Return the kernels that `load` selects: "native" or "mxnet"."""
    return "native" if load(choice) else "mxnet"


def threads() -> int:
    """Return OMP_NUM_THREADS, at most one for each processor that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity else os.cpu_count() or 1
    variable = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(int(variable), usable)) if variable.isdigit() else usable


def aligned(*shape: int) -> np.ndarray:
    """Return an uninitialized float32 array that begins at a cache line."""
    size = math.prod(shape)
    block = np.empty(4 * size + ALIGNMENT, np.uint8)
    begin = -block.ctypes.data % ALIGNMENT
    return block[begin : begin + 4 * size].view(np.float32).reshape(shape)


def description(choice: str = "auto") -> str:
    """Return the selected kernels in a few words, as `native avx2` or `mxnet (not compiled)`."""
    kernels = load(choice)
    if kernels:
        return f"native {kernels.instruction_set}"
    disabled = "mxnet" in (choice, os.environ.get(VARIABLE))
    return f"mxnet ({'disabled' if disabled else _found()})"
