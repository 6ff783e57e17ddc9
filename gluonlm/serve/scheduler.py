"""Dynamic batching: one model computes all requests, which join and leave its batch at any token.

All of it runs in the thread of the event loop, so that only this thread uses the model. Another
thread would not be faster: native kernels keep Python's lock.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from .jobs import Job, Reader, Scoring

# Rows of the smallest batch. Products of one row, and with MXNet of fewer than 16, add up their
# terms in another order; from these sizes on, a text does not depend on the size of the batch.
FEWEST, FEWEST_OF_WINDOWS = 2, 16
TURN = 0.01  # seconds of computation between two visits of the network
VISITS = 8  # iterations of the event loop in a visit: a request takes several to begin


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may use.

    Attributes
    ----------
    max_prompt, max_length
        Tokens of a prompt or scored text, and tokens to generate.
    max_requests
        Number of requests at the same time.
    timeout
        Seconds per request.
    """

    max_prompt: int = 10_000
    max_length: int = 10_000
    max_requests: int = 32
    timeout: float = 60.0


class Unavailable(Exception):
    """The server cannot compute, or finish, a request now; the message is for its client."""


class Batch:
    """The jobs that read tokens, each in a row of one stepper.

    The number of rows is a power of two. Unused rows have a state of zeros.
    """

    def __init__(self, model):
        self.fewest = FEWEST_OF_WINDOWS if model.window else FEWEST
        self.stepper = model.stepper(self.fewest)
        self.rows: list[Reader | None] = [None] * self.fewest

    def __len__(self) -> int:
        return sum(job is not None for job in self.rows)

    def add(self, job: Reader) -> None:
        """Add a job, in new rows if none is unused."""
        if None not in self.rows:
            self._resize(2 * len(self.rows))
        self.rows[self.rows.index(None)] = job

    def drop_ended(self) -> None:
        """Remove the jobs that have ended; halve the rows if three quarters are unused."""
        ended = [row for row, job in enumerate(self.rows) if job and job.ended]
        for row in ended:
            self.rows[row] = None
        while ended and len(self.rows) >= max(2 * self.fewest, 4 * len(self)):
            self._resize(len(self.rows) // 2)

    def _resize(self, size):
        used = [row for row, job in enumerate(self.rows) if job]
        unused = [0] * (size - len(used))
        self.stepper.select([*used, *unused])
        self.rows = [*(self.rows[row] for row in used), *(None for _ in unused)]
        self._reset_unused()

    def step(self) -> None:
        """Read one token of every job."""
        ids = np.array([job.token if job else 0 for job in self.rows], np.int32)
        logits = self.stepper.step(ids)  # (N, V)
        for row, job in enumerate(self.rows):
            if job:
                job.read(logits[row : row + 1])
        self.drop_ended()
        self._reset_unused()

    def _reset_unused(self):
        unused = [row for row, job in enumerate(self.rows) if job is None]
        if unused:
            self.stepper.reset(unused)


class Scheduler:
    """Computes jobs in turns, until it is closed."""

    def __init__(self, model, limits: Limits):
        self.limits, self.batch = limits, Batch(model)
        self.jobs: list[Job] = []  # not yet answered completely, though they may have ended
        self.closed = False
        self._wake = asyncio.Event()

    def submit(self, job: Job) -> None:
        """Begin to compute a job.

        Raises
        ------
        Unavailable
            If there are too many, or the server is shutting down.
        """
        if self.closed:
            raise Unavailable("the server is shutting down")
        if len(self.jobs) >= self.limits.max_requests:
            raise Unavailable(
                f"{len(self.jobs)} requests are running, which is the limit `max_requests`: "
                "try again later"
            )
        job.deadline = asyncio.get_running_loop().time() + self.limits.timeout
        self.jobs.append(job)
        if isinstance(job, Reader):
            self.batch.add(job)
        self._wake.set()

    def remove(self, job: Job) -> None:
        """Forget a job, whose client has the complete answer or has gone."""
        if job in self.jobs:
            self.jobs.remove(job)
            job.end()
            self.batch.drop_ended()

    def close(self) -> None:
        """End all jobs, and stop."""
        self.closed = True
        self._end_all(Unavailable("the server is shutting down"))
        self._wake.set()

    def _end_all(self, error):
        for job in self.jobs:
            job.end(error)

    async def run(self) -> None:
        """Compute until `close`; an unexpected error ends all jobs."""
        try:
            while not self.closed:
                if all(job.ended for job in self.jobs):
                    self._wake.clear()
                    await self._wake.wait()
                self._turn()
                for _ in range(VISITS):
                    await asyncio.sleep(0)
        except Exception:
            self.closed = True
            self._end_all(Unavailable("the server has failed"))
            raise

    def _turn(self):
        now = asyncio.get_running_loop().time()
        for job in self.jobs:
            if now >= job.deadline:
                seconds = self.limits.timeout
                job.end(Unavailable(f"took longer than the limit `timeout` of {seconds:g} s"))
            elif isinstance(job, Scoring) and not job.ended:
                job.advance()
        self.batch.drop_ended()
        end = time.perf_counter() + TURN
        while len(self.batch) and time.perf_counter() < end:
            self.batch.step()
