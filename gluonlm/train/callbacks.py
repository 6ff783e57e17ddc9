"""Callbacks of the Trainer: the progress bar, metrics.jsonl, samples.txt and curve.png.

A callback is called with an event and its record: "step" after every step, "training" and
"validation" with means since the previous such event, "checkpoint" before a checkpoint is written,
and "result" at the end.
"""

import json
import math
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..evaluate.scoring import Unit
from ..system.console import drop_output
from ..system.errors import InputError
from ..system.files import BLOCK
from .progress import Progress


class ProgressBar:
    """Prints a line per validation and, on a terminal, a bar with loss, speed and time left.

    With a time limit, it also prints the expected end once the speed has been measured.
    """

    def __init__(self, trainer, unit: Unit, quiet: bool = False):
        from tqdm import tqdm

        self.unit, self.quiet, self.tqdm, self.trainer = unit, quiet, tqdm, trainer
        self.expected: float | None = None  # number of steps, once it is known
        self.bar = tqdm(
            total=trainer.total_steps if math.isfinite(trainer.total_steps) else None,
            initial=trainer.progress.step,
            unit="step",
            dynamic_ncols=True,
            disable=quiet or None,
        )
        self.smoothed = math.nan
        self._restart()

    def _restart(self):
        """Restart the speed measurement, which excludes the time of validation."""
        self.tokens, self.seconds, self.began = 0, 0.0, time.perf_counter()

    def __call__(self, event: str, record: dict[str, Any]) -> None:
        if event == "step":
            self.tokens += record["tokens"]
            self.seconds = time.perf_counter() - self.began
            self._expect()
            if not self.bar.disable:
                self._advance(record["loss"])
        if event == "validation":
            self._print(self._describe(record))
            self._restart()

    def _expect(self):
        """Update the expected number of steps; print the first one."""
        speed, steps = self.trainer.progress.steps_per_second, self.trainer.expected_steps
        if speed and steps != self.expected:
            if self.expected is None:
                epoch = steps / len(self.trainer.batches)
                end = f"step {steps:.0f}, epoch {epoch:.2f}, after {steps / speed:.0f} s"
                self._print(f"expected end: {end}")
            self.bar.total, self.expected = round(steps), steps

    def _advance(self, loss):
        if math.isnan(self.smoothed):
            self.smoothed = loss
        elif math.isfinite(loss):
            self.smoothed = 0.95 * self.smoothed + 0.05 * loss
        shown = [f"{self.smoothed:.3f} nats", self.unit.describe(self.smoothed), self._speed()]
        self.bar.set_postfix_str(", ".join(shown), refresh=False)
        self.bar.update()

    def _print(self, line):
        if self.quiet:
            return
        try:
            self.tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # such as `| head`: stop with a checkpoint
            self.quiet = True
            drop_output()
            self.trainer.stop("output closed")

    def _describe(self, record):
        """Return the line of a validation."""
        losses = [
            f"{part} {self.unit.describe(record[f'{part}_loss'])}"
            for part in ("train", "valid")
            if record[f"{part}_loss"] is not None
        ]
        end = f" of {self.expected:.0f}" if self.expected else ""
        columns = [f"epoch {round(record['epoch'], 2):g}", f"step {record['step']}{end}", *losses]
        columns += [f"lr {record['lr']:.2g}", self._speed(), f"{record['seconds']:.0f} s"]
        return "  ".join(columns + ["best"] * record["best"])

    def _speed(self):
        kind = "character" if self.unit.level == "char" else self.unit.level
        return f"{self.tokens / max(1e-9, self.seconds):,.0f} {kind}s/s"

    def close(self) -> None:
        """Close the bar."""
        self.bar.close()


class GrowingFile:
    """A file of a run to which events append; `counter` names its length field in Progress.

    A subclass defines `lines(event, record)`, which yields the bytes to append, ending with a
    line break.
    """

    counter = ""

    def __init__(self, path: Path, progress: Progress):
        """Open the file and truncate it to its length when `progress` was saved.

        Later lines of a killed process are discarded; training writes them again.
        """
        self.progress, length = progress, getattr(progress, self.counter)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        try:
            self.stream = open(os.open(path, flags, 0o666), "ab+")
            status = os.fstat(self.stream.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise InputError(f"{path}: must be a regular file with one link; remove it")
            kept = self._end_of_line(min(length, status.st_size))
            if kept < length:
                line = f"gluonlm: {path}: lines are missing; the checkpoint is intact"
                print(line, file=sys.stderr)
            self.stream.truncate(kept)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
        setattr(progress, self.counter, kept)

    def _end_of_line(self, length):
        """Return the end of the last line in the first `length` bytes.

        Only the last block is read: the length may be forged, and the file sparse.
        """
        start = max(0, length - BLOCK)
        self.stream.seek(start)
        place = self.stream.read(length - start).rfind(b"\n")
        return start + place + 1 if place >= 0 else 0

    def __call__(self, event: str, record: dict[str, Any]) -> None:
        if event == "checkpoint":
            os.fsync(self.stream.fileno())
        else:
            content = b"".join(self.lines(event, record))
            self.stream.write(content)
            self.stream.flush()
            length = getattr(self.progress, self.counter) + len(content)
            setattr(self.progress, self.counter, length)

    def lines(self, event: str, record: dict[str, Any]) -> Iterator[bytes]:
        raise TypeError("use MetricsFile or SamplesFile instead of GrowingFile")

    def close(self) -> None:
        """Close the file."""
        self.stream.close()


class MetricsFile(GrowingFile):
    """Appends each training, validation and result record to metrics.jsonl, one per line."""

    counter = "metrics_bytes"

    def lines(self, event, record):
        if event != "step":
            finite = {name: _finite(value) for name, value in record.items()}
            yield json.dumps({"event": event, **finite}, allow_nan=False).encode() + b"\n"


class SamplesFile(GrowingFile):
    """Appends a sample at each temperature to samples.txt after each validation.

    Parameters
    ----------
    write
        Called with the step and a temperature; returns the text.
    """

    counter = "samples_bytes"

    def __init__(
        self,
        path: Path,
        progress: Progress,
        temperatures: Sequence[float],
        write: Callable[[int, float], str],
    ):
        super().__init__(path, progress)
        self.temperatures, self.write = temperatures, write

    def lines(self, event, record):
        for temperature in self.temperatures if event == "validation" else ():
            heading = f"== step {record['step']}, epoch {record['epoch']:.2f}"
            text = self.write(record["step"], temperature).encode("utf-8", "backslashreplace")
            yield f"{heading}, temperature {temperature:g}\n".encode() + text + b"\n\n"


def at_validations(work: Callable[[], Any]) -> Callable[[str, dict[str, Any]], None]:
    """Return a callback that calls a function after each validation."""

    def call(event, record):
        if event == "validation":
            work()

    return call


def _finite(value):
    """Return a value for JSON: None for infinity and NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
