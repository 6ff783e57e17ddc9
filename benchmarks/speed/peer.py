"""The peer: the same workload in eager PyTorch with default settings, as in its examples."""

import json
import sys
import tempfile
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from workloads import UNROLLED, WORKLOADS, clock, resident

LIBRARIES = resident()
LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Recurrent(nn.Module):
    """Embedding, recurrent layers with dropout around each, a dense output."""

    def __init__(self, w):
        super().__init__()
        self.embedding, self.dropout = nn.Embedding(w.vocab, w.embed), nn.Dropout(w.dropout)
        layer, same = LAYERS[w.model], len(set(w.hidden)) == 1
        if same:
            layers = [layer(w.embed, w.hidden[0], len(w.hidden), dropout=w.dropout)]
        else:
            layers = [layer(below, size) for below, size in zip((w.embed, *w.hidden), w.hidden)]
        self.layers = nn.ModuleList(layers)
        self.decoder = nn.Linear(w.hidden[-1], w.vocab)

    def forward(self, inputs, state):
        hidden, states = self.dropout(self.embedding(inputs)), []
        for layer, old in zip(self.layers, state):
            hidden, new = layer(hidden, old)
            hidden = self.dropout(hidden)
            states.append(new)
        return self.decoder(hidden), states


class Unrolled(nn.Module):
    """The three-character network as shared linear layers."""

    def __init__(self, w):
        super().__init__()
        self.embedding, self.i2h = nn.Embedding(w.vocab, w.embed), nn.Linear(w.embed, w.hidden[0])
        self.h2h = nn.Linear(w.hidden[0], w.hidden[0])
        self.decoder = nn.Linear(w.hidden[0], w.vocab)

    def forward(self, inputs, state):
        hidden = F.relu(self.i2h(self.embedding(inputs[0])))
        for t in range(1, UNROLLED):
            hidden = F.relu(self.h2h(hidden)) + F.relu(self.i2h(self.embedding(inputs[t])))
        return self.decoder(hidden), state


def detached(state) -> list:
    """Return the state detached from the graph of the previous batch."""
    return [tuple(a.detach() for a in s) if isinstance(s, tuple) else s.detach() for s in state]


def batches(w) -> Callable:
    """Return a function for the inputs `(T, N)` and targets of batch i."""
    steps = w.warm_up + w.steps
    if w.model == "unrolled":
        ids = torch.from_numpy(w.ids(steps * w.batch * UNROLLED + UNROLLED).astype("int64"))
        rows = ids.unfold(0, UNROLLED + 1, 1)

        def batch(i):
            chosen = rows[i * w.batch : (i + 1) * w.batch]
            return chosen[:, :UNROLLED].t(), chosen[:, UNROLLED]

    else:
        ids = torch.from_numpy(w.ids((steps + 1) * w.batch * w.length).astype("int64"))
        streams = ids.view(w.batch, -1).t().contiguous()

        def batch(i):
            begin, end = i * w.length, (i + 1) * w.length
            return streams[begin:end], streams[begin + 1 : end + 1].reshape(-1)

    return batch


def train(w, model) -> tuple[Callable, Callable]:
    """Return a function that takes one training step, and a function that writes a checkpoint."""
    rule = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[w.optimizer]
    optimizer = rule(model.parameters(), lr=w.lr)
    state, batch, i, total = [None] * len(w.hidden), batches(w), 0, 0.0
    model.train()

    def step():
        nonlocal state, i, total
        inputs, targets = batch(i)
        i += 1
        optimizer.zero_grad()
        logits, state = model(inputs, detached(state) if state[0] is not None else state)
        loss = F.cross_entropy(logits.view(-1, w.vocab), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), w.clip)
        optimizer.step()
        total += loss.item()

    return step, lambda: save(model, optimizer)


def save(model, optimizer) -> None:
    """Write the weights and the optimizer's arrays."""
    with tempfile.TemporaryFile() as file:
        torch.save([model.state_dict(), optimizer.state_dict()], file)


def score(w, model) -> tuple[Callable, None]:
    """Return a function that scores one batch."""
    state, batch, i, total = [None] * len(w.hidden), batches(w), 0, 0.0
    model.eval()

    def step():
        nonlocal state, i, total
        inputs, targets = batch(i)
        i += 1
        with torch.no_grad():
            logits, state = model(inputs, state)
            total += F.cross_entropy(logits.view(-1, w.vocab), targets).item()

    return step, None


def generate(w, model) -> tuple[Callable, None]:
    """Return a function that draws the next token of each stream."""
    state, inputs = [None] * len(w.hidden), torch.zeros(1, w.batch, dtype=torch.int64)
    model.eval()

    def step():
        nonlocal state, inputs
        with torch.no_grad():
            logits, state = model(inputs, state)
            inputs = torch.multinomial(F.softmax(logits[0], dim=-1), 1).t()

    return step, None


def build(workload) -> nn.Module:
    """Return the workload's model with its initial weights."""
    torch.manual_seed(1)
    model = Unrolled(workload) if workload.model == "unrolled" else Recurrent(workload)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -workload.init, workload.init)
    return model


def main(name) -> None:
    workload = WORKLOADS[name]
    task = {"train": train, "score": score, "generate": generate}[workload.task]
    step, save = task(workload, build(workload))
    print(json.dumps(clock(step, workload, LIBRARIES, save)))


if __name__ == "__main__":
    main(*sys.argv[1:])
