"""Time training passes that multiply float32 and bfloat16 numbers, alternately.

    OMP_NUM_THREADS=1 python benchmarks/precision.py

Prints a Markdown table of medians. Needs a processor with AMX.
"""

import argparse

import numpy as np
from documents import measure  # configures the runtime
from mxnet import nd

from gluonlm.models import RNNModel

NETWORKS = {  # kind, vocabulary, embedding, hidden sizes, steps of 32 streams
    "GRU 384, characters": ("gru", 65, 64, (384,), 64),
    "LSTM 512, characters": ("lstm", 65, 64, (512,), 64),
    "LSTM 2 x 300, words": ("lstm", 10_000, 300, (300, 300), 35),
    "LSTM 2 x 1000, characters": ("lstm", 85, 500, (1000, 1000), 100),
}


def make_step(kind, vocab_size, embed_size, sizes, length, precision):
    """Return a function that runs one training pass, and then waits for the result."""
    tied = embed_size == sizes[-1]
    model = RNNModel(kind, vocab_size, embed_size, sizes, dropout=0.3, tie_weights=tied)
    model.prepare().pack()
    model.use_kernels("native", precision)
    ids = np.random.default_rng(1).integers(0, vocab_size, (length + 1, 32))
    inputs, targets = (nd.array(part, dtype="int32") for part in (ids[:-1], ids[1:].ravel()))
    state = model.begin_state(32)

    def step():
        model.forward_backward(inputs, targets, state)
        nd.waitall()

    return step


def main():
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="timed passes (default: 15)")
    repeats = parser.parse_args().repeats
    print("| network | float32, ms | bfloat16, ms | ratio |\n|---|---|---|---|")
    for name, network in NETWORKS.items():
        steps = [make_step(*network, precision) for precision in ("float32", "bfloat16")]
        slow, fast = measure(steps, repeats)
        print(f"| {name} | {1e3 * slow:.1f} | {1e3 * fast:.1f} | {slow / fast:.2f} |", flush=True)


if __name__ == "__main__":
    main()
