"""Every supported optimizer clips as documented and resumes exactly; others are rejected."""

import dataclasses

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd
from test_exact_resume import Interrupted
from trainings import BASE, IDS, make_model, train, weights

from gluonlm.batchify.slicing import get_batch, rnn_batch
from gluonlm.system.seeds import derive_seed
from gluonlm.train.optimizer import SUPPORTED, UNSUPPORTED, Optimizer


@pytest.mark.parametrize("optimizer", SUPPORTED)
def test_every_optimizer_resumes_exactly(optimizer):
    config = dataclasses.replace(BASE, optimizer=optimizer, lr=0.02, validate_every=5, epochs=1)
    whole = Interrupted(config, "lstm", 0.3).run([])
    parts = Interrupted(config, "lstm", 0.3).run([1, 2, 7, 16])
    assert np.isfinite(weights(whole)).all()
    assert (weights(whole) == weights(parts)).all()


@pytest.mark.parametrize("optimizer", SUPPORTED)
def test_clipping_inside_the_update_equals_clipping_the_gradients(optimizer):
    config = dataclasses.replace(BASE, optimizer=optimizer, lr=0.02, clip=0.05, epochs=1)
    ours, model = train(config), make_model()
    parameters = model.collect_params()
    plain = gluon.Trainer(parameters, optimizer, {"learning_rate": config.lr})
    loss_of, clipped, state = gluon.loss.SoftmaxCrossEntropyLoss(), 0, model.begin_state(4)
    streams = rnn_batch(nd.array(IDS, dtype="int32"), 4)
    for step, row in enumerate(range(0, len(streams) - 1, 6)):
        inputs, targets = get_batch(streams, row, 6)
        mx.random.seed(derive_seed(config.seed, "step", step))  # sgld draws noise
        with autograd.record():
            logits, state = model(inputs, [array.detach() for array in state])
            loss = loss_of(logits, targets).mean()
        loss.backward()
        gradients = [parameter.grad() for parameter in parameters.values()]
        clipped += gluon.utils.clip_global_norm(gradients, config.clip) > config.clip
        plain.step(1)
    moved = abs(weights(model) - weights(make_model())).max()
    assert clipped > 10
    assert moved > 0
    assert abs(weights(ours) - weights(model)).max() < 1e-3 * moved


@pytest.mark.parametrize("factor", [1e36, 1e39, 1e300])
def test_a_step_is_finite_for_any_clip_divisor(factor, monkeypatch):
    def far(self, lr, divisor, real=Optimizer.update):
        real(self, lr, divisor * factor)

    monkeypatch.setattr(Optimizer, "update", far)
    moved = weights(train(dataclasses.replace(BASE, epochs=1))) - weights(make_model())
    assert np.isfinite(moved).all()
    assert abs(moved).max() < 1e-6


def test_every_mxnet_optimizer_is_supported_or_rejected():
    aliases = {"ccsgd", "test"}  # a variant of sgd; MXNet's test optimizer
    registry = mx.optimizer.Optimizer.opt_registry
    names = {name for name, kind in registry.items() if kind.__module__.startswith("mxnet.")}
    assert names == {*SUPPORTED, *UNSUPPORTED, *aliases}
