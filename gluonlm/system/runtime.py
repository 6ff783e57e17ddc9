"""Prepare the process before MXNet loads; no other module changes state outside the package.

`import gluonlm` installs a hook that runs `configure()` just before the first import of MXNet; a
process that never imports MXNet remains unchanged. docs/runtime.md lists every change, its reason,
and how to disable it.
"""

import contextlib
import ctypes
import importlib
import importlib.abc
import importlib.util
import math
import os
import re
import signal
import sys
import threading
import warnings
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

from .adaptation.modules import adapt
from .adaptation.repairs import REPAIRS, repair
from .errors import InputError
from .memory import is_exhausted, memory_limit

THREADS_VARIABLE, MALLOC_VARIABLE = "OMP_NUM_THREADS", "GLUONLM_MALLOC"
MOST_THREADS = 16  # per logical processor
COPY_VARIABLE = "MXNET_CPU_PARALLEL_SIZE"
# floating-point operations below which multithreading is slower
SMALL_OPERATION = {"mxnet": 5e7, "native": 3e6}


def physical_cores() -> int:
    """Return the number of physical processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    usable = affinity(0) if affinity else range(os.cpu_count() or 1)
    cores = set()
    for cpu in usable:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.exists() else cpu)
    return max(1, len(cores))


def free_memory() -> float:
    """Return an upper bound of the bytes of available memory, or infinity if it is unknown."""
    path = Path("/proc/meminfo")
    text = path.read_text(encoding="ascii") if path.exists() else ""
    found = re.search(r"^MemAvailable: +(\d+) kB$", text, re.M)
    return min(int(found[1]) * 1024.0 if found else math.inf, memory_limit())


def threads_for(operation: float, kernels: str = "mxnet") -> int:
    """Return the number of threads for a model from the cost of its largest operation.

    Parameters
    ----------
    kernels
        "mxnet", or "native", whose threads cost less.
    """
    return 1 if operation < SMALL_OPERATION[kernels] else physical_cores()


def threads_in_use() -> str:
    """Return MXNet's number of threads, from its environment variable."""
    return os.environ.get(THREADS_VARIABLE, "?")


def configure(threads: int = 0, otherwise: int = 0) -> None:
    """Prepare `import mxnet`: set the number of threads, memory allocation and CUDA libraries.

    Calls after the import of MXNet have no effect.

    Parameters
    ----------
    threads
        The requested number of threads. If 0, OMP_NUM_THREADS is used if it is set.
    otherwise
        The number of threads if neither is given; 0: one per physical core.

    Raises
    ------
    InputError
        If NumPy is older than 1.26 or newer than 2, or the number of threads is invalid.
    """
    _check_threads(threads)
    if "mxnet.base" in sys.modules:  # "mxnet" alone may still be importing, and need this
        return
    import numpy as np  # slow to import, and not needed without MXNet

    _check_version(np.__version__)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="mxnet")
    if threads:
        os.environ[THREADS_VARIABLE] = str(threads)
    os.environ.setdefault(THREADS_VARIABLE, str(otherwise or physical_cores()))
    # A parallel copy in the calling thread, such as asnumpy of a weight, creates a second OpenMP
    # team. There are then more threads than cores, and training threads sleep at each barrier.
    os.environ.setdefault(COPY_VARIABLE, str(2**31 - 1))
    _keep_memory()
    _preload_cuda()


def _check_version(numpy):
    version = tuple(int(part) for part in numpy.split(".")[:2])
    if not (1, 26) <= version < (3, 0):
        raise InputError(f"NumPy {numpy}: must be 1.26 or 2: pip install --no-deps 'numpy>=2,<3'")


def _check_threads(threads):
    """Reject numbers of threads for which OpenMP silently ends the process."""
    most = MOST_THREADS * (os.cpu_count() or 1)
    if not 0 <= threads <= most:
        raise InputError(f"`threads` {threads}: must be from 0 to {most} on this machine")
    given = os.environ.get(THREADS_VARIABLE)
    if not threads and given is not None and not (given.isdigit() and 0 < int(given) <= most):
        raise InputError(f"{THREADS_VARIABLE}={given!r}: must be a number from 1 to {most}")


def _keep_memory():
    """Make glibc keep freed memory.

    MXNet does not pool CPU memory, and the page faults take as long as the arithmetic.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if os.environ.get(MALLOC_VARIABLE) == "0" or chosen:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        # M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX
        for parameter, value in ((-4, 0), (-1, 2**31 - 1), (-8, 1)):
            mallopt(parameter, value)


def _preload_cuda():
    """Load the CUDA libraries that pip installed, so that LD_LIBRARY_PATH is not needed."""
    spec = importlib.util.find_spec("nvidia") if importlib.util.find_spec("mxnet") else None
    folders = (spec.submodule_search_locations or ()) if spec else ()
    waiting = sorted(path for folder in folders for path in Path(folder).glob("*/lib/lib*.so.*"))
    for _ in range(3):  # they depend on each other: retry those that failed to load
        waiting = [library for library in waiting if not _load(library)]


def _load(library):
    try:
        return bool(ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL))
    except OSError:
        return False


def _remove_failed_import():
    """Remove the modules of a failed `import mxnet` from `sys.modules`.

    Python removes only `mxnet` itself. The next import would use the others, which are not adapted.
    """
    module = sys.modules.get("mxnet")
    spec = getattr(module, "__spec__", None)
    incomplete = spec and not hasattr(module, "nd") and not getattr(spec, "_initializing", False)
    if "mxnet" not in sys.modules or incomplete:
        for name, found in list(sys.modules.items()):
            if name.partition(".")[0] == "mxnet" and found is not None:  # None blocks an import
                del sys.modules[name]


def _load_with_docstrings(module, loader):
    """Execute a module with its docstrings, which MXNet concatenates and `python -OO` removes."""
    path = loader.get_filename(module.__name__)
    exec(compile(loader.get_data(path), path, "exec", dont_inherit=True, optimize=1), vars(module))


class _MXNetFinder(importlib.abc.MetaPathFinder):
    """Runs `configure` just before MXNet is imported, and adapts its modules to newer libraries.

    Modules of GluonNLP are repaired too.
    """

    def find_spec(self, name, path, target=None):
        top = name.partition(".")[0]
        if top != "mxnet" and name not in REPAIRS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.loader:
            load = spec.loader.exec_module

            def adapt_and_load(module):
                if name == "mxnet":
                    configure()
                if top == "mxnet":
                    adapt(module)
                if sys.flags.optimize > 1 and isinstance(spec.loader, SourceFileLoader):
                    _load_with_docstrings(module, spec.loader)
                else:
                    load(module)
                repair(module)

            spec.loader.exec_module = adapt_and_load  # type: ignore[method-assign]
        return spec


_remove_failed_import()
if "mxnet" not in sys.modules:
    sys.meta_path.insert(0, _MXNetFinder())


@contextlib.contextmanager
def _interrupt_kept():
    """Delay Ctrl-C until the end of a block, because imports may swallow it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupted = False

    def keep(number, frame):
        nonlocal interrupted
        interrupted = True

    before = signal.signal(signal.SIGINT, keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if interrupted:
            signal.raise_signal(signal.SIGINT)


def load_mxnet():
    """Import MXNet and return the module; Ctrl-C takes effect when it is loaded.

    Raises
    ------
    InputError
        If MXNet cannot be loaded; the message names the missing packages.
    """
    try:
        with _interrupt_kept():
            import mxnet
    except OSError as error:
        if is_exhausted(error):
            raise
        gpu = any(name in str(error) for name in ("libcu", "libnv", "libnccl"))
        remedy = (
            "install the libraries of this GPU build: pip install --no-deps -r requirements-gpu.txt"
            if gpu
            else "install the system libraries libgomp1 and libquadmath0 "
            "(Debian, Ubuntu: apt-get install libgomp1 libquadmath0)"
        )
        raise InputError(f"cannot load MXNet: {error}: {remedy}") from None
    except ModuleNotFoundError as error:
        raise InputError(
            f"cannot import MXNet: no module {error.name}: pip install --no-deps mxnet==1.9.1, "
            "or run make train in a checkout"
        ) from None
    return mxnet
