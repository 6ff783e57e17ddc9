"""The processes of one training job: a single process, or several that `mpiexec` started.

Without `mpiexec`, MPI is not imported. Processes exchange only numbers and JSON, never pickles.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .memory import is_exhausted, out_of_memory

# launchers' variables for the number of processes; Slurm also sets PMI_SIZE
SIZES = {"PMI_SIZE": "MPICH", "OMPI_COMM_WORLD_SIZE": "Open MPI"}
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")
PATIENCE = 2.0  # seconds to wait for the same error in the other processes
FORWARDING = 1.0  # seconds for the launcher to forward a line before the job is aborted
PAUSE = 0.02  # seconds between polls of the other processes
LIMIT_VARIABLE, LIMIT = "GLUONLM_JOIN_SECONDS", "60"  # for all processes to join


class Processes:
    """The interface to the processes of a training job; this base class is a single process."""

    rank, size = 0, 1

    def from_first(self, work: Callable[[], Any] | None) -> Any:
        """Run `work` in the first process and return its result, a JSON value, in every process.

        Raises
        ------
        InputError
            In every process, if `work` raises one.
        """
        return work() if work else None

    def all_gather(self, value: Any) -> list:
        """Return the JSON values of all processes in the order of their ranks."""
        return [value]

    def share_arrays(self, arrays: dict[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """Return the arrays of the first process, by name, in every process."""
        return arrays or {}

    def gather_arrays(self, arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Return the arrays of every process in the first one, and an empty list in the others."""
        return [arrays]

    def alike(self, arrays: dict[str, np.ndarray]) -> bool:
        """Return whether all processes have bitwise identical arrays."""
        return True

    def check_command(self, words: Sequence[str]) -> None:
        """Check that all processes have the same words of the command line.

        Raises
        ------
        InputError
            In every process, if they differ.
        """

    def sum(self, buffer: Any) -> None:
        """Sum a buffer over all processes, in place."""

    def cores(self, usable: int) -> int:
        """Return this process's share of the processor cores that it may use."""
        return usable


ALONE = Processes()


class MPIProcesses(Processes):
    """One of several processes connected by MPI."""

    def __init__(self, mpi):
        self.mpi, self.comm = mpi, mpi.COMM_WORLD
        self.rank, self.size = self.comm.rank, self.comm.size

    def from_first(self, work: Callable[[], Any] | None) -> Any:
        answer: dict = {}
        if self.rank == 0 and work:
            try:
                answer = {"value": work()}
            except InputError as error:
                answer = {"error": str(error)}
        answer = json.loads(self._share(json.dumps(answer).encode()))
        if "error" in answer:
            raise InputError(answer["error"])
        return answer["value"]

    def _share(self, content: bytes) -> bytes:
        length = np.array([len(content)])
        self.comm.Bcast(length)
        buffer = np.frombuffer(content, np.uint8) if self.rank == 0 else np.empty(length, np.uint8)
        self.comm.Bcast(buffer)
        return buffer.tobytes()

    def all_gather(self, value: Any) -> list:
        content = np.frombuffer(json.dumps(value).encode(), np.uint8)
        lengths = np.empty(self.size, np.int64)
        self.comm.Allgather(np.array([len(content)]), lengths)
        gathered = np.empty(lengths.sum(), np.uint8)
        self.comm.Allgatherv(content, (gathered, lengths))
        parts = np.split(gathered, np.cumsum(lengths)[:-1])
        return [json.loads(part.tobytes()) for part in parts]

    def share_arrays(self, arrays: dict[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        held = arrays or {}
        layout = self.from_first(lambda: _layout(held))
        result = {}
        for name, shape, dtype in layout:
            array = np.empty(shape, dtype) if self.rank else np.ascontiguousarray(held[name])
            self.comm.Bcast(array)
            result[name] = array
        return result

    def gather_arrays(self, arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        gathered: list = []
        layouts = self.all_gather(_layout(arrays))
        for rank, layout in enumerate(layouts):
            if self.rank == 0:
                received = {}
                for name, shape, dtype in layout:
                    received[name] = np.empty(shape, dtype) if rank else arrays[name]
                    if rank:
                        self.comm.Recv(received[name], source=rank)
                gathered.append(received)
            elif self.rank == rank:
                for array in arrays.values():
                    self.comm.Send(np.ascontiguousarray(array), dest=0)
        return gathered

    def alike(self, arrays: dict[str, np.ndarray]) -> bool:
        digest = hashlib.sha256()
        for array in arrays.values():
            digest.update(array.tobytes())
        return len(set(self.all_gather(digest.hexdigest()))) == 1

    def check_command(self, words: Sequence[str]) -> None:
        digest = hashlib.sha256(json.dumps([*words]).encode()).hexdigest()
        found = self.all_gather([digest, socket.gethostname()])
        for rank, (other, host) in enumerate(found):
            if other != found[0][0]:
                raise InputError(
                    f"process {rank} on {host} has a different command line from process 0: "
                    "only --ctx and --threads may differ"
                )

    def sum(self, buffer: Any) -> None:
        self.comm.Allreduce(self.mpi.IN_PLACE, buffer)

    def cores(self, usable: int) -> int:
        affinity = getattr(os, "sched_getaffinity", None)
        cpus = sorted(affinity(0)) if affinity else []
        others = [cpus for host, cpus in self.all_gather([socket.gethostname(), cpus])
                  if host == socket.gethostname()]  # fmt: skip
        sharing = [sum(cpu in other for other in others) for cpu in cpus]
        part = sum(1 / count for count in sharing) / max(1, len(cpus)) if cpus else 1 / len(others)
        return max(1, int(usable * part + 1e-9))

    def leave(self) -> None:
        """Wait for all processes, without using CPU time, and disconnect from MPI."""
        request = self.comm.Ibarrier()
        while not request.Test():
            time.sleep(PAUSE)
        self.mpi.Finalize()  # launchers treat an exit without this as a crash

    def fail(self, error: BaseException) -> None:
        """End all processes after an error in this one.

        If all processes fail together, for example because of an invalid flag, this returns: the
        first process prints the error, and the others exit silently.
        """
        request, last = self.comm.Ibarrier(), time.monotonic() + PATIENCE + 0.1 * self.rank
        while not (alike := request.Test()) and time.monotonic() < last:
            time.sleep(PAUSE)
        if not alike:
            where = f"process {self.rank} of {self.size} on {socket.gethostname()}"
            exhausted = is_exhausted(error)
            known = exhausted or isinstance(error, (InputError, OSError, KeyboardInterrupt))
            reason = out_of_memory() if exhausted else str(error) or type(error).__name__
            line = f"gluonlm: error: {where}: {reason}"
            print(line if known else f"{traceback.format_exc()}{line}", file=sys.stderr, flush=True)
            time.sleep(FORWARDING)
            self.comm.Abort(2 if known else 1)
        self.mpi.Finalize()


def _layout(arrays: dict[str, np.ndarray]) -> list:
    return [[name, list(array.shape), array.dtype.str] for name, array in arrays.items()]


def launched() -> tuple[int, int]:
    """Return the rank and number of processes from the launcher; 0 and 1 without a launcher."""
    sizes = [os.environ[name] for name in (*SIZES, "SLURM_STEP_NUM_TASKS") if name in os.environ]
    ranks = [os.environ[name] for name in RANKS if name in os.environ]
    if not (sizes and ranks and all(map(_is_count, (sizes[0], ranks[0])))):
        return 0, 1
    return int(ranks[0]), int(sizes[0])


def _is_count(text):
    return re.fullmatch(r"[0-9]{1,9}", text) is not None


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Connect to the other processes of this job, and disconnect at the end.

    Only the first process prints; an error in one process ends all of them with one line.

    Raises
    ------
    InputError
        If MPI cannot be loaded, is not the launcher's MPI, or if the processes have different
        versions. If a process does not join in time, the others end.
    """
    rank, size = launched()
    if size < 2:
        yield ALONE
        return
    roll = _Roll(rank, size)
    try:
        job = _connect(size, roll)
    except InputError:
        if rank and roll.first_fails():
            sys.exit(2)  # the first process prints the error
        raise
    try:
        try:
            versions = job.all_gather(_versions())
        finally:
            roll.close()
        _check_versions(versions)
        if job.rank:
            _silence()
        yield job
        job.leave()
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:  # such as --help
            job.leave()
            raise
        job.fail(error)
        if job.rank:
            sys.exit(2)
        raise


class _Roll:
    """The processes on this machine that are joining; ends this one if others do not join in time.

    Each process binds a name that the system releases when it ends. `MPI_Init` itself waits
    forever for a process that never calls it.
    """

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size
        self.job, self.done = f"\0gluonlm-{os.getuid()}-{_launcher()}", threading.Event()
        self.name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def join(self) -> None:
        """Add this process, and begin to wait for the others.

        Raises
        ------
        InputError
            If the variable of the time limit is invalid.
        """
        limit = os.environ.get(LIMIT_VARIABLE, LIMIT)
        if not _is_count(limit) or not int(limit):
            raise InputError(f"{LIMIT_VARIABLE}={limit!r}: must be a number of seconds from 1")
        with contextlib.suppress(OSError):
            self.name.bind(f"{self.job}-{self.rank}")
        threading.Thread(target=self._watch, args=(int(limit),), daemon=True).start()

    def close(self) -> None:
        """Remove this process, and end the time limit."""
        self.done.set()
        self.name.close()

    def _missing(self, rank):
        """Return whether another process is not joining on this machine."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            return rank != self.rank and probe.connect_ex(f"{self.job}-{rank}") != 0

    def first_fails(self) -> bool:
        """Return whether the first process does not join either, after waiting for it."""
        last = time.monotonic() + PATIENCE
        while (missing := self._missing(0)) and time.monotonic() < last:
            time.sleep(PAUSE)
        return missing

    def _watch(self, limit):
        """End this process if the others do not join in time; one process prints the reason."""
        if self.done.wait(limit):
            return
        missing = [rank for rank in range(self.size) if self._missing(rank)]
        first = min(set(range(self.size)) - set(missing))
        # time for the launcher to end this process, if process 0 or the first one here prints
        time.sleep(3 * FORWARDING * ((self.rank > 0) + (self.rank > first)))
        if self.rank == first:
            shown = ", ".join(map(str, missing[:10])) + ", ..." * (len(missing) > 10)
            who = f"rank{'s' * (len(missing) > 1)} {shown} of {self.size} processes"
            print(
                f"gluonlm: error: {who} did not join on {socket.gethostname()} within {limit} s: "
                "start the same gluonlm train command in all processes; "
                f"{LIMIT_VARIABLE} sets the time limit",
                file=sys.stderr,
                flush=True,
            )
            time.sleep(FORWARDING)
            _abort_by_launcher()
            time.sleep(FORWARDING)
        os._exit(2)


def _abort_by_launcher():
    """Ask MPICH's launcher to end the job with exit code 2; `MPI_Abort` requires `MPI_Init`.

    Without this request, it ends the other processes with SIGKILL, or not at all.
    """
    with contextlib.suppress(KeyError, ValueError, OSError):
        os.write(int(os.environ["PMI_FD"]), b"cmd=abort exitcode=2\n")


def _launcher():
    """Return the process that started this machine's processes: the first one without a rank."""
    pid = os.getppid()
    with contextlib.suppress(OSError):
        while set(RANKS) & {
            variable.partition(b"=")[0].decode("latin-1")
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        }:
            status = Path(f"/proc/{pid}/stat").read_text("latin-1")
            pid = int(status.rpartition(")")[2].split()[1])
    return pid


def _versions():
    from .. import __version__

    found = {"gluonlm": __version__, "NumPy": np.__version__}
    return [found, socket.gethostname()]


def _check_versions(versions):
    first, host = versions[0]
    for rank, (found, where) in enumerate(versions):
        for name in first:
            if found.get(name) != first[name]:
                raise InputError(
                    f"process {rank} on {where} has {name} {found.get(name)}, and process 0 on "
                    f"{host} has {first[name]}: install the same version on all machines"
                )


def _connect(size, roll):
    """Load MPI, check that it is the launcher's, and return the MPIProcesses."""
    import importlib

    try:
        mpi4py = importlib.import_module("mpi4py")
        mpi4py.rc.initialize = False  # a different MPI than the launcher's would end the process
        mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"mpiexec started {size} processes, but MPI cannot be loaded ({error}): "
            "pip install 'gluonlm[mpi]', or install mpi4py for this cluster's MPI"
        ) from None
    wanted = next((SIZES[name] for name in SIZES if name in os.environ), "")
    loaded = mpi.get_vendor()[0]
    if "Open MPI" in (wanted, loaded) and wanted and wanted != loaded:
        raise InputError(
            f"mpiexec belongs to {wanted}, but mpi4py has loaded {loaded}: "
            f"use the mpiexec of {loaded}"
        )
    roll.join()
    # mpi.Init would hold the interpreter's lock, and the roll could not end this process
    ctypes.CDLL(mpi.__file__).MPI_Init(None, None)
    mpi.COMM_WORLD.Set_errhandler(mpi.ERRORS_RETURN)
    if size != mpi.COMM_WORLD.size:
        raise InputError(
            f"mpiexec started {size} processes, but MPI connects {mpi.COMM_WORLD.size}: "
            "use the mpiexec of the MPI that mpi4py has loaded"
        )
    return MPIProcesses(mpi)


def _silence():
    """Redirect output to /dev/null, except for Python's `sys.stderr`, which `fail` uses."""
    kept = os.dup(sys.stderr.fileno())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    sys.stderr = os.fdopen(kept, "w", buffering=1)
