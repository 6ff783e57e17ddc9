"""Learning rates, optimizers and seeds."""

import dataclasses

import mxnet as mx
import numpy as np
import pytest
from trainings import BASE, IDS, make_model, train, weights

from gluonlm.config import TrainConfig
from gluonlm.models import RNNModel
from gluonlm.system.errors import InputError
from gluonlm.system.seeds import derive_seed
from gluonlm.train.optimizer import parse_params
from gluonlm.train.schedule import learning_rate
from gluonlm.train.trainer import Trainer


def test_schedules():
    def course(steps, **settings):
        config = TrainConfig(lr=1.0, **settings)
        return [round(learning_rate(config, step, 10, 60), 6) for step in steps]

    assert course([0, 59], schedule="constant") == [1, 1]
    # epochs 1 to 5 at 1.0, the 6th at 0.5: the published Penn Treebank schedule
    assert course([0, 49, 50, 59, 60, 70], schedule="step", decay=0.5, decay_after=5) == [
        1,
        1,
        0.5,
        0.5,
        0.25,
        0.125,
    ]
    assert course([0, 30, 60, 99], schedule="cosine", lr_floor=0.1) == [1, 0.55, 0.1, 0.1]
    assert course([0, 4, 5, 60], schedule="cosine", warmup_steps=5, lr_floor=0) == [0.2, 1, 1, 0]
    # warm-up for 18 of 60 steps, then like cosine
    assert course([0, 9, 18, 39, 60], schedule="one-cycle", lr_floor=0) == [0.04, 0.52, 1, 0.5, 0]
    assert (
        learning_rate(TrainConfig(lr=1.0, schedule="plateau", decay=0.5), 5, 10, 60, drops=2)
        == 0.25
    )


def test_plateau_lowers_the_rate_and_patience_stops_the_training():
    config = dataclasses.replace(
        BASE,
        schedule="plateau",
        decay=0.1,
        decay_patience=2,
        patience=5,
        epochs=50,
        lr=1e-30,
        validate_every=2,
    )
    records = []
    trainer = train(
        config,
        valid=IDS[:60],
        callbacks=[lambda event, record: records.append(record) if event == "validation" else None],
    )
    assert trainer.reason == "patience"
    assert [r["best"] for r in records] == [True] + [False] * 5
    assert trainer.progress.best_step == 2
    assert trainer.progress.drops == 2
    assert records[-1]["lr"] == pytest.approx(1e-32)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(optimizer="magic"), "`optimizer` 'magic': .* adadelta, adagrad"),
        (dict(optimizer_params="momentum=fast"), "`optimizer_params` 'momentum=fast'"),
        (dict(optimizer="sgd", optimizer_params="speed=3"), "`optimizer_params` 'speed=3'"),
        (dict(optimizer_params="wd=inf"), "`optimizer_params` 'wd=inf'"),
        (dict(optimizer_params="param_dict=1"), "'param_dict=1'"),
        (dict(batch_size=500), "400 tokens .* 500 .*`batch_size`"),
        (dict(batch_size=400), "400 tokens .* 400 .*`batch_size`"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Trainer(make_model(), dataclasses.replace(BASE, **settings), IDS)


def test_derived_seeds_are_distinct_and_fit_mxnet():
    seeds = {derive_seed(1, "step", step) for step in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(
    "settings",
    [
        dict(schedule="constant", warmup_steps=4),
        dict(schedule="step", decay=0.5, decay_after=1),
        dict(schedule="cosine", lr_floor=0.1),
        dict(schedule="plateau", decay=0.25, validate_every=3),
    ],
)
def test_each_update_is_the_gradient_times_the_scheduled_rate(settings):
    ids = (np.arange(200) * np.arange(1, 201) % 7).astype(np.int32)
    valid = np.ones(60, np.int32)  # a token missing from training: the loss keeps rising
    sizes = dict(batch_size=4, seq_len=6, epochs=2)
    config = TrainConfig(**sizes, lr=0.5, clip=0.0, optimizer="sgd", **settings)
    model = RNNModel("gru", 7, 5, (6,)).prepare([mx.cpu()], "uniform:0.5", 1)
    trainer = Trainer(model, config, ids, valid)
    parameters, rates, taken = list(model.parameters().values()), [], []

    def numbers(what):
        return np.concatenate([array.asnumpy().ravel() for array in map(what, parameters)])

    def watch(event, record):
        if event == "step":
            after, gradient = numbers(lambda p: p.data()), numbers(lambda p: p.grad())
            ratio = (before[-1] - after) @ gradient / (gradient @ gradient)
            taken.append(ratio * record["tokens"])
            before.append(after)
            horizon = len(trainer.batches), trainer.total_steps, trainer.progress.drops
            rates.append(learning_rate(config, record["step"] - 1, *horizon))

    before, trainer.callbacks = [numbers(lambda p: p.data())], [watch]
    trainer.fit()
    assert len(taken) == 2 * len(trainer.batches)
    assert len(set(rates)) > 1
    np.testing.assert_allclose(taken, rates, rtol=1e-3)


def test_plateau_starts_at_the_full_rate():
    config = TrainConfig(lr=1.0, schedule="plateau", decay=0.5)
    assert learning_rate(config, 5, 10, 60) == 1


def test_optimizer_arguments_are_numbers_and_booleans():
    assert parse_params("") == {}
    assert parse_params("centered=true, gamma1=0.5,wd=1e-6") == {
        "centered": True, "gamma1": 0.5, "wd": 1e-6
    }  # fmt: skip
    assert parse_params("centered=False") == {"centered": False}


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lamb"])
def test_weight_decay_is_decoupled_from_the_gradient(optimizer):
    one = dataclasses.replace(BASE, optimizer=optimizer, lr=0.1, max_steps=1)
    start, plain = weights(make_model()), weights(train(one))
    decayed = weights(train(dataclasses.replace(one, weight_decay=0.5)))
    if optimizer == "lamb":  # its step is scaled to the norm of the weight
        assert 0 < abs(decayed - plain).max() < 0.06 * abs(start).max()
    else:
        np.testing.assert_allclose(decayed, plain - 0.05 * start, atol=1e-6)


@pytest.mark.parametrize("loss_scale, scaled", [("mean", True), ("sum-over-time", False)])
def test_the_learning_rate_scales_with_random_segment_lengths(loss_scale, scaled):
    drawn = dict(random_seq_len=True, seq_len=8, loss_scale=loss_scale)
    trainer = Trainer(make_model(), dataclasses.replace(BASE, **drawn), IDS)
    rates, update = [], trainer.optimizer.update
    trainer.optimizer.update = lambda lr, divisor: (rates.append(lr), update(lr, divisor))
    trainer.fit()
    places = [divmod(step, len(trainer.batches)) for step in range(len(rates))]
    lengths = np.array([len(trainer.batches(*place)[0]) for place in places])
    assert len(set(lengths)) > 2
    np.testing.assert_allclose(rates, BASE.lr * (lengths / 8 if scaled else np.ones(len(lengths))))


def test_window_models_reject_random_segment_lengths():
    config = dataclasses.replace(BASE, random_seq_len=True)
    with pytest.raises(InputError, match="`random_seq_len`"):
        Trainer(make_model("window"), config, IDS)
