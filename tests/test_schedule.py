"""Learning rates, optimizers and seeds."""

import dataclasses

import mxnet as mx
import numpy as np
import pytest
from trainings import BASE, IDS, Clock, make_model, train, weights

from gluonlm.config import Config, TrainConfig
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


SPEEDS = {
    "constant": lambda step: 0.25,
    "half as fast after 200 steps": lambda step: 0.1 if step <= 200 else 0.2,
    "five times as fast after 40 steps": lambda step: 1.0 if step <= 40 else 0.2,
    "a long validation every 17 steps": lambda step: 2.0 if step % 17 == 0 else 0.1,
    "a slow first step": lambda step: 10.0 if step == 1 else 0.2,
}


def timed(monkeypatch, seconds, **settings):
    """Train for a minute by a fake clock; return the trainer, and the rate of each step."""
    given = dict(epochs=100, max_minutes=1.0, lr=1.0, lr_floor=0.01, optimizer="sgd", clip=1e-3)
    config = dataclasses.replace(BASE, **{**given, "schedule": "cosine", **settings})
    clock = Clock(monkeypatch, seconds)
    trainer, rates = Trainer(make_model(), config, IDS, callbacks=[clock]), []
    update = trainer.optimizer.update
    trainer.optimizer.update = lambda lr, divisor: (rates.append(lr), update(lr, divisor))
    trainer.reason = trainer.fit()
    return trainer, rates


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
@pytest.mark.parametrize("seconds", SPEEDS.values(), ids=SPEEDS)
def test_the_rate_reaches_the_floor_when_the_time_is_over(schedule, seconds, monkeypatch):
    trainer, rates = timed(monkeypatch, seconds, schedule=schedule)
    assert trainer.reason == "minutes"
    assert trainer.progress.step < trainer.total_steps / 2
    assert max(rates) > 0.95
    assert 0.01 <= rates[-1] < 0.02
    if schedule == "cosine":  # the rate follows the fraction of the time that is over
        ends = np.cumsum([seconds(step) for step in range(1, len(rates) + 1)])
        (half,) = np.flatnonzero((ends[:-1] < 30) & (ends[1:] >= 30))
        assert rates[half + 1] == pytest.approx(0.505, abs=0.06)


def test_a_horizon_of_steps_ignores_the_time(monkeypatch):
    _, rates = timed(monkeypatch, SPEEDS["constant"], horizon="steps")
    assert rates[-1] > 0.8


@pytest.mark.parametrize("limit", [dict(max_steps=100), dict(epochs=6)])
def test_an_earlier_limit_of_steps_is_the_horizon(limit, monkeypatch):
    trainer, rates = timed(monkeypatch, SPEEDS["constant"], **limit)
    assert trainer.reason in ("steps", "epochs")
    assert rates == [
        learning_rate(trainer.config, step, 17, trainer.total_steps) for step in range(len(rates))
    ]


def test_the_speed_is_measured_after_each_hundredth_of_the_time(monkeypatch):
    seen = []
    clock = Clock(monkeypatch, lambda step: 0.3 if step < 10 else 0.15)
    config = dataclasses.replace(BASE, epochs=100, max_minutes=1.0)
    trainer = Trainer(make_model(), config, IDS, callbacks=[clock])
    trainer.callbacks.append(
        lambda event, record: event == "step" and seen.append(trainer.progress.steps_per_second)
    )
    trainer.fit()
    # 0.6 s have passed after every second step, then after every fourth
    assert seen[:2] == [0, 0]
    assert seen[2:4] == pytest.approx([2 / 0.6] * 2)
    assert len(set(seen)) <= 101
    assert seen[-1] == pytest.approx(trainer.progress.step / trainer.progress.seconds, rel=0.01)


def test_runs_begun_before_the_horizon_followed_the_time_keep_their_schedule():
    kept = Config.from_kept({"max_minutes": 1.0, "epochs": 100, "lr": 1.0}).training
    config = dataclasses.replace(kept, batch_size=4, seq_len=6)
    before, after = (Trainer(make_model(), config, IDS) for _ in range(2))
    record = {**before.progress_record(), "step": 850, "seconds": 59.0}
    del record["steps_per_second"]
    after.restore(before.arrays(), record)
    after.progress.spend(0.9, 1.0)
    assert after.expected_steps == pytest.approx(851, abs=1)
    assert after.lr == learning_rate(config, 850, 17, 1700) > 0.5


def test_a_longer_time_on_resume_moves_the_horizon_at_once(monkeypatch):
    ended, rates = timed(monkeypatch, SPEEDS["constant"])
    config = dataclasses.replace(ended.config, max_minutes=2.0)
    trainer = Trainer(make_model(), config, IDS)
    trainer.restore(ended.arrays(), ended.progress_record())
    assert trainer.lr == pytest.approx(0.505, abs=0.01)
    assert trainer.expected_steps == pytest.approx(2 * len(rates), abs=2)
