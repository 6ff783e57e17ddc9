"""Command line: time the same training on each device and number of threads. `python -m gluonlm.compare --help`."""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from . import runtime
from .cli import Parser, given, run_command
from .config import GROUPS, Config
from .errors import InputError
from .presets import preset_settings

WARM_UP = 2  # first steps of a process, which allocate and compile: not counted


def parse(argv=None):
    parser = Parser(
        "compare",
        "Train the same model for some steps on each device and number of threads, and say how long a step takes.",
    )
    for title, group in GROUPS.items():
        parser.add_settings(group, title)
    run = parser.add_argument_group("comparison")
    run.add_argument(
        "--preset",
        default="stacked-char-lstm",
        metavar="NAME",
        help="what to train (default: stacked-char-lstm)",
    )
    run.add_argument(
        "--steps",
        type=int,
        default=20,
        metavar="N",
        help="steps to time in each process (default: 20)",
    )
    run.add_argument(
        "--rounds",
        type=int,
        default=3,
        metavar="N",
        help="processes for each device, in turns (default: 3)",
    )
    run.add_argument(
        "--out",
        default="compare.png",
        metavar="FILE",
        help="picture to draw (default: compare.png)",
    )
    run.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if min(arguments.steps, arguments.rounds) < 1:
        raise InputError(
            f"--steps {arguments.steps}, --rounds {arguments.rounds}: must be at least 1"
        )
    settings = preset_settings(arguments.preset)
    for group in GROUPS.values():
        settings.update(given(arguments, group))
    return settings, arguments


def places():
    """List where a training can run, as (device, threads), and why any GPU, or the lack of one, is not among them: a list of lines."""
    cores = runtime.physical_cores()
    found = [
        ("cpu", threads)
        for threads in sorted({1, *(2**k for k in range(1, 10) if 2**k < cores), cores})
    ]
    refused = []
    for number in range(max(1, runtime.load_mxnet().context.num_gpus())):
        try:
            runtime.get_ctx(f"gpu:{number}")
            found.append((f"gpu:{number}", cores))
        except InputError as error:
            refused.append(str(error))
    return found, refused


def time_steps(settings, device, steps):
    """Train in this process and give the seconds of each step, the tokens of a step and the steps of an epoch.

    Raises: InputError if the settings cannot be trained with.
    """
    from .corpus import load_corpus
    from .models import build_model
    from .trainer import Trainer, derive_seed

    config = Config.from_dict(
        {
            **settings,
            "max_steps": WARM_UP + steps,
            "epochs": 10**6,
            "max_minutes": 0.0,
            "validate_every": 10**9,
        }
    )
    ctx, corpus = runtime.get_ctx(device), load_corpus(config.data)
    model = build_model(config.model, len(corpus.vocab)).prepare(
        ctx, config.model.init, derive_seed(config.training.seed, "init")
    )
    moments, tokens = [], []

    def watch(event, record):
        if event == "step":
            moments.append(time.perf_counter())
            tokens.append(record["tokens"])

    trainer = Trainer(model, config.training, corpus.train, ctx=ctx, callbacks=[watch])
    trainer.fit()
    seconds = [after - before for before, after in zip(moments, moments[1:])][WARM_UP - 1 :]
    return {
        "seconds": seconds,
        "tokens": statistics.median(tokens),
        "epoch_steps": len(trainer.batches),
    }


def measure(settings, steps=20, rounds=3, at=None):
    """Time a training at each (device, threads) of `at`, by default every place there is, the rounds interleaved.

    Each measurement has a process of its own, because MXNet takes its number of threads once, when it loads.
    Returns: a record for each place: device, threads, seconds (median of all its steps), tokens_per_second,
    epoch_seconds, ratio (how many times faster than the slowest); and for each place that failed: device, threads, said.
    Raises: InputError if the settings cannot be trained with anywhere.
    """
    at = places()[0] if at is None else at
    Config.from_dict(settings)
    paths = [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }  # the workers find this very package
    taken, failed = {place: [] for place in at}, []
    for device, threads in [*at] * rounds:
        if (device, threads) not in taken:
            continue
        order = json.dumps(
            {"settings": settings, "device": device, "threads": threads, "steps": steps}
        )
        worker = [sys.executable, "-m", "gluonlm.compare", "--worker"]
        process = subprocess.run(
            worker, input=order, capture_output=True, text=True, env=environment
        )
        if process.returncode:  # out of memory, say: the others are measured all the same
            said = (
                process.stderr.strip()
                .rpartition("\n")[2]
                .removeprefix("gluonlm: error: ")
                .removeprefix("--ctx ")
            )
            failed.append(
                dict(
                    device=device,
                    threads=threads,
                    said=said or f"ended with code {process.returncode}",
                )
            )
            del taken[device, threads]
        else:
            result = json.loads(process.stdout)
            taken[device, threads] += result["seconds"]
    if not taken:
        raise InputError(failed[0]["said"])
    records = []
    for (device, threads), seconds in taken.items():
        median = statistics.median(seconds)
        speed, epoch = result["tokens"] / median, result["epoch_steps"] * median
        records.append(
            dict(
                device=device,
                threads=threads,
                seconds=median,
                tokens_per_second=speed,
                epoch_seconds=epoch,
            )
        )
    slowest = max(record["seconds"] for record in records)
    return [{**record, "ratio": slowest / record["seconds"]} for record in records], failed


def name_of(record):
    """Name a record's place for people."""
    return (
        record["device"]
        if record["device"] != "cpu"
        else f"cpu, {record['threads']} thread{'s' * (record['threads'] > 1)}"
    )


def draw_bars(records):
    """Draw the time of an epoch at each place as a bar. Gives the PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.9 + 0.5 * len(records)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(
        [name_of(record) for record in records],
        [record["epoch_seconds"] for record in records],
        color="#c2410c",
    )
    axes.bar_label(
        bars,
        [f"{record['epoch_seconds']:.3g} s, {record['ratio']:.2f} x" for record in records],
        padding=4,
    )
    axes.margins(x=0.25)
    axes.invert_yaxis()
    axes.set_xlabel("seconds for an epoch, estimated from its steps")
    axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    return picture.getvalue()


def work():
    """Take an order from standard input, measure in this process, and print the result as JSON."""
    order = json.load(sys.stdin)
    runtime.prepare(order["threads"])
    print(json.dumps(time_steps(order["settings"], order["device"], order["steps"])))


def main(argv=None):
    settings, arguments = parse(argv)
    if arguments.worker:
        return work()
    from .checkpoint import replace_file

    Config.from_dict(settings)
    at, refused = places()
    records, failed = measure(settings, arguments.steps, arguments.rounds, at)
    print(f"{'device':16}{'ms per step':>12}{'tokens/s':>12}{'epoch, s':>12}{'ratio':>8}")
    for record in records:
        row = f"{1000 * record['seconds']:12.2f}{record['tokens_per_second']:12,.0f}{record['epoch_seconds']:12.1f}{record['ratio']:8.2f}"
        print(f"{name_of(record):16}{row}")
    for record in failed:
        print(f"{name_of(record)} failed: {record['said']}")
    if not any(device.startswith("gpu") for device, _ in at):
        print("no usable GPU was there")
    for said in refused:
        print(said.removeprefix("--ctx "))
    replace_file(Path(arguments.out), draw_bars(records))
    print(f"picture {arguments.out}")


if __name__ == "__main__":
    run_command(main)
