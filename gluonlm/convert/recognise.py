"""Identify the arrays of a weight file by their names and shapes.

Names of a recurrent layer's arrays end in `i2h_weight` and similar (Gluon) or contain
`weight_ih_l0` and similar (PyTorch); both use the same order of gates. The remaining arrays are
the embedding matrix, the output matrix (unless tied), and the output bias.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..system.errors import InputError

GLUON = re.compile(r"(?P<layer>.*?)(?P<side>[ih])2h_(?P<part>weight|bias)")
TORCH = re.compile(r"(?P<layer>.*?)(?P<part>weight|bias)_(?P<side>[ih])h_l(?P<number>\d+)")
KINDS = {4: "lstm", 3: "gru", 1: "rnn"}
EXPECTED = (
    "an embedding (V, E), for each layer i2h_weight (gates * C, E), h2h_weight (gates * C, C) and "
    "two biases (gates * C,), an output matrix (V, C) and a bias (V,)"
)


@dataclass(frozen=True)
class Found:
    """A recognised network: settings by field name, and arrays by gluonlm's names."""

    settings: dict[str, object]
    arrays: dict[str, np.ndarray]
    vocab_size: int


def recognise(arrays: dict[str, np.ndarray], path) -> Found:
    """Identify the network that these arrays belong to.

    Raises
    ------
    InputError
        If an array does not fit; the message contains its name and shape.
    """
    layers, rest = _layers(arrays)
    if not layers:
        raise InputError(f"{path}: no recurrent layer found; expected {EXPECTED}")
    matrices = {name: array for name, array in rest.items() if array.ndim == 2}
    biases = [array for array in rest.values() if array.ndim == 1]
    output = [name for name in matrices if re.search("decoder|dense|output|linear", name)]
    tables = [name for name in matrices if name not in output]
    if len(matrices) + len(biases) != len(rest) or len(biases) != 1 or len(tables) > 1:
        raise _odd(path, rest)
    if not 1 <= len(matrices) <= 2 or len(output) > 1:
        raise _odd(path, rest)
    decoder = matrices[(output or tables)[0]]
    embedding = matrices[(tables or output)[0]]
    tied = embedding is decoder or np.array_equal(embedding, decoder)
    renamed = {"decoder.weight": decoder, "decoder.bias": biases[0]}
    if not tied:
        renamed["embedding.weight"] = embedding
    vocab_size, embed_size = embedding.shape
    kind, sizes = _check(path, layers, embed_size)
    if decoder.shape != (vocab_size, sizes[-1]) or biases[0].shape != (vocab_size,):
        raise InputError(
            f"{path}: output of shapes {decoder.shape} and {biases[0].shape} does not fit the "
            f"embedding of shape {embedding.shape} and the last layer of size {sizes[-1]}"
        )
    for number, layer in enumerate(layers):
        renamed.update({f"layers.{number}.{part}": array for part, array in layer.items()})
    settings = dict(model=kind, hidden_size=sizes, embed_size=embed_size, tie_weights=tied)
    return Found(settings, renamed, vocab_size)


def _layers(arrays):
    """Return the recurrent layers in order, as arrays by part, and all other arrays."""
    found: dict[tuple, dict] = {}
    rest = {}
    for name, array in arrays.items():
        match = GLUON.fullmatch(name) or TORCH.fullmatch(name)
        if not match:
            rest[name] = array
            continue
        parts = match.groupdict()
        layer = parts["layer"] + parts.get("number", "")
        # numeric sort: layer 10 after layer 9
        key = tuple(int(word) if word.isdigit() else word for word in re.split(r"(\d+)", layer))
        found.setdefault(key, {})[f"{parts['side']}2h_{parts['part']}"] = array
    return [found[key] for key in sorted(found)], rest


def _check(path, layers, embed_size):
    """Check all shapes; return the kind and sizes of the layers."""
    gates, sizes, below = 0, [], embed_size
    for number, layer in enumerate(layers):
        shapes = {part: layer[part].shape for part in sorted(layer)}
        try:
            (rows, size), width = layer["h2h_weight"].shape, layer["i2h_weight"].shape
            gates = gates or rows // max(size, 1)
            fits = rows == gates * size and width == (rows, below) and gates in KINDS
            fits &= layer["i2h_bias"].shape == layer["h2h_bias"].shape == (rows,)
        except (KeyError, ValueError):
            fits = False
        if not fits or not size:
            raise InputError(
                f"{path}: layer {number} does not fit the one below: {shapes}; expected {EXPECTED}"
            )
        sizes.append(size)
        below = size
    return KINDS[gates], tuple(sizes)


def _odd(path, rest):
    shapes = ", ".join(f"{name} {array.shape}" for name, array in sorted(rest.items())) or "none"
    return InputError(
        f"{path}: unexpected arrays in addition to the layers: {shapes[:300]}; expected {EXPECTED}"
    )
