"""A run on disk: a folder with its settings, metrics, curve and checkpoints, each of them whole or not there.

    RUN/config.json  metrics.jsonl  samples.txt  curve.png
    RUN/checkpoints/last  best                   each names the folder of one checkpoint
    RUN/checkpoints/00001200/manifest.json       format, and size and SHA-256 of every other file
                             model.safetensors   parameters by name
                             training.safetensors  optimizer and carried state
                             progress.json  config.json  vocab.json

A checkpoint is written beside the others, read back, and only then named: whatever kills the process, `last` names a
whole one. Nothing is ever unpickled.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_arrays
from safetensors.numpy import save as format_arrays

from .config import Config
from .errors import InputError
from .vocab import Vocab

FORMAT = 1
FILES = ("config.json", "model.safetensors", "progress.json", "training.safetensors", "vocab.json")
MANIFEST = "manifest.json"
RUN_ENTRIES = ("config.json", "metrics.jsonl", "samples.txt", "curve.png", "checkpoints")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: settings, vocabulary, arrays by name, and how far training was."""

    config: Config
    vocab: Vocab
    parameters: dict
    training: dict
    progress: dict

    def encode(self, text, unknown="error"):
        """Turn a text into ids `(tokens,)` as the run's own text was. Raises: InputError as `Vocab.encode` does."""
        return self.vocab.encode(text.lower() if self.config.data.lower else text, unknown)


def _canonical(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False, indent=1).encode()


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def _write(path, content):
    """Write a new file, never through a link, and wait until the disk has it."""
    path.unlink(missing_ok=True)
    with open(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb"
    ) as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path, content):
    """Put a file in place at once: readers see the old content or the new, never a part. Raises: OSError."""
    _write(path.with_name(f".{path.name}.new"), content)
    os.replace(path.with_name(f".{path.name}.new"), path)
    _sync_folder(path.parent)


def _read(path, size=None):
    """Read a regular file, of this size if one is given. Raises: InputError naming it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: not a regular file")
            if size is not None and status.st_size != size:
                raise InputError(
                    f"{path}: {status.st_size} bytes instead of {size}: the checkpoint is damaged, use another"
                )
            return stream.read()
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def _json(path, content):
    try:
        value = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: not the JSON it should be: the checkpoint is damaged, use another"
        )
    return value


def read_checkpoint(folder):
    """Read a checkpoint's folder, every byte of it verified before it is used.

    Raises: InputError naming the file at fault.
    """
    folder = Path(folder)
    manifest_path = folder / MANIFEST
    raw = _read(manifest_path)
    manifest = _json(manifest_path, raw)
    claimed = manifest.pop("sha256", None)
    if manifest.get("format") != FORMAT:
        raise InputError(
            f"{manifest_path}: format {manifest.get('format')!r}, this version reads {FORMAT}"
        )
    if claimed != _digest(_canonical(manifest)) or raw != _canonical(
        {**manifest, "sha256": claimed}
    ):
        raise InputError(
            f"{manifest_path}: does not match its own SHA-256: the checkpoint is damaged, use another"
        )
    files = manifest.get("files")
    if not (
        isinstance(files, dict)
        and sorted(files) == list(FILES)
        and all(
            isinstance(entry, dict) and isinstance(entry.get("size"), int)
            for entry in files.values()
        )
    ):
        raise InputError(f"{manifest_path}: does not list the files of a checkpoint")
    extra = sorted(set(os.listdir(folder)) - {*FILES, MANIFEST})
    if extra:
        raise InputError(f"{folder / extra[0]}: not a file of this checkpoint: remove it")
    content = {name: _read(folder / name, files[name]["size"]) for name in FILES}
    for name in FILES:
        if _digest(content[name]) != files[name].get("sha256"):
            raise InputError(
                f"{folder / name}: its SHA-256 is not the manifest's: the checkpoint is damaged, use another"
            )
    try:
        arrays = {
            name: parse_arrays(content[name]) for name in FILES if name.endswith(".safetensors")
        }
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{folder}: arrays cannot be read: {error}") from None
    progress = _json(folder / "progress.json", content["progress.json"])
    if type(progress.get("step")) is not int or progress["step"] < 0:
        raise InputError(f"{folder / 'progress.json'}: not the progress of a training")
    vocab = _json(folder / "vocab.json", content["vocab.json"])
    if set(vocab) != {"level", "tokens"} or not isinstance(vocab["tokens"], list):
        raise InputError(f"{folder / 'vocab.json'}: not a vocabulary")
    return Checkpoint(
        Config.from_dict(
            _json(folder / "config.json", content["config.json"]), folder / "config.json"
        ),
        Vocab(**vocab),
        arrays["model.safetensors"],
        arrays["training.safetensors"],
        progress,
    )


class Run:
    """A run's folder. `Run.create` makes a new one, `Run(path)` opens one that is there."""

    def __init__(self, path):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.metrics, self.curve = self.path / "metrics.jsonl", self.path / "curve.png"
        self.samples = self.path / "samples.txt"
        self._lock = None

    @classmethod
    def create(cls, path, overwrite=False):
        """Make a run's folder; an existing one is refused, or with `overwrite` emptied if a run is what it holds.

        A run that was killed before its first checkpoint holds nothing to lose, and is begun anew.
        Raises: InputError.
        """
        run = cls(path)
        try:
            if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
                if not overwrite and not run._begun():
                    raise InputError(
                        f"--run {path}: already exists: go on with --resume {path}, replace it with --overwrite, or give another --run"
                    )
                if not run._is_run():
                    raise InputError(
                        f"--run {path}: holds something else than a run, which --overwrite does not remove"
                    )
                run.lock()
                for entry in run.path.iterdir():
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            run.checkpoints.mkdir(parents=True)
            run.lock()
        except OSError as error:
            raise InputError(f"--run {path}: cannot write there: {error.strerror}") from None
        return run

    def _is_run(self):
        """Tell whether this folder holds a run and nothing else."""
        return (
            self.path.is_dir()
            and self.checkpoints.is_dir()
            and not self.checkpoints.is_symlink()
            and all(
                entry.name.lstrip(".").removesuffix(".new") in RUN_ENTRIES
                for entry in self.path.iterdir()
            )
            and all(
                re.fullmatch(r"best|last|\d{8,}a*|\..*", entry.name)
                for entry in self.checkpoints.iterdir()
            )
        )

    def _begun(self):
        """Tell whether this is a run that was killed before its first checkpoint was named."""
        return (
            self._is_run()
            and os.listdir(self.path) == ["checkpoints"]
            and not {"best", "last"} & set(os.listdir(self.checkpoints))
        )

    def lock(self):
        """Hold this run for this process until `unlock`. Raises: InputError if another process has it."""
        if self._lock is not None:
            return
        try:
            self._lock = os.open(self.path, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unlock()
            raise InputError(
                f"{self.path}: another process is training this run: wait for it, or give another --run"
            ) from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot open this run: {error.strerror}") from None

    def unlock(self):
        """Let other processes have this run."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def save(self, contents, pointers=("last",)):
        """Write a Checkpoint, verify it, then let `pointers` (of best, last) name it; those that neither names are removed.

        Returns: its folder. Raises: InputError if the disk does not take it; what was there before is still there then.
        """
        content = {
            "config.json": _canonical(contents.config.to_dict()),
            "vocab.json": _canonical(contents.vocab.to_dict()),
            "progress.json": _canonical(contents.progress),
            "model.safetensors": format_arrays(contents.parameters),
            "training.safetensors": format_arrays(contents.training),
        }
        manifest = {
            "format": FORMAT,
            "files": {
                name: {"size": len(content[name]), "sha256": _digest(content[name])}
                for name in FILES
            },
        }
        content[MANIFEST] = _canonical({**manifest, "sha256": _digest(_canonical(manifest))})
        name = f"{contents.progress['step']:08d}"
        while (
            self.checkpoints / name
        ).exists():  # resumed and stopped at the same step: the older one may be in use
            name += "a"
        try:
            with tempfile.TemporaryDirectory(dir=self.checkpoints, prefix=".writing-") as folder:
                part = Path(folder) / name
                part.mkdir()
                for file, data in content.items():
                    _write(part / file, data)
                _sync_folder(part)
                read_checkpoint(part)
                os.rename(part, self.checkpoints / name)
            _sync_folder(self.checkpoints)
            for pointer in pointers:
                replace_file(self.checkpoints / pointer, name.encode())
        except (OSError, InputError) as error:
            raise InputError(
                f"{self.path}: the checkpoint of step {contents.progress['step']} could not be written ({error}); "
                "the one before it is whole"
            ) from None
        self._prune()
        return self.checkpoints / name

    def _prune(self):
        named = {self.pointed(pointer) for pointer in ("best", "last")}
        for entry in self.checkpoints.iterdir():
            if entry.is_dir() and entry not in named:
                shutil.rmtree(entry, ignore_errors=True)

    def pointed(self, pointer):
        """Give the folder that `best` or `last` names, or None if there is no such pointer.

        Raises: InputError if it names nonsense.
        """
        path = self.checkpoints / pointer
        if not os.path.lexists(path):
            return None
        name = _read(path).decode("ascii", "replace").strip()
        if not re.fullmatch(r"\d{8,}a*", name):
            raise InputError(
                f"{path}: names no checkpoint: write the name of a folder beside it into it"
            )
        return self.checkpoints / name

    def load(self, which="best"):
        """Read the checkpoint that is `best` or `last`; a run that never validated has no best, so its last is read.

        Raises: InputError.
        """
        if (self.path / MANIFEST).exists():
            return read_checkpoint(self.path)  # a checkpoint's own folder was given
        folder = self._named(which)
        try:
            return read_checkpoint(folder)
        except InputError:
            if self._named(which) == folder:
                raise
            return read_checkpoint(
                self._named(which)
            )  # a training has named another one meanwhile, and removed this

    def _named(self, which):
        folder = self.pointed(which) or self.pointed("last")
        if folder is None or self.checkpoints.is_symlink():
            raise InputError(
                f"{self.path}: no run with a checkpoint is there; give the folder that training printed"
            )
        return folder


def load_parameters(model, arrays):
    """Put arrays by name into a model. Raises: InputError unless names, shapes and types are the model's own."""
    check_parameters(model, arrays)
    for name, parameter in model.parameters().items():
        parameter.set_data(arrays[name])


def check_parameters(model, arrays):
    """Compare arrays by name with a model, which need not be initialized. Raises: InputError unless all fit."""
    parameters = model.parameters()
    for name in sorted(set(parameters) ^ set(arrays)):
        raise InputError(
            f"checkpoint: parameter {name} is {'missing' if name in parameters else 'not one of this model'}"
        )
    for name, parameter in parameters.items():
        array = arrays[name]
        if array.shape != parameter.shape or array.dtype != np.float32:
            raise InputError(
                f"checkpoint: parameter {name} is {array.dtype} {array.shape}, the model's is float32 {parameter.shape}"
            )


def load_model(run, which="best", ctx=None):
    """Read a model from a run's folder (or from one checkpoint's).

    Returns: the model on `ctx` (default: the CPU), and its Checkpoint. Raises: InputError if anything is damaged.
    """
    import mxnet as mx

    from .models import build_model

    ctx = ctx or [mx.cpu()]
    checkpoint = Run(run).load(which)
    model = build_model(checkpoint.config.model, len(checkpoint.vocab))
    check_parameters(model, checkpoint.parameters)  # before anything of a forged size is allocated
    load_parameters(model.prepare(ctx, seed=None), checkpoint.parameters)
    return model, checkpoint
