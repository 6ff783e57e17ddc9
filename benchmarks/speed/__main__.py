"""Measure speed and memory against PyTorch, and write docs/performance.md.

`make bench`, or `python benchmarks/speed --help`. Each side of each workload runs in a fresh
process, the sides alternating, several rounds; what is shown are medians over the rounds.
"""

import argparse
import functools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from importlib.metadata import version
from pathlib import Path
from typing import Dict, Iterator, Tuple

from workloads import WORKLOADS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
SIDES = {
    "ours": ["ours.py"],
    "peer": ["peer.py"],
    "peer, malloc": ["peer.py", "malloc"],
    "tutorial": ["tutorial.py"],
}
TUTORIAL_BARS = {
    "train ptb 256-128": 2,
    "train char lstm 2x256": 2,
    "train unrolled 256": 2,
    "generate gru 2x256": 10,
    "generate lstm 2x1000": 10,
}


def environment() -> Dict[str, str]:
    """Return a user's environment: nothing set about threads or memory, this checkout first."""
    ours = ("OMP_", "MKL_", "OPENBLAS_", "MALLOC_", "MXNET_", "GLUONLM_", "GLIBC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(ROOT)}


def run(script, *arguments) -> dict:
    """Run one script of this folder in a fresh process, and return what it measured."""
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
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


def applies(side, name) -> bool:
    """Return whether a side takes part.

    The tutorials' way does where it has a bar, PyTorch with our malloc settings in training.
    """
    if side == "tutorial":
        return name in TUTORIAL_BARS
    return side != "peer, malloc" or WORKLOADS[name].task == "train"


def measure(names, rounds, say) -> Tuple[dict, list]:
    """Run every side of every workload `rounds` times, alternating.

    Returns
    -------
    dict, list
        The measurements of each (workload, side), and those of our side alone.
    """
    found, extras = {}, []
    for turn in range(rounds):
        extras.append({**run("extras.py"), "first step": first_step()})
        for name in names:
            for side, script in SIDES.items():
                if applies(side, name):
                    found.setdefault((name, side), []).append(run(script[0], name, *script[1:]))
            there = [side for side in SIDES if (name, side) in found]
            last = [f"{s} {1000 * found[name, s][-1]['seconds']:.2f} ms" for s in there]
            say(f"round {turn + 1} of {rounds}: {name}: {', '.join(last)}")
    return found, extras


def median(records, key) -> float:
    """Return the median of one figure."""
    return statistics.median(record[key] for record in records)


def medians(found, name, key) -> Dict[str, float]:
    """Return the median of one figure of a workload, by side."""
    return {side: median(found[name, side], key) for side in SIDES if (name, side) in found}


def speed_rows(found, names) -> Iterator[str]:
    """Yield the lines of the table of speed: tokens/s, and how many times as fast ours is."""
    for name in names:
        tokens, seconds = WORKLOADS[name].tokens, medians(found, name, "seconds")
        ratio = {side: f"{taken / seconds['ours']:.2f}" for side, taken in seconds.items()}
        tutorial = ""
        if "tutorial" in ratio:
            tutorial = f"{ratio['tutorial']} (≥ {TUTORIAL_BARS[name]})"
        yield (
            f"| {name} | {tokens / seconds['ours']:,.0f} | {tokens / seconds['peer']:,.0f} "
            f"| **{ratio['peer']}** (≥ {WORKLOADS[name].bar}) "
            f"| {ratio.get('peer, malloc', '')} | {tutorial} |"
        )


def limit_rows(found, names, peak) -> Iterator[str]:
    """Yield the lines of the table of limits; `peak` is the sgemm of the same run."""
    for name in names:
        memory = medians(found, name, "peak")
        ours, peer = memory["ours"] / 2**20, memory["peer"] / 2**20
        speed = WORKLOADS[name].operations() / medians(found, name, "seconds")["ours"]
        yield (
            f"| {name} | {ours:.0f} / {peer:.0f} = {ours / peer:.2f} "
            f"| {speed / 1e9:.1f} ({100 * speed / peak:.0f} %) |"
        )


def processor() -> str:
    """Return a description of the processor: its name and its widest vector instructions."""
    page = Path("/proc/cpuinfo")
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    name = re.search(r"model name\s*: (.+)", text)
    wide = next((flag for flag in ("avx512f", "avx2", "avx") if flag in text), "no AVX")
    model = name.group(1) if name else platform.processor()
    return f"{len(os.sched_getaffinity(0))} processors, {model}, {wide}"


def table(found, extras, names, rounds) -> str:
    """Return the measured part of the document."""
    peak = median(extras, "sgemm")
    taken = {size: 1000 * median(extras, f"step {size}") for size in (1, 10, 100)}
    steps = ", ".join(f"{size} MB {ms:.0f} ms" for size, ms in taken.items())
    python = f"Python {platform.python_version()}"
    about = (
        f"{processor()}; {python}, MXNet {version('mxnet')}, PyTorch {version('torch')}; "
        f"medians of {rounds} fresh processes a side, the sides alternating; "
        f"sgemm 2048 x 2048 in the same run: {peak / 1e9:.0f} GFLOP/s."
    )
    lines = [
        *textwrap.wrap(about, 100),
        "",
        "| workload | ours, tokens/s | PyTorch | ratio (bar) | our malloc | tutorials (bar) |",
        "|---|---|---|---|---|---|",
        *speed_rows(found, names),
        "",
        "| workload | peak memory, MB: ours / PyTorch | ours, GFLOP/s (of sgemm) |",
        "|---|---|---|",
        *limit_rows(found, names, peak),
        "",
        "| | measured | bar |",
        "|---|---|---|",
        f"| encoding 100 MB of characters | {median(extras, 'encode'):.0f} MB/s | ≥ 100 MB/s |",
        f"| `rnn_batch` of 100 million ids | {1e3 * median(extras, 'rnn_batch'):.3f} ms | < 5 ms |",
        f"| a training to its first step | {median(extras, 'first step'):.1f} s | < 4 s |",
        f"| a step of 32 x 64 on a corpus of | {steps} | the same |",
    ]
    return "\n".join(lines)


def main() -> None:
    about = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python benchmarks/speed", description=about)
    flag = parser.add_argument
    flag("--runs", type=int, default=5, metavar="N", help="rounds (default: 5)")
    flag("--only", default="", metavar="TEXT", help="workloads whose name holds this")
    flag("--write", action="store_true", help="put the tables into docs/performance.md")
    arguments = parser.parse_args()
    names = [name for name in WORKLOADS if arguments.only in name]
    if arguments.runs < 1 or not names:
        parser.error(
            f"--runs {arguments.runs}, --only {arguments.only!r}: at least one run, "
            f"and one of {', '.join(WORKLOADS)}"
        )
    log = functools.partial(print, file=sys.stderr, flush=True)
    text = table(*measure(names, arguments.runs, log), names, arguments.runs)
    print(text)
    if arguments.write:
        write(text)


def write(text) -> None:
    """Put the measured part into the document, in place of the one that stands there."""
    block = f"<!-- measured -->\n{text}\n<!-- end -->"
    page = DOCUMENT.read_text(encoding="utf-8")
    page = re.sub(r"<!-- measured -->.*<!-- end -->", lambda _: block, page, flags=re.DOTALL)
    DOCUMENT.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
