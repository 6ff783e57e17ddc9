"""Files of weights: MXNet's `.params`, and safetensors.

MXNet's own reader allocates what a file claims before it looks whether that is there; this one
compares every size with the bytes that are left.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from ..system.errors import InputError
from ..system.files import read_file

LIST = 0x112  # a list of arrays, and of their names
VERSIONS = (0xF993FAC9, 0xF993FACA)  # of an array: V2, and V3 that differs for empty shapes only
TYPES = {0: np.float32, 1: np.float64, 2: np.float16}
DEEPEST = 32  # dimensions
LARGEST = 1 << 34  # bytes of a file


class Reader:
    """Bytes that are taken one after another, and never more than there are."""

    def __init__(self, content: bytes, path: Path):
        self.content, self.path, self.place = content, path, 0

    def fail(self, what: str) -> InputError:
        """Return the error that says where the file is not what it should be."""
        return InputError(
            f"{self.path}: {what} at byte {self.place:,}: not a .params file of MXNet"
        )

    def take(self, count: int) -> bytes:
        """Return the next bytes.

        Raises
        ------
        InputError
            If there are not so many.
        """
        if count > len(self.content) - self.place:
            raise self.fail(f"{count:,} bytes are missing")
        self.place += count
        return self.content[self.place - count : self.place]

    def numbers(self, form: str) -> tuple:
        """Return numbers of a fixed form, as `struct` describes it."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def count(self, each: int) -> int:
        """Return a count of things that take at least so many bytes each.

        Raises
        ------
        InputError
            If there is no room for them.
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
        If the file is neither, is damaged, or holds what no language model needs: sparse arrays,
        or whole numbers.
    """
    content = read_file(Path(path), limit=LARGEST)
    if content[:8] == struct.pack("<Q", LIST):
        arrays = _params(Reader(content, Path(path)))
    else:
        arrays = _safetensors(content, path)
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise InputError(f"{path}: array {name} is of {array.dtype}, not of real numbers")
        if not np.isfinite(array).all():
            raise InputError(f"{path}: array {name} holds a number that is not finite")
    with np.errstate(over="ignore"):
        return {name: array.astype(np.float32) for name, array in arrays.items()}


def _safetensors(content, path):
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: neither a .params file of MXNet nor safetensors: {error}"
        ) from None


def _params(reader):
    reader.take(8)
    (reserved,) = reader.numbers("Q")
    if reserved:
        raise reader.fail("an unknown kind of list")
    arrays = [_array(reader) for _ in range(reader.count(8))]
    names = [_name(reader) for _ in range(reader.count(8))]
    if reader.place != len(reader.content):
        raise reader.fail("more than the list")
    if len(names) != len(arrays) or len(set(names)) != len(names):
        raise reader.fail(
            f"{len(names)} names, {len(set(names))} distinct, for {len(arrays)} arrays"
        )
    return dict(zip(names, arrays))


def _array(reader):
    magic, storage = reader.numbers("Ii")
    if magic not in VERSIONS or storage != 0:
        raise reader.fail("an array of another version, or a sparse one,")
    (depth,) = reader.numbers("i")
    if not 0 < depth <= DEEPEST:
        raise reader.fail(f"an array of {depth} dimensions")
    shape = reader.numbers(f"{depth}q")
    _, _, kind = reader.numbers("iii")  # the device it was on, which does not matter, and its type
    if kind not in TYPES:
        raise reader.fail(f"an array of type {kind}, not of real numbers,")
    if min(shape) < 1:
        raise reader.fail(f"an array of shape {shape}")
    dtype = np.dtype(TYPES[kind]).newbyteorder("<")
    return np.frombuffer(reader.take(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)


def _name(reader):
    try:
        name = reader.take(reader.count(1)).decode("utf-8")
    except UnicodeDecodeError:
        raise reader.fail("a name that is no text") from None
    return name[4:] if name.startswith(("arg:", "aux:")) else name
