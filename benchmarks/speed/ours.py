"""Our side: one workload in this process, by the package's own public path.

Nothing is set that a user would have to set.
"""

import itertools
import json
import sys
from typing import Callable

from workloads import WORKLOADS, clock

from gluonlm import device, runtime
from gluonlm.config import Config


def settings(workload) -> Config:
    """Return the workload as the Config that a user's flags would make."""
    same = ("model", "dropout", "level", "optimizer", "lr", "clip")
    other = dict(batch_size="batch", seq_len="length", hidden_size="hidden", embed_size="embed")
    names = {**{name: name for name in same}, **other}
    taken = {setting: getattr(workload, name) for setting, name in names.items()}
    return Config.from_dict({**taken, "init": f"uniform:{workload.init}", "schedule": "constant"})


def train(workload, model, config) -> Callable:
    """Return a function that takes the trainer's next step."""
    from gluonlm import Trainer

    return Trainer(model, config.training, workload.ids(workload.read))._step


def score(workload, model, config) -> Callable:
    """Return a function that scores the next batch, the state carried."""
    from gluonlm.batchify import make_batches
    from gluonlm.scoring import batch_losses

    ids = workload.ids(workload.read)
    batches = make_batches(model.window, ids, workload.batch, workload.length)
    losses = batch_losses(model, batches, device.get_ctx()[0])
    return lambda: next(losses)


def generate(workload, model, config) -> Callable:
    """Return a function that draws the next token of each stream."""
    from gluonlm import sample

    tokens = itertools.count()
    drawn = sample(model, [0], 10**6, streams=workload.batch)
    return lambda: (next(drawn), next(tokens))


def main(name) -> None:
    workload = WORKLOADS[name]
    config = settings(workload)
    runtime.configure(otherwise=runtime.threads_for(config.largest_operation()))
    ctx = device.get_ctx()
    from gluonlm import build_model

    model = build_model(config.model, workload.vocab)
    model.prepare(ctx, config.model.init)
    task = {"train": train, "score": score, "generate": generate}[workload.task]
    print(json.dumps(clock(task(workload, model, config), workload)))


if __name__ == "__main__":
    main(sys.argv[1])
