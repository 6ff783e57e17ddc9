"""The processes of one training: this one alone, or those that `mpiexec` started.

Without `mpiexec` nothing of MPI is imported. Between processes travel numbers and JSON: nothing
that one sends another is ever unpickled.
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

# how a launcher says how many processes it started: MPICH's and Slurm's, Open MPI's
SIZES = {"PMI_SIZE": "MPICH", "OMPI_COMM_WORLD_SIZE": "Open MPI"}
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")
PATIENCE = 2.0  # seconds that a process waits for the others to fail by the same fault
FORWARDING = 1.0  # seconds that a launcher has to pass a line on, before it ends all
PAUSE = 0.02  # seconds between two looks at whether the others are there


class Processes:
    """One process by itself, which is the first of one."""

    rank, size = 0, 1

    def from_first(self, work: Callable[[], Any] | None) -> Any:
        """Return in every process what `work` returns in the first: something for JSON.

        Raises
        ------
        InputError
            In every process, if the first meets one.
        """
        return work() if work else None

    def all_gather(self, value: Any) -> list:
        """Return the values of all processes, something for JSON, in their order."""
        return [value]

    def share_arrays(self, arrays: dict[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """Return in every process the arrays that the first one has, by name."""
        return arrays or {}

    def gather_arrays(self, arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Return in the first process the arrays of each; elsewhere nothing."""
        return [arrays]

    def alike(self, arrays: dict[str, np.ndarray]) -> bool:
        """Return whether all processes have the same arrays, to the last bit."""
        return True

    def sum(self, buffer: Any) -> None:
        """Sum a buffer over all processes, in place."""

    def cores(self, usable: int) -> int:
        """Return this process's part of the processor cores that it may use."""
        return usable


ALONE = Processes()


class MPIProcesses(Processes):
    """One of several processes that MPI connects."""

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
        own = np.frombuffer(json.dumps(value).encode(), np.uint8)
        lengths = np.empty(self.size, np.int64)
        self.comm.Allgather(np.array([len(own)]), lengths)
        gathered = np.empty(lengths.sum(), np.uint8)
        self.comm.Allgatherv(own, (gathered, lengths))
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
                own = {}
                for name, shape, dtype in layout:
                    own[name] = np.empty(shape, dtype) if rank else arrays[name]
                    if rank:
                        self.comm.Recv(own[name], source=rank)
                gathered.append(own)
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
        """Wait until every process is here, taking no processor time from those at work, and go."""
        request = self.comm.Ibarrier()
        while not request.Test():
            time.sleep(PAUSE)
        self.mpi.Finalize()  # a launcher takes a process that leaves without this for a crash

    def fail(self, error: BaseException) -> None:
        """End all processes for an error in this one.

        If it is the same in all of them, as a flag that is wrong, this returns: the first one will
        say so, and the others leave without a word.
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
    """Return this process's number and that of all, as its launcher says; 0 of 1 without one."""
    sizes = [os.environ[name] for name in (*SIZES, "SLURM_STEP_NUM_TASKS") if name in os.environ]
    ranks = [os.environ[name] for name in RANKS if name in os.environ]
    numbers = all(text.isdigit() for text in (*sizes[:1], *ranks[:1]))
    return (int(ranks[0]), int(sizes[0])) if sizes and ranks and numbers else (0, 1)


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Join the other processes of this training, and leave them together.

    All but the first have no output; an error in one ends all, with one line.

    Raises
    ------
    InputError
        If there is no MPI, or another than the launcher's.
    """
    rank, size = launched()
    if size == 1:
        yield ALONE
        return
    try:
        job = _connect(size)
    except InputError:
        if rank:
            sys.exit(0)  # the first one says it, and its exit code is the job's
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
    """Load MPI and return the MPIProcesses, once it is known to be the launcher's."""
    import importlib

    try:
        mpi4py = importlib.import_module("mpi4py")
        mpi4py.rc.initialize = False  # another MPI than the launcher's would end the process
        mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"{size} processes were started, but MPI does not load ({error}): "
            "pip install 'gluonlm[mpi]', or mpi4py for the MPI of this cluster"
        ) from None
    wanted = next((SIZES[name] for name in SIZES if name in os.environ), "")
    own = mpi.get_vendor()[0]
    if "Open MPI" in (wanted, own) and wanted and wanted != own:
        raise InputError(
            f"mpiexec is of {wanted}, but mpi4py has loaded {own}: start with the mpiexec of {own}"
        )
    mpi.Init()
    if size != mpi.COMM_WORLD.size:
        raise InputError(
            f"mpiexec started {size} processes, but MPI connects {mpi.COMM_WORLD.size}: "
            "start with the mpiexec of the MPI that mpi4py has loaded"
        )
    return MPIProcesses(mpi)


def _silence():
    """Make standard output lead nowhere, and standard error for all but what `fail` says."""
    kept = os.dup(sys.stderr.fileno())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    sys.stderr = os.fdopen(kept, "w", buffering=1)
