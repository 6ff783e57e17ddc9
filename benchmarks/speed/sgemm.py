"""The limit: floating-point operations a second of one library's square float32 products.

`python sgemm.py mxnet|numpy|torch`. The fastest library differs between machines.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np

SIZES, REPEATS = (2048, 4096), 4


def mxnet() -> dict[str, Callable]:
    """Return the products of oneDNN and of MXNet's BLAS, as functions of the size."""
    from gluonlm.system import runtime

    runtime.configure()
    from mxnet import nd

    def fully_connected(size):
        x = nd.ones((size, size))
        return lambda: nd.FullyConnected(x, x, no_bias=True, num_hidden=size).wait_to_read()

    def dot(size):
        x = nd.ones((size, size))
        return lambda: nd.dot(x, x).wait_to_read()

    return {"FullyConnected": fully_connected, "nd.dot": dot}


def numpy() -> dict[str, Callable]:
    """Return NumPy's product."""

    def product(size):
        x = np.ones((size, size), np.float32)
        return lambda: x @ x

    return {"NumPy": product}


def torch() -> dict[str, Callable]:
    """Return PyTorch's product."""
    import torch

    def product(size):
        x = torch.ones(size, size)
        return lambda: x @ x

    return {"PyTorch": product}


def fastest(product) -> float:
    """Return the operations a second of the fastest call, of any size."""
    rates = []
    for size in SIZES:
        call = product(size)
        for _ in range(REPEATS):
            began = time.perf_counter()
            call()
            rates.append(2 * size**3 / (time.perf_counter() - began))
    return max(rates)


if __name__ == "__main__":
    products = {"mxnet": mxnet, "numpy": numpy, "torch": torch}[sys.argv[1]]()
    print(json.dumps({name: fastest(product) for name, product in products.items()}))
