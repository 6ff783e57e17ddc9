"""MXNet as in the tutorials: their training loops, and the fused layer called for each token.

gluonlm only adapts MXNet's modules to NumPy 2; the process has none of its settings.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gluonlm.system import runtime

runtime.configure = lambda: None
import mxnet as mx  # noqa: E402
from mxnet import autograd, gluon, nd  # noqa: E402
from mxnet.gluon import nn, rnn  # noqa: E402
from workloads import UNROLLED, WORKLOADS, clock, resident  # noqa: E402

LIBRARIES = resident()
LAYERS = {"rnn": rnn.RNN, "gru": rnn.GRU, "lstm": rnn.LSTM}


class Recurrent(gluon.Block):
    """Embedding, recurrent layers, a dense output, as gluon.Block."""

    def __init__(self, w):
        super().__init__()
        with self.name_scope():
            self.dropout, self.embedding = nn.Dropout(w.dropout), nn.Embedding(w.vocab, w.embed)
            self.layers = nn.Sequential()
            for below, size in zip((w.embed, *w.hidden), w.hidden):
                self.layers.add(LAYERS[w.model](size, input_size=below))
            self.decoder = nn.Dense(w.vocab, in_units=w.hidden[-1])
            self.size = w.hidden[-1]

    def forward(self, inputs, state):
        hidden, states = self.dropout(self.embedding(inputs)), []
        for layer, old in zip(self.layers, state):
            hidden, new = layer(hidden, old)
            hidden = self.dropout(hidden)
            states.append(new)
        return self.decoder(hidden.reshape((-1, self.size))), states


class Unrolled(gluon.Block):
    """The three-character network, one embedding and one dense layer after another."""

    def __init__(self, w):
        super().__init__()
        with self.name_scope():
            self.embedding = nn.Embedding(w.vocab, w.embed)
            self.i2h = nn.Dense(w.hidden[0], activation="relu", in_units=w.embed)
            self.h2h = nn.Dense(w.hidden[0], activation="relu", in_units=w.hidden[0])
            self.decoder = nn.Dense(w.vocab, in_units=w.hidden[0])

    def forward(self, inputs, state):
        embedded = self.embedding(inputs)
        hidden = self.i2h(embedded[:, 0, :])
        for t in range(1, UNROLLED):
            hidden = self.h2h(hidden) + self.i2h(embedded[:, t, :])
        return self.decoder(hidden), state


def batches(w) -> Callable:
    """Return a function from i to the inputs and targets of batch i."""
    ids = nd.array(w.ids((w.warm_up + w.steps + 1) * w.batch * max(w.length, 4)), dtype="int32")
    if w.model == "unrolled":
        rows = ids.reshape((-1, UNROLLED + 1))

        def batch(i):
            chosen = rows[i * w.batch : (i + 1) * w.batch]
            return chosen[:, :UNROLLED], chosen[:, UNROLLED]

        return batch
    streams = ids.reshape((w.batch, -1)).T

    def batch(i):
        begin, end = i * w.length, (i + 1) * w.length
        return streams[begin:end], streams[begin + 1 : end + 1].reshape((-1,))

    return batch


def train(w, model) -> tuple[Callable, Callable]:
    """Return a function that takes one step of the tutorials' loop, and a function that saves."""
    trainer = gluon.Trainer(model.collect_params(), w.optimizer, {"learning_rate": w.lr})
    loss_of, batch = gluon.loss.SoftmaxCrossEntropyLoss(), batches(w)
    state, i, total = begin(w, model), 0, 0.0

    def step():
        nonlocal state, i, total
        inputs, targets = batch(i)
        i += 1
        state = [[array.detach() for array in arrays] for arrays in state]
        with autograd.record():
            logits, state = model(inputs, state)
            loss = loss_of(logits, targets)
            loss.backward()
        if w.model != "unrolled":
            gradients = [p.grad() for p in model.collect_params().values()]
            gluon.utils.clip_global_norm(gradients, w.clip * w.tokens)
        trainer.step(w.tokens)
        total += float(loss.mean().asscalar())

    return step, lambda: save(model, trainer)


def score(w, model) -> tuple[Callable, None]:
    """Return a function that scores one batch as the tutorials do."""
    loss_of, batch = gluon.loss.SoftmaxCrossEntropyLoss(), batches(w)
    state, i, total = begin(w, model), 0, 0.0

    def step():
        nonlocal state, i, total
        inputs, targets = batch(i)
        i += 1
        logits, state = model(inputs, state)
        total += float(loss_of(logits, targets).mean().asscalar())

    return step, None


def save(model, trainer) -> None:
    """Write the weights and the optimizer's arrays."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_parameters(str(Path(folder) / "model"))
        trainer.save_states(str(Path(folder) / "trainer"))


def generate(w, model) -> tuple[Callable, None]:
    """Return a function that draws the next token with the fused layer, one step a call."""
    state, ids = begin(w, model), np.zeros((1, w.batch), np.int32)
    random = np.random.default_rng(1)

    def step():
        nonlocal state, ids
        logits, state = model(nd.array(ids, dtype="int32"), state)
        rows = nd.softmax(logits).asnumpy().astype(np.float64)
        ids = np.array([[random.choice(w.vocab, p=row / row.sum()) for row in rows]])

    return step, None


def begin(w, model) -> list:
    """Return zero states."""
    return [] if w.model == "unrolled" else [layer.begin_state(w.batch) for layer in model.layers]


def main(name) -> None:
    workload = WORKLOADS[name]
    model = Unrolled(workload) if workload.model == "unrolled" else Recurrent(workload)
    model.initialize(mx.init.Uniform(workload.init))
    task = {"train": train, "score": score, "generate": generate}[workload.task]
    step, save = task(workload, model)
    print(json.dumps(clock(step, workload, LIBRARIES, save)))


if __name__ == "__main__":
    main(sys.argv[1])
