"""A training interrupted after any step resumes exactly."""

import dataclasses

import numpy as np
import pytest
from trainings import BASE, IDS, Clock, make_model, stop_after, train, weights

from gluonlm.system.errors import InputError
from gluonlm.train.trainer import Trainer


class Interrupted:
    """Train with a break after each given step; only arrays and record survive a break."""

    def __init__(self, config, kind, dropout, callbacks=()):
        self.callbacks = [*callbacks]
        self.make = lambda: Trainer(make_model(kind, dropout), config, IDS, IDS[:60])

    def run(self, breaks):
        kept = None
        while True:
            trainer = self.make()
            if kept:
                for parameter, value in zip(trainer.model.parameters().values(), kept[0]):
                    parameter.set_data(value)
                trainer.restore(*kept[1:])
            trainer.callbacks = [stop_after(trainer, breaks.pop(0) if breaks else None)]
            trainer.callbacks += self.callbacks
            if trainer.fit() != "interrupted":
                return trainer
            kept = (list(trainer.weights().values()), trainer.arrays(), trainer.progress_record())


@pytest.mark.parametrize(
    "kind, optimizer, schedule",
    [
        ("lstm", "adam", "cosine"),
        ("gru", "sgd", "plateau"),
        ("rnn", "rmsprop", "step"),
        ("unrolled", "adam", "constant"),
        ("lstm", "nag", "one-cycle"),
        ("gru", "nadam", "constant"),
        ("window", "adam", "cosine"),
        ("lstm variational", "adam", "cosine"),
        ("gru weight-drop", "adam", "cosine"),
        ("gru ensemble", "adam", "cosine"),
        ("gru adaptive", "adam", "cosine"),
        ("lstm regularised", "adam", "cosine"),
        ("mingru regularised", "adam", "cosine"),
        ("minlstm variational", "adam", "one-cycle"),
    ],
)
def test_an_interrupted_training_resumes_exactly(kind, optimizer, schedule):
    check_that_breaks_change_nothing(kind, optimizer, schedule)


@pytest.mark.parametrize("average", ["ema", "nt-asgd"])
@pytest.mark.parametrize("optimizer", ["adam", "nadam"])
def test_an_averaged_training_resumes_exactly(optimizer, average):
    settings = dict(average=average, average_decay=0.8, average_patience=1, random_seq_len=True)
    settings.update(seq_len=8, lr=0.3, validate_every=2)  # so that validation gets worse
    whole = check_that_breaks_change_nothing("gru", optimizer, "constant", **settings)
    assert whole.progress.averaged
    assert (weights(whole) != flat(whole.weights())).any()


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_a_horizon_by_time_resumes_exactly_by_the_same_clock(schedule, monkeypatch):
    config = dataclasses.replace(BASE, schedule=schedule, epochs=50, max_minutes=0.1, lr=0.3)
    ends = []
    for breaks in ([], [1, 2, 7, 16, 17, 18, 30]):
        clock = Clock(monkeypatch, lambda step: 0.1 + 0.07 * (step % 5))
        ends.append(Interrupted(config, "gru", 0.3, [clock]).run(breaks))
    whole, parts = ends
    assert whole.progress.step == 26
    assert (weights(whole) == weights(parts)).all()
    records = [trainer.progress_record() for trainer in (whole, parts)]
    assert records[0] == records[1]


def flat(arrays):
    return np.concatenate([array.ravel() for array in arrays.values()])


def check_that_breaks_change_nothing(kind, optimizer, schedule, **settings):
    """Check that breaks do not change a training; return the training without breaks."""
    params = "momentum=0.9" if optimizer in ("sgd", "nag") else ""
    config = dataclasses.replace(
        BASE,
        optimizer=optimizer,
        optimizer_params=params,
        schedule=schedule,
        weight_decay=0.01,
        decay_after=1,
        patience=30,
        validate_every=5,
        lr=0.02,
        warmup_steps=3,
        window_step=4,
    )
    config = dataclasses.replace(config, **settings)
    whole, parts = (
        Interrupted(config, kind, 0.3).run([]),
        Interrupted(config, kind, 0.3).run([1, 2, 7, 16, 17, 18, 30]),
    )
    assert (weights(whole) == weights(parts)).all()
    assert (flat(whole.weights()) == flat(parts.weights())).all()
    ours, theirs = dataclasses.asdict(whole.progress), dataclasses.asdict(parts.progress)
    for volatile in ("seconds", "log_seconds", "optimizer"):
        ours.pop(volatile), theirs.pop(volatile)
    assert ours == theirs
    return whole


def test_a_checkpoint_of_another_optimizer_or_device_count_is_refused():
    trainer = train()
    other = Trainer(make_model(), BASE, IDS)
    arrays = trainer.arrays()
    with pytest.raises(InputError, match=r"optimizer\.0\.1"):
        other.restore(
            {k: v for k, v in arrays.items() if k != "optimizer.0.1"}, trainer.progress_record()
        )
    with pytest.raises(InputError, match="surprise"):
        other.restore(arrays, {**trainer.progress_record(), "surprise": 1})


def test_a_state_that_is_not_a_number_is_refused():
    trainer = train()
    arrays, record = trainer.arrays(), trainer.progress_record()
    for change in (
        {"numbers": {"num_update": "3"}},
        {"numbers": {"num_update": -1}},
        {"counts": {"0": None}},
        {"counts": {"0": -1}},
        {"counts": {"99": 1}},
        {"counts": {"x": 1}},
    ):
        optimizer = {**record["optimizer"], **change}
        with pytest.raises(InputError, match="progress"):
            Trainer(make_model(), BASE, IDS).restore(arrays, {**record, "optimizer": optimizer})
    for change in (
        dict(step=-1),
        dict(tokens=10**400),
        dict(metrics_bytes=2**70),
        dict(step="1"),
        dict(best="low"),
        dict(optimizer=None),
        dict(seconds=None),
    ):
        (name,) = change
        with pytest.raises(InputError, match=f"progress.* {name} "):
            Trainer(make_model(), BASE, IDS).restore(arrays, {**record, **change})


def test_a_checkpoint_cannot_override_the_optimizers_settings():
    trainer, other = train(), Trainer(make_model(), BASE, IDS)
    record = trainer.progress_record()
    numbers = {**record["optimizer"]["numbers"], "beta2": 5.0, "wd": 1e300, "epsilon": -1.0}
    forged = {**record, "optimizer": {**record["optimizer"], "numbers": numbers}}
    other.restore(trainer.arrays(), forged)
    rule, fresh = vars(other.optimizer.rule), vars(Trainer(make_model(), BASE, IDS).optimizer.rule)
    assert [rule[n] for n in ("beta2", "wd", "epsilon")] == [
        fresh[n] for n in ("beta2", "wd", "epsilon")
    ]
    assert rule["num_update"] == trainer.optimizer.rule.num_update == trainer.progress.step
