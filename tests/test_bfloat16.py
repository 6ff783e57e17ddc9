"""Training passes that multiply bfloat16 numbers in tiles, compared with float32."""

import numpy as np
import pytest
from conftest import assert_refused
from hypothesis import given, settings
from hypothesis import strategies as some
from mxnet import nd
from test_native_network import KINDS, batch, losses_of, prepared, results

from gluonlm import native
from gluonlm.models import Ensemble, RNNModel, UnrolledRNN
from gluonlm.run.folder import Run
from gluonlm.system.errors import InputError

KERNELS = native.load()
needs_tiles = pytest.mark.skipif(
    KERNELS is None or "bfloat16" not in KERNELS.passes, reason="this processor has no AMX"
)


def in_both(model, given):
    """Return the results of a training pass in float32 and in bfloat16."""
    found = []
    for precision in ("float32", "bfloat16"):
        model.use_kernels("native", precision)
        model.seed_dropout(5)
        for parameter in model.parameters().values():
            parameter.grad()[:] = 7  # must be replaced
        found.append(results(model, model.forward_backward, given))
    return found


def assert_near(model, steps, streams):
    for one, other in zip(*in_both(model, batch(model, steps, streams)), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6 + 0.04 * np.abs(one).max())


@needs_tiles
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    kind=some.sampled_from(KINDS[:3]),  # gradients of minimal layers jump where g has its corner
    sizes=some.lists(some.integers(1, 70), min_size=1, max_size=3),
    embed=some.integers(1, 40),
    vocab=some.integers(2, 200),
    steps=some.integers(1, 6),
    streams=some.integers(1, 40),
    tied=some.booleans(),
    separator=some.none() | some.just(0),
)
def test_passes_are_near_those_of_float32(
    kind, sizes, embed, vocab, steps, streams, tied, separator
):
    embed = sizes[-1] if tied else embed
    noise = dict(weight_drop=0.2, word_dropout=0.1, temporal_reg=0.1, activation_reg=0.1)
    model = RNNModel(kind, vocab, embed, sizes, 0.2, tie_weights=tied, separator=separator, **noise)
    assert_near(prepared(model, 0.1), steps, streams)


@needs_tiles
@pytest.mark.parametrize(
    "kind, sizes, embed, vocab, steps, streams",
    [
        ("lstm", (33,), 32, 5000, 3, 100),  # several blocks of logits
        ("gru", (300,), 290, 30, 2, 3),  # a gradient of more than 1,024 terms
        ("rnn", (32, 64), 16, 65, 1, 1),
        ("mingru", (33,), 20, 30, 5, 8),
        ("minlstm", (50,), 40, 30, 40, 2),
        ("gru", (17,), 3, 31, 1100, 1),  # gradients of more than 1,024 tokens
    ],
)
def test_ragged_and_large_sizes(kind, sizes, embed, vocab, steps, streams):
    assert_near(prepared(RNNModel(kind, vocab, embed, sizes), 0.05), steps, streams)


@needs_tiles
def test_unrolled_passes():
    assert_near(prepared(UnrolledRNN(50, 9, 40, 3), 0.1), 3, 7)


@needs_tiles
@pytest.mark.parametrize("streams", [1, 15, 16, 17, 32, 33, 50])
@pytest.mark.parametrize("sizes", [(7,), (33, 65)])
def test_small_integers_are_multiplied_exactly(sizes, streams):
    model = prepared(RNNModel("rnn", 70, 40, sizes, activation="relu"))
    for parameter in model.parameters().values():
        numbers = np.random.default_rng(parameter.data().size).integers(-1, 2, parameter.shape)
        parameter.data()[:] = numbers * (np.arange(numbers.size).reshape(numbers.shape) % 5 == 0)
    inputs, targets, state = batch(model, 1, streams)
    state = [nd.round(8 * array) for array in state]
    one, other = in_both(model, (inputs, targets, state))
    for expected, found in zip(one[: 1 + len(state)], other, strict=False):
        np.testing.assert_array_equal(found, expected)


@needs_tiles
def test_results_do_not_depend_on_threads(monkeypatch):
    model, found = prepared(RNNModel("lstm", 300, 50, (50,), 0.3)), []
    for threads in (1, 2, 3):
        monkeypatch.setattr(native, "threads", lambda threads=threads: threads)
        found.append(in_both(model, batch(model, 5, 20))[1])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


@needs_tiles
def test_trainings_are_near_those_of_float32():
    found = []
    for precision in ("float32", "bfloat16"):
        networks = [RNNModel("gru", 30, 12, (24,)) for _ in range(2)]
        model = Ensemble(networks).prepare(seed=2)
        found.append(losses_of(model, "native", precision=precision))
    np.testing.assert_allclose(*found, atol=0.02)
    assert found[0] != found[1]


@needs_tiles
def test_scores_are_float32():
    model = prepared(RNNModel("gru", 30, 12, (24,)))
    given, found = batch(model, 3, 4), []
    for precision in ("float32", "bfloat16"):
        model.use_kernels("native", precision)
        found.append(model.losses(*given)[0])
    np.testing.assert_array_equal(*found)


def test_processors_without_tiles_are_rejected(monkeypatch):
    model = prepared(RNNModel("gru", 30, 12, (24,)))
    with pytest.raises(InputError):
        model.use_kernels("mxnet", "bfloat16")
    if KERNELS:
        monkeypatch.delitem(native.load().passes, "bfloat16", raising=False)
        with pytest.raises(InputError):
            model.use_kernels("native", "bfloat16")


SMALL = "--hidden-size 12 --embed-size 8 --batch-size 4 --seq-len 10 --max-steps 6".split()
SMALL += ["--schedule", "constant"]


@needs_tiles
def test_a_run_is_resumed_exactly_and_in_either_precision(tmp_path, text_file, command):
    flags = ["--data", text_file, *SMALL, "--precision", "bfloat16", "--run"]
    whole, half = tmp_path / "whole", tmp_path / "half"
    assert command("train", *flags, whole)[0] == 0
    assert command("train", *flags, half, "--max-steps", 3)[0] == 0
    assert command("train", "--resume", half, "--max-steps", 6)[0] == 0
    weights = [run / "checkpoints" / "00000006" / "model.safetensors" for run in (whole, half)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert command("train", "--resume", half, "--max-steps", 7, "--precision", "float32")[0] == 0
    assert Run(half).load("last").config.training.precision == "float32"


def test_precision_without_native_kernels_is_refused(tmp_path, text_file, command):
    flags = ["--data", text_file, *SMALL, "--precision", "bfloat16", "--run", tmp_path / "run"]
    assert_refused(command("train", *flags, "--kernels", "mxnet"), "--precision")
    assert not (tmp_path / "run").exists()
