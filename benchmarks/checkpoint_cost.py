"""Time a checkpoint and a training step, at 1 and 20 million parameters.

python benchmarks/checkpoint_cost.py
"""

import functools
import statistics
import tempfile
import time

from gluonlm.system import runtime

runtime.configure()
import mxnet as mx  # noqa: E402

from gluonlm.config import Config  # noqa: E402
from gluonlm.corpus import load_corpus  # noqa: E402
from gluonlm.models import build_model  # noqa: E402
from gluonlm.run.folder import Run  # noqa: E402
from gluonlm.train.saving import save_checkpoint  # noqa: E402
from gluonlm.train.trainer import Trainer  # noqa: E402

REPEATS = 7


def measure(settings) -> tuple[int, float, float]:
    """Return the parameters and the median seconds of a step and a checkpoint, alternating."""
    config = Config.from_dict({"dropout": 0.3, "max_steps": 2 * REPEATS, **settings})
    corpus = load_corpus(config.data)
    model = build_model(config.model, len(corpus.vocab)).prepare([mx.cpu()])
    steps, saves = [], []
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(folder + "/run")
        trainer = Trainer(model, config.training, corpus.train)
        save = functools.partial(save_checkpoint, run, config, corpus, trainer, ("last",))
        for _ in range(REPEATS):
            for work, times in ((trainer._step, steps), (save, saves)):
                began = time.perf_counter()
                work()
                mx.nd.waitall()
                times.append(time.perf_counter() - began)
    return model.count_parameters(), statistics.median(steps[1:]), statistics.median(saves[1:])


if __name__ == "__main__":
    large = {"model": "lstm", "hidden_size": [1250], "num_layers": 2, "embed_size": 500}
    for settings in ({"hidden_size": [530]}, large):
        parameters, step, save = measure(settings)
        print(
            f"{parameters:,} parameters: a step {1e3 * step:.0f} ms, "
            f"a checkpoint {1e3 * save:.0f} ms, {save / step:.1f} steps"
        )
