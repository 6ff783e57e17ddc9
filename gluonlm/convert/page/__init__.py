"""Export to a single HTML page that completes text as you type, offline.

`model.js` runs the network and is tested in Node against the stepper; `page.js` is the interface.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np

from ...run.checkpoint import Checkpoint
from ...system.errors import InputError
from ..check import Runner
from ..network import Network, networks_of
from ..reference import numpy_runner

HERE = Path(__file__).parent
LARGEST = 200_000_000  # bytes of weights: a browser loads the complete page
EXAMPLE = "The quick brown fox "
DATA = re.compile(rb'<script id="data" type="application/json">(.*?)</script>', re.DOTALL)


def build(checkpoint: Checkpoint, title: str, half: bool = False) -> bytes:
    """Return the page of a checkpoint's network, or ensemble.

    Parameters
    ----------
    half
        Whether to store 16-bit weights, which halves the size of the page.

    Raises
    ------
    InputError
        If the page does not support this tokenizer, or would be too large.
    """
    networks, vocab = networks_of(checkpoint), checkpoint.vocab.to_dict()
    rule = vocab.get("tokenizer", "split")
    if vocab["level"] == "subword" or rule == "moses":
        raise InputError(
            f"`format` html: pages do not support `tokenizer` {rule}, only characters and the "
            "tokenizers split and punctuation; use `format` onnx or torch for this model"
        )
    named = {
        f"{number}.{name}": array
        for number, network in enumerate(networks)
        for name, array in network.arrays.items()
    }
    kind = "<f2" if half else "<f4"
    size = sum(array.size for array in named.values()) * int(kind[-1])
    if size > LARGEST:
        raise InputError(f"`format` html: {size / 1e6:.0f} MB of weights are too large for a page")
    data = {
        "title": title,
        "about": _about(checkpoint, networks),
        "example": _known(checkpoint, EXAMPLE),
        "vocabulary": vocab,
        "lower": checkpoint.config.data.lower,
        "keep_line_ends": checkpoint.config.data.keep_line_ends,
        "networks": [_described(network, number) for number, network in enumerate(networks)],
        "half": half,
        "shapes": [[name, array.size] for name, array in named.items()],
        "weights": base64.b64encode(
            b"".join(array.astype(kind).tobytes() for array in named.values())
        ).decode(),
    }
    script, style = _read("model.js") + _read("page.js"), _read("page.css")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "style": style,
        # inside a script element, only < could end it
        "data": json.dumps(data).replace("<", "\\u003c"),
        "script": script,
    }
    page = re.sub(r"{{(\w+)}}", lambda match: parts[match[1]], _read("page.html"))
    return page.encode()


def _read(name):
    return (HERE / name).read_text(encoding="utf-8")


def _hash(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _about(checkpoint, networks):
    first, count = networks[0], sum(a.size for n in networks for a in n.arrays.values())
    many = f"{len(networks)} x " * (len(networks) > 1)
    return (
        f"{many}{first.kind.upper()} of {count:,} parameters, {first.vocab_size:,} "
        f"{checkpoint.vocab.kind.unit}s, step {checkpoint.progress['step']:,}. "
        "This page works offline and makes no network requests."
    )


def _known(checkpoint, text):
    """Remove the characters outside the model's vocabulary."""
    if checkpoint.vocab.level != "char":
        return text
    return "".join(letter for letter in text if letter in checkpoint.vocab.index)


def _described(network: Network, number: int) -> dict:
    """Return the description of a network for model.js."""
    embedded = network.kind in ("rnn", "lstm", "gru", "unrolled")
    embedded = embedded or network.representation == "embedding"
    return {
        "kind": network.kind,
        "cell": network.cell,
        "activation": network.activation,
        "vocab_size": network.vocab_size,
        "window": network.window,
        "representation": network.representation,
        "prefix": f"{number}.",
        "embedded": network.embedding_name if embedded else None,
        "columns": network.embedding.shape[1] if embedded else 0,
        "layers": [
            {"name": name, "size": layer[1].shape[1]}
            for name, layer in zip(network.layer_names(), network.layers())
        ],
    }


def runner(content: bytes, networks: list[Network]) -> Runner:
    """Return a function that runs the weights of a page in NumPy.

    Raises
    ------
    InputError
        If the page does not contain them.
    """
    found = DATA.search(content)
    if not found:
        raise InputError("`format` html: the exported file contains no model")
    data = json.loads(found[1])
    numbers = np.frombuffer(base64.b64decode(data["weights"]), "<f2" if data["half"] else "<f4")
    ends = np.cumsum([count for _, count in data["shapes"]])
    parts = dict(zip([name for name, _ in data["shapes"]], np.split(numbers, ends[:-1])))
    read = []
    for number, network in enumerate(networks):
        arrays = {
            name: parts[f"{number}.{name}"].astype(np.float32).reshape(array.shape)
            for name, array in network.arrays.items()
        }
        read.append(dataclasses.replace(network, arrays=arrays))
    return numpy_runner(read)
