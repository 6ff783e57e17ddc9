"""The training loop: arithmetic compared with a plain loop, validation, devices, stopping."""

import dataclasses

import mxnet as mx
import numpy as np
import pytest
from conftest import PEAK, start
from mxnet import autograd, gluon, nd
from trainings import BASE, IDS, make_model, stop_after, train, weights

from gluonlm.batchify.slicing import get_batch, rnn_batch
from gluonlm.system.errors import InputError
from gluonlm.train.trainer import Trainer


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
    assert clipped > 3
    assert len(losses) == trainer.progress.step == 51
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(weights(trainer), weights(model), atol=3e-4)


@pytest.mark.parametrize("optimizer, loss_scale", [("sgd", "mean"), ("adam", "sum-over-time")])
@pytest.mark.parametrize("devices", [1, 2])
def test_ensemble_members_train_independently_except_for_clipping(optimizer, loss_scale, devices):
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


def test_the_host_synchronizes_once_per_step(monkeypatch):
    config = dataclasses.replace(BASE, kernels="mxnet")  # native kernels compute while it waits
    trainer, waits = Trainer(make_model(), config, IDS), []
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
    assert [state[0].shape[1] for state in two.replicas.state] == [2, 2]
    assert two.replicas.state[1][0].context == mx.cpu(1)
    with pytest.raises(InputError, match="`batch_size` 1"):
        Trainer(
            make_model(), dataclasses.replace(BASE, batch_size=1), IDS, ctx=[mx.cpu(0), mx.cpu(1)]
        )


def test_training_and_validation_windows_use_the_window_step():
    trainer = Trainer(make_model("window"), dataclasses.replace(BASE, window_step=3), IDS, IDS[:60])
    assert len(trainer.batches.targets) == (400 - 9 - 1) // 3 + 1
    assert len(trainer.valid_batches.targets) == (60 - 9 - 1) // 3 + 1


MEMORY = """
import gluonlm, mxnet as mx, numpy as np
from gluonlm.config import TrainConfig
from gluonlm.models import WindowModel
from gluonlm.train.trainer import Trainer
mx.nd.ones(9).asnumpy()
ids = np.random.default_rng(0).integers(0, 111, 2_605_450).astype(np.int32)
before = peak()
model = WindowModel(111, 64, 50).prepare([mx.cpu()])
config = TrainConfig(batch_size=32, window_step=10, max_steps=2, optimizer="sgd")
trainer = Trainer(model, config, ids)
assert len(trainer.batches.targets) == 260_540 and trainer.fit() == "steps"
print(peak() - before)
"""


def test_one_hot_windows_are_created_batch_by_batch():
    """The published arrays, (260539, 50, 111), would take 5.8 GB; the LSTM is small."""
    out, err = start("-c", PEAK + MEMORY).communicate()
    assert not err
    assert float(out) < 100


def test_validation_does_not_affect_training():
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
    assert steps == expected
    assert steps


def test_limits_stop_the_training():
    assert train().reason == "epochs"
    stopped = train(dataclasses.replace(BASE, max_steps=5))
    assert stopped.reason == "steps"
    assert stopped.progress.step == 5
    assert train(dataclasses.replace(BASE, max_minutes=1e-9)).progress.step == 1


def test_a_stop_request_takes_effect_after_the_current_step():
    saved = []
    trainer = Trainer(
        make_model(), BASE, IDS, save=lambda trainer, names: saved.append(trainer.progress.step)
    )
    trainer.callbacks = [stop_after(trainer, 4)]
    assert trainer.fit() == "interrupted"
    assert saved == [4]


def test_devices_without_a_window_in_the_last_batch_contribute_nothing():
    config = dataclasses.replace(BASE, batch_size=4, window_step=4)
    ids, many = IDS[: 9 + 4 * 5 + 1], [mx.cpu(i) for i in range(3)]  # batches of four and two
    one, several = (
        Trainer(make_model("window", ctx=ctx), config, ids, ctx=ctx) for ctx in ([mx.cpu()], many)
    )
    assert one.batches(0, 1)[0].shape == (9, 2)
    assert [trainer.fit() for trainer in (one, several)] == ["epochs", "epochs"]
    np.testing.assert_allclose(weights(several), weights(one), atol=1e-6)
