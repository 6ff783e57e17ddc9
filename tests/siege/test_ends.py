"""No progress is lost, however a training ends and whatever fails afterwards."""

import json
import os
import shutil
import signal

import pytest
from conftest import TINY, assert_resume_hint, start
from runs import assert_same_end
from test_signals import signalled_in_a_step

from gluonlm.run.folder import Run
from gluonlm.train import __main__ as train


def test_closing_the_terminal_saves_a_checkpoint(trained, text_file, tmp_path, command):
    run = tmp_path / "run"
    process = signalled_in_a_step(signal.SIGHUP, text_file, run)
    out, err = process.communicate()
    assert (process.returncode, out) == (129, "")
    assert_resume_hint(err, run)
    assert Run(run).load("last").progress["step"] == 5
    assert command("train", "--resume", run, "--quiet")[0] == 0
    assert_same_end(run, trained)


def test_an_ignored_signal_stays_ignored(monkeypatch):
    monkeypatch.setattr(train, "SIGNALS", {signal.SIGHUP: "hung up"})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with train.signals_watched(None):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_broken_pipe_ends_the_training_with_a_checkpoint(text_file, tmp_path, command):
    run, flags = tmp_path / "run", [*TINY, "--max-steps", "9", "--data", text_file]
    loud = [flag for flag in flags if flag != "--quiet"]
    process = start("-u", "-m", "gluonlm.train", "--run", run, *loud)
    while not process.stdout.readline().startswith("epoch"):
        pass
    process.stdout.close()  # as by `| head`; the second validation prints the next line
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert_resume_hint(err, run)
    # on a busy machine, the second validation may print before the pipe is closed
    assert Run(run).load("last").progress["step"] in (6, 9)
    assert command("train", "--resume", run, "--quiet")[0] == 0
    assert command("train", "--run", tmp_path / "whole", *flags)[0] == 0
    assert_same_end(run, tmp_path / "whole")


@pytest.mark.parametrize("place", ["a flipped bit", "a line cut", "no object", "a number"])
def test_damaged_metrics_prevent_only_the_curve(place, trained, tmp_path, command):
    run = shutil.copytree(trained, tmp_path / "run")
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    lines[0] = {
        "a flipped bit": bytes([lines[0][0] ^ 1]) + lines[0][1:],
        "a line cut": lines[0][:20].ljust(len(lines[0]) - 1) + b"\n",
        "no object": b"[]".ljust(len(lines[0]) - 1) + b"\n",
        "a number": b"7".ljust(len(lines[0]) - 1) + b"\n",
    }[place]
    (run / "metrics.jsonl").write_bytes(b"".join(lines))
    code, out, err = command("train", "--resume", run, "--max-steps", 9)
    assert code == 0
    assert err.count("\n") == 1
    assert "curve" in err
    assert "metrics.jsonl: line 1 " in err
    assert "(test part)" in out
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "result"
    assert last["steps"] == 9


def test_an_unknown_matplotlib_backend_does_not_stop_the_training(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    odd = {"MPLBACKEND": "odd", "PYTHONIOENCODING": "ascii"}
    named = tmp_path / "ünï"
    os.rename(run, named)
    process = start("-m", "gluonlm.train", "--resume", named, "--max-steps", 9, env=odd)
    out, err = process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "(test part)" in out
    assert "checkpoint" in out
    assert "\\xfcn\\xef" in out
    last = json.loads((named / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "result"


def test_closed_standard_streams_are_not_an_error(trained):
    script = f"exec {os.sys.executable} -m gluonlm.evaluate {trained} --json >&- <&-"
    process = start("-c", "import os, sys; os.execvp('sh', ['sh', '-c', sys.argv[1]])", script)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    "loaded",
    ["numpy.version", "numpy", "gluonlm.system.runtime", "gluonlm.config", "mxnet.base", "mxnet"],
)
def test_ctrl_c_during_import_prints_at_most_one_line(loaded, text_file, tmp_path):
    flags = ["--data", text_file, "--run", tmp_path / "run"]
    process = start("-X", "importtime", "-m", "gluonlm.train", *flags)
    for line in process.stderr:
        if line.split("|")[-1].strip() == loaded:
            process.send_signal(signal.SIGINT)
            break
    rest = [line for line in process.stderr if not line.startswith("import time:")]
    process.communicate()
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert len(rest) <= 1
    assert all(line.startswith("gluonlm: ") for line in rest)
