"""A run's folder: settings, metrics, curve, and atomically written checkpoints.

    RUN/config.json  metrics.jsonl  samples.txt  curve.png
    RUN/checkpoints/last  best   name of the folder of one checkpoint
    RUN/checkpoints/00001200/    the checkpoint of step 1200: see `checkpoint`

A checkpoint is written to a new folder and read back before `last` names it: even if the process
is killed, `last` names a complete checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..config import Config
from ..system.errors import InputError, WriteError
from ..system.files import lock_folder, opened_folder, read_file, replace_file, sync_folder
from .checkpoint import FILES, MANIFEST, Checkpoint, read_checkpoint, write_checkpoint

ENTRIES = ("config.json", "metrics.jsonl", "samples.txt", "curve.png", "checkpoints")
NAME = r"\d{8,}a*"  # of a checkpoint folder: its step
WRITING = ".writing-"  # prefix of a folder while its checkpoint is being written
POINTERS = ("best", "last")


class Run:
    """A run's folder. `Run.create` creates one; `Run(path)` opens an existing one."""

    def __init__(self, path):
        if not str(path):
            raise InputError("the name of the run is empty; is a shell variable unset?")
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.metrics, self.samples = self.path / "metrics.jsonl", self.path / "samples.txt"
        self.curve, self.config = self.path / "curve.png", self.path / "config.json"
        self._lock: int | None = None

    @classmethod
    def create(cls, path, overwrite: bool = False) -> Run:
        """Create a run's folder and lock it.

        An existing folder is rejected, or with `overwrite` emptied if it contains a run. A run
        that was killed before its first checkpoint is always replaced.

        Raises
        ------
        InputError
            If `path` contains anything else, or cannot be written.
        """
        run = cls(path)
        try:
            if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
                run._empty(overwrite)
            run.checkpoints.mkdir(parents=True)
            run.lock()
        except OSError as error:
            raise WriteError(f"`run` {path}: cannot write there: {error.strerror}") from None
        return run

    @classmethod
    def with_checkpoint(cls, path, contents: Checkpoint, overwrite: bool = False) -> Run:
        """Create an unlocked run of one checkpoint, which is both "best" and "last".

        Raises
        ------
        InputError
            As for `create`.
        """
        run = cls.create(path, overwrite)
        try:
            run.save(contents, ("best", "last"))
            run.write_config(contents.config)
        finally:
            run.unlock()
        return run

    def _empty(self, overwrite):
        """Remove the existing run, if that is allowed."""
        if self.path.is_dir():
            self.lock()  # before checking: a training process may add and remove entries
        try:
            self._check_removable(overwrite)
        except InputError:
            self.unlock()
            raise
        for entry in self.path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def _check_removable(self, overwrite):
        if not overwrite and not self._has_no_checkpoint():
            raise InputError(
                f"`run` {self.path}: already exists: continue it with `resume` {self.path}, "
                "replace it with `overwrite`, or choose another `run`"
            )
        if not self._is_run():
            raise InputError(
                f"`run` {self.path}: contains something other than a run, "
                "which `overwrite` does not remove"
            )

    def _is_run(self):
        """Return whether this folder contains a run and nothing else."""
        if not self.checkpoints.is_dir() or self.checkpoints.is_symlink():
            return False
        names = [entry.name.lstrip(".").removesuffix(".new") for entry in self.path.iterdir()]
        return set(names) <= set(ENTRIES) and all(
            _is_pointer(entry) or _is_checkpoint(entry) for entry in self.checkpoints.iterdir()
        )

    def _has_no_checkpoint(self):
        """Return whether this run was killed before its first checkpoint was complete."""
        return (
            self._is_run()
            and os.listdir(self.path) == ["checkpoints"]
            and not set(POINTERS) & set(os.listdir(self.checkpoints))
        )

    def lock(self) -> None:
        """Lock this run for this process until `unlock`.

        Raises
        ------
        InputError
            If another process has locked it.
        """
        if self._lock is not None:
            return
        try:
            self._lock = lock_folder(self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot open this run: {error.strerror}") from None
        if self._lock is None:
            raise InputError(
                f"{self.path}: another process is training this run: "
                "wait for it, or choose another `run`"
            )

    def unlock(self) -> None:
        """Release this run for other processes."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def check_here(self) -> None:
        """Check that this path is still the locked folder.

        Raises
        ------
        InputError
            If the folder was moved, removed or replaced.
        """
        if self._lock is None:
            return
        try:
            here, locked = os.stat(self.path), os.fstat(self._lock)
            if (here.st_dev, here.st_ino) == (locked.st_dev, locked.st_ino):
                return
        except OSError:
            pass
        raise WriteError(
            f"{self.path}: this run's folder was moved, removed or replaced while it was in use: "
            "nothing more is written; restore it and use `resume`"
        )

    def write_config(self, config: Config) -> None:
        """Write the settings to config.json, ready for `--config`."""
        replace_file(self.config, (json.dumps(config.to_dict(), indent=1) + "\n").encode())

    def save(self, contents: Checkpoint, pointers: Sequence[str] = ("last",)) -> Path:
        """Write and verify a checkpoint, then update `pointers` to name it.

        Parameters
        ----------
        pointers
            "best", "last" or both. Checkpoints named by neither are removed.

        Returns
        -------
        Path
            The checkpoint's folder.

        Raises
        ------
        InputError
            If it cannot be written; earlier checkpoints are then unchanged.
        """
        self.check_here()
        step = contents.progress["step"]
        name = f"{step:08d}"
        # resumed and stopped at the same step: the older one may be in use
        while (self.checkpoints / name).exists():
            name += "a"
        try:
            with tempfile.TemporaryDirectory(dir=self.checkpoints, prefix=WRITING) as folder:
                part = Path(folder) / name
                part.mkdir()
                write_checkpoint(part, contents)
                os.rename(part, self.checkpoints / name)
            sync_folder(self.checkpoints)
            for pointer in pointers:
                replace_file(self.checkpoints / pointer, name.encode())
        except (OSError, InputError) as error:
            before = os.path.lexists(self.checkpoints / "last")
            raise WriteError(
                f"{self.path}: the checkpoint of step {step} could not be written ({error}); "
                + ("the previous one is intact" if before else "there is no earlier one")
            ) from None
        self._prune()
        return self.checkpoints / name

    def _prune(self):
        named = {self.pointed(pointer) for pointer in POINTERS}
        for entry in self.checkpoints.iterdir():
            if _is_checkpoint(entry) and entry not in named:
                shutil.rmtree(entry, ignore_errors=True)

    def pointed(self, pointer: str, folder: int | None = None) -> Path | None:
        """Return the folder named by `best` or `last`, or None if that pointer is missing.

        Parameters
        ----------
        folder
            The descriptor of the folder of checkpoints, or None to open it by its path.

        Raises
        ------
        InputError
            If its content is invalid.
        """
        path = self.checkpoints / pointer
        if pointer not in _names(self.checkpoints if folder is None else folder):
            return None
        name = read_file(path, limit=100, folder=folder).decode("ascii", "replace").strip()
        if not re.fullmatch(NAME, name):
            raise InputError(
                f"{path}: does not contain a checkpoint name; expected one such as 00001200"
            )
        return self.checkpoints / name

    def load(self, which: str = "best") -> Checkpoint:
        """Read the checkpoint `best` or `last`.

        A run that was never validated has no `best`: `last` is read instead.

        Raises
        ------
        InputError
            If it is missing or damaged, or `which` is another name.
        """
        if which not in POINTERS:
            found = [name for name in POINTERS if os.path.lexists(self.checkpoints / name)]
            raise InputError(
                f"{self.path}: no checkpoint {which!r}: must be {' or '.join(found or POINTERS)}"
            )
        if self.is_checkpoint():
            if which != "best":
                raise InputError(
                    f"`checkpoint` {which}: {self.path} is a single checkpoint; pass the folder "
                    "of its run, or leave it out"
                )
            return read_checkpoint(self.path)
        with contextlib.ExitStack() as stack:
            try:
                run = stack.enter_context(opened_folder(self.path))
                # the checkpoints are opened in this folder, even if its path is replaced by a link
                folder = stack.enter_context(opened_folder("checkpoints", run, follow=False))
            except OSError:
                raise self._lacks_checkpoint() from None
            named = self._named(which, folder)
            try:
                return read_checkpoint(named, folder)
            except InputError:
                if self._named(which, folder) == named:
                    raise
                # a training process has replaced it in the meantime
                return read_checkpoint(self._named(which, folder), folder)

    def is_checkpoint(self) -> bool:
        """Return whether this is the folder of one checkpoint rather than of a run."""
        return (self.path / MANIFEST).exists()

    def _named(self, which, folder):
        named = self.pointed(which, folder) or self.pointed("last", folder)
        if named is None:
            raise self._lacks_checkpoint()
        return named

    def _lacks_checkpoint(self):
        return InputError(f"{self.path}: no checkpoint found; use the run folder printed by train")


def _names(folder):
    """Return the names in a folder, none if it is missing."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_pointer(entry):
    return entry.name in (*POINTERS, *(f".{pointer}.new" for pointer in POINTERS))


def _is_checkpoint(entry):
    """Return whether this is a partial or complete checkpoint folder, and nothing else."""
    if entry.is_symlink() or not entry.is_dir():
        return False
    if entry.name.startswith(WRITING):
        return all(_is_checkpoint(inner) for inner in entry.iterdir())
    return bool(re.fullmatch(NAME, entry.name)) and set(os.listdir(entry)) <= {*FILES, MANIFEST}


def new_folder(config: Config) -> Path:
    """Return a path under runs/ that does not exist yet, named after model and corpus."""
    text = re.sub(r"[^\w.-]+", "", Path(config.data.data[0]).stem).strip(".-") or "text"
    stem, number = f"{config.model.model}-{text}", 1
    while (path := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return path
