"""The adaptive softmax is a distribution over all tokens, and computes only the clusters needed."""

import json

import mxnet as mx
import numpy as np
import pytest
from conftest import assert_refused
from mxnet import autograd, nd
from networks import E, N, T, random_ids, weights

from gluonlm.config import ModelConfig
from gluonlm.evaluate.scoring import score
from gluonlm.models import AdaptiveRNN, build_model
from gluonlm.run.load import load_model
from gluonlm.system.errors import InputError

V, CUTOFFS = 23, (5, 9)
IDS, TARGETS = (nd.array(random_ids(shape) * 2, dtype="int32") for shape in ((T, N), (T * N,)))


@pytest.fixture
def model():
    return AdaptiveRNN("lstm", V, E, (7, 17), CUTOFFS).prepare([mx.cpu()], "uniform:0.5", 3)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def expected(model, inputs):
    """Return every token's log-probability, from the weights and the hidden state."""
    w = weights(model)
    hidden = model.body(inputs, model.begin_state(N))[0].asnumpy().astype(np.float64)
    head = log_softmax(hidden @ w["decoder.head.weight"].T + w["decoder.head.bias"])
    parts = [head[:, : CUTOFFS[0]]]
    for tail in range(2):
        name = f"decoder.tails.{tail}"
        inside = hidden @ w[f"{name}.0.weight"].T @ w[f"{name}.1.weight"].T + w[f"{name}.1.bias"]
        parts.append(head[:, [CUTOFFS[0] + tail]] + log_softmax(inside))
    return np.hstack(parts)


def test_a_probability_is_the_clusters_times_the_tokens_inside_it(model):
    found, _ = model(IDS, model.begin_state(N))
    np.testing.assert_allclose(found.asnumpy(), expected(model, IDS), atol=2e-5)
    np.testing.assert_allclose(np.exp(found.asnumpy()).sum(axis=1), 1, atol=2e-5)


def test_losses_are_exact_with_only_the_needed_clusters(model):
    exact = -expected(model, IDS)[np.arange(T * N), TARGETS.asnumpy()]
    losses, state = model.losses(IDS, TARGETS, model.begin_state(N))
    np.testing.assert_allclose(losses, exact, atol=1e-6)
    trained, after = model.forward_backward(IDS, TARGETS, model.begin_state(N))
    np.testing.assert_allclose(trained.asnumpy(), exact, atol=1e-5)
    assert len(state) == len(after) > 0
    assert all((a.asnumpy() == b.asnumpy()).all() for a, b in zip(state, after))


@pytest.mark.parametrize("highest", [V, CUTOFFS[1], CUTOFFS[0]])
def test_gradients_equal_the_full_softmaxs_and_unused_tails_get_zero(model, highest):
    model.forward_backward(IDS, TARGETS, model.begin_state(N))  # leaves gradients in every tail
    targets = nd.array(TARGETS.asnumpy() % highest, dtype="int32")
    model.forward_backward(IDS, targets, model.begin_state(N))
    ours = {name: parameter.grad().asnumpy() for name, parameter in model.parameters().items()}
    with autograd.record():
        found, _ = model(IDS, model.begin_state(N))
        loss = -nd.pick(found, targets).sum()
    loss.backward()
    for name, parameter in model.parameters().items():
        np.testing.assert_allclose(ours[name], parameter.grad().asnumpy(), atol=2e-5, err_msg=name)
    assert (ours["decoder.tails.1.1.weight"] != 0).any() == (highest == V)


def test_the_stepper_gives_the_same_distribution(model):
    found, _ = model(IDS, model.begin_state(N))
    stepper = model.stepper(N)
    stepped = np.concatenate([stepper.step(row) for row in IDS.asnumpy()])
    np.testing.assert_allclose(stepped, found.asnumpy(), atol=2e-5)


@pytest.mark.parametrize("members", [1, 3])
def test_the_size_is_known_before_the_model_is_built(members):
    config = ModelConfig(
        model="gru", hidden_size=(17,), embed_size=6, members=members, adaptive_softmax=CUTOFFS
    )
    model = build_model(config, V)
    assert model.count_parameters() == config.count_parameters(V)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(adaptive_softmax=(5, 5)), "`adaptive_softmax` 5,5: "),
        (dict(adaptive_softmax=(5, 23)), "`adaptive_softmax` 5,23: .* 23$"),
        (
            dict(adaptive_softmax=(5,), tie_weights=True, embed_size=256),
            "`adaptive_softmax` .*`tie_weights`",
        ),
        (dict(adaptive_softmax=(5,), model="unrolled"), "`model` unrolled .*`adaptive_softmax`"),
    ],
)
def test_contradictory_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        build_model(ModelConfig(**settings), V)


def test_a_run_trains_scores_and_generates_but_cannot_be_exported(tmp_path, command):
    random, run = np.random.default_rng(0), tmp_path / "run"
    words = [f"w{rank}" for rank in range(60) for _ in range(600 // (rank + 1))]
    text = tmp_path / "text.txt"
    text.write_text(" ".join(random.permutation(words)))
    flags = "--level word --vocab-size 50 --hidden-size 16 --adaptive-softmax 8,20 --max-steps 5"
    train = ["--data", text, *flags.split(), "--batch-size", "4", "--seq-len", "8", "--run", run]
    command("train", *train)
    model, checkpoint = load_model(run)
    ids = random.integers(0, len(checkpoint.vocab), 200).astype(np.int32)
    pieces = [score(model, ids, seq_len=length) for length in (7, 1000)]
    np.testing.assert_allclose(*pieces, atol=1e-5)
    code, out, err = command("evaluate", run, "--data", text, "--json")
    assert code == 0, err
    assert json.loads(out)["tokens"] > 0, err
    code, out, _ = command("generate", run, "--length", "5", "--prompt", "w1")
    assert code == 0
    assert len(out.split()) >= 5
    assert_refused(
        command("export", run, "--format", "torch", "--out", tmp_path / "out"), "adaptive softmax"
    )
