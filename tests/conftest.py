"""Shared fixtures: a small text, command lines run here or in a subprocess, real corpora."""

import importlib
import importlib.util
import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models, perhaps a shared machine

import gluonlm  # noqa: F401  before MXNet
from gluonlm.__main__ import COMMANDS
from gluonlm.corpus import CATALOGUE, find
from gluonlm.system.console import run_command
from gluonlm.system.runtime import load_mxnet

ROOT = Path(__file__).resolve().parent.parent
TINY = [
    "--output-bias",
    "zero",  # so that six steps generate more than spaces
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
    """Run in the folder of the test texts, because a run's text is opened only from there.

    Tests do not write to the checkout, which may be read-only.
    """
    before = os.getcwd()
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["GLUONLM_DATA"] = os.path.abspath(os.environ.get("GLUONLM_DATA") or ROOT / "data")
    os.chdir(tmp_path_factory.getbasetemp())
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    """A text of 6,000 characters with some structure."""
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
    """Restore the signals that nohup and `&` in scripts ignore; subprocesses inherit this."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture
def command(capfd):
    """Run a command line in this process; return exit code, standard output, standard error."""

    def run(module, *args):
        main = importlib.import_module(f"gluonlm.{COMMANDS[module][1]}").main
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_command(lambda: main([str(a) for a in args]))
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


def assert_refused(result, *names):
    """Assert exit code 2, no output, and one error line that contains these names."""
    code, out, err = result
    assert (code, out) == (2, ""), err
    assert err.startswith("gluonlm: error: "), err
    assert err.count("\n") == 1, err
    for name in names:
        assert str(name) in err, err


def assert_resume_hint(err, run):
    """Assert one line on standard error that ends with the flag to resume this run."""
    assert err.startswith("gluonlm: "), err
    assert err.endswith(f" --resume {run}\n"), err
    assert err.count("\n") == 1, err


def start(*args, **kwargs):
    """Start `python -m gluonlm...` as a separate process."""
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
    """A read-only run, trained for six steps."""
    from gluonlm.train.__main__ import main

    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert main(["--data", str(text_file), "--run", str(folder), *TINY]) == 0
    return folder


@pytest.fixture
def corpus_path():
    """Return the path of a real corpus's first file, or skip the test."""

    def path(name):
        found = find(CATALOGUE[name].files[0])
        return found or pytest.skip(f"corpus {name} is not here")

    return path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Return the number of workers for `-n auto`: one per available core; 0 for one core.

    The default counts physical cores; several workers on one core only slow each other down.
    """
    cores = len(os.sched_getaffinity(0))
    return cores if cores > 1 else 0


def pytest_collection_modifyitems(items):
    """Run long tests first; skip tests that need the CPU build if the GPU build is installed."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)  # a stable sort
    if load_mxnet().runtime.Features().is_enabled("CUDA"):
        for item in items:
            if item.get_closest_marker("cpu_build"):
                item.add_marker(pytest.mark.skip(reason="expects the CPU build of MXNet"))
