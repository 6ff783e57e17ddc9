"""Weight averaging during training."""

import dataclasses

import mxnet as mx
import numpy as np
import pytest
from trainings import BASE, IDS, make_model, train, weights

from gluonlm.evaluate.scoring import mean_loss
from gluonlm.system.errors import InputError
from gluonlm.train.trainer import Trainer


def averaged(**settings):
    return dataclasses.replace(BASE, epochs=1, validate_every=4, **settings)


def flat(arrays):
    return np.concatenate([array.ravel() for array in arrays.values()])


def watched(config, valid=IDS[:60], **kwargs):
    """Train; return the trainer, and the weights after each step."""
    trainer, seen = Trainer(make_model(), config, IDS, valid, **kwargs), []
    trainer.callbacks = [
        lambda event, record: seen.append(weights(trainer)) if event == "step" else None
    ]
    trainer.fit()
    return trainer, np.array(seen)


def test_the_memory_of_an_exponential_average_grows_during_training():
    trainer, seen = watched(averaged(average="ema", average_decay=0.8))
    mean = 0
    for step, now in enumerate(seen, 1):
        share = max(1 - 0.8, 9 / (9 + step))
        mean = mean + share * (now - mean)
    assert len(seen) == trainer.progress.averaged > 10
    np.testing.assert_allclose(flat(trainer.weights()), mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(weights(trainer), seen[-1])  # the raw weights


def test_asgd_averages_evenly_once_validation_stops_improving():
    config = averaged(average="nt-asgd", average_patience=2, lr=0.0001, optimizer="sgd")
    losses = iter([3.0, 2.0, 2.5, 2.2, 1.0, 1.0, 1.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gluonlm.train.trainer.mean_loss", lambda *ignored: next(losses, 1.0))
        trainer, seen = watched(config)
    begun = 4 * 4  # the fourth validation is the second without improvement
    assert trainer.progress.averaged == len(seen) - begun > 0
    mean = seen[begun:].mean(axis=0)
    np.testing.assert_allclose(flat(trainer.weights()), mean, rtol=1e-4, atol=1e-6)


def test_validation_and_checkpoints_use_the_average():
    found, kept = [], []
    config = averaged(average="ema", average_decay=0.9)
    trainer = Trainer(
        make_model(), config, IDS, IDS[:60], save=lambda t, _: kept.append(flat(t.weights()))
    )
    trainer.callbacks = [
        lambda event, record: (
            found.append((record["valid_loss"], trainer.model.arrays()))
            if event == "validation"
            else None
        )
    ]
    trainer.fit()
    model = make_model()
    for reported, arrays in found:
        model.load_arrays(arrays)
        assert mean_loss(model, trainer.valid_batches, mx.cpu()) == pytest.approx(reported)
    np.testing.assert_array_equal(kept[-1], flat(found[-1][1]))


def test_without_averaging_the_last_weights_are_used():
    trainer = train(valid=IDS[:60])
    np.testing.assert_array_equal(flat(trainer.weights()), weights(trainer))
    assert not trainer.progress.averaged
    assert not any(n.startswith("raw") for n in trainer.arrays())


def test_a_checkpoint_without_the_raw_weights_is_refused():
    config = averaged(average="ema")
    trainer = train(config)
    arrays, record = trainer.arrays(), trainer.progress_record()
    for fault in ({}, {"raw.0": np.zeros((2, 2), np.float32)}):
        forged = {name: array for name, array in arrays.items() if name != "raw.0"}
        with pytest.raises(InputError, match=r"raw\.0"):
            Trainer(make_model(), config, IDS).restore({**forged, **fault}, record)


def test_every_device_resumes_with_the_raw_weights():
    config, ctx = averaged(average="ema"), [mx.cpu(0), mx.cpu(1)]
    trainer = Trainer(make_model(ctx=ctx), config, IDS, ctx=ctx)
    trainer.fit()
    resumed = Trainer(make_model(ctx=ctx), config, IDS, ctx=ctx)
    resumed.model.load_arrays(trainer.weights())
    resumed.restore(trainer.arrays(), trainer.progress_record())
    for parameter, value in zip(
        resumed.model.parameters().values(), trainer.model.arrays().values()
    ):
        for device in ctx:
            np.testing.assert_array_equal(parameter.data(device).asnumpy(), value)
