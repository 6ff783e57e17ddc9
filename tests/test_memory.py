"""Commands under a limit on memory (`ulimit -v`): one line and exit code 2, never a crash."""

import errno
import os
import resource
import signal
import subprocess

import pytest
from conftest import TINY, assert_resume_hint, start
from runs import assert_same_end

from gluonlm.run.folder import Run
from gluonlm.system import memory
from gluonlm.system.memory import is_exhausted, memory_limit

MB = 1 << 20
AMPLE = 1 << 32
LIMITS = [MB * size for size in (48, 127, 300, 460, 540, 575, 620, 670)]
pytestmark = [pytest.mark.long, pytest.mark.cpu_build]  # the GPU build takes more memory

# a training that executes a statement in step 5
PROGRAM = """
import os, signal, sys, threading
from gluonlm.system import memory
memory.supervise()
from gluonlm.train import trainer
from gluonlm.system.console import run_command
from gluonlm.train.__main__ import main
def step(self, real=trainer.Trainer._step):
    real(self)
    if self.progress.step == 5:
        {statement}
trainer.Trainer._step = step
run_command(lambda: main(sys.argv[1:]))
"""


def limited(size, *args, **kwargs):
    """Start Python with this limit in bytes."""
    env = {"OMP_NUM_THREADS": "1", "GLUONLM_KERNELS": "auto"}
    limits = (resource.RLIMIT_AS, (size, size))
    return start(*args, preexec_fn=lambda: resource.setrlimit(*limits), env=env, **kwargs)


def finish(process):
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err


def assert_exhausted(code, err):
    assert code == 2, err
    assert err.startswith("gluonlm: error: "), err
    assert err.count("\n") == 1, err
    assert "memory" in err


def training(size, statement, text_file, run, **kwargs):
    program = PROGRAM.format(statement=statement)
    return limited(size, "-c", program, "--data", text_file, "--run", run, *TINY, **kwargs)


@pytest.mark.parametrize(
    "command",
    [
        "train --data {text} --run {new} --quiet --max-steps 3 --hidden-size 8 --seq-len 9",
        "evaluate {run} --data {text}",
        "generate {run} --length 20",
        "export {run} --format torch --out {new}.safetensors",
    ],
)
def test_any_limit_ends_a_command_in_one_line(command, trained, text_file, tmp_path):
    codes = []
    for size in (*LIMITS, AMPLE):
        paths = dict(text=text_file, run=trained, new=tmp_path / str(size))
        name, *flags = command.format(**paths).split()
        code, _, err = finish(limited(size, "-m", f"gluonlm.{name}", *flags))
        codes.append(code)
        if code:
            assert_exhausted(code, err)
    assert codes[0] == 2
    assert codes[-1] == 0


def test_a_model_that_exceeds_the_limit_leaves_no_run(text_file, tmp_path):
    flags = ("--data", text_file, "--run", tmp_path / "run", "--hidden-size", "20000", "--quiet")
    code, out, err = finish(limited(AMPLE, "-m", "gluonlm.train", *flags))
    assert_exhausted(code, err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "bytearray(1 << 40)",
        "from mxnet import nd; nd.zeros(1 << 30).wait_to_read()",
        "os.write(2, b'terminate called\\n'); os.abort()",
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os.write(2, b'cannot allocate memory for thread-local data\\n'); os._exit(127)",
        "os.write(2, b'OpenBLAS error: Memory allocation still failed\\n'); os._exit(1)",
    ],
)
def test_exhausted_memory_keeps_the_last_checkpoint_and_resumes(
    statement, trained, text_file, tmp_path, command
):
    run = tmp_path / "run"
    code, _, err = finish(training(AMPLE, statement, text_file, run))
    assert_exhausted(code, err)
    assert Run(run).load("last").progress["step"] == 3
    assert command("train", "--resume", run, "--quiet")[0] == 0
    assert_same_end(run, trained)


def test_a_bug_under_a_limit_prints_its_traceback(text_file, tmp_path):
    statement = "os.write(2, b'a library\\n'); raise RuntimeError('a bug')"
    code, _, err = finish(training(AMPLE, statement, text_file, tmp_path / "run"))
    assert code == 1
    assert "RuntimeError: a bug\n" in err
    assert "a library\n" in err


WAITING = "print('in a step', flush=True); sys.stdin.read()"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_reach_a_command_under_a_limit(number, code, trained, text_file, tmp_path, command):
    run = tmp_path / "run"
    statement = "print('in a step', flush=True)\n        while self.stop_request is None: pass"
    process = training(AMPLE, statement, text_file, run)
    assert process.stdout.readline() == "in a step\n"
    process.send_signal(number)
    ended, _, err = finish(process)
    assert ended == code
    assert_resume_hint(err, run)
    assert command("train", "--resume", run, "--quiet")[0] == 0
    assert_same_end(run, trained)


def test_a_killed_command_under_a_limit_ends_completely(text_file, tmp_path):
    process = training(AMPLE, WAITING, text_file, tmp_path / "run", stdin=subprocess.PIPE)
    assert process.stdout.readline() == "in a step\n"
    process.kill()
    assert process.stdout.read() == ""  # closed by its child too
    process.stdin.close()
    process.wait()


def test_a_folder_that_cannot_be_listed_keeps_its_checkpoints(trained, monkeypatch):
    run = Run(trained)

    def fail(folder):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(os, "listdir", fail)
    with pytest.raises(OSError) as error:
        run._prune()
    assert is_exhausted(error.value)
    monkeypatch.undo()
    assert run.load("last").progress["step"] == 6


def test_errors_count_as_exhausted_memory_only_if_they_are(monkeypatch):
    noexec = OSError("libmxnet.so: failed to map segment from shared object")
    assert is_exhausted(RuntimeError("std::bad_alloc"))
    assert not is_exhausted(RuntimeError("a bug"))
    assert not is_exhausted(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(memory, "memory_limit", lambda: float("inf"))
    assert not is_exhausted(noexec)
    monkeypatch.setattr(memory, "memory_limit", lambda: 1e9)
    assert is_exhausted(noexec)


def test_without_a_limit_a_command_is_one_process(monkeypatch):
    assert memory_limit() == float("inf")
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a second process"))
    memory.supervise()
