"""The same training timed on several devices."""

import json

import pytest
from conftest import assert_refused

from gluonlm import compare
from gluonlm.compare import Failure, Measured, Place, Timing
from gluonlm.system import runtime
from gluonlm.system.errors import InputError

ONE, TWO = Place("cpu", 1), Place("cpu", 2)


@pytest.mark.cpu_build
def test_places_are_thread_settings_and_a_missing_gpu_is_explained():
    at, refused = compare.places()
    assert at[0] == ONE
    assert at[-1] == Place("cpu", runtime.physical_cores())
    assert len(set(at)) == len(at)
    assert len(refused) == 1
    assert "CPU build" in refused[0]


def test_every_working_gpu_is_a_place_and_others_are_explained(monkeypatch):
    def get_ctx(name):
        if name == "gpu:1":
            raise InputError("`ctx` gpu:1: too old")

    monkeypatch.setattr(runtime.load_mxnet().context, "num_gpus", lambda: 3)
    monkeypatch.setattr(compare, "get_ctx", get_ctx)
    at, refused = compare.places()
    assert [place.device for place in at if place.device != "cpu"] == ["gpu:0", "gpu:2"]
    assert refused == ["`ctx` gpu:1: too old"]


@pytest.mark.cpu_build
def test_each_place_is_timed_and_the_picture_drawn(text_file, tmp_path, command, monkeypatch):
    at = [ONE, Place("cpu:1", 1), Place("gpu:0", 1)]
    monkeypatch.setattr(compare, "places", lambda: (at, ["`ctx` gpu:1: too old"]))
    flags = ["--data", text_file, "--hidden-size", "8,8", "--embed-size", 8, "--steps", 3]
    out_file = tmp_path / "bars.png"
    code, out, err = command("compare", *flags, "--rounds", 2, "--out", out_file)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert [line.split("  ")[0] for line in lines[1:3]] == ["cpu, 1 thread", "cpu:1"]
    assert lines[3].startswith("gpu:0 failed: gpu: ")
    assert "requirements-gpu.txt" in lines[3]
    assert lines[4] == "gpu:1: too old"
    assert "no usable" not in out
    assert lines[5] == f"picture {out_file}"
    assert out_file.read_bytes().startswith(b"\x89PNG")


def played(monkeypatch, results):
    """Replace the workers by results (output or exit code); return the requests they get."""
    orders, results = [], iter(results)

    class Process:
        def __init__(self, command, input, env, **kwargs):
            orders.append(json.loads(input))
            result = next(results)
            self.returncode = result if isinstance(result, int) else 0
            self.stderr = "first\ngluonlm: error: --lr 0: too low\n" if result == 2 else ""
            self.stdout = "" if self.returncode else json.dumps(vars(result))

    monkeypatch.setattr(compare.subprocess, "run", Process)
    return orders


def test_a_timing_is_the_median_step_and_the_slowest_place_has_speed_one(monkeypatch):
    steps = ([0.5, 9.0, 0.5], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5], [9.0, 0.25, 0.25])
    orders = played(monkeypatch, [Measured(seconds, 100, 40) for seconds in steps])
    timings, failures = compare.measure({"lr": 0.5}, steps=3, rounds=2, at=[ONE, TWO])
    assert timings == [Timing(ONE, 0.5, 200, 20, 1), Timing(TWO, 0.25, 400, 10, 2)]
    assert failures == []
    assert [order["threads"] for order in orders] == [1, 2, 1, 2]
    assert orders[1] == {"settings": {"lr": 0.5}, "device": "cpu", "threads": 2, "steps": 3}


def test_each_place_keeps_its_own_number_of_tokens(monkeypatch):
    played(monkeypatch, [Measured([1.0], 100, 40), Measured([1.0], 50, 10)])
    (one, two), _ = compare.measure({}, rounds=1, at=[ONE, TWO])
    assert (one.tokens_per_second, one.epoch_seconds) == (100, 40)
    assert (two.tokens_per_second, two.epoch_seconds) == (50, 10)


def test_a_failing_place_is_dropped_and_the_others_are_measured(monkeypatch):
    fine = Measured([0.5], 100, 40)
    orders = played(monkeypatch, [fine, fine, fine, -9, fine])  # killed in the second round
    timings, failures = compare.measure({}, rounds=3, at=[ONE, TWO])
    assert [timing.place for timing in timings] == [ONE]
    assert [order["threads"] for order in orders] == [1, 2, 1, 2, 1]
    assert failures == [Failure(TWO, "ended with code -9")]


def test_if_every_place_fails_the_first_failure_is_the_error(monkeypatch):
    played(monkeypatch, [2, -9])
    with pytest.raises(InputError, match=r"^--lr 0: too low$"):
        compare.measure({}, rounds=3, at=[ONE, TWO])


def test_timing_skips_the_first_step_and_uses_the_settings(text_file):
    settings = dict(
        data=(str(text_file),), hidden_size=(8,), embed_size=8, batch_size=4, seq_len=10,
        sample_temperatures=(1.0,), epochs=1, validate_every=1,
    )  # fmt: skip
    result = compare.time_steps(settings, "cpu", 3)
    assert len(result.seconds) == 3
    assert result.tokens == 40
    rows = int(text_file.stat().st_size * 0.9) // 4
    assert result.epoch_steps == -(-(rows - 1) // 10)


def test_an_impossible_training_is_one_line(command, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "places", lambda: ([ONE, TWO], []))
    wrong = (
        (["--data", "nosuch"], "--data nosuch"),
        (["--lr", 0], "--lr 0"),
        (["--rounds", 0], "--rounds 0"),
    )
    for flags, name in wrong:
        result = command("compare", *flags, "--out", tmp_path / "x.png")
        assert_refused(result, name)
        assert result[2].count("error") == 1
    with pytest.raises(InputError, match="'speed'"):
        compare.measure({"speed": 1}, at=[ONE])


def test_a_missing_gpu_is_reported(text_file, tmp_path, command, monkeypatch):
    timing = Timing(ONE, 0.5, 200, 20, 1)
    monkeypatch.setattr(compare, "places", lambda: ([ONE], ["`ctx` gpu: none"]))
    monkeypatch.setattr(compare, "measure", lambda *arguments: ([timing], []))
    code, out, err = command("compare", "--data", text_file, "--out", tmp_path / "x.png")
    row = f"{'cpu, 1 thread':16}{500.0:12.2f}{200:12,}{20.0:12.1f}{1.0:8.2f}"
    assert (code, err) == (0, "")
    assert (out.splitlines()[1:4] == [
        row, "no usable GPU found", "gpu: none"
    ])  # fmt: skip
