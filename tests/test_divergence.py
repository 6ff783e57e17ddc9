"""Non-finite values never reach the weights."""

import dataclasses

import numpy as np
import pytest
from mxnet import nd
from trainings import BASE, IDS, make_model, train, weights

from gluonlm.train.progress import Diverged
from gluonlm.train.trainer import Trainer


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_nan_never_reaches_the_weights(policy):
    trainer = Trainer(make_model(), dataclasses.replace(BASE, on_nan=policy), IDS)
    before = []

    def poison(event, record):
        if event == "step" and record["step"] == 3:
            before.append(weights(trainer))
            trainer.replicas.state[0][0][:] = np.nan
        if event == "step" and record["step"] == 4:
            before.append(weights(trainer))

    trainer.callbacks = [poison]
    if policy == "stop":
        with pytest.raises(Diverged, match="step 4"):
            trainer.fit()
        before.append(weights(trainer))
    else:
        trainer.fit()
        assert trainer.progress.skipped == 1
        assert np.isfinite(weights(trainer)).all()
        assert (weights(trainer) != before[1]).any()
    assert (before[0] == before[1]).all()


def test_a_rising_loss_stops_training():
    with pytest.raises(Diverged, match=r"step \d+ .* 1\.95\b.*`lr`"):
        train(dataclasses.replace(BASE, lr=1e3, clip=0.0, epochs=50, optimizer="sgd"))


def test_repeated_non_finite_steps_stop_the_training():
    model = make_model()
    model.decoder.bias.set_data(nd.full(7, np.nan))
    trainer = Trainer(model, dataclasses.replace(BASE, on_nan="skip", epochs=50), IDS)
    with pytest.raises(Diverged, match=r"\b100 .* step 100\b"):
        trainer.fit()
    assert trainer.progress.skipped == 100
