"""Identify the arrays of a weight file by their names and shapes.

Names of a recurrent layer's arrays end in `i2h_weight` and similar (Gluon) or in `weight_ih_l0`,
`weight_ih` and similar (PyTorch); both use the same order of gates. The remaining arrays are the
embedding matrix, the output matrix (unless tied), and the output bias. Their shapes identify them;
names are compared only if both matrices have the same shape.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np

from ..system.errors import InputError

GLUON = re.compile(r"(?P<layer>.*?)(?P<side>[ih])2h_(?P<part>weight|bias)")
TORCH = re.compile(r"(?P<layer>.*?)(?P<part>weight|bias)_(?P<side>[ih])h(?:_l(?P<number>\d+))?")
BACKWARD = re.compile(r"(?<![^\W_])r(\d*_|_cell\.)(?=[ih]2[hr]_)")  # Gluon: r0_, r_cell.
PROJECTED = re.compile(r".*h2r_weight|.*weight_hr(_l\d+)?")
EMBEDDING = re.compile(r"emb|encoder|lookup|wte", re.I)
OUTPUT = re.compile(r"decoder|dense|out|linear", re.I)
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
    _check_supported(path, arrays)
    layers, rest = _layers(path, arrays)
    if not layers:
        raise InputError(f"{path}: no recurrent layer found; expected {EXPECTED}")
    matrices = {name: array for name, array in rest.items() if array.ndim == 2}
    biases = {name: array for name, array in rest.items() if array.ndim == 1}
    if len(matrices) + len(biases) != len(rest) or len(biases) != 1 or len(matrices) not in (1, 2):
        raise _odd(path, rest)
    ((bias_name, bias),) = biases.items()
    embedding, decoder = _embedding_and_decoder(path, matrices, bias_name, layers)
    tied = embedding is decoder or np.array_equal(embedding, decoder)
    renamed = {"decoder.weight": decoder, "decoder.bias": bias}
    if not tied:
        renamed["embedding.weight"] = embedding
    vocab_size, embed_size = embedding.shape
    kind, sizes = _check(path, layers, embed_size)
    if decoder.shape != (vocab_size, sizes[-1]) or bias.shape != (vocab_size,):
        raise InputError(
            f"{path}: output of shapes {decoder.shape} and {bias.shape} does not fit the "
            f"embedding of shape {embedding.shape} and the last layer of size {sizes[-1]}"
        )
    for number, layer in enumerate(layers):
        renamed.update({f"layers.{number}.{part}": array for part, array in layer.items()})
    settings = dict(model=kind, hidden_size=sizes, embed_size=embed_size, tie_weights=tied)
    return Found(settings, renamed, vocab_size)


def _check_supported(path, arrays):
    for name in arrays:
        forward = BACKWARD.sub(r"l\1", name.removesuffix("_reverse"))
        if forward != name and forward in arrays:
            raise InputError(
                f"{path}: {name} belongs to a bidirectional layer, which reads the text that a "
                "language model predicts; only unidirectional layers can be imported"
            )
        if PROJECTED.fullmatch(name):
            raise InputError(
                f"{path}: {name} belongs to a layer with a projection, which is not supported"
            )


def _layers(path, arrays):
    """Return the recurrent layers in order, as arrays by part, and all other arrays."""
    found: dict[tuple, dict] = {}
    names: dict[tuple, str] = {}
    rest = {}
    for name, array in arrays.items():
        match = GLUON.fullmatch(name) or TORCH.fullmatch(name)
        if not match:
            rest[name] = array
            continue
        layer, number = match["layer"], match.groupdict().get("number")
        # numeric sort: layer 10 after layer 9; int() rejects thousands of digits
        words = re.split(r"(\d{1,9})", f"{layer}_{number}" if number else layer)
        key = tuple(int(word) if place % 2 else word for place, word in enumerate(words))
        part = f"{match['side']}2h_{match['part']}"
        before = names.setdefault((*key, part), name)
        if before != name:
            raise InputError(
                f"{path}: {before} and {name} are both the {part} of one layer: "
                "remove or rename one of them"
            )
        found.setdefault(key, {})[part] = array
    stems = {tuple(word for word in key if isinstance(word, str)) for key in found}
    if len(stems) > 1:
        first, other = ("".join(map(str, key)) for key in sorted(found)[:2])
        raise InputError(
            f"{path}: the order of the layers {first} and {other} is unknown: rename them so that "
            "they differ only in a number"
        )
    return [found[key] for key in sorted(found)], rest


def _embedding_and_decoder(path, matrices, bias, layers):
    """Return the embedding and the output matrix; the same array twice if there is only one."""
    if len(matrices) == 1:
        (tied,) = matrices.values()
        return tied, tied
    none = np.empty(0)
    ends = layers[0].get("i2h_weight", none), layers[-1].get("h2h_weight", none)
    widths = [array.shape[1:] for array in ends]
    orders = list(itertools.permutations(matrices))
    chosen = [order for order in orders if [matrices[name].shape[1:] for name in order] == widths]
    if len(chosen) == 2 and np.array_equal(*matrices.values()):
        chosen.pop()
    if len(chosen) != 1:
        stem = bias.removesuffix("bias")
        chosen = [order for order in orders if order[1].removesuffix("weight") == stem]
    if len(chosen) != 1:
        chosen = [order for order in orders if _names_fit(*order)]
    if len(chosen) != 1:
        first, second = matrices
        raise InputError(
            f"{path}: either {first} or {second} may be the embedding, and the other the output: "
            "include embedding and output in their names"
        )
    return [matrices[name] for name in chosen[0]]


def _names_fit(embedding, decoder):
    """Return whether only the first is called embedding, or only the second output."""
    called = bool(EMBEDDING.search(embedding)) > bool(EMBEDDING.search(decoder))
    return called or bool(OUTPUT.search(decoder)) > bool(OUTPUT.search(embedding))


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
