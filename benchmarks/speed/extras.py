"""Measurements of gluonlm only: encoding, cutting into streams, steps by size of the corpus."""

import json
import time

import numpy as np
from workloads import zipf

from gluonlm import Vocab, rnn_batch
from gluonlm.system import device, runtime

runtime.configure()
from gluonlm import Trainer, build_model  # noqa: E402
from gluonlm.config import ModelConfig, TrainConfig  # noqa: E402

MEGABYTE, VOCAB = 1_000_000, 85


def timed(function, repeats) -> float:
    """Return the median seconds of a call, after a warm-up call."""
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def step_seconds(megabytes) -> float:
    """Return the seconds of a step, GRU 256 on 32 x 64 characters, on a corpus of this size."""
    ids = np.tile(zipf(VOCAB, MEGABYTE), megabytes)
    model = build_model(ModelConfig(), VOCAB).prepare(device.get_ctx())
    return timed(Trainer(model, TrainConfig(), ids)._step, 15)


def main() -> None:
    ids = np.zeros(100 * MEGABYTE, np.int32)
    text = "".join(map(chr, 32 + zipf(95, MEGABYTE))) * 100
    vocab = Vocab("char", list(map(chr, range(32, 127))))
    result = {
        "rnn_batch": timed(lambda: rnn_batch(ids, 32), 15),
        "encode": 100 / timed(lambda: vocab.encode(text), 3),
        **{f"step {megabytes}": step_seconds(megabytes) for megabytes in (1, 10, 100)},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
