"""Dynamic evaluation predicts before it learns and can be reset; the cache sums over the past."""

import json
import types

import numpy as np
import pytest
from conftest import assert_refused
from mxnet import nd
from trainings import IDS, make_model, train, weights

from gluonlm.config import TrainConfig
from gluonlm.evaluate import cache
from gluonlm.evaluate.cache import Cached, CacheSettings, recalled, tune_cache, with_cache
from gluonlm.evaluate.dynamic import Dynamic, DynamicSettings, squared_gradients, trace, tune
from gluonlm.evaluate.scoring import score
from gluonlm.system.errors import InputError

KINDS = ("lstm", "gru ensemble", "gru adaptive", "gru weight-drop", "minlstm", "unrolled", "window")


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_learning_rate_the_score_is_static_with_and_without_dropout(kind):
    model = make_model(kind, 0.5)
    static, before = score(model, IDS), weights(model)
    dynamic = Dynamic(model, DynamicSettings(lr=0.0, seq_len=16))
    np.testing.assert_allclose(dynamic.score_text(IDS), static, atol=1e-5)
    assert (weights(model) == before).all()


@pytest.mark.parametrize("kind", KINDS)
def test_repetition_is_learnt_and_can_be_forgotten(kind):
    model = make_model(kind, 0.5)
    static, before = score(model, IDS), weights(model)
    dynamic = Dynamic(model, DynamicSettings(lr=0.3, seq_len=16))
    found = dynamic.score_text(IDS)
    assert found.shape == static.shape
    assert found.mean() < static.mean() - 0.01
    assert (dynamic.score_text(IDS) == found).all()  # starts from the trained weights again
    assert (weights(model) != before).any()
    dynamic.forget()
    assert (weights(model) == before).all()


def test_tokens_are_predicted_before_they_are_learnt():
    dynamic = Dynamic(make_model("lstm"), DynamicSettings(lr=0.5, seq_len=16))
    found = dynamic.score_text(IDS)
    np.testing.assert_allclose(found[:16], score(make_model("lstm"), IDS)[:16], atol=1e-6)
    changed = IDS.copy()
    changed[200:] = 6 - changed[200:]
    assert (dynamic.score_text(changed)[:199] == found[:199]).all()


def test_dynamic_evaluation_ignores_regularisation():
    regularised, plain = make_model("lstm regularised", 0.5), make_model("lstm")
    plain.load_arrays(regularised.arrays())
    found = [
        Dynamic(m, DynamicSettings(lr=0.3, seq_len=16)).score_text(IDS)
        for m in (regularised, plain)
    ]
    np.testing.assert_allclose(*found, atol=1e-5)
    np.testing.assert_allclose(weights(regularised), weights(plain), atol=1e-5)


def first_step(settings, squares=None):
    """Return the weights before and after the first segment, and its mean gradient."""
    model, other = make_model("lstm"), make_model("lstm")
    inputs, targets = (nd.array(ids, dtype="int32") for ids in (IDS[:16, None], IDS[1:17]))
    other.forward_backward(inputs, targets, other.begin_state(1))
    gradients = [p.grad().asnumpy().ravel() / 16 for p in other.parameters().values()]
    dynamic = Dynamic(model, settings, squares and squares(model))
    dynamic.score_text(IDS[:17])
    return weights(other), weights(model), np.concatenate(gradients)


def test_a_plain_step_is_gradient_descent_on_the_mean():
    before, after, gradient = first_step(DynamicSettings(lr=0.5, seq_len=16))
    np.testing.assert_allclose(after, before - 0.5 * gradient, atol=1e-6)


def test_decay_moves_weights_back_by_a_fraction():
    before, after, gradient = first_step(DynamicSettings(lr=0.5, decay=0.25, seq_len=16))
    np.testing.assert_allclose(after, before - 0.75 * 0.5 * gradient, atol=1e-6)


def moments(model):
    """Return second moments as Adam saves them: distinct values in name order, and a checkpoint."""
    shapes = [parameter.shape for parameter in model.parameters().values()]
    values = np.random.default_rng(0).uniform(0.01, 1, sum(map(np.prod, shapes)))
    parts = np.split(values.astype(np.float32), np.cumsum([np.prod(shape) for shape in shapes]))
    arrays = {
        f"optimizer.{i}.1": part.reshape(shape)
        for i, (part, shape) in enumerate(zip(parts, shapes))
    }
    config = types.SimpleNamespace(training=TrainConfig(optimizer="adam"))
    return values, types.SimpleNamespace(training=arrays, config=config)


def test_an_rms_step_is_divided_by_each_weights_rms_gradient():
    values, checkpoint = moments(make_model("lstm"))
    settings = DynamicSettings("rms", lr=0.1, decay=0.25, seq_len=16)
    before, after, gradient = first_step(settings, lambda m: squared_gradients(m, checkpoint))
    size = np.sqrt(values)
    back = np.minimum(0.25 * size / size.mean(), 1)
    np.testing.assert_allclose(after, before - (1 - back) * 0.1 * gradient / size, atol=1e-5)


def test_only_adam_has_squared_gradients():
    model, (_, checkpoint) = make_model("lstm"), moments(make_model("lstm"))
    checkpoint.config.training = TrainConfig(optimizer="sgd")
    with pytest.raises(InputError, match=r"`dynamic` rms .*adam.* sgd"):
        squared_gradients(model, checkpoint)


def test_tuning_tries_a_grid_and_leaves_the_model_unchanged():
    model = train(kind="gru").model
    before = weights(model)
    found = dict(tune(model, IDS, DynamicSettings(seq_len=16), None))
    assert (weights(model) == before).all()
    assert len(found) == len(set(found)) == 15
    best = min(found, key=lambda tried: found[tried])
    assert found[best] == Dynamic(model, best).score_text(IDS).mean()


def test_the_error_names_too_high_a_learning_rate():
    dynamic = Dynamic(make_model("rnn"), DynamicSettings(lr=1e38, seq_len=4))
    with pytest.raises(InputError, match=r"`dynamic_lr` 1e.38"):
        dynamic.score_text(IDS)


def test_the_command_shows_both_scores_and_tunes_on_validation(trained, text_file, command):
    data = ("--data", text_file, "--json")
    static = json.loads(command("evaluate", trained, *data)[1])
    flags = ("--dynamic", "rms", "--tune", "--dynamic-seq-len", 20)
    code, out, err = command("evaluate", trained, *data, *flags)
    result = json.loads(out)
    dynamic = result.pop("dynamic")
    assert code == 0
    assert result == static
    assert dynamic["tokens"] == static["tokens"]
    tried = [line for line in err.splitlines() if line.startswith("validation: rule rms, lr ")]
    assert len(tried) == 15
    assert dynamic["rule"] == "rms"
    assert dynamic["seq_len"] == 20
    best = min(tried, key=lambda line: float(line.split()[-2]))
    assert f"lr {dynamic['lr']:g}, decay {dynamic['decay']:g}, seq_len 20:" in best


def likely(nats):
    return np.exp(-np.asarray(nats))


@pytest.mark.parametrize("size", [3, 500])
@pytest.mark.parametrize("kind", ["lstm", "gru ensemble", "mingru adaptive"])
def test_the_cache_follows_its_equation(kind, size):
    model, ids = make_model(kind), IDS[:60]
    nats, hidden = trace(model, ids)
    np.testing.assert_allclose(nats, score(model, ids), atol=1e-5)
    settings = CacheSettings(size, theta=2.0, weight=0.3)
    found = Cached(model, settings).score_text(ids)
    assert found[0] == nats[0]  # the cache is still empty
    for t in range(1, 59):
        places = range(max(0, t - size), t)
        likeness = np.exp([2.0 * hidden[t] @ hidden[i] for i in places])
        same = [ids[i + 1] == ids[t + 1] for i in places]
        expected = 0.7 * likely(nats[t]) + 0.3 * (likeness * same).sum() / likeness.sum()
        assert likely(found[t]) == pytest.approx(expected, rel=1e-5)


def test_the_cache_stepper_agrees_with_scoring_in_any_order_of_streams(monkeypatch):
    monkeypatch.setattr(cache, "BLOCK", 7)
    model, ids = make_model("gru"), IDS[:60]
    cached = Cached(model, CacheSettings(9, theta=2.0, weight=0.3))
    expected, stepper, order = cached.score_text(ids), cached.stepper(2), [0, 1]
    for t, target in enumerate(ids[1:]):
        column = np.array([ids[t], 6 - ids[t]])[order]
        found = stepper.step(column)
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-6)
        assert -found[order.index(0), target] == pytest.approx(expected[t], abs=1e-5)
        if t == 20:
            stepper.select([1, 0])
            order = [1, 0]


def test_cache_settings_are_tuned_to_repetition():
    model = make_model("gru")
    found = dict(tune_cache(model, IDS, CacheSettings(size=50)))
    best = min(found, key=lambda tried: found[tried])
    assert len(found) == 16
    assert best.size == 50
    assert found[best] < score(model, IDS).mean()
    assert found[best] == pytest.approx(Cached(model, best).score_text(IDS).mean(), abs=1e-9)


def test_a_cache_needs_a_hidden_state():
    with pytest.raises(InputError, match="`cache`"):
        Cached(make_model("unrolled"), CacheSettings())


def test_the_command_prints_the_static_score_and_the_cached_one(trained, text_file, command):
    data = ("--data", text_file)
    static = command("evaluate", trained, *data)[1]
    code, out, _ = command("evaluate", trained, *data, "--cache", 50, "--cache-weight", 0.2)
    first, second = out.splitlines()
    assert code == 0
    assert first == static.strip()
    assert second.startswith("cache (size 50, theta 0.3, weight 0.2): ")
    code, out, err = command("evaluate", trained, *data, "--cache", 50, "--tune", "--json")
    assert code == 0
    assert len(err.splitlines()) == 16
    assert json.loads(out)["cache"]["size"] == 50


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--tune", "--dynamic or --cache"),
        ("--cache 9 --cache-weight 2", "--cache-weight 2"),
        ("--dynamic sgd --streams 4", "--streams"),
        ("--dynamic sgd --tune --part valid", "--part"),
        ("--dynamic sgd --dynamic-lr -1", "--dynamic-lr -1"),
        ("--dynamic sgd --dynamic-decay 1.5", "--dynamic-decay 1.5"),
        ("--dynamic sgd --dynamic-seq-len 0", "--dynamic-seq-len 0"),
    ],
)
def test_contradictory_flags_are_refused(trained, command, flags, message):
    assert_refused(command("evaluate", trained, *flags.split()), message)


def test_generation_with_a_cache_follows_the_prompt(trained, command):
    flags = ("--prompt", "abcabcabcabc", "--length", 40, "--greedy", "--unknown", "skip")
    plain, full = (
        command("generate", trained, *flags, *cache)
        for cache in ((), ("--cache", 100, "--cache-weight", 1, "--cache-theta", 9))
    )
    assert plain[0] == full[0] == 0
    assert plain[1] != full[1]
    assert set(full[1].strip()) <= set("abc")  # a cache alone generates tokens that it has read
    assert command("generate", trained, "--cache-theta", -1)[0] == 2


@pytest.mark.parametrize("kind", ["lstm", "gru ensemble", "gru adaptive"])
def test_dynamic_evaluation_and_the_cache_combine(kind):
    dynamic = Dynamic(make_model(kind), DynamicSettings(lr=0.3, seq_len=7))
    nats, hidden = trace(dynamic, IDS)
    np.testing.assert_allclose(nats, dynamic.score_text(IDS), atol=1e-4)
    np.testing.assert_allclose(hidden[:7], trace(make_model(kind), IDS)[1][:7], atol=1e-5)
    settings = CacheSettings(50, theta=2.0, weight=0.3)
    found = Cached(dynamic, settings).score_text(IDS)
    expected = with_cache(nats, recalled(hidden, IDS, settings), settings)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_command_prints_static_dynamic_and_combined_scores(trained, text_file, command):
    flags = ("--data", text_file, "--dynamic", "sgd", "--cache", 50)
    code, out, _ = command("evaluate", trained, *flags)
    static, dynamic, both = out.splitlines()
    assert code == 0
    assert static.endswith(f"({text_file})")
    assert dynamic.startswith("dynamic (rule sgd")
    assert both.startswith("dynamic_cache (size 50, theta 0.3, weight 0.1): ")
    code, out, err = command("evaluate", trained, *flags, "--tune", "--json")
    result = json.loads(out)
    assert code == 0
    assert len(err.splitlines()) == 15 + 16
    assert list(result)[-2:] == ["dynamic", "dynamic_cache"]
    tried = [float(line.split()[-2]) for line in err.splitlines()]
    assert min(tried[15:]) < min(tried[:15])  # the cache is tuned on the best dynamic model


def test_generation_after_learning_from_the_prompt(trained, command):
    flags = ("--prompt", "ducks ducks ducks ducks ducks ducks ", "--length", 60, "--greedy")
    plain, none, learnt = (
        command("generate", trained, *flags, *dynamic)
        for dynamic in (
            (),
            ("--dynamic", "rms", "--dynamic-lr", 0),
            ("--dynamic", "sgd", "--dynamic-lr", 9, "--dynamic-seq-len", 6),
        )
    )
    assert plain == none
    assert plain[0] == learnt[0] == 0
    assert plain[1] != learnt[1]
    again = command("generate", trained, *flags, "--dynamic", "sgd", "--dynamic-lr", 9,
                    "--dynamic-seq-len", 6)  # fmt: skip
    assert again == learnt
    assert_refused(command("generate", trained, "--dynamic", "sgd"), "--dynamic", "--prompt")
