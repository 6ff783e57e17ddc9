"""Report exhausted memory in one line, even if a library ends the process.

Native libraries abort, crash or exit when an allocation fails, often in their own threads. If
memory is limited (`ulimit -v` or `-d`), a command therefore runs in a child process, and its parent
prints one line after such an end. Without a limit, there is only one process.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
import re
import signal
import sys
import warnings
from typing import NoReturn

CRASHES = (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE)
# exit codes of OpenBLAS and OpenMP, MXNet after SIGSEGV, glibc, and OpenBLAS without threads
FAILURES = (1, 255, 127, -signal.SIGINT)
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
FROM_KERNEL = 0x80  # si_code of a signal from the terminal, which all its processes receive
PR_SET_PDEATHSIG = 1
LONGEST = 1 << 20  # bytes of output of the libraries
ALLOCATION = "bad_alloc|out of memory|failed to allocate|memory allocation|AlignedMalloc"
# errors that have other causes too, so that they count only under a limit
AT_LIMIT = (
    "cannot allocate memory|could not create a|failed to (map segment|serialize)|mmap failed|"
    "can't (start|create)|thread creation failed|resource temporarily unavailable|"
    "segmentation fault|deallocated bytearray|codec configuration"
)
_supervised = False  # whether this process is the child


def memory_limit() -> float:
    """Return the limit on this process's memory in bytes, or infinity."""
    if sys.platform != "linux":
        return math.inf
    import resource

    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=math.inf)


def is_exhausted(error: BaseException | None) -> bool:
    """Return whether an error, or an error that led to it, is a failed allocation."""
    while error is not None:
        memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
        if memory or _mentions_memory(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _mentions_memory(text):
    known = ALLOCATION if memory_limit() == math.inf else f"{ALLOCATION}|{AT_LIMIT}"
    return re.search(known, text, re.IGNORECASE) is not None


def library_failed() -> bool:
    """Return whether a library has printed that an allocation failed, seen only under a limit.

    OpenBLAS then raises SIGINT, for example.
    """
    return _supervised and _mentions_memory(_read(2))


def _read(noise):
    try:
        return os.pread(noise, LONGEST, 0).decode(errors="replace")
    except OSError:  # the caller closed standard error
        return ""


def out_of_memory() -> str:
    """Return the message for exhausted memory."""
    limit = memory_limit()
    if limit == math.inf:
        return "out of memory: use a smaller model, batch or text"
    return (
        f"out of memory: the limit is {limit / 1e6:,.0f} MB (ulimit -a): raise it, "
        "set OMP_NUM_THREADS=1, or use a smaller model, batch or text"
    )


def end(code: int) -> NoReturn:
    """End a command; a failed one under a limit without exit handlers, which may crash."""
    if code and _supervised:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)


def supervise() -> None:
    """Continue in a child process if memory is limited; call this before any other thread starts.

    The parent forwards signals, waits, and exits with the child's exit code, or with 2 and one line
    if memory was exhausted.
    """
    if memory_limit() == math.inf:
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS | {signal.SIGCHLD})
    try:
        noise = os.memfd_create("stderr")
        child = os.fork()
    except OSError:  # such as a limit on processes
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    # on a terminal, it stays in the foreground
    apart = not any(os.isatty(descriptor) for descriptor in (0, 1, 2))
    if child:
        os._exit(_wait(child, noise, apart))
    _separate(noise)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if apart:
        os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _separate(noise):
    """Keep the libraries' output apart from Python's own, and end at the first failed allocation.

    Libraries print to the descriptor 2.
    """
    global _supervised
    _supervised = True
    if sys.stderr is None:
        return
    sys.stderr.flush()
    os.set_inheritable(own := os.dup(2), False)
    sys.stderr = open(own, "w", buffering=1, errors="backslashreplace")
    os.dup2(noise, 2)

    warnings.showwarning = _warn
    sys.excepthook, sys.unraisablehook = _print_error, _print_unraisable


def _warn(message, category, filename, lineno, file=None, line=None):
    os.write(2, warnings.formatwarning(message, category, filename, lineno, line).encode())


def _print_error(kind, error, trace):
    _stop(error)
    sys.__excepthook__(kind, error, trace)


def _print_unraisable(found):
    _stop(found.exc_value)
    sys.__unraisablehook__(found)


def _stop(error):
    """End this process if memory is exhausted."""
    if is_exhausted(error):
        print(f"gluonlm: error: {out_of_memory()}", file=sys.stderr, flush=True)
        os._exit(2)


def _wait(child, noise, apart):
    """Forward signals to the child until it ends; report its end, and return the exit code."""
    while True:
        found = signal.sigwaitinfo(SIGNALS | {signal.SIGCHLD})
        if found.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
        elif apart or found.si_code != FROM_KERNEL:
            os.kill(child, found.si_signo)
    code = os.waitstatus_to_exitcode(status)
    content = _read(noise)
    known = _mentions_memory(content)
    if code in CRASHES or (code in FAILURES and known):
        crash = "" if known else f"{signal.Signals(-code).name}, probably "
        content, code = f"gluonlm: error: {crash}{out_of_memory()}\n", 2
    elif code == 2:  # Python has printed the error
        content = ""
    with contextlib.suppress(OSError):  # closed by the caller or the reader
        os.write(2, content.encode())
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
        os.kill(os.getpid(), -code)
    return code
