"""All processes of a job end together: after a signal, an error or a kill."""

import contextlib
import os
import random
import signal
import subprocess
import sys

import pytest
from conftest import assert_refused
from jobs import (
    ENDLESS,
    ENVIRONMENT,
    MPIEXEC,
    PATIENCE,
    ROOT,
    SMALL,
    assert_continues,
    kill,
    needs_mpi,
    started,
    step_of,
    train,
    write_text,
)

from gluonlm.system import processes
from gluonlm.system.errors import InputError

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("ends"))


@needs_mpi
def test_sigterm_ends_all_processes_with_a_checkpoint(text):
    process = started(text, "noticed")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM
    assert "--resume noticed\n" in errors
    assert_continues(text, "noticed")


@needs_mpi
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_job_and_leaves_a_complete_checkpoint(rank, text):
    process = started(text, f"killed-{rank}")
    kill(text, f"killed-{rank}", rank)
    process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert_continues(text, f"killed-{rank}")


@needs_mpi
@pytest.mark.full
@pytest.mark.parametrize("seed", range(20))
def test_a_kill_of_any_process_at_any_moment_loses_nothing(seed, text):
    chance = random.Random(seed)
    processes, run = chance.choice((2, 3)), f"random-{seed}"
    process = started(text, run, processes, step=chance.randrange(1, 30))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=chance.random())
    kill(text, run, chance.randrange(processes))
    process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert_continues(text, run, processes)


LIMITED = """
import resource, sys
from gluonlm.train import __main__ as train
from gluonlm.system.console import run_command
from gluonlm.train import trainer
rank, kind, limit = sys.argv[1:4]
def limited(self, real=trainer.Trainer._step):
    real(self)
    if self.progress.step == 20 and self.world.rank == int(rank):
        resource.setrlimit(getattr(resource, kind), (int(limit), int(limit)))
        {then}
trainer.Trainer._step = limited
run_command(lambda: train.main(sys.argv[4:]))
"""
OUT_OF_MEMORY = LIMITED.replace("{then}", "import numpy; numpy.ones(1 << 40)")
DISK_FULL = LIMITED.replace("{then}", "")


def fails(text, run, program):
    """Train until a resource runs out; return this package's error lines."""
    arguments = f"--data text.txt {ENDLESS} --run {run}"
    errors = train(text, 2, arguments, code=2, program=("-c", *program))
    assert "Traceback" not in errors
    return [line for line in errors.splitlines() if line.startswith("gluonlm: ")]


@needs_mpi
def test_a_full_disk_is_one_line_and_keeps_the_last_good_checkpoint(text):
    (line,) = fails(text, "full", (DISK_FULL, "0", "RLIMIT_FSIZE", "6000"))
    assert "full: " in line
    assert step_of(text / "full") in (10, 20)
    assert_continues(text, "full")


@needs_mpi
def test_a_process_out_of_memory_is_one_line_and_ends_the_job(text):
    (line,) = fails(text, "large", (OUT_OF_MEMORY, "1", "RLIMIT_AS", str(1 << 30)))
    assert "process 1 of 2" in line
    assert "memory" in line
    assert_continues(text, "large")


@needs_mpi
def test_all_processes_report_bad_input_in_one_line(text):
    errors = train(text, 2, "--data missing.txt --quiet", code=2)
    assert errors.count("\n") == 1
    assert "missing.txt" in errors
    errors = train(text, 2, f"--data text.txt {SMALL} --batch-size 1 --run few", code=2)
    assert errors.count("\n") == 1
    assert "--batch-size" in errors
    assert not (text / "few").exists()


@needs_mpi
def test_an_error_in_one_process_is_one_line_and_ends_the_job(text):
    program = (
        "import gluonlm.system.processes as w\n"
        "with w.joined() as world:\n"
        "    if world.rank == 1: raise w.InputError('no such thing')\n"
        "    world.all_gather(1)\n"
    )
    environment = {**os.environ, **ENVIRONMENT}
    command = [str(MPIEXEC), "-n", "2", sys.executable, "-c", program]
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert process.returncode == 2
    ours = [line for line in process.stderr.splitlines() if line.startswith("gluonlm: ")]
    assert len(ours) == 1
    assert "process 1 of 2" in ours[0]
    assert "no such thing" in ours[0]


@needs_mpi
def test_evaluate_is_single_process(text):
    command = [str(MPIEXEC), "-n", "2", sys.executable, "-m", "gluonlm", "evaluate", "runs/x"]
    environment = {**os.environ, **ENVIRONMENT}
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert_refused((process.returncode, process.stdout, process.stderr), "mpiexec")


TRAINING = ["-m", "gluonlm", "train", "--data", "text.txt", *SMALL.split(), "--max-steps", "2"]
# a program that runs as rank 1 only, and trains in the others
BY_RANK = """
import os, sys, gluonlm
from gluonlm.__main__ import script
if "1" in (os.environ.get("PMI_RANK"), os.environ.get("OMPI_COMM_WORLD_RANK")):
    {rank_one}
script()
"""


def launch(text, *programs, limit=300):
    """Run one process of each program under mpiexec; return its code, output and our errors."""
    command = [str(MPIEXEC)]
    for number, program in enumerate(programs):
        command += [":"] * (number > 0) + ["-n", "1", sys.executable, *program]
    environment = {**os.environ, **ENVIRONMENT, "GLUONLM_JOIN_SECONDS": str(limit)}
    process = subprocess.run(
        command, env=environment, cwd=text, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "Traceback" not in process.stderr
    errors = [line for line in process.stderr.splitlines() if line.startswith("gluonlm: ")]
    return process.returncode, process.stdout, errors


@needs_mpi
@pytest.mark.parametrize(
    "program",
    [
        ["-c", ""],
        ["-c", "raise SystemExit(3)"],
        ["-c", "import time; time.sleep(1000)"],
        ["-c", "from mpi4py import MPI"],
        ["-c", "from mpi4py import MPI; MPI.COMM_WORLD.bcast(1, 1)"],
        ["-m", "gluonlm", "evaluate", "nowhere"],
        ["-m", "gluonlm", "--version"],
    ],
)
def test_a_process_that_does_not_join_is_named_and_ends_the_job(program, text):
    code, _, errors = launch(text, [*TRAINING, "--run", "alone"], program, limit=2)
    assert code in (2, 3)
    assert len(errors) == 1
    assert "rank 1 of 2 " in errors[0]
    assert not (text / "alone").exists()


@needs_mpi
def test_all_processes_that_do_not_join_are_named_in_one_line(text):
    processes = [[*TRAINING, "--run", "alone"], ["-c", ""], ["-c", ""], [*TRAINING]]
    code, _, (error,) = launch(text, *processes, limit=30)
    assert code == 2
    assert "ranks 1, 2 of 4 " in error


@needs_mpi
def test_a_first_process_that_does_not_join_is_named(text):
    code, _, (error,) = launch(text, ["-c", ""], *[[*TRAINING, "--run", "alone"]] * 2, limit=10)
    assert code == 2
    assert "rank 0 of 3 " in error


@needs_mpi
@pytest.mark.parametrize("version", ["gluonlm.__version__", "__import__('numpy').__version__"])
def test_processes_of_different_versions_are_refused(version, text):
    program = BY_RANK.format(rank_one=f"{version} = '77.1'")
    line = ["-c", program, *TRAINING[2:], "--run", "versions"]
    code, out, (error,) = launch(text, line, line)
    assert (code, out) == (2, "")
    assert "process 1 " in error
    assert "77.1" in error
    assert not (text / "versions").exists()


@needs_mpi
@pytest.mark.parametrize(
    "flags", [["--help"], ["--list-presets"], ["--lr", "0.5"], ["--no-such-flag"], ["--run", "b"]]
)
@pytest.mark.parametrize("rank", [0, 1])
def test_processes_of_different_command_lines_are_refused(flags, rank, text):
    lines = [[*TRAINING, "--run", "lines"], [*TRAINING, "--run", "lines", *flags]]
    code, out, (error,) = launch(text, *(lines if rank else lines[::-1]))
    assert (code, out) == (2, "")
    assert "process 1 " in error
    assert "command line" in error
    assert not (text / "lines").exists()


@needs_mpi
def test_processes_may_use_different_devices(text):
    line = [*TRAINING, "--run", "devices", "--quiet"]
    other = [*line, "--gpu", "-1", "--threads=2"]
    assert launch(text, [*line, "--ctx", "cpu:0"], other)[::2] == (0, [])


@needs_mpi
@pytest.mark.parametrize("flag", ["--help", "--help-all", "--list-presets"])
def test_help_is_printed_once(flag, text):
    code, out, errors = launch(text, *[["-m", "gluonlm", "train", flag]] * 2)
    assert (code, errors) == (0, [])
    alone = [sys.executable, "-m", "gluonlm", "train", flag]
    environment = {**os.environ, **ENVIRONMENT}
    assert out == subprocess.run(alone, env=environment, capture_output=True, text=True).stdout


@pytest.mark.parametrize("number", ["²", "٣", "-1", "", "x", "1e9", "9" * 5000, " 2", "0", "1"])
def test_invalid_variables_of_a_launcher_are_ignored(number, monkeypatch):
    for name in (*processes.SIZES, *processes.RANKS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PMI_SIZE", number)
    monkeypatch.setenv("PMI_RANK", "0")
    assert processes.joined().__enter__() is processes.ALONE
    monkeypatch.setenv("PMI_SIZE", "3")
    assert processes.launched() == (0, 3)
    if number not in ("0", "1"):
        monkeypatch.setenv("PMI_RANK", number)
        assert processes.launched() == (0, 1)


@needs_mpi
@pytest.mark.parametrize("limit", ["0", "9" * 5000])
def test_an_invalid_time_limit_is_one_line(limit, text):
    code, _, (error,) = launch(text, TRAINING, TRAINING, limit=limit)
    assert code == 2
    assert "GLUONLM_JOIN_SECONDS" in error


@pytest.mark.parametrize("limit", ["0", "-1", "x", "", "1.5", "²"])
def test_a_time_limit_is_a_whole_number_of_seconds(limit, monkeypatch):
    monkeypatch.setenv("GLUONLM_JOIN_SECONDS", limit)
    with pytest.raises(InputError, match="GLUONLM_JOIN_SECONDS"):
        processes._Roll(0, 2).join()


def test_mpi_is_not_imported_without_mpiexec():
    program = (
        "import sys, gluonlm.train.__main__ as train\n"
        "train.joined().__enter__()\n"
        "sys.exit('mpi4py' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_a_missing_or_different_mpi_is_one_line(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(InputError, match=r"2 processes.*gluonlm\[mpi\]"):
        processes.joined().__enter__()


def test_collectives_work_in_a_single_process():
    assert processes.ALONE.from_first(lambda: 3) == 3
    assert processes.ALONE.all_gather("x") == ["x"]
    assert processes.ALONE.cores(5) == 5
