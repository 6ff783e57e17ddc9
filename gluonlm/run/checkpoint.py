"""Read and write checkpoints; every byte is verified before it is used.

    manifest.json         format, size and SHA-256 of every other file, and its own SHA-256
    model.safetensors     parameters by name, of 32 bits or 16, which are read as 32
    training.safetensors  optimizer and carried state
    progress.json  config.json  vocab.json

Arrays are stored as safetensors and everything else as JSON; nothing is unpickled.
"""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as parse_arrays
from safetensors.numpy import save_file as write_arrays

from ..config import Config
from ..corpus.text import with_line_feeds
from ..system.arguments import check_text
from ..system.errors import InputError
from ..system.files import hash_file, opened_folder, read_file, sync_file, sync_folder, write_file
from ..system.runtime import free_memory
from ..system.strict_json import parse_json
from ..vocab import Vocab

FORMAT = 1
MANIFEST = "manifest.json"
SMALL = 10**6  # below this many parameters, skip the size check
ARRAYS = ("model.safetensors", "training.safetensors")
LIMITS = {  # bytes; arrays are limited by the manifest only
    MANIFEST: 1 << 16,
    "config.json": 1 << 20,
    "progress.json": 1 << 20,
    "vocab.json": 1 << 28,
}
FILES = ("config.json", "model.safetensors", "progress.json", "training.safetensors", "vocab.json")


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint: settings, vocabulary, arrays by name and progress."""

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
        """Return the ids `(tokens,)` of a text, with case and line ends as in the run's own text.

        Raises
        ------
        InputError
            As for `Vocab.encode`.
        """
        return self.vocab.encode(self._read(text), unknown)

    def unknown_words(self, text: str) -> list[str]:
        """Return the distinct words of a text that `encode` replaces with `<unk>`, in order."""
        return self.vocab.unknown_words(self._read(text))

    def _read(self, text):
        """Return a text as training read it: line ends and case."""
        text = check_text(text)
        text = text if self.config.data.keep_line_ends else with_line_feeds(text)
        return text.lower() if self.config.data.lower else text


def write_checkpoint(folder: Path, contents: Checkpoint) -> None:
    """Write a checkpoint into an empty folder, and read it back.

    Raises
    ------
    OSError, InputError
        If writing fails, or the data read back differ.
    """
    content = {
        "config.json": _canonical(contents.config.to_dict()),
        "vocab.json": _canonical(contents.vocab.to_dict()),
        "progress.json": _canonical(contents.progress),
    }
    arrays = dict(zip(ARRAYS, (contents.parameters, contents.training)))
    for name in content:
        if len(content[name]) > LIMITS[name]:
            raise InputError(
                f"{name} of {len(content[name]):,} bytes, but at most {LIMITS[name]:,} can be read "
                "back: use a smaller vocabulary, or a pattern for many names of texts"
            )
        write_file(folder / name, content[name])
    try:
        for name in ARRAYS:  # without a copy, which would be the memory peak of training
            write_arrays(arrays[name], folder / name)
            sync_file(folder / name)
        same = all(_contains(folder / name, arrays[name]) for name in ARRAYS)
    except SafetensorError as error:
        raise InputError(f"arrays: {error}") from None
    if not same or any(read_file(folder / name) != content[name] for name in content):
        raise InputError("the data read back differ from the data written")
    files = {name: hash_file(folder / name) for name in FILES}
    write_file(folder / MANIFEST, seal(files))
    sync_folder(folder)
    _manifest(folder / MANIFEST)


def _contains(path, arrays):
    """Return whether a file contains exactly these arrays, reading one at a time."""
    with safe_open(path, framework="np") as stored:
        return set(stored.keys()) == set(arrays) and all(
            stored.get_tensor(name).tobytes() == array.tobytes() for name, array in arrays.items()
        )


def read_checkpoint(folder: Path, parent: int | None = None) -> Checkpoint:
    """Read a checkpoint's folder.

    Parameters
    ----------
    parent
        The descriptor of the folder that contains it, in which it must not be a link; None to open
        it by its path.

    Raises
    ------
    InputError
        If a file is missing or damaged; the message names it.
    """
    folder = Path(folder)
    content = _read_content(folder, parent)
    try:
        arrays = {name: parse_arrays(content[name]) for name in ARRAYS}
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{folder}: cannot read the arrays: {error}") from None
    progress = _json(folder / "progress.json", content["progress.json"])
    if type(progress.get("step")) is not int or progress["step"] < 0:
        raise InputError(f"{folder / 'progress.json'}: not the progress of a training run")
    vocab = _json(folder / "vocab.json", content["vocab.json"])
    if not isinstance(vocab.get("tokens"), list):
        raise InputError(f"{folder / 'vocab.json'}: not a vocabulary")
    path = folder / "config.json"
    settings = _json(path, content["config.json"])
    config = Config.from_kept(settings, path)
    parameters, training = (arrays[name] for name in ARRAYS)
    parameters = {name: _widened(array) for name, array in parameters.items()}
    described = config.model.count_parameters(len(vocab["tokens"]))
    found = sum(array.size for array in parameters.values())
    layers = config.model.members * len(config.model.layer_sizes())
    if described > 2 * found + SMALL or layers > len(parameters):  # never build a forged size
        raise InputError(
            f"{path}: the settings describe {described:,} parameters in {layers:,} layers, "
            f"but {folder / ARRAYS[0]} contains {found:,} in {len(parameters):,} arrays"
        )
    known = Vocab.from_dict(vocab)
    if "keep_line_ends" not in settings:
        config = _without_kept_line_ends(config, known)
    return Checkpoint(config, known, parameters, training, progress)


def _widened(array):
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _without_kept_line_ends(config, vocab):
    """Return the settings of an old run; its own text has no `\\r` if none can be encoded."""
    if vocab.encodes_carriage_return:
        return config
    return dataclasses.replace(config, data=dataclasses.replace(config.data, keep_line_ends=False))


def with_new_rows(
    old: dict[str, np.ndarray], new: dict[str, np.ndarray], tokens: int
) -> dict[str, np.ndarray]:
    """Extend old parameters to a larger vocabulary, taking the new rows from `new`.

    Parameters
    ----------
    tokens
        Size of the old vocabulary; arrays with one row per token are extended.
    """
    grown = dict(old)
    for name in set(old) & set(new):
        first, larger = old[name], new[name]
        if first.shape == (tokens, *larger.shape[1:]) and len(larger) > tokens:
            grown[name] = np.concatenate([first, larger[tokens:]])
    return grown


def seal(files: dict[str, tuple[int, str]]) -> bytes:
    """Return the manifest: size and SHA-256 of each file, and the SHA-256 of the manifest."""
    listed = {name: {"size": size, "sha256": digest} for name, (size, digest) in files.items()}
    manifest = {"format": FORMAT, "files": listed}
    return _canonical({**manifest, "sha256": _digest(_canonical(manifest))})


def _read_content(folder, parent):
    """Return the content of each file; the folder stays open, in case its path is replaced."""
    path = folder if parent is None else folder.name
    try:
        with opened_folder(path, parent, follow=parent is None) as descriptor:
            return _sealed_content(folder, descriptor)
    except OSError as error:
        raise InputError(f"{folder}: cannot open this checkpoint: {error.strerror}") from None


def _sealed_content(folder, descriptor):
    """Return the content of each file after verifying all of them against the manifest."""
    files = _manifest(folder / MANIFEST, descriptor)
    extra = sorted(set(os.listdir(descriptor)) - {*FILES, MANIFEST})
    if extra:
        raise InputError(f"{folder / extra[0]}: not a file of this checkpoint: remove it")
    size, free = sum(files[name]["size"] for name in FILES), free_memory()
    if size > free:  # sparse files of any size are cheap to create
        raise InputError(
            f"{folder}: {size / 1e9:,.1f} GB, but only {free / 1e9:,.1f} GB of memory are free"
        )
    content = {
        name: read_file(folder / name, files[name]["size"], LIMITS.get(name), descriptor)
        for name in FILES
    }
    for name in FILES:
        if _digest(content[name]) != files[name].get("sha256"):
            raise InputError(
                f"{folder / name}: SHA-256 differs from the manifest: "
                "the checkpoint is damaged; use another one"
            )
    return content


def _manifest(path, folder=None):
    """Verify a manifest and return its entry for each file."""
    raw = read_file(path, limit=LIMITS[MANIFEST], folder=folder)
    manifest = _json(path, raw)
    claimed = manifest.pop("sha256", None)
    if manifest.get("format") != FORMAT:
        raise InputError(
            f"{path}: format {manifest.get('format')!r:.50}, but this version reads {FORMAT}"
        )
    untouched = raw == _canonical({**manifest, "sha256": claimed})
    if not untouched or claimed != _digest(_canonical(manifest)):
        raise InputError(
            f"{path}: does not match its own SHA-256: the checkpoint is damaged; use another one"
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


def read_object(path: Path) -> dict:
    """Read config.json, or another file in `LIMITS`, as a JSON object.

    Raises
    ------
    InputError
        If the file cannot be read, is too large, or is not a JSON object.
    """
    return _json(path, read_file(path, limit=LIMITS[path.name]))


def _json(path, content):
    try:
        value = parse_json(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object: the checkpoint is damaged; use another one")
    return value
