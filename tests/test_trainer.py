"""The training loop: its arithmetic against a plain loop, schedules, validation, stopping, and going on exactly."""

import dataclasses

import mxnet as mx
import numpy as np
import pytest
from conftest import start
from mxnet import autograd, gluon, nd

from gluonlm.batchify import get_batch, rnn_batch
from gluonlm.callbacks import draw_curve
from gluonlm.config import TrainConfig
from gluonlm.errors import InputError
from gluonlm.models import Ensemble, RNNModel, UnrolledRNN, WindowModel
from gluonlm.trainer import Diverged, Trainer, derive_seed, learning_rate

IDS = (np.arange(400) * np.arange(1, 401) % 7).astype(np.int32)
BASE = TrainConfig(
    batch_size=4, seq_len=6, epochs=2, lr=0.05, schedule="constant", clip=0.1, seed=3
)


def make_model(kind="lstm", dropout=0.0, ctx=None):
    if kind == "unrolled":
        model = UnrolledRNN(7, 5, 6, dropout=dropout)
    elif kind == "window":
        model = WindowModel(7, 6, 9, "real", dropout=dropout)
    elif "weight-drop" in kind:
        model = RNNModel(kind.split()[0], 7, 5, (6, 4), weight_drop=dropout)
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


@pytest.mark.parametrize(
    "optimizer, loss_scale", [("sgd", "mean"), ("adam", "mean"), ("sgd", "sum-over-time")]
)
def test_steps_equal_a_plain_gluon_loop(optimizer, loss_scale):
    config = dataclasses.replace(
        BASE,
        optimizer=optimizer,
        loss_scale=loss_scale,
        lr=0.05 if optimizer == "adam" else 0.5,
        epochs=3,
    )
    losses = []
    trainer = train(
        config,
        callbacks=[
            lambda event, record: losses.append(record["loss"]) if event == "step" else None
        ],
    )

    model, columns = make_model(), rnn_batch(nd.array(IDS, dtype="int32"), 4)
    plain = gluon.Trainer(model.collect_params(), optimizer, {"learning_rate": config.lr})
    loss_of, expected, clipped = gluon.loss.SoftmaxCrossEntropyLoss(), [], 0
    for _ in range(config.epochs):
        state = model.begin_state(4)
        for i in range(0, len(columns) - 1, 6):
            inputs, targets = get_batch(columns, i, 6)
            state = [array.detach() for array in state]
            with autograd.record():
                logits, state = model(inputs, state)
                loss = loss_of(logits, targets).mean() * (
                    1 if loss_scale == "mean" else len(inputs)
                )
            loss.backward()
            norm = gluon.utils.clip_global_norm(
                [p.grad() for p in model.collect_params().values()], config.clip
            )
            clipped += norm > config.clip
            plain.step(1)
            expected.append(float(loss.asscalar()) / (1 if loss_scale == "mean" else len(inputs)))
    assert clipped > 3 and len(losses) == trainer.progress.step == 51
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(weights(trainer), weights(model), atol=3e-4)


@pytest.mark.parametrize("optimizer, loss_scale", [("sgd", "mean"), ("adam", "sum-over-time")])
@pytest.mark.parametrize("devices", [1, 2])
def test_each_network_of_an_ensemble_is_trained_as_if_alone_but_for_clipping(
    optimizer, loss_scale, devices
):
    config = dataclasses.replace(BASE, optimizer=optimizer, loss_scale=loss_scale, lr=0.05, clip=0)
    ctx, records = [mx.cpu(i) for i in range(devices)], {}
    ensemble = Trainer(make_model("lstm ensemble", ctx=ctx), config, IDS, ctx=ctx)
    alone = [Trainer(make_model(ctx=ctx), config, IDS, ctx=ctx) for _ in range(2)]
    for network, trainer in zip(ensemble.model.networks, alone):
        for ours, theirs in zip(network.parameters().values(), trainer.model.parameters().values()):
            theirs.set_data(ours.data(ctx[0]))
    for number, trainer in enumerate([ensemble, *alone]):
        trainer.callbacks = [
            lambda event, record, n=number: (
                event == "step" and records.setdefault(n, []).append(record)
            )
        ]
        trainer.fit()
    np.testing.assert_allclose(
        weights(ensemble), np.concatenate([weights(trainer) for trainer in alone]), atol=1e-5
    )
    for whole, first, second in zip(*records.values()):
        assert whole["loss"] == pytest.approx((first["loss"] + second["loss"]) / 2, rel=1e-4)
        assert whole["grad_norm"] == pytest.approx(
            np.hypot(first["grad_norm"], second["grad_norm"]) / 2**0.5, rel=1e-3
        )


def test_the_host_waits_once_a_step(monkeypatch):
    trainer, waits = Trainer(make_model(), BASE, IDS), []
    for name in ("asnumpy", "wait_to_read", "_sync_copyfrom"):
        original = getattr(nd.NDArray, name)
        monkeypatch.setattr(
            nd.NDArray,
            name,
            lambda self, *args, _f=original, _n=name: (waits.append(_n), _f(self, *args))[1],
        )
    trainer._step()  # creates the optimizer's arrays
    waits.clear()
    trainer._step()
    assert waits == ["asnumpy"]


def test_several_devices_share_a_batch_and_agree_with_one():
    one, two = train(), train(ctx=[mx.cpu(0), mx.cpu(1)])
    np.testing.assert_allclose(weights(one), weights(two), atol=1e-5)
    assert [state[0].shape[1] for state in two.state] == [2, 2] and two.state[1][
        0
    ].context == mx.cpu(1)
    with pytest.raises(InputError, match="--batch-size 1"):
        Trainer(
            make_model(), dataclasses.replace(BASE, batch_size=1), IDS, ctx=[mx.cpu(0), mx.cpu(1)]
        )


def test_windows_come_at_the_step_that_was_asked_for_in_training_and_validation():
    trainer = Trainer(make_model("window"), dataclasses.replace(BASE, window_step=3), IDS, IDS[:60])
    assert (
        len(trainer.batches.targets) == (400 - 9 - 1) // 3 + 1
        and len(trainer.valid_batches.targets) == (60 - 9 - 1) // 3 + 1
    )


@pytest.mark.parametrize("level, top", [("char", 1.4 * 2 / np.log(2)), ("word", 1.4 * np.exp(2))])
def test_the_curve_is_not_flattened_by_the_loss_of_the_first_steps(level, top, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig",
        lambda figure, *args, **kwargs: drawn.append(figure.axes[0]),
    )
    losses = [("training", 9.0), ("validation", 2.0), ("training", 1.5), ("validation", 1.75)]
    draw_curve(
        [
            dict(event=event, epoch=i / 2, train_loss=loss, valid_loss=loss)
            for i, (event, loss) in enumerate(losses)
        ],
        level,
    )
    bottom, highest = drawn[0].get_ylim()
    assert (
        highest == pytest.approx(top)
        and (bottom > 0 or level == "char")
        and drawn[0].get_yscale() == ("linear" if level == "char" else "log")
    )


MEMORY = """
import resource
import gluonlm, mxnet as mx, numpy as np
from gluonlm.config import TrainConfig
from gluonlm.models import WindowModel
from gluonlm.trainer import Trainer
mx.nd.ones(9).asnumpy()
ids = np.random.default_rng(0).integers(0, 111, 2_605_450).astype(np.int32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = WindowModel(111, 64, 50).prepare([mx.cpu()])
trainer = Trainer(model, TrainConfig(batch_size=32, window_step=10, max_steps=2, optimizer="sgd"), ids)
assert len(trainer.batches.targets) == 260_540 and trainer.fit() == "steps"
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_one_hot_windows_of_a_whole_text_are_never_there_at_once():
    """The published arrays, (260539, 50, 111) and their labels, would take 5.8 GB. The LSTM is small here: it is not what is measured."""
    out, err = start("-c", MEMORY).communicate()
    assert not err and float(out) < 100


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
    assert (
        learning_rate(TrainConfig(lr=1.0, schedule="plateau", decay=0.5), 5, 10, 60, drops=2)
        == 0.25
    )


def test_plateau_lowers_the_rate_and_patience_ends():
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
    assert trainer.reason == "patience" and [r["best"] for r in records] == [True] + [False] * 5
    assert trainer.progress.best_step == 2 and trainer.progress.drops == 2
    assert records[-1]["lr"] == pytest.approx(1e-32)


def test_validation_leaves_the_training_untouched():
    assert (
        weights(train(dropout=0.4))
        == weights(train(dataclasses.replace(BASE, validate_every=1), dropout=0.4, valid=IDS[:60]))
    ).all()


def test_the_best_validation_is_saved_as_best():
    saved, losses = [], []
    config = dataclasses.replace(
        BASE, epochs=6, lr=0.6, clip=0.0, optimizer="sgd", checkpoint_every=1000
    )
    train(
        config,
        valid=IDS[50:120],
        save=lambda trainer, names: saved.append((trainer.progress.step, "best" in names)),
        callbacks=[
            lambda event, record: (
                losses.append((record["valid_loss"], record["step"]))
                if event == "validation"
                else None
            )
        ],
    )
    steps = [step for step, best in saved if best]
    expected = [
        step
        for i, (loss, step) in enumerate(losses)
        if all(loss < before for before, _ in losses[:i])
    ]
    assert steps == expected and steps


def test_limits_end_the_training():
    assert train().reason == "epochs"
    stopped = train(dataclasses.replace(BASE, max_steps=5))
    assert stopped.reason == "steps" and stopped.progress.step == 5
    assert train(dataclasses.replace(BASE, max_minutes=1e-9)).progress.step == 1


def test_a_request_to_stop_is_met_after_the_step_at_hand():
    saved = []
    trainer = Trainer(
        make_model(), BASE, IDS, save=lambda trainer, names: saved.append(trainer.progress.step)
    )
    trainer.callbacks = [stop_after(trainer, 4)]
    assert trainer.fit() == "interrupted" and saved == [4]


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_nan_never_reaches_the_weights(policy):
    trainer = Trainer(make_model(), dataclasses.replace(BASE, on_nan=policy), IDS)
    before = []

    def poison(event, record):
        if event == "step" and record["step"] == 3:
            before.append(weights(trainer))
            trainer.state[0][0][:] = np.nan
        if event == "step" and record["step"] == 4:
            before.append(weights(trainer))

    trainer.callbacks = [poison]
    if policy == "stop":
        with pytest.raises(Diverged, match="step 4"):
            trainer.fit()
        before.append(weights(trainer))
    else:
        trainer.fit()
        assert (
            trainer.progress.skipped == 1
            and np.isfinite(weights(trainer)).all()
            and (weights(trainer) != before[1]).any()
        )
    assert (before[0] == before[1]).all()


def test_a_rising_loss_stops_the_training():
    with pytest.raises(Diverged, match="risen"):
        train(dataclasses.replace(BASE, lr=1e3, clip=0.0, epochs=50, optimizer="sgd"))


def stop_after(trainer, step):
    return lambda event, record: (
        trainer.stop("interrupted") if event == "step" and record["step"] == step else None
    )


class Interrupted:
    """Trains with a break after each of some steps: all that is kept are the arrays and the record."""

    def __init__(self, config, kind, dropout):
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
            if trainer.fit() != "interrupted":
                return trainer
            kept = (
                [p.data().asnumpy() for p in trainer.model.parameters().values()],
                trainer.arrays(),
                trainer.progress_record(),
            )


@pytest.mark.parametrize(
    "kind, optimizer, schedule",
    [
        ("lstm", "adam", "cosine"),
        ("gru", "sgd", "plateau"),
        ("rnn", "rmsprop", "step"),
        ("unrolled", "adam", "constant"),
        ("lstm", "nag", "cosine"),
        ("gru", "nadam", "constant"),
        ("window", "adam", "cosine"),
        ("lstm variational", "adam", "cosine"),
        ("gru weight-drop", "adam", "cosine"),
        ("gru ensemble", "adam", "cosine"),
    ],
)
def test_interrupted_training_goes_on_exactly(kind, optimizer, schedule):
    params = "momentum=0.9" if optimizer in ("sgd", "nag") else ""
    config = dataclasses.replace(
        BASE,
        optimizer=optimizer,
        optimizer_params=params,
        schedule=schedule,
        decay_after=1,
        patience=30,
        validate_every=5,
        lr=0.02,
        warmup_steps=3,
        window_step=4,
    )
    whole, parts = (
        Interrupted(config, kind, 0.3).run([]),
        Interrupted(config, kind, 0.3).run([1, 2, 7, 16, 17, 18, 30]),
    )
    assert (weights(whole) == weights(parts)).all()
    ours, theirs = dataclasses.asdict(whole.progress), dataclasses.asdict(parts.progress)
    for volatile in ("seconds", "log_seconds", "optimizer"):
        ours.pop(volatile), theirs.pop(volatile)
    assert ours == theirs


def test_a_checkpoint_of_another_optimizer_or_device_count_is_refused():
    trainer = train()
    other = Trainer(make_model(), BASE, IDS)
    arrays = trainer.arrays()
    with pytest.raises(InputError, match=r"optimizer.0.1 is missing"):
        other.restore(
            {k: v for k, v in arrays.items() if k != "optimizer.0.1"}, trainer.progress_record()
        )
    with pytest.raises(InputError, match="progress"):
        other.restore(arrays, {**trainer.progress_record(), "surprise": 1})


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(optimizer="magic"), "Gluon knows ada"),
        (dict(optimizer_params="momentum=fast"), "name=number"),
        (dict(optimizer="sgd", optimizer_params="speed=3"), "speed"),
        (dict(optimizer_params="wd=inf"), "name=number"),
        (dict(optimizer_params="param_dict=1"), "name=number"),
        (dict(batch_size=500), "cannot cut 400 tokens"),
        (dict(batch_size=400), "one row"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Trainer(make_model(), dataclasses.replace(BASE, **settings), IDS)


def test_derived_seeds_are_apart_and_fit_mxnet():
    seeds = {derive_seed(1, "step", step) for step in range(1000)}
    assert len(seeds) == 1000 and all(0 <= seed < 2**31 for seed in seeds)


def test_steps_that_are_never_finite_end_the_training_in_the_end():
    model = make_model()
    model.decoder.bias.set_data(nd.full(7, np.nan))
    trainer = Trainer(model, dataclasses.replace(BASE, on_nan="skip", epochs=50), IDS)
    with pytest.raises(Diverged, match="100 steps in a row"):
        trainer.fit()
    assert trainer.progress.skipped == 100
