"""Small trainings for the tests."""

import mxnet as mx
import numpy as np

from gluonlm.config import TrainConfig
from gluonlm.models import AdaptiveRNN, Ensemble, RNNModel, UnrolledRNN, WindowModel
from gluonlm.train.trainer import Trainer

IDS = (np.arange(400) * np.arange(1, 401) % 7).astype(np.int32)


BASE = TrainConfig(
    batch_size=4, seq_len=6, epochs=2, lr=0.05, schedule="constant", clip=0.1, seed=3
)


def make_model(kind="lstm", dropout=0.0, ctx=None):
    if kind == "unrolled":
        model = UnrolledRNN(7, 5, 6, dropout=dropout)
    elif kind == "window":
        model = WindowModel(7, 6, 9, "real", dropout=dropout)
    elif "adaptive" in kind:
        model = AdaptiveRNN(kind.split()[0], 7, 5, (6, 4), (2, 5), dropout=dropout)
    elif "weight-drop" in kind:
        model = RNNModel(kind.split()[0], 7, 5, (6, 4), weight_drop=dropout)
    elif "regularised" in kind:
        settings = dict(word_dropout=dropout, activation_reg=2.0, temporal_reg=1.0)
        model = RNNModel(kind.split()[0], 7, 5, (6, 4), **settings)
    elif "ensemble" in kind:
        model = Ensemble([RNNModel(kind.split()[0], 7, 5, (6, 4), dropout) for _ in range(2)])
    else:
        model = RNNModel(kind.split()[0], 7, 5, (6, 4), dropout, variational="variational" in kind)
    return model.prepare(ctx or [mx.cpu()], "uniform:0.5", 1)


def train(config=BASE, kind="lstm", dropout=0.0, valid=(), ctx=None, **kwargs):
    trainer = Trainer(make_model(kind, dropout, ctx), config, IDS, valid, ctx, **kwargs)
    trainer.reason = trainer.fit()
    return trainer


def weights(trainer_or_model):
    model = getattr(trainer_or_model, "model", trainer_or_model)
    return np.concatenate(
        [p.data(p.list_ctx()[0]).asnumpy().ravel() for p in model.parameters().values()]
    )


def stop_after(trainer, step):
    return lambda event, record: (
        trainer.stop("interrupted") if event == "step" and record["step"] == step else None
    )


class Clock:
    """A clock for the Trainer: each step takes `seconds(step)`, counted from 1."""

    def __init__(self, monkeypatch, seconds):
        self.seconds, self.now = seconds, 0.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def __call__(self, event, record):
        """Advance after a step; pass the clock to the Trainer as a callback."""
        if event == "step":
            self.now += self.seconds(record["step"])
