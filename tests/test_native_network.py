"""Training and scoring with native kernels, compared with MXNet."""

import dataclasses

import mxnet as mx
import numpy as np
import pytest
from conftest import ROOT, assert_refused, start
from hypothesis import given, settings
from hypothesis import strategies as some
from mxnet import nd
from test_native import kernels, needs_kernels  # noqa: F401

from gluonlm import Trainer, native
from gluonlm.config import Config, TrainConfig
from gluonlm.models import Ensemble, RNNModel, UnrolledRNN
from gluonlm.models.base import Dropout
from gluonlm.run.folder import Run
from gluonlm.train.native_rules import sums_of_squares
from gluonlm.train.optimizer import make_rule

KINDS = ("rnn", "lstm", "gru", "mingru", "minlstm")


def available():
    """Return the kernels of each instruction set that this processor supports."""
    library = native.open_library()
    return [native.Kernels(library, lanes) for lanes in native.SETS if lanes <= library.lanes()]


def prepared(model, scale=0.3):
    """Return a model with initial weights, and its gradients allocated."""
    model.prepare(init=f"uniform:{scale}").pack()
    for parameter in model.parameters().values():
        parameter.data()[:] = np.random.default_rng(parameter.data().size).uniform(
            -scale, scale, parameter.shape
        )
        parameter.grad()[:] = 7  # must be replaced
    return model


def batch(model, steps, streams, seed=3):
    """Return inputs, targets and a state with random numbers."""
    random, window = np.random.default_rng(seed), model.window
    inputs = random.integers(0, model.vocab_size, (steps, streams))
    targets = random.integers(0, model.vocab_size, streams * (1 if window else steps))
    state = [nd.array(random.uniform(-1, 1, s.shape)) for s in model.begin_state(streams)]
    return nd.array(inputs, dtype="int32"), nd.array(targets, dtype="int32"), state


def results(model, passes, given):
    """Return losses, new state and gradients of a training pass as arrays."""
    losses, state = passes(*given)
    gradients = [parameter.grad().asnumpy() for parameter in model.parameters().values()]
    return [losses.asnumpy(), *(array.asnumpy() for array in state), *gradients]


def assert_agrees(model, steps, streams):
    """Compare training passes and scores of every instruction set with MXNet's."""
    given = batch(model, steps, streams)
    expected = results(model, model.forward_backward, given)
    scores, _ = model.losses(*given)
    for found in available():
        compiled = model.native_network(found)
        for parameter in model.parameters().values():
            parameter.grad()[:] = 7
        for one, other in zip(results(model, compiled.forward_backward, given), expected):
            np.testing.assert_allclose(one, other, atol=1e-5 * max(1, np.abs(other).max()))
        losses, state = compiled.losses(*given)
        np.testing.assert_allclose(losses, scores, atol=1e-5)
        for one, other in zip(state, expected[1:]):
            np.testing.assert_allclose(one.asnumpy(), other, atol=1e-5)


@needs_kernels
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kind=some.sampled_from(KINDS),
    sizes=some.lists(some.integers(1, 70), min_size=1, max_size=3),
    embed=some.integers(1, 40),
    vocab=some.integers(1, 200),
    steps=some.integers(1, 6),
    streams=some.integers(1, 30),
    tied=some.booleans(),
    relu=some.booleans(),
    separator=some.none() | some.just(0),
)
def test_passes_agree_with_mxnet(kind, sizes, embed, vocab, steps, streams, tied, relu, separator):
    more = {"activation": "relu"} if kind == "rnn" and relu else {}
    if tied:
        embed = sizes[-1]
    more.update(tie_weights=tied, separator=separator)
    assert_agrees(prepared(RNNModel(kind, vocab, embed, sizes, **more)), steps, streams)


@needs_kernels
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kind=some.sampled_from(KINDS),
    sizes=some.lists(some.integers(1, 70), min_size=1, max_size=3),
    vocab=some.integers(1, 9),
    steps=some.integers(1, 12),
    streams=some.integers(1, 30),
)
def test_documents_agree_with_mxnet_which_reads_them_in_pieces(kind, sizes, vocab, steps, streams):
    model = prepared(RNNModel(kind, vocab, 5, sizes, separator=vocab // 2))
    assert_agrees(model, steps, streams)


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_the_state_before_a_document_has_no_effect(kind):
    model = prepared(RNNModel(kind, 9, 5, (20,), dropout=0.3, separator=4))
    inputs, targets, state = batch(model, 6, 3)
    inputs[:] = 1
    inputs[3] = 4  # all streams
    compiled, found = model.native_network(native.load()), []
    for first in (1, 2):
        inputs[:3] = first
        compiled.seed_dropout(5)
        losses, after = compiled.forward_backward(inputs, targets, [first * s for s in state])
        found.append((losses.asnumpy().reshape(6, 3), [s.asnumpy() for s in after]))
    (one, after), (other, others) = found
    assert (one[:3] != other[:3]).all()
    assert (one[3:] == other[3:]).all()
    assert all((a == b).all() for a, b in zip(after, others, strict=True))


@needs_kernels
@pytest.mark.parametrize(
    "kind, sizes, embed, vocab, steps, streams",
    [
        ("lstm", (33,), 32, 5000, 3, 100),  # blocks of logits, and rows of several blocks
        ("gru", (300,), 290, 30, 2, 3),  # sums in several chunks
        ("rnn", (32, 64), 16, 65, 1, 1),
        ("lstm", (1,), 1, 1, 1, 1),
        ("gru", (17,), 3, 31, 300, 1),  # gradients of several chunks
    ],
)
def test_ragged_and_large_sizes_agree_with_mxnet(kind, sizes, embed, vocab, steps, streams):
    assert_agrees(prepared(RNNModel(kind, vocab, embed, sizes)), steps, streams)


@needs_kernels
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("window", [2, 3, 5])
def test_unrolled_passes_agree_with_mxnet(activation, fold, window):
    model = UnrolledRNN(50, 9, 40, window, activation=activation, fold=fold)
    assert_agrees(prepared(model), window, 7)


@needs_kernels
@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("kind", [*KINDS, "unrolled"])
def test_gradients_with_dropout_agree_with_finite_differences(kind, variational):
    if kind == "unrolled":
        model = prepared(UnrolledRNN(11, 6, 20, 3, dropout=0.4, activation="tanh"))
    else:
        drops = dict(dropout=0.4, embed_dropout=0.2, variational=variational)
        model = prepared(RNNModel(kind, 11, 6, (20, 18), **drops))
    given, compiled = batch(model, 3, 4), model.native_network(native.load())

    def loss():
        compiled.seed_dropout(5)  # the same masks
        return compiled.forward_backward(*given)[0].asnumpy().astype(np.float64).sum()

    loss()
    gradients = {name: p.grad().asnumpy() for name, p in model.parameters().items()}
    for name, parameter in model.parameters().items():
        place = np.unravel_index(np.abs(gradients[name]).argmax(), parameter.shape)
        values = parameter.data().asnumpy()
        around = []
        for change in (1e-2, -1e-2):
            moved = values.copy()
            moved[place] += change
            parameter.set_data(nd.array(moved))
            around.append(loss())
        parameter.set_data(nd.array(values))
        difference = (around[0] - around[1]) / 2e-2
        np.testing.assert_allclose(difference, gradients[name][place], rtol=0.03, atol=1e-3)


NOISE = dict(dropout=0.3, embed_dropout=0.2, weight_drop=0.4, word_dropout=0.25)
NOISE.update(activation_reg=2.0, temporal_reg=3.0)


def noise_of(kind):
    """Return the noise without weight drop for layers that have no such weights."""
    return {**NOISE, "weight_drop": 0.0} if kind.startswith("min") else NOISE


def hash_mask(seed, number, shape, rate):
    """Return mask `number` of a pass with this seed, as training.h computes it, in NumPy."""
    x = np.arange(np.prod(shape), dtype=np.uint32) * np.uint32(0x9E3779B9)
    x ^= np.uint32(seed + number * 0x85EBCA6B & 0xFFFFFFFF)
    for shift, factor in (16, 0x7FEB352D), (15, 0x846CA68B):
        x = (x ^ x >> shift) * np.uint32(factor)
    uniform = ((x ^ x >> 16) >> 8) / np.float32(2**24)
    return np.where(uniform < np.float32(rate), 0, 1 / (1 - rate)).reshape(shape).astype("f")


def masks_of(model, seed, steps, streams):
    """Return the masks of a pass with the noise of a model, in the order of its forward pass."""
    noise, depth = model._noise(), len(model.layers)
    first = (1 if model.dropout._axes else steps, streams)
    embed = (*first, model.embedding.weight.shape[1])
    masks = [
        (depth + 1, (model.vocab_size, 1), noise.word_dropout),
        (0, embed, noise.embed_dropout),
    ]
    for i, layer in enumerate(model.layers):
        recurrent = getattr(layer, "l0_h2h_weight", layer.parts()[0])
        masks.append((depth + 2 + i, recurrent.shape, noise.weight_drop))
        masks.append((1 + i, (*first, layer._hidden_size), noise.dropout))
    return [hash_mask(seed, number, shape, rate) for number, shape, rate in masks if rate]


def assert_noise_agrees(model, steps, streams):
    """Compare a training pass of every instruction set with MXNet's, given the same masks."""
    given = batch(model, steps, streams)
    model.hybridize(False)
    for found in available():
        compiled = model.native_network(found)
        compiled.seed_dropout(6)
        ours = results(model, compiled.forward_backward, given)
        masks = masks_of(model, compiled.arguments.seed, steps, streams)

        def drop(self, F, x, masks=masks):
            return F.broadcast_mul(x, nd.array(masks.pop(0))) if self._rate else x

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Dropout, "hybrid_forward", drop)
            for parameter in model.parameters().values():
                parameter.grad()[:] = 7
            theirs = results(model, model.forward_backward, given)
        assert not masks
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5 * max(1, np.abs(other).max()))


@needs_kernels
@pytest.mark.parametrize("name", [*NOISE, "penalties", "all"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_passes_with_noise_agree_with_mxnet_given_the_same_masks(kind, tied, name):
    penalties = ("activation_reg", "temporal_reg")
    names = dict(penalties=penalties, all=NOISE).get(name, [name])
    noise = {"embed_dropout": 0.0, **{name: noise_of(kind)[name] for name in names}}
    model = prepared(RNNModel(kind, 50, 37, (41, 37), tie_weights=tied, **noise))
    assert_noise_agrees(model, 5, 7)


@needs_kernels
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kind=some.sampled_from(KINDS),
    sizes=some.lists(some.integers(1, 70), min_size=1, max_size=3),
    vocab=some.integers(2, 60),
    steps=some.integers(1, 9),
    streams=some.integers(1, 30),
    rates=some.tuples(*[some.sampled_from([0.0, rate]) for rate in NOISE.values()]),
    variational=some.booleans(),
    relu=some.booleans(),
)
def test_noise_of_any_size_agrees_with_mxnet(
    kind, sizes, vocab, steps, streams, rates, variational, relu
):
    more = {"activation": "relu"} if kind == "rnn" and relu else {}
    more.update(zip(NOISE, rates), variational=variational)
    more["weight_drop"] = min(more["weight_drop"], noise_of(kind)["weight_drop"])
    assert_noise_agrees(prepared(RNNModel(kind, vocab, 6, sizes, **more)), steps, streams)


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_penalties_agree_with_mxnet_where_documents_begin(kind):
    penalties = dict(activation_reg=2.0, temporal_reg=3.0)
    model = prepared(RNNModel(kind, 9, 5, (20, 18), separator=4, **penalties))
    given = batch(model, 6, 3)
    given[0][:] = 1
    given[0][2] = given[0][5] = 4  # all streams, so that MXNet ends each of them
    expected = results(model, model.forward_backward, given)
    for found in available():
        ours = results(model, model.native_network(found).forward_backward, given)
        for one, other in zip(ours, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5 * max(1, np.abs(other).max()))


@needs_kernels
def test_a_document_ends_only_the_changes_of_its_own_stream():
    model = prepared(RNNModel("gru", 9, 5, (20,), separator=4, temporal_reg=3.0))
    model.decoder.weight.data()[:] = 0  # only the penalty has a gradient
    inputs, targets, state = batch(model, 6, 2)
    inputs[:] = np.random.default_rng(1).integers(5, 9, inputs.shape)
    inputs[3, 1] = 4
    compiled, found = model.native_network(native.load()), []
    for streams in (slice(0, 2), slice(0, 1), slice(1, 2)):
        part = inputs[:, streams].copy(), targets.reshape(6, 2)[:, streams].reshape(-1)
        each = results(model, compiled.forward_backward, (*part, [s[:, streams] for s in state]))
        found.append(each[-len(model.parameters()) :])
    for both, one, other in zip(*found, strict=True):
        np.testing.assert_allclose(both, one + other, atol=1e-5)


@needs_kernels
def test_masks_of_layers_words_and_passes_are_independent():
    model = RNNModel("lstm", 10_000, 1, (50, 50), weight_drop=0.25, word_dropout=0.25)
    masks = [m for seed in (5, 6) for m in masks_of(model, seed, 1, 1)]
    zeros = [mask.ravel()[:10_000] == 0 for mask in masks]
    assert len(zeros) == 6
    for i, one in enumerate(zeros):
        assert abs(one.mean() - 0.25) < 0.02
        assert all(abs((one & other).mean() - 0.25**2) < 0.012 for other in zeros[:i])


def dropped(variational=False, rate=0.25, passes=1):
    """Return which embeddings of (20 time steps, 50 streams, 64 units) a pass drops."""
    model = RNNModel("rnn", 1000, 64, (3,), embed_dropout=rate, variational=variational)
    prepared(model)
    inputs, targets, state = batch(model, 20, 50)
    inputs[:] = np.arange(1000).reshape(20, 50)  # each token once
    compiled = model.native_network(native.load())
    compiled.seed_dropout(9)
    for _ in range(passes):
        compiled.forward_backward(inputs, targets, state)
    return (model.embedding.weight.grad().asnumpy() == 0).reshape(20, 50, 64)


@needs_kernels
def test_dropout_has_its_rate_and_no_pattern():
    found = dropped()
    assert abs(found.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / found.size)
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        share, count = found.mean(axis=others), found.size / found.shape[axis]
        assert np.abs(share - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / count)
        both = (found & np.roll(found, 1, axis=axis)).mean()
        assert abs(both - 0.25**2) < 0.005  # neighbours are independent
    assert abs((found & dropped(passes=2)).mean() - 0.25**2) < 0.005


@needs_kernels
def test_variational_masks_are_the_same_at_all_time_steps():
    found = dropped(variational=True)
    assert (found == found[0]).all()
    assert 0.2 < found[0].mean() < 0.3
    assert (found[0, 0] != found[0, 1]).any()


@needs_kernels
def test_masks_do_not_depend_on_the_instruction_set():
    model = prepared(RNNModel("gru", 30, 20, (40, 40), **NOISE))
    given, found = batch(model, 5, 6), []
    for each in available():
        compiled = model.native_network(each)
        compiled.seed_dropout(3)
        found.append(results(model, compiled.forward_backward, given))
    for arrays in zip(*found):
        np.testing.assert_allclose(arrays[0], arrays[-1], atol=1e-5)


@needs_kernels
@pytest.mark.parametrize("separator", [None, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_results_are_the_same_for_any_number_of_threads(kind, separator, monkeypatch):
    model = prepared(RNNModel(kind, 300, 40, (70, 90), separator=separator, **noise_of(kind)))
    given, compiled, found = batch(model, 9, 13), model.native_network(native.load()), []
    given[0][::3, ::2] = 7  # documents begin in some streams
    for threads in (1, 2, 3, 5, 2):
        monkeypatch.setattr(native, "threads", lambda number=threads: number)
        compiled.seed_dropout(1)
        found.append(results(model, compiled.forward_backward, given))
    for others in found[1:]:
        assert all((one == other).all() for one, other in zip(found[0], others, strict=True))


@needs_kernels
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["embedding.weight", "h2h_weight", "decoder.bias"])
def test_numbers_that_are_not_finite_reach_the_loss_or_the_gradient(name, value):
    model = prepared(RNNModel("lstm", 12, 7, (20,)))
    (parameter,) = (p for full, p in model.parameters().items() if full.endswith(name))
    parameter.data()[:] = value
    compiled = model.native_network(native.load())
    losses, *others = results(model, compiled.forward_backward, batch(model, 3, 2))
    assert not all(np.isfinite(array).all() for array in (losses, *others))


@needs_kernels
def test_an_id_outside_of_the_vocabulary_is_refused():
    model = prepared(RNNModel("gru", 12, 7, (20,)))
    inputs, targets, state = batch(model, 3, 2)
    compiled = model.native_network(native.load())
    for wrong in (-1, 12):
        for array in (inputs, targets):
            before = array.asnumpy()
            array[:] = wrong
            with pytest.raises(IndexError):
                compiled.forward_backward(inputs, targets, state)
            array[:] = before
    with pytest.raises(ValueError):
        compiled.losses(inputs, targets[:5], state)


FORKED = """
import os, sys
sys.path.insert(0, {tests!r})
import gluonlm
from test_native_network import *
native.threads = lambda: 3
model = prepared(RNNModel("lstm", 300, 40, (70, 90), dropout=0.3))
given, compiled = batch(model, 9, 13), model.native_network(native.load())
def run():
    compiled.seed_dropout(1)
    return [compiled.losses(*given)[0], *results(model, compiled.forward_backward, given)]
expected = run()
same = lambda: all((one == other).all() for one, other in zip(expected, run(), strict=True))
if (child := os.fork()) == 0:
    os._exit(0 if same() else 1)
failed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(failed or not same())
"""


@needs_kernels
def test_a_forked_process_trains_with_threads_of_its_own():
    child = start("-c", FORKED.format(tests=str(ROOT / "tests")))
    _, err = child.communicate(timeout=100)
    assert child.returncode == 0, err


@needs_kernels
@pytest.mark.parametrize("name, params", [("adam", ""), ("adam", "wd=0.1"), ("sgd", "wd=0.1")])
def test_updates_agree_with_gluons(name, params):
    config, random = TrainConfig(optimizer=name, optimizer_params=params, lr=0.1), 40_000
    start = np.random.default_rng(1).normal(size=random).astype("f")
    found = []
    for kernels in (None, *available()):  # noqa: F402
        rule = make_rule(config, kernels)
        assert (type(rule).__module__ == "gluonlm.train.native_rules") == (kernels is not None)
        weight, updater = nd.array(start), mx.optimizer.get_updater(rule)
        for step in range(5):
            rule.rescale_grad = 1 / (1 + step)
            gradient = nd.array(np.random.default_rng(step).normal(size=random))
            updater([0], [gradient], [weight])
        found.append(weight.asnumpy())
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=2e-6)
    assert np.abs(found[0] - start).max() > 0.1


@needs_kernels
def test_other_optimizers_remain_gluons():
    for name, params in ("sgd", "momentum=0.9"), ("adam", "clip_gradient=1"), ("rmsprop", ""):
        rule = make_rule(TrainConfig(optimizer=name, optimizer_params=params), native.load())
        assert type(rule).__module__.startswith("mxnet")


@needs_kernels
@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000, 300_001])
def test_sums_of_squares_agree_with_numpy(size):
    numbers = np.random.default_rng(2).normal(size=size).astype("f")
    for found in available():
        sums = sums_of_squares(found, [nd.array(numbers), nd.array(2 * numbers)])
        square = (numbers.astype(np.float64) ** 2).sum()
        np.testing.assert_allclose(sums, [square, 4 * square], rtol=1e-6)


def losses_of(model, kernels, **changes):  # noqa: F811
    """Return the losses of 12 training steps, validated once."""
    config = dataclasses.replace(
        Config().training, batch_size=4, seq_len=8, max_steps=12, kernels=kernels, **changes
    )
    ids = np.random.default_rng(0).integers(0, model.vocab_size, 600).astype(np.int32)
    found = []
    trainer = Trainer(model, config, ids[:500], ids[500:])
    trainer.callbacks = [lambda event, record: found.append(record.get("loss"))]
    trainer.fit()
    return [loss for loss in found if loss is not None]


@needs_kernels
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "nadam"])
@pytest.mark.parametrize("members", [1, 2])
def test_trainings_agree_with_mxnet(optimizer, members):
    found = []
    for choice in ("native", "mxnet"):
        networks = [RNNModel("gru", 30, 12, (24,)) for _ in range(members)]
        model = (networks[0] if members == 1 else Ensemble(networks)).prepare(seed=2)
        found.append(losses_of(model, choice, optimizer=optimizer, average="ema", lr=0.01))
    np.testing.assert_allclose(*found, atol=1e-4)
    assert len(found[0]) == 12


@needs_kernels
def test_members_of_an_ensemble_have_different_masks():
    model = Ensemble([RNNModel("gru", 30, 12, (24,), dropout=0.5) for _ in range(2)])
    model.prepare(seed=2).use_kernels("native")
    for parameter in model.parameters().values():
        parameter.data()[:] = 0.1
    model.seed_dropout(1)
    model.forward_backward(*batch(model, 3, 4))
    one, other = (network.decoder.weight.grad().asnumpy() for network in model.networks)
    assert (one != other).any()


@needs_kernels
@pytest.mark.parametrize("members", [1, 2])
def test_scores_have_no_noise(members):
    networks = [RNNModel("lstm", 30, 24, (24,), tie_weights=True, **NOISE) for _ in range(members)]
    model = prepared(networks[0] if members == 1 else Ensemble(networks))
    given, found = batch(model, 3, 4), []
    for choice in ("mxnet", "native"):
        model.use_kernels(choice)
        model.forward_backward(*given)
        found.append(model.losses(*given)[0])
    np.testing.assert_allclose(*found, atol=1e-5)


def test_gpus_are_left_to_mxnet(monkeypatch):
    model = RNNModel("gru", 30, 12, (24,), dropout=0.5).prepare()
    monkeypatch.setattr(mx.gluon.Parameter, "list_ctx", lambda self: [mx.gpu(0)])
    seeds = []
    monkeypatch.setattr(mx.random, "seed", seeds.append)
    model.use_kernels()
    model.seed_dropout(7)
    assert model.compiled is None
    assert seeds == [7]


FLAGS = "--hidden-size 12 --embed-size 8 --batch-size 4 --seq-len 10 --max-steps 6 --quiet".split()


@needs_kernels
def test_a_run_goes_on_with_its_kernels(text_file, tmp_path, command, monkeypatch):
    run = tmp_path / "run"
    kept = lambda: Run(run).load("last").config.training.kernels  # noqa: E731
    assert command("train", "--data", text_file, "--run", run, *FLAGS)[0] == 0
    assert kept() == "native"
    monkeypatch.setenv("GLUONLM_KERNELS", "mxnet")
    code, out, err = command("train", "--resume", run, "--max-steps", 8)
    assert (code, kept()) == (0, "native")
    monkeypatch.setattr(native, "_found", lambda: "not compiled")
    code, out, err = command("train", "--resume", run, "--max-steps", 10)
    assert (code, kept()) == (0, "mxnet")
    assert "not compiled" in out
    assert_refused(command("train", "--resume", run, "--kernels", "native"), "--kernels")
    monkeypatch.undo()
    assert command("train", "--resume", run, "--max-steps", 12, "--quiet")[0] == 0
    assert kept() == "mxnet"
    assert command("train", "--resume", run, "--max-steps", 14, "--kernels", "auto")[0] == 0
    assert kept() == "native"


def test_unknown_and_unavailable_kernels_are_refused(text_file, tmp_path, command, monkeypatch):
    flags = ["train", "--data", text_file, "--run", tmp_path / "run", *FLAGS, "--kernels"]
    assert_refused(command(*flags, "fast"), "--kernels", "native")
    monkeypatch.setattr(native, "_found", lambda: "not compiled")
    assert_refused(command(*flags, "native"), "--kernels", "not compiled")
    assert not (tmp_path / "run").exists()
    assert command(*flags, "auto")[0] == 0
