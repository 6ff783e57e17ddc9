"""Small networks for the tests, and NumPy references written from their equations."""

import mxnet as mx
import numpy as np
from mxnet import nd

from gluonlm.models import RNNModel, UnrolledRNN, WindowModel

V, E, T, N = 11, 6, 5, 3


def make(kind="gru", sizes=(7,), **kwargs):
    return RNNModel(kind, V, E, sizes, **kwargs).prepare([mx.cpu()], "uniform:0.5", 3)


def random_ids(shape, seed=0):
    return nd.array(np.random.default_rng(seed).integers(0, V, shape), dtype="int32")


def weights(model):
    return {
        name: parameter.data().asnumpy().astype(np.float64)
        for name, parameter in model.parameters().items()
    }


def reference(kind, w, x, h, c, activation):
    """One step of one layer, straight from the equations (cuDNN's gate order)."""

    def s(a):
        return 1 / (1 + np.exp(-a))

    if kind.startswith("min"):
        read = x @ w["i2h_weight"].T + w["i2h_bias"]
        *gates, new = np.split(read, read.shape[1] // h.shape[1], 1)
        i, f = s(gates[0]), s(gates[-1]) if kind == "minlstm" else 1 - s(gates[0])
        return (f * h + i * np.where(new >= 0, new + 0.5, s(new))) / (f + i), c
    n, f = h.shape[1], {"tanh": np.tanh, "relu": lambda a: np.where(a > 0, a, 0)}[activation]
    gate = [slice(k * n, (k + 1) * n) for k in range(4)]

    def product(k, hidden=h):
        return x @ w["i2h_weight"][gate[k]].T + w["i2h_bias"][gate[k]], hidden @ w["h2h_weight"][
            gate[k]
        ].T + w["h2h_bias"][gate[k]]

    if kind == "rnn":
        return f(sum(product(0))), c
    if kind == "lstm":
        i, forget, g, o = (sum(product(k)) for k in range(4))
        c = s(forget) * c + s(i) * np.tanh(g)
        return s(o) * np.tanh(c), c
    r, z = s(sum(product(0))), s(sum(product(1)))
    of_input, of_hidden = product(2)
    new = np.tanh(of_input + r * of_hidden)
    return (1 - z) * new + z * h, c


def reference_logits(model, w, ids, state):
    """The complete network in NumPy: logits as the model returns them, and the final state."""
    if isinstance(model, WindowModel):
        return reference_window(model, w, ids), []
    if model.window:
        return reference_unrolled(w, ids), []
    each, state = len(state) // len(model.layers), list(state)
    outputs = []
    for row in ids:
        x = w.get("embedding.weight", w["decoder.weight"])[
            row
        ]  # tied: one matrix, under its first name
        for layer in range(len(model.layers)):
            arrays = {
                name.split(".")[2]: value
                for name, value in w.items()
                if name.startswith(f"layers.{layer}.")
            }
            held = state[layer * each : (layer + 1) * each]
            new = reference(model.kind, arrays, x, held[0], held[-1], model.activation)
            state[layer * each : (layer + 1) * each] = new[:each]
            x = new[0]
        outputs.append(x @ w["decoder.weight"].T + w["decoder.bias"])
    return np.concatenate(outputs), state


def reference_unrolled(w, ids):
    """The published three-character network for any number of tokens."""

    def read(embedded):
        return np.maximum(embedded @ w["i2h.weight"].T + w["i2h.bias"], 0)

    first, *others = w["embedding.weight"][ids]
    hidden = read(first)
    for embedded in others:
        hidden = np.maximum(hidden @ w["h2h.weight"].T + w["h2h.bias"], 0) + read(embedded)
    return hidden @ w["decoder.weight"].T + w["decoder.bias"]


def reference_window(model, w, ids):
    """One LSTM over the window, from a zero state; returns its last output."""
    see = {
        "onehot": np.eye(V),
        "real": np.arange(V)[:, None] / V,
        "embedding": w.get("embedding.weight"),
    }[model.representation]
    arrays = {name.split(".")[1]: value for name, value in w.items() if name.startswith("lstm.")}
    h = c = np.zeros((ids.shape[1], 7))
    for row in ids:
        h, c = reference("lstm", arrays, see[row], h, c, "tanh")
    return h @ w["decoder.weight"].T + w["decoder.bias"]


def make_window(representation):
    return WindowModel(V, 7, T, representation, E).prepare([mx.cpu()], "uniform:0.5", 3)


MODELS = {
    "rnn": lambda: make("rnn", (7,)),
    "rnn relu": lambda: make("rnn", (7, 4), activation="relu"),
    "rnn 3": lambda: make("rnn", (5, 7, 5)),
    "lstm": lambda: make("lstm", (7,)),
    "lstm 2": lambda: make("lstm", (7, 4)),
    "lstm 3": lambda: make("lstm", (5, 7, 5)),
    "gru": lambda: make("gru", (7,)),
    "gru 2 tied": lambda: make("gru", (7, E), tie_weights=True),
    "gru 3": lambda: make("gru", (5, 7, 5)),
    "mingru": lambda: make("mingru", (7,)),
    "mingru 3": lambda: make("mingru", (5, 7, 5)),
    "minlstm": lambda: make("minlstm", (7,)),
    "minlstm 2 tied": lambda: make("minlstm", (7, E), tie_weights=True),
    "unrolled": lambda: UnrolledRNN(V, E, 7).prepare([mx.cpu()], "uniform:0.5", 3),
    "unrolled 5": lambda: UnrolledRNN(V, E, 7, T).prepare([mx.cpu()], "uniform:0.5", 3),
    "window onehot": lambda: make_window("onehot"),
    "window real": lambda: make_window("real"),
    "window embedding": lambda: make_window("embedding"),
}


def some_input(model):
    """Ids, targets and a non-zero state; biases are non-zero because relu has a kink at zero."""
    for name, parameter in model.parameters().items():
        if name.endswith("bias"):
            parameter.set_data(
                nd.array(np.random.default_rng(len(name)).uniform(-0.5, 0.5, parameter.shape))
            )
    ids = random_ids((model.window or T, N))
    targets = random_ids(N if model.window else T * N, 1)
    mx.random.seed(1)
    return ids, targets, [nd.random.normal(shape=array.shape) for array in model.begin_state(N)]
