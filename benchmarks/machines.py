"""Time steps and all-reduces of several processes, and predict the throughput of networks.

python benchmarks/machines.py --runs 3
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent / "speed"))
from workloads import WORKLOADS  # noqa: E402

TWENTY_MILLION = "train char lstm 2x1200"
WORKLOADS[TWENTY_MILLION] = dataclasses.replace(
    WORKLOADS["train char lstm 2x1000"], hidden=(1200, 1200), embed=600
)
NAMES = [name for name in WORKLOADS if name.startswith("train") and "unrolled" not in name]
MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))
SIDES = {"alone": [], "one": [MPIEXEC, "-n", "1"], "two": [MPIEXEC, "-n", "2"]}
SIZES = [10**3, 10**4, 10**5, 10**6, 10**7, 2 * 10**7]  # numbers of 4 bytes
REPEATS = 15
TCP_LATENCY = 50e-6  # seconds for a message between machines; typical, not measured
NETWORKS = (1, 10, 100)  # Gbit/s
MACHINES = (2, 4, 8, 16, 32, 64)
MODELS = {"small": NAMES[2], "medium": NAMES[0], "large": TWENTY_MILLION}


def step_times(world, name):
    """Return this process's median seconds of a step and of its all-reduce, and the parameters."""
    from ours import settings

    from gluonlm import native
    from gluonlm.system import runtime

    workload, summing, sizes = WORKLOADS[name], [], []

    class Timed(type(world)):
        def sum(self, buffer):
            self.comm.Barrier()  # excludes differences in computation time
            began = time.perf_counter()
            super().sum(buffer)
            summing.append(time.perf_counter() - began)
            sizes.append(buffer.size)

    world.__class__ = Timed
    config = settings(workload)
    threads = runtime.threads_for(config.largest_operation(), native.used())
    runtime.configure(otherwise=min(threads, world.cores(runtime.physical_cores())))
    from gluonlm import Trainer, build_model
    from gluonlm.system import device  # imports MXNet, which reads the number of threads

    model = build_model(config.model, workload.vocab).prepare(device.get_ctx(), config.model.init)
    trainer = Trainer(model, config.training, workload.ids(workload.read), world=world)
    times = []
    for _ in range(workload.warm_up + workload.steps):
        began = time.perf_counter()
        trainer._step()
        times.append(time.perf_counter() - began)
    return {
        "step": statistics.median(times[workload.warm_up :]),
        "sum": statistics.median(summing[workload.warm_up :] or [0]),
        "size": model.count_parameters(),
    }


def sum_times(world, _):
    """Return the median seconds of an all-reduce of each size."""
    medians = {}
    for size in SIZES:
        buffer, times = np.zeros(size, np.float32), []
        for _ in range(REPEATS):
            world.comm.Barrier()
            began = time.perf_counter()
            world.sum(buffer)
            times.append(time.perf_counter() - began)
        medians[size] = statistics.median(times)
    return medians


def work(task, name):
    """Measure in one process of a job; only the first prints."""
    from gluonlm.system.processes import joined

    with joined() as world:
        result = {"step": step_times, "sum": sum_times}[task](world, name)
        if world.rank == 0:
            print(json.dumps(result))


def run(side, task, name=""):
    command = [*SIDES[side], sys.executable, str(HERE), "--work", task, "--name", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def median(results, side, name, key):
    return statistics.median(result[key] for result in results[side, name])


def print_steps(results):
    print("\n| workload | parameters | one process | `mpiexec -n 1` | `-n 2` | all-reduce |")
    print("|---|---|---|---|---|---|")
    for name in NAMES:
        alone, two = (median(results, side, name, "step") for side in ("alone", "two"))
        pairs = zip(*(results[side, name] for side in ("one", "alone")))
        one = statistics.median(first["step"] / other["step"] for first, other in pairs)
        pairs = zip(*(results[side, name] for side in ("two", "alone")))
        ratio = statistics.median(first["step"] / other["step"] for first, other in pairs)
        print(
            f"| {name} | {results['alone', name][0]['size']:,} | {1e3 * alone:.0f} ms "
            f"| × {one:.3f} | {1e3 * two:.0f} ms, × {ratio:.2f} "
            f"| {1e3 * median(results, 'two', name, 'sum'):.1f} ms |"
        )


def fit(results):
    """Fit and print the latency and bandwidth of this machine's all-reduces."""
    sizes = np.array(SIZES, float)
    seconds = np.array([median(results, "two", "", str(size)) for size in SIZES])
    weights = 1 / seconds  # minimises relative errors
    design = np.stack([np.ones_like(sizes), 4 * sizes], axis=1)
    (latency, byte), *_ = np.linalg.lstsq(design * weights[:, None], seconds * weights, rcond=None)
    print(f"\nall-reduce of two processes here: {1e6 * latency:.0f} µs and {1e-9 / byte:.2f} GB/s")
    for size, found in zip(SIZES, seconds):
        fitted = latency + 4 * size * byte
        print(f"  {size:>10,} numbers: {1e3 * found:7.3f} ms, fitted {1e3 * fitted:7.3f} ms")


def print_networks(results):
    """Print the predicted throughput relative to one machine, each with the full batch."""
    print(f"\n| model | Gbit/s | {' | '.join(map(str, MACHINES))} |")
    print("|---" * (2 + len(MACHINES)) + "|")
    for model, name in MODELS.items():
        step, size = (median(results, "alone", name, key) for key in ("step", "size"))
        for network in NETWORKS:
            gains = []
            for n in MACHINES:  # a ring: 2 (n - 1) messages with an n-th of the bytes
                message = TCP_LATENCY + 4 * size / n / (network * 1e9 / 8)
                gains.append(f"{n * step / (step + 2 * (n - 1) * message):.1f}")
            print(f"| {model}, {size / 1e6:.1f} million | {network} | {' | '.join(gains)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work")
    parser.add_argument("--name")
    arguments = parser.parse_args()
    if arguments.work:
        return work(arguments.work, arguments.name)
    results: dict = {}
    for _ in range(arguments.runs):
        results.setdefault(("two", ""), []).append(run("two", "sum"))
        for name in NAMES:
            for side in SIDES:
                results.setdefault((side, name), []).append(run(side, "step", name))
    print_steps(results)
    fit(results)
    print_networks(results)


if __name__ == "__main__":
    main()
