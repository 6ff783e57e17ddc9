"""The processes of one training job: a single process, or several that `mpiexec` started.

Without `mpiexec`, MPI is not imported. Processes exchange only numbers and JSON, never pickles.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .errors import InputError

# launchers' variables for the number of processes; Slurm also sets PMI_SIZE
SIZES = {"PMI_SIZE": "MPICH", "OMPI_COMM_WORLD_SIZE": "Open MPI"}
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")
PATIENCE = 2.0  # seconds to wait for the same error in the other processes
FORWARDING = 1.0  # seconds for the launcher to forward a line before the job is aborted
PAUSE = 0.02  # seconds between polls of the other processes


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
            known = isinstance(error, (InputError, OSError, MemoryError, KeyboardInterrupt))
            line = f"gluonlm: error: {where}: {str(error) or type(error).__name__}"
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
    numbers = all(text.isdigit() for text in (*sizes[:1], *ranks[:1]))
    return (int(ranks[0]), int(sizes[0])) if sizes and ranks and numbers else (0, 1)


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Connect to the other processes of this job, and disconnect at the end.

    Only the first process prints; an error in one process ends all of them with one line.

    Raises
    ------
    InputError
        If MPI cannot be loaded, or is not the launcher's MPI.
    """
    rank, size = launched()
    if size == 1:
        yield ALONE
        return
    try:
        job = _connect(size)
    except InputError:
        if rank:
            sys.exit(0)  # the first process prints the error and sets the job's exit code
        raise
    if job.rank:
        _silence()
    try:
        yield job
        job.leave()
    except BaseException as error:
        job.fail(error)
        if job.rank:
            sys.exit(2)
        raise


def _connect(size):
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
    mpi.Init()
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
