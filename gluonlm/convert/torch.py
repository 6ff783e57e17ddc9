"""Export to PyTorch: a safetensors state_dict, and a Python module that loads it.

The order of gates is the same as in MXNet; names differ. Exporting does not need PyTorch.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
from safetensors.numpy import load, save

from ..config import GATES
from ..run.checkpoint import Checkpoint
from ..system.errors import InputError
from .check import Runner
from .network import Network, networks_of
from .reference import numpy_runner

NAMES = {"i2h_weight": "weight_ih_l0", "h2h_weight": "weight_hh_l0"}
NAMES.update(i2h_bias="bias_ih_l0", h2h_bias="bias_hh_l0")
HEAD = '''"""{about}

    model, vocabulary = load()
    logits, state = model(ids)           # (T, N), int64, to {shape}
    logits, state = model(more, state)   # continues from that state

Written by gluonlm {version}; needs torch and safetensors.
"""

import json

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
'''
RECURRENT = '''
class Network(nn.Module):
    """An embedding, recurrent layers of sizes {sizes}, and a dense output."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding({vocab_size}, {embed_size})
        sizes = [{embed_size}, {sizes}]
        each = zip(sizes, sizes[1:])
        self.layers = nn.ModuleList({layer}(a, b{how}) for a, b in each)
        self.decoder = nn.Linear({last}, {vocab_size})

    def {method}(self, ids, state=None):
        x, new = self.embedding(ids), []  # (T, N, C)
        for layer, old in zip(self.layers, state or [None] * len(self.layers)):
            x, updated = layer(x, old)
            new.append(updated)
        return self.decoder(x), new  # (T, N, V)
'''
MINIMAL = {"mingru": "MinGRU", "minlstm": "MinLSTM"}
LAYER = '''
class {layer}(nn.Module):
    """h' = (1 - z) h + z g(n), where z and n depend on the input only (Feng et al. 2024)."""

    def __init__(self, inputs, size):
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.empty({gates} * size, inputs))
        self.bias_ih_l0 = nn.Parameter(torch.empty({gates} * size))

    def forward(self, x, state=None):
        x = nn.functional.linear(x, self.weight_ih_l0, self.bias_ih_l0)
        *gates, n = x.chunk({gates}, -1)  # (T, N, C)
        z, g = {update}.sigmoid(), torch.where(n < 0, n.sigmoid(), n + 0.5)
        h, outputs = torch.zeros_like(z[0]) if state is None else state[0], []
        for share, new in zip(z, g):
            h = h + share * (new - h)
            outputs.append(h)
        return torch.stack(outputs), h[None]
'''
UPDATE = {  # the logit of z
    "mingru": "gates[0]",
    "minlstm": "(nn.functional.logsigmoid(gates[0]) - nn.functional.logsigmoid(gates[1]))",
}
DOCUMENTS = """\
    def forward(self, ids, state=None):  # a document begins with {separator}, from a zero state
        begins, parts = ids == {separator}, []  # (T, N)
        starts = (1 + begins[1:].any(1).nonzero()[:, 0]).tolist()
        for first, end in zip([0, *starts], [*starts, len(ids)]):
            kept = ~begins[first, :, None]  # (N, 1)
            state = state and [{reset} for old in state]
            logits, state = self.read(ids[first:end], state)
            parts.append(logits)
        return torch.cat(parts), state
"""
UNROLLED = '''
class Network(nn.Module):
    """{window} tokens through dense layers: h = f(W_h h) + f(W_i e)."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding({vocab_size}, {embed_size})
        self.i2h = nn.Linear({embed_size}, {last})
        self.h2h = nn.Linear({last}, {last})
        self.decoder = nn.Linear({last}, {vocab_size})

    def forward(self, ids, state=None):
        first, *rest = torch.{activation}(self.i2h(self.embedding(ids)))  # (N, C) of each token
        for read in rest:
            first = torch.{activation}(self.h2h(first)) + read
        return self.decoder(first), state  # (N, V)
'''
WINDOW = '''
class Network(nn.Module):
    """An LSTM of {last} over {window} tokens, its last output, and a dense layer."""

    def __init__(self):
        super().__init__()
        {embedding}
        self.layers = nn.ModuleList([nn.LSTM({features}, {last})])
        self.decoder = nn.Linear({last}, {vocab_size})

    def forward(self, ids, state=None):
        x, _ = self.layers[0]({read})  # (T, N, C)
        return self.decoder(x[-1]), state  # (N, V)
'''
ENSEMBLE = '''
class Ensemble(nn.Module):
    """{members} networks, their probabilities averaged."""

    def __init__(self):
        super().__init__()
        self.networks = nn.ModuleList(Network() for _ in range({members}))

    def forward(self, ids, state=None):
        state = state or [None] * len(self.networks)
        results = [network(ids, old) for network, old in zip(self.networks, state)]
        probabilities = torch.stack([logits.softmax(-1) for logits, _ in results]).mean(0)
        return probabilities.log(), [new for _, new in results]
'''
LOAD = '''
def load(path={weights!r}):
    """Return the trained model, and the vocabulary with its tokens and level."""
    weights = load_file(path){tie}
    model = {name}().eval()
    model.load_state_dict(weights)
    with safe_open(path, "pt") as file:
        return model, json.loads(file.metadata()["vocabulary"])
'''


def state_dict(checkpoint: Checkpoint) -> bytes:
    """Return weights under PyTorch's names (a tied matrix once), with the vocabulary."""
    networks, arrays = networks_of(checkpoint), {}
    for k, network in enumerate(networks):
        prefix = f"networks.{k}." if len(networks) > 1 else ""
        for name, array in network.arrays.items():
            place, _, part = name.rpartition(".")
            place = "layers.0" if place == "lstm" else place
            arrays[f"{prefix}{place}.{NAMES.get(part, part)}"] = np.ascontiguousarray(array)
    return save(arrays, {"vocabulary": json.dumps(checkpoint.vocab.to_dict())})


def module(checkpoint: Checkpoint, weights: str) -> str:
    """Return the source of a Python module that loads and runs the file `weights`."""
    from .. import __version__

    networks = networks_of(checkpoint)
    network, members = networks[0], len(networks)
    body = {"unrolled": UNROLLED, "window": WINDOW}.get(network.kind, RECURRENT)
    layer = [LAYER] if network.cell in MINIMAL else []
    tie = '\n    weights["embedding.weight"] = weights["decoder.weight"]'
    if members > 1:
        tie = (
            f"\n    for k in range({members}):\n        "
            'weights[f"networks.{k}.embedding.weight"] = weights[f"networks.{k}.decoder.weight"]'
        )
    values = dict(
        _values(network),
        about=f"A language model: {network.kind}, {len(checkpoint.vocab):,} tokens.",
        shape="(N, V)" if network.window else "(T, N, V)",
        weights=weights,
        version=__version__,
        members=members,
        name="Ensemble" if members > 1 else "Network",
        tie=tie if network.tied else "",
    )
    documents = [DOCUMENTS] if network.separator is not None else []
    parts = [HEAD, *layer, body, *documents, *[ENSEMBLE] * (members > 1), LOAD]
    return "\n".join(part.format(**values) for part in parts)


def _values(network: Network) -> dict[str, object]:
    """Return the values for the template of a network class."""
    size, layers = network.vocab_size, network.layers()
    real, onehot = "(ids[..., None] / {0:.1f})", "nn.functional.one_hot(ids, {0}).float()"
    read = {"real": real, "onehot": onehot, "embedding": "self.embedding(ids)"}
    embedded = "embedding.weight" in network.arrays or network.tied
    columns = network.embedding.shape[1] if embedded else 0
    unused = "# no embedding: reads token ids directly"
    return dict(
        vocab_size=size,
        embed_size=columns,
        sizes=", ".join(map(str, network.hidden_sizes())),
        gates=GATES.get(network.cell),
        update=UPDATE.get(network.cell),
        last=network.arrays["decoder.weight"].shape[1],
        layer=MINIMAL.get(network.cell, f"nn.{network.cell.upper()}"),
        how=f', nonlinearity="{network.activation}"' if network.kind == "rnn" else "",
        activation=network.activation,
        separator=network.separator,
        method="forward" if network.separator is None else "read",
        reset="tuple(a * kept for a in old)" if network.cell == "lstm" else "old * kept",
        window=network.window,
        features=layers[0][0].shape[1] if layers else 0,
        embedding=f"self.embedding = nn.Embedding({size}, {columns})" if embedded else unused,
        read=read[network.representation].format(size),
    )


def runner(content: bytes, networks: list[Network]) -> Runner:
    """Return a function that runs a state_dict in NumPy.

    Raises
    ------
    InputError
        If an array is missing under its PyTorch name.
    """
    arrays, read = load(content), []
    for k, network in enumerate(networks):
        prefix = f"networks.{k}." if len(networks) > 1 else ""
        try:
            renamed = {name: arrays[prefix + _theirs(name)] for name in network.arrays}
        except KeyError as error:
            raise InputError(f"`format` torch: the exported file lacks {error}") from None
        read.append(dataclasses.replace(network, arrays=renamed))
    return numpy_runner(read)


def _theirs(name):
    """Return PyTorch's name, computed without `NAMES` to detect errors in it."""
    place, _, part = name.replace("lstm.", "layers.0.").rpartition(".")
    side, _, what = part.partition("_")
    return f"{place}.{what}_{side[0]}h_l0" if side in ("i2h", "h2h") else f"{place}.{part}"
