"""A text scored in windows equals each window scored alone, with a zero initial state."""

import json

import mxnet as mx
import numpy as np
import pytest
from conftest import assert_refused
from networks_of_each_kind import KINDS, VOCAB, checkpoint_of
from test_native import COMPILED

from gluonlm import InputError, score_windows
from gluonlm.corpus import load_corpus
from gluonlm.models import RNNModel
from gluonlm.run.load import load_model

IDS = np.random.default_rng(5).integers(0, len(VOCAB), 101).astype(np.int32)
CARRIED = [kind for kind, settings in KINDS.items() if "window" not in settings]


def one_by_one(model, ids, length):
    """Return the loss of each target, window by window, from the model's own forward pass."""
    found = []
    for first in range(0, len(ids) - 1, length):
        inputs, targets = (ids[begin:][:length] for begin in (first, first + 1))
        inputs, state = inputs[: len(targets), None], model.begin_state(1, ctx=mx.cpu())
        losses, _ = model.losses(
            mx.nd.array(inputs, dtype="int32"), mx.nd.array(targets, dtype="int32"), state
        )
        found.append(losses)
    return np.concatenate(found)


@pytest.mark.parametrize("kernels", ["native", "mxnet"])
@pytest.mark.parametrize("kind", CARRIED)
@pytest.mark.parametrize("length", [1, 9, 10, 100, 1000])  # with and without a shorter last window
def test_windows_are_scored_as_alone(kind, kernels, length):
    if kernels == "native" and not COMPILED:
        pytest.skip("there are no native kernels here")
    model, _ = checkpoint_of(kind)
    model.use_kernels(kernels)
    expected = one_by_one(model, IDS, length)
    assert expected.shape == (100,)
    for batch_tokens in (1, 30, 1000):
        losses = score_windows(model, IDS, length, batch_tokens=batch_tokens)
        np.testing.assert_allclose(losses, expected, atol=1e-6, rtol=1e-6)


def test_a_window_forgets_the_previous_one():
    model, _ = checkpoint_of("gru")
    changed = IDS.copy()
    changed[:20] = (changed[:20] + 1) % len(VOCAB)
    before, after = (score_windows(model, ids, 20) for ids in (IDS, changed))
    assert abs(before[:19] - after[:19]).min() > 1e-4
    np.testing.assert_allclose(before[20:], after[20:], atol=1e-6)


def test_documents_end_inside_a_window_as_they_do_in_a_stream():
    def losses(separator, ids):
        model = RNNModel("lstm", 9, 5, (7,), separator=separator)
        return score_windows(model.prepare([mx.cpu()], "uniform:1", 1), ids, 10)

    ids = np.array([1, 2, 5, 6, 0, 3, 7, 8, 1, 2, 3, 4, 5, 6, 7], np.int32)
    other = np.array([8, 6, 1, 3, 0, 3, 7, 8, 1, 2, 3, 4, 5, 6, 7], np.int32)
    np.testing.assert_allclose(losses(0, ids)[4:], losses(0, other)[4:], atol=1e-6)
    assert abs(losses(None, ids)[4:10] - losses(None, other)[4:10]).max() > 1e-3


def test_windows_are_scored_in_parallel(monkeypatch):
    model, _ = checkpoint_of("gru")
    shapes, losses = [], model.losses
    monkeypatch.setattr(
        model, "losses", lambda i, t, s: (shapes.append(i.shape), losses(i, t, s))[1]
    )
    score_windows(model, np.zeros(6401, np.int32), 10)
    assert shapes == [(10, 100)] * 6 + [(10, 40)]


def test_invalid_arguments_are_refused():
    model, _ = checkpoint_of("gru")
    for length in (0, -3, 1.5, "8"):
        with pytest.raises(InputError, match=f"`windows` {length!r}"):
            score_windows(model, IDS, length)
    for ids in (IDS[:0], IDS[:1]):
        with pytest.raises(InputError, match=f"{len(ids)} tokens"):
            score_windows(model, ids, 8)
    with pytest.raises(InputError, match="vocabulary"):
        score_windows(model, [1, len(VOCAB)], 8)
    for kind in ("unrolled", "onehot"):
        with pytest.raises(InputError, match=r"`windows` 8: .* window of [35] tokens"):
            score_windows(checkpoint_of(kind)[0], IDS, 8)


def test_the_command_prints_the_mean_and_the_protocol(trained, command, tmp_path):
    model, checkpoint = load_model(trained)
    ids = load_corpus(checkpoint.config.data, checkpoint.vocab).valid
    losses = score_windows(model, ids, 7)
    flags = ("evaluate", trained, "--part", "valid", "--windows", 7)
    out = command(*flags)[1]
    assert f" {losses.mean():.4f} nats, " in out
    assert out.endswith(f"over {losses.size:,} characters (validation part, cold windows of 7)\n")
    table = tmp_path / "surprise.tsv"
    result = json.loads(command(*flags, "--json", "--per-token", table)[1])
    assert result["nats"] == pytest.approx(losses.mean(), rel=1e-6)
    assert (result["part"], result["protocol"]) == ("valid", "cold windows of 7")
    shown = [float(line.split("\t")[2]) for line in table.read_text().splitlines()[2:]]
    np.testing.assert_allclose(shown, losses, atol=1e-6)


@pytest.mark.parametrize(
    "flags, protocol",
    [
        ((), "one stream, state carried"),
        (("--streams", 4, "--seq-len", 9), "4 columns in segments of 9"),
    ],
)
def test_every_score_names_its_protocol(flags, protocol, trained, command):
    result = json.loads(command("evaluate", trained, "--json", *flags)[1])
    assert (result["part"], result["protocol"]) == ("test", protocol)


def test_adapted_scores_name_their_protocol(trained, command, text_file):
    flags = ("evaluate", trained, "--data", text_file, "--json", "--cache", 9, "--dynamic", "sgd")
    result = json.loads(command(*flags)[1])
    assert "part" not in result
    assert result["protocol"] == "one stream, state carried"
    for name in ("dynamic", "dynamic_cache"):
        assert result[name]["protocol"] == "one stream, state carried, adapted"


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--windows", 0), "--windows 0"),
        (("--windows", -2), "--windows -2"),
        (("--windows", "many"), "--windows"),
        (("--windows", 8, "--streams", 3), "--streams"),
        (("--windows", 8, "--dynamic", "sgd"), "--dynamic"),
        (("--windows", 8, "--cache", 9), "--cache"),
        (("--windows", 8, "--seq-len", 0), "--seq-len 0"),
    ],
)
def test_contradictory_flags_are_refused(flags, message, trained, command):
    assert_refused(command("evaluate", trained, *flags), message)
