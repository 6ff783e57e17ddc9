"""The same training timed at several places."""

import pytest

from gluonlm import compare, runtime
from gluonlm.errors import InputError


def test_places_are_thread_settings_and_the_lack_of_a_gpu_is_explained():
    at, refused = compare.places()
    assert (
        at[0] == ("cpu", 1)
        and at[-1] == ("cpu", runtime.physical_cores())
        and len(set(at)) == len(at)
    )
    assert len(refused) == 1 and "CPU build" in refused[0]


def test_every_gpu_that_works_is_a_place_and_another_is_explained(monkeypatch):
    def get_ctx(name):
        if name == "gpu:1":
            raise InputError("--ctx gpu:1: too old")

    monkeypatch.setattr(runtime.load_mxnet().context, "num_gpus", lambda: 3)
    monkeypatch.setattr(runtime, "get_ctx", get_ctx)
    at, refused = compare.places()
    assert [device for device, _ in at if device != "cpu"] == ["gpu:0", "gpu:2"] and refused == [
        "--ctx gpu:1: too old"
    ]


def test_each_place_is_timed_in_turns_and_the_picture_drawn(
    text_file, tmp_path, command, monkeypatch
):
    monkeypatch.setattr(
        compare,
        "places",
        lambda: ([("cpu", 1), ("cpu:1", 1), ("gpu:0", 1)], ["--ctx gpu:1: too old"]),
    )
    flags = [
        "--data",
        text_file,
        "--hidden-size",
        "8,8",
        "--embed-size",
        8,
        "--steps",
        3,
        "--rounds",
        2,
        "--out",
        tmp_path / "bars.png",
    ]
    code, out, err = command("compare", *flags)
    lines = out.splitlines()
    assert (code, err) == (0, "") and [line.split("  ")[0] for line in lines[1:3]] == [
        "cpu, 1 thread",
        "cpu:1",
    ]
    assert (
        lines[3].startswith("gpu:0 failed: gpu: this MXNet is the CPU build")
        and lines[4] == "gpu:1: too old"
        and "no usable" not in out
    )
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


def test_a_record_is_the_median_of_its_steps_and_the_slowest_is_one(monkeypatch):
    times = iter([[0.5, 9.0, 0.5], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5], [9.0, 0.25, 0.25]])

    class Process:
        returncode, stderr = 0, ""

        def __init__(self, *args, **kwargs):
            self.stdout = compare.json.dumps(
                {"seconds": next(times), "tokens": 100, "epoch_steps": 40}
            )

    monkeypatch.setattr(compare.subprocess, "run", Process)
    (one, two), failed = compare.measure({}, steps=3, rounds=2, at=[("cpu", 1), ("cpu", 2)])
    assert not failed
    assert one == dict(
        device="cpu", threads=1, seconds=0.5, tokens_per_second=200, epoch_seconds=20, ratio=1
    )
    assert (two["seconds"], two["tokens_per_second"], two["epoch_seconds"], two["ratio"]) == (
        0.25,
        400,
        10,
        2,
    )


def test_a_place_that_fails_is_dropped_and_the_others_are_still_measured(monkeypatch):
    class Process:
        stdout, stderr, ran = (
            compare.json.dumps({"seconds": [0.5], "tokens": 100, "epoch_steps": 40}),
            "",
            [],
        )

        def __init__(self, *args, input, **kwargs):
            self.ran.append(compare.json.loads(input)["threads"])
            self.returncode = (
                -9 if self.ran.count(2) == 2 and self.ran[-1] == 2 else 0
            )  # killed in the second round

    monkeypatch.setattr(compare.subprocess, "run", Process)
    records, failed = compare.measure({}, rounds=3, at=[("cpu", 1), ("cpu", 2)])
    assert [record["threads"] for record in records] == [1] and Process.ran == [1, 2, 1, 2, 1]
    assert failed == [dict(device="cpu", threads=2, said="ended with code -9")]


def test_only_steps_after_the_first_are_timed_and_they_are_the_presets_own(text_file):
    settings = dict(
        data=(str(text_file),),
        hidden_size=(8,),
        embed_size=8,
        batch_size=4,
        seq_len=10,
        sample_temperatures=(1.0,),
    )
    result = compare.time_steps(settings, "cpu", 3)
    assert (
        len(result["seconds"]) == 3
        and result["tokens"] == 40
        and result["epoch_steps"] == -(-(int(text_file.stat().st_size * 0.9) // 4 - 1) // 10)
    )


def test_what_cannot_be_trained_is_one_line(command, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "places", lambda: ([("cpu", 1), ("cpu", 2)], []))
    for flags, message in (
        (["--data", "nosuch"], "neither a file"),
        (["--lr", 0], "--lr 0"),
        (["--rounds", 0], "--rounds 0"),
    ):
        code, out, err = command("compare", *flags, "--out", tmp_path / "x.png")
        assert (
            (code, out) == (2, "")
            and message in err
            and err.count("\n") == 1
            and err.count("error") == 1
        )
    with pytest.raises(InputError, match="unknown setting"):
        compare.measure({"speed": 1}, at=[("cpu", 1)])
