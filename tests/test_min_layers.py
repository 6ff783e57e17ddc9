"""minGRU and minLSTM, compared with their equations, one step at a time."""

import numpy as np
import pytest
from conftest import assert_refused
from mxnet import autograd, nd
from networks import V, make, random_ids
from runs import assert_same_end

from gluonlm import models
from gluonlm.config import ModelConfig
from gluonlm.models import RNNModel, build_model
from gluonlm.system.errors import InputError

LAYERS = {"mingru": models.MinGRU, "minlstm": models.MinLSTM}
C, N = 3, 2


def sigmoid(x):
    return 0.5 + 0.5 * np.tanh(x / 2)


def shares(kind, gates):
    """Return z, and its derivatives with respect to the gates."""
    if kind == "mingru":
        (z,) = map(sigmoid, gates)
        return z, [z * sigmoid(-gates[0])]
    i, f = gates
    z = sigmoid(np.logaddexp(0, -f) - np.logaddexp(0, -i))
    return z, [z * (1 - z) * sigmoid(-i), -z * (1 - z) * sigmoid(-f)]


def reference(kind, x, h, weight):
    """Return outputs, and the gradients of x and h for the sum of outputs times weight."""
    *gates, new = np.split(x, x.shape[-1] // C, axis=-1)
    z, slopes = shares(kind, gates)
    g = np.where(new >= 0, new + 0.5, sigmoid(new))
    states = [h]
    for t in range(len(x)):
        states.append((1 - z[t]) * states[-1] + z[t] * g[t])
    gradient, dx = np.zeros_like(h), np.empty_like(x)
    for t in reversed(range(len(x))):
        gradient = gradient + weight[t]
        parts = [gradient * (g[t] - states[t]) * slope[t] for slope in slopes]
        parts.append(gradient * z[t] * np.where(new[t] >= 0, 1, g[t] * (1 - g[t])))
        dx[t] = np.concatenate(parts, axis=-1)
        gradient = gradient * (1 - z[t])
    return np.stack(states[1:]), dx, gradient


def plain(kind):
    """Return a layer whose products are its inputs."""
    size = LAYERS[kind]._gates * C
    layer = LAYERS[kind](C, size)
    layer.initialize()
    layer.i2h_weight.set_data(nd.eye(size))
    return layer


def example(kind, steps, scale, carried, seed=0):
    """Return inputs, a state and weights of the outputs as float32."""
    random = np.random.default_rng(seed)
    x = random.normal(0, scale, (steps, N, LAYERS[kind]._gates * C))
    h = random.normal(size=(1, N, C)) if carried else np.zeros((1, N, C))
    return [a.astype(np.float32) for a in (x, h, random.normal(size=(steps, N, C)))]


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("scale", [1, 30, 300])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_scan_equals_the_equations_one_step_at_a_time(kind, scale, carried, hybrid):
    layer = plain(kind)
    if hybrid:
        layer.hybridize(static_alloc=True, static_shape=True)
    for steps in (1, 2, 5, 64, 3):  # the last has a scan that is longer than the text
        x, h, weight = example(kind, steps, scale, carried)
        expected = reference(kind, *(a.astype(np.float64) for a in (x, h[0], weight)))
        arrays = nd.array(x), nd.array(h)
        for array in arrays:
            array.attach_grad()
        with autograd.record():
            outputs, (state,) = layer(arrays[0], [arrays[1]])
            (outputs * nd.array(weight)).sum().backward()
        found = [outputs, arrays[0].grad, arrays[1].grad[0]]
        for got, want in zip(found, expected):
            np.testing.assert_allclose(got.asnumpy(), want, rtol=1e-4, atol=2e-6 * scale)
        np.testing.assert_array_equal(state.asnumpy()[0], outputs.asnumpy()[-1])
        cell, stepped, current = layer.cell(), [], [h[0]]
        for row in x:
            current = cell(row, current)
            stepped.append(current[0])
        np.testing.assert_allclose(np.stack(stepped), expected[0], rtol=1e-5, atol=1e-6 * scale)
        assert stepped[0].dtype == np.float32


@pytest.mark.parametrize("kind", LAYERS)
def test_a_longer_scan_than_necessary_changes_no_bit(kind):
    x, h, _ = map(nd.array, example(kind, 9, 2, True))
    layer = plain(kind)
    before, _ = layer(x, [h])
    assert layer.levels == 4
    assert layer.cover(1000)
    assert not layer.cover(1000)
    np.testing.assert_array_equal(before.asnumpy(), layer(x, [h])[0].asnumpy())


@pytest.mark.parametrize("kind", LAYERS)
def test_a_text_in_parts_equals_the_text(kind):
    x, h, _ = map(nd.array, example(kind, 12, 2, True))
    layer = plain(kind)
    expected, end = layer(x, [h])
    parts, state = [], [h]
    for first, last in ((0, 5), (5, 6), (6, 12)):
        out, state = layer(x[first:last], state)
        parts.append(out)
    np.testing.assert_allclose(nd.concat(*parts, dim=0).asnumpy(), expected.asnumpy(), atol=1e-6)
    np.testing.assert_allclose(state[0].asnumpy(), end[0].asnumpy(), atol=1e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_equal_terms_share_the_gradient(kind):
    """Products of 0, as of dropped tokens, where maxima and absolute values have corners."""
    x, h, weight = (np.zeros_like(a) for a in example(kind, 8, 1, False))
    weight += 1
    array, layer = nd.array(x), plain(kind)
    array.attach_grad()
    with autograd.record():
        layer(array).sum().backward()
    expected = reference(kind, x, h[0], weight)[1]
    np.testing.assert_allclose(array.grad.asnumpy(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_number_that_is_not_finite_reaches_the_outputs(kind):
    for place in range(LAYERS[kind]._gates):
        layer, x = plain(kind), nd.zeros((4, N, LAYERS[kind]._gates * C))
        bias = np.zeros(LAYERS[kind]._gates * C)
        bias[place * C] = np.nan
        layer.i2h_bias.set_data(nd.array(bias))
        found = np.isnan(layer(x).asnumpy())
        assert found[:, :, 0].all()
        assert not found[:, :, 1:].any()


@pytest.mark.parametrize("kind", LAYERS)
def test_segments_of_any_length_have_the_logits_of_one(kind):
    model, ids = make(kind, (7, 5)), random_ids((40, N))
    expected = model(ids, model.begin_state(N))[0].asnumpy()
    for first in (1, 7, 33):
        model = make(kind, (7, 5))
        before, state = model(ids[:first], model.begin_state(N))
        after, _ = model(ids[first:], state)
        both = np.concatenate([before.asnumpy(), after.asnumpy()])
        np.testing.assert_allclose(both, expected, atol=1e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_parameters_are_counted_without_building_the_network(kind):
    for settings in (
        dict(hidden_size=(7, 5)),
        dict(hidden_size=(6,), embed_size=6, tie_weights=True, members=3),
        dict(hidden_size=(17,), adaptive_softmax=(5, 9)),
    ):
        config = ModelConfig(model=kind, **settings)
        model = build_model(config, 23).prepare()
        assert model.count_parameters() == config.count_parameters(23)


NOISE = "--embed-dropout 0.2 --word-dropout 0.1 --variational --activation-reg 2 --temporal-reg 1"


def test_a_run_with_every_setting_resumes_and_works_in_every_command(text_file, tmp_path, command):
    flags = f"--model mingru --hidden-size 8 --embed-size 8 --tie-weights --members 2 {NOISE} "
    flags += "--num-layers 2 --random-seq-len --seq-len 20 --batch-size 4 --schedule constant "
    flags += "--document-separator \\n --average ema --quiet --max-steps"
    whole, parts, better = (tmp_path / name for name in ("whole", "parts", "better"))
    train = ("train", "--data", text_file, *flags.split())
    assert command(*train, 9, "--run", whole)[0] == 0
    assert command(*train, 4, "--run", parts)[0] == 0
    assert command("train", "--resume", parts, "--max-steps", 9, "--quiet")[0] == 0
    assert_same_end(parts, whole)
    tuned = ("--init-from", whole, "--freeze", "1", "--run", better)
    assert command(*train, 3, *tuned)[0] == 0
    assert command("evaluate", better, "--data", text_file)[0] == 0
    assert command("evaluate", better, "--data", text_file, "--dynamic", "sgd")[0] == 0
    assert command("generate", better, "--length", 9, "--beam", 2)[0] == 0
    for form in ("onnx", "torch", "html"):
        out = tmp_path / f"{form}.{form}"
        assert command("export", better, "--format", form, "--out", out)[0] == 0


@pytest.mark.parametrize("kind", LAYERS)
def test_weight_drop_is_refused_because_there_are_no_such_weights(
    kind, text_file, tmp_path, command
):
    with pytest.raises(InputError, match=r"`weight_drop` 0.5: .* no recurrent weights"):
        RNNModel(kind, V, 4, (5,), weight_drop=0.5)
    run = tmp_path / "run"
    flags = ("--data", text_file, "--run", run, "--model", kind, "--weight-drop", 0.3)
    assert_refused(command("train", *flags), "--weight-drop 0.3", kind)
    assert not run.exists()
    for sizes in ((0, 3), (3, 0), (2.5, 3)):
        with pytest.raises(InputError):
            LAYERS[kind](*sizes)
