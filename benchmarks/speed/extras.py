"""What is measured of our side alone.

sgemm, encoding, cutting into streams, and a step against the size of the corpus.
"""

import json
import time

import numpy as np

from gluonlm import Vocab, device, rnn_batch, runtime

runtime.configure()
from mxnet import nd  # noqa: E402

from gluonlm import Trainer, build_model  # noqa: E402
from gluonlm.config import ModelConfig, TrainConfig  # noqa: E402

SIZE, MEGABYTE, VOCAB = 2048, 1_000_000, 85


def timed(function, repeats) -> float:
    """Return the median seconds of a call, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def step_seconds(megabytes) -> float:
    """Return the seconds of a step, GRU 256 on 32 x 64 characters, on a corpus of this size."""
    ids = np.random.default_rng(1).integers(0, VOCAB, megabytes * MEGABYTE, dtype=np.int32)
    model = build_model(ModelConfig(), VOCAB).prepare(device.get_ctx())
    return timed(Trainer(model, TrainConfig(), ids)._step, 15)


def main() -> None:
    matrix = nd.ones((SIZE, SIZE))
    ids = np.zeros(100 * MEGABYTE, np.int32)
    text = "".join(map(chr, np.random.default_rng(1).integers(32, 127, MEGABYTE))) * 100
    vocab = Vocab("char", list(map(chr, range(32, 127))))
    result = {
        "sgemm": 2 * SIZE**3 / timed(lambda: nd.dot(matrix, matrix).wait_to_read(), 15),
        "rnn_batch": timed(lambda: rnn_batch(ids, 32), 15),
        "encode": 100 / timed(lambda: vocab.encode(text), 3),
        **{f"step {megabytes}": step_seconds(megabytes) for megabytes in (1, 10, 100)},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
