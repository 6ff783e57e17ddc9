"""Time a training step as batch, length, hidden size and vocabulary grow, and fit a model.

python benchmarks/scale.py --write

The model is a constant plus a time per operation of the matrix products, fitted to each curve.
"""

import argparse
import dataclasses
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent / "speed"), str(HERE.parents[1])]
from tables import processor  # noqa: E402
from workloads import TRAIN  # noqa: E402

from gluonlm.system.plots import to_png  # noqa: E402

DOCUMENT = HERE.parents[1] / "docs" / "performance.md"
PICTURE = DOCUMENT.parent / "curves" / "scale.png"
BASE = TRAIN("lstm", (256,), 256, 0, vocab=64, length=35)
CURVES = {  # field: label, sizes
    "batch": ("streams in a batch", [2**i for i in range(10)]),
    "length": ("time steps", [2**i for i in range(4, 11)]),
    "hidden": ("hidden size", [2**i for i in range(6, 12)]),
    "vocab": ("tokens in the vocabulary", [64, 256, 1024, 4096, 10_000, 30_000, 100_000]),
}
WORDS = 10_000  # smallest vocabulary for which an adaptive softmax is measured too
CUTOFFS = (2000, 20_000)
LEAST, ENOUGH = 3, 4.0  # minimum number of steps; seconds after which to stop


def workload(curve, size):
    """Return the base with one of its sizes changed."""
    change = {"hidden": (size,), "embed": size} if curve == "hidden" else {curve: size}
    return dataclasses.replace(BASE, **change)


def time_steps(curve, size, adaptive):
    """Return the seconds of each step, measured in this process."""
    from ours import settings

    from gluonlm import native
    from gluonlm.system import device, runtime

    work = workload(curve, size)
    config = settings(work)
    threads = runtime.threads_for(config.largest_operation(), native.used())
    runtime.configure(otherwise=threads)
    from gluonlm import Trainer, build_model

    cutoffs = tuple(cutoff for cutoff in CUTOFFS if cutoff < size) if adaptive else ()
    network = dataclasses.replace(config.model, adaptive_softmax=cutoffs)
    model = build_model(network, work.vocab).prepare(device.get_ctx(), network.init)
    trainer = Trainer(model, config.training, work.ids(work.read))
    times = []
    while len(times) < LEAST + 2 or (sum(times) < ENOUGH and len(times) < 200):
        began = time.perf_counter()
        trainer._step()
        times.append(time.perf_counter() - began)
    return times[2:]


def measure(curve, size, adaptive=False):
    """Return the median and the longest step of a fresh process, in milliseconds."""
    command = [sys.executable, str(HERE), "--point", json.dumps([curve, size, adaptive])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    times = json.loads(done.stdout.splitlines()[-1])
    return 1e3 * float(np.median(times)), 1e3 * max(times)


def fit(curve, sizes, found):
    """Return the fitted milliseconds of each size, with minimal relative errors."""
    work = np.array([workload(curve, size).operations() for size in sizes], float)
    design = np.stack([np.ones_like(work), work], axis=1) / np.array(found)[:, None]
    (constant, each), *_ = np.linalg.lstsq(design, np.ones_like(work), rcond=None)
    return constant + each * work


def draw(found):
    """Draw a panel for each curve, measured and fitted."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    for axes, (curve, (label, sizes)) in zip(figure.subplots(2, 2).flat, CURVES.items()):
        axes.spines[["top", "right"]].set_visible(False)
        measured = [found[curve, size, False][0] for size in sizes]
        axes.loglog(sizes, fit(curve, sizes, measured), color="0.6", label="fitted")
        axes.loglog(sizes, measured, "o", color="C0", label="measured")
        rare = [size for size in sizes if (curve, size, True) in found]
        if rare:
            adaptive = [found[curve, size, True][0] for size in rare]
            axes.loglog(rare, adaptive, "s", color="C1", label="adaptive softmax")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        axes.set_ylabel("ms per step")
        axes.legend(frameon=False)
    PICTURE.write_bytes(to_png(figure))


def table(found):
    """Yield the lines of the tables, one for each curve."""
    yield f"{processor()}; LSTM 1x256, embedding 256, 32 x 35, 64 tokens; one size varies."
    for curve, (label, sizes) in CURVES.items():
        measured = [found[curve, size, False][0] for size in sizes]
        rows = {"ms a step": measured, "fitted": fit(curve, sizes, measured)}
        yield from ("", f"| {label} | {' | '.join(f'{size:,}' for size in sizes)} |")
        yield "|---" * (1 + len(sizes)) + "|"
        for name, values in rows.items():
            yield f"| {name} | {' | '.join(f'{value:,.1f}' for value in values)} |"
        adaptive = [found.get((curve, size, True)) for size in sizes]
        if any(adaptive):
            for place, name in enumerate(("adaptive softmax", "its longest step")):
                cells = [f"{pair[place]:,.1f}" if pair else "" for pair in adaptive]
                yield f"| {name} | {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--point", help="measure one point in this process")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(time_steps(*json.loads(arguments.point))))
        return
    points = [(curve, size, False) for curve, (_, sizes) in CURVES.items() for size in sizes]
    points += [("vocab", size, True) for size in CURVES["vocab"][1] if size >= WORDS]
    found = {}
    for point in points:
        found[point] = measure(*point)
        print(*point, "{:.1f} ms, at most {:.1f}".format(*found[point]), file=sys.stderr)
    text = "\n".join(table(found))
    print(text)
    if arguments.write:
        draw(found)
        page = DOCUMENT.read_text(encoding="utf-8")
        block = f"<!-- scale -->\n{text}\n<!-- end of scale -->"
        page = re.sub(r"<!-- scale -->.*<!-- end of scale -->", lambda _: block, page, flags=re.S)
        DOCUMENT.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
