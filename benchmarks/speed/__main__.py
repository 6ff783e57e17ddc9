"""Measure speed and memory against PyTorch; write docs/performance.md and README.md.

`make bench`, or `python benchmarks/speed --help`. Each side of each workload runs in a fresh
process, alternating, for several rounds; the tables contain medians over the rounds.
"""

import argparse
import functools
import os
import sys
import tempfile

from rounds import measure
from tables import draw, impossible, limits, table, write
from workloads import WORKLOADS


def parse() -> argparse.Namespace:
    """Return the flags, and the names of the selected workloads."""
    about = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python benchmarks/speed", description=about)
    flag = parser.add_argument
    flag("--runs", type=int, default=5, metavar="N", help="rounds (default: 5)")
    flag("--only", default="", metavar="TEXT", help="only workloads whose name contains TEXT")
    flag("--write", action="store_true", help="update docs/performance.md and README.md")
    arguments = parser.parse_args()
    arguments.names = [name for name in WORKLOADS if arguments.only in name]
    if arguments.runs < 1 or not arguments.names:
        parser.error(
            f"--runs {arguments.runs}, --only {arguments.only!r}: give at least one run, "
            f"and a part of one of these names: {', '.join(WORKLOADS)}"
        )
    return arguments


def main() -> None:
    arguments = parse()
    names, runs = arguments.names, arguments.runs
    log = functools.partial(print, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TMPDIR"] = scratch  # for checkpoints and PyTorch's compiled code
        found, extras = measure(names, runs, log)
    text, peak = table(found, extras, names, runs), max(limits(extras).values())
    print(text)
    if wrong := impossible(found, names, peak):
        raise SystemExit(f"above 100 % of the peak, {peak / 1e9:.0f} GFLOP/s: {', '.join(wrong)}")
    if arguments.write:
        write(text, draw(found, names, peak))


if __name__ == "__main__":
    main()
