"""Run every side of every workload in fresh processes, the sides alternating."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workloads import WORKLOADS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIBRARIES = ("mxnet", "numpy", "torch")  # in which a product may be the fastest
SCRIPTS = {"ours": "ours", "eager": "peer", "tutorial": "tutorial"}
FINALISTS = 2  # of the ways to use PyTorch: one trial each does not tell the best from the second
PATIENCE = 240  # seconds for a trial that compiles
IMPORT = "import time; t = time.perf_counter(); import gluonlm; print(time.perf_counter() - t)"


def environment() -> dict[str, str]:
    """Return a user's environment: nothing set about threads or memory, this checkout first."""
    ours = ("OMP_", "MKL_", "OPENBLAS_", "MALLOC_", "MXNET_", "GLUONLM_", "GLIBC_", "TORCH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # compiled in the process itself: no workers outlive one that is stopped
    return {**kept, "PYTHONPATH": str(ROOT), "TORCHINDUCTOR_COMPILE_THREADS": "1"}


def run(script, *arguments, timeout=None):
    """Run one script of this folder in a fresh process, and return what it measured."""
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=timeout
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def first_step() -> float:
    """Return the seconds from starting a training to the first line of its metrics, one step."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "run" / "metrics.jsonl"
        flags = ["--run", str(metrics.parent), "--log-every", "1", "--quiet"]
        command = [sys.executable, "-m", "gluonlm.train", *flags]
        silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        began = time.perf_counter()
        with subprocess.Popen(command, env=environment(), cwd=ROOT, **silent) as process:
            while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
                time.sleep(0.01)
            taken = time.perf_counter() - began
            process.kill()
    return taken


def import_alone() -> float:
    """Return the seconds that `import gluonlm` takes."""
    command = [sys.executable, "-c", IMPORT]
    return float(subprocess.run(command, env=environment(), capture_output=True, check=True).stdout)


def ways(task, cores) -> list[str]:
    """Return the ways to use PyTorch that are tried for a task, as expert.py's words.

    Each with every core, and with 1, 2, 4 and so on.
    """
    ways = ["plain", "malloc", "malloc compile"]
    if task == "generate":
        ways = ["plain", "cells", "products", "products compile"]
    threads = [f" threads={2**i}" for i in range(cores.bit_length()) if 2**i < cores]
    return [way + count for way in ways for count in ("", *threads)]


def trial(name, way) -> float:
    """Return the seconds of a step in PyTorch used that way.

    Infinity where compiling fails, as without a compiler, or takes too long.
    """
    patience = PATIENCE if "compile" in way else None
    try:
        return run("expert.py", name, *way.split(), timeout=patience)["seconds"]
    except (SystemExit, subprocess.TimeoutExpired):
        if not patience:
            raise
        return float("inf")


def sides(name, say) -> dict[str, list[str]]:
    """Return the commands of a workload's sides: of PyTorch, eager and the fastest other ways."""
    cores = len(os.sched_getaffinity(0))
    seconds = {way: trial(name, way) for way in ways(WORKLOADS[name].task, cores)}
    say(f"{name}: " + ", ".join(f"{way} {1000 * taken:.2f} ms" for way, taken in seconds.items()))
    finalists = sorted(seconds, key=lambda way: seconds[way])[:FINALISTS]
    commands = {side: [f"{script}.py", name] for side, script in SCRIPTS.items()}
    commands.update({way: ["expert.py", name, *way.split()] for way in finalists})
    return commands


def alone() -> dict:
    """Return what is measured once a round, without a peer."""
    products = [run("sgemm.py", library) for library in LIBRARIES]
    sgemm = {name: rate for rates in products for name, rate in rates.items()}
    taken = {"first step": first_step(), "import": import_alone()}
    return {**run("extras.py"), **taken, "sgemm": sgemm}


def measure(names, rounds, say) -> tuple[dict, list]:
    """Run every side of every workload `rounds` times, alternating.

    Returns
    -------
    dict, list
        The measurements of each (workload, side), and those of `alone`.
    """
    found, extras = {}, []
    commands = {name: sides(name, say) for name in names}
    for turn in range(rounds):
        extras.append(alone())
        for name in names:
            for side, command in commands[name].items():
                found.setdefault((name, side), []).append(run(*command))
            last = [f"{s} {1000 * found[name, s][-1]['seconds']:.2f} ms" for s in commands[name]]
            say(f"round {turn + 1} of {rounds}: {name}: {', '.join(last)}")
    return found, extras
