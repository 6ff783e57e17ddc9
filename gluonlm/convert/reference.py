"""Run networks in NumPy, to verify exports without the target library."""

from __future__ import annotations

import numpy as np

from ..models.stepper import ACTIVATIONS, GRUCell, LSTMCell, MinGRUCell, MinLSTMCell, RNNCell
from ..system.numerics import log_mean_probability
from .check import Runner
from .network import Network

CELLS = {"rnn": RNNCell, "lstm": LSTMCell, "gru": GRUCell}
CELLS.update(mingru=MinGRUCell, minlstm=MinLSTMCell)


def numpy_runner(networks: list[Network]) -> Runner:
    """Return a function that runs a network, or averages the probabilities of several."""

    def run(ids, state):
        each, logits, new = len(state) // len(networks), [], []
        for k, network in enumerate(networks):
            out, after = _run(network, ids, state[k * each : (k + 1) * each])
            logits.append(out)
            new += after
        return (logits[0] if len(logits) == 1 else log_mean_probability(np.stack(logits))), new

    return run


def _run(network, ids, state):
    arrays, f = network.arrays, ACTIVATIONS[network.activation]

    def dense(name, x):
        return x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]

    x = _read(network, ids)  # (T, N, C)
    if network.kind == "unrolled":
        hidden, *rest = f(dense("i2h", x))
        for read in rest:
            hidden = f(dense("h2h", hidden)) + read
        return dense("decoder", hidden), state
    new, each = [], 2 if network.cell == "lstm" else 1
    for number, parts in enumerate(network.layers()):
        cell = CELLS[network.cell](*parts, *[f] * (network.kind == "rnn"))
        zeros = [np.zeros((ids.shape[1], cell.size), np.float32)] * each
        current = zeros if network.window else [a[0] for a in state[number * each :][:each]]
        outputs = []
        for step, tokens in zip(x, ids):
            if network.separator is not None:
                kept = (tokens != network.separator)[:, None]  # (N, 1)
                current = [array * kept for array in current]
            current = cell(step, current)
            outputs.append(current[0])
        x = np.stack(outputs)
        new += [array[None] for array in current]
    if network.window:
        return dense("decoder", x[-1]), state
    return dense("decoder", x.reshape(-1, x.shape[-1])), new


def _read(network, ids):
    """Return the input of the first layer, `(T, N, C)`."""
    if network.tied or "embedding.weight" in network.arrays:
        return network.embedding[ids]
    if network.representation == "onehot":
        return np.eye(network.vocab_size, dtype=np.float32)[ids]
    return (ids[..., None] / np.float32(network.vocab_size)).astype(np.float32)
