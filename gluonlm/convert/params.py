"""Read weight files: MXNet's `.params`, and safetensors.

MXNet's own reader allocates arrays before checking that the file contains them; this one compares
every size with the remaining bytes.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from ..system.errors import InputError
from ..system.files import read_file
from ..system.runtime import free_memory

LIST = 0x112  # magic number of a list of arrays with names
VERSIONS = (0xF993FAC9, 0xF993FACA)  # of an array: V2, and V3, which differs only for empty shapes
TYPES = {0: np.float32, 1: np.float64, 2: np.float16}
DEEPEST = 32  # largest number of dimensions
LARGEST = 1 << 34  # bytes of a file


class Reader:
    """A bounds-checked reader of bytes."""

    def __init__(self, content: bytes, path: Path):
        self.content, self.path, self.place = content, path, 0

    def fail(self, problem: str) -> InputError:
        """Return an error with the current position in the file."""
        return InputError(
            f"{self.path}: {problem} at byte {self.place:,}: not a valid MXNet .params file"
        )

    def take(self, count: int) -> bytes:
        """Return the next bytes.

        Raises
        ------
        InputError
            If fewer bytes remain.
        """
        if count > len(self.content) - self.place:
            raise self.fail(f"{count:,} bytes are missing")
        self.place += count
        return self.content[self.place - count : self.place]

    def numbers(self, form: str) -> tuple:
        """Return numbers in a format of `struct`."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def count(self, each: int) -> int:
        """Return a count of entries that take at least `each` bytes.

        Raises
        ------
        InputError
            If that many entries exceed the remaining bytes.
        """
        (count,) = self.numbers("Q")
        if count > (len(self.content) - self.place) // each:
            raise self.fail(f"{count:,} entries do not fit")
        return count


def read_arrays(path) -> dict[str, np.ndarray]:
    """Read arrays by name, as float32, from a `.params` or `.safetensors` file.

    Raises
    ------
    InputError
        If the file has another format, is damaged, or contains sparse or integer arrays.
    """
    content = read_file(Path(path), limit=int(min(LARGEST, free_memory())))
    if content[:8] == struct.pack("<Q", LIST):
        arrays = _params(Reader(content, Path(path)))
    else:
        arrays = _safetensors(content, path)
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise InputError(f"{path}: array {name} is {array.dtype}, not floating point")
        if not np.isfinite(array).all():
            raise InputError(f"{path}: array {name} contains non-finite numbers")
    with np.errstate(over="ignore"):
        return {name: array.astype(np.float32) for name, array in arrays.items()}


def _safetensors(content, path):
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: neither an MXNet .params file nor safetensors: {error}"
        ) from None


def _params(reader):
    reader.take(8)
    (reserved,) = reader.numbers("Q")
    if reserved:
        raise reader.fail("unknown kind of list")
    arrays = [_array(reader) for _ in range(reader.count(8))]
    names = [_name(reader) for _ in range(reader.count(8))]
    if reader.place != len(reader.content):
        raise reader.fail("data after the end of the list")
    if len(names) != len(arrays) or len(set(names)) != len(names):
        raise reader.fail(
            f"{len(names)} names, {len(set(names))} distinct, for {len(arrays)} arrays"
        )
    return dict(zip(names, arrays))


def _array(reader):
    magic, storage = reader.numbers("Ii")
    if magic not in VERSIONS or storage != 0:
        raise reader.fail("sparse array or unknown array version")
    (depth,) = reader.numbers("i")
    if not 0 < depth <= DEEPEST:
        raise reader.fail(f"array of {depth} dimensions")
    shape = reader.numbers(f"{depth}q")
    _, _, kind = reader.numbers("iii")  # device type and id, which are ignored, and dtype
    if kind not in TYPES:
        raise reader.fail(f"array of type {kind}, not floating point,")
    if min(shape) < 1:
        raise reader.fail(f"array of shape {shape}")
    dtype = np.dtype(TYPES[kind]).newbyteorder("<")
    return np.frombuffer(reader.take(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)


def _name(reader):
    try:
        name = reader.take(reader.count(1)).decode("utf-8")
    except UnicodeDecodeError:
        raise reader.fail("name that is not UTF-8") from None
    return name[4:] if name.startswith(("arg:", "aux:")) else name
