"""Time training steps on names of 6 characters, with and without a document separator.

    OMP_NUM_THREADS=1 python benchmarks/documents.py

Both sides train the same network on the same batch, alternately; prints the medians in
milliseconds and their ratio for each kind of network.
"""

import argparse
import statistics
import time

import numpy as np

from gluonlm.system import runtime

runtime.configure()
from mxnet import nd  # noqa: E402

from gluonlm.models import RNNModel  # noqa: E402

SEPARATOR, LETTERS, NAME = 0, 26, 6


def make_step(kind, size, kernels, ids, separator):
    """Return a function that takes one training step, and then waits for the result."""
    model = RNNModel(kind, LETTERS + 1, 64, (size,), dropout=0.1, separator=separator)
    model.prepare().pack()
    model.use_kernels(kernels)
    inputs, targets = (nd.array(part, dtype="int32") for part in (ids[:-1], ids[1:].ravel()))
    state = model.begin_state(ids.shape[1])

    def step():
        losses, _ = model.forward_backward(inputs, targets, state)
        nd.waitall()
        return losses.asnumpy()

    return step


def measure(steps, repeats):
    """Return the median seconds of each function, called alternately."""
    seconds = [[] for _ in steps]
    for repeat in range(repeats + 3):
        for step, found in zip(steps, seconds):
            began = time.perf_counter()
            step()
            if repeat >= 3:
                found.append(time.perf_counter() - began)
    return [statistics.median(found) for found in seconds]


def main():
    """Print a line for each kind of network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="hidden size (default: 256)")
    parser.add_argument("--streams", type=int, default=32, help="streams per batch (default: 32)")
    parser.add_argument("--seq-len", type=int, default=64, help="time steps (default: 64)")
    parser.add_argument("--kernels", default="native", help="native (default) or mxnet")
    parser.add_argument("--repeats", type=int, default=21, help="timed steps (default: 21)")
    flags = parser.parse_args()
    random = np.random.default_rng(1)
    ids = random.integers(1, LETTERS + 1, (flags.streams, flags.seq_len + 1))
    begins = np.arange(flags.seq_len + 1) + random.integers(0, NAME + 1, (flags.streams, 1))
    ids[begins % (NAME + 1) == 0] = SEPARATOR  # a name begins at another place in each stream
    for kind in ("rnn", "gru", "lstm"):
        settings = kind, flags.size, flags.kernels, ids.T
        steps = [make_step(*settings, separator) for separator in (None, SEPARATOR)]
        plain, documents = measure(steps, flags.repeats)
        print(
            f"{flags.kernels} {kind} {flags.size}: plain {1e3 * plain:.1f} ms, "
            f"documents {1e3 * documents:.1f} ms, ratio {documents / plain:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
