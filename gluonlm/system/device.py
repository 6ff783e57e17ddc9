"""MXNet contexts, and ids as arrays on them."""

import ctypes

import numpy as np

from .arguments import check_ids
from .errors import InputError
from .runtime import load_mxnet

MOST_DEVICES = 1024  # of one kind
GPU_ARCHITECTURES = range(5, 9)  # major compute capabilities with code in the 1.9.1 wheels


def get_ctx(name: str = "cpu") -> list:
    """Return the MXNet contexts of a device name.

    Parameters
    ----------
    name
        "cpu"; "gpu"; "gpu:1"; "gpu:0,1" for data-parallel training; "auto" for GPU 0 if it
        is usable, else the CPU.

    Raises
    ------
    InputError
        If the device is unavailable.
    """
    if not isinstance(name, str):
        raise InputError(f"`ctx` {name!r}: must be a name: cpu, gpu, gpu:1, gpu:0,1 or auto")
    mx = load_mxnet()
    kind, _, numbers = name.partition(":")
    try:
        ids = [int(number) for number in numbers.split(",")] if numbers else [0]
    except ValueError:
        ids = []
    if kind == "auto" and not numbers:
        try:
            return get_ctx("gpu")
        except InputError:
            return [mx.cpu()]
    possible = ids and 0 <= min(ids) <= max(ids) < MOST_DEVICES and len(set(ids)) == len(ids)
    if kind not in ("cpu", "gpu") or not possible:
        raise InputError(f"`ctx` {name!r}: must be cpu, gpu, gpu:1, gpu:0,1 or auto")
    if kind == "cpu":
        return [mx.cpu(i) for i in ids]
    for i in ids:
        _check_gpu(mx, i)
    return [mx.gpu(i) for i in ids]


def contexts(ctx) -> list:
    """Return MXNet contexts from a list of them, one, a name as for `get_ctx`, or None: the CPU.

    Raises
    ------
    InputError
        For anything else.
    """
    mx = load_mxnet()
    if isinstance(ctx, str):
        return get_ctx(ctx)
    found = [ctx or mx.cpu()] if isinstance(ctx, mx.Context) or not ctx else ctx
    if not isinstance(found, (list, tuple)) or not all(isinstance(c, mx.Context) for c in found):
        raise InputError(f"`ctx` {ctx!r}: must be a list of MXNet contexts; see get_ctx")
    return list(found)


def _check_gpu(mx, device_id):
    """Reject an unusable GPU before the first operator fails with a cryptic error."""
    if not mx.runtime.Features().is_enabled("CUDA"):
        raise InputError(
            "`ctx` gpu: this MXNet is a CPU build: pip uninstall mxnet, "
            "then pip install --no-deps -r requirements-gpu.txt; or use `ctx` cpu"
        )
    found = mx.context.num_gpus()
    if device_id >= found:
        raise InputError(
            f"`ctx` gpu:{device_id}: MXNet finds {found} GPUs; "
            "check nvidia-smi and CUDA_VISIBLE_DEVICES, or use `ctx` cpu"
        )
    capability = compute_capability(device_id)
    if capability and capability[0] not in GPU_ARCHITECTURES:
        raise InputError(
            f"`ctx` gpu:{device_id}: its compute capability is {capability[0]}.{capability[1]}, "
            "but MXNet 1.9.1 supports 5.0 to 8.9 (Maxwell to Ada): "
            "use another GPU or `ctx` cpu"
        )


def compute_capability(device_id: int) -> tuple[int, int] | None:
    """Return a GPU's compute capability from the CUDA driver, or None without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), device_id)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
        or driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    )
    return None if failed else (major.value, minor.value)


def to_device(ids: np.ndarray, vocab_size: int, ctx):
    """Return NumPy ids as an int32 array on a context.

    Raises
    ------
    InputError
        As for `check_ids`. MXNet itself would silently use the nearest valid id in the embedding,
        and write outside of the gradient in the loss.
    """
    ids = check_ids(np.asarray(ids), vocab_size)
    # from_numpy shares the memory; `mx.nd.array` would wait for a worker thread
    lent = load_mxnet().nd.from_numpy(np.array(ids, np.int32, order="C"))
    return lent.as_in_context(ctx)
