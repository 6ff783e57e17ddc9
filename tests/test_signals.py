"""The effects of Ctrl-C, SIGTERM and clock changes on a training."""

import itertools
import signal
import subprocess
import threading
import time

import pytest
from conftest import TINY, assert_resume_hint, start
from runs import assert_same_end, records

from gluonlm.run.folder import Run
from gluonlm.train.__main__ import SIGNALS, main

BLOCKED = """
import signal
import sys
from gluonlm.train import trainer
from gluonlm.system.console import run_command
from gluonlm.train.__main__ import main
def blocked(self, real=trainer.Trainer._step):
    real(self)
    if self.progress.step == 5:
        print("in a step", flush=True)
        while self.stop_request is None:
            pass
        print("asked to stop", flush=True)
        sys.stdin.read()
trainer.Trainer._step = blocked
signal.alarm(300)  # nothing is left behind if a signal is lost
run_command(lambda: main(sys.argv[1:]))
"""


def signalled_in_a_step(number, text_file, run):
    """Start a training and signal it in step 5, which ends when standard input closes."""
    process = start("-c", BLOCKED, "--data", text_file, "--run", run, *TINY, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "in a step\n"
    process.send_signal(number)
    assert process.stdout.readline() == "asked to stop\n"
    return process


def test_a_training_in_a_second_thread_is_the_same(trained, text_file, tmp_path):
    codes, run = [], tmp_path / "run"
    arguments = ["--data", str(text_file), "--run", str(run), *TINY]
    handlers = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=lambda: codes.append(main(arguments)))
    thread.start()
    thread.join()
    assert codes == [0]
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert_same_end(run, trained)


@pytest.mark.parametrize(
    "number, code, word", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_a_training_after_its_step_and_resume_finishes_it(
    number, code, word, trained, text_file, tmp_path, command
):
    run = tmp_path / "run"
    process = signalled_in_a_step(number, text_file, run)
    out, err = process.communicate()
    assert (process.returncode, out) == (code, "")
    assert_resume_hint(err, run)
    assert word in err
    assert Run(run).load("last").progress["step"] == 5
    assert len(records(run, "validation")) == 1
    assert command("train", "--resume", run, "--quiet")[0] == 0
    assert_same_end(run, trained)


@pytest.mark.parametrize(
    "number, code, lines", [(signal.SIGINT, 130, 1), (signal.SIGTERM, -signal.SIGTERM, 0)]
)
def test_a_second_signal_ends_at_once_and_keeps_the_last_checkpoint(
    number, code, lines, trained, text_file, tmp_path, command
):
    run = tmp_path / "run"
    process = signalled_in_a_step(number, text_file, run)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, out, err.count("\n")) == (code, "", lines)
    assert err.startswith("gluonlm: " * lines)
    assert Run(run).load("last").progress["step"] == 3  # no checkpoint of step 5
    assert command("train", "--resume", run, "--quiet")[0] == 0
    assert_same_end(run, trained)


@pytest.mark.parametrize("tick", [0, -1000])
def test_a_clock_that_stops_or_runs_backwards_has_no_effect(
    tick, trained, text_file, tmp_path, command, monkeypatch
):
    now, asked = itertools.count(10**9, tick), set()
    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, lambda name=name: (asked.add(name), float(next(now)))[1])
    flags = [f for f in TINY if f != "--quiet"]
    assert command("train", "--data", text_file, "--run", tmp_path / "run", *flags)[0] == 0
    assert {"monotonic", "perf_counter"} <= asked
    monkeypatch.undo()
    assert_same_end(tmp_path / "run", trained)
