"""PyTorch at its best: the workloads as written by a PyTorch expert.

`python expert.py WORKLOAD WORD ...`: the words select variants, see `rounds.ways`. The fastest
variants differ between machines and models, so all are tried.

malloc: the package's malloc settings. compile: `torch.compile`. cells: `LSTMCell` and `GRUCell`
instead of the layers. products: the first layer's products precomputed for every token, and one
product for each further layer of an LSTM. threads=N: N threads instead of every core.
"""

import ctypes
import json
import sys
from collections.abc import Callable

import torch
from peer import LIBRARIES, Unrolled, batches, build, detached, save
from torch import nn
from torch.nn import functional as F
from workloads import UNROLLED, WORKLOADS, clock

CELLS = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}


class Joined(Unrolled):
    """The three-character network with one product for all inputs."""

    def forward(self, inputs, state):
        read = F.relu(self.i2h(self.embedding(inputs)))  # (T, N, C)
        hidden = read[0]
        for t in range(1, UNROLLED):
            hidden = F.relu(self.h2h(hidden)) + read[t]
        return self.decoder(hidden), state


class Stacked(nn.Module):
    """A stack of cells for one token of each stream: ids `(N,)` and a state to logits."""

    def __init__(self, w, model):
        super().__init__()
        self.embedding, self.decoder = model.embedding, model.decoder
        sizes = zip((w.embed, *w.hidden), w.hidden)
        self.cells = nn.ModuleList(CELLS[w.model](below, size) for below, size in sizes)
        for layer, cell in enumerate(self.cells):
            for name, parameter in cell.named_parameters():
                parameter.data = getattr(model.layers[0], f"{name}_l{layer}").data

    def forward(self, ids, state):
        x, states = self.embedding(ids), []
        for cell, old in zip(self.cells, state):
            new = cell(x, old)
            x = new[0] if isinstance(new, tuple) else new
            states.append(new)
        return self.decoder(x), states


class Products(Stacked):
    """The same with the fewest matrix products."""

    def __init__(self, w, model):
        super().__init__(w, model)
        self.lstm, first = w.model == "lstm", self.cells[0]
        read = F.linear(self.embedding.weight, first.weight_ih, first.bias_ih)
        self.table = nn.Parameter(read)  # (V, gates * C)
        if self.lstm:
            self.weights = nn.ParameterList(
                torch.cat([cell.weight_ih, cell.weight_hh], 1) for cell in self.cells
            )
            self.biases = nn.ParameterList(cell.bias_ih + cell.bias_hh for cell in self.cells)

    def forward(self, ids, state):
        x, states = F.embedding(ids, self.table), []
        for layer, (cell, old) in enumerate(zip(self.cells, state)):
            if self.lstm:
                new = self._lstm(layer, x, *old)
            else:
                read = F.linear(x, cell.weight_ih, cell.bias_ih) if layer else x
                new = self._gru(read, F.linear(old, cell.weight_hh, cell.bias_hh), old)
            x = new[0] if self.lstm else new
            states.append(new)
        return self.decoder(x), states

    def _lstm(self, layer, x, h, c):
        if layer:
            gates = F.linear(torch.cat([x, h], 1), self.weights[layer], self.biases[layer])
        else:
            first = self.cells[0]
            gates = F.linear(h, first.weight_hh, first.bias_hh) + x
        i, f, g, o = gates.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def _gru(self, read, carried, h):
        (r, z, n), (a, b, c) = read.chunk(3, 1), carried.chunk(3, 1)
        new = torch.tanh(n + torch.sigmoid(r + a) * c)
        return torch.lerp(new, h, torch.sigmoid(z + b))


def beginning(w, stacked) -> list:
    """Return zero states: for each cell, or in the shapes of `nn.LSTM` and `nn.GRU`."""
    shapes = [(w.batch, size) for size in w.hidden]
    if not stacked and len(set(w.hidden)) == 1:
        shapes = [(len(w.hidden), w.batch, w.hidden[0])]
    elif not stacked:
        shapes = [(1, *shape) for shape in shapes]
    zeros = [torch.zeros(shape) for shape in shapes]
    return [(array, array.clone()) for array in zeros] if w.model == "lstm" else zeros


def losses(w, model, words) -> Callable:
    """Return a function from a batch and a state to the mean loss and the new state."""

    def forward(inputs, targets, state):
        logits, state = model(inputs, state)
        return F.cross_entropy(logits.view(-1, w.vocab), targets), state

    return compiled(forward, words)


def train(w, model, words) -> tuple[Callable, Callable]:
    """Return a function that takes one step with a fused update, and a function that saves."""
    if w.model == "unrolled":
        model.__class__ = Joined
    rule = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[w.optimizer]
    parameters = list(model.parameters())
    optimizer = rule(parameters, lr=w.lr, fused=True)
    state, batch, i, total = beginning(w, False), batches(w), 0, 0.0
    model.train()
    forward = losses(w, model, words)

    def step():
        nonlocal state, i, total
        inputs, targets = batch(i)
        i += 1
        optimizer.zero_grad()
        loss, state = forward(inputs, targets, detached(state))
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, w.clip)
        optimizer.step()
        total += loss.item()

    return step, lambda: save(model, optimizer)


def score(w, model, words) -> tuple[Callable, None]:
    """Return a function that scores one batch."""
    state, batch, i, total = beginning(w, False), batches(w), 0, 0.0
    model.eval()
    forward = losses(w, model, words)

    def step():
        nonlocal state, i, total
        inputs, targets = batch(i)
        i += 1
        with torch.inference_mode():
            loss, state = forward(inputs, targets, state)
            total += loss.item()

    return step, None


def generate(w, model, words) -> tuple[Callable, None]:
    """Return a function that draws the next token of each stream."""
    kind = {"cells": Stacked, "products": Products}.get(next(iter(words), ""))
    model = kind(w, model) if kind else model
    state, inputs = beginning(w, kind), torch.zeros(w.batch, dtype=torch.int64)
    model.eval()

    def forward(inputs, state):
        logits, state = model(inputs if kind else inputs[None], state)
        rows = F.softmax(logits if kind else logits[0], dim=-1)  # (N, V)
        # draws by the exponential trick, because multinomial checks its input and synchronises
        return (rows / torch.empty_like(rows).exponential_()).argmax(-1), state

    forward = compiled(forward, words)

    def step():
        nonlocal state, inputs
        with torch.inference_mode():
            inputs, state = forward(inputs, state)

    return step, None


def compiled(forward, words) -> Callable:
    """Return the function, compiled if the words contain `compile`."""
    return torch.compile(forward) if "compile" in words else forward


def keep_memory() -> None:
    """Apply the package's three malloc settings."""
    for parameter, value in ((-4, 0), (-1, 2**31 - 1), (-8, 1)):
        ctypes.CDLL(None).mallopt(parameter, value)


def main(name, *words) -> None:
    if "malloc" in words:
        keep_memory()
    for word in words:
        if word.startswith("threads="):
            torch.set_num_threads(int(word.removeprefix("threads=")))
    workload = WORKLOADS[name]
    task = {"train": train, "score": score, "generate": generate}[workload.task]
    step, save = task(workload, build(workload), words)
    print(json.dumps(clock(step, workload, LIBRARIES, save)))


if __name__ == "__main__":
    main(*sys.argv[1:])
