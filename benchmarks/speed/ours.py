"""Our side: one workload in this process, by the package's own public path.

Nothing is set that a user would have to set.
"""

import itertools
import json
import sys

from workloads import WORKLOADS, clock

from gluonlm import device, runtime
from gluonlm.config import Config


def settings(workload):
    """Return the workload as the Config that a user's flags would make."""
    training = dict(
        batch_size=workload.batch,
        seq_len=workload.length,
        optimizer=workload.optimizer,
        lr=workload.lr,
        clip=workload.clip,
    )
    return Config.from_dict(
        dict(
            training,
            model=workload.model,
            hidden_size=workload.hidden,
            embed_size=workload.embed,
            dropout=workload.dropout,
            level=workload.level,
            init=f"uniform:{workload.init}",
            schedule="constant",
        )
    )


def train(workload, model, config):
    """Return a function that takes the trainer's next step."""
    from gluonlm import Trainer

    tokens = (
        workload.warm_up + workload.steps + 1
    ) * workload.batch * workload.length + workload.batch
    return Trainer(model, config.training, workload.ids(tokens))._step


def score(workload, model, config):
    """Return a function that scores the next batch, the state carried."""
    from gluonlm.batchify import make_batches
    from gluonlm.scoring import batch_losses

    tokens = (
        workload.warm_up + workload.steps + 1
    ) * workload.batch * workload.length + workload.batch
    losses = batch_losses(
        model,
        make_batches(model.window, workload.ids(tokens), workload.batch, workload.length),
        device.get_ctx()[0],
    )
    return lambda: next(losses)


def generate(workload, model, config):
    """Return a function that draws the next token of each stream."""
    from gluonlm import sample

    tokens = itertools.count()
    drawn = sample(model, [0], 10**6, streams=workload.batch)
    return lambda: (next(drawn), next(tokens))


def main(name):
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
