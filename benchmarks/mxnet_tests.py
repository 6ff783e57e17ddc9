"""Run MXNet's own unit tests under this interpreter and compare interpreters.

    python benchmarks/mxnet_tests.py run MXNET results.json [test_rnn.py ...]
    python benchmarks/mxnet_tests.py compare numpy1.json numpy2.json ...

MXNET is a checkout of MXNet's source at tag 1.9.1; the tests run on the installed package. The
tests also use names that NumPy has removed, so `gluonlm.system.adaptation`
adapts them as it does MXNet.
`compare` prints the counts per file as rows of Markdown, then each test that passes under the first
interpreter and fails under another. Needs pynose, pytest, pytest-timeout, pytest-xdist, SciPy.
"""

import argparse
import importlib
import importlib.abc
import json
import os
import sys
import tempfile
from collections import Counter
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gluonlm  # noqa: F401  prepares the process for MXNet
from gluonlm.system.adaptation import adapt
from gluonlm.system.adaptation.names import OVERLAYS

FILES = [
    *("test_autograd.py", "test_contrib_text.py", "test_gluon.py", "test_gluon_data.py"),
    *("test_gluon_data_vision.py", "test_gluon_rnn.py", "test_metric.py", "test_ndarray.py"),
    *("test_numpy_gluon.py", "test_numpy_interoperability.py", "test_numpy_ndarray.py"),
    *("test_numpy_op.py", "test_optimizer.py", "test_recordio.py", "test_rnn.py"),
]
SEED = "1"
outcomes: dict[str, str] = {}


class TestFinder(importlib.abc.MetaPathFinder):
    """Adapts the test modules of MXNet, which are written for the NumPy of 2021."""

    __test__ = False

    def find_spec(self, name, path, target=None):
        spec = PathFinder.find_spec(name, path, target)
        if not (spec and spec.loader and "/tests/python/" in str(spec.origin)):
            return None
        load = spec.loader.exec_module

        def adapt_and_load(module):
            adapt(module)
            load(module)

        spec.loader.exec_module = adapt_and_load
        return spec


def pytest_configure(config):
    OVERLAYS["numpy"].float = float  # used only by the tests
    sys.meta_path.insert(0, TestFinder())


def pytest_runtest_logreport(report):
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        outcomes[report.nodeid] = f"failed: {crash.message if crash else report.longrepr}"
    elif report.skipped or report.when == "call":
        outcomes.setdefault(report.nodeid, report.outcome)


def pytest_collectreport(report):
    if report.failed:
        outcomes[report.nodeid] = f"failed: {report.longrepr}"


def run(folder: Path, file: str, seconds: int, tests: str) -> dict[str, str]:
    """Run a file of tests in a separate process; a test that hangs or crashes fails."""
    plugin = importlib.import_module("mxnet_tests")  # the one that pytest loads, not __main__
    os.environ.update(MXNET_MODULE_SEED=SEED, MXNET_TEST_SEED=SEED)
    flags = f"-p mxnet_tests -n 1 --maxschedchunk 1 --timeout {seconds} -q --tb line -W ignore"
    flags += " --timeout-method thread --assert plain --noconftest -p no:cacheprovider"
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        paths = ["-c", os.devnull, f"--rootdir={folder}", str(folder / file)]
        pytest.main([*flags.split(), *paths, *(["-k", tests] if tests else [])])
    return plugin.outcomes


def compare(paths: list[str]) -> None:
    """Print the counts of each file, and the tests whose outcome differs."""
    sides = [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths]
    columns = [f"NumPy {side['numpy']}, Python {side['python']}" for side in sides]
    print("| file | tests |", " | ".join(columns), "| skipped |")
    print("|---|--:|" + "--:|" * (len(sides) + 1))
    first = sides[0]["outcomes"]
    for file in sorted({name.partition("::")[0] for name in first}):
        names = [name for name in first if name.partition("::")[0] == file]
        counts = [Counter(side["outcomes"].get(name) for name in names) for side in sides]
        passed = " | ".join(str(count["passed"]) for count in counts)
        print(f"| {file} | {len(names)} | {passed} | {counts[0]['skipped']} |")
    for column, side in zip(columns[1:], sides[1:]):
        for name, outcome in sorted(first.items()):
            other = side["outcomes"].get(name, "not run")
            if outcome == "passed" and other != "passed":
                print(f"\n{column}: {name}\n    {other}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="run tests and save their outcomes")
    runs.add_argument("mxnet", type=Path, help="checkout of MXNet's source at tag 1.9.1")
    runs.add_argument("results", type=Path, help="JSON file to which outcomes are added")
    runs.add_argument("files", nargs="*", default=FILES, help="default: all that gluonlm relies on")
    runs.add_argument(
        "-k", dest="tests", default="", help="run only tests that pytest's -k selects"
    )
    runs.add_argument("--timeout", type=int, default=300, help="seconds for each test")
    compared = commands.add_parser("compare", help="print the outcomes of several interpreters")
    compared.add_argument("results", nargs="+")
    args = parser.parse_args()
    if args.command == "compare":
        return compare(args.results)
    import numpy as np

    results, folder = args.results.resolve(), args.mxnet.resolve() / "tests/python/unittest"
    done = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    done.update(numpy=np.__version__, python="{}.{}".format(*sys.version_info))
    before = done.get("outcomes", {})
    for file in args.files:
        done["outcomes"] = {**before, **run(folder, file, args.timeout, args.tests)}
        results.write_text(json.dumps(done, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
