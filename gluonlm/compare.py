"""Command line: time training on each device and number of threads.

`python -m gluonlm.compare --help` explains it.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import Config
from .config.flags import Parser, chosen, explicit
from .system import runtime
from .system.console import harmless, run_command, speak_flags
from .system.device import get_ctx
from .system.errors import InputError
from .system.files import check_output, output_file
from .system.plots import new_axes, to_png
from .system.seeds import derive_seed
from .train.effects import check_effects

COMMON = ("steps", "rounds", "out", "overwrite", "data", "preset", "config")
# settings of the length of a training and of its files
UNUSED = {
    *("epochs", "max_steps", "max_minutes", "validate_every", "checkpoint_every", "patience"),
    *("horizon", "log_every", "sample_temperatures", "sample_length"),
}
WARM_UP = 2  # first steps of a process, not timed: they allocate and compile


@dataclass(frozen=True)
class Place:
    """A device and its number of threads."""

    device: str
    threads: int

    def __str__(self):
        plural = "s" * (self.threads > 1)
        return f"cpu, {self.threads} thread{plural}" if self.device == "cpu" else self.device


@dataclass(frozen=True)
class Measured:
    """The result of a process: seconds of each step, tokens of a step, steps of an epoch."""

    seconds: list[float]
    tokens: float
    epoch_steps: int


@dataclass(frozen=True)
class Timing:
    """The speed of a place; `ratio` is its speed divided by the slowest place's."""

    place: Place
    seconds: float  # median of a step
    tokens_per_second: float
    epoch_seconds: float
    ratio: float


@dataclass(frozen=True)
class Failure:
    """The reason, in one line, why a place could not be measured."""

    place: Place
    reason: str


def make_parser() -> Parser:
    """Return the command's parser."""
    parser = Parser(
        "compare",
        "Train the same model for some steps on each device and number of threads, and print the "
        "time of a step.",
        examples=("", "--preset ptb-lstm --steps 5", "--set model=gru --set hidden_size=512"),
        common=COMMON,
    )
    parser.add_sources(preset="stacked-char-lstm")
    add = parser.add_argument_group("comparison").add_argument
    add(
        "--steps",
        type=int,
        default=20,
        metavar="N",
        help="steps to time in each process (default: 20)",
    )
    add(
        "--rounds",
        type=int,
        default=3,
        metavar="N",
        help="processes for each device, run in turn (default: 3)",
    )
    add(
        "--out",
        default="compare.png",
        metavar="FILE",
        help="picture to write (default: compare.png)",
    )
    add("--overwrite", action="store_true", help="overwrite an existing picture")
    add("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def parse(argv=None) -> tuple[dict[str, Any], argparse.Namespace]:
    arguments = make_parser().parse_args(argv)
    steps, rounds = arguments.steps, arguments.rounds
    if min(steps, rounds) < 1:
        raise InputError(f"`steps` {steps}, `rounds` {rounds}: must be at least 1")
    names, settings = explicit(arguments), chosen(arguments)
    for name in sorted(names & UNUSED):
        raise InputError(
            f"`{name}`: has no effect on the time of a step; `steps` and `rounds` set how long "
            "to measure"
        )
    check_effects(names, [Config.from_dict(settings)])
    return settings, arguments


def places() -> tuple[list[Place], list[str]]:
    """Return the usable places, and for each unusable GPU a line with the reason."""
    cores = runtime.physical_cores()
    powers = [2**k for k in range(1, 10) if 2**k < cores]
    found = [Place("cpu", threads) for threads in sorted({1, *powers, cores})]
    refused = []
    for number in range(max(1, runtime.load_mxnet().context.num_gpus())):
        try:
            get_ctx(f"gpu:{number}")
            found.append(Place(f"gpu:{number}", cores))
        except InputError as error:
            refused.append(str(error))
    return found, refused


def time_steps(settings: dict[str, Any], device: str, steps: int) -> Measured:
    """Train in this process and time each step.

    Raises
    ------
    InputError
        If these settings cannot be used for training.
    """
    from .corpus import load_corpus
    from .models import model_for
    from .train.trainer import Trainer

    endless = dict(epochs=10**6, max_minutes=0.0, validate_every=10**9)
    config = Config.from_dict({**settings, **endless, "max_steps": WARM_UP + steps})
    ctx, corpus = get_ctx(device), load_corpus(config.data)
    model = model_for(config, corpus.vocab)
    model.prepare(ctx, config.model.init, derive_seed(config.training.seed, "init"))
    moments, tokens = [], []

    def watch(event, record):
        if event == "step":
            moments.append(time.perf_counter())
            tokens.append(record["tokens"])

    trainer = Trainer(model, config.training, corpus.train, ctx=ctx, callbacks=[watch])
    trainer.fit()
    seconds = [after - before for before, after in itertools.pairwise(moments)][WARM_UP - 1 :]
    return Measured(seconds, statistics.median(tokens), len(trainer.batches))


def measure(
    settings: dict[str, Any], steps: int = 20, rounds: int = 3, at: Sequence[Place] | None = None
) -> tuple[list[Timing], list[Failure]]:
    """Time training at each place, by default at every usable place, in alternating rounds.

    Each measurement runs in a separate process, because MXNet reads its number of threads only
    once, when it loads. A place that fails is not measured again.

    Raises
    ------
    InputError
        If these settings cannot be used for training at any place.
    """
    at = places()[0] if at is None else at
    Config.from_dict(settings)
    measured: dict[Place, list[Measured]] = {place: [] for place in at}
    failures: list[Failure] = []
    for place in [*at] * rounds:
        if place in measured:
            result = _in_own_process(settings, place, steps)
            if isinstance(result, Failure):  # such as out of memory: continue with the others
                failures.append(result)
                del measured[place]
            else:
                measured[place].append(result)
    if not measured:
        raise InputError(failures[0].reason)
    return _timings(measured), failures


def _in_own_process(settings, place, steps):
    """Return the Measured of a worker process, or its Failure."""
    paths = [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    # the workers must import this copy of the package
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    order = json.dumps({"settings": settings, **dataclasses.asdict(place), "steps": steps})
    worker = [sys.executable, "-m", "gluonlm.compare", "--worker"]
    process = subprocess.run(worker, input=order, capture_output=True, text=True, env=environment)
    if process.returncode == 0:
        return Measured(**json.loads(process.stdout))
    last = process.stderr.strip().rpartition("\n")[2].removeprefix("gluonlm: error: ")
    return Failure(place, last or f"ended with code {process.returncode}")


def _timings(measured):
    """Return the Timing of each place, from its median step."""
    medians = {
        place: statistics.median([seconds for one in results for seconds in one.seconds])
        for place, results in measured.items()
    }
    slowest = max(medians.values())
    return [
        Timing(
            place,
            seconds,
            tokens_per_second=measured[place][0].tokens / seconds,
            epoch_seconds=measured[place][0].epoch_steps * seconds,
            ratio=slowest / seconds,
        )
        for place, seconds in medians.items()
    ]


def draw_bars(timings: Sequence[Timing]) -> bytes:
    """Return a PNG with one bar per place: the time of an epoch."""
    figure, axes = new_axes(7, 0.9 + 0.5 * len(timings))
    names = [str(timing.place) for timing in timings]
    bars = axes.barh(names, [timing.epoch_seconds for timing in timings], color="#c2410c")
    labels = [f"{timing.epoch_seconds:.3g} s, {timing.ratio:.2f} x" for timing in timings]
    axes.bar_label(bars, labels, padding=4)
    axes.margins(x=0.25)
    axes.invert_yaxis()
    axes.set_xlabel("seconds per epoch, estimated from the timed steps")
    return to_png(figure)


def work() -> None:
    """Read a request from standard input, measure in this process, and print the result as JSON."""
    order = json.load(sys.stdin)
    runtime.configure(order["threads"])
    result = time_steps(order["settings"], order["device"], order["steps"])
    print(json.dumps(dataclasses.asdict(result)))


def show(timings: Sequence[Timing]) -> None:
    """Print a table of timings."""
    print(f"{'device':16}{'ms per step':>12}{'tokens/s':>12}{'epoch, s':>12}{'ratio':>8}")
    for timing in timings:
        speed = f"{1000 * timing.seconds:12.2f}{timing.tokens_per_second:12,.0f}"
        print(f"{timing.place!s:16}{speed}{timing.epoch_seconds:12.1f}{timing.ratio:8.2f}")


def main(argv=None) -> None:
    settings, arguments = parse(argv)
    if arguments.worker:
        work()
        return
    out = Path(arguments.out)
    check_output(out, arguments.overwrite)
    Config.from_dict(settings)
    at, refused = places()
    timings, failures = measure(settings, arguments.steps, arguments.rounds, at)
    show(timings)
    for failure in failures:
        print(f"{failure.place} failed: {failure.reason.removeprefix('--ctx ')}")
    if not any(place.device.startswith("gpu") for place in at):
        print("no usable GPU found")
    for line in refused:
        print(speak_flags(line).removeprefix("--ctx "))
    with output_file(out, arguments.overwrite) as stream:
        stream.write(draw_bars(timings))
    print(f"picture {harmless(arguments.out)}")


if __name__ == "__main__":
    run_command(main)
