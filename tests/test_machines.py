"""Several processes started by mpiexec train as one would."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from gluonlm import InputError, world

MPIEXEC = Path(sys.executable).with_name("mpiexec")
ROOT = Path(__file__).resolve().parents[1]
SMALL = "--hidden-size 12 --embed-size 6 --seq-len 8 --split 80/20/0 --quiet --log-every 1"
SHORT = f"{SMALL} --batch-size 7 --max-steps 50 --validate-every 25 --clip 0.3 --dropout 0"

needs_mpi = pytest.mark.skipif(not MPIEXEC.exists(), reason="no mpiexec beside this Python")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Return a folder with a text of 20,000 characters of a fixed seed."""
    folder = tmp_path_factory.mktemp("machines")
    letters = np.random.default_rng(1).choice(list("abcdefgh \n"), 20_000)
    (folder / "text.txt").write_text("".join(letters))
    return folder


def start(folder, processes, arguments):
    """Start a training in so many processes."""
    own = [sys.executable, "-m", "gluonlm.train", *arguments.split()]
    command = [str(MPIEXEC), "-n", str(processes), *own] if processes else own
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def train(folder, processes, arguments, code=0):
    """Train in so many processes to the end; return what was printed as an error."""
    process = start(folder, processes, arguments)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    return errors


def checkpoint(run, pointer="last"):
    folder = run / "checkpoints"
    return folder / (folder / pointer).read_text()


def weights(run):
    return load_file(checkpoint(run) / "model.safetensors")


def records(run, event):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def assert_as_one(one, several):
    """Assert equal losses to 1e-5, and weights to 1e-4 of what they have moved."""
    for event, key in (("training", "train_loss"), ("validation", "valid_loss")):
        expected, found = ([line[key] for line in records(run, event)] for run in (one, several))
        assert len(expected) > 1
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    first, other = weights(one), weights(several)
    for name in first:
        moved = np.abs(first[name]).max()
        np.testing.assert_allclose(other[name], first[name], atol=1e-4 * moved, rtol=0)


KINDS = {
    "gru": "--model gru --optimizer adam --lr 0.002",
    "lstm by sgd": "--model lstm --num-layers 2 --optimizer sgd --lr 0.5",
    "ensemble": "--model rnn --members 2 --lr 0.002",
    "unrolled": "--model unrolled --lr 0.002",
    "window": "--model window --window 5 --lr 0.002",
}


@needs_mpi
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_with_uneven_streams_train_as_one(kind, text):
    name = kind.replace(" ", "-")
    arguments = f"--data text.txt {SHORT} {KINDS[kind]}"
    train(text, 0, f"{arguments} --run {name}-1")
    train(text, 2, f"{arguments} --run {name}-2")
    assert_as_one(text / f"{name}-1", text / f"{name}-2")
    norms = load_file(checkpoint(text / f"{name}-2") / "training.safetensors")
    devices = {key.split(".")[1] for key in norms if key.startswith("state.")}
    assert devices == ({"0", "1"} if kind in ("gru", "lstm by sgd", "ensemble") else set())


@needs_mpi
@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("processes", [3, 4])
def test_more_processes_train_as_one(kind, processes, text):
    name = f"{kind.replace(' ', '-')}-{processes}"
    arguments = f"--data text.txt {SHORT} {KINDS[kind]}"
    train(text, 0, f"{arguments} --run {name}-1")
    train(text, processes, f"{arguments} --run {name}-several")
    assert_as_one(text / f"{name}-1", text / f"{name}-several")


def assert_same_bytes(one, other):
    for file in ("model.safetensors", "training.safetensors"):
        assert (checkpoint(one) / file).read_bytes() == (checkpoint(other) / file).read_bytes()
    drop = ("seconds", "tokens_per_second")
    for event in ("training", "validation"):
        kept = [
            [{k: v for k, v in line.items() if k not in drop} for line in records(run, event)]
            for run in (one, other)
        ]
        assert kept[0] == kept[1]


DROPPING = f"{SMALL} --batch-size 5 --validate-every 10 --dropout 0.3 --weight-drop 0.2"


@needs_mpi
def test_a_run_is_repeated_and_resumed_bit_for_bit(text):
    arguments = f"--data text.txt {DROPPING}"
    train(text, 2, f"{arguments} --max-steps 40 --schedule constant --run whole")
    train(text, 2, f"{arguments} --max-steps 40 --schedule constant --run again")
    assert_same_bytes(text / "whole", text / "again")
    train(text, 2, f"{arguments} --max-steps 17 --schedule constant --run parts")
    train(text, 2, "--resume parts --max-steps 40 --quiet")
    assert_same_bytes(text / "whole", text / "parts")


@needs_mpi
def test_a_run_goes_on_with_other_numbers_of_processes(text):
    arguments = f"--data text.txt {SHORT} --schedule constant"
    train(text, 0, f"{arguments} --run by-one")
    train(text, 3, f"{arguments} --max-steps 20 --run by-many")
    for processes, steps in ((2, 35), (0, 50)):
        train(text, processes, f"--resume by-many --max-steps {steps} --quiet")
    assert_as_one(text / "by-one", text / "by-many")


def started(folder, run, processes=2, step=20):
    """Start a long training; return it once it has come so far."""
    process = start(
        folder,
        processes,
        f"--data text.txt {DROPPING} --checkpoint-every 10 --epochs 1000 "
        f"--schedule constant --run {run}",
    )
    metrics = folder / run / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists() and metrics.read_bytes().count(b'"training"') >= step:
            return process
        time.sleep(0.01)
    raise AssertionError(process.communicate()[1])


@needs_mpi
def test_a_scheduler_s_notice_ends_all_with_a_checkpoint(text):
    process = started(text, "noticed")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "terminated: continue with --resume noticed" in errors
    steps = json.loads((checkpoint(text / "noticed") / "progress.json").read_text())["step"]
    train(text, 2, f"--resume noticed --max-steps {steps + 5} --quiet")
    train(
        text, 2, f"--data text.txt {DROPPING} --checkpoint-every 10 --epochs 1000 "
        f"--schedule constant --max-steps {steps + 5} --run unnoticed"
    )  # fmt: skip
    assert_same_bytes(text / "unnoticed", text / "noticed")


@needs_mpi
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_job_and_leaves_a_whole_checkpoint(rank, text):
    run = f"killed-{rank}"
    process = started(text, run)
    children = Path("/proc").glob("[0-9]*/environ")
    mine = f"PMI_RANK={rank}\0".encode()
    for environ in children:
        try:
            content, command = environ.read_bytes(), (environ.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if mine in content and run.encode() in command.split(b"\0") and b"-m" in command:
            os.kill(int(environ.parent.name), signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode != 0
    steps = json.loads((checkpoint(text / run) / "progress.json").read_text())["step"]
    train(text, 2, f"--resume {run} --max-steps {steps + 5} --quiet")
    train(
        text, 2, f"--data text.txt {DROPPING} --checkpoint-every 10 --epochs 1000 "
        f"--schedule constant --max-steps {steps + 5} --run unkilled-{rank}"
    )  # fmt: skip
    assert_same_bytes(text / f"unkilled-{rank}", text / run)


@needs_mpi
def test_bad_input_is_one_line_of_all_processes_together(text):
    errors = train(text, 2, "--data missing.txt --quiet", code=2)
    assert errors.count("\n") == 1 and "missing.txt" in errors
    errors = train(text, 2, f"--data text.txt {SMALL} --batch-size 1 --run few", code=2)
    assert errors.count("\n") == 1 and "--batch-size" in errors
    assert not (text / "few").exists()


@needs_mpi
def test_what_fails_in_one_process_is_one_line_and_ends_all(text):
    program = (
        "import gluonlm.world as w\n"
        "with w.joined() as world:\n"
        "    if world.rank == 1: raise w.InputError('no such thing')\n"
        "    world.every(1)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(MPIEXEC), "-n", "2", sys.executable, "-c", program]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert process.returncode == 2
    ours = [line for line in process.stderr.splitlines() if line.startswith("gluonlm: ")]
    assert len(ours) == 1 and "process 1 of 2" in ours[0] and "no such thing" in ours[0]


@needs_mpi
def test_evaluate_is_one_process(text):
    command = [str(MPIEXEC), "-n", "2", sys.executable, "-m", "gluonlm", "evaluate", "runs/x"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1 and "is one process" in process.stderr


def test_mpi_is_not_imported_without_mpiexec():
    program = (
        "import sys, gluonlm.train as train\n"
        "train.joined().__enter__()\n"
        "sys.exit('mpi4py' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_a_missing_or_another_mpi_is_one_line(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(InputError, match="2 processes were started, but MPI does not load"):
        world.joined().__enter__()


def test_one_process_decides_for_itself():
    assert world.ALONE.decide(lambda: 3) == 3
    assert world.ALONE.every("x") == ["x"]
    assert world.ALONE.cores(5) == 5
