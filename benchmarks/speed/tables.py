"""The tables of docs/performance.md, and the sentence in README.md that summarises them.

`python benchmarks/speed/tables.py` rewrites the sentence without measuring.
"""

import os
import platform
import re
import statistics
import textwrap
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from workloads import GATES, WORKLOADS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT, README = ROOT / "docs" / "performance.md", ROOT / "README.md"
MEASURED = re.compile(r"<!-- measured -->\n(.*?)<!-- end -->", re.DOTALL)
SENTENCE = re.compile(r"( *)(<!-- speed -->\n).*?( *<!-- end -->)", re.DOTALL)
TRAINING = re.compile(
    r"^\| (train [^|]+) \|[^|]+\|[^|]+\| \*\*([\d.]+)\*\*[^|]*\| ([\d.]+) \|", re.M
)


def median(records, key) -> float:
    """Return the median of one figure."""
    return statistics.median(record[key] for record in records)


def medians(found, name, key) -> dict[str, float]:
    """Return the median of one figure of a workload, by side."""
    return {side: median(records, key) for (work, side), records in found.items() if work == name}


def best_peer(seconds) -> str:
    """Return the fastest side of PyTorch."""
    peers = {side: taken for side, taken in seconds.items() if side not in ("ours", "tutorial")}
    return min(peers, key=lambda side: peers[side])


def limits(extras) -> dict[str, float]:
    """Return the fastest product of each library in any round, in operations a second."""
    return {name: max(record["sgemm"][name] for record in extras) for name in extras[0]["sgemm"]}


def speed(found, name) -> float:
    """Return our operations a second, counting only the matrix products."""
    return WORKLOADS[name].operations() / medians(found, name, "seconds")["ours"]


def impossible(found, names, peak) -> list[str]:
    """Return the workloads that ran faster than the peak, which means that the peak is wrong."""
    return [name for name in names if speed(found, name) > peak]


def at_least(bar) -> str:
    """Return a bar in brackets, or nothing without a bar."""
    return f" (≥ {bar:g})" if bar else ""


def speed_rows(found, names) -> Iterator[str]:
    """Yield the lines of the table of speed: tokens/s, and ratios of ours to the other sides."""
    for name in names:
        work, seconds = WORKLOADS[name], medians(found, name, "seconds")
        best = best_peer(seconds)
        ratio = {side: f"{taken / seconds['ours']:.2f}" for side, taken in seconds.items()}
        yield (
            f"| {name} | {work.tokens / seconds['ours']:,.0f} "
            f"| {work.tokens / seconds[best]:,.0f} | **{ratio[best]}**{at_least(work.bar)} "
            f"| {ratio['eager']} | {ratio.get('tutorial', '')}{at_least(work.tutorial)} |"
        )


def peer_rows(found, names) -> Iterator[str]:
    """Yield the lines of the table of the fastest PyTorch variants."""
    for name in names:
        seconds = medians(found, name, "seconds")
        best = best_peer(seconds)
        taken = [f"{1000 * seconds[side]:.2f}" for side in ("ours", best, "eager")]
        yield f"| {name} | {best.replace(' ', ', ')} | {' / '.join(taken)} |"


def limit_rows(found, names, peak) -> Iterator[str]:
    """Yield the lines of the table of limits; `peak` was measured in the same run."""
    for name in names:
        work, memory = WORKLOADS[name], medians(found, name, "peak")
        libraries = medians(found, name, "libraries")
        added = {side: memory[side] - libraries[side] for side in ("ours", "eager")}
        bar = " (≤ 1)" if work.task == "train" else ""
        share, least = speed(found, name) / peak, f", ≥ {work.share:.0%}" if work.share else ""
        yield (
            f"| {name} | {_compared(memory)}{bar} | {_compared(added)} "
            f"| {share * peak / 1e9:.1f} ({share:.0%}{least}) |"
        )


def _compared(memory):
    """Return our megabytes, eager PyTorch's and their ratio, as a cell."""
    ours, eager = memory["ours"] / 2**20, memory["eager"] / 2**20
    return f"{ours:.0f} / {eager:.0f} = {ours / eager:.2f}"


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
    rates = limits(extras)
    shown = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items())
    about = (
        f"{processor()}; Python {platform.python_version()}, MXNet {version('mxnet')}, "
        f"PyTorch {version('torch')}; runs of each side: {rounds}, in fresh processes, "
        f"alternating; medians. The fastest product of the same run, in GFLOP/s: {shown}; the peak "
        "is the largest."
    )
    lines = [
        *textwrap.wrap(about, 100),
        "",
        "| workload | ours, tokens/s | PyTorch at best | ratio (bar) | eager | tutorials (bar) |",
        "|---|---|---|---|---|---|",
        *speed_rows(found, names),
        "",
        "| workload | PyTorch at its best | ms a step: ours / best / eager |",
        "|---|---|---|",
        *peer_rows(found, names),
        "",
        "| workload | peak memory, MB: ours / eager | without libraries | GFLOP/s (of peak) |",
        "|---|---|---|---|",
        *limit_rows(found, names, max(rates.values())),
        "",
        *alone_rows(extras),
    ]
    return "\n".join(lines)


def alone_rows(extras) -> Iterator[str]:
    """Yield the lines of the table of measurements without a peer."""
    taken = {size: 1000 * median(extras, f"step {size}") for size in (1, 10, 100)}
    steps = ", ".join(f"{size} MB {ms:.0f} ms" for size, ms in taken.items())
    yield "| | measured | bar |"
    yield "|---|---|---|"
    yield f"| encoding 100 MB of characters | {median(extras, 'encode'):.0f} MB/s | ≥ 100 MB/s |"
    cut = 1000 * median(extras, "rnn_batch")
    yield f"| `rnn_batch` of 100 million ids | {cut:.3f} ms | < 5 ms |"
    yield f"| a training to its first step | {median(extras, 'first step'):.1f} s | ≤ 1.5 s |"
    yield f"| `import gluonlm` alone | {median(extras, 'import'):.2f} s | ≤ 0.15 s |"
    yield f"| a step of 32 x 64 on a corpus of | {steps} | the same |"


def draw(found, names, peak) -> bytes:
    """Draw tokens/s of every side and at the peak as bars, grouped by workload, as PNG."""
    from gluonlm.system.plots import new_axes, to_png

    figure, axes = new_axes(8, 0.6 * len(names) + 1)
    sides = ("at the peak", "gluonlm", "PyTorch at its best", "MXNet as in the tutorials")
    for row, name in enumerate(names):
        work, seconds = WORKLOADS[name], medians(found, name, "seconds")
        least = work.operations() / peak
        taken = (least, seconds["ours"], seconds[best_peer(seconds)], seconds["tutorial"])
        for bar, (side, each) in enumerate(zip(sides, taken)):
            color = f"C{bar - 1}" if bar else "0.85"
            label = side if row == 0 else None
            axes.barh(row + 0.2 * bar - 0.3, work.tokens / each, 0.2, color=color, label=label)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set_xlabel("tokens per second")
    figure.legend(frameon=False, loc="outside upper center", ncols=4)
    return to_png(figure)


def span(ratios) -> str:
    """Return the range of several ratios, as formatted in the table."""
    least, most = min(ratios, key=float), max(ratios, key=float)
    return least if least == most else f"{least} to {most}"


def clause(rows) -> str:
    """Return a clause about the speed of training steps from their ratios to PyTorch."""
    kinds = [WORKLOADS[name].model for name, _, _ in rows]
    names = [kind.upper() if kind in GATES else kind for kind in dict.fromkeys(kinds)]
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    _, best, eager = zip(*rows)
    return (
        f"{listed} training steps run at {span(eager)} times the speed of eager PyTorch and at "
        f"{span(best)} times the speed of PyTorch at its best"
    )


def summary(page) -> str | None:
    """Return README's sentence from the measured part of the document.

    None if the document contains no training workload.
    """
    measured = MEASURED.search(page)[1]
    rows = TRAINING.findall(measured)
    groups = [
        [row for row in rows if (WORKLOADS[row[0]].model in GATES) == recurrent]
        for recurrent in (True, False)
    ]
    clauses = [clause(group) for group in groups if group]
    if not clauses:
        return None
    machine, release = re.search(
        r"^(.+?); .*?PyTorch ([\d.]+)", " ".join(measured.split())
    ).groups()
    about = f"({machine}, PyTorch {release}; [all figures](docs/performance.md))."
    return f"{'; '.join(clauses)} {about}"


def update_readme(readme, page) -> None:
    """Write README's sentence about speed from the page; without one, leave README unchanged."""
    sentence = summary(page)
    if sentence is None:
        return

    def fill(match):
        indent, opening, end = match.groups()
        lines = textwrap.wrap(
            sentence, 100, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
        return "\n".join([indent + opening.rstrip(), *lines, end])

    readme.write_text(SENTENCE.sub(fill, readme.read_text(encoding="utf-8")), encoding="utf-8")


def write(text, picture) -> None:
    """Replace the measured part of the document, its picture, and README's sentence."""
    (DOCUMENT.parent / "curves" / "speed.png").write_bytes(picture)
    block = f"<!-- measured -->\n{text}\n<!-- end -->"
    page = MEASURED.sub(lambda _: block, DOCUMENT.read_text(encoding="utf-8"))
    DOCUMENT.write_text(page, encoding="utf-8")
    update_readme(README, page)


if __name__ == "__main__":
    update_readme(README, DOCUMENT.read_text(encoding="utf-8"))
