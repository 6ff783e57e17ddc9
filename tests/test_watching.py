"""Watch a training: TensorBoard events, and a curve that is redrawn at each validation."""

import json
import struct
import sys

import pytest
from conftest import TINY, assert_refused
from runs import assert_same_end

from gluonlm.run.folder import Run
from gluonlm.train.trainer import Trainer


def read_events(folder):
    """Return the events of a folder in order, as TensorBoard reads them: (name, step) to value."""
    from tensorboardX.proto import event_pb2

    values = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content = path.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            event = event_pb2.Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            if event.session_log.status == event_pb2.SessionLog.START:
                values = {key: value for key, value in values.items() if key[1] < event.step}
            for value in event.summary.value:
                values[value.tag, event.step] = value.simple_value
    return values


def logged(run):
    """Return the same numbers from metrics.jsonl."""
    names = {"training": ["train_loss", "lr", "tokens_per_second"], "validation": ["valid_loss"]}
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {
        (name, line["step"]): pytest.approx(line[name], rel=1e-6)
        for line in lines
        for name in names.get(line["event"], ())
    }


def killed_at(step, monkeypatch):
    taken = Trainer._step

    def killed(trainer):
        taken(trainer)
        if trainer.progress.step == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_step", killed)
    return lambda: monkeypatch.setattr(Trainer, "_step", taken)


def test_events_equal_the_metrics_and_continue_on_resume(text_file, tmp_path, command, monkeypatch):
    run, events = tmp_path / "run", tmp_path / "a" / "events"
    flags = [*TINY, "--max-steps", 10, "--log-every", 1, "--checkpoint-every", 4]
    restore = killed_at(7, monkeypatch)
    code = command("train", "--data", text_file, "--run", run, *flags, "--tensorboard", events)[0]
    assert code == 130
    assert len(read_events(events)) == 6 * 3 + 2  # steps 1 to 6; validations after 3 and 6
    restore()
    resume = ("--resume", run, "--data", text_file, "--quiet", "--tensorboard", events)
    assert command("train", *resume)[0] == 0
    assert read_events(events) == logged(run)
    assert len(list(events.iterdir())) == 2
    assert command("train", "--data", text_file, "--run", tmp_path / "whole", *flags)[0] == 0
    ours, whole = (Run(place).load("last").parameters for place in (run, tmp_path / "whole"))
    assert all((array == whole[name]).all() for name, array in ours.items())


def test_events_of_another_training_are_not_continued(text_file, tmp_path, command):
    events, flags = tmp_path / "events", ["--data", text_file, *TINY, "--tensorboard"]
    flags.append(events)
    assert command("train", *flags, "--run", tmp_path / "run")[0] == 0
    before = {path: path.read_bytes() for path in events.iterdir()}
    assert_refused(command("train", *flags, "--run", tmp_path / "other"), f"--tensorboard {events}")
    assert not (tmp_path / "other").exists()
    assert {path: path.read_bytes() for path in events.iterdir()} == before
    assert command("train", *flags, "--run", tmp_path / "run", "--overwrite")[0] == 0
    assert {path: path.read_bytes() for path in before} == before
    assert read_events(events) == logged(tmp_path / "run")


def test_a_folder_of_events_that_cannot_be_written_is_an_error(text_file, tmp_path, command):
    run, file = tmp_path / "run", tmp_path / "file"
    file.write_text("x")
    flags = ["--data", text_file, "--run", run, *TINY, "--tensorboard", file]
    assert_refused(command("train", *flags), f"--tensorboard {file}")
    assert not run.exists()
    assert file.read_text() == "x"


def test_a_missing_tensorboardx_is_one_line_with_a_remedy(
    text_file, tmp_path, command, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    run, events = tmp_path / "run", tmp_path / "events"
    flags = ["--data", text_file, "--run", run, *TINY, "--tensorboard", events]
    assert_refused(command("train", *flags), "--tensorboard", "pip install 'gluonlm[tensorboard]'")
    assert not run.exists() and not events.exists()


def test_the_curve_is_redrawn_at_each_validation(text_file, tmp_path, command, monkeypatch):
    drawn = []
    step = Trainer._step

    def watched(trainer):
        curve = tmp_path / "run" / "curve.png"
        drawn.append(curve.read_bytes() if curve.exists() else b"")
        step(trainer)

    monkeypatch.setattr(Trainer, "_step", watched)
    flags = ["--data", text_file, *TINY, "--max-steps", 9]
    assert command("train", *flags, "--run", tmp_path / "run", "--plot")[0] == 0
    assert drawn[0] == drawn[2] == b""
    assert drawn[3].startswith(b"\x89PNG") and drawn[3] == drawn[5]  # after 3 steps
    assert drawn[6].startswith(b"\x89PNG") and drawn[6] != drawn[3]
    monkeypatch.setattr(Trainer, "_step", step)
    assert command("train", *flags, "--run", tmp_path / "plain")[0] == 0
    assert_same_end(tmp_path / "run", tmp_path / "plain")


def test_a_curve_that_cannot_be_drawn_does_not_end_the_training(
    text_file, tmp_path, command, monkeypatch
):
    def fail(records, unit):
        raise RuntimeError("no font")

    monkeypatch.setattr("gluonlm.train.curve.draw_curve", fail)
    flags = ["--data", text_file, *TINY, "--run", tmp_path / "run", "--plot"]
    code, _, err = command("train", *flags)
    assert code == 0
    lines = err.splitlines()
    assert len(lines) == 3  # two validations, and the end
    assert all("no font" in line for line in lines)
    assert Run(tmp_path / "run").load("last").progress["step"] == 6
