"""Export to ONNX with native operators: ids and states in, logits and states out, any T and N.

Opset 17, IR 8 (https://onnx.ai/onnx/operators). ONNX uses another order of gates: LSTM i, f, g, o
become i, o, f, g; GRU r, z, n become z, r, n with `linear_before_reset`, as in cuDNN.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from ..run.checkpoint import Checkpoint
from ..system.errors import InputError
from .check import Runner
from .network import GATES, MINIMAL, Network, networks_of

OPSET, IR = 17, 8
LARGEST = 2**31 - 1  # bytes of a protocol buffer
ORDER = {"rnn": [0], "lstm": [0, 3, 1, 2], "gru": [1, 0, 2]}
SPELLING = {
    "char": "join the tokens",
    "word": "join by spaces; <eos> is a line break",
    "punctuation": "join by spaces, but not where a token has \uffed, which is removed",
    "subword": "join; <0x41> is a byte of UTF-8, \u2581 is a space",
}


def need_onnx() -> ModuleType:
    """Import onnx and return the module.

    Raises
    ------
    InputError
        If it is missing; the message names the package to install.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError(
            f"`format` onnx: module {error.name} is missing: pip install 'gluonlm[onnx]'"
        ) from None
    return onnx


class Graph:
    """A graph under construction: nodes, and constants, which an outer graph may share."""

    def __init__(self, constants: dict | None = None):
        self.helper, self.numpy_helper = need_onnx().helper, need_onnx().numpy_helper
        self.constants = {} if constants is None else constants
        self.nodes: list = []

    def constant(self, name: str, array) -> str:
        """Add an array unless a constant of this name exists; return the name."""
        if name not in self.constants:
            self.constants[name] = self.numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, *more: str, **how) -> str:
        """Add an operator; return the name of its first output."""
        self.nodes.append(self.helper.make_node(operator, inputs, [output, *more], **how))
        return output

    def dense(self, x: str, network: Network, name: str, prefix: str) -> str:
        """Add W x + b, with W `(out, in)` as in Gluon."""
        weight = self.constant(f"{prefix}{name}.weight", network.arrays[f"{name}.weight"])
        bias = self.constant(f"{prefix}{name}.bias", network.arrays[f"{name}.bias"])
        turned = f"{prefix}{name}.turned"
        if not any(turned in node.output for node in self.nodes):
            self.add("Transpose", [weight], turned, perm=[1, 0])
        at = f"{prefix}{name}.{len(self.nodes)}"
        return self.add(
            "Add", [self.add("MatMul", [x, turned], f"{at}.product"), bias], f"{at}.sum"
        )


def _reordered(array, kind):
    """Reorder rows by gate for ONNX, and add a direction axis."""
    gates = np.split(array, GATES[kind])
    return np.concatenate([gates[i] for i in ORDER[kind]])[None]


def _minimal(graph, network, number, x, state, prefix):
    """Add a minGRU or minLSTM; return its outputs `(T, N, C)` and new state.

    A scan computes h' = kept h + added, where both depend on the input only.
    """
    name, add = f"{prefix}layers.{number}", graph.add
    weight, bias = (
        graph.constant(f"{name}.{part}", array)
        for part, array in zip("WB", network.layers()[number])
    )
    turned = add("Transpose", [weight], f"{name}.turned", perm=[1, 0])
    read = add("Add", [add("MatMul", [x, turned], f"{name}.product"), bias], f"{name}.read")
    parts = [f"{name}.part.{i}" for i in range(GATES[network.cell])]
    add("Split", [read], *parts, axis=2)  # (T, N, C)
    *gates, n = parts
    if network.cell == "minlstm":  # log(i / f) = softplus(-f) - softplus(-i)
        i, f = (
            add("Softplus", [add("Neg", [gate], f"{gate}.negative")], f"{gate}.softplus")
            for gate in gates
        )
        gates = [add("Sub", [f, i], f"{name}.odds")]
    z = add("Sigmoid", gates, f"{name}.z")
    kept = add("Sigmoid", [add("Neg", gates, f"{name}.against")], f"{name}.kept")
    if network.separator is not None:
        kept = add("Mul", [kept, f"{prefix}kept"], f"{name}.inside")
    below = add("Less", [n, graph.constant("nothing", np.float32(0))], f"{name}.below")
    above = add("Add", [n, graph.constant("half", np.float32(0.5))], f"{name}.above")
    g = add("Where", [below, add("Sigmoid", [n], f"{name}.sigmoid"), above], f"{name}.g")
    scanned, (h,) = _scan(graph, name), state
    inputs, outputs = [h, kept, add("Mul", [z, g], f"{name}.added")], f"{name}.outputs"
    new = add("Scan", inputs, f"{name}.h", outputs, body=scanned, num_scan_inputs=2)
    return add("Squeeze", [outputs, graph.constant("one", [1])], f"{name}.out"), [new]


def _scan(graph, name):
    """Return the graph of one step, from h `(1, N, C)` and the step's kept and added `(N, C)`."""
    helper, body = graph.helper, Graph(graph.constants)
    old, kept, added, new, out = (f"{name}.step.{part}" for part in ("h", "k", "a", "new", "out"))
    body.add("Add", [body.add("Mul", [old, kept], f"{name}.step.rest"), added], new)
    body.add("Identity", [new], out)

    def described(names, *first):
        shape = [*first, "N", None]
        return [helper.make_tensor_value_info(each, 1, shape) for each in names]

    inputs, outputs = described([old], 1) + described([kept, added]), described([new, out], 1)
    return helper.make_graph(body.nodes, f"{name}.step", inputs, outputs)


def _layer(graph, network, number, x, state, prefix):
    """Add one recurrent layer; return its outputs `(T, N, C)` and new state."""
    if network.cell in MINIMAL:
        return _minimal(graph, network, number, x, state, prefix)
    kind, layer = network.cell, network.layers()[number]
    name = f"{prefix}layers.{number}"
    i2h, h2h, i2h_bias, h2h_bias = (_reordered(array, kind) for array in layer)
    weights = [
        graph.constant(f"{name}.W", i2h),
        graph.constant(f"{name}.R", h2h),
        graph.constant(f"{name}.B", np.concatenate([i2h_bias, h2h_bias], axis=1)),
    ]
    how = {"hidden_size": h2h.shape[2]}
    if kind == "rnn":
        how["activations"] = [network.activation.capitalize()]
    if kind == "gru":
        how["linear_before_reset"] = 1
    new = [f"{name}.{letter}" for letter in ("h", "c")[: 1 + (kind == "lstm")]]
    outputs = graph.add(kind.upper(), [x, *weights, "", *state], f"{name}.Y", *new, **how)
    return graph.add("Squeeze", [outputs, graph.constant("one", [1])], f"{name}.out"), new


def _recurrent(graph, network, state, prefix):
    table = graph.constant(prefix + network.embedding_name, network.embedding)
    x = graph.add("Gather", [table, "ids"], f"{prefix}embedded")
    read = _layers
    if network.separator is not None:
        _kept(graph, network, prefix)
        read = _layers if network.cell in MINIMAL else _documents
    x, states = read(graph, network, x, state, prefix)
    return graph.dense(x, network, "decoder", prefix), states


def _layers(graph, network, x, state, prefix):
    """Add the recurrent layers; return their outputs `(T, N, C)` and new state."""
    states, each = [], 1 + (network.cell == "lstm")
    for number in range(len(network.layers())):
        old = state[number * each : (number + 1) * each]
        x, new = _layer(graph, network, number, x, old, prefix)
        states += new
    return x, states


def _kept(graph, network, prefix):
    """Add the factor of the state before each token, `(T, N, 1)`: 0 where a document begins."""
    other = graph.constant(f"{prefix}separator", np.int64(network.separator))
    begins = graph.add("Equal", ["ids", other], f"{prefix}begins")
    kept = graph.add("Cast", [graph.add("Not", [begins], f"{prefix}inside")], f"{prefix}mask", to=1)
    graph.add("Unsqueeze", [kept, graph.constant("two", [2])], f"{prefix}kept")


def _documents(graph, network, x, state, prefix):
    """Add a scan that reads one token at a time, with a zero state before each document."""
    helper, body = graph.helper, Graph(graph.constants)
    old = [f"{prefix}old.{i}" for i in range(len(state))]
    row, mask = f"{prefix}row", f"{prefix}row.kept"
    masked = [body.add("Mul", [name, mask], f"{name}.kept") for name in old]
    zero = graph.constant("zero", [0])
    token = body.add("Unsqueeze", [row, zero], f"{prefix}token")  # (1, N, C)
    out, new = _layers(body, network, token, masked, prefix)
    out = body.add("Squeeze", [out, zero], f"{prefix}row.out")

    def described(names, sizes, *first):
        pairs = zip(names, sizes, strict=True)
        return [helper.make_tensor_value_info(a, 1, [*first, "N", size]) for a, size in pairs]

    sizes, columns = network.sizes(), network.embedding.shape[1]
    inputs = [*described(old, sizes, 1), *described([row, mask], [columns, 1])]
    outputs = [*described(new, sizes, 1), *described([out], sizes[-1:])]
    scanned = helper.make_graph(body.nodes, f"{prefix}document", inputs, outputs)
    found = [f"{prefix}new.{i}" for i in range(len(state))]
    more = {"body": scanned, "num_scan_inputs": 2}
    graph.add("Scan", [*state, x, f"{prefix}kept"], *found, f"{prefix}outputs", **more)
    return f"{prefix}outputs", found


def _unrolled(graph, network, state, prefix):
    table = graph.constant(f"{prefix}embedding.weight", network.embedding)
    activation, hidden = network.activation.capitalize(), ""
    for t in range(network.window):
        place = graph.constant(f"token {t}", np.int64(t))
        token = graph.add("Gather", ["ids", place], f"{prefix}token.{t}", axis=0)
        x = graph.add("Gather", [table, token], f"{prefix}embedded.{t}")
        read = graph.dense(x, network, "i2h", prefix)
        read = graph.add(activation, [read], f"{prefix}read.{t}")
        if hidden:
            carried = graph.dense(hidden, network, "h2h", prefix)
            carried = graph.add(activation, [carried], f"{prefix}carried.{t}")
            read = graph.add("Add", [carried, read], f"{prefix}hidden.{t}")
        hidden = read
    return graph.dense(hidden, network, "decoder", prefix), []


def _window(graph, network, state, prefix):
    size = network.vocab_size
    if network.representation == "embedding":
        table = graph.constant(f"{prefix}embedding.weight", network.embedding)
        x = graph.add("Gather", [table, "ids"], f"{prefix}features")
    elif network.representation == "onehot":
        depth, values = graph.constant("depth", np.int64(size)), np.array([0, 1], np.float32)
        x = graph.add(
            "OneHot", ["ids", depth, graph.constant("values", values)], f"{prefix}features"
        )
    else:
        real = graph.add("Cast", ["ids"], f"{prefix}real", to=1)
        real = graph.add("Unsqueeze", [real, graph.constant("two", [2])], f"{prefix}column")
        x = graph.add("Div", [real, graph.constant("size", np.float32(size))], f"{prefix}features")
    _, (hidden, _) = _layer(graph, network, 0, x, [], prefix)
    hidden = graph.add("Squeeze", [hidden, graph.constant("zero", [0])], f"{prefix}last")
    return graph.dense(hidden, network, "decoder", prefix), []


def build(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint's network, or ensemble, as an ONNX model.

    Inputs are `ids` `(T, N)`, int64, and a `state.K.in` `(1, N, C)` for each array of the state,
    zeros before a text. Outputs are `logits`, `(T, N, V)` or for a window model `(N, V)`, and each
    `state.K.out`. The metadata contain the vocabulary.

    Raises
    ------
    InputError
        If onnx is not installed, or the model is larger than the format allows.
    """
    onnx, networks = need_onnx(), networks_of(checkpoint)
    graph, helper = Graph(), onnx.helper
    sizes = [size for network in networks for size in network.sizes()]
    if sum(4 * array.size for network in networks for array in network.arrays.values()) > LARGEST:
        raise InputError("`format` onnx: the weights exceed the limit of 2 GB per file")
    each, logits, new = len(sizes) // len(networks), [], []
    for k, network in enumerate(networks):
        write = {"unrolled": _unrolled, "window": _window}.get(network.kind, _recurrent)
        state = [f"state.{i}.in" for i in range(k * each, (k + 1) * each)]
        out, states = write(graph, network, state, f"networks.{k}." if len(networks) > 1 else "")
        logits.append(out)
        new += states
    graph.add("Identity", [_averaged(graph, logits)], "logits")
    for i, name in enumerate(new):
        graph.add("Identity", [name], f"state.{i}.out")
    kind, window = onnx.TensorProto, networks[0].window
    value = helper.make_tensor_value_info
    inputs = [value("ids", kind.INT64, [window or "T", "N"])]
    inputs += [value(f"state.{i}.in", kind.FLOAT, [1, "N", size]) for i, size in enumerate(sizes)]
    shape = ["N", len(checkpoint.vocab)] if window else ["T", "N", len(checkpoint.vocab)]
    outputs = [value("logits", kind.FLOAT, shape)]
    outputs += [value(f"state.{i}.out", kind.FLOAT, [1, "N", size]) for i, size in enumerate(sizes)]
    constants = list(graph.constants.values())
    main = helper.make_graph(graph.nodes, "gluonlm", inputs, outputs, constants)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(main, opset_imports=opset, ir_version=IR, producer_name="gluonlm")
    helper.set_model_props(model, _metadata(checkpoint))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _averaged(graph, logits):
    """Add the log mean probability of several networks; return one network's logits unchanged."""
    if len(logits) == 1:
        return logits[0]
    probabilities = [
        graph.add("Softmax", [each], f"{each}.probabilities", axis=-1) for each in logits
    ]
    return graph.add("Log", [graph.add("Mean", probabilities, "mean")], "log mean")


def _metadata(checkpoint):
    vocab = checkpoint.vocab.to_dict()
    rule = "punctuation" if vocab.get("tokenizer") == "punctuation" else vocab["level"]
    return {
        "vocabulary": json.dumps(vocab),
        "level": vocab["level"],
        "spelling": SPELLING[rule],
        "lower": json.dumps(checkpoint.config.data.lower),
        "keep_line_ends": json.dumps(checkpoint.config.data.keep_line_ends),
    }


def runner(content: bytes) -> tuple[Runner, str]:
    """Return a function that runs an ONNX model, and the name of the backend.

    The backend is ONNX Runtime, or onnx's NumPy reference if that is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        from onnx import load_from_string
        from onnx.reference import ReferenceEvaluator

        session, name = ReferenceEvaluator(load_from_string(content)), "onnx's NumPy reference"
    else:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        name = f"ONNX Runtime {onnxruntime.__version__}"

    def run(ids, state):
        inputs = {f"state.{i}.in": array for i, array in enumerate(state)}
        logits, *new = session.run(None, {"ids": ids.astype(np.int64), **inputs})
        return logits.reshape(-1, logits.shape[-1]), new

    return run, name
