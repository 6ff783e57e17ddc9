"""Write the metrics of a training as TensorBoard events."""

import secrets
import time
from pathlib import Path
from typing import Any

from ..system.errors import InputError, WriteError

EVENTS = "events"  # prefix of the files' names
NAMES = {  # of the numbers written at each event, as in metrics.jsonl
    "training": ("train_loss", "lr", "tokens_per_second"),
    "validation": ("valid_loss",),
}


class TensorBoardFile:
    """Writes training and validation records into a new event file in a folder.

    The writer in tensorboardX's `SummaryWriter` runs in a thread, which hides errors, and may
    replace a file of the same second: its event files are written here directly.

    Parameters
    ----------
    folder
        Created if it does not exist.
    step
        The number of steps that the run has taken: TensorBoard ignores events of later steps in
        earlier files, such as those of a killed process.

    Raises
    ------
    InputError
        If tensorboardX is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: Path, step: int):
        self.folder, (events, self.event, self.scalar) = folder, _load()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = events(str(folder / EVENTS), f".{secrets.token_hex(4)}")
            start = self.event.SessionLog(status=self.event.SessionLog.START)
            self._write(step=step + 1, session_log=start)
            self.file.flush()
        except OSError as error:
            raise self._failed(error) from None

    def __call__(self, event: str, record: dict[str, Any]) -> None:
        names = [name for name in NAMES.get(event, ()) if record[name] is not None]
        try:
            for name in names:
                self._write(step=record["step"], summary=self.scalar(name, record[name]))
            if names:
                self.file.flush()
        except OSError as error:
            raise self._failed(error) from None

    def _write(self, **content):
        self.file.write_event(self.event.Event(wall_time=time.time(), **content))

    def _failed(self, error):
        return WriteError(f"`tensorboard` {self.folder}: cannot write there: {error.strerror}")

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def check_folder(folder: Path, new: bool) -> None:
    """Check that a training can write its events into a folder.

    Parameters
    ----------
    new
        Whether the folder must not contain another training's events, which TensorBoard would
        draw as part of the same curve.

    Raises
    ------
    InputError
        If that is not the case, or tensorboardX is not installed.
    """
    _load()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"`tensorboard` {folder}: not a folder; choose another")
    if new and any(folder.glob(f"{EVENTS}.out.tfevents.*")):
        raise InputError(
            f"`tensorboard` {folder}: contains the events of another training; choose another "
            "folder, or continue that training with `resume`"
        )


def _load() -> tuple:
    """Return tensorboardX's event files, events, and function for a number."""
    try:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar
    except ImportError as error:
        raise InputError(
            f"`tensorboard` requires tensorboardX (no module {error.name}): "
            "pip install 'gluonlm[tensorboard]'"
        ) from None
    return EventsWriter, event_pb2, scalar
