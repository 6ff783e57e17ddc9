"""What the tests share: a small text, command lines run here or in a process, real corpora."""

import importlib
import importlib.util
import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # the models here are tiny, and the machine may be shared

import gluonlm  # noqa: F401  before MXNet
from gluonlm.__main__ import COMMANDS
from gluonlm.corpus import CATALOGUE, find
from gluonlm.system.console import run_command
from gluonlm.system.runtime import load_mxnet

ROOT = Path(__file__).resolve().parent.parent
TINY = [
    "--output-bias",
    "zero",  # so that six steps write more than spaces
    "--embed-size",
    "8",
    "--hidden-size",
    "12",
    "--batch-size",
    "4",
    "--seq-len",
    "10",
    "--max-steps",
    "6",
    "--validate-every",
    "3",
    "--log-every",
    "2",
    "--dropout",
    "0.2",
    "--quiet",
]


def peak():
    """Return the peak memory of this process in MB; ru_maxrss starts at its parent's peak."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


PEAK = inspect.getsource(peak) + "\n"  # for programs that tests start


@pytest.fixture(scope="session", autouse=True)
def in_a_folder_of_texts(tmp_path_factory):
    """Work where the texts of the tests are: a run's own text is followed only there.

    Nothing of the checkout, which may be read-only, is written to.
    """
    before = os.getcwd()
    os.environ["GLUONLM_DATA"] = os.path.abspath(os.environ.get("GLUONLM_DATA") or ROOT / "data")
    os.chdir(tmp_path_factory.getbasetemp())
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    """A text of 6,000 characters with some order in it."""
    path = tmp_path_factory.mktemp("text") / "rhyme.txt"
    path.write_text(
        "".join(
            f"the {n} little ducks went out to play, {n * n} hills away.\n" for n in range(1, 110)
        ),
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="session", autouse=True)
def signals_arrive():
    """Heed the signals that nohup and the & of a script ignore: processes inherit that."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture
def command(capfd):
    """Runs a command line in this process: gives exit code, standard output, standard error."""

    def run(module, *args):
        main = importlib.import_module(f"gluonlm.{COMMANDS[module][1]}").main
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_command(lambda: main([str(a) for a in args]))
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


def start(*args, **kwargs):
    """Start `python -m gluonlm...` as a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **kwargs.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        **kwargs,
    )


@pytest.fixture(scope="session")
def trained(text_file, tmp_path_factory):
    """A run that was trained for six steps, to read only."""
    from gluonlm.train.__main__ import main

    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert main(["--data", str(text_file), "--run", str(folder), *TINY]) == 0
    return folder


@pytest.fixture
def corpus_path():
    """Gives the path of a real corpus's first file, or skips the test."""

    def path(name):
        found = find(CATALOGUE[name].files[0])
        return found or pytest.skip(f"corpus {name} is not here")

    return path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Return how many processes `-n auto` starts: one for each core of this process; 0 for one.

    The default counts physical cores, and processes that run on one core only slow each other.
    """
    cores = len(os.sched_getaffinity(0))
    return cores if cores > 1 else 0


def pytest_collection_modifyitems(items):
    """Run long tests first; skip what expects the CPU build where the GPU build is installed."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)  # else in their order
    if load_mxnet().runtime.Features().is_enabled("CUDA"):
        for item in items:
            if item.get_closest_marker("cpu_build"):
                item.add_marker(pytest.mark.skip(reason="expects the CPU build of MXNet"))
