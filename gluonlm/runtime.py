"""Ready the process before MXNet loads, then find devices. The one place where the package sets anything outside itself.

`import gluonlm` arranges that `prepare()` runs just before MXNet is first imported, by whomever; nothing happens in a
process that never imports MXNet. What is set, why, and how to switch it off is in docs/runtime.md.
"""

import ctypes
import importlib
import importlib.abc
import importlib.util
import os
import sys
import warnings
from pathlib import Path

import numpy as np

from .errors import InputError

THREADS_VARIABLE, MALLOC_VARIABLE, COPY_VARIABLE = (
    "OMP_NUM_THREADS",
    "GLUONLM_MALLOC",
    "MXNET_CPU_PARALLEL_SIZE",
)
SMALL_OPERATION = (
    5e7  # floating-point operations under which a second thread costs more than it gives
)
GPU_ARCHITECTURES = range(5, 9)  # major compute capabilities the 1.9.1 wheels hold machine code for


def physical_cores():
    """Count the processor cores this process may use, hyper-threads counted once."""
    usable = (
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    cores = set()
    for cpu in usable:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.exists() else cpu)
    return max(1, len(cores))


def threads_for(operation):
    """Choose the number of threads for a model whose largest single operation takes this many floating-point operations."""
    return 1 if operation < SMALL_OPERATION else physical_cores()


def threads():
    """Give the number of threads that MXNet was started with."""
    return os.environ.get(THREADS_VARIABLE, "?")


def prepare(threads=0, otherwise=0):
    """Make `import mxnet` work and run fast: names MXNet misses, number of threads, memory allocation.

    `threads` is what the user asks for; without it, a variable the user has set is left alone, else `otherwise` is
    taken, else every physical core. Later calls, or calls after MXNet was imported, change nothing.
    Raises: InputError if NumPy, or distutils on Python 3.12, is not such as MXNet 1.9.1 can be imported with.
    """
    if "mxnet" in sys.modules:
        return
    version = tuple(int(part) for part in np.__version__.split(".")[:2])
    if not (1, 23) <= version < (2, 0):
        raise InputError(
            f"NumPy {np.__version__}: MXNet 1.9.1 needs NumPy 1.23.5 to 1.26: pip install 'numpy==1.26.4'"
        )
    if sys.version_info >= (3, 12) and importlib.util.find_spec("distutils") is None:
        raise InputError(
            "Python 3.12 has no distutils, which MXNet 1.9.1 imports: pip install 'setuptools==80.9.0'"
        )
    if "bool" not in vars(np):
        np.bool = (
            np.bool_
        )  # NumPy 1.24 took the name away, MXNet 1.9.1 asks for it at import and later
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="mxnet")
    warnings.filterwarnings(
        "ignore", message=".*from the `scipy.sparse", category=DeprecationWarning
    )
    if threads:
        os.environ[THREADS_VARIABLE] = str(threads)
    os.environ.setdefault(THREADS_VARIABLE, str(otherwise or physical_cores()))
    # a parallel copy in the caller's thread, as by asnumpy of a weight, gives OpenMP a second team: more threads than cores, and from
    # then on those of the training no longer spin but sleep at each barrier
    os.environ.setdefault(COPY_VARIABLE, str(2**31 - 1))
    _keep_memory()
    _preload_cuda()


def _keep_memory():
    """Ask glibc to keep freed memory: MXNet has no pool on the CPU, and page faults cost as much as the arithmetic."""
    if os.environ.get(MALLOC_VARIABLE) == "0" or any(
        v.startswith("MALLOC_") or v == "GLIBC_TUNABLES" for v in os.environ
    ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in (
            (-4, 0),
            (-1, 2**31 - 1),
            (-8, 1),
        ):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX
            mallopt(parameter, value)


def _preload_cuda():
    """Load the CUDA libraries that pip installed beside a GPU build, so that LD_LIBRARY_PATH is not needed."""
    spec = importlib.util.find_spec("nvidia") if importlib.util.find_spec("mxnet") else None
    waiting = sorted(
        library
        for folder in (spec.submodule_search_locations if spec else ())
        for library in Path(folder).glob("*/lib/lib*.so.*")
    )
    for _ in range(
        3
    ):  # the libraries need each other: what fails to load first succeeds in a later round
        waiting = [library for library in waiting if not _load(library)]


def _load(library):
    try:
        return bool(ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL))
    except OSError:
        return False


class _BeforeMXNet(importlib.abc.MetaPathFinder):
    """Runs `prepare` when MXNet is about to be imported, then steps aside."""

    def find_spec(self, name, path, target=None):
        if name == "mxnet":
            sys.meta_path.remove(self)
            prepare()
        return None


if "mxnet" not in sys.modules:
    sys.meta_path.insert(0, _BeforeMXNet())


def load_mxnet():
    """Import MXNet and give the module. Raises: InputError saying what to install if it cannot be loaded."""
    try:
        import mxnet
    except OSError as error:
        gpu = any(name in str(error) for name in ("libcu", "libnv", "libnccl"))
        remedy = (
            "pip install -r requirements-gpu.txt installs the CUDA libraries this GPU build needs"
            if gpu
            else "install the system libraries libgomp1 and libquadmath0 (Debian, Ubuntu: apt-get install)"
        )
        raise InputError(f"MXNet does not load: {error}: {remedy}") from None
    except ModuleNotFoundError as error:
        raise InputError(
            f"MXNet does not import: no module {error.name}: pip install -r requirements.txt"
        ) from None
    return mxnet


def compute_capability(device_id):
    """Ask the CUDA driver for a GPU's compute capability, as (major, minor); None if there is no driver to ask."""
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


def get_ctx(name="cpu"):
    """Turn a device name into MXNet contexts.

    Parameters: `name`: "cpu"; "gpu"; "gpu:1"; "gpu:0,1" for data-parallel training; "auto", the first usable GPU, else
    the CPU.
    Returns: a list of `mxnet.Context`.
    Raises: InputError saying what to do if the device is not to be had.
    """
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
    if kind not in ("cpu", "gpu") or not ids or min(ids) < 0 or len(set(ids)) != len(ids):
        raise InputError(f"--ctx {name!r}: give cpu, gpu, gpu:1, gpu:0,1 or auto")
    if kind == "cpu":
        return [mx.cpu(i) for i in ids]
    for i in ids:
        _check_gpu(mx, i)
    return [mx.gpu(i) for i in ids]


def _check_gpu(mx, device_id):
    """Refuse a GPU that cannot work, before its first operator fails somewhere else with a riddle."""
    if not mx.runtime.Features().is_enabled("CUDA"):
        raise InputError(
            "--ctx gpu: this MXNet is the CPU build: pip uninstall mxnet, then pip install -r requirements-gpu.txt; or use --ctx cpu"
        )
    found = mx.context.num_gpus()
    if device_id >= found:
        raise InputError(
            f"--ctx gpu:{device_id}: MXNet finds {found} GPUs here; see nvidia-smi and CUDA_VISIBLE_DEVICES, or use --ctx cpu"
        )
    capability = compute_capability(device_id)
    if capability and capability[0] not in GPU_ARCHITECTURES:
        raise InputError(
            f"--ctx gpu:{device_id}: its compute capability is {capability[0]}.{capability[1]}, MXNet 1.9.1 holds code "
            "for 5.0 to 8.9 (Maxwell to Ada): take such a GPU, or use --ctx cpu"
        )
