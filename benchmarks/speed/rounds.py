"""Run every side of every workload in fresh processes, alternating between the sides."""

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
LIBRARIES = ("mxnet", "numpy", "torch")  # candidates for the fastest matrix product
SCRIPTS = {"ours": "ours", "eager": "peer", "tutorial": "tutorial"}
FINALISTS = 2  # variants of PyTorch in the rounds, because one trial is noisy
PATIENCE = 240  # seconds for a trial that compiles
IMPORT = "import time; t = time.perf_counter(); import gluonlm; print(time.perf_counter() - t)"


def environment() -> dict[str, str]:
    """Return an environment without settings of threads or memory, with this checkout first."""
    ours = ("OMP_", "MKL_", "OPENBLAS_", "MALLOC_", "MXNET_", "GLUONLM_", "GLIBC_", "TORCH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # compile in the process itself, so that no workers outlive a stopped trial
    return {**kept, "PYTHONPATH": str(ROOT), "TORCHINDUCTOR_COMPILE_THREADS": "1"}


def run(script, *arguments, timeout=None):
    """Run one script of this folder in a fresh process, and return its measurements."""
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
    """Return the variants of PyTorch to try for a task, as words for expert.py.

    Each is tried with all cores, and with 1, 2, 4 and so on.
    """
    ways = ["plain", "malloc", "malloc compile"]
    if task == "generate":
        ways = ["plain", "cells", "products", "products compile"]
    threads = [f" threads={2**i}" for i in range(cores.bit_length()) if 2**i < cores]
    return [way + count for way in ways for count in ("", *threads)]


def trial(name, way) -> float:
    """Return the seconds of a step with this variant of PyTorch.

    Infinity if compiling fails, as without a compiler, or takes too long.
    """
    patience = PATIENCE if "compile" in way else None
    try:
        return run("expert.py", name, *way.split(), timeout=patience)["seconds"]
    except (SystemExit, subprocess.TimeoutExpired):
        if not patience:
            raise
        return float("inf")


def sides(name, log) -> dict[str, list[str]]:
    """Return the commands of a workload's sides, with the fastest variants of PyTorch."""
    cores = len(os.sched_getaffinity(0))
    seconds = {way: trial(name, way) for way in ways(WORKLOADS[name].task, cores)}
    log(f"{name}: " + ", ".join(f"{way} {1000 * taken:.2f} ms" for way, taken in seconds.items()))
    finalists = sorted(seconds, key=lambda way: seconds[way])[:FINALISTS]
    commands = {side: [f"{script}.py", name] for side, script in SCRIPTS.items()}
    commands.update({way: ["expert.py", name, *way.split()] for way in finalists})
    return commands


def alone() -> dict:
    """Return the measurements of a round that are not compared with PyTorch."""
    products = [run("sgemm.py", library) for library in LIBRARIES]
    sgemm = {name: rate for rates in products for name, rate in rates.items()}
    taken = {"first step": first_step(), "import": import_alone()}
    return {**run("extras.py"), **taken, "sgemm": sgemm}


def measure(names, rounds, log) -> tuple[dict, list]:
    """Run every side of every workload `rounds` times, alternating between the sides.

    Returns
    -------
    dict, list
        The measurements of each (workload, side), and the results of `alone`.
    """
    found, extras = {}, []
    commands = {name: sides(name, log) for name in names}
    for turn in range(rounds):
        extras.append(alone())
        for name in names:
            for side, command in commands[name].items():
                found.setdefault((name, side), []).append(run(*command))
            last = [f"{s} {1000 * found[name, s][-1]['seconds']:.2f} ms" for s in commands[name]]
            log(f"round {turn + 1} of {rounds}: {name}: {', '.join(last)}")
    return found, extras
