"""Our side: one workload in this process, through the package's public functions.

Only defaults are used.
"""

import itertools
import json
import sys
import tempfile
from collections.abc import Callable

import numpy as np
from workloads import WORKLOADS, clock, resident

from gluonlm import native
from gluonlm.config import Config
from gluonlm.system import device, runtime


def settings(workload) -> Config:
    """Return the workload as a Config, like the flags of a user."""
    same = ("model", "dropout", "level", "optimizer", "lr", "clip")
    other = dict(batch_size="batch", seq_len="length", hidden_size="hidden", embed_size="embed")
    names = {**{name: name for name in same}, **other}
    taken = {setting: getattr(workload, name) for setting, name in names.items()}
    return Config.from_dict({**taken, "init": f"uniform:{workload.init}", "schedule": "constant"})


def train(workload, model, config) -> tuple[Callable, Callable]:
    """Return a function that takes the next step, and a function that writes a checkpoint."""
    from gluonlm import Trainer, Vocab
    from gluonlm.corpus import Corpus
    from gluonlm.run.folder import Run
    from gluonlm.train.saving import save_checkpoint

    ids, none = workload.ids(workload.read), np.empty(0, np.int32)
    vocab = Vocab(workload.level, [chr(0x4E00 + i) for i in range(workload.vocab)])
    trainer = Trainer(model, config.training, ids)
    run = Run.create(tempfile.mkdtemp())  # the benchmark removes it with its other temporary files
    corpus = Corpus("made up", vocab, ids, none, none, "")
    return trainer._step, lambda: save_checkpoint(run, config, corpus, trainer, ("last",))


def score(workload, model, config) -> tuple[Callable, None]:
    """Return a function that scores the next batch with the state carried."""
    from gluonlm.batchify.batches import make_batches
    from gluonlm.evaluate.scoring import batch_losses

    model.pack()  # as `load_model` does
    model.use_kernels()
    ids = workload.ids(workload.read)
    batches = make_batches(model.window, ids, workload.batch, workload.length)
    losses = batch_losses(model, batches, device.get_ctx()[0])
    return (lambda: next(losses)), None


def generate(workload, model, config) -> tuple[Callable, None]:
    """Return a function that draws the next token of each stream."""
    from gluonlm import sample

    tokens = itertools.count()
    drawn = sample(model, [0], 10**6, streams=workload.batch)
    return (lambda: (next(drawn), next(tokens))), None


def main(name) -> None:
    workload = WORKLOADS[name]
    config = settings(workload)
    threads = runtime.threads_for(config.largest_operation(), native.used())
    runtime.configure(otherwise=threads)
    ctx = device.get_ctx()
    from gluonlm import build_model

    libraries = resident()
    model = build_model(config.model, workload.vocab)
    model.prepare(ctx, config.model.init)
    task = {"train": train, "score": score, "generate": generate}[workload.task]
    step, save = task(workload, model, config)
    print(json.dumps(clock(step, workload, libraries, save)))


if __name__ == "__main__":
    main(sys.argv[1])
