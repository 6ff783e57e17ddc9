"""Multi-process training jobs for the tests."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from safetensors.numpy import load_file

from gluonlm.corpus import load_corpus
from gluonlm.models import build_model
from gluonlm.run.folder import Run
from gluonlm.train.__main__ import main
from gluonlm.train.start import FreshStart

MPIEXEC = Path(sys.executable).with_name("mpiexec")
ROOT = Path(__file__).resolve().parents[1]
SMALL = "--hidden-size 12 --embed-size 6 --seq-len 8 --split 80/20/0 --quiet --log-every 1"
SHORT = f"{SMALL} --batch-size 7 --max-steps 50 --validate-every 25 --clip 0.3 --dropout 0"
DROPPING = f"{SMALL} --batch-size 5 --validate-every 10 --dropout 0.3 --weight-drop 0.2"
ENDLESS = f"{DROPPING} --checkpoint-every 10 --epochs 1000 --schedule constant"
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    # Open MPI by default refuses to run as root or with more processes than cores
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
TRAIN = ("-m", "gluonlm.train")
PATIENCE = 300  # seconds after which a job counts as hung, even on a slow machine
TOGETHER = 50  # interrupted runs continue to a multiple of this number of steps

needs_mpi = pytest.mark.skipif(not MPIEXEC.exists(), reason="no mpiexec next to this Python")


def write_text(folder):
    """Write a text of 20,000 characters from a fixed seed; return its folder."""
    letters = np.random.default_rng(1).choice(list("abcdefgh \n"), 20_000)
    (folder / "text.txt").write_text("".join(letters))
    return folder


def start(folder, processes, arguments, program=TRAIN, launcher=(str(MPIEXEC),)):
    """Start a training, or another program, in this many processes; 0: without mpiexec."""
    command = [sys.executable, *program, *arguments.split()]
    if processes:
        command = [*launcher, "-n", str(processes), *command]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **ENVIRONMENT}, **pipes)


def train(folder, processes, arguments, code=0, **kwargs):
    """Train in this many processes to the end; return the standard error.

    0: in the test process, which has already loaded MXNet.
    """
    if not processes:
        return train_here(folder, arguments)
    process = start(folder, processes, arguments, **kwargs)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, errors
    return errors


def train_here(folder, arguments):
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert main(arguments.split()) == 0
    finally:
        os.chdir(before)
    return ""


def started(folder, run, processes=2, step=20):
    """Start a long training; return it once it has logged this many training records."""
    process = start(folder, processes, f"--data text.txt {ENDLESS} --run {run}")
    metrics = folder / run / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists() and metrics.read_bytes().count(b'"training"') >= step:
            return process
        time.sleep(0.01)
    raise AssertionError(process.communicate()[1])


def kill(folder, run, rank):
    """Kill one process of the training that writes this run in this folder."""
    names = (b"PMI_RANK=%d" % rank, b"OMPI_COMM_WORLD_RANK=%d" % rank)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "cwd").samefile(folder)  # not while other tests run in parallel
        except OSError:
            continue
        matches = here and run.encode() in command and b"-m" in command
        if matches and set(names) & set(variables):
            os.kill(int(process.name), signal.SIGKILL)
            return
    raise AssertionError(f"no process {rank} of {run}")


def checkpoint(run):
    folder = run / "checkpoints"
    return folder / (folder / "last").read_text()


def step_of(run):
    return json.loads((checkpoint(run) / "progress.json").read_text())["step"]


def weights(run):
    return load_file(checkpoint(run) / "model.safetensors")


def records(run, event):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def untrained(run):
    """Return a run's config, its text and its model before training."""
    contents = Run(run).load("last")
    config, names = contents.config, contents.config.data.data
    data = dataclasses.replace(config.data, data=tuple(str(run.parent / name) for name in names))
    corpus, model = load_corpus(data), build_model(config.model, len(contents.vocab))
    FreshStart(config.to_dict()).set_weights(model, [mx.cpu()], corpus)
    return config, corpus, model


def assert_as_one(one, several):
    """Assert that losses agree to 1e-5, and weights to 1e-4 of their change in training."""
    for event, key in (("training", "train_loss"), ("validation", "valid_loss")):
        expected, found = ([line[key] for line in records(run, event)] for run in (one, several))
        assert len(expected) > 1
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    first, other, begin = weights(one), weights(several), untrained(one)[2].arrays()
    for name in first:
        moved = np.abs(first[name] - begin[name]).max()
        assert np.abs(other[name] - first[name]).max() <= 1e-4 * moved, name


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


def assert_continues(folder, run, processes=2):
    """Assert that an interrupted run continues bit for bit like an uninterrupted one.

    Runs that stopped at similar steps are compared with the same uninterrupted run.
    """
    steps = (step_of(folder / run) // TOGETHER + 1) * TOGETHER
    train(folder, processes, f"--resume {run} --max-steps {steps} --quiet")
    whole = f"whole-{processes}-{steps}"
    if not (folder / whole).exists():
        train(folder, processes, f"--data text.txt {ENDLESS} --max-steps {steps} --run {whole}")
    assert_same_bytes(folder / whole, folder / run)
