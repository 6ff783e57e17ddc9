"""The files of one checkpoint, sealed: every byte is verified before it is used.

    manifest.json         format, and size and SHA-256 of every other file and of itself
    model.safetensors     parameters by name
    training.safetensors  optimizer and carried state
    progress.json  config.json  vocab.json

Arrays are safetensors and the rest is JSON: nothing is ever unpickled.
"""

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as parse_arrays
from safetensors.numpy import save_file as write_arrays

from ..config import Config
from ..system.errors import InputError
from ..system.files import hash_file, read_file, sync_file, sync_folder, write_file
from ..vocab import Vocab

FORMAT = 1
MANIFEST = "manifest.json"
SMALL = 10**6  # parameters that are built without a thought
ARRAYS = ("model.safetensors", "training.safetensors")
LIMITS = {  # bytes; of arrays there may be as many as the model has
    MANIFEST: 1 << 16,
    "config.json": 1 << 20,
    "progress.json": 1 << 20,
    "vocab.json": 1 << 28,
}
FILES = ("config.json", "model.safetensors", "progress.json", "training.safetensors", "vocab.json")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: settings, vocabulary, arrays by name, and how far training was."""

    config: Config
    vocab: Vocab
    parameters: dict[str, np.ndarray]
    training: dict[str, np.ndarray]
    progress: dict

    def networks(self) -> list[dict[str, np.ndarray]]:
        """Return the parameters of the network, or of each member of the ensemble, by name."""
        members = self.config.model.members
        prefixes = [f"networks.{k}." for k in range(members)] if members > 1 else [""]
        return [
            {
                name[len(prefix) :]: array
                for name, array in sorted(self.parameters.items())
                if name.startswith(prefix)
            }
            for prefix in prefixes
        ]

    def encode(self, text: str, unknown: str = "error") -> np.ndarray:
        """Return the ids `(tokens,)` of a text, read as the run's own text was.

        Raises
        ------
        InputError
            As `Vocab.encode` does.
        """
        return self.vocab.encode(text.lower() if self.config.data.lower else text, unknown)


def write_checkpoint(folder: Path, contents: Checkpoint) -> None:
    """Write a checkpoint into an empty folder, and read it back.

    Raises
    ------
    OSError, InputError
        If the disk does not take it, or returns something else.
    """
    content = {
        "config.json": _canonical(contents.config.to_dict()),
        "vocab.json": _canonical(contents.vocab.to_dict()),
        "progress.json": _canonical(contents.progress),
    }
    arrays = dict(zip(ARRAYS, (contents.parameters, contents.training)))
    for name in content:
        write_file(folder / name, content[name])
    try:
        for name in ARRAYS:  # as they lie in memory: a copy would be the peak of a training
            write_arrays(arrays[name], folder / name)
            sync_file(folder / name)
        same = all(_holds(folder / name, arrays[name]) for name in ARRAYS)
    except SafetensorError as error:
        raise InputError(f"arrays: {error}") from None
    if not same or any(read_file(folder / name) != content[name] for name in content):
        raise InputError("the disk returned something else than was written")
    files = {name: hash_file(folder / name) for name in FILES}
    write_file(folder / MANIFEST, seal(files))
    sync_folder(folder)
    _manifest(folder / MANIFEST)


def _holds(path, arrays):
    """Return whether a file holds these arrays, to the bit; one at a time is read."""
    with safe_open(path, framework="np") as stored:
        return set(stored.keys()) == set(arrays) and all(
            stored.get_tensor(name).tobytes() == array.tobytes() for name, array in arrays.items()
        )


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint's folder.

    Raises
    ------
    InputError
        Naming the file at fault.
    """
    folder = Path(folder)
    content = _sealed_content(folder)
    try:
        arrays = {name: parse_arrays(content[name]) for name in ARRAYS}
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{folder}: arrays cannot be read: {error}") from None
    progress = _json(folder / "progress.json", content["progress.json"])
    if type(progress.get("step")) is not int or progress["step"] < 0:
        raise InputError(f"{folder / 'progress.json'}: not the progress of a training")
    vocab = _json(folder / "vocab.json", content["vocab.json"])
    if not {"level", "tokens"} <= set(vocab) or not isinstance(vocab["tokens"], list):
        raise InputError(f"{folder / 'vocab.json'}: not a vocabulary")
    path = folder / "config.json"
    config = Config.from_kept(_json(path, content["config.json"]), path)
    parameters, training = (arrays[name] for name in ARRAYS)
    described = config.model.count_parameters(len(vocab["tokens"]))
    held = sum(array.size for array in parameters.values())
    layers = config.model.members * len(config.model.layer_sizes())
    if described > 2 * held + SMALL or layers > len(parameters):  # a forged size is not even built
        raise InputError(
            f"{path}: its settings describe {described:,} parameters in {layers:,} layers, "
            f"but {folder / ARRAYS[0]} holds {held:,} in {len(parameters):,} arrays"
        )
    return Checkpoint(config, Vocab(**vocab), parameters, training, progress)


def with_new_rows(
    old: dict[str, np.ndarray], new: dict[str, np.ndarray], tokens: int
) -> dict[str, np.ndarray]:
    """Return old parameters for a larger vocabulary: a row that is new is that of `new`.

    Parameters
    ----------
    tokens
        How many the old vocabulary has; an array with a row for each of them gets more.
    """
    grown = dict(old)
    for name in set(old) & set(new):
        first, whole = old[name], new[name]
        if first.shape == (tokens, *whole.shape[1:]) and len(whole) > tokens:
            grown[name] = np.concatenate([first, whole[tokens:]])
    return grown


def seal(files: dict[str, tuple[int, str]]) -> bytes:
    """Return the manifest of files by name: their sizes and SHA-256, sealed by its own."""
    listed = {name: {"size": size, "sha256": digest} for name, (size, digest) in files.items()}
    manifest = {"format": FORMAT, "files": listed}
    return _canonical({**manifest, "sha256": _digest(_canonical(manifest))})


def _sealed_content(folder):
    """Return the content of each file, once all of them are known to be what was sealed."""
    files = _manifest(folder / MANIFEST)
    extra = sorted(set(os.listdir(folder)) - {*FILES, MANIFEST})
    if extra:
        raise InputError(f"{folder / extra[0]}: not a file of this checkpoint: remove it")
    content = {
        name: read_file(folder / name, files[name]["size"], LIMITS.get(name)) for name in FILES
    }
    for name in FILES:
        if _digest(content[name]) != files[name].get("sha256"):
            raise InputError(
                f"{folder / name}: its SHA-256 is not the manifest's: "
                "the checkpoint is damaged, use another"
            )
    return content


def _manifest(path):
    """Return what a manifest says of each file, itself verified."""
    raw = read_file(path, limit=LIMITS[MANIFEST])
    manifest = _json(path, raw)
    claimed = manifest.pop("sha256", None)
    if manifest.get("format") != FORMAT:
        raise InputError(f"{path}: format {manifest.get('format')!r}, this version reads {FORMAT}")
    untouched = raw == _canonical({**manifest, "sha256": claimed})
    if not untouched or claimed != _digest(_canonical(manifest)):
        raise InputError(
            f"{path}: does not match its own SHA-256: the checkpoint is damaged, use another"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or sorted(files) != list(FILES):
        raise InputError(f"{path}: does not list the files of a checkpoint")
    for entry in files.values():
        if not isinstance(entry, dict) or not isinstance(entry.get("size"), int):
            raise InputError(f"{path}: does not list the files of a checkpoint")
    return files


def _canonical(value):
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False, indent=1)
    return text.encode()


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def _json(path, content):
    try:
        value = json.loads(content, parse_constant=_reject_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: not the JSON it should be: the checkpoint is damaged, use another"
        )
    return value


def _reject_constant(name):
    raise ValueError(f"{name} is not JSON")


def _finite(text):
    """Return a number; 1e999 would be infinity, which JSON cannot hold."""
    number = float(text)
    return number if math.isfinite(number) else _reject_constant(text)
